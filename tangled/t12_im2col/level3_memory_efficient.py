# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:56b64df2fdb7e687
"""Convolution as GEMM, level 3: a row buffer in place of the columns, and the modules on it."""

import numpy as np

import tangled.t12_im2col.checks as check
from tangled.t11_conv2d_naive.ranges import inside
from tangled.t12_im2col import columns, windows
from tangled.t12_im2col import level2_vectorized as plain
from tangled.t12_im2col.level2_vectorized import col2im, im2col

__all__ = ["Conv2d", "ConvTranspose2d", "col2im", "conv2d", "conv2d_backward", "conv_transpose2d",
           "conv_transpose2d_backward", "im2col"]

COLUMNS, NUMBERS = 1024, 1 << 17                    # of a product, where pictures are small; of a buffer


class RowBuffer:
    """KW shifted copies of a few pictures, in which each row of the kernel is a view.

    Parameters
    ----------
    size : (H, W) of the pictures
    channels, groups : int
    at : Window
    dtype : of the buffer
    pictures : int, the size of the batch; as many are taken at once as make a product of COLUMNS, or of
        more, while the buffer has no more than NUMBERS
    """

    def __init__(self, size, channels, groups, at, dtype, pictures):
        (KH, KW), (sh, sw), (dh, dw), (OH, OW) = at.kernel, at.stride, at.dilation, at.outputs
        each = max(i * dh // sh for i in range(KH)) + OH        # rows of one residue, eq. 12.10
        self.rows, self.at, self.groups = sh * each, at, groups
        wanted = max(COLUMNS, NUMBERS // max(1, KW * channels))
        self.block = max(1, min(pictures, wanted // max(1, self.rows * OW)))
        shape = (groups, KW, channels // groups, self.block, self.rows, OW)
        self.array = np.zeros(shape, dtype)                     # the padding stays zero for good
        self.flat = self.array.reshape(groups, KW * channels // groups, -1)
        self.starts = [(i * dh % sh * each + i * dh // sh) * OW for i in range(KH)]
        self.copies = [(j, slice(r * each + t.start, r * each + t.stop), q, a, e)
                       for j in range(KW) for q, e in [inside(j * dw - at.sides[1][0], OW, sw, size[1])]
                       for r in {i * dh % sh for i in range(KH)}
                       for t, a in [inside(r - at.sides[0][0], each, sh, size[0])]
                       if t.start < t.stop and q.start < q.stop]

    def blocks(self, pictures):
        """Slices of the batch, a block each."""
        return [slice(n, min(n + self.block, pictures)) for n in range(0, pictures, self.block)]

    def fill(self, x):
        """Copy x (n, C, H, W), n at most the block, shifted."""
        grouped = x.reshape(len(x), self.groups, -1, *x.shape[2:])
        for j, t, q, a, e in self.copies:
            self.array[:, j, :, :len(x), t, q] = grouped[..., a, e].transpose(1, 2, 0, 3, 4)

    def pour(self, x):
        """The adjoint of fill: add what the copies hold to x (n, C, H, W)."""
        grouped = x.reshape(len(x), self.groups, -1, *x.shape[2:])
        for j, t, q, a, e in self.copies:
            grouped[..., a, e] += self.array[:, j, :, :len(x), t, q].transpose(2, 0, 1, 3, 4)

    def columns(self, pictures):
        """How many columns a product over that many pictures has; rows between pictures are waste."""
        return ((pictures - 1) * self.rows + self.at.outputs[0]) * self.at.outputs[1]

    def views(self, pictures):
        """[(G, KW C / G, columns)] for each row of the kernel."""
        return [self.flat[:, :, k:k + self.columns(pictures)] for k in self.starts]

    def outputs(self, target):
        """Room for a product over target (n, F, OH, OW), and its outputs in it; or target, and None."""
        (OH, OW), G, (n, F) = self.at.outputs, self.groups, target.shape[:2]
        if n == 1 and target.flags.c_contiguous:                # nothing lies between pictures
            return target.reshape(G, F // G, OH * OW), None
        room = np.zeros((G, F // G, n, self.rows, OW), self.array.dtype)
        results = room[..., :OH, :].transpose(2, 0, 1, 3, 4)    # (n, G, F / G, OH, OW)
        return room.reshape(G, F // G, -1)[..., :self.columns(n)], results

    def packed(self, dout):
        """dout (n, F, OH, OW) as the factor of a product, (G, F / G, columns), zeros between pictures."""
        g, results = self.outputs(dout)
        if results is not None:
            results[...] = dout.reshape(results.shape)
        return g


def _common(at, groups, stride):
    """Whether a convolution is 3 x 3 with that stride and padding 1."""
    common = (3, 3), (stride, stride), ((1, 1), (1, 1)), (1, 1), 1
    return (at.kernel, at.stride, at.sides, at.dilation, groups) == common


def _correlate(x, w, at, groups, out, b=None):
    """out (N, F, OH, OW) = the products of x (N, C, H, W) with w (F, C / G, KH, KW), plus b (F,)."""
    if _common(at, groups, 2) or (_common(at, groups, 1) and windows.fit(x.shape)):
        columns.conv(x, w, at.stride[0], out, b)
        return
    F, c, KH, KW = w.shape
    buffer = RowBuffer(x.shape[2:], x.shape[1], groups, at, out.dtype, len(x))
    weights = w.transpose(2, 0, 3, 1).astype(out.dtype).reshape(KH, groups, F // groups, KW * c)
    for n in buffer.blocks(len(x)):
        buffer.fill(x[n])
        product, results = buffer.outputs(out[n])               # (G, F / G, columns)
        views, other = buffer.views(len(out[n])), np.empty_like(product)
        np.matmul(weights[0], views[0], out=product)
        for k in range(1, KH):
            product += np.matmul(weights[k], views[k], out=other)           # eq. 12.9
        if results is not None:
            out[n] = results.reshape(out[n].shape)
        if b is not None:
            out[n] += b[:, None, None]


def _input_gradient(dout, w, at, groups, out):
    """out (N, C, H, W) = the gradient of the x of a convolution, for dout (N, F, OH, OW)."""
    if _common(at, groups, 2):
        return columns.input_gradient(dout, w, out.shape, 2, out)
    F, c, KH, KW = w.shape
    if at.stride == (1, 1):
        turned = w.reshape(groups, F // groups, c, KH, KW)[..., ::-1, ::-1].swapaxes(1, 2)
        sides = tuple((d * (k - 1) - before, d * (k - 1) - after)
                      for d, k, (before, after) in zip(at.dilation, at.kernel, at.sides))
        back = at._replace(sides=sides, outputs=out.shape[2:])
        return _correlate(dout, turned.reshape(groups * c, F // groups, KH, KW), back, groups, out)
    buffer = RowBuffer(out.shape[2:], out.shape[1], groups, at, out.dtype, len(dout))
    weights = w.transpose(2, 3, 1, 0).astype(out.dtype).reshape(KH, KW * c, groups, F // groups)
    weights = np.ascontiguousarray(weights.transpose(0, 2, 1, 3))           # (KH, G, KW c, F / G)
    out[...] = 0
    for n in buffer.blocks(len(dout)):
        g = buffer.packed(dout[n])
        buffer.flat[...] = 0
        for weight, view in zip(weights, buffer.views(len(dout[n]))):
            view += weight @ g
        buffer.pour(out[n])


def _weight_gradient(x, dout, w_shape, at, groups, dtype):
    """The gradient of w for x (N, C, H, W) and dout (N, F, OH, OW)."""
    if _common(at, groups, 2) or (_common(at, groups, 1) and windows.at_once(x.shape, w_shape[0])):
        return columns.weight_gradient(dout, x, at.stride[0], dtype)
    F, c, KH, KW = w_shape
    buffer = RowBuffer(x.shape[2:], x.shape[1], groups, at, dtype, len(x))
    dw = np.zeros((KH, groups, KW * c, F // groups), dtype)
    product = np.empty(dw.shape[1:], dtype)
    for n in buffer.blocks(len(x)):
        buffer.fill(x[n])
        g = buffer.packed(dout[n])
        for k, view in enumerate(buffer.views(len(dout[n]))):
            dw[k] += np.matmul(view, g.swapaxes(-1, -2), out=product)
    return dw.reshape(KH, groups, KW, c, -1).transpose(1, 4, 3, 0, 2).reshape(w_shape)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """As level 2; the columns of the batch are never formed."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    at = check.window(x.shape, w.shape[2:], stride, padding, dilation)
    out = _in_working_dtype(_correlate, x.dtype, (len(x), len(w), *at.outputs), x, w, at, groups, b)
    return out, (x, w, b is not None, at, groups)


def _in_working_dtype(function, dtype, shape, a, w, at, groups, *bias):
    """function(a, w, at, groups, out) into a new array of a shape, returned in a dtype."""
    out = np.empty(shape, check.working(dtype))
    function(a, w, at, groups, out, *bias)
    return out.astype(dtype, copy=False)


def conv2d_backward(dout, cache):
    """As level 2."""
    x, w, has_bias, at, groups = cache
    dout, work = check.gradient(dout, (len(x), len(w), *at.outputs), x.dtype), check.working(x.dtype)
    dx = np.empty(x.shape, work)
    if _common(at, groups, 1) and windows.at_once(x.shape, len(w)):
        dw = windows.gradients(dout, x, work, w, dx)
    else:
        _input_gradient(dout, w, at, groups, dx)
        dw = _weight_gradient(x, dout, w.shape, at, groups, work)
    return dx.astype(x.dtype, copy=False), *_with_bias(dw, dout, w.dtype, has_bias)


def _with_bias(dw, dout, dtype, has_bias):
    """dw and, if there is a bias, its gradient (F,), the sum of dout over the axes but 1; in a dtype."""
    grads = (dw, dout.sum(axis=(0, 2, 3), dtype=dw.dtype)) if has_bias else (dw,)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def _shared(x, dout, of_bias, w, at, groups, has_bias):
    """The gradients of what the pictures share: of w and, if there is one, of b."""
    dw = _weight_gradient(x, dout, w.shape, at, groups, check.working(w.dtype))
    return _with_bias(dw, of_bias, w.dtype, has_bias)


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """As level 2: the gradient of the input of a convolution."""
    geometry = stride, padding, output_padding, dilation, groups
    x, w, b, shape, at, groups = check.transposed(x, w, b, *geometry)
    out = np.empty(shape, check.working(x.dtype))
    _input_gradient(x, w, at, groups, out)
    if b is not None:
        out += b[:, None, None]
    return out.astype(x.dtype, copy=False), (x, w, b is not None, shape, at, groups)


def conv_transpose2d_backward(dout, cache):
    """As level 2: a convolution."""
    x, w, has_bias, shape, at, groups = cache
    dout = check.gradient(dout, shape, x.dtype)
    dx = _in_working_dtype(_correlate, x.dtype, x.shape, dout, w, at, groups)
    return dx, *_shared(dout, x, dout, w, at, groups, has_bias)


class Conv2d(plain.Conv2d):
    """As level 2, by the ops of this level; `backward` returns None where `input_grad` is False."""

    op, op_backward = staticmethod(conv2d), staticmethod(conv2d_backward)

    def backward(self, dout):
        """dout (N, out_channels, OH, OW) to dx (N, in_channels, H, W); None unless `input_grad`."""
        if self.input_grad:
            return super().backward(dout)
        x, w, has_bias, at, groups = self.kept()
        dout = check.gradient(dout, (len(x), len(w), *at.outputs), x.dtype)
        for parameter, grad in zip((self.weight, self.bias),
                                   _shared(x, dout, dout, w, at, groups, has_bias)):
            parameter.accumulate(grad)
        return None


class ConvTranspose2d(plain.ConvTranspose2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(conv_transpose2d), staticmethod(conv_transpose2d_backward)
