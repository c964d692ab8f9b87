# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:b57f0bc8f7e8f75d
"""Normalisations, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t16_normalizations.checks as check


def _row(values, eps, centre):
    """A list of M floats: x_hat, a list, and the factor s; eq. 16.1, eq. 16.7."""
    M = len(values)
    mean = sum(values) / M if centre else 0.0
    deviations = [v - mean for v in values]
    s = 1.0 / math.sqrt(sum(d * d for d in deviations) / M + eps)
    return [d * s for d in deviations], s


def _row_backward(dx_hat, x_hat, s, centre):
    """Gradient of a row's x_hat to that of x, lists of M floats; eq. 16.6, eq. 16.8."""
    M = len(x_hat)
    mean = sum(dx_hat) / M if centre else 0.0
    along = sum(g * h for g, h in zip(dx_hat, x_hat)) / M
    return [s * (g - mean - h * along) for g, h in zip(dx_hat, x_hat)]


def _forward(x, gamma, beta, eps, per_row, each, K, centre=True):
    """x in rows of `per_row` numbers; the k-th number has the feature k // each % K: out, cache."""
    flat, x_hat, factors = x.ravel().tolist(), [], []
    for start in range(0, len(flat), per_row):
        row, s = _row(flat[start:start + per_row], eps, centre)
        x_hat += row
        factors.append(s)
    scale = [1.0] * K if gamma is None else gamma.tolist()
    shift = [0.0] * K if beta is None else beta.tolist()
    feature = [k // each % K for k in range(len(x_hat))]
    out = [scale[f] * h + shift[f] for f, h in zip(feature, x_hat)]             # eq. 16.2
    given = gamma is not None, beta is not None
    cache = x_hat, factors, scale, given, (per_row, each, K, centre), x.shape, x.dtype
    return np.array(out).reshape(x.shape).astype(x.dtype), cache


def _backward(dout, cache):
    """dx as x; dgamma, dbeta (K,) where they were given."""
    x_hat, factors, scale, given, (per_row, each, K, centre), shape, dtype = cache
    flat = check.gradient("dout", dout, shape, dtype).ravel().tolist()
    dgamma, dbeta, dx = [0.0] * K, [0.0] * K, []
    for k, g in enumerate(flat):                                # eq. 16.3
        dgamma[k // each % K] += g * x_hat[k]
        dbeta[k // each % K] += g
    dx_hat = [g * scale[k // each % K] for k, g in enumerate(flat)]
    for row, s in enumerate(factors):
        part = slice(row * per_row, (row + 1) * per_row)
        dx += _row_backward(dx_hat[part], x_hat[part], s, centre)
    parameters = [np.array(d) for d, want in zip((dgamma, dbeta), given) if want]
    grads = [np.array(dx).reshape(shape), *parameters]
    return tuple(grad.astype(dtype) for grad in grads)


def layer_norm(x, gamma=None, beta=None, eps=1e-5):
    """x (..., D), gamma and beta (D,) or None: out as x, and a cache."""
    x, gamma, beta = check.features(x, gamma, beta, eps)
    return _forward(x, gamma, beta, eps, per_row=x.shape[-1], each=1, K=x.shape[-1])


def rms_norm(x, gamma=None, eps=1e-5):
    """x (..., D), gamma (D,) or None: out as x, and a cache."""
    x, gamma, _ = check.features(x, gamma, None, eps)
    return _forward(x, gamma, None, eps, per_row=x.shape[-1], each=1, K=x.shape[-1], centre=False)


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """x (N, C, *S), gamma and beta (C,) or None: out as x, and a cache."""
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    C, pixels = x.shape[1], math.prod(x.shape[2:])
    return _forward(x, gamma, beta, eps, per_row=C // groups * pixels, each=pixels, K=C)


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """x (N, C, *S), gamma and beta (C,) or None: out as x, and a cache."""
    x, *_ = check.channels(x, 1, gamma, beta, eps)
    return group_norm(x, x.shape[1], gamma, beta, eps)


layer_norm_backward = rms_norm_backward = group_norm_backward = instance_norm_backward = _backward


def weight_norm(v, g, axis=0):
    """v of any shape, g (K,): w as v, and a cache."""
    v, g, axis = check.weights(v, g, axis)
    rows = np.moveaxis(v, axis, 0).reshape(len(g), -1).tolist()         # (K, M)
    lengths = [math.sqrt(sum(x * x for x in row)) for row in rows]
    unit = [[x / length for x in row] for row, length in zip(rows, lengths)]
    w = [[float(scale) * u for u in row] for scale, row in zip(g, unit)]        # eq. 16.9
    return _in_place_of(w, v, axis), (unit, lengths, g, v, axis)


def _in_place_of(rows, v, axis):
    """Lists (K, M) as an array of the shape and dtype of v, whose `axis` has K."""
    shape = np.moveaxis(v, axis, 0).shape
    return np.moveaxis(np.array(rows).reshape(shape), 0, axis).astype(v.dtype)


def weight_norm_backward(dw, cache):
    """dw as v: dv as v, dg (K,)."""
    unit, lengths, g, v, axis = cache
    dw = check.gradient("dw", dw, v.shape, v.dtype)
    dg, dv = [], []
    rows = np.moveaxis(dw, axis, 0).reshape(len(g), -1).tolist()        # (K, M)
    for d, u, length, scale in zip(rows, unit, lengths, g):
        along = sum(a * b for a, b in zip(d, u))                # eq. 16.10
        dg.append(along)
        dv.append([float(scale) / length * (a - b * along) for a, b in zip(d, u)])
    return _in_place_of(dv, v, axis), np.array(dg).astype(v.dtype)


def add_layer_norm(x, residual, gamma=None, beta=None, eps=1e-5):
    """x and residual (..., D): (out, total) as x, and a cache."""
    x, gamma, beta = check.features(x, gamma, beta, eps)
    residual = check.same("residual", residual, x)
    total = np.array([a + b for a, b in zip(x.ravel(), residual.ravel())], x.dtype).reshape(x.shape)
    out, cache = layer_norm(total, gamma, beta, eps)
    return (out, total), cache


def add_layer_norm_backward(dout, dtotal, cache):
    """dout and dtotal as x: dx and dresidual as x, and dgamma, dbeta where they were given."""
    dx, *grads = layer_norm_backward(dout, cache)
    dtotal = check.gradient("dtotal", dtotal, dx.shape, dx.dtype)
    both = np.array([a + b for a, b in zip(dx.ravel(), dtotal.ravel())], dx.dtype).reshape(dx.shape)
    return both, both.copy(), *grads                            # eq. 16.11
