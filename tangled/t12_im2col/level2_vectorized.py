# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:e2a30a7b63be29f8
"""Convolution as a matrix product, level 2: the column matrix, and the modules."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

import tangled.t12_im2col.checks as check
from tangled.t06_backpropagation import Module, Parameter


def _windows(padded, at):
    """A view (N, C, KH, KW, OH, OW) of padded pictures (N, C, Hp, Wp): all windows."""
    row, column = padded.strides[2:]
    within = at.dilation[0] * row, at.dilation[1] * column      # from weight to weight
    between = at.stride[0] * row, at.stride[1] * column         # from window to window
    shape = *padded.shape[:2], *at.kernel, *at.outputs
    return as_strided(padded, shape, (*padded.strides[:2], *within, *between))


def _gather(x, at):
    """x (N, C, H, W) to columns (N, C KH KW, L)."""
    windows = _windows(np.pad(x, ((0, 0), (0, 0), *at.sides)), at)
    N, C = x.shape[:2]
    return windows.reshape(N, C * math.prod(at.kernel), math.prod(at.outputs))      # eq. 12.1


def _scatter(columns, shape, at):
    """columns (N, C KH KW, L), added up in zeros of that shape, (N, C, H, W)."""
    N, C, H, W = shape
    (top, bottom), (left, right) = at.sides
    padded = np.zeros((N, C, top + H + bottom, left + W + right), columns.dtype)
    windows = _windows(padded, at)
    parts = columns.reshape(windows.shape)
    for i, j in np.ndindex(*at.kernel):
        windows[:, :, i, j] += parts[:, :, i, j]                        # eq. 12.5; no pixel twice in one step
    return padded[:, :, top:top + H, left:left + W].copy()


def im2col(x, kernel, stride=1, padding=0, dilation=1):
    """Every window of every picture as a column.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    kernel, stride, dilation : int, or (h, w)
    padding : int, (h, w), (top, bottom, left, right), or "same"; zeros

    Returns
    -------
    columns : ndarray of shape (N, C * KH * KW, OH * OW); rows in the order of channel, kernel row,
        kernel column, as `torch.nn.functional.unfold` has them
    """
    x = check.pictures(x)
    return _gather(x, check.window(x.shape, kernel, stride, padding, dilation))


def col2im(columns, size, kernel, stride=1, padding=0, dilation=1):
    """The adjoint of `im2col`: every entry is added to the pixel that it would come from.

    Parameters
    ----------
    columns : ndarray of shape (N, C * KH * KW, OH * OW), floating
    size : (H, W) of the result
    kernel, stride, padding, dilation : as for `im2col`

    Returns
    -------
    x : ndarray of shape (N, C, H, W), as `torch.nn.functional.fold` gives
    """
    columns, shape, at = check.columns(columns, size, kernel, stride, padding, dilation)
    summed = _scatter(columns.astype(check.working(columns.dtype), copy=False), shape, at)
    return summed.astype(columns.dtype, copy=False)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation as a matrix product; arguments and result as in chapter 11.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    w : ndarray of shape (F, C / groups, KH, KW), in the dtype of x
    b : ndarray of shape (F,), in the dtype of x, or None
    stride, dilation : int, or (h, w)
    padding : int, (h, w), (top, bottom, left, right), or "same"; zeros
    groups : int, a divisor of C and F

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW), in the dtype of x
    cache : for `conv2d_backward`
    """
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    at, dtype = check.window(x.shape, w.shape[2:], stride, padding, dilation), x.dtype
    work = check.working(dtype)
    columns = _by_group(_gather(x.astype(work, copy=False), at), groups)        # (N, G, r, L)
    weights = w.reshape(groups, len(w) // groups, columns.shape[2]).astype(work)        # (G, F / G, r)
    out = (weights @ columns).reshape(len(x), len(w), *at.outputs)              # eq. 12.2
    if b is not None:
        out += b[:, None, None]
    return out.astype(dtype, copy=False), (columns, weights, b is not None, x.shape, w.shape, at, dtype)


def _by_group(columns, groups):
    """(N, c, L) as (N, G, c / G, L)."""
    N, rows, L = columns.shape
    return columns.reshape(N, groups, rows // groups, L)


def conv2d_backward(dout, cache):
    """Gradients of `conv2d`.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
    cache : from `conv2d`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw : ndarray of shape (F, C / groups, KH, KW)
    db : ndarray of shape (F,); left out if there was no b
    """
    columns, weights, has_bias, x_shape, w_shape, at, dtype = cache
    (N, groups, rows, L), F = columns.shape, w_shape[0]
    dout = check.gradient(dout, (N, F, *at.outputs), columns.dtype)
    g = dout.reshape(N, groups, F // groups, L)
    dw = (g @ columns.swapaxes(-1, -2)).sum(axis=0).reshape(w_shape)            # eq. 12.3
    dcolumns = weights.swapaxes(-1, -2) @ g                         # (G, r, F / G) @ (N, G, F / G, L)
    dx = _scatter(dcolumns.reshape(N, groups * rows, L), x_shape, at)
    grads = dx, dw, dout.sum(axis=(0, 2, 3))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The adjoint of a convolution, as a layer.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    w : ndarray of shape (C, F / groups, KH, KW), in the dtype of x
    b : ndarray of shape (F,), in the dtype of x, or None
    stride, dilation : int, or (h, w)
    padding : int, (h, w) or (top, bottom, left, right): cut off from the output
    output_padding : int, or (h, w), less than the stride or the dilation: rows and columns more
    groups : int, a divisor of C

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW), in the dtype of x
    cache : for `conv_transpose2d_backward`
    """
    geometry = stride, padding, output_padding, dilation, groups
    x, w, b, shape, at, groups = check.transposed(x, w, b, *geometry)
    (N, C), dtype, work = x.shape[:2], x.dtype, check.working(x.dtype)
    weights = w.reshape(groups, C // groups, -1).astype(work)   # (G, C / G, r)
    rows = x.reshape(N, groups, C // groups, math.prod(at.outputs)).astype(work)
    columns = weights.swapaxes(-1, -2) @ rows                   # (N, G, r, H W)
    out = _scatter(columns.reshape(N, -1 if N else groups * weights.shape[-1], rows.shape[-1]), shape, at)
    if b is not None:                                           # eq. 12.7
        out += b[:, None, None]
    return out.astype(dtype, copy=False), (
        rows, weights, b is not None, shape, x.shape, w.shape, at, dtype)


def conv_transpose2d_backward(dout, cache):
    """Gradients of `conv_transpose2d`.

    Parameters
    ----------
    dout : ndarray of shape (N, F, OH, OW)
    cache : from `conv_transpose2d`

    Returns
    -------
    dx : ndarray of shape (N, C, H, W)
    dw : ndarray of shape (C, F / groups, KH, KW)
    db : ndarray of shape (F,); left out if there was no b
    """
    rows, weights, has_bias, shape, x_shape, w_shape, at, dtype = cache
    dout = check.gradient(dout, shape, rows.dtype)
    columns = _by_group(_gather(dout, at), len(weights))        # (N, G, r, H W)
    dx = (weights @ columns).reshape(x_shape)
    dw = (rows @ columns.swapaxes(-1, -2)).sum(axis=0).reshape(w_shape)
    grads = dx, dw, dout.sum(axis=(0, 2, 3))
    return tuple(grad.astype(dtype, copy=False) for grad in grads[:2 + has_bias])


class Conv2d(Module):
    """A convolution of x (N, in_channels, H, W).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int, or (h, w)
    stride, padding, dilation, groups : as for `conv2d`
    bias : bool
    rng : numpy.random.Generator, for the weights; by default one with the seed 0

    Attributes
    ----------
    weight : Parameter of shape (out_channels, in_channels / groups, KH, KW), float32
    bias : Parameter of shape (out_channels,), float32, or None
    """

    op, op_backward = staticmethod(conv2d), staticmethod(conv2d_backward)

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1,
                 bias=True, rng=None):
        in_channels, out_channels, groups = check.channels(in_channels, out_channels, groups)
        kernel = check.pair("kernel_size", kernel_size)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self._draw((out_channels, in_channels // groups, *kernel), out_channels, bias, rng)

    def _draw(self, shape, out_channels, bias, rng):
        """weight of a shape, and bias (out_channels,), uniform within 1 / sqrt(fan-in)."""
        rng = np.random.default_rng(0) if rng is None else rng
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        draw = lambda size: Parameter(rng.uniform(-bound, bound, size).astype(np.float32))
        self.weight = draw(shape)
        self.bias = draw(out_channels) if bias else None

    def forward(self, x):
        """x (N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        bias = None if self.bias is None else self.bias.data
        out, self.cache = self.op(x, self.weight.data, bias, **self.options)
        return out

    def backward(self, dout):
        """dout (N, out_channels, OH, OW) to dx (N, in_channels, H, W)."""
        dx, *grads = self.op_backward(dout, self.kept())
        for parameter, grad in zip((self.weight, self.bias), grads):
            parameter.accumulate(grad)
        return dx


class ConvTranspose2d(Conv2d):
    """The transpose, of x (N, in_channels, H, W); weight (in_channels, out_channels / groups, KH, KW)."""

    op, op_backward = staticmethod(conv_transpose2d), staticmethod(conv_transpose2d_backward)

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0,
                 groups=1, bias=True, dilation=1, rng=None):
        in_channels, out_channels, groups = check.channels(in_channels, out_channels, groups)
        kernel = check.pair("kernel_size", kernel_size)
        self.options = {"stride": stride, "padding": padding, "output_padding": output_padding,
                        "dilation": dilation, "groups": groups}
        self._draw((in_channels, out_channels // groups, *kernel), out_channels, bias, rng)
