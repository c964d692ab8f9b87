# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:3a00758db8a6bd3e
"""Positional encodings, level 3: in place, few passes. Shapes and errors as in level 2.

`out=` is an array in the shape and dtype of the result; it may be the input itself.
"""

import numpy as np

import tangled.t27_positional_encodings.checks as check

BLOCK = 1 << 16     # numbers that a block of the rotation holds: a buffer that stays in the cache


def _turns(length, dim, base, start, sense):
    """start * exp(sense * p * theta_i): (L, D/2) complex128."""
    frequencies = base ** (-np.arange(0, dim, 2) / dim)         # eq. 27.3
    turns = np.empty((length, dim // 2), np.complex128)
    turns[:1] = start
    done = 1
    while done < length:
        todo = min(done, length - done)
        turn = np.exp(sense * done * frequencies)               # from p to p + done
        np.multiply(turns[:todo], turn, out=turns[done:done + todo])      # eq. 27.5
        done += todo
    return turns


def sinusoidal_table(length, dim, base=10000.0, dtype=np.float64):
    """Table (L, D) of sines and cosines, by doubling."""
    check.tabulation(length, dim, base, dtype)
    return _turns(length, dim, base, 1j, -1j).view(np.float64).astype(dtype, copy=False)


def rope_tables(length, dim, base=10000.0, dtype=np.float64):
    """Cosines and sines (L, D/2), by doubling."""
    check.tabulation(length, dim, base, dtype)
    turns = _turns(length, dim, base, 1.0, 1j)
    return turns.real.astype(dtype, order="C"), turns.imag.astype(dtype, order="C")


def learned_positions_backward(dout, cache):
    """Gradient (L, D) of the table, one sum for each run of equal positions."""
    positions, shape, dtype = cache
    dout = check.gradient(dout, (*positions.shape, shape[1]), dtype)
    flat, rows = positions.reshape(-1), dout.reshape(positions.size, shape[1])
    dtable = np.zeros(shape, dtype)
    order = np.argsort(flat, kind="stable")
    runs = flat[order]
    starts = np.flatnonzero(np.diff(runs, prepend=-1))          # where a new position begins
    if len(starts) == len(flat):
        dtable[flat] = rows
    else:
        dtable[runs[starts]] = np.add.reduceat(rows[order], starts, axis=0,
                                               dtype=check.working(dtype))  # eq. 27.9
    return dtable


def learned_positions(table, positions):
    """Rows of `table` (L, D) for integer `positions` of any shape: out (..., D)."""
    table = check.floats("table", table, ("L", "D"))
    positions = check.rows(positions, len(table))
    return table.take(positions, axis=0), (positions, table.shape, table.dtype)


def add_positions(x, encoding, out=None):
    """`x` (B, T, D) plus `encoding` (T, D) or (B, T, D), into `out`."""
    x, encoding = check.summands(x, encoding)
    return np.add(x, encoding, out=_room(out, x)), (x.shape, encoding.ndim, x.dtype)


def add_positions_backward(dout, cache, out=None):
    """dx (B, T, D), into `out`, which may be `dout`; and dencoding as the encoding, an array of its own."""
    shape, axes, dtype = cache
    dout = check.gradient(dout, shape, dtype)
    dx = _room(out, dout)
    dencoding = dout.copy()
    if axes == 2:
        dencoding = dout.sum(axis=0, dtype=check.working(dtype)).astype(dtype, copy=False)   # eq. 27.10
    if dx is not dout:
        dx[...] = dout
    return dx, dencoding


def _room(out, x):
    """An array to write into: a new one, or `out` if it fits x."""
    if out is None:
        return np.empty(x.shape, x.dtype)
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (x.shape, x.dtype):
        raise ValueError(f"out is {getattr(out, 'dtype', type(out))} of shape {np.shape(out)}; "
                         f"expected {x.dtype} of shape {x.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only; expected an array to write into")
    start = [a.__array_interface__["data"][0] for a in (out, x)]
    same = start[0] == start[1] and out.strides == x.strides
    if _folded(out) or (not same and np.may_share_memory(out, x, max_work=10_000)):
        raise ValueError("out overlaps itself or the input; expected an array of its own, or the input")
    return out


def _folded(out):
    """May entries of an array lie on one another? Not if each axis steps over the faster ones."""
    reach = out.itemsize
    for step, n in sorted((abs(step), n) for step, n in zip(out.strides, out.shape) if n > 1):
        if step < reach:
            return True
        reach += step * (n - 1)
    return False


def _rotate(x, cos, sin, layout, out):
    """Turn x (B, H, T, D) into out, which may be x; cos, sin (1 or B, 1, T, D/2)."""
    dense = x.strides[-1] == out.strides[-1] == x.itemsize
    if layout == "interleaved" and dense and x.dtype == cos.dtype and x.dtype.isnative:
        turn = np.empty(cos.shape, np.result_type(x, np.complex64))
        turn.real, turn.imag = cos, sin
        with np.errstate():                                     # restores the size of NumPy's buffers
            np.setbufsize(1024)
            np.multiply(x.view(turn.dtype), turn, out=out.view(turn.dtype))         # eq. 27.13
    else:
        _rotate_blocks(x, cos, sin, layout, out)
    return out


def _exchange(x, layout, out):
    """Write x (h, T, D) with the members of each pair exchanged into out, one block of memory."""
    half = x.shape[-1] // 2
    split, axis = ((2, half), -2) if layout == "half" else ((half, 2), -1)
    shape = (*x.shape[:-1], *split)
    x = x.astype(out.dtype, copy=False).reshape(shape)
    x.take([1, 0], axis, out=out.reshape(shape), mode="clip")   # "raise" would copy


def _rotate_blocks(x, cos, sin, layout, out):
    """The same for pairs that are not neighbours in memory: one buffer of a block of heads."""
    batch, heads, steps, dim = x.shape
    c, s = np.empty((2, *cos.shape[:-1], dim), cos.dtype)       # tables for all D features
    (c1, c2), (s1, s2) = _pairs(c, layout), _pairs(s, layout)
    c1[...], c2[...], s1[...], s2[...] = cos, cos, -sin, sin
    at_once = max(1, min(heads, BLOCK // max(1, steps * dim)))  # heads a block
    buffer = np.empty((at_once, steps, dim), c.dtype)
    wide = None if x.dtype == c.dtype else np.empty_like(buffer)        # for float16 alone
    for b in range(batch):
        row = b if len(cos) > 1 else 0
        for h in range(0, heads, at_once):
            block, target = x[b, h:h + at_once], out[b, h:h + at_once]
            other, total = buffer[:len(block)], target if wide is None else wide[:len(block)]
            _exchange(block, layout, other)
            other *= s[row]
            np.multiply(block, c[row], out=total)
            total += other                                      # eq. 27.12
            if wide is not None:
                target[...] = total


def _pairs(x, layout):
    """First and second members of the pairs: two views (..., D/2) of x (..., D)."""
    if layout == "interleaved":
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def rope(x, cos, sin, positions=None, layout="interleaved", out=None):
    """Turn each pair of `x` (B, H, T, D) by its position's angle, into `out`."""
    in_order = positions is None
    x, cos, sin, positions = check.rotation(x, cos, sin, positions, layout)
    rows = positions if positions.ndim == 2 else positions[None]
    cos, sin = (table[None, None, :x.shape[2]].copy() if in_order else table.take(rows, axis=0)[:, None]
                for table in (cos, sin))                        # (1 or B, 1, T, D/2)
    return _rotate(x, cos, sin, layout, _room(out, x)), (cos, sin, layout, x.shape, x.dtype)


def rope_backward(dout, cache, out=None):
    """Gradient dx (B, H, T, D): the opposite rotation; `out` may be `dout`."""
    cos, sin, layout, shape, dtype = cache
    dout = check.gradient(dout, shape, dtype)
    return _rotate(dout, cos, -sin, layout, _room(out, dout))   # eq. 27.16


def alibi_bias(slopes, length, past=0):
    """Read-only view (H, T, S), S = past + T, of H (T + S - 1) numbers."""
    slopes = check.ramp(slopes, length, past)
    keys = past + length
    if length == 0:
        return np.empty((len(slopes), 0, keys), slopes.dtype)
    ahead = np.arange(1 - keys, length).astype(check.working(slopes.dtype))     # j - i
    ramp = (slopes[:, None] * ahead).astype(slopes.dtype, copy=False)   # (H, T + S - 1)
    ramp[:, keys:] = -np.inf
    windows = np.lib.stride_tricks.sliding_window_view(ramp, keys, axis=1)
    return windows[:, ::-1]                                     # row 0 starts farthest right


def interleaved_to_half(dim):
    """Permutation (D,) from the interleaved layout to the half-split one."""
    check.even(dim)
    return np.arange(dim).reshape(-1, 2).T.reshape(-1)          # eq. 27.17


def alibi_slopes(heads):
    """Slopes (H,) of ALiBi's heads."""
    check.size("heads", heads, 1)
    power = 1 << (int(heads).bit_length() - 1)
    exponents = np.concatenate([np.arange(1, power + 1) / power,
                                np.arange(1, 2 * power, 2)[:heads - power] / (2 * power)])
    return np.exp2(-8.0 * exponents)                            # eq. 27.20
