# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:b09d646307ef5a7c
"""Convolution as GEMM, level 3: a row buffer in place of the columns, and the modules on it."""

import collections

import numpy as np

import tangled.t12_im2col.checks as check
from tangled.t11_conv2d_naive.ranges import inside
from tangled.t12_im2col import columns, pairs
from tangled.t12_im2col import level2_vectorized as plain
from tangled.t12_im2col.level2_vectorized import col2im, im2col

__all__ = ["Conv2d", "ConvTranspose2d", "col2im", "conv2d", "conv2d_backward", "conv_transpose2d",
           "conv_transpose2d_backward", "im2col"]

COLUMNS, NUMBERS = 1024, 1 << 17                    # of a buffer


class RowBuffer:
    """KW shifted copies of a few pictures, in which each row of the kernel is a view.

    Parameters
    ----------
    shape : (n, C, H, W) of the pictures
    groups : int
    at : Window
    dtype : of the buffer

    Attributes
    ----------
    array : ndarray of shape (G, KW, C / G, rows, n, OW); what stands for padding stays zero
    views : [(G, KW C / G, OH n OW)] for each row of the kernel
    """

    def __init__(self, shape, groups, at, dtype):
        (KH, KW), (sh, sw), (dh, dw), (OH, OW) = at.kernel, at.stride, at.dilation, at.outputs
        n, C, *size = shape
        each = max(i * dh // sh for i in range(KH)) + OH        # rows of one residue, eq. 12.10
        self.array = np.zeros((groups, KW, C // groups, sh * each, n, OW), dtype)
        flat = self.array.reshape(groups, KW * C // groups, sh * each * n * OW)
        starts = [(i * dh % sh * each + i * dh // sh) * n * OW for i in range(KH)]
        self.views = [flat[..., start:start + OH * n * OW] for start in starts]
        self.copies = [(j, slice(r * each + t.start, r * each + t.stop), q, a, e)
                       for j in range(KW) for q, e in [inside(j * dw - at.sides[1][0], OW, sw, size[1])]
                       for r in {i * dh % sh for i in range(KH)}
                       for t, a in [inside(r - at.sides[0][0], each, sh, size[0])]
                       if t.start < t.stop and q.start < q.stop]

    def fill(self, x):
        """Copy x (n, C, H, W), shifted; the views of it."""
        rows = _rows(x, len(self.array))
        for j, t, q, a, e in self.copies:
            self.array[:, j, :, t, :, q] = rows[:, :, a, :, e]
        return self.views

    def pour(self, x):
        """The adjoint of fill: add what the copies hold to x (n, C, H, W)."""
        rows = _rows(x, len(self.array))
        for j, t, q, a, e in self.copies:
            rows[:, :, a, :, e] += self.array[:, j, :, t, :, q]


def _rows(x, groups):
    """A view (G, C / G, H, n, W) of x (n, C, H, W): the same row of all pictures side by side."""
    n, C, *size = x.shape
    return x.reshape(n, groups, C // groups, *size).transpose(1, 2, 3, 0, 4)


def _columns(x, groups, dtype):
    """x (n, C, H, W) as (G, C / G, H n W) in a dtype; a view, if it is one picture of that."""
    rows = _rows(x, groups).astype(dtype, copy=False)
    return rows.reshape(*rows.shape[:2], -1)


def _buffers(shape, filters, groups, at, dtype):
    """(slice of the batch, RowBuffer) for a shape (N, C, H, W): a few pictures at a time."""
    N, lines, buffer = shape[0], at.kernel[1] * shape[1], None
    small = columns.of_small_product(filters // groups, lines // groups)
    most = min(max(COLUMNS, small), NUMBERS // max(1, lines, filters))
    size = max(1, most // max(1, at.stride[0] * at.outputs[0] * at.outputs[1]))
    for start in range(0, N, size):
        n = min(size, N - start)
        if buffer is None or n < size:
            buffer = RowBuffer((n, *shape[1:]), groups, at, dtype)
        yield slice(start, start + n), buffer


def _strided(at, groups):
    """Whether a convolution is 3 x 3 with stride 2 and padding 1, which columns do faster."""
    return (*at[:4], groups) == ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1)


def _by_rows(w, groups, dtype):
    """w (F, c, KH, KW) as (KH, G, F / G, KW c): a matrix for each row of the kernel and group."""
    F, c, KH, KW = w.shape
    return w.transpose(2, 0, 3, 1).astype(dtype).reshape(KH, groups, F // groups, KW * c)


def _products(weights, views, out):
    """out (n, F, OH, OW) = the sum of weights (KH, G, F / G, KW c) times views, eq. 12.9."""
    rows = _rows(out, weights.shape[1])                         # (G, F / G, OH, n, OW)
    alone = len(out) == 1 and out.flags.c_contiguous
    y = (rows if alone else np.empty(rows.shape, out.dtype)).reshape(*rows.shape[:2], -1)
    other = np.empty_like(y)
    columns.multiply(weights[0], views[0], out=y)
    for weight, view in zip(weights[1:], views[1:]):
        y += columns.multiply(weight, view, out=other)
    if not alone:
        rows[...] = y.reshape(rows.shape)


def _correlate(x, w, at, groups, out, b=None):
    """out (N, F, OH, OW) = the products of x (N, C, H, W) with w (F, C / G, KH, KW), plus b (F,)."""
    if _strided(at, groups):
        columns.conv(x, w, 2, out, b)
        return
    weights = _by_rows(w, groups, out.dtype)
    by_pairs = pairs.pay(at, weights, x.shape[3])
    if by_pairs and _correlate_pairs(x, pairs.weights(weights), at, groups, out, b):
        return
    for n, buffer in _buffers(x.shape, len(w), groups, at, out.dtype):
        _products(weights, buffer.fill(x[n]), out[n])
        if b is not None:
            out[n] += b[:, None, None]


def _turned(w, at, groups, size):
    """The convolution that makes the gradient of the input at stride 1: its weights and Window."""
    F, c, KH, KW = w.shape
    turned = w.reshape(groups, F // groups, c, KH, KW)[..., ::-1, ::-1].swapaxes(1, 2)
    sides = tuple((d * (k - 1) - before, d * (k - 1) - after)
                  for d, k, (before, after) in zip(at.dilation, at.kernel, at.sides))
    return turned.reshape(groups * c, F // groups, KH, KW), at._replace(sides=sides, outputs=size)


def _input_gradient(dout, w, at, groups, out):
    """out (N, C, H, W) = the gradient of the x of a convolution, for dout (N, F, OH, OW)."""
    if _strided(at, groups):
        return columns.input_gradient(dout, w, out.shape, 2, out)
    if at.stride == (1, 1):
        turned, back = _turned(w, at, groups, out.shape[2:])
        return _correlate(dout, turned, back, groups, out)
    F, c, KH, KW = w.shape
    weights = w.transpose(2, 3, 1, 0).astype(out.dtype).reshape(KH, KW * c, groups, F // groups)
    weights = np.ascontiguousarray(weights.transpose(0, 2, 1, 3))           # (KH, G, KW c, F / G)
    out[...] = 0
    for n, buffer in _buffers(out.shape, F, groups, at, out.dtype):
        g = _columns(dout[n], groups, out.dtype)
        buffer.array[...] = 0
        for weight, view in zip(weights, buffer.views):
            view += weight @ g
        buffer.pour(out[n])


def _weight_gradient(x, dout, w_shape, at, groups, dtype):
    """The gradient of w for x (N, C, H, W) and dout (N, F, OH, OW)."""
    if _strided(at, groups):
        return columns.weight_gradient(dout, x, 2, dtype)
    F, c, KH, KW = w_shape
    dw = np.zeros((KH, groups, KW * c, F // groups), dtype)
    for n, buffer in _buffers(x.shape, F, groups, at, dtype):
        _add_products(dw, buffer.fill(x[n]), _columns(dout[n], groups, dtype))
    return dw.reshape(KH, groups, KW, c, -1).transpose(1, 4, 3, 0, 2).reshape(w_shape)


def _add_products(dw, views, g):
    """Add views (G, KW c, columns) times g (G, f, columns), transposed, to dw (KH, G, KW c, f)."""
    for total, view in zip(dw, views):
        total += view @ g.swapaxes(1, 2)


def _gradients(x, dout, w, at, groups, dtype, dx=None):
    """The gradient of w in a dtype; into dx (N, C, H, W), if given, that of x."""
    if at.stride != (1, 1):
        if dx is not None:
            _input_gradient(dout, w, at, groups, dx)
        return _weight_gradient(x, dout, w.shape, at, groups, dtype)
    turned, back = _turned(w, at, groups, x.shape[2:])
    weights, (_, f, KH, KW) = _by_rows(turned, groups, dtype), turned.shape
    if pairs.pay(back, weights, dout.shape[3]):
        dw, finite = _gradients_pairs(x, dout, pairs.weights(weights), back, groups, dx)
        if not finite:                                          # dw stays, as it is without dx
            _gradients_rows(x, dout, weights, back, groups, dx)
    else:
        dw = _gradients_rows(x, dout, weights, back, groups, dx)
    if not np.isfinite(dw).all():                               # see eq. 12.11
        return _weight_gradient(x, dout, w.shape, at, groups, dtype)
    dw = dw.reshape(KH, groups, KW, f, -1)[::-1, :, ::-1]       # turned back
    return dw.transpose(1, 3, 4, 0, 2).reshape(w.shape)


def _gradients_rows(x, dout, weights, at, groups, dx):
    """The gradient (KH, G, KW f, c) of the turned weights, by rows; into dx, if given, that of x."""
    dw = np.zeros_like(weights.swapaxes(2, 3), order="C")
    for n, buffer in _buffers(dout.shape, x.shape[1], groups, at, dw.dtype):
        views = buffer.fill(dout[n])
        if dx is not None:
            _products(weights, views, dx[n])
        with np.errstate(invalid="ignore"):                     # 0 times infinity
            _add_products(dw, views, _columns(x[n], groups, dw.dtype))
    return dw


def _correlate_pairs(x, weights, at, groups, out, b):
    """_correlate with four weights for two rows; False as soon as an output is not finite."""
    for n, buffer in _buffers(x.shape, out.shape[1], groups, pairs.window(at), out.dtype):
        with np.errstate(invalid="ignore", over="ignore"):
            if not _write(pairs.products(weights, pairs.sums(buffer.fill(x[n]), at)), out[n]):
                return False
        if b is not None:
            out[n] += b[:, None, None]
    return True


def _write(both, out):
    """Both rows (2, G, F / G, columns) of all pairs into out (n, F, OH, OW); whether they are finite."""
    rows = _rows(out, both.shape[1])
    for part, y in zip((rows[:, :, 0::2], rows[:, :, 1::2]), both):
        part[...] = y[..., :part[0, 0].size].reshape(part.shape)
    return bool(np.isfinite(both).all())


def _gradients_pairs(x, dout, weights, at, groups, dx):
    """As _gradients_rows, with four weights for two rows; and whether dx is finite."""
    dw, finite = np.zeros_like(weights.swapaxes(2, 3), order="C"), True
    with np.errstate(invalid="ignore", over="ignore"):
        for n, buffer in _buffers(dout.shape, x.shape[1], groups, pairs.window(at), dw.dtype):
            sums = pairs.adding(dw, pairs.sums(buffer.fill(dout[n]), at), _sides(x[n], groups, dw.dtype))
            if dx is None:
                collections.deque(sums, 0)                      # for dw alone
            else:
                finite &= _write(pairs.products(weights, sums), dx[n])
        dw = pairs.weight_gradient(dw)
    return dw, finite


def _sides(x, groups, dtype):
    """What the four sums are multiplied by, for x (n, C, H, W): (G, C / G, columns) each."""
    rows, H = _rows(x, groups), x.shape[2]
    both = np.zeros((2, *rows.shape[:2], -(-H // 2), *rows.shape[3:]), dtype)
    both[0], both[1, :, :, :H // 2] = rows[:, :, 0::2], rows[:, :, 1::2]
    return pairs.spread(*both.reshape(*both.shape[:3], -1))


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
    dw = _gradients(x, dout, w, at, groups, work, dx)
    return dx.astype(x.dtype, copy=False), *_with_bias(dw, dout, w.dtype, has_bias)


def _with_bias(dw, dout, dtype, has_bias):
    """dw and, if there is a bias, its gradient (F,), the sum of dout over the axes but 1; in a dtype."""
    grads = (dw, dout.sum(axis=(0, 2, 3), dtype=dw.dtype)) if has_bias else (dw,)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


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
    dw = _weight_gradient(dout, x, w.shape, at, groups, check.working(w.dtype))
    return dx, *_with_bias(dw, dout, w.dtype, has_bias)


class Conv2d(plain.Conv2d):
    """As level 2, by the ops of this level; `backward` returns None where `input_grad` is False."""

    op, op_backward = staticmethod(conv2d), staticmethod(conv2d_backward)

    def backward(self, dout):
        """dout (N, out_channels, OH, OW) to dx (N, in_channels, H, W); None unless `input_grad`."""
        if self.input_grad:
            return super().backward(dout)
        x, w, has_bias, at, groups = self.kept()
        dout = check.gradient(dout, (len(x), len(w), *at.outputs), x.dtype)
        dw = _gradients(x, dout, w, at, groups, check.working(x.dtype))
        grads = _with_bias(dw, dout, w.dtype, has_bias)
        for parameter, grad in zip((self.weight, self.bias), grads):
            parameter.accumulate(grad)
        return None


class ConvTranspose2d(plain.ConvTranspose2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(conv_transpose2d), staticmethod(conv_transpose2d_backward)
