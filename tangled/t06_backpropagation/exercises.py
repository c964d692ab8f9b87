# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:fde80bd2cab9706d
"""Chapter 06, exercises: modules made of modules."""

import numpy as np

from tangled.t06_backpropagation import Module


class Residual(Module):
    """x + inner(x).

    Parameters
    ----------
    inner : Module whose output has the shape of its input
    """

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        """x (...) to an array of the same shape; a ValueError if inner changes it."""
        out = self.inner(x)
        if np.shape(out) != np.shape(x):
            raise ValueError(f"inner returns shape {np.shape(out)}; expected {np.shape(x)}, that of x")
        return x + out

    def backward(self, dout):
        """dout (...) to dx of the same shape: the shortcut's share and that of inner."""
        return dout + self.inner.backward(dout)


class Checkpoint(Module):
    """A module whose activations are computed again when they are needed.

    Between `forward` and `backward` only the input is kept: the caches of the module and of all
    below are None. `backward` needs one more forward pass.

    Parameters
    ----------
    module : Module without randomness
    """

    def __init__(self, module):
        self.module = module

    def forward(self, x):
        """x to module(x), in its shape."""
        out = self.module(x)
        self.cache = x
        for inner in self.module.modules():
            inner.cache = None
        return out

    def backward(self, dout):
        """dout to dx, as the module's; the parameters receive their gradients."""
        self.module(self.kept())
        return self.module.backward(dout)


def accumulated_step(engine, x, y, size):
    """One step of an Engine on a whole batch, in pieces of at most `size` samples.

    Gradients, update and returned loss equal those of `engine.step(x, y)`, whatever the sizes of
    the pieces, for a loss that is a mean over samples.

    Parameters
    ----------
    engine : Engine
    x : ndarray of shape (N, ...)
    y : ndarray of shape (N, ...)
    size : int, positive

    Returns
    -------
    loss : float, the mean over all N samples before the step
    """
    engine.optimizer.zero_grad()
    total = 0.0
    for start in range(0, len(x), size):
        target = y[start:start + size]
        share = len(target) / len(x)
        total += share * engine.loss(engine.model(x[start:start + size]), target)
        engine.model.backward((engine.loss.backward() * share).astype(x.dtype))
    engine.optimizer.step()
    return total
