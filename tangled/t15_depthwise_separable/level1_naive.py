# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:53af8daf896914da
"""The factored convolution, level 1: loops. Shapes and errors as in level 2."""

import itertools
import math

import numpy as np

import tangled.t15_depthwise_separable.checks as check


def depthwise_conv2d(x, w, b=None, stride=1, padding=0, dilation=1):
    """x (N, C, H, W), w (C * M, 1, KH, KW), b (C * M,): out (N, C * M, OH, OW), and a cache."""
    x, w, b, at = check.depthwise(x, w, b, stride, padding, dilation)
    out = np.empty((len(x), len(w), *at.outputs), x.dtype)
    for n, f, o, q in itertools.product(*map(range, out.shape)):
        total = 0.0 if b is None else float(b[f])
        for i, j, a, e in _reads(x, at, o, q):
            total += float(w[f, 0, i, j]) * float(x[n, _channel(f, w, x), a, e])    # eq. 15.2
        out[n, f, o, q] = total
    return out, (x, w, b is not None, at)


def _channel(f, w, x):
    """The channel that output f reads: f // M."""
    return f // (len(w) // x.shape[1])


def _reads(x, at, o, q):
    """Weight (i, j) and pixel (a, e) of x (N, C, H, W) for output (o, q), padding left out."""
    for i, j in itertools.product(*map(range, at.kernel)):
        a = o * at.stride[0] + i * at.dilation[0] - at.sides[0][0]
        e = q * at.stride[1] + j * at.dilation[1] - at.sides[1][0]
        if 0 <= a < x.shape[2] and 0 <= e < x.shape[3]:
            yield i, j, a, e


def depthwise_conv2d_backward(dout, cache):
    """dout (N, C * M, OH, OW): dx as x, dw as w, and db (C * M,) if there was a b."""
    x, w, has_bias, at = cache
    dout = check.gradient(dout, (len(x), len(w), *at.outputs), x.dtype)
    dx, dw, db = (np.zeros(a.shape) for a in (x, w, w[:, 0, 0, 0]))             # float64
    for n, f, o, q in itertools.product(*map(range, dout.shape)):
        g, c = float(dout[n, f, o, q]), _channel(f, w, x)
        db[f] += g
        for i, j, a, e in _reads(x, at, o, q):
            dw[f, 0, i, j] += g * float(x[n, c, a, e])                          # eq. 15.5
            dx[n, c, a, e] += g * float(w[f, 0, i, j])                          # eq. 15.6
    return tuple(grad.astype(x.dtype) for grad in (dx, dw, db)[:2 + has_bias])


def pointwise_conv2d(x, w, b=None):
    """x (N, C, H, W), w (F, C), b (F,): out (N, F, H, W), and a cache."""
    x, w, b = check.pointwise(x, w, b)
    out = np.empty((len(x), len(w), *x.shape[2:]), x.dtype)
    for n, f, o, q in itertools.product(*map(range, out.shape)):
        total = 0.0 if b is None else float(b[f])
        for c in range(x.shape[1]):
            total += float(w[f, c]) * float(x[n, c, o, q])      # eq. 15.3
        out[n, f, o, q] = total
    return out, (x, w, b is not None)


def pointwise_conv2d_backward(dout, cache):
    """dout (N, F, H, W): dx (N, C, H, W), dw (F, C), and db (F,) if there was a b."""
    x, w, has_bias = cache
    dout = check.gradient(dout, (len(x), len(w), *x.shape[2:]), x.dtype)
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(len(w))
    for n, f, o, q in itertools.product(*map(range, dout.shape)):
        g = float(dout[n, f, o, q])
        db[f] += g
        for c in range(x.shape[1]):
            dw[f, c] += g * float(x[n, c, o, q])
            dx[n, c, o, q] += g * float(w[f, c])
    return tuple(grad.astype(x.dtype) for grad in (dx, dw, db)[:2 + has_bias])


