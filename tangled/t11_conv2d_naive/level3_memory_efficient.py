# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:9e4be9119fa4636c
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


class Copies:
    """A copy of a picture, shifted, for each column of the kernel, `width` wide; 0 where nothing is."""

    def __init__(self, groups, channels, moves, height, width, dtype):
        """`moves`: for each column of the kernel, which columns of its copy are which of the picture."""
        c, self.moves = channels // groups, moves
        self.copies = np.zeros((groups, c, len(moves), height, width), dtype)
        self.rows = self.copies.reshape(groups, c * len(moves), height, width)

    def of(self, picture):
        """The copies of `picture`, one under the other: (G, c KW, h, width)."""
        for j, (to, columns) in enumerate(self.moves):
            self.copies[:, :, j, :, to] = picture[..., columns]
        return self.rows


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
    copies = Copies(groups, x.shape[1], ranges[1], x.shape[2], size[1], work)
    weights = w.transpose(2, 0, 1, 3).astype(work).reshape(kernel[0], groups, len(w) // groups, -1)
    total = np.empty((groups, len(w) // groups, *size), work)
    product = np.empty_like(total)
    for n, picture in enumerate(x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])):
        rows = copies.of(picture)
        total[...] = 0 if b is None else b.reshape(groups, -1, 1, 1)
        for weight, (outputs, inputs) in zip(weights, ranges[0]):           # weight (G, F/G, c KW)
            part = product[:, :, outputs]
            np.matmul(weight, _matrices(rows[:, :, inputs]), out=_matrices(part))
            total[:, :, outputs] += part
        out[n] = total.reshape(out.shape[1:])
    return out, (x, w, b is not None, (size, groups), ranges)


def conv2d_backward(dout, cache, out=None):
    """As level 2; dx into `out` (N, C, H, W) if given."""
    x, w, has_bias, (size, groups), (of_rows, of_columns) = cache
    dout = check.gradient(dout, (len(x), len(w), *size), x.dtype)
    dx, work = check.room(out, x.shape, x.dtype, x, w, dout), check.working(x.dtype)
    (F, c, KH, KW), (N, C, H, W) = w.shape, x.shape
    copies = Copies(groups, C, of_columns, H, size[1], work)
    spread = Copies(groups, F, [move[::-1] for move in of_columns], size[0], W, work)
    weights = w.reshape(groups, F // groups, c, KH, KW).transpose(3, 0, 2, 1, 4).astype(work)
    weights = weights.reshape(KH, groups, c, F // groups * KW)
    dweights = np.zeros((KH, groups, F // groups, c * KW), work)
    total = np.empty((groups, c, H, W), work)
    product = np.empty((groups, c, size[0], W), work)
    for n in range(N):
        rows = copies.of(x[n].reshape(total.shape))
        g = np.ascontiguousarray(dout[n], work).reshape(groups, F // groups, *size)
        of_g = spread.of(g)
        total[...] = 0
        for weight, dweight, (outputs, inputs) in zip(weights, dweights, of_rows):
            read = _matrices(rows[:, :, inputs])
            dweight += _matrices(g[:, :, outputs]) @ read.swapaxes(-1, -2)  # eq. 11.7
            part = product[:, :, outputs]
            np.matmul(weight, _matrices(of_g[:, :, outputs]), out=_matrices(part))
            total[:, :, inputs] += part                         # eq. 11.8
        dx[n] = total.reshape(C, H, W)
    dw = dweights.reshape(KH, F, c, KW).transpose(1, 2, 0, 3).astype(x.dtype)
    if not has_bias:
        return dx, dw
    return dx, dw, dout.sum(axis=(0, 2, 3), dtype=work).astype(x.dtype)
