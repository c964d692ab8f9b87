# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:e24c9ed485a80092
"""Batch normalisation, level 3: affine forms, blocks in cache, x_hat never formed."""

import functools
import math

import numpy as np

import tangled.t09_batch_norm.checks as check

BLOCK = 1 << 17                                                 # numbers in a block


def _flat(x):
    """x (N, C) or (N, C, H, W) as (N, C, S): a view, if x is contiguous."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _blocks(x):
    """Slices of x (N, C, S) along N with about BLOCK numbers each."""
    step = max(1, BLOCK // max(1, x.shape[1] * x.shape[2]))
    return [slice(n, n + step) for n in range(0, len(x), step)]


def _buffer(x):
    """An array for any block of x (N, C, S), float32 for float16."""
    step = max(1, BLOCK // max(1, x.shape[1] * x.shape[2]))
    return np.empty((min(step, len(x)), *x.shape[1:]), np.promote_types(x.dtype, np.float32))


def _written(out, dtype):
    """(slice, array to fill) for the blocks of out (N, C, S); for float16 by way of dtype."""
    for block in _blocks(out):
        y = out[block]
        t = y if out.dtype == dtype else np.empty(y.shape, dtype)
        yield block, t
        if t is not y:
            y[...] = check.narrow(t, y.dtype)


@functools.lru_cache(maxsize=64)
def _ones(size, dtype):
    """A vector of ones (size,), made once."""
    return np.ones(size, dtype)


def _sum(t):
    """t (n, C, S) summed to (C,): products with vectors of ones."""
    n, channels, size = t.shape
    if size != 1:
        t = t.reshape(n * channels, size) @ _ones(size, t.dtype)
    return _ones(n, t.dtype) @ t.reshape(n, channels)


def _dot(t, u):
    """Products of t and u, (n, C, S) each, summed to (C,)."""
    if t.shape[2] == 1:
        return np.einsum("ncs,ncs->c", t, u)
    return np.matmul(t[:, :, None], u[..., None]).sum(axis=(0, 2, 3))    # (n, C, 1, 1)


def _stretched(v, room):
    """v (C,) copied to each sample and pixel of room (n, C, S)."""
    np.copyto(room, v.astype(room.dtype, copy=False)[:, None])
    return room


def _scaled(x, a, buffer, out):
    """a x into out, (n, C, S) both and a (C,); the buffer is used where out is x."""
    np.multiply(x, _stretched(a, buffer if np.may_share_memory(x, out) else out), out=out)


def _moments(x):
    """Mean and biased variance of each channel of x (N, C, S): two (C,) in float64."""
    buffer, (first, second) = _buffer(x), np.zeros((2, x.shape[1]))
    count, blocks = max(x.shape[0] * x.shape[2], 1), _blocks(x)
    head = check.wide(x[blocks[0]] if blocks else x)            # the first block (n, C, S)
    K = _sum(head) / max(len(head) * x.shape[2], 1)             # (C,), its mean
    for block in blocks:
        t = _stretched(K, buffer[:len(x[block])])
        np.subtract(x[block], t, out=t)
        first += _sum(t)
        second += _dot(t, t)
    first /= count                                              # mu - K
    return K + first, np.maximum(second / count - first * first, 0)     # eq. 9.26


def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5,
               out=None):
    """As level 2, into out if given; in evaluation out may be x, and there is no cache then."""
    x, gamma, beta = check.forward(x, gamma, beta, running_mean, running_var, training,
                                   momentum, eps)
    kept, same = ([x, gamma], []) if training else ([gamma], [x])
    out = check.target("out", out, x, kept, same)
    rows, into = _flat(x), _flat(out)
    if training:
        mean, var = _moments(rows)
        if running_mean is not None and x.size:
            count = x.size // len(mean)
            for running, new in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
                running *= 1 - momentum                         # eq. 9.4
                running += momentum * new
    else:
        mean, var = running_mean.astype(float), running_var.astype(float)
    inv_std = 1.0 / np.sqrt(var + eps)
    a = gamma * inv_std
    _affine(rows, a, beta - a * mean, into)
    kept = None if np.may_share_memory(x, out) else (x, gamma, mean, inv_std, training)
    return out, kept


def _affine(x, a, c, out):
    """out = a x + c, all (N, C, S), with a and c (C,): block by block."""
    buffer = _buffer(x)
    for block, y in _written(out, buffer.dtype):
        _scaled(x[block], a, buffer[:len(y)], y)
        y += _stretched(c, buffer[:len(y)])


def batch_norm_backward(dout, cache, out=None):
    """As level 2; dx is written into out if given, which may be dout itself."""
    if cache is None:
        raise ValueError("cache is None, x was overwritten; expected that of another call")
    x, gamma, mean, inv_std, training = cache
    dout = check.gradient(dout, x)
    dx = check.target("out", out, x, kept=[x], same=[dout])
    rows, grads, into = _flat(x), _flat(dout), _flat(dx)
    dgamma, dbeta = _parameter_gradients(rows, grads, mean, inv_std)
    a, count = gamma * inv_std, max(rows.shape[0] * rows.shape[2], 1)
    if training:
        k = -a * inv_std * dgamma / count
        _affine_pair(grads, rows, a, k, -a * dbeta / count - k * mean, into)
    else:
        _affine(grads, a, np.zeros_like(a), into)
    return dx, check.narrow(dgamma, x.dtype), check.narrow(dbeta, x.dtype)


def _parameter_gradients(x, dout, mean, inv_std):
    """x, dout (N, C, S), mean and 1 / deviation (C,): dgamma, dbeta (C,) in float64."""
    buffer, (dgamma, dbeta) = _buffer(x), np.zeros((2, x.shape[1]))
    centre = mean.astype(buffer.dtype)
    for block in _blocks(x):
        g = check.wide(dout[block])
        t = _stretched(centre, buffer[:len(g)])
        np.subtract(x[block], t, out=t)
        dbeta += _sum(g)
        dgamma += _dot(g, t)
    return (dgamma - (mean - centre) * dbeta) * inv_std, dbeta


def _affine_pair(g, x, a, k, c, out):
    """out = a g + k x + c, block by block; out may be g.   eq. 9.25"""
    buffer = _buffer(x)
    for block, y in _written(out, buffer.dtype):
        _scaled(g[block], a, buffer[:len(y)], y)
        t = _stretched(k, buffer[:len(y)])
        t *= x[block]
        y += t
        y += _stretched(c, t)


def fold_batch_norm(W, b, gamma, beta, running_mean, running_var, eps=1e-5, out=None):
    """As level 2; with out=(W, b) in place."""
    W, b, gamma, beta, mean, var = check.fold(W, b, gamma, beta, running_mean, running_var, eps)
    into_W, into_b = (None, None) if out is None else out
    into_W = check.target("out[0]", into_W, W, same=[W])
    into_b = check.target("out[1]", into_b, np.empty(W.shape[1], W.dtype), kept=[into_W])
    a = gamma / np.sqrt(var + eps)                              # eq. 9.22
    shift = a * (-mean if b is None else b - mean) + beta       # (C,), before anything is written
    with np.errstate(over="ignore"):
        np.multiply(W, a, out=into_W, casting="same_kind")
    into_b[...] = check.narrow(shift, W.dtype)
    return into_W, into_b
