# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:c86816c9f805974b
"""Positional encodings, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t27_positional_encodings.checks as check


def rope_tables(length, dim, base=10000.0, dtype=np.float64):
    """Cosine and sine of every pair's angle at every position: two arrays (L, D/2)."""
    check.tabulation(length, dim, base, dtype)
    cos = np.empty((length, dim // 2), dtype)
    sin = np.empty((length, dim // 2), dtype)
    for p in range(length):
        for i in range(dim // 2):
            angle = p * base ** (-2 * i / dim)                  # eq. 27.3
            cos[p, i], sin[p, i] = math.cos(angle), math.sin(angle)
    return cos, sin


def sinusoidal_table(length, dim, base=10000.0, dtype=np.float64):
    """Sines in the even columns, cosines in the odd ones: (L, D)."""
    cos, sin = rope_tables(length, dim, base, dtype)
    table = np.empty((length, dim), dtype)
    for p in range(length):
        for i in range(dim // 2):
            table[p, 2 * i], table[p, 2 * i + 1] = sin[p, i], cos[p, i]   # eq. 27.4
    return table


def learned_positions(table, positions):
    """Rows of `table` (L, D) for integer `positions` of any shape: out (..., D)."""
    table = check.floats("table", table, ("L", "D"))
    positions = check.rows(positions, len(table))
    out = np.empty((*positions.shape, table.shape[1]), table.dtype)
    for where in np.ndindex(positions.shape):
        out[where] = table[positions[where]]                    # eq. 27.8
    return out, (positions, table.shape, table.dtype)


def learned_positions_backward(dout, cache):
    """Gradient (L, D) of the table: each row sums over the tokens that read it."""
    positions, shape, dtype = cache
    dout = check.gradient(dout, (*positions.shape, shape[1]), dtype)
    dtable = np.zeros(shape)                                    # float64
    for where in np.ndindex(positions.shape):
        dtable[positions[where]] += dout[where]                 # eq. 27.9
    return dtable.astype(dtype)


def add_positions(x, encoding):
    """`x` (B, T, D) plus `encoding` (T, D) or (B, T, D)."""
    x, encoding = check.summands(x, encoding)
    out = np.empty(x.shape, x.dtype)
    for b, t in np.ndindex(x.shape[:2]):
        out[b, t] = x[b, t] + (encoding[t] if encoding.ndim == 2 else encoding[b, t])
    return out, (x.shape, encoding.shape, x.dtype)


def add_positions_backward(dout, cache):
    """Gradients (dx (B, T, D), dencoding) in the shapes of the inputs."""
    shape, encoding_shape, dtype = cache
    dout = check.gradient(dout, shape, dtype)
    dencoding = np.zeros(encoding_shape)                        # float64
    for b, t in np.ndindex(shape[:2]):
        dencoding[t if len(encoding_shape) == 2 else (b, t)] += dout[b, t]   # eq. 27.10
    return dout.copy(), dencoding.astype(dtype)


def _turn(vector, cos, sin, layout):
    """One vector, D floats, with each pair turned; cos and sin are D/2 floats."""
    turned = [0.0] * len(vector)
    for i in range(len(cos)):
        first, second = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + len(cos))
        a, b = vector[first], vector[second]
        turned[first] = a * cos[i] - b * sin[i]                 # eq. 27.12
        turned[second] = a * sin[i] + b * cos[i]
    return turned


def rope(x, cos, sin, positions=None, layout="interleaved"):
    """Turn each pair of `x` (B, H, T, D) by its position's angle: out (B, H, T, D)."""
    x, cos, sin, positions = check.rotation(x, cos, sin, positions, layout)
    positions = np.broadcast_to(positions, (len(x), x.shape[2]))          # (B, T)
    out = np.empty(x.shape, x.dtype)
    for b, h, t in np.ndindex(x.shape[:3]):
        p = positions[b, t]
        out[b, h, t] = _turn(x[b, h, t].tolist(), cos[p].tolist(), sin[p].tolist(), layout)
    return out, (cos, sin, positions, layout, x.shape, x.dtype)


def rope_backward(dout, cache):
    """Gradient dx (B, H, T, D): the opposite rotation."""
    cos, sin, positions, layout, shape, dtype = cache
    dout = check.gradient(dout, shape, dtype)
    return rope(dout, cos, -sin, positions, layout)[0]          # eq. 27.16


def interleaved_to_half(dim):
    """Permutation (D,): half-split feature j is interleaved feature perm[j]."""
    check.even(dim)
    return np.array([2 * j if j < dim // 2 else 2 * (j - dim // 2) + 1 for j in range(dim)])


def alibi_slopes(heads):
    """Slopes (H,) of ALiBi's heads."""
    check.size("heads", heads, 1)
    power = 1
    while 2 * power <= heads:
        power *= 2
    slopes = [2.0 ** (-8.0 * h / power) for h in range(1, power + 1)]     # eq. 27.20
    extra = [2.0 ** (-8.0 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return np.array(slopes + extra[:heads - power])


def alibi_bias(slopes, length, past=0):
    """Bias (H, T, past + T) to add to the scores; -inf where a key is later than the query."""
    slopes = check.ramp(slopes, length, past)
    bias = np.full((len(slopes), length, past + length), -np.inf, slopes.dtype)
    for h, i in np.ndindex(len(slopes), length):
        for j in range(past + i + 1):
            bias[h, i, j] = float(slopes[h]) * (j - past - i)   # eq. 27.19
    return bias
