# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:545a81ff70df55f2
"""Chapter 27: arguments checked and made uniform, for all levels and for yours."""

import math
import numbers

import numpy as np


def check_count(name, value, least):
    """Refuse a size that is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least {least}")


def check_dim(dim):
    """Refuse a number of features that does not split into pairs."""
    check_count("dim", dim, 2)
    if dim % 2:
        raise ValueError(f"dim = {dim}; expected an even number, for features turn in pairs")


def check_table(length, dim, base, dtype):
    """Refuse what cannot be the size, the base or the dtype of a table."""
    check_count("length", length, 0)
    check_dim(dim)
    if not isinstance(base, numbers.Real) or not 0 < base < math.inf:
        raise ValueError(f"base = {base!r}; expected a positive finite number")
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"dtype = {np.dtype(dtype)}; expected a floating-point type")


def check_floats(name, x, shape):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    sizes_fit = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
    if x.ndim != len(shape) or not sizes_fit:
        raise ValueError(f"{name} has shape {x.shape}; expected {_shown(shape)}")
    return x


def _shown(shape):
    """("L", 2) as (L, 2)."""
    return str(tuple(shape)).replace("'", "")


def check_positions(positions, rows, *shapes):
    """`positions` as integers of one of the shapes (of any, if none is given)."""
    positions = np.asarray(positions)
    if positions.dtype.kind not in "iu":
        raise ValueError(f"positions has dtype {positions.dtype}; expected integers")
    if shapes and positions.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"positions has shape {positions.shape}; expected {expected}")
    if positions.size and not 0 <= positions.min() <= positions.max() < rows:
        raise ValueError(f"positions run from {positions.min()} to {positions.max()}; "
                         f"expected 0 to {rows - 1}, the rows of the table")
    return positions.astype(np.intp)


def check_sum(x, encoding):
    """x (B, T, D) and an encoding (T, D) or (B, T, D), the latter in the dtype of x."""
    x = check_floats("x", x, ("B", "T", "D"))
    shape = x.shape if np.ndim(encoding) == 3 else x.shape[1:]
    return x, check_floats("encoding", encoding, shape).astype(x.dtype, copy=False)


def check_rope(x, cos, sin, positions, layout):
    """The arguments of rope: tables in the dtype of x, positions (T,) or (B, T)."""
    x = check_floats("x", x, ("B", "H", "T", "D"))
    batch, _, steps, dim = x.shape
    if dim == 0 or dim % 2:
        raise ValueError(f"x has {dim} features; expected an even number, at least 2")
    cos = check_floats("cos", cos, ("L", dim // 2)).astype(x.dtype, copy=False)
    sin = check_floats("sin", sin, cos.shape).astype(x.dtype, copy=False)
    if layout not in ("interleaved", "half"):
        raise ValueError(f"layout = {layout!r}; expected 'interleaved' or 'half'")
    positions = np.arange(steps) if positions is None else positions
    return x, cos, sin, check_positions(positions, len(cos), (steps,), (batch, steps))


def check_bias(slopes, length, past):
    """The slopes as an array (H,), and both sizes refused if they are none."""
    check_count("length", length, 0)
    check_count("past", past, 0)
    return check_floats("slopes", slopes, ("H",))
