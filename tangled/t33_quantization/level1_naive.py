# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:7a5b56e9aee4edd6
"""Quantisation, level 1: one number at a time, in Python's integers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t33_quantization.checks as check


def _ends(bits, symmetric):
    """The smallest and the largest integer."""
    half = 2 ** (bits - 1)
    return (1 - half if symmetric else -half), half - 1


def _block(index, shape, counts):
    """The index of the block in which a number of x stands."""
    return tuple(i // (n // c) for i, n, c in zip(index, shape, counts))


def _parameters(lo, hi, bits, symmetric, dtype):
    """scale and zero point of one range."""
    low, high = _ends(bits, symmetric)
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = max(hi, -lo) / high if symmetric else hi / (high - low) - lo / (high - low)
    scale = float(dtype.type(scale))
    if scale < float(np.finfo(dtype).tiny):
        scale = 1.0
    return scale, 0 if symmetric else min(max(round(low - lo / scale), low), high)      # eq. 33.2


def _rank(values, percent):
    """A percentile, straight between neighbours."""
    values = sorted(values)
    place = (len(values) - 1) * percent / 100
    k = min(int(place), len(values) - 2) if len(values) > 1 else 0
    after = values[k + 1] if len(values) > 1 else values[0]
    return values[k] + (after - values[k]) * (place - k)


def _range(values, symmetric, method, percentile):
    """The range of a block's numbers before anything is cut for the least error."""
    if not values:
        return 0.0, 0.0
    if method != "percentile":
        return min(values), max(values)
    if symmetric:
        top = _rank([abs(x) for x in values], percentile)
        return -top, top
    return _rank(values, 100 - percentile), _rank(values, percentile)


def _smallest_error(values, lo, hi, bits, symmetric, dtype):
    """The share of the range with the least squared error, the widest of equals."""
    low, high = _ends(bits, symmetric)
    power = math.frexp(max(hi, -lo))[1]                         # squares of numbers near 1 are numbers
    lo, hi, *values = (math.ldexp(x, -power) for x in (min(lo, 0.0), max(hi, 0.0), *values))
    errors = []
    for share in check.SHARES.tolist():
        scale, zero = _parameters(share * lo, share * hi, bits, symmetric, dtype)
        errors.append(math.fsum((scale * (min(max(round(x / scale) + zero, low), high) - zero) - x) ** 2
                                for x in values))
    near = min(errors) + 1e-12 * math.fsum(x * x for x in values)
    return next(share for share, error in zip(check.SHARES.tolist(), errors) if error <= near)


def calibrate(x, bits=8, symmetric=True, block=None, method="minmax", percentile=99.9):
    """x of any shape: scale and zero_point, arrays with one entry for each block."""
    x, bits, symmetric, counts, percentile = check.calibration(x, bits, symmetric, block, method, percentile)
    scale, zero_point = np.ones(counts, x.dtype), np.zeros(counts, np.int32)
    members = {place: [] for place in np.ndindex(counts)}
    for index in np.ndindex(x.shape):
        members[_block(index, x.shape, counts)].append(float(x[index]))
    for place, values in members.items():
        lo, hi = _range(values, symmetric, method, percentile)
        if method == "mse":
            share = _smallest_error(values, lo, hi, bits, symmetric, x.dtype)
            lo, hi = share * min(lo, 0.0), share * max(hi, 0.0)
        scale[place], zero_point[place] = _parameters(lo, hi, bits, symmetric, x.dtype)
    return scale, zero_point


def quantize(x, scale=None, zero_point=None, bits=8, symmetric=True, block=None):
    """x of any shape: q of its shape, int8, scale and zero_point."""
    x, (low, high) = check.floats("x", x), _ends(*check.grid(bits, symmetric))
    if scale is None:
        scale, zero_point = calibrate(x, bits, symmetric, block)
    zero_point = 0 if zero_point is None else zero_point
    scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
    check.centred(symmetric, zero_point)
    q = np.zeros(x.shape, np.int8)
    for index in np.ndindex(x.shape):
        place = _block(index, x.shape, scale.shape)
        q[index] = min(max(_nearest(x[index], scale[place]) + int(zero_point[place]), low), high)
    return q, scale.copy(), zero_point.copy()


