# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:0a348bea29119d3c
"""Level 3: the five challenges with as little memory as they allow."""

from itertools import zip_longest

import numpy as np

import tangled.t00_prerequisites.checks as check


def matmul(a, b):
    """Matrix product of `a` (n, k) and `b` (k, m): shape (n, m); one (n, m) buffer besides."""
    a, b, dtype = check.matrices(a, b)
    out = np.zeros((a.shape[0], b.shape[1]), np.result_type(a, b))
    buffer = np.empty_like(out)
    for p in range(a.shape[1]):
        np.multiply(a[:, p, None], b[p], out=buffer)     # (n, 1) * (m,) -> (n, m)
        out += buffer                                    # eq. 0.2
    return out.astype(dtype, copy=False)


def broadcast_shape(a, b):
    """The shape, a tuple of int, that arrays of shapes `a` and `b` broadcast to."""
    a, b = check.lengths("a", a), check.lengths("b", b)
    pairs = list(zip_longest(reversed(a), reversed(b), fillvalue=1))
    if any(s != t and 1 not in (s, t) for s, t in pairs):
        raise check.misfit(a, b)
    return tuple(t if s == 1 else s for s, t in reversed(pairs))     # eq. 0.3


def sine_of_square(x):
    """sin(x * x), elementwise, in one new array of the shape of `x`; the cache is `x`."""
    cache = check.floats("x", x)
    x = check.wide(cache)
    out = np.asarray(np.multiply(x, x))
    return np.sin(out, out=out).astype(cache.dtype, copy=False)[()], cache


def sine_of_square_backward(dout, cache):
    """Gradient with respect to `x`, of the shape of `x`, in one new array."""
    dout, x = check.like("dout", dout, cache), check.wide(cache)
    dx = np.asarray(np.multiply(x, x))
    np.cos(dx, out=dx)                                   # eq. 0.5
    dx *= dout
    dx *= x
    dx *= 2
    return dx.astype(cache.dtype, copy=False)[()]


def predict_copies():
    """For twelve expressions in a C-ordered `x` of shape (4, 6): True if it starts elsewhere."""
    x = np.arange(1.0, 25.0).reshape(4, 6)
    start = x.__array_interface__["data"][0]
    block = range(start, start + x.nbytes)
    answers = {}
    for expression in ("x.T", "x[1:3, ::2]", "x[0]", "x[[0, 2]]", "x[x > 0]", "x.reshape(6, 4)",
                       "x.T.reshape(24)", "x.ravel()", "x.flatten()",
                       "np.broadcast_to(x, (3, 4, 6))", "x + 0", "x.astype(x.dtype)"):
        result = eval(expression, {"x": x, "np": np})
        answers[expression] = result.__array_interface__["data"][0] not in block
    return answers


def softmax(x):
    """Softmax over the last axis of `x` (..., C), in one new array of the shape of `x`."""
    x = check.floats("x", x, axes=1)
    out = np.subtract(x, x.max(axis=-1, keepdims=True, initial=-np.inf))
    out = check.wide(out)
    np.exp(out, out=out)                                 # eq. 0.8
    out /= out.sum(axis=-1, keepdims=True)
    return out.astype(x.dtype, copy=False)
