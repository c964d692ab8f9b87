# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:69cbc09d541d9d27
"""Normalisations, level 3: blocks of rows in cache, sums as products, x_hat never kept."""

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


def _buffer(rows, dtype):
    """Room for any block of rows (R, D)."""
    return np.empty((min(max(1, BLOCK // rows.shape[1]), max(len(rows), 1)), rows.shape[1]), dtype)


def _features(x, residual, gamma, beta, eps, centre):
    """Rows of x, plus those of residual unless it is None: out, total (None without residual), cache."""
    work, rows = check.working(x.dtype), x.reshape(-1, x.shape[-1])
    out, D = np.empty(rows.shape, work), x.shape[-1]
    total = None if residual is None else np.empty(rows.shape, x.dtype)
    mean, s = np.zeros(len(rows), work), np.empty(len(rows), work)
    average = np.full(D, 1 / D, work)
    others = None if residual is None else residual.reshape(rows.shape)
    for block in _blocks(len(rows), D):
        row = rows[block]
        if total is not None:
            row = np.add(row, others[block], out=total[block])
        t = out[block]
        if centre:
            mean[block] = row @ average
            row = np.subtract(row, mean[block][:, None], out=t)
        row = row.astype(work, copy=False)
        s[block] = 1.0 / np.sqrt(np.einsum("rd,rd->r", row, row) / D + eps)     # eq. 16.1
        np.multiply(row, s[block][:, None], out=t)
        if gamma is not None:
            t *= gamma
        if beta is not None:
            t += beta
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
    dx, buffer = np.empty((R, D), work), _buffer(rows, work)
    for block in _blocks(R, D):
        g, factor = grads[block], s[block]
        deviation = np.subtract(rows[block], mean[block][:, None], out=buffer[:len(g)])
        product = np.multiply(g, deviation, out=dx[block])
        dgamma += factor @ product                              # eq. 16.12
        dbeta += np.ones(len(g), work) @ g
        along, across = factor * factor * (product @ weights), g @ weights
        np.multiply(g, scale, out=product)
        deviation *= along[:, None]
        product -= deviation
        if centre:
            product -= across[:, None]
        product *= factor[:, None]                              # eq. 16.6
        if more is not None:
            product += more[block]                              # eq. 16.11
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


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """As level 2; keeps x and two numbers a group."""
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    work, (N, C) = check.working(x.dtype), x.shape[:2]
    maps = x.reshape(N, C, -1 if x.size else 1)                 # (N, C, P)
    P, out = maps.shape[2], np.empty(maps.shape, work)
    mean, s = np.empty((2, N, groups), work)
    ones, scale = np.ones(P, work), np.ones(C, work) if gamma is None else gamma.astype(work)
    for n in _blocks(N, C * P):
        part = maps[n].astype(work, copy=False)
        centre = (part @ ones).reshape(-1, groups, C // groups).sum(2) / (C // groups * P)
        deviation = np.subtract(part, np.repeat(centre, C // groups, 1)[..., None], out=out[n])
        squares = np.einsum("ncp,ncp->nc", deviation, deviation).reshape(-1, groups, C // groups).sum(2)
        mean[n], s[n] = centre, 1.0 / np.sqrt(squares / (C // groups * P) + eps)
        deviation *= (np.repeat(s[n], C // groups, 1) * scale)[..., None]
        if beta is not None:
            deviation += beta[:, None]
    out = out.reshape(x.shape).astype(x.dtype, copy=False)
    return out, (maps, mean, s, gamma, beta, groups, x.shape)


def group_norm_backward(dout, cache):
    """As level 2."""
    maps, mean, s, gamma, beta, groups, shape = cache
    (N, C, P), work = maps.shape, s.dtype
    grads = check.gradient("dout", dout, shape, work).reshape(maps.shape)
    scale, ones = np.ones(C, work) if gamma is None else gamma.astype(work), np.ones(P, work)
    dx, dgamma, dbeta, each = np.empty(maps.shape, work), np.zeros(C), np.zeros(C), C // groups
    in_groups = lambda sums: (sums * scale).reshape(-1, groups, each).sum(2)            # (n, groups)
    by_group = lambda sums: np.repeat(in_groups(sums) / (each * P), each, 1)            # (n, C)
    for n in _blocks(N, C * P):
        g, factor = grads[n], np.repeat(s[n], each, 1)          # (n, C, P), (n, C)
        deviation = maps[n] - np.repeat(mean[n], each, 1)[..., None]
        along, across = np.einsum("ncp,ncp->nc", g, deviation), g @ ones        # (n, C)
        dgamma += (along * factor).sum(0)
        dbeta += across.sum(0)
        deviation *= (factor ** 3 * by_group(along))[..., None]
        deviation += (factor * by_group(across))[..., None]
        np.multiply(g, (factor * scale)[..., None], out=dx[n])  # eq. 16.6
        dx[n] -= deviation
    parameters = [] if gamma is None else [dgamma.astype(maps.dtype)]
    dx = dx.reshape(shape).astype(maps.dtype, copy=False)
    return dx, *parameters, *([] if beta is None else [dbeta.astype(maps.dtype)])


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2."""
    x, *_ = check.channels(x, 1, gamma, beta, eps)
    return group_norm(x, x.shape[1], gamma, beta, eps)


instance_norm_backward = group_norm_backward
