# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:81ebff1e10c85ec6
"""Level 2: the five challenges over whole arrays."""

import numpy as np

import tangled.t00_prerequisites.checks as check


def matmul(a, b):
    """Matrix product, without `@`.

    Parameters
    ----------
    a : ndarray of shape (n, k), numbers of any type
    b : ndarray of shape (k, m)

    Returns
    -------
    ndarray of shape (n, m), of the common dtype of `a` and `b`
        ValueError if an argument has not two axes, or the inner sizes differ.
    """
    a, b, dtype = check.matrices(a, b)
    products = a[:, :, None] * b[None, :, :]             # (n, k, m)
    return products.sum(axis=1, dtype=products.dtype).astype(dtype, copy=False)  # eq. 0.1


def broadcast_shape(a, b):
    """The shape that arrays of shapes `a` and `b` broadcast to.

    Parameters
    ----------
    a, b : tuple of int
        Shapes; () is a scalar's.

    Returns
    -------
    tuple of int
        ValueError if an axis has two different lengths of which neither is 1.
    """
    a, b = check.lengths("a", a), check.lengths("b", b)
    ndim = max(len(a), len(b))
    s = np.array((1,) * (ndim - len(a)) + a, dtype=int)      # (ndim,)
    t = np.array((1,) * (ndim - len(b)) + b, dtype=int)      # (ndim,)
    if not ((s == t) | (s == 1) | (t == 1)).all():
        raise check.misfit(a, b)
    return tuple(np.where(s == 1, t, s).tolist())        # eq. 0.3


def sine_of_square(x):
    """sin(x * x), elementwise.

    Parameters
    ----------
    x : ndarray of any shape, floating point

    Returns
    -------
    out : ndarray of the shape and dtype of `x`; a scalar if `x` is one
    cache : what `sine_of_square_backward` needs: `x` itself, not a copy
    """
    cache = check.floats("x", x)
    x = check.wide(cache)
    return np.sin(x * x).astype(cache.dtype, copy=False)[()], cache


def sine_of_square_backward(dout, cache):
    """Gradient of a loss with respect to `x`.

    Parameters
    ----------
    dout : ndarray of the shape of `x`
        Gradient of the loss with respect to the output. ValueError for another shape.
    cache : from `sine_of_square`

    Returns
    -------
    ndarray of the shape and dtype of `x`
    """
    dout, x = check.like("dout", dout, cache), check.wide(cache)
    du = dout * np.cos(x * x)            # outer step    (eq. 0.5)
    dx = du * (2 * x)                    # inner step
    return dx.astype(cache.dtype, copy=False)[()]


def predict_copies():
    """For twelve expressions in a C-ordered `x` of shape (4, 6): is the result a copy?

    Returns
    -------
    dict of str to bool; True: a copy, with memory of its own; False: a view
        Keys: "x.T", "x[1:3, ::2]", "x[0]", "x[[0, 2]]", "x[x > 0]", "x.reshape(6, 4)",
        "x.T.reshape(24)", "x.ravel()", "x.flatten()", "np.broadcast_to(x, (3, 4, 6))",
        "x + 0", "x.astype(x.dtype)".
    """
    x = np.arange(1.0, 25.0).reshape(4, 6)
    results = {
        "x.T": x.T, "x[1:3, ::2]": x[1:3, ::2], "x[0]": x[0],
        "x[[0, 2]]": x[[0, 2]], "x[x > 0]": x[x > 0],
        "x.reshape(6, 4)": x.reshape(6, 4), "x.T.reshape(24)": x.T.reshape(24),
        "x.ravel()": x.ravel(), "x.flatten()": x.flatten(),
        "np.broadcast_to(x, (3, 4, 6))": np.broadcast_to(x, (3, 4, 6)),
        "x + 0": x + 0, "x.astype(x.dtype)": x.astype(x.dtype),
    }
    return {name: not np.shares_memory(x, result) for name, result in results.items()}


def softmax(x):
    """Softmax over the last axis.

    Parameters
    ----------
    x : ndarray of shape (..., C), floating point

    Returns
    -------
    ndarray of shape (..., C), of the dtype of `x`
        Positive, each row sums to 1. Finite for every finite `x`; a row with a NaN is NaN.
        ValueError for integers and for a number without an axis.
    """
    x = check.floats("x", x, axes=1)
    shifted = x - x.max(axis=-1, keepdims=True, initial=-np.inf)     # at most 0
    terms = np.exp(check.wide(shifted))                      # (..., C)    (eq. 0.8)
    return (terms / terms.sum(axis=-1, keepdims=True)).astype(x.dtype, copy=False)
