# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:0c2630aea78af772
"""Chapter 01: arguments checked, for all levels and for yours."""

import numbers
import operator

import numpy as np


def wide(x):
    """`x` in the type to compute in: float32 for float16, whose sums stall and overflow."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def whole(name, value, least):
    """An integer of at least `least`, as int."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}")
    return operator.index(value)


def lengths(name, shape):
    """A shape as a tuple of int, none negative."""
    try:
        shape = tuple(operator.index(n) for n in shape)
    except TypeError as error:
        raise ValueError(f"{name} is {shape!r}; expected a tuple of integers") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"{name} is {shape}; expected lengths of at least 0")
    return shape


def layout(shape, itemsize, order):
    """Arguments of `contiguous_strides`: the shape as a tuple of int."""
    whole("itemsize", itemsize, 1)
    if order not in ("C", "F"):
        raise ValueError(f"order is {order!r}; expected 'C' or 'F'")
    return lengths("shape", shape)


def fits(small, large):
    """Whether an array of shape `small` (tuple) stretches to shape `large` (tuple)."""
    pairs = zip(small[::-1], large[::-1])
    return len(small) <= len(large) and all(n in (1, m) for n, m in pairs)


def stretch(x, shape):
    """`x` as an array and a shape that it stretches to."""
    x, shape = np.asarray(x), lengths("shape", shape)
    if not fits(x.shape, shape):
        raise ValueError(f"shape is {shape}; expected what x {x.shape} stretches to")
    return x, shape


def stretched(grad, shape):
    """`grad` as an array and the shape from which it was stretched."""
    grad, shape = np.asarray(grad), lengths("shape", shape)
    if not fits(shape, grad.shape):
        raise ValueError(f"shape is {shape}; expected what stretches to grad {grad.shape}")
    return grad, shape


def windows(x, window, step):
    """`x` as an array with a last axis that is long enough; the number of windows."""
    x = np.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"x has shape {x.shape}; expected an axis to slide along")
    if whole("window", window, 1) > x.shape[-1]:
        raise ValueError(f"window is {window}; expected 1 to {x.shape[-1]}, the last length of x")
    return x, (x.shape[-1] - window) // whole("step", step, 1) + 1


def matrices(a, b):
    """Stacks of matrices a (..., n, k), b (..., k, m), in the type to compute in."""
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.ndim < 2:
            raise ValueError(f"{name} has {array.ndim} axes; expected at least 2")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"b has {b.shape[-2]} rows; expected {a.shape[-1]} (the columns of a)")
    return a, b, np.result_type(a, b)


def letters(spec, a, b):
    """The letters of a, of b and of the output (str), and the length of each (dict)."""
    operands, arrow, to = spec.replace(" ", "").partition("->")
    parts = operands.split(",")
    if not arrow or len(parts) != 2 or not all(p.isalpha() or p == "" for p in (*parts, to)):
        raise ValueError(f"spec is {spec!r}; expected two operands and an output: 'ij,jk->ik'")
    sizes = {}
    for name, of, array in (("a", parts[0], a), ("b", parts[1], b)):
        if len(of) != array.ndim:
            raise ValueError(f"{name} has {array.ndim} axes; expected {len(of)} ({of})")
        for c, length in zip(of, array.shape):
            if sizes.setdefault(c, length) != length:
                raise ValueError(f"{name} has length {length} at {c!r}; expected {sizes[c]}")
    if len(set(to)) != len(to) or not set(to) <= set(sizes):
        raise ValueError(f"spec is {spec!r}; expected an output of the inputs' letters, each once")
    return (*parts, to, sizes)


def floats(x, axis):
    """`x` as an array of floats with the axis `axis`, which comes back as 0, 1, …"""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"x has dtype {x.dtype}; expected floating point")
    if x.ndim == 0:
        raise ValueError(f"x has shape {x.shape}; expected at least one axis")
    if not isinstance(axis, numbers.Integral) or not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis is {axis!r}; expected {-x.ndim} to {x.ndim - 1}, the axes of x")
    return x, int(axis) % x.ndim


def labels(y, k):
    """`y` as an array of integers from 0 to k - 1."""
    y = np.asarray(y)
    if y.dtype.kind not in "iu":
        raise ValueError(f"y has dtype {y.dtype}; expected integers")
    if y.size and not 0 <= y.min() <= y.max() < whole("k", k, 0):
        raise ValueError(f"y has labels from {y.min()} to {y.max()}; expected 0 to {k - 1}")
    whole("k", k, 0)
    return y
