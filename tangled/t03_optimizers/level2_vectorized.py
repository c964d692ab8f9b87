# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:854c258b18d64e08
"""Optimisers, level 2: whole arrays, for parameters of any shapes."""

import math

import numpy as np

from tangled.t03_optimizers.base import Optimizer, Schedule, count, number, pair


class SGD(Optimizer):
    """Stochastic gradient descent.

    Parameters
    ----------
    parameters : iterable of objects with `.data` and `.grad`, of any shapes
    lr : float, learning rate, at least 0
    weight_decay : float, at least 0; that much of the weights is added to the gradient
    """

    def __init__(self, parameters, lr=0.01, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)

    def update(self, w, g, state, t):
        """w -= lr * g.

        Parameters
        ----------
        w, g : ndarray of one shape, the parameter (changed) and its gradient (not changed)
        state : dict of ndarray of that shape, the buffers (changed)
        t : int, which update of this parameter it is, from 1
        """
        w -= self.lr * _penalised(g, w, self.weight_decay)      # eq. 3.1


def _penalised(g, w, weight_decay):
    """g with the gradient of the L2 penalty, eq. 3.29; g itself if there is none."""
    return g + weight_decay * w if weight_decay else g


class Momentum(Optimizer):
    """Gradient descent with a velocity that sums past gradients; the rest as in `SGD`.

    Parameters
    ----------
    momentum : float, at least 0 and less than 1; effectively, lr is divided by 1 - momentum
    """

    buffers = ("v",)

    def __init__(self, parameters, lr=0.01, momentum=0.9, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.momentum = number("momentum", momentum, 0, 1)

    def update(self, w, g, state, t):
        """The velocity first, then the step; shapes as in `SGD.update`."""
        v, g = state["v"], _penalised(g, w, self.weight_decay)
        v *= self.momentum                                          # eq. 3.8
        v += g
        w -= self.lr * v


class Nesterov(Momentum):
    """Momentum whose gradient is taken ahead; parameters (any shapes) hold that point."""

    def update(self, w, g, state, t):
        """The velocity first, then a step by both; shapes as in `SGD.update`."""
        v, g = state["v"], _penalised(g, w, self.weight_decay)
        v *= self.momentum                                          # eq. 3.8
        v += g
        w -= self.lr * (g + self.momentum * v)                      # eq. 3.19


class AdaGrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    Parameters
    ----------
    eps : float, positive, added to the root; the rest as in `SGD`
    """

    buffers = ("s",)

    def __init__(self, parameters, lr=0.01, eps=1e-10, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.eps = number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """The sum first, then the step; shapes as in `SGD.update`."""
        s, g = state["s"], _penalised(g, w, self.weight_decay)
        s += g * g                                              # eq. 3.21
        w -= self.lr * g / _root(s, self.eps)


class RMSProp(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

    Parameters
    ----------
    rho : float, at least 0 and less than 1, the share that is kept (PyTorch's `alpha`)
    eps : float, positive, added to the root; the rest as in `SGD`
    """

    buffers = ("s",)

    def __init__(self, parameters, lr=0.01, rho=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.rho, self.eps = number("rho", rho, 0, 1), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """The mean first, then the step; shapes as in `SGD.update`."""
        s, g = state["s"], _penalised(g, w, self.weight_decay)
        s *= self.rho                                           # eq. 3.22
        s += (1 - self.rho) * g * g
        w -= self.lr * g / _root(s, self.eps)


def _root(s, eps):
    """What a gradient is divided by."""
    return np.sqrt(s) + eps


class Adam(Optimizer):
    """Averages of the gradient and of its square, corrected for their start at zero.

    Parameters
    ----------
    lr : float, at least 0, about how far an entry moves in a step
    betas : two floats, at least 0 and less than 1, how much of each average is kept
    eps : float, positive, added to the root; the rest as in `SGD`
    """

    buffers = ("m", "v")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.betas, self.eps = pair("betas", betas), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """A step of Adam, the penalty in the gradient; shapes as in `SGD.update`."""
        self._adapt(w, _penalised(g, w, self.weight_decay), state, t)

    def _adapt(self, w, g, state, t):
        (b1, b2), m, v = self.betas, state["m"], state["v"]
        m *= b1                                                 # eq. 3.23
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        m_hat = m / (1 - b1**t)                                     # eq. 3.25
        v_hat = v / (1 - b2**t)
        w -= self.lr * m_hat / _root(v_hat, self.eps)           # eq. 3.26


class AdamW(Adam):
    """Adam (shapes as there) that multiplies the weights by 1 - lr * weight_decay."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, w, g, state, t):
        """The decay, then a step of Adam; shapes as in `SGD.update`."""
        w *= 1 - self.lr * self.weight_decay                        # eq. 3.31
        self._adapt(w, g, state, t)


def cosine_decay(t, lr, steps, warmup=0, final=0.0):
    """Learning rate that warms up, falls along half a cosine, and stays.

    Parameters
    ----------
    t : int or integer ndarray of any shape, updates already made, from 0; so is the result
    lr, final : float, at least 0, the rates after the warm-up and from t = steps on
    steps, warmup : int, steps more than warmup, warmup at least 0
    """
    t, warmup = _updates(t), count("warmup", warmup, 0)
    steps = count("steps", steps, warmup + 1)
    lr, final = number("lr", lr, 0), number("final", final, 0)
    share = np.clip((t - warmup) / (steps - warmup), 0.0, 1.0)
    fall = final + 0.5 * (lr - final) * (1 + np.cos(np.pi * share))       # eq. 3.34
    return np.where(t < warmup, linear_warmup(t, lr, max(warmup, 1)), fall)[()]


def linear_warmup(t, lr, warmup):
    """Learning rate that rises in a straight line and reaches lr with the update `warmup`.

    Parameters
    ----------
    t : int or integer ndarray of any shape, updates already made, from 0
    lr : float, the rate after the warm-up
    warmup : int, at least 1

    Returns
    -------
    float or ndarray of the shape of t, never 0 for a positive lr
    """
    t, lr, warmup = _updates(t), number("lr", lr, 0), count("warmup", warmup, 1)
    return lr * np.minimum(1.0, (t + 1) / warmup)               # eq. 3.33


def step_decay(t, lr, step_size, gamma=0.1):
    """Learning rate that is multiplied by gamma after every step_size updates.

    Parameters
    ----------
    t : int or integer ndarray of any shape, updates already made, from 0
    lr : float, the rate of the first update
    step_size : int, at least 1
    gamma : float, at least 0

    Returns
    -------
    float or ndarray of the shape of t
    """
    t, step_size = _updates(t), count("step_size", step_size, 1)
    lr, gamma = number("lr", lr, 0), number("gamma", gamma, 0)
    return lr * gamma ** (t // step_size)                       # eq. 3.32


def _updates(t):
    """t (any shape) as int64, none below 0."""
    t = np.asarray(t)
    if t.dtype.kind not in "iu" or (t.size and t.min() < 0):
        raise ValueError(f"t = {t}; expected integers of at least 0")
    return t.astype(np.int64)                                   # small ones would overflow


class StepDecay(Schedule):
    """`step_decay` applied to an optimiser, whose lr at this moment is the first rate.

    Parameters
    ----------
    optimizer : object with `.lr`
    step_size : int, at least 1
    gamma : float, at least 0
    """

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def value(self, t):
        """The rate after t updates."""
        return step_decay(t, self.base, self.step_size, self.gamma)


class CosineDecay(Schedule):
    """`cosine_decay` applied to an optimiser, whose lr at this moment is the full rate.

    Parameters
    ----------
    optimizer : object with `.lr`
    steps : int, more than warmup, all updates that will be made
    warmup : int, at least 0
    final : float, at least 0
    """

    def __init__(self, optimizer, steps, warmup=0, final=0.0):
        self.steps, self.warmup, self.final = steps, warmup, final
        super().__init__(optimizer)

    def value(self, t):
        """The rate after t updates."""
        return cosine_decay(t, self.base, self.steps, self.warmup, self.final)


def clip_by_global_norm(parameters, max_norm):
    """Shorten all gradients by one factor, so that together they are at most max_norm long.

    Parameters
    ----------
    parameters : iterable of objects with `.grad`, of any shapes; None counts for nothing
    max_norm : float, positive

    Returns
    -------
    norm : float, before; if it is infinite or NaN, nothing has been changed
    """
    max_norm = number("max_norm", max_norm, 0, positive=True)
    with_gradient = [p for p in parameters if p.grad is not None]
    squares = [np.square(p.grad, dtype=np.float64).sum() for p in with_gradient]
    norm = math.sqrt(sum(squares))
    if max_norm < norm < math.inf:
        for p in with_gradient:
            p.grad *= max_norm / norm                               # eq. 3.35
    return norm
