# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:0d5afa6c3a8ffec2
"""Level 1: the five challenges with loops over single numbers."""

import math

import numpy as np

import tangled.t00_prerequisites.checks as check


def matmul(a, b):
    """Matrix product of `a` (n, k) and `b` (k, m): shape (n, m), by three loops."""
    a, b, dtype = check.matrices(a, b)
    (n, k), m = a.shape, b.shape[1]
    out = np.zeros((n, m), np.result_type(a, b))
    for i in range(n):
        for j in range(m):
            for p in range(k):
                out[i, j] += a[i, p] * b[p, j]          # eq. 0.1
    return out.astype(dtype, copy=False)


def broadcast_shape(a, b):
    """The shape, a tuple of int, that arrays of shapes `a` and `b` broadcast to."""
    a, b, out = check.lengths("a", a), check.lengths("b", b), []
    for d in range(1, max(len(a), len(b)) + 1):
        s = a[-d] if d <= len(a) else 1
        t = b[-d] if d <= len(b) else 1
        if s != t and s != 1 and t != 1:
            raise check.misfit(a, b)
        out.insert(0, t if s == 1 else s)                # eq. 0.3
    return tuple(out)


def sine_of_square(x):
    """sin(x * x), entry by entry: out has the shape of `x`; the cache is `x` itself."""
    x = check.floats("x", x)
    out = np.empty(x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        u = float(x[index]) * float(x[index])
        out[index] = math.sin(u) if math.isfinite(u) else math.nan
    return out[()], x


def sine_of_square_backward(dout, cache):
    """Gradient with respect to `x`, of the shape of `dout`, which is that of `x`."""
    x, dout = cache, check.like("dout", dout, cache)
    dx = np.empty(x.shape, x.dtype)
    for index in np.ndindex(x.shape):
        u = float(x[index]) * float(x[index])
        slope = math.cos(u) if math.isfinite(u) else math.nan
        du = float(dout[index]) * slope                  # eq. 0.5, outer step
        dx[index] = du * 2 * float(x[index])             # eq. 0.5, inner step
    return dx[()]


def predict_copies():
    """For twelve expressions in a C-ordered `x` of shape (4, 6): True if a copy, False if a view."""
    return {
        "x.T": False,                       # two strides swapped
        "x[1:3, ::2]": False,               # a start and a larger stride
        "x[0]": False,                      # one row, contiguous
        "x[[0, 2]]": True,                  # a list gathers rows
        "x[x > 0]": True,                   # a mask gathers entries
        "x.reshape(6, 4)": False,           # the same walk, other line breaks
        "x.T.reshape(24)": True,            # no single stride walks columns first
        "x.ravel()": False,                 # a view when it can be one
        "x.flatten()": True,                # always a copy, by contract
        "np.broadcast_to(x, (3, 4, 6))": False,   # a stride of 0
        "x + 0": True,                      # arithmetic always allocates
        "x.astype(x.dtype)": True,          # copies unless copy=False
    }


def softmax(x):
    """Softmax over the last axis of `x` (..., C): same shape, rows that sum to 1."""
    x = check.floats("x", x, axes=1)
    out = np.empty(x.shape, x.dtype)
    for index in np.ndindex(x.shape[:-1]):
        row = x[index].tolist()                          # C numbers
        c = max(row, default=0.0)
        terms = [math.exp(value - c) for value in row]   # eq. 0.8, all at most 1
        total = sum(terms)
        out[index] = [term / total for term in terms]
    return out