def _nearest(x, scale):
    """x / scale to the nearest integer; far outside, any that is outside as well."""
    with np.errstate(over="ignore"):
        u = float(np.divide(x, scale))
    return round(min(max(u, -1e6), 1e6))                        # eq. 33.1


def dequantize(q, scale, zero_point=0):
    """q of any shape, int8: floats of its shape."""
    q = check.int8("q", q)
    scale, zero_point = check.parameters(q.shape, scale, zero_point, -128, 127)
    x = np.zeros(q.shape, scale.dtype)
    for index in np.ndindex(q.shape):
        place = _block(index, q.shape, scale.shape)
        x[index] = scale[place] * scale.dtype.type(int(q[index]) - int(zero_point[place]))
    return x


def int8_matmul(a, b, a_zero=0, b_zero=0):
    """a (..., K), b (K, N), int8: (..., N), exact."""
    a, b, a_zero, b_zero = check.product(a, b, a_zero, b_zero)
    K, N = b.shape
    zeros, columns = np.broadcast_to(b_zero, N).tolist(), b.T.tolist()
    reach = K * (128 + abs(a_zero)) * (128 + max(map(abs, zeros), default=0))
    out = np.zeros((*a.shape[:-1], N), np.int32 if reach < 2 ** 31 else np.int64)
    for index in np.ndindex(a.shape[:-1]):
        row = a[index].tolist()
        for n in range(N):
            out[(*index, n)] = sum((x - a_zero) * (y - zeros[n]) for x, y in zip(row, columns[n]))
    return out


def fake_quantize(x, scale, zero_point=0, bits=8, symmetric=True):
    """x of any shape: out of its shape, and a cache."""
    given = np.asarray(x)
    x, (low, high) = check.floats("x", x), _ends(*check.grid(bits, symmetric))
    scale, zero_point = check.parameters(x.shape, scale, zero_point, low, high, x.dtype)
    check.centred(symmetric, zero_point)
    out, inside = np.zeros(x.shape, x.dtype), np.zeros(x.shape, bool)
    for index in np.ndindex(x.shape):
        place = _block(index, x.shape, scale.shape)
        z = int(zero_point[place])
        q = _nearest(x[index], scale[place]) + z
        inside[index] = low <= q <= high                        # eq. 33.12
        out[index] = scale[place] * x.dtype.type(min(max(q, low), high) - z)
    return out.astype(given.dtype), (inside, given.dtype)


def fake_quantize_backward(dout, cache):
    """dout of the shape of x: dx, where x was inside."""
    inside, dtype = cache
    dout = check.gradient(dout, inside.shape, dtype)
    dx = np.zeros(inside.shape, dtype)
    for index in np.ndindex(inside.shape):
        dx[index] = dout[index] if inside[index] else 0.0
    return dx


def pack_int4(q):
    """q (..., n), int8, from -8 to 7: (..., (n + 1) // 2), uint8; the first of two in the low half."""
    q = check.nibbles(q)
    out = np.zeros((*q.shape[:-1], (q.shape[-1] + 1) // 2), np.uint8)
    for index in np.ndindex(q.shape):
        out[(*index[:-1], index[-1] // 2)] |= int(q[index]) % 16 * (16 if index[-1] % 2 else 1)
    return out


def unpack_int4(packed, n):
    """packed (..., m), uint8: (..., n), int8."""
    packed, n = check.packed(packed, n)
    out = np.zeros((*packed.shape[:-1], n), np.int8)
    for index in np.ndindex(out.shape):
        byte = int(packed[(*index[:-1], index[-1] // 2)])
        u = byte // 16 if index[-1] % 2 else byte % 16
        out[index] = u - 16 if u > 7 else u
    return out
