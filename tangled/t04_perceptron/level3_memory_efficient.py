# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:70aa5aeef3581720
"""The perceptron and the logistic unit, level 3: jumps, blocks, given buffers."""

import numpy as np

import tangled.t04_perceptron.checks as check
from tangled.t04_perceptron.level2_vectorized import perceptron_predict, sigmoid

__all__ = ["bce_with_logits", "bce_with_logits_backward", "logistic_fit", "perceptron_fit",
           "perceptron_predict", "sigmoid"]

SAMPLES, LOGITS = 256, 32768                                # a block; 128 kB of float32


def perceptron_fit(x, y, epochs=100):
    """x (N, D), y (N,) of -1 and +1: w (D,), b, mistakes, as level 2."""
    x, y, dtype = check.signed(x, y, epochs)
    points = np.empty((len(x), x.shape[1] + 1), x.dtype)        # y (x, 1)
    np.multiply(x, y[:, None], out=points[:, :-1])
    points[:, -1] = y
    v = np.zeros(points.shape[1], x.dtype)                      # (w, b)
    mistakes = []
    while len(mistakes) < epochs and (not mistakes or mistakes[-1]):
        mistakes.append(_pass(points, v))
    return v[:-1].astype(dtype), dtype.type(v[-1]), mistakes


def _pass(points, v):
    """One epoch over points (N, D + 1), updating v (D + 1,): the number of mistakes."""
    wrong = start = 0
    while start < len(points):
        block = points[start:start + SAMPLES]
        bad = block @ v <= 0                                    # (<= SAMPLES,)
        first = int(bad.argmax())
        if bad[first]:
            v += block[first]                                   # eq. 4.3
            wrong += 1
            start += first + 1
        else:
            start += len(block)
    return wrong


def bce_with_logits(z, y, out=None):
    """Mean loss; the cache is the gradient, written to `out` (shape of z) if given."""
    z, y = check.logits(z, y)
    dz = check.room(out, z, y)
    g = check.wide(dz)                                          # dz itself, but for float16
    scratch = np.zeros((2, min(z.size, LOGITS)), g.dtype)
    flat = (check.wide(array).reshape(-1) for array in (z, y, g))
    total = _loss_and_gradient(*flat, scratch)
    if g is not dz:
        dz[...] = g
    return z.dtype.type(total / z.size), dz


def _loss_and_gradient(z, y, dz, scratch):
    """All (N,), scratch (2, <= LOGITS), zeros in row 1: fills dz, returns the loss's sum."""
    total, size = 0.0, scratch.shape[1]
    for start in range(0, len(z), size):
        a, t, g = (array[start:start + size] for array in (z, y, dz))
        s, zero = scratch[:, :len(a)]
        np.maximum(a, zero, out=g)                               # eq. 4.14
        np.multiply(a, t, out=s)
        g -= s
        part = float(g.sum())                                   # max(z, 0) - z y
        total += part if part < np.inf else float(g.sum(dtype=np.float64))
        np.abs(a, out=s)
        np.negative(s, out=s)
        np.exp(s, out=s)                                        # exp(-|z|)
        total += _sum_of_logs(s, room=g)
        np.greater_equal(a, zero, out=g)
        np.maximum(g, s, out=g)                                 # exp(min(z, 0))
        s += 1
        g /= s                                                  # eq. 4.10
        g -= t
        g *= 1.0 / len(z)                                       # eq. 4.17
    return total


def _sum_of_logs(s, room):
    """The sum of log(1 + s), s (n,) from 0 to 1, by one logarithm for sixteen; uses up room (n,)."""
    q = np.positive(s, out=room)                                # products of 1 + s, less 1
    for _ in range(4):
        half = len(q) // 2
        left, right = q[:half], q[len(q) - half:]               # an odd one stays between them
        right *= 1 + left
        left += right                                           # eq. 4.20
        q = q[:len(q) - half]
    return float(np.log1p(q).sum())


def bce_with_logits_backward(dloss, cache, out=None):
    """dz, in the shape of z; into `out` if given, which may be the cache: then it is used up."""
    dloss = check.scalar("dloss", dloss)
    if out is cache and dloss == 1:
        return cache
    return np.multiply(cache, cache.dtype.type(dloss), out=out)[()]


def logistic_fit(x, y, lr, epochs):
    """x (N, D), y (N,) from 0 to 1: w (D,), b, losses; all arrays made beforehand."""
    x, y, dtype = check.labelled(x, y, lr, epochs)
    z, dz = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    scratch = np.zeros((2, min(len(x), LOGITS)), x.dtype)
    w, dw = np.zeros((2, x.shape[1]), x.dtype)
    b, losses = x.dtype.type(0), []
    for _ in range(epochs):
        np.matmul(x, w, out=z)
        z += b                                                  # eq. 4.1
        losses.append(_loss_and_gradient(z, y, dz, scratch) / len(z))
        np.matmul(dz, x, out=dw)
        dw *= lr
        w -= dw                                                 # eq. 4.18
        b -= x.dtype.type(lr) * dz.sum()
    return w.astype(dtype, copy=False), dtype.type(b), losses
