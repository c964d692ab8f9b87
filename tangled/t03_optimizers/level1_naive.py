# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:b37f77956dcdf483
"""Optimisers, level 1: one number at a time. Shapes and errors as in level 2."""

import math

import numpy as np

from tangled.t03_optimizers.base import Optimizer, Schedule, count, number, pair


class SGD(Optimizer):
    """w -= lr * g, entry by entry, for w of any shape."""

    def __init__(self, parameters, lr=0.01, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)

    def update(self, w, g, state, t):
        """eq. 3.1 for each entry of w, in place."""
        for i in np.ndindex(w.shape):
            w[i] -= self.lr * (g[i] + self.weight_decay * w[i])


class Momentum(Optimizer):
    """A velocity in the shape of w, entry by entry."""

    buffers = ("v",)

    def __init__(self, parameters, lr=0.01, momentum=0.9, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.momentum = number("momentum", momentum, 0, 1)

    def update(self, w, g, state, t):
        """eq. 3.8 for each entry of w, in place."""
        v = state["v"]
        for i in np.ndindex(w.shape):
            v[i] = self.momentum * v[i] + (g[i] + self.weight_decay * w[i])
            w[i] -= self.lr * v[i]


class Nesterov(Momentum):
    """Momentum that looks ahead, in the shifted form."""

    def update(self, w, g, state, t):
        """eq. 3.19 for each entry of w, in place."""
        v = state["v"]
        for i in np.ndindex(w.shape):
            slope = g[i] + self.weight_decay * w[i]
            v[i] = self.momentum * v[i] + slope
            w[i] -= self.lr * (slope + self.momentum * v[i])


class AdaGrad(Optimizer):
    """Divides by the root of the sum of all squared gradients."""

    buffers = ("s",)

    def __init__(self, parameters, lr=0.01, eps=1e-10, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.eps = number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """eq. 3.21 for each entry of w, in place."""
        s = state["s"]
        for i in np.ndindex(w.shape):
            slope = g[i] + self.weight_decay * w[i]
            s[i] += slope * slope
            w[i] -= self.lr * slope / (np.sqrt(s[i]) + self.eps)


class RMSProp(Optimizer):
    """Divides by the root of a running mean of squared gradients."""

    buffers = ("s",)

    def __init__(self, parameters, lr=0.01, rho=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.rho, self.eps = number("rho", rho, 0, 1), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """eq. 3.22 for each entry of w, in place."""
        s = state["s"]
        for i in np.ndindex(w.shape):
            slope = g[i] + self.weight_decay * w[i]
            s[i] = self.rho * s[i] + (1 - self.rho) * slope * slope
            w[i] -= self.lr * slope / (np.sqrt(s[i]) + self.eps)


class Adam(Optimizer):
    """Two averages, both corrected for their start at zero."""

    buffers = ("m", "v")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.betas, self.eps = pair("betas", betas), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """eq. 3.26 for each entry of w, with the penalty in the gradient, in place."""
        for i in np.ndindex(w.shape):
            self._move(w, g[i] + self.weight_decay * w[i], state, t, i)

    def _move(self, w, slope, state, t, i):
        (b1, b2), m, v = self.betas, state["m"], state["v"]
        m[i] = b1 * m[i] + (1 - b1) * slope                       # eq. 3.23
        v[i] = b2 * v[i] + (1 - b2) * slope * slope
        m_hat, v_hat = m[i] / (1 - b1**t), v[i] / (1 - b2**t)     # eq. 3.25
        w[i] -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)     # eq. 3.26


class AdamW(Adam):
    """Adam with decay of the weights themselves."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, w, g, state, t):
        """eq. 3.31 for each entry of w, in place."""
        for i in np.ndindex(w.shape):
            w[i] *= 1 - self.lr * self.weight_decay
            self._move(w, g[i], state, t, i)


def step_decay(t, lr, step_size, gamma=0.1):
    """lr after t updates, t of shape (): a factor gamma after every step_size of them."""
    t, step_size = count("t", t, 0), count("step_size", step_size, 1)
    return number("lr", lr, 0) * number("gamma", gamma, 0) ** (t // step_size)


def linear_warmup(t, lr, warmup):
    """lr after t updates, t of shape (): rising to lr over `warmup` updates."""
    t, warmup = count("t", t, 0), count("warmup", warmup, 1)
    return number("lr", lr, 0) * min(1.0, (t + 1) / warmup)                # eq. 3.33


def cosine_decay(t, lr, steps, warmup=0, final=0.0):
    """lr after t updates, t of shape (): warm-up, then half a cosine down to `final`."""
    t, warmup = count("t", t, 0), count("warmup", warmup, 0)
    steps = count("steps", steps, warmup + 1)
    lr, final = number("lr", lr, 0), number("final", final, 0)
    if t < warmup:
        return linear_warmup(t, lr, warmup)
    angle = math.pi * min(t - warmup, steps - warmup) / (steps - warmup)
    return final + 0.5 * (lr - final) * (1 + math.cos(angle))              # eq. 3.34


class StepDecay(Schedule):
    """`step_decay` applied to an optimiser."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def value(self, t):
        """The rate after t updates, t of shape ()."""
        return step_decay(t, self.base, self.step_size, self.gamma)


class CosineDecay(Schedule):
    """`cosine_decay` applied to an optimiser."""

    def __init__(self, optimizer, steps, warmup=0, final=0.0):
        self.steps, self.warmup, self.final = steps, warmup, final
        super().__init__(optimizer)

    def value(self, t):
        """The rate after t updates, t of shape ()."""
        return cosine_decay(t, self.base, self.steps, self.warmup, self.final)


def clip_by_global_norm(parameters, max_norm):
    """Shorten the gradients (any shapes) together; the norm that they had."""
    max_norm, total = number("max_norm", max_norm, 0, positive=True), 0.0
    with_gradient = [p for p in parameters if p.grad is not None]
    for p in with_gradient:
        for i in np.ndindex(p.data.shape):
            total += float(p.grad[i]) ** 2
    norm = math.sqrt(total)
    if max_norm < norm < math.inf:
        for p in with_gradient:
            p.grad *= max_norm / norm                                      # eq. 3.35
    return norm
