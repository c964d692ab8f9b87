# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:42469ee0051d620a
"""Chapter 33: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t25_self_attention.checks import working
from tangled.t30_mini_gpt.checks import real, whole

METHODS = "minmax", "percentile", "mse"
SHARES = np.arange(64, 7, -1) / 64                              # of the range, for mse


def grid(bits, symmetric):
    """The number of bits and the truth value, as int and bool."""
    bits = whole("bits", bits, 2)
    if bits > 8:
        raise ValueError(f"bits = {bits}; expected 2 to 8")
    if not isinstance(symmetric, (bool, np.bool_)):
        raise ValueError(f"symmetric = {symmetric!r}; expected True or False")
    return bits, bool(symmetric)


def floats(name, x):
    """`x`, floating and finite, in the dtype to compute in."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} has NaN or inf; expected finite numbers")
    return x.astype(working(x.dtype), copy=False)


def blocks(shape, block):
    """How many blocks there are along each axis; () for one block."""
    if block is None:
        return ()
    if not isinstance(block, (tuple, list)) or len(block) != len(shape):
        raise ValueError(f"block = {block!r}; expected {len(shape)} sizes, one for each axis")
    sizes = [None if b is None else whole("block", b) for b in block]
    if any(b is not None and n % b for n, b in zip(shape, sizes)):
        raise ValueError(f"block = {tuple(block)}; expected sizes that divide {tuple(shape)}")
    return tuple(1 if b is None else n // b for n, b in zip(shape, sizes))


def calibration(x, bits, symmetric, block, method, percentile):
    """x as floats, bits, symmetric, counts of blocks, percentile."""
    x, (bits, symmetric) = floats("x", x), grid(bits, symmetric)
    if method not in METHODS:
        raise ValueError(f"method = {method!r}; expected one of {METHODS}")
    return x, bits, symmetric, blocks(x.shape, block), real("percentile", percentile, 50, 100)


def fits(shape, counts):
    """Whether `counts` blocks divide an array of that shape."""
    if counts == ():
        return True
    return len(counts) == len(shape) and all(n % c == 0 if c else n == 0 for n, c in zip(shape, counts))


def parameters(shape, scale, zero_point, low, high, dtype=None):
    """scale and zero_point (int32) as arrays of one shape, whose blocks divide an array of `shape`."""
    scale, zero_point = np.asarray(scale), np.asarray(zero_point)
    if scale.dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):        # what becomes 0 or inf is refused
            scale = scale.astype(working(scale.dtype) if dtype is None else dtype, copy=False)
    if scale.dtype.kind != "f" or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"scale is {scale.dtype}, {scale.shape}; expected finite floats above 0")
    if not fits(shape, scale.shape):
        raise ValueError(f"scale has shape {scale.shape}; expected () or blocks that divide {tuple(shape)}")
    if zero_point.dtype.kind not in "iu" or zero_point.shape not in ((), scale.shape):
        raise ValueError(f"zero_point is {zero_point.dtype} {zero_point.shape}; expected integers {scale.shape}")
    if zero_point.size and not low <= zero_point.min() <= zero_point.max() <= high:
        raise ValueError(f"zero_point is from {zero_point.min()} to {zero_point.max()}; expected {low} to {high}")
    return scale, np.broadcast_to(zero_point.astype(np.int32), scale.shape)


def centred(symmetric, zero_point):
    """A symmetric grid has its zero in the middle."""
    if symmetric and np.any(zero_point):
        raise ValueError("zero_point is not 0; expected 0, as symmetric = True")


def int8(name, q, axes=0):
    """`q` as int8 with at least so many axes."""
    q = np.asarray(q)
    if q.dtype != np.int8 or q.ndim < axes:
        raise ValueError(f"{name} is {q.dtype} {q.shape}; expected int8 with at least {axes} axes")
    return q


def product(a, b, a_zero, b_zero):
    """a (..., K), b (K, N), an int, and an int or int32 (N,)."""
    a, b = int8("a", a, 1), int8("b", b, 2)
    if b.ndim != 2 or a.shape[-1] != len(b):
        raise ValueError(f"b has shape {b.shape}; expected ({a.shape[-1]}, N), as a has shape {a.shape}")
    if whole("a_zero", a_zero, -128) > 127:
        raise ValueError(f"a_zero = {a_zero}; expected -128 to 127")
    if type(b_zero) is int and -128 <= b_zero <= 127:
        return a, b, int(a_zero), b_zero
    zeros = np.asarray(b_zero)
    if zeros.dtype.kind not in "iu" or zeros.shape not in ((), b.shape[1:]):
        raise ValueError(f"b_zero is {zeros.dtype} {zeros.shape}; expected an integer or ({b.shape[1]},) of them")
    if zeros.size and not -128 <= zeros.min() <= zeros.max() <= 127:
        raise ValueError(f"b_zero is from {zeros.min()} to {zeros.max()}; expected -128 to 127")
    return a, b, int(a_zero), zeros.astype(np.int32) if zeros.ndim else int(zeros)


def nibbles(q):
    """`q`, int8 (..., n), from -8 to 7."""
    q = int8("q", q, 1)
    if q.size and not -8 <= q.min() <= q.max() <= 7:
        raise ValueError(f"q is from {q.min()} to {q.max()}; expected -8 to 7")
    return q


def packed(p, n):
    """`p`, uint8 (..., m), and the n of its numbers, 2m or 2m - 1."""
    p, n = np.asarray(p), whole("n", n, 0)
    if p.dtype != np.uint8 or p.ndim == 0:
        raise ValueError(f"packed is {p.dtype} {p.shape}; expected uint8 (..., m)")
    if (n + 1) // 2 != p.shape[-1]:
        raise ValueError(f"n = {n}; expected {2 * p.shape[-1]} or one less, as packed has shape {p.shape}")
    return p, n


def gradient(dout, shape, dtype):
    """An upstream gradient of that shape, in that dtype."""
    dout = np.asarray(dout)
    if dout.dtype.kind != "f" or dout.shape != tuple(shape):
        raise ValueError(f"dout is {dout.dtype} {dout.shape}; expected floats {tuple(shape)}")
    return dout.astype(dtype, copy=False)
