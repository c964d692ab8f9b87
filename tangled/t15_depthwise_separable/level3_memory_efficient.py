# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:98f008c26373dd1a
"""The factored convolution, level 3: chapter 12's row buffer, and one row for the whole batch."""

import numpy as np

import tangled.t15_depthwise_separable.checks as check
from tangled.t12_im2col import level3_memory_efficient as rows
from tangled.t15_depthwise_separable import level2_vectorized as plain
from tangled.t15_depthwise_separable.level2_vectorized import (
    RULES,
    Lookup,
    ReLU6,
    SqueezeExcite,
    count_flops,
    count_parameters,
    squeeze_excite,
    squeeze_excite_backward,
)

__all__ = ["RULES", "CausalCharModel", "CausalConv1d", "DepthwiseConv2d", "InvertedResidual", "Lookup",
           "PointwiseConv2d", "ReLU6", "SqueezeExcite", "causal_conv1d", "causal_conv1d_backward", "count_flops",
           "count_parameters", "depthwise_conv2d", "depthwise_conv2d_backward", "pointwise_conv2d",
           "pointwise_conv2d_backward", "squeeze_excite", "squeeze_excite_backward"]


def depthwise_conv2d(x, w, b=None, stride=1, padding=0, dilation=1):
    """As level 2, by the row buffer of chapter 12."""
    x, w, b, _ = check.depthwise(x, w, b, stride, padding, dilation)
    return rows.conv2d(x, w, b, stride, padding, dilation, groups=x.shape[1])   # eq. 15.2


depthwise_conv2d_backward = rows.conv2d_backward


def pointwise_conv2d(x, w, b=None):
    """As level 2; the cache holds x itself."""
    x, w, b = check.pointwise(x, w, b)
    (N, C, H, W), work = x.shape, check.working(x.dtype)
    out = np.empty((N, len(w), H * W), work)
    for n in range(N):
        np.matmul(w.astype(work, copy=False), x[n].reshape(C, H * W).astype(work, copy=False), out=out[n])
        if b is not None:
            out[n] += b[:, None]
    return out.reshape(N, len(w), H, W).astype(x.dtype, copy=False), (x, w, b is not None)


def pointwise_conv2d_backward(dout, cache):
    """As level 2; no (N, F, C) array is made."""
    x, w, has_bias = cache
    (N, C, H, W), work = x.shape, check.working(x.dtype)
    dout = check.gradient(dout, (N, len(w), H, W), work)
    dx, dw, weights = np.empty((N, C, H * W), work), np.zeros(w.shape, work), w.astype(work, copy=False)
    for n in range(N):
        g = dout[n].reshape(len(w), H * W)
        np.matmul(weights.T, g, out=dx[n])
        dw += g @ x[n].reshape(C, H * W).astype(work, copy=False).T
    grads = dx.reshape(x.shape), dw, dout.sum(axis=(0, 2, 3))
    return tuple(grad.astype(x.dtype, copy=False) for grad in grads[:2 + has_bias])


def causal_conv1d(x, w, b=None, dilation=1):
    """As level 2, with one product for each time of the kernel."""
    x, w, b, dilation = check.causal(x, w, b, dilation)
    (N, C, T), (F, _, K), work = x.shape, w.shape, check.working(x.dtype)
    before = (K - 1) * dilation
    row = np.zeros((C, N, before + T), work)                    # zeros, series, zeros, series, ...
    row[:, :, before:] = x.swapaxes(0, 1)
    flat, weights = row.reshape(C, N * (before + T)), w.astype(work)
    room = np.empty((F, N * (before + T)), work)                # (n, t) at n (before + T) + t
    length = max(0, flat.shape[1] - before)
    total = room[:, :length]
    np.matmul(weights[:, :, 0], flat[:, :length], out=total)
    for k in range(1, K):
        total += weights[:, :, k] @ flat[:, k * dilation:k * dilation + length]         # eq. 15.13
    if b is not None:
        total += b[:, None]
    out = room.reshape(F, N, before + T)[:, :, :T].swapaxes(0, 1)
    return out.astype(x.dtype, order="C"), (flat, weights, b is not None, (N, C, T), dilation, x.dtype)


def causal_conv1d_backward(dout, cache):
    """As level 2."""
    flat, weights, has_bias, (N, C, T), dilation, dtype = cache
    F, _, K = weights.shape
    before, dout = (K - 1) * dilation, check.gradient(dout, (N, F, T), flat.dtype)
    room = np.zeros((F, N, before + T), flat.dtype)
    room[:, :, :T] = dout.swapaxes(0, 1)                        # zeros where there is no output
    g = room.reshape(F, flat.shape[1])[:, :max(0, flat.shape[1] - before)]
    dflat, dw = np.zeros_like(flat), np.empty_like(weights)
    for k in range(K):
        now = slice(k * dilation, k * dilation + g.shape[1])
        with np.errstate(invalid="ignore"):                     # 0 times infinity
            dw[:, :, k] = g @ flat[:, now].T
        dflat[:, now] += weights[:, :, k].T @ g                 # eq. 15.14
    if not np.isfinite(dw).all():                               # what met a zero has met no output
        _exact_weight_gradient(dout, flat.reshape(C, N, before + T), dilation, dw)
    dx = dflat.reshape(C, N, before + T)[:, :, before:].swapaxes(0, 1)
    grads = dx.astype(dtype, order="C"), dw, dout.sum(axis=(0, 2))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


def _exact_weight_gradient(dout, padded, dilation, dw):
    """dw (F, C, K) of dout (N, F, T) and the padded series (C, N, ...), each output with what it read."""
    T = dout.shape[2]
    for k in range(dw.shape[2]):
        part = padded[:, :, k * dilation:k * dilation + T]
        dw[:, :, k] = np.tensordot(dout, part, ((0, 2), (1, 2)))


class DepthwiseConv2d(plain.DepthwiseConv2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(depthwise_conv2d), staticmethod(depthwise_conv2d_backward)


class PointwiseConv2d(plain.PointwiseConv2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(pointwise_conv2d), staticmethod(pointwise_conv2d_backward)


class CausalConv1d(plain.CausalConv1d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(causal_conv1d), staticmethod(causal_conv1d_backward)


class InvertedResidual(plain.InvertedResidual):
    """As level 2, with the convolutions of this level."""

    depthwise, pointwise = DepthwiseConv2d, PointwiseConv2d


class CausalCharModel(plain.CausalCharModel):
    """As level 2, with the convolution of this level."""

    convolution = CausalConv1d
