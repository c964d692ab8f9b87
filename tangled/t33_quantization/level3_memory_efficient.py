# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:2bf4d682c3384e08
"""Quantisation, level 3: strips in one buffer; products in float32 that are exact; sorted calibration."""

import itertools
import math
import threading

import numpy as np

import tangled.t33_quantization.checks as check
from tangled.t33_quantization.level2_vectorized import (
    _blocked,
    _grid,
    _parameters,
    _ranges,
    _reach,
    _without_zeros,
)
from tangled.t33_quantization.level2_vectorized import calibrate as _in_passes

__all__ = ["calibrate", "dequantize", "fake_quantize", "fake_quantize_backward", "int8_matmul",
           "pack_int4", "quantize", "unpack_int4"]

STRIP = 1 << 16                                                 # numbers in a buffer
EXACT, ROWS, COLUMNS = 1024, 256, 512                           # 1024 * 128 * 128 = 2^24


def _lines(x, counts):
    """x as rows to cut strips from: flat for one block, otherwise with at least one axis."""
    return x.reshape(-1) if counts == () or x.ndim == 0 else x


def _strips(shape, scale, zero_point):
    """Slices of the first axis, with the scales and zero points of their rows, spread out."""
    rows, zero_point = max(1, STRIP // max(1, math.prod(shape[1:]))), zero_point.astype(scale.dtype)
    for start in range(0, shape[0] if math.prod(shape) else 0, rows):
        part = slice(start, min(start + rows, shape[0]))
        yield part, _spread(scale, shape, part), _spread(zero_point, shape, part)


def _spread(values, shape, part):
    """values (c, e, ...) for the rows `part` of an array of that shape, so that they broadcast."""
    if values.size == 1:
        return values.reshape(-1)[0]
    if len(values) > 1:
        values = values[np.arange(part.start, part.stop) // (shape[0] // len(values))]
    for axis in range(1, len(shape)):
        if values.shape[axis] not in (1, shape[axis]):
            values = np.repeat(values, shape[axis] // values.shape[axis], axis=axis)
    return values


def _rounded(x, s, z, room):
    """rint(x / s) + z for a strip, in the buffer."""
    t = room[:x.size].reshape(x.shape)
    with np.errstate(over="ignore"):
        np.divide(x, s, out=t)
    np.rint(t, out=t)
    if np.any(z):                                               # a symmetric grid has zeros
        t += z                                                  # eq. 33.1
    return t


def _room(x):
    """A buffer for a strip of x."""
    return np.empty(min(x.size, max(STRIP, math.prod(x.shape[1:]))), x.dtype)


def quantize(x, scale=None, zero_point=None, bits=8, symmetric=True, block=None):
    """As level 2, x of any shape; one buffer of 64 thousand numbers."""
    x, (low, high) = check.floats("x", x), _grid(bits, symmetric)
    if scale is None:
        scale, zero_point = calibrate(x, bits, symmetric, block)
    zero_point = 0 if zero_point is None else zero_point
    scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
    check.centred(symmetric, zero_point)
    lines = _lines(x, scale.shape)
    q, room = np.empty(lines.shape, np.int8), _room(lines)
    for part, s, z in _strips(lines.shape, scale, zero_point):
        t = _rounded(lines[part], s, z, room)
        np.clip(t, low, high, out=t)
        q[part] = t
    return q.reshape(x.shape), scale.copy(), zero_point.copy()


def dequantize(q, scale, zero_point=0):
    """As level 2, q of any shape; nothing but the result."""
    q = check.int8("q", q)
    scale, zero_point = check.parameters(q.shape, scale, zero_point, -128, 127)
    lines = _lines(q, scale.shape)
    x = np.empty(lines.shape, scale.dtype)
    for part, s, z in _strips(lines.shape, scale, zero_point):
        x[part] = lines[part]
        x[part] -= z
        x[part] *= s
    return x.reshape(q.shape)


def fake_quantize(x, scale, zero_point=0, bits=8, symmetric=True):
    """As level 2, x of any shape; where it was inside is kept in bits."""
    given = np.asarray(x)
    x, (low, high) = check.floats("x", x), _grid(bits, symmetric)
    scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
    check.centred(symmetric, zero_point)
    lines = _lines(x, scale.shape)
    out, room, inside = np.empty(lines.shape, given.dtype), _room(lines), []
    for part, s, z in _strips(lines.shape, scale, zero_point):
        t = _rounded(lines[part], s, z, room)
        inside.append(np.packbits((t >= low) & (t <= high)))    # eq. 33.12
        np.clip(t, low, high, out=t)
        t -= z
        t *= s
        out[part] = t
    return out.reshape(x.shape), (inside, lines.shape, x.shape, given.dtype)


def fake_quantize_backward(dout, cache):
    """As level 2, dout of the shape of x."""
    inside, lines, shape, dtype = cache
    dout = check.gradient(dout, shape, dtype).reshape(lines)
    dx, one = np.zeros(lines, dtype), np.ones(())
    for (part, _, _), packed in zip(_strips(lines, one, one), inside):
        open_ = np.unpackbits(packed, count=dout[part].size).view(bool).reshape(dout[part].shape)
        np.copyto(dx[part], dout[part], where=open_)
    return dx.reshape(shape)


def calibrate(x, bits=8, symmetric=True, block=None, method="minmax", percentile=99.9):
    """As level 2, x of any shape; for "mse" large blocks are sorted."""
    given = check.calibration(x, bits, symmetric, block, method, percentile)
    x, bits, symmetric, counts, percentile = given
    if method != "mse" or x.size < 8192 * max(1, math.prod(counts)):
        return _in_passes(x, bits, symmetric, block, method, percentile)
    b = _blocked(x, counts)
    lo, hi = _ranges(b, counts, symmetric, method, percentile)
    rows = np.moveaxis(b, range(0, b.ndim, 2), range(b.ndim // 2)).reshape(lo.size, -1)
    share = np.array([_best_share(*row, bits, symmetric) for row in zip(rows, lo.flat, hi.flat)])
    share = share.reshape(counts)
    return _parameters(share * lo, share * hi, bits, symmetric, x.dtype)


def _best_share(values, lo, hi, bits, symmetric):
    """The share of one range with the least squared error of values (n,); eq. 33.14."""
    power, (low, high) = math.frexp(max(hi, -lo))[1], _grid(bits, symmetric)
    v, lo, hi = (np.sort(np.ldexp(values, -power)), math.ldexp(min(lo, 0.0), -power),
                 math.ldexp(max(hi, 0.0), -power))
    sums = np.zeros(v.size + 1)
    np.cumsum(v, dtype=np.float64, out=sums[1:])
    total, errors = np.dot(w := v.astype(np.float64), w), []
    for share in check.SHARES:
        scale, zero = _parameters(share * lo, share * hi, bits, symmetric, v.dtype)
        steps = np.arange(low, high + 1) - zero
        points = steps * np.float64(scale)                      # (2^bits,), or one less
        cut = np.searchsorted(v, ((steps[:-1] + 0.5) * np.float64(scale)).astype(v.dtype))
        cut = np.concatenate([[0], cut, [v.size]])
        errors.append(total - 2 * points @ np.diff(sums[cut]) + points ** 2 @ np.diff(cut))
    return check.SHARES[np.argmax(np.array(errors) <= min(errors) + 1e-12 * total)]


class _Room(threading.local):
    """Buffers for the pieces of a product, 4 MB for each thread, made when first used."""

    def __init__(self):
        self.left, self.right = (np.empty(n * EXACT, np.float32) for n in (ROWS, COLUMNS))
        self.part, self.whole = (np.empty(ROWS * COLUMNS, dtype) for dtype in (np.float32, np.int32))


ROOM = _Room()


def int8_matmul(a, b, a_zero=0, b_zero=0):
    """As level 2, a (..., K), b (K, N); by BLAS, in pieces of at most 1,024 terms."""
    a, b, a_zero, b_zero = check.product(a, b, a_zero, b_zero)
    K, N = b.shape
    rows, dtype = a.reshape(math.prod(a.shape[:-1]), K), _reach(K, a_zero, b_zero)
    y = np.empty((len(rows), N), dtype) if K else np.zeros((len(rows), N), dtype)
    terms = math.ceil(K / max(1, math.ceil(K / EXACT)))         # of a piece, all about as many
    for n, k in itertools.product(range(0, N, COLUMNS), range(0, K, max(1, terms))):
        right = _as_floats(b[k:k + terms, n:n + COLUMNS], ROOM.right)
        for m in range(0, len(rows), ROWS):
            left = _as_floats(rows[m:m + ROWS, k:k + terms], ROOM.left)
            _add_product(left, right, y[m:m + ROWS, n:n + COLUMNS], k == 0)
    y = y.reshape(*a.shape[:-1], N)
    none = isinstance(b_zero, int) and a_zero == b_zero == 0
    return y if none else _without_zeros(y, a, b, a_zero, b_zero)


def _as_floats(x, buffer):
    """x (r, c), int8, in the buffer."""
    out = buffer[:x.size].reshape(x.shape)
    np.copyto(out, x)
    return out


def _add_product(left, right, y, first):
    """Adds left (m, k) times right (k, n) to y (m, n), or writes it there; exact, eq. 33.11."""
    part, whole = (buffer[:y.size].reshape(y.shape) for buffer in (ROOM.part, ROOM.whole))
    np.matmul(left, right, out=part)
    if first:
        np.copyto(y, part, casting="unsafe")
    else:
        np.copyto(whole, part, casting="unsafe")
        y += whole


def pack_int4(q):
    """As level 2, q (..., n); two int8 are read as one uint16."""
    q = check.nibbles(q)
    n = q.shape[-1]
    if n % 2:
        q = np.concatenate([q, np.zeros((*q.shape[:-1], 1), np.int8)], axis=-1)
    pairs = np.ascontiguousarray(q).view("<u2")                 # the first of two in the low byte
    out = np.empty(pairs.shape, np.uint8)
    np.bitwise_or(pairs & 15, pairs >> 4 & 240, out=out, casting="unsafe")
    return out


def unpack_int4(packed, n):
    """As level 2, packed (..., m); a byte is spread over a uint16, which is two int8."""
    packed, n = check.packed(packed, n)
    pairs = packed.astype("<u2", order="C")                     # (..., m)
    low = pairs & 15
    pairs &= 240
    pairs <<= 4
    pairs |= low
    pairs ^= 0x0808
    both = pairs.view(np.int8)                                  # (..., 2m), (u ^ 8) so far
    both -= np.int8(8)
    return both if n == both.shape[-1] else both[..., :n].copy()