def causal_conv1d(x, w, b=None, dilation=1):
    """x (N, C, T), w (F, C, K), b (F,): out (N, F, T), and a cache."""
    x, w, b, dilation = check.causal(x, w, b, dilation)
    out = np.empty((len(x), len(w), x.shape[2]), x.dtype)
    for n, f, t in itertools.product(*map(range, out.shape)):
        total = 0.0 if b is None else float(b[f])
        for c, k, s in _past(w, t, dilation):
            total += float(w[f, c, k]) * float(x[n, c, s])      # eq. 15.13
        out[n, f, t] = total
    return out, (x, w, b is not None, dilation)


def _past(w, t, dilation):
    """Channel c, weight k of w (F, C, K) and the time s that it meets for the output at t."""
    for c, k in itertools.product(*map(range, w.shape[1:])):
        s = t - (w.shape[2] - 1 - k) * dilation
        if s >= 0:
            yield c, k, s


def causal_conv1d_backward(dout, cache):
    """dout (N, F, T): dx (N, C, T), dw (F, C, K), and db (F,) if there was a b."""
    x, w, has_bias, dilation = cache
    dout = check.gradient(dout, (len(x), len(w), x.shape[2]), x.dtype)
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(len(w))
    for n, f, t in itertools.product(*map(range, dout.shape)):
        g = float(dout[n, f, t])
        db[f] += g
        for c, k, s in _past(w, t, dilation):
            dw[f, c, k] += g * float(x[n, c, s])
            dx[n, c, s] += g * float(w[f, c, k])                # eq. 15.14
    return tuple(grad.astype(x.dtype) for grad in (dx, dw, db)[:2 + has_bias])


def squeeze_excite(x, w1, b1, w2, b2):
    """x (N, C, H, W), w1 (C, R), b1 (R,), w2 (R, C), b2 (C,): out as x, and a cache."""
    x, w1, b1, w2, b2 = check.excited(x, w1, b1, w2, b2)
    (N, C), R = x.shape[:2], len(b1)
    z, r, s, out = np.zeros((N, C)), np.zeros((N, R)), np.zeros((N, C)), np.empty(x.shape, x.dtype)
    for n in range(N):
        for c in range(C):
            z[n, c] = math.fsum(x[n, c].ravel().tolist()) / x[n, c].size
        for k in range(R):
            r[n, k] = max(0.0, float(b1[k]) + sum(z[n, c] * float(w1[c, k]) for c in range(C)))
        for c in range(C):
            v = float(b2[c]) + sum(r[n, k] * float(w2[k, c]) for k in range(R))
            s[n, c] = 0.5 * (1 + math.tanh(v / 2))              # the sigmoid of v
            out[n, c] = s[n, c] * x[n, c].astype(float)
    return out, (x, w1, w2, z, r, s)


def squeeze_excite_backward(dout, cache):
    """dout (N, C, H, W): dx, dw1, db1, dw2, db2."""
    x, w1, w2, z, r, s = cache
    dout = check.gradient(dout, x.shape, x.dtype)
    dx, (C, R) = np.zeros(x.shape), w1.shape
    dw1, db1, dw2, db2 = np.zeros((C, R)), np.zeros(R), np.zeros((R, C)), np.zeros(C)
    for n in range(len(x)):
        dv = [math.fsum((dout[n, c].astype(float) * x[n, c]).ravel().tolist()) * s[n, c] * (1 - s[n, c])
              for c in range(C)]                                # eq. 15.11
        du = [sum(dv[c] * float(w2[k, c]) for c in range(C)) if r[n, k] > 0 else 0.0 for k in range(R)]
        for c, k in itertools.product(range(C), range(R)):
            dw2[k, c] += r[n, k] * dv[c]
            dw1[c, k] += z[n, c] * du[k]
        db2 += dv
        db1 += du
        for c in range(C):
            dz = sum(float(w1[c, k]) * du[k] for k in range(R))
            dx[n, c] = dout[n, c].astype(float) * s[n, c] + dz / x[n, c].size           # eq. 15.12
    return tuple(grad.astype(x.dtype) for grad in (dx, dw1, db1, dw2, db2))
