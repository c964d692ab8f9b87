# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:f423042e9f10e93f
"""Optimisers, level 3: one flat buffer, in place, in pieces that fit the cache."""

import math

import numpy as np

from tangled.t03_optimizers.base import Optimizer, gradient, number, pair
from tangled.t03_optimizers.level2_vectorized import (  # numbers only: nothing to gain
    CosineDecay,
    StepDecay,
    cosine_decay,
    linear_warmup,
    step_decay,
)

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "CosineDecay", "FlatOptimizer", "Momentum",
           "Nesterov", "RMSProp", "StepDecay", "clip_by_global_norm", "cosine_decay",
           "linear_warmup", "step_decay"]

CHUNK = 1 << 17     # numbers that an update works on at a time


class FlatOptimizer(Optimizer):
    """Parameters of any shapes in one vector `flat` (n,), gradients in `flat_grad` (n,)."""

    def _allocate(self):
        dtypes = sorted({str(p.data.dtype) for p in self.parameters})
        if len(dtypes) > 1:
            raise ValueError(f"parameters are of types {', '.join(dtypes)}; expected one type")
        ends = np.cumsum([p.data.size for p in self.parameters]).tolist()
        self.bounds = list(zip([0, *ends], ends))
        self.flat = np.empty(ends[-1], dtypes[0])
        self.flat_grad = np.zeros_like(self.flat)
        self.buffer = {name: np.zeros_like(self.flat) for name in self.buffers}
        self.spare = np.empty((2, min(CHUNK, ends[-1])), dtypes[0])
        self.views, state = [], []
        for p, (a, b) in zip(self.parameters, self.bounds):
            view_of = lambda vector, a=a, b=b, shape=p.data.shape: vector[a:b].reshape(shape)
            self.views.append((view_of(self.flat), view_of(self.flat_grad)))
            state.append({name: view_of(vector) for name, vector in self.buffer.items()})
            self._adopt(p, "data", self.views[-1][0])
        return state

    def step(self):
        """Update every parameter that has a gradient, neighbours together."""
        for start, stop, t in self._runs():
            for a in range(start, stop, CHUNK):
                piece = slice(a, min(a + CHUNK, stop))
                state = {name: array[piece] for name, array in self.buffer.items()}
                self.update(self.flat[piece], self.flat_grad[piece], state, t)
        for p in self.parameters:
            if p.grad is not None:
                p.data = p.data                      # an engine that counts writes sees this one

    @staticmethod
    def _adopt(p, name, view):
        """Make an array of a parameter the view of its place, values kept."""
        if getattr(p, name) is not view:
            view[...] = getattr(p, name)
            setattr(p, name, view)

    def _runs(self):
        """[start, stop, t] of neighbours whose t-th update this is; counts them."""
        active = [k for k, p in enumerate(self.parameters) if p.grad is not None]
        for k in active:
            gradient(k, self.parameters[k])                     # all checked, then changed
        runs = []
        for k in active:
            for name, view in zip(("data", "grad"), self.views[k]):
                self._adopt(self.parameters[k], name, view)
            self.counts[k] += 1
            start, stop = self.bounds[k]
            if runs and runs[-1][1:] == [start, self.counts[k]]:
                runs[-1][1] = stop
            else:
                runs.append([start, stop, self.counts[k]])
        return runs

    def zero_grad(self):
        """Set every gradient that there is to zeros, all in one go."""
        self.flat_grad.fill(0)
        for p, (_, view) in zip(self.parameters, self.views):
            if p.grad is not None:
                p.grad = view

    def _penalised(self, w, g):
        """g (c,), or g + weight_decay * w (c,) in the second spare."""
        if not self.weight_decay:
            return g
        sum_ = np.multiply(w, self.weight_decay, out=self.spare[1, :len(w)])
        return np.add(sum_, g, out=sum_)


class SGD(FlatOptimizer):
    """w -= lr * g over one flat vector."""

    def __init__(self, parameters, lr=0.01, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)

    def update(self, w, g, state, t):
        """w, g (c,); eq. 3.1 in two passes."""
        w -= np.multiply(self._penalised(w, g), self.lr, out=self.spare[0, :len(w)])


