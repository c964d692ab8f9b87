# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:689c814868a6e0ea
"""Chapter 27: arguments checked and made uniform, for all levels and for yours."""

import math
import numbers

import numpy as np


def size(name, value, least):
    """Refuse a size that is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least {least}")


def even(dim):
    """Refuse a number of features that does not split into pairs."""
    size("dim", dim, 2)
    if dim % 2:
        raise ValueError(f"dim = {dim}; expected an even number, for features turn in pairs")


def tabulation(length, dim, base, dtype):
    """Refuse what cannot be the size, the base or the dtype of a table."""
    size("length", length, 0)
    even(dim)
    if not isinstance(base, numbers.Real) or not 0 < base < math.inf:
        raise ValueError(f"base = {base!r}; expected a positive finite number")
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"dtype = {np.dtype(dtype)}; expected a floating-point type")


def floats(name, x, shape):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    sizes_fit = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
    if x.ndim != len(shape) or not sizes_fit:
        raise ValueError(f"{name} has shape {x.shape}; expected {_shown(shape)}")
    return x


def gradient(dout, shape, dtype):
    """`dout` as an array of that shape, in the dtype of what was handed to the forward pass."""
    return floats("dout", dout, shape).astype(dtype, copy=False)


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else np.dtype(dtype)


def _shown(shape):
    """("L", 2) as (L, 2)."""
    return str(tuple(shape)).replace("'", "")


def rows(positions, length, *shapes):
    """`positions` as integers of one of the shapes (of any, if none is given)."""
    positions = np.asarray(positions)
    if positions.dtype.kind not in "iu":
        raise ValueError(f"positions has dtype {positions.dtype}; expected integers")
    if shapes and positions.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"positions has shape {positions.shape}; expected {expected}")
    if positions.size and not 0 <= positions.min() <= positions.max() < length:
        raise ValueError(f"positions run from {positions.min()} to {positions.max()}; "
                         f"expected 0 to {length - 1}, the rows of the table")
    return positions.astype(np.intp)


def summands(x, encoding):
    """x (B, T, D) and an encoding (T, D) or (B, T, D), the latter in the dtype of x."""
    x = floats("x", x, ("B", "T", "D"))
    shape = x.shape if np.ndim(encoding) == 3 else x.shape[1:]
    return x, floats("encoding", encoding, shape).astype(x.dtype, copy=False)


def rotation(x, cos, sin, positions, layout):
    """The arguments of rope: tables in the dtype to compute in, positions (T,) or (B, T)."""
    x = floats("x", x, ("B", "H", "T", "D"))
    batch, _, steps, dim = x.shape
    if dim == 0 or dim % 2:
        raise ValueError(f"x has {dim} features; expected an even number, at least 2")
    cos = floats("cos", cos, ("L", dim // 2)).astype(working(x.dtype), copy=False)
    sin = floats("sin", sin, cos.shape).astype(working(x.dtype), copy=False)
    if layout not in ("interleaved", "half"):
        raise ValueError(f"layout = {layout!r}; expected 'interleaved' or 'half'")
    positions = np.arange(steps) if positions is None else positions
    return x, cos, sin, rows(positions, len(cos), (steps,), (batch, steps))


def ramp(slopes, length, past):
    """The slopes as an array (H,), and both sizes refused if they are none."""
    size("length", length, 0)
    size("past", past, 0)
    return floats("slopes", slopes, ("H",))
