# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:f29eaf23edf86aa0
"""Normalisations, level 3: blocks of rows in cache, sums and stretched operands as products, no x_hat."""

import numpy as np

import tangled.t16_normalizations.checks as check
from tangled.t16_normalizations.level2_vectorized import weight_norm, weight_norm_backward

__all__ = ["add_layer_norm", "add_layer_norm_backward", "group_norm", "group_norm_backward", "instance_norm",
           "instance_norm_backward", "layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward",
           "weight_norm", "weight_norm_backward"]

BLOCK = 1 << 16                                                 # numbers in a block


def _blocks(count, size):
    """Slices of `count` rows of `size` numbers, about BLOCK numbers each."""
    step = max(1, BLOCK // max(size, 1))
    return [slice(k, min(k + step, count)) for k in range(0, count, step)]


def _buffer(rows, dtype, least=1):
    """Room for any block of rows (R, D), a multiple of `least` of them."""
    many = max(1, BLOCK // (rows.shape[1] * least)) * least
    return np.empty((min(many, max(len(rows), 1)), rows.shape[1]), dtype)


def _inverse(power, eps):
    """1 / sqrt(power + eps); what rounding left below 0 counts as 0."""
    return 1.0 / np.sqrt(np.maximum(power, 0) + eps)


def _far(mean, s):
    """Is a mean more than two deviations from 0, so that a difference of products would cancel?"""
    return not (np.abs(mean) * s <= 2).all()


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


def _features(x, residual, gamma, beta, eps, centre):
    """Rows of x, plus those of residual unless it is None: out, total (None without residual), cache."""
    work, rows = check.working(x.dtype), x.reshape(-1, x.shape[-1])
    out, D = np.empty(rows.shape, work), x.shape[-1]
    total = None if residual is None else np.empty(rows.shape, x.dtype)
    mean, s, average = np.zeros(len(rows), work), np.empty(len(rows), work), np.full(D, 1 / D, work)
    scale, shift = np.ones(D, work) if gamma is None else gamma, np.zeros(D, work) if beta is None else beta
    affine, scaled = np.array([scale, shift], work), np.array([scale, np.zeros(D)], work)
    buffer = _buffer(rows, work)
    others, (zero, one) = None if residual is None else residual.reshape(rows.shape), _columns(buffer)
    for block in _blocks(len(rows), D):
        row, t, m = rows[block], out[block], mean[block]
        if total is not None:
            row = np.add(row, others[block], out=total[block])
        row, room = row.astype(work, copy=False), buffer[:len(row)]
        if centre:
            np.matmul(row, average, out=m)
        s[block] = _inverse(np.vecdot(row, row) / D - m * m, eps)               # eq. 16.1
        if centre and _far(m, s[block]):
            row, m = np.subtract(row, m[:, None], out=room), np.zeros_like(m)
            s[block] = _inverse(np.vecdot(row, row) / D, eps)
        _table(s[block], zero, scaled, t)
        t *= row
        if centre:
            t += _table(-m * s[block], one, affine, room)       # eq. 16.12
    kept = rows if total is None else total
    cache = kept, mean, s, gamma, beta, centre, x.shape
    return out.reshape(x.shape).astype(x.dtype, copy=False), total, cache


def _features_backward(dout, dtotal, cache):
    """dx (R, D), plus dtotal unless it is None, and [dgamma, dbeta] of those that were given."""
    rows, mean, s, gamma, beta, centre, shape = cache
    (R, D), work = rows.shape, s.dtype
    grads = check.gradient("dout", dout, shape, work).reshape(R, D)
    more = None if dtotal is None else check.gradient("dtotal", dtotal, shape, work).reshape(R, D)
    scale = np.ones(D, work) if gamma is None else gamma.astype(work)
    weights, dgamma, dbeta = scale / D, np.zeros(D), np.zeros(D)            # sums in float64
    dx, buffer, affine = np.empty((R, D), work), _buffer(rows, work), np.array([scale, scale])
    (zero, one), ones, far = _columns(buffer), np.ones((2, D), work), centre and _far(mean, s)
    for block in _blocks(R, D):
        row, g, factor, m = rows[block].astype(work, copy=False), grads[block], s[block], mean[block]
        t, room = dx[block], buffer[:len(row)]
        if far:
            row, m = row - m[:, None], np.zeros_like(m)
        np.multiply(g, row, out=t)
        one[:len(g), 0] = -m * factor
        columns = one[:len(g)].T @ g                            # (2, D)
        dgamma += factor @ t + columns[0]                       # eq. 16.13
        dbeta += columns[1]
        across = g @ weights if centre else 0.0
        along = factor * factor * (t @ weights - m * across)
        _table(factor, zero, affine, t)
        t *= g
        _table(-factor * along, zero, ones, room)
        room *= row
        t += room
        if centre:
            t += _table(factor * (m * along - across), zero, ones, room)        # eq. 16.6
        if more is not None:
            t += more[block]                              # eq. 16.11
    parameters = [] if gamma is None else [dgamma.astype(rows.dtype)]
    dx = dx.reshape(shape).astype(rows.dtype, copy=False)
    return dx, *parameters, *([] if beta is None else [dbeta.astype(rows.dtype)])


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


def _of_groups(maps, groups, dtype):
    """For maps (N, C, P): what averages over a group (C / groups, C / groups); buffer, columns, rows of ones."""
    N, C, P = maps.shape
    buffer, each = _buffer(maps.reshape(N * C, P), dtype, C), C // groups
    return np.full((each, each), 1 / (each * P), dtype), buffer, _columns(buffer)[0], np.ones((2, P), dtype)


def _by_group(v, otherwise, groups, dtype):
    """v (C,), or that number where it is None, as (groups, C / groups) or a number."""
    return otherwise if v is None else v.astype(dtype, copy=False).reshape(groups, -1)


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """As level 2; keeps x and two numbers a group."""
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    work, (N, C) = check.working(x.dtype), x.shape[:2]
    maps = x.reshape(N, C, -1 if x.size else 1)                 # (N, C, P)
    P, out, shape = maps.shape[2], np.empty(maps.shape, work), (-1, groups, C // groups)
    scale, shift = _by_group(gamma, 1.0, groups, work), _by_group(beta, 0.0, groups, work)
    mean, s, (pool, buffer, zero, ones) = *np.empty((2, N, groups, 1), work), _of_groups(maps, groups, work)
    for n in _blocks(N, C * P):
        part, t = maps[n].astype(work, copy=False), out[n].reshape(-1, P)
        m = (part @ ones[0]).reshape(shape) @ pool              # of its group, for each channel
        inverse = _inverse(np.vecdot(part, part).reshape(shape) @ pool - m * m, eps)
        mean[n] = m[..., :1]
        if _far(m, inverse):
            part, m = part - m.reshape(-1, C, 1), np.zeros_like(m)
            inverse = _inverse(np.vecdot(part, part).reshape(shape) @ pool, eps)
        s[n], a = inverse[..., :1], inverse * scale
        _table(a, zero, ones, t)
        t *= part.reshape(t.shape)
        t += _table(shift - m * a, zero, ones, buffer[:len(t)])
    out = out.reshape(x.shape).astype(x.dtype, copy=False)
    return out, (maps, mean, s, gamma, beta, groups, x.shape)


def group_norm_backward(dout, cache):
    """As level 2."""
    maps, mean, s, gamma, beta, groups, shape = cache
    (N, C, P), work, inner = maps.shape, s.dtype, (-1, groups, maps.shape[1] // groups)
    grads = check.gradient("dout", dout, shape, work).reshape(maps.shape)
    scale, (pool, buffer, zero, ones) = _by_group(gamma, 1.0, groups, work), _of_groups(maps, groups, work)
    dx, (dgamma, dbeta), far = np.empty(maps.shape, work), np.zeros((2, *inner[1:])), _far(mean, s)
    for n in _blocks(N, C * P):
        part, g, t, factor, m = maps[n].astype(work, copy=False), grads[n], dx[n].reshape(-1, P), s[n], mean[n]
        if far:
            part, m = part - np.repeat(m, C // groups, 1), np.zeros_like(m)
        across = (g @ ones[0]).reshape(inner)                   # (n, groups, C / groups)
        along = np.vecdot(g, part).reshape(inner) - m * across
        dgamma += (along * factor).sum(0)
        dbeta += across.sum(0)
        k = factor ** 3 * ((along * scale) @ pool)
        _table(factor * scale * np.ones_like(k), zero, ones, t)
        t *= g.reshape(t.shape)
        room = _table(k, zero, ones, buffer[:len(t)])
        room *= part.reshape(t.shape)
        t -= room
        t += _table(m * k - factor * ((across * scale) @ pool), zero, ones, room)       # eq. 16.6
    parameters = [] if gamma is None else [dgamma.astype(maps.dtype).reshape(C)]
    dx = dx.reshape(shape).astype(maps.dtype, copy=False)
    return dx, *parameters, *([] if beta is None else [dbeta.astype(maps.dtype).reshape(C)])


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2."""
    x, *_ = check.channels(x, 1, gamma, beta, eps)
    return group_norm(x, x.shape[1], gamma, beta, eps)


instance_norm_backward = group_norm_backward
