# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:fedb303265d57154
"""Convolution, level 3: no padded copy, one picture at a time, one copy for each column of the kernel."""

import numpy as np

import tangled.t11_conv2d_naive.checks as check
from tangled.t11_conv2d_naive.level2_vectorized import conv_output_size, explicit_padding, receptive_field
from tangled.t11_conv2d_naive.ranges import inside

__all__ = ["conv2d", "conv2d_backward", "conv_output_size", "explicit_padding", "receptive_field"]


def _ranges(kernel, x_shape, size, stride, dilation, sides):
    """For rows, then for columns: [(part of out, part of x)], one for each offset of the kernel."""
    return [[inside(k * d - before, o, s, n) for k in range(extent)]
            for extent, n, o, s, d, (before, _) in zip(kernel, x_shape[2:], size, stride, dilation, sides)]


def _shift(picture, columns, copies):
    """`picture` (G, c, H, W) as each column of the kernel sees it, into `copies` (G, c, KW, H, OW)."""
    for j, (outputs, inputs) in enumerate(columns):
        copies[:, :, j, :, outputs] = picture[..., inputs]


def _matrices(array):
    """`array` (G, K, h, w) as (G, K, h * w): a view, if each row begins where the last one ends."""
    G, K, h, w = array.shape
    return array.reshape(G, K, h * w)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, out=None):
    """As level 2; into `out` (N, F, OH, OW) if given."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    kernel = w.shape[2:]
    sides = explicit_padding(padding, kernel, stride, dilation)
    check.planes(x, kernel, sides, dilation)
    size = tuple(conv_output_size(*axis) for axis in zip(x.shape[2:], kernel, stride, sides, dilation))
    out = check.room(out, (len(x), len(w), *size), x.dtype, *(a for a in (x, w, b) if a is not None))
    work, ranges = check.working(x.dtype), _ranges(kernel, x.shape, size, stride, dilation, sides)
    pictures, copies, rows = _buffers(x, groups, kernel, size, work)
    weights = _by_row(w, groups, work)
    total = np.empty((groups, len(w) // groups, *size), work)
    product = np.empty_like(total)
    for n, picture in enumerate(pictures):
        _shift(picture, ranges[1], copies)
        total[...] = 0 if b is None else b.reshape(groups, -1, 1, 1)
        for weight, (outputs, inputs) in zip(weights, ranges[0]):
            part = product[:, :, outputs]
            np.matmul(weight, _matrices(rows[:, :, inputs]), out=_matrices(part))
            total[:, :, outputs] += part
        out[n] = total.reshape(out.shape[1:])
    return out, (x, w, b is not None, (kernel, size, groups), ranges)


def _buffers(x, groups, kernel, size, dtype):
    """x (N, C, H, W) as (N, G, c, H, W); room for its copies (G, c, KW, H, OW), also as (G, c KW, H, OW)."""
    N, C, H, W = x.shape
    copies = np.zeros((groups, C // groups, kernel[1], H, size[1]), dtype)
    return (x.reshape(N, groups, C // groups, H, W), copies,
            copies.reshape(groups, C // groups * kernel[1], H, size[1]))


def _by_row(w, groups, dtype):
    """w (F, c, KH, KW) as (KH, G, F/G, c KW), contiguous."""
    F, c, KH, KW = w.shape
    return np.ascontiguousarray(w.transpose(2, 0, 1, 3), dtype).reshape(KH, groups, F // groups, c * KW)


def conv2d_backward(dout, cache, out=None):
    """As level 2; dx into `out` (N, C, H, W) if given."""
    x, w, has_bias, (kernel, size, groups), ranges = cache
    dout = check.gradient(dout, (len(x), len(w), *size), x.dtype)
    dx, work = check.room(out, x.shape, x.dtype, x, w, dout), check.working(x.dtype)
    pictures, copies, rows = _buffers(x, groups, kernel, size, work)
    weights = _by_row(w, groups, work)
    dweights = np.zeros_like(weights)                           # (KH, G, F/G, c KW)
    total = np.empty(pictures.shape[1:], work)
    product = np.empty((*rows.shape[:2], *size), work)
    for n, picture in enumerate(pictures):
        g = np.ascontiguousarray(dout[n], work).reshape(groups, -1, *size)
        copies[...] = 0
        _shift(picture, ranges[1], copies)
        for dweight, (outputs, inputs) in zip(dweights, ranges[0]):         # eq. 11.7
            dweight += _matrices(g[:, :, outputs]) @ _matrices(rows[:, :, inputs]).swapaxes(-1, -2)
        copies[...] = 0
        for weight, (outputs, inputs) in zip(weights, ranges[0]):           # eq. 11.8
            part = product[:, :, outputs]
            np.matmul(weight.swapaxes(-1, -2), _matrices(g[:, :, outputs]), out=_matrices(part))
            rows[:, :, inputs] += part
        total[...] = 0
        for j, (outputs, inputs) in enumerate(ranges[1]):
            total[..., inputs] += copies[:, :, j, :, outputs]
        dx[n] = total.reshape(x.shape[1:])
    F, c, KH, KW = w.shape
    dw = dweights.reshape(KH, F, c, KW).transpose(1, 2, 0, 3).astype(x.dtype)
    if not has_bias:
        return dx, dw
    return dx, dw, dout.sum(axis=(0, 2, 3), dtype=work).astype(x.dtype)
