# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:5337b8c1f0eaddec
"""Normalisations, level 3: blocks of rows in cache, sums and tables as products, no x_hat."""

import numpy as np

import tangled.t16_normalizations.checks as check
from tangled.t16_normalizations.level2_vectorized import weight_norm, weight_norm_backward

__all__ = ["add_layer_norm", "add_layer_norm_backward", "group_norm", "group_norm_backward", "instance_norm",
           "instance_norm_backward", "layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward",
           "weight_norm", "weight_norm_backward"]

BLOCK = 1 << 18                                                 # numbers in a block


def _blocks(count, size):
    """Slices of `count` rows of `size` numbers, about BLOCK numbers each."""
    step = max(1, BLOCK // max(size, 1))
    return [slice(k, min(k + step, count)) for k in range(0, count, step)]


def _buffer(rows, dtype):
    """Room for any block of rows (R, ...)."""
    return np.empty((max(1, min(BLOCK // max(rows[:1].size, 1), len(rows))), *rows.shape[1:]), dtype)


def _inverse(power, eps):
    """1 / sqrt(power + eps); what rounding left below 0 counts as 0."""
    return 1.0 / np.sqrt(np.maximum(power, 0) + eps)


def _far(mean, s):
    """Is a mean more than two deviations from 0, so that a difference of products would cancel?"""
    return not np.abs(mean * s).max(initial=0) <= 2


def _infinite(gamma):
    """Has gamma an infinity, of which a difference of two products would make a NaN?"""
    return gamma is not None and not np.isfinite(gamma).all()


def _columns(buffer):
    """(v, 0) and (v, 1) for any block of a buffer (R, D), v to be filled in: two (R, 2)."""
    columns = np.zeros((2, len(buffer), 2), buffer.dtype)
    columns[1, :, 1] = 1
    return columns


def _table(v, columns, rows, out):
    """v, R numbers, beside its column, times rows (2, D): out (R, D)."""
    columns = columns[:len(out)]
    columns[:, 0] = v.reshape(-1)
    return np.matmul(columns, rows, out=out)


def _plain(size, dtype):
    """Ones and zeros, (2, size): the rows of a table of v as it is."""
    rows = np.zeros((2, size), dtype)
    rows[0] = 1
    return rows


def _features(x, residual, gamma, beta, eps, centre):
    """Rows of x, plus those of residual unless it is None: out, total (None without residual), cache."""
    work, rows = check.working(x.dtype), x.reshape(-1, x.shape[-1])
    out, D = np.empty(rows.shape, work), x.shape[-1]
    total = None if residual is None else np.empty(rows.shape, x.dtype)
    mean, s, average = np.zeros(len(rows), work), np.empty(len(rows), work), np.full(D, 1 / D, work)
    (affine, scaled), buffer = np.zeros((2, 2, D), work), _buffer(rows, work)
    affine[0] = scaled[0] = 1.0 if gamma is None else gamma
    affine[1] = 0.0 if beta is None else beta
    others, (zero, one) = None if residual is None else residual.reshape(rows.shape), _columns(buffer)
    infinite = centre and _infinite(gamma)
    for block in _blocks(len(rows), D):
        row, t, m = rows[block], out[block], mean[block]
        if total is not None:
            row = np.add(row, others[block], out=total[block])
        row, room = row.astype(work, copy=False), buffer[:len(row)]
        power = np.vecdot(row, row) / D
        if centre:
            np.matmul(row, average, out=m)
        s[block] = _inverse(power - m * m, eps)                 # eq. 16.1
        near = centre and not (infinite or _far(m, s[block]))
        if centre and not near:
            row = np.subtract(row, m[:, None], out=t)
            s[block] = _inverse(np.vecdot(row, row) / D, eps)
        np.multiply(row, _table(s[block], zero, scaled, room), out=t)
        if near:
            t += _table(-m * s[block], one, affine, room)       # eq. 16.12
        elif centre:
            t += affine[1]
    kept = rows if total is None else total
    cache = kept, mean, s, gamma, beta, centre, x.shape
    return out.reshape(x.shape).astype(x.dtype, copy=False), total, cache


def _features_backward(dout, dtotal, cache):
    """dx (R, D), plus dtotal unless it is None, and [dgamma, dbeta] of those that were given."""
    rows, mean, s, gamma, beta, centre, shape = cache
    (R, D), work = rows.shape, s.dtype
    grads = check.gradient("dout", dout, shape, work).reshape(R, D)
    more = None if dtotal is None else check.gradient("dtotal", dtotal, shape, work).reshape(R, D)
    dx, buffer = np.empty((R, D), work), _buffer(rows, work)
    plain, scaled = _plain(D, work), _plain(D, work)
    if gamma is not None:
        scaled[0] = gamma
    weights, sums = scaled[0] / D, np.zeros((2, D))             # sums in float64
    (zero, one), far = _columns(buffer), centre and _far(mean, s)
    for block in _blocks(R, D):
        row, g, factor, m = rows[block].astype(work, copy=False), grads[block], s[block], mean[block]
        t, room, pair = dx[block], buffer[:len(g)], one[:len(g)]
        if far:
            row, m = row - m[:, None], np.zeros_like(m)
        np.multiply(g, row, out=room)
        pair[:, 0] = -m * factor
        sums += pair.T @ g                                      # eq. 16.13
        sums[0] += factor @ room
        across = g @ weights if centre else 0.0
        along = factor * factor * (room @ weights - m * across)
        np.multiply(g, _table(factor, zero, scaled, room), out=t)
        t -= np.multiply(row, _table(factor * along, zero, plain, room), out=room)
        if centre:
            t += _table(factor * (m * along - across), zero, plain, room)  # eq. 16.6
        if more is not None:
            t += more[block]                              # eq. 16.11
    dx = dx.reshape(shape).astype(rows.dtype, copy=False)
    return dx, *(total.astype(rows.dtype) for total, v in zip(sums, (gamma, beta)) if v is not None)


def layer_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2; keeps x and two numbers a row."""
    x, gamma, beta = check.features(x, gamma, beta, eps)
    out, _, cache = _features(x, None, gamma, beta, eps, centre=True)
    return out, cache


def rms_norm(x, gamma=None, eps=1e-5):
    """As level 2; keeps x and one number a row."""
    x, gamma, _ = check.features(x, gamma, None, eps)
    out, _, cache = _features(x, None, gamma, None, eps, centre=False)
    return out, cache


def layer_norm_backward(dout, cache):
    """As level 2."""
    return _features_backward(dout, None, cache)


rms_norm_backward = layer_norm_backward


def add_layer_norm(x, residual, gamma=None, beta=None, eps=1e-5):
    """As level 2, each block added and normalised while it is in cache."""
    x, gamma, beta = check.features(x, gamma, beta, eps)
    out, total, cache = _features(x, check.same("residual", residual, x), gamma, beta, eps, centre=True)
    return (out, total.reshape(x.shape)), cache


def add_layer_norm_backward(dout, dtotal, cache):
    """As level 2."""
    dx, *grads = _features_backward(dout, dtotal, cache)
    return dx, dx.copy(), *grads


def _sums(maps, dtype):
    """For maps (N, groups, each, P): what adds up pixels (P,), what averages a group's sums (each, 1)."""
    each, P = maps.shape[2:]
    return np.ones(P, dtype), np.full((each, 1), 1 / (each * P), dtype)


def _by_group(v, otherwise, groups, dtype):
    """v (C,), or that number where it is None, as (groups, C / groups) or a number."""
    return otherwise if v is None else v.astype(dtype, copy=False).reshape(groups, -1)


def _parts(maps, away, dtype):
    """Slices of maps (N, ..., P), with their maps in a dtype, less away (N, ...) unless it is None."""
    for n in _blocks(len(maps), maps[:1].size):
        part = maps[n].astype(dtype, copy=False)
        yield n, part if away is None else part - away[n][..., None]


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """As level 2; keeps x and two numbers a group."""
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    work, shape = check.working(x.dtype), (len(x), groups, x.shape[1] // groups)
    maps = x.reshape(*shape, -1 if x.size else 1)               # (N, groups, C / groups, P)
    scale, shift = _by_group(gamma, 1.0, groups, work), _by_group(beta, 0.0, groups, work)
    (sums, squares), (ones, pool) = np.empty((2, *shape), work), _sums(maps, work)
    for n, part in _parts(maps, None, work):
        sums[n] = (part.reshape(-1, len(ones)) @ ones).reshape(part.shape[:3])
        np.vecdot(part, part, out=squares[n])
    mean = sums @ pool                                          # (N, groups, 1)
    s, near, away = _inverse(squares @ pool - mean * mean, eps), mean, None
    if _far(mean, s) or _infinite(gamma):
        near, away = None, mean
        for n, part in _parts(maps, away, work):
            np.vecdot(part, part, out=squares[n])
        s = _inverse(squares @ pool, eps)
    a = s * scale                                               # (N, groups, C / groups)
    c = shift - (np.zeros_like(s) if near is None else near * a)
    out = np.empty(maps.shape, work)
    for n, part in _parts(maps, away, work):
        t = np.multiply(part, a[n][..., None], out=out[n])
        t += c[n][..., None]
    return out.reshape(x.shape).astype(x.dtype, copy=False), (maps, near, away, s, gamma, beta, x.shape)


def group_norm_backward(dout, cache):
    """As level 2."""
    maps, near, away, s, gamma, beta, shape = cache
    work, (ones, pool) = s.dtype, _sums(maps, s.dtype)
    grads = check.gradient("dout", dout, shape, work).reshape(maps.shape)
    scale = _by_group(gamma, 1.0, maps.shape[1], work)
    along, across = np.empty((2, *maps.shape[:3]), work)
    for n, part in _parts(maps, away, work):
        g = grads[n]
        across[n] = (g.reshape(-1, len(ones)) @ ones).reshape(g.shape[:3])
        np.vecdot(g, part, out=along[n])
    if near is not None:
        along -= near * across
    k, c = -s * s * s * ((along * scale) @ pool), -s * ((across * scale) @ pool)
    if near is not None:
        c -= near * k
    dx, buffer, a = np.empty(maps.shape, work), _buffer(maps, work), s * scale
    with np.errstate():                                         # restores the size of NumPy's buffers
        np.setbufsize(1024)
        for n, part in _parts(maps, away, work):
            t = np.multiply(part, k[n][..., None], out=dx[n])
            t += c[n][..., None]                                # eq. 16.6
            t += np.multiply(grads[n], a[n][..., None], out=buffer[:len(t)])
    dgamma, dbeta = (v.sum(0, dtype=float).astype(maps.dtype).reshape(-1) for v in (along * s, across))
    dx = dx.reshape(shape).astype(maps.dtype, copy=False)
    return dx, *([] if gamma is None else [dgamma]), *([] if beta is None else [dbeta])


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2."""
    x, *_ = check.channels(x, 1, gamma, beta, eps)
    return group_norm(x, x.shape[1], gamma, beta, eps)


instance_norm_backward = group_norm_backward
