# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:81773db9872a10d1
"""Chapter 16: arguments checked, for all levels and for yours."""

import numbers

import numpy as np


def floats(name, x, dtype=None):
    """`x` as an array of floats, of the dtype of the others."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as x")
    return x


def vector(name, v, size, dtype):
    """None, or an array (size,) of floats."""
    if v is None:
        return None
    v = floats(name, v, dtype)
    if v.shape != (size,):
        raise ValueError(f"{name} has shape {v.shape}; expected ({size},)")
    return v


def positive(name, value):
    """A positive finite number."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 < value < np.inf:
        raise ValueError(f"{name} = {value!r}; expected a positive finite number")


def whole(name, value):
    """A positive whole number."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < 1:
        raise ValueError(f"{name} = {value!r}; expected a positive integer")
    return int(value)


def features(x, gamma, beta, eps):
    """x (..., D) with D at least 1; gamma and beta (D,) or None."""
    x = floats("x", x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"x has shape {x.shape}; expected (..., D) with at least one feature")
    positive("eps", eps)
    return x, vector("gamma", gamma, x.shape[-1], x.dtype), vector("beta", beta, x.shape[-1], x.dtype)


def channels(x, groups, gamma, beta, eps):
    """x (N, C, *S), groups a divisor of C; gamma and beta (C,) or None."""
    x = floats("x", x)
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; expected (N, C, ...) with at least one channel and pixel")
    groups = whole("groups", groups)
    if x.shape[1] % groups:
        raise ValueError(f"groups = {groups}; expected a divisor of the {x.shape[1]} channels")
    positive("eps", eps)
    return x, groups, vector("gamma", gamma, x.shape[1], x.dtype), vector("beta", beta, x.shape[1], x.dtype)


def same(name, other, x):
    """An array of the shape and dtype of x."""
    other = floats(name, other, x.dtype)
    if other.shape != x.shape:
        raise ValueError(f"{name} has shape {other.shape}; expected {x.shape}, as x")
    return other


def gradient(name, dout, shape, dtype):
    """An upstream gradient of that shape, in that dtype."""
    dout = floats(name, dout)
    if dout.shape != shape:
        raise ValueError(f"{name} has shape {dout.shape}; expected {shape}")
    return dout.astype(dtype, copy=False)


def weights(v, g, axis):
    """v of at least one axis, g (K,), the axis as a number from 0; no row of v may be 0."""
    v = floats("v", v)
    good = isinstance(axis, numbers.Integral) and not isinstance(axis, (bool, np.bool_))
    if not good or not -v.ndim <= axis < v.ndim:
        raise ValueError(f"axis = {axis!r}; expected one of the {v.ndim} axes of v")
    axis = int(axis) % v.ndim
    g = vector("g", floats("g", g), v.shape[axis], v.dtype)
    if not np.any(v != 0, axis=tuple(k for k in range(v.ndim) if k != axis)).all():
        raise ValueError(f"v has a row of zeros along axis {axis}; expected a direction, and zero has none")
    return v, g, axis


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
