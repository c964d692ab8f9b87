# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:32950af4105ac3ef
"""Chapter 00: arguments checked, for all levels and for yours."""

import operator

import numpy as np


def wide(x):
    """`x` in the type to compute in: float32 for float16, whose sums stall and overflow."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def matrices(a, b):
    """`a` (n, k) and `b` (k, m) in the type to compute in, and the dtype of their product."""
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.dtype.kind not in "fciu":
            raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
        if array.ndim != 2:
            raise ValueError(f"{name} has shape {array.shape}; expected two axes")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b has {b.shape[0]} rows; expected {a.shape[1]}, the columns of a")
    return wide(a), wide(b), np.result_type(a, b)


def lengths(name, shape):
    """A shape as a tuple of int, none negative."""
    try:
        shape = tuple(operator.index(n) for n in shape)
    except TypeError as error:
        raise ValueError(f"{name} is {shape!r}; expected a tuple of integers") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} is {shape}; expected lengths of at least 0")
    return shape


def misfit(a, b):
    """The ValueError for shapes that do not broadcast."""
    return ValueError(f"b has shape {b}; expected one that fits a's {a}: equal lengths or 1")


def floats(name, x, axes=0):
    """`x` as an array of floats with at least that many axes."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if x.ndim < axes:
        raise ValueError(f"{name} has shape {x.shape}; expected at least {axes} axis")
    return x


def like(name, dout, x):
    """A gradient with respect to something of the shape of `x`."""
    dout = floats(name, dout)
    if dout.shape != x.shape:
        raise ValueError(f"{name} has shape {dout.shape}; expected {x.shape}")
    return dout
