# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:8c2e21548f1d4252
"""Convolution, level 3: no padded copy, one picture at a time, two buffers."""

import numpy as np

import tangled.t11_conv2d_naive.checks as check
from tangled.t11_conv2d_naive.level2_vectorized import conv_output_size, explicit_padding, receptive_field
from tangled.t11_conv2d_naive.ranges import inside

__all__ = ["conv2d", "conv2d_backward", "conv_output_size", "explicit_padding", "receptive_field"]


def _parts(w_shape, x_shape, size, stride, dilation, sides):
    """[(i, j, part of out, part of x)] for each offset that meets the picture at all."""
    axes = [[inside(k * d - before[0], o, s, n) for k in range(kernel)]
            for kernel, n, o, s, d, before in
            zip(w_shape[2:], x_shape[2:], size, stride, dilation, sides)]
    return [(i, j, (..., rows[0], columns[0]), (..., rows[1], columns[1]))
            for i, rows in enumerate(axes[0]) for j, columns in enumerate(axes[1])
            if rows[0].start < rows[0].stop and columns[0].start < columns[0].stop]


def _packed(buffer, array):
    """A copy of `array` (G, c, h, w) in the front of a flat buffer, as (G, c, h * w)."""
    G, c, h, w = array.shape
    packed = buffer[:array.size].reshape(G, c, h * w)
    packed.reshape(array.shape)[...] = array
    return packed


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, out=None):
    """As level 2; into `out` (N, F, OH, OW) if given."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    kernel = w.shape[2:]
    sides = explicit_padding(padding, kernel, stride, dilation)
    check.planes(x, kernel, sides, dilation)
    size = tuple(conv_output_size(*axis) for axis in zip(x.shape[2:], kernel, stride, sides, dilation))
    out = check.room(out, (len(x), len(w), *size), x.dtype, *(a for a in (x, w, b) if a is not None))
    work = check.working(x.dtype)
    weights = _by_offset(w, groups, work)
    parts = _parts(w.shape, x.shape, size, stride, dilation, sides)
    by_group = lambda a, channels: a.reshape(groups, channels // groups, *a.shape[1:])
    planes, product = (np.empty(channels * size[0] * size[1], work) for channels in (x.shape[1], len(w)))
    total = np.empty((len(w), *size), work)
    for n in range(len(x)):
        total[...] = 0 if b is None else b[:, None, None]
        y, picture = by_group(total, len(w)), by_group(x[n], x.shape[1])
        for i, j, outputs, inputs in parts:
            packed = _packed(planes, picture[inputs])           # (G, C/G, l)
            room = product[:len(w) * packed.shape[-1]].reshape(groups, -1, packed.shape[-1])
            y[outputs] += np.matmul(weights[i, j], packed, out=room).reshape(y[outputs].shape)
        out[n] = total
    return out, (x, w, b is not None, (size, stride, dilation, sides, groups), parts)


def _by_offset(w, groups, dtype):
    """w (F, c, KH, KW) as (KH, KW, G, F/G, c), contiguous."""
    F, c, KH, KW = w.shape
    return np.ascontiguousarray(w.transpose(2, 3, 0, 1), dtype).reshape(KH, KW, groups, F // groups, c)


def conv2d_backward(dout, cache, out=None):
    """As level 2; dx into `out` (N, C, H, W) if given."""
    x, w, has_bias, (size, _, _, _, groups), parts = cache
    dout = check.gradient(dout, (len(x), len(w), *size), x.dtype)
    dx, work = check.room(out, x.shape, x.dtype, x, w, dout), check.working(x.dtype)
    weights = _by_offset(w, groups, work)
    dweights = np.zeros(weights.shape, work)                    # (KH, KW, G, F/G, c)
    C, F = x.shape[1], len(w)
    planes, grads, back = (np.empty(channels * size[0] * size[1], work) for channels in (C, F, C))
    total = np.empty((groups, C // groups, *x.shape[2:]), work)
    for n in range(len(x)):
        picture = x[n].reshape(groups, C // groups, *x.shape[2:])
        g = dout[n].reshape(groups, F // groups, *size)
        total[...] = 0
        for i, j, outputs, inputs in parts:
            of_out, of_in = _packed(grads, g[outputs]), _packed(planes, picture[inputs])
            dweights[i, j] += of_out @ of_in.swapaxes(-1, -2)   # eq. 11.7
            room = back[:of_in.size].reshape(of_in.shape)
            np.matmul(weights[i, j].swapaxes(-1, -2), of_out, out=room)
            total[inputs] += room.reshape(picture[inputs].shape)        # eq. 11.8
        dx[n] = total.reshape(x.shape[1:])
    dw = dweights.transpose(2, 3, 4, 0, 1).reshape(w.shape).astype(x.dtype)
    if not has_bias:
        return dx, dw
    return dx, dw, dout.sum(axis=(0, 2, 3), dtype=work).astype(x.dtype)
