# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:b754fac38ff68dbf
"""Level 1: the five challenges with loops over single numbers."""

import math

import numpy as np


def matmul(a, b):
    """Matrix product of `a` (n, k) and `b` (k, m): shape (n, m), by three loops."""
    _check_matrices(a, b)
    (n, k), m = a.shape, b.shape[1]
    out = np.zeros((n, m), np.result_type(a, b))
    for i in range(n):
        for j in range(m):
            for p in range(k):
                out[i, j] += a[i, p] * b[p, j]          # eq. 0.1
    return out


def _check_matrices(a, b):
    for name, array in (("a", a), ("b", b)):
        if np.ndim(array) != 2:
            raise ValueError(f"{name} has {np.ndim(array)} axes, expected 2")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b has {b.shape[0]} rows, expected {a.shape[1]}, the columns of a")


def broadcast_shape(a, b):
    """The shape, a tuple of int, that arrays of shapes `a` and `b` broadcast to."""
    out = []
    for d in range(1, max(len(a), len(b)) + 1):
        s = a[-d] if d <= len(a) else 1
        t = b[-d] if d <= len(b) else 1
        if s != t and s != 1 and t != 1:
            raise ValueError(f"b has length {t} at axis -{d}, expected {s} or 1 (a has {s})")
        out.insert(0, t if s == 1 else s)                # eq. 0.3
    return tuple(out)


def sine_of_square(x):
    """sin(x * x), entry by entry: out has the shape of `x`; the cache is `x` itself."""
    x = np.asarray(x)
    out = np.empty(x.shape, np.result_type(x, np.float32))
    for index in np.ndindex(x.shape):
        out[index] = math.sin(x[index] ** 2)
    return out, x


def sine_of_square_backward(dout, cache):
    """Gradient with respect to `x`, of the shape of `dout`, which is that of `x`."""
    x, dx = cache, np.empty(cache.shape, np.result_type(cache, np.float32))
    for index in np.ndindex(x.shape):
        du = dout[index] * math.cos(x[index] ** 2)       # eq. 0.5, outer step
        dx[index] = du * 2 * x[index]                    # eq. 0.5, inner step
    return dx


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
    x = np.asarray(x)
    out = np.empty(x.shape, np.result_type(x, np.float32))
    for index in np.ndindex(x.shape[:-1]):
        row = [float(value) for value in x[index]]       # C numbers
        c = max(row)
        terms = [math.exp(value - c) for value in row]   # eq. 0.8, all at most 1
        total = sum(terms)
        out[index] = [term / total for term in terms]
    return out