class Momentum(FlatOptimizer):
    """A velocity over one flat vector."""

    buffers = ("v",)

    def __init__(self, parameters, lr=0.01, momentum=0.9, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.momentum = number("momentum", momentum, 0, 1)

    def update(self, w, g, state, t):
        """w, g, v (c,); eq. 3.8 in four passes."""
        v = state["v"]
        v *= self.momentum
        v += self._penalised(w, g)
        w -= np.multiply(v, self.lr, out=self.spare[0, :len(w)])


class Nesterov(Momentum):
    """Momentum that looks ahead, over one flat vector."""

    def update(self, w, g, state, t):
        """w, g, v (c,); eq. 3.19 in six passes."""
        v, g, a = state["v"], self._penalised(w, g), self.spare[0, :len(w)]
        v *= self.momentum
        v += g
        np.multiply(v, self.momentum, out=a)
        a += g
        a *= self.lr
        w -= a


def _descend(w, numerator, squares, rate, eps, a):
    """w -= rate * numerator / (sqrt(squares) + eps), all (c,): five passes, scratch a."""
    np.sqrt(squares, out=a)
    a += eps
    np.divide(numerator, a, out=a)
    a *= rate
    w -= a


class AdaGrad(FlatOptimizer):
    """Divides by the root of the sum of squares, over one flat vector."""

    buffers = ("s",)

    def __init__(self, parameters, lr=0.01, eps=1e-10, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.eps = number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """w, g, s (c,); eq. 3.21 in seven passes."""
        s, g, a = state["s"], self._penalised(w, g), self.spare[0, :len(w)]
        s += np.multiply(g, g, out=a)
        _descend(w, g, s, self.lr, self.eps, a)


class RMSProp(FlatOptimizer):
    """Divides by the root of a running sum of squares, over one flat vector."""

    buffers = ("s_sum",)

    def __init__(self, parameters, lr=0.01, rho=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.rho, self.eps = number("rho", rho, 0, 1), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """w, g, s_sum (c,); eq. 3.22 in eight passes, s = (1 - rho) * s_sum."""
        s, g, a = state["s_sum"], self._penalised(w, g), self.spare[0, :len(w)]
        s *= self.rho
        s += np.multiply(g, g, out=a)
        unit = math.sqrt(1 - self.rho)
        _descend(w, g, s, self.lr / unit, self.eps / unit, a)


class Adam(FlatOptimizer):
    """Two running sums over one flat vector."""

    buffers = ("m_sum", "v_sum")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.betas, self.eps = pair("betas", betas), number("eps", eps, 0, positive=True)

    def update(self, w, g, state, t):
        """w, g, m_sum, v_sum (c,); eq. 3.36 in ten passes."""
        self._adapt(w, self._penalised(w, g), state, t)

    def _adapt(self, w, g, state, t):
        (b1, b2), m, v = self.betas, state["m_sum"], state["v_sum"]
        a = self.spare[0, :len(w)]
        m *= b1
        m += g
        v *= b2
        v += np.multiply(g, g, out=a)
        first, second = (1 - b1) / (1 - b1**t), math.sqrt((1 - b2) / (1 - b2**t))
        _descend(w, m, v, self.lr * first / second, self.eps / second, a)


class AdamW(Adam):
    """Adam with decay of the weights themselves, over one flat vector."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,
                 weight_decay=0.01):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, w, g, state, t):
        """w, g, m_sum, v_sum (c,); eq. 3.31 in eleven passes."""
        w *= 1 - self.lr * self.weight_decay
        self._adapt(w, g, state, t)


def clip_by_global_norm(parameters, max_norm):
    """Shorten the gradients (any shapes) together; the norm that they had."""
    max_norm = number("max_norm", max_norm, 0, positive=True)
    with_gradient = [p for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(_square_norm(np.asarray(p.grad)) for p in with_gradient))
    if max_norm < norm < math.inf:
        for p in with_gradient:
            p.grad *= max_norm / norm                           # eq. 3.35
    return norm


def _square_norm(g):
    """Sum of squares of g (any shape), as a float."""
    vector = g.reshape(-1)                                      # a view, unless g has gaps
    with np.errstate(over="ignore", under="ignore"):
        total = float(np.dot(vector, vector))
    if 1e-30 < total < math.inf and g.dtype != np.float16:      # three digits are no norm
        return total
    pieces = (vector[a:a + CHUNK] for a in range(0, len(vector), CHUNK))
    return sum(float(np.square(piece, dtype=np.float64).sum()) for piece in pieces)
