# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:169d85f97b34cd2d
"""Chapter 04: arguments checked, for all levels and for yours."""

import numbers

import numpy as np


def wide(x):
    """`x` in the type to compute in: float32 for float16, whose sums stall and overflow."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def floats(name, x, shape=None):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if shape is not None:
        fits = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
        if x.ndim != len(shape) or not fits:
            shown = str(tuple(shape)).replace("'", "")
            raise ValueError(f"{name} has shape {x.shape}; expected {shown}")
    return x


def finite(name, x, shape):
    """The same, and no NaN or infinity: no side of a line is right for those."""
    x = floats(name, x, shape)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has entries that are not finite; expected finite numbers")
    return x


def scalar(name, value):
    """A single real number, as a Python float."""
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiu":
        raise ValueError(f"{name} = {value!r}; expected one real number")
    return float(value)


def count(name, value):
    """A positive integer."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} = {value!r}; expected a positive integer")


def numbers_like(name, y, x, shape):
    """`y` of that shape, real numbers, in the dtype of x."""
    y = np.asarray(y)
    if y.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {y.dtype}; expected real numbers")
    if y.shape != shape:
        raise ValueError(f"{name} has shape {y.shape}; expected {shape}")
    return y.astype(x.dtype, copy=False)


def probabilities(y, x, shape):
    """Labels from 0 to 1, in the dtype of x."""
    y = numbers_like("y", y, x, shape)
    if y.size and not (y.min() >= 0 and y.max() <= 1):
        raise ValueError(f"y runs from {y.min()} to {y.max()}; expected labels from 0 to 1")
    return y


def signed(x, y, epochs):
    """x (N, D), finite, and labels -1 and +1 (N,), to compute with; the dtype of the results."""
    x = finite("x", x, ("N", "D"))
    y = numbers_like("y", y, x, x.shape[:1])
    strange = y[np.abs(y) != 1]
    if strange.size:
        raise ValueError(f"y has the label {strange[0]}; expected -1 and +1")
    count("epochs", epochs)
    return wide(x), wide(y), x.dtype


def unit(x, w, b):
    """x (N, D), w (D,) and a number b."""
    x = finite("x", x, ("N", "D"))
    w = finite("w", w, x.shape[1:])
    return wide(x), wide(w), scalar("b", b)


def logits(z, y):
    """z of any shape, at least one, and labels of the same shape."""
    z = floats("z", z)
    if z.size == 0:
        raise ValueError(f"z has shape {z.shape}; expected at least one logit")
    return z, probabilities(y, z, z.shape)


def labelled(x, y, lr, epochs):
    """x (N, D), finite, at least one row, labels (N,) from 0 to 1; the dtype of the results."""
    x = finite("x", x, ("N", "D"))
    if len(x) == 0:
        raise ValueError(f"x has shape {x.shape}; expected at least one sample")
    y = probabilities(y, x, x.shape[:1])
    if not 0 < scalar("lr", lr) < np.inf:
        raise ValueError(f"lr = {lr!r}; expected a positive finite number")
    count("epochs", epochs)
    return wide(x), wide(y), x.dtype


def room(out, z, *others):
    """An array to write dz into: shape and dtype of z, in C order, no memory of z or the others."""
    if out is None:
        return np.empty(z.shape, z.dtype)
    fits = isinstance(out, np.ndarray) and (out.shape, out.dtype) == (z.shape, z.dtype)
    shared = fits and any(np.may_share_memory(out, array) for array in (z, *others))
    if not fits or shared or not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"out does not fit; expected a writeable array {z.shape} of {z.dtype} "
                         "in C order that shares no memory with an input")
    return out
