# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:b9392b3be9059ccf
"""Chapter 3: the graded exercises, solved."""

import math

import numpy as np

from tangled.t03_optimizers import Adam
from tangled.t03_optimizers.base import count, number


class AMSGrad(Adam):
    """Adam divided by the root of the largest second average so far; settings as in `Adam`.

    `top`, in the shape of the parameter, keeps the maximum of v before its correction, as PyTorch's
    `amsgrad=True` does (Reddi, Kale and Kumar, 2018).
    """

    buffers = ("m", "v", "top")

    def update(self, w, g, state, t):
        """One step, the penalty `weight_decay * w` in the gradient.

        Parameters
        ----------
        w, g : ndarray of one shape, the parameter (changed) and its gradient (not changed)
        state : dict of "m", "v", "top", ndarray of that shape, zeros at first (changed)
        t : int, which update of this parameter it is, from 1
        """
        (b1, b2), m, v, top = self.betas, state["m"], state["v"], state["top"]
        g = g + self.weight_decay * w
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        np.maximum(top, v, out=top)
        w -= self.lr * (m / (1 - b1**t)) / (np.sqrt(top / (1 - b2**t)) + self.eps)


class Lookahead:
    """Slow weights that follow a rule's fast ones.

    Parameters
    ----------
    optimizer : Optimizer, of parameters of any shapes
    k : int, at least 1; after so many steps the slow weights move
    alpha : float, positive, at most 1, the share of the way that they move
    """

    def __init__(self, optimizer, k=5, alpha=0.5):
        self.optimizer, self.k, self.done = optimizer, count("k", k, 1), 0
        self.alpha = number("alpha", alpha, 0, math.nextafter(1, 2), positive=True)
        self.slow = [p.data.copy() for p in optimizer.parameters]

    def step(self):
        """A step of the rule; after each k-th, parameters (any shapes) and slow weights meet."""
        self.optimizer.step()
        self.done += 1
        if self.done % self.k == 0:
            for p, slow in zip(self.optimizer.parameters, self.slow):
                slow += self.alpha * (p.data - slow)
                p.data[...] = slow
                p.data = p.data                          # a write that the engine is to count

    def zero_grad(self):
        """Set every gradient (any shape) to zeros, as the rule does."""
        self.optimizer.zero_grad()

    def state_dict(self):
        """All that a continuation needs, as copies.

        Returns
        -------
        dict : "done"; "slow.k" for each parameter k, in its shape; the rule's own state, "inner." before
            each key
        """
        state = {"done": self.done}
        state |= {f"slow.{k}": slow.copy() for k, slow in enumerate(self.slow)}
        return state | {f"inner.{key}": value for key, value in self.optimizer.state_dict().items()}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave; arrays in the parameters' shapes."""
        self.done = count("state: 'done'", state["done"], 0)
        for k, slow in enumerate(self.slow):
            slow[...] = state[f"slow.{k}"]
        inner = {key[len("inner."):]: value for key, value in state.items() if key.startswith("inner.")}
        self.optimizer.load_state_dict(inner)
