# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:85ad36d0bf4e0c4a
"""Chapter 08: arguments checked and made uniform, for all levels and for yours."""

import math
import numbers

import numpy as np


def floats(name, x, shape=None):
    """`x` as an array of floats, of that shape if one is given."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if shape is not None and x.shape != tuple(shape):
        raise ValueError(f"{name} has shape {x.shape}; expected {tuple(shape)}")
    return x


def _real(value):
    """Whether it is a real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def number(name, value):
    """A real number, perhaps inf or NaN, as a float."""
    if not _real(value):
        raise ValueError(f"{name} = {value!r}; expected a number")
    return float(value)


def scalar(name, value):
    """A number, or an array that holds one, as a float."""
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "fiu":
        raise ValueError(f"{name} = {value!r}; expected one number")
    return float(np.asarray(value).reshape(()))


def nonnegative(name, value):
    """A finite number of at least 0, as a float."""
    if not _real(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value!r}; expected a finite number of at least 0")
    return float(value)


def positive(name, value):
    """A finite number above 0, as a float."""
    if not _real(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} = {value!r}; expected a positive finite number")
    return float(value)


def probability(name, value):
    """A number from 0 to 1, as a float."""
    if not _real(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} = {value!r}; expected a number from 0 to 1")
    return float(value)


def count(name, value):
    """An integer of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least 1")
    return int(value)


def generator(name, rng):
    """A numpy.random.Generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"{name} is {rng!r}; expected a numpy.random.Generator")
    return rng


def wide(x):
    """`x`, or float16 as float32: powers and sums of float16 overflow at 65504."""
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def factor(value, dtype):
    """A number in a dtype that can hold it, at least float32; times float16 it is rounded once."""
    return np.promote_types(dtype, np.float32).type(value)


def penalty(w, strength):
    """The arguments of a penalty."""
    return floats("w", w), nonnegative("strength", strength)


def parameters(found):
    """A list of objects whose `.data` are arrays of floats, each of them once."""
    found = list({id(parameter): parameter for parameter in found}.values())
    for k, parameter in enumerate(found):
        data = getattr(parameter, "data", None)
        if not isinstance(data, np.ndarray) or data.dtype.kind != "f":
            raise ValueError(f"parameters has a {type(parameter).__name__} at index {k}; "
                             "expected objects with .data, an array of floats")
    return found


def decay(lr, weight_decay):
    """The factor 1 - lr * weight_decay, refused where it would be negative."""
    lr, weight_decay = positive("lr", lr), nonnegative("weight_decay", weight_decay)
    if lr * weight_decay > 1:
        raise ValueError(f"weight_decay = {weight_decay!r}; expected at most 1 / lr = {1 / lr!r}")
    return 1.0 - lr * weight_decay


def bound(found, limit, axis):
    """The weights among some parameters, a positive limit, and an axis of each or a tuple of them."""
    weights, limit = [p for p in parameters(found) if p.data.ndim > 1], positive("limit", limit)
    axes = axis if isinstance(axis, tuple) else (axis,)
    if not axes or any(not isinstance(a, numbers.Integral) or isinstance(a, bool) for a in axes):
        raise ValueError(f"axis = {axis!r}; expected an integer or a tuple of integers")
    for ndim in {weight.data.ndim for weight in weights}:
        named = {a % ndim for a in axes if -ndim <= a < ndim}
        if len(named) < len(axes):
            raise ValueError(f"axis = {axis!r}; expected different axes of an array that has {ndim}")
    return weights, limit, tuple(int(a) for a in axes)


def noisy(x, p, rng, training):
    """The arguments of dropout; a generator is needed only where one is used."""
    x, p = floats("x", x), probability("p", p)
    if training and p > 0:
        generator("rng", rng)
    return x, p


def smoothed(logits, y, smoothing):
    """logits (..., K), at least one row of them, integers y (...) below K, and a probability."""
    logits, y = floats("logits", logits), np.asarray(y)
    if logits.ndim < 2 or logits.size == 0:
        raise ValueError(f"logits has shape {logits.shape}; expected (N, K), N and K at least 1")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y has dtype {y.dtype}; expected integers, the numbers of the classes")
    if y.shape != logits.shape[:-1]:
        raise ValueError(f"y has shape {y.shape}; expected {logits.shape[:-1]}")
    if not 0 <= y.min() <= y.max() < logits.shape[-1]:
        raise ValueError(f"y runs from {y.min()} to {y.max()}; "
                         f"expected 0 to {logits.shape[-1] - 1}, the classes of the logits")
    return logits, y, probability("smoothing", smoothing)
