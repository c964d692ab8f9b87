# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:e2d4bfd1a28cc99f
"""Convolution, level 1: a loop for every index. Shapes and errors as in level 2."""

import itertools

import numpy as np

import tangled.t11_conv2d_naive.checks as check


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """x (N, C, H, W), w (F, C / groups, KH, KW), b (F,): out (N, F, OH, OW), and a cache."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    sides = explicit_padding(padding, w.shape[2:], stride, dilation)
    check.planes(x, w.shape[2:], sides, dilation)
    OH, OW = (conv_output_size(*axis) for axis in zip(x.shape[2:], w.shape[2:], stride, sides, dilation))
    out = np.empty((len(x), len(w), OH, OW), x.dtype)
    xs, ws = x.tolist(), w.tolist()
    geometry = stride, tuple(before for before, _ in sides), dilation, groups
    for n, f, o, q in itertools.product(*map(range, out.shape)):
        total = 0.0 if b is None else float(b[f])
        for c, i, j, a, e in _reads(x, w, f, o, q, *geometry):
            total += ws[f][c][i][j] * xs[n][c + _first(x, w, f, groups)][a][e]      # eq. 11.3
        out[n, f, o, q] = total
    return out, (x, w, b is not None, geometry, out.shape)


def _first(x, w, f, groups):
    """The first channel that filter f sees."""
    return f * groups // len(w) * (x.shape[1] // groups)


def _reads(x, w, f, o, q, stride, first, dilation, groups):
    """What output (o, q) reads: weight (c, i, j) and row a, column e of x, padding left out."""
    for c, i, j in itertools.product(*map(range, w.shape[1:])):
        a = o * stride[0] + i * dilation[0] - first[0]          # eq. 11.1, less the padding
        e = q * stride[1] + j * dilation[1] - first[1]
        if 0 <= a < x.shape[2] and 0 <= e < x.shape[3]:
            yield c, i, j, a, e


def conv2d_backward(dout, cache):
    """dout (N, F, OH, OW): dx as x, dw as w, and db (F,) if there was a b."""
    x, w, has_bias, geometry, shape = cache
    dout = check.gradient(dout, shape, x.dtype)
    dx, dw, db = (np.zeros(a.shape) for a in (x, w, w[:, 0, 0, 0]))     # float64
    for n, f, o, q in itertools.product(*map(range, shape)):
        g = float(dout[n, f, o, q])
        db[f] += g                                              # eq. 11.6
        for c, i, j, a, e in _reads(x, w, f, o, q, *geometry):
            channel = c + _first(x, w, f, geometry[-1])
            dw[f, c, i, j] += g * float(x[n, channel, a, e])    # eq. 11.7
            dx[n, channel, a, e] += g * float(w[f, c, i, j])    # eq. 11.8
    grads = dx, dw, db
    return tuple(grad.astype(x.dtype) for grad in grads[:2 + has_bias])


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    """Outputs along an axis of `size` entries, counted; padding an int or (before, after)."""
    size, kernel, stride, padding, dilation = check.axis(size, kernel, stride, padding, dilation)
    outputs = 0
    while outputs * stride + (kernel - 1) * dilation < size + sum(padding):
        outputs += 1
    return outputs


def explicit_padding(padding, kernel, stride=1, dilation=1):
    """((top, bottom), (left, right)); for "same" zeros are given to the end and the beginning in turn."""
    kernel, dilation = check.pair("kernel", kernel), check.pair("dilation", dilation)
    if not (isinstance(padding, str) and padding == "same"):
        return check.sides(padding)
    check.same(stride)
    sides = []
    for k, d in zip(kernel, dilation):
        before_after = [0, 0]
        for zero in range(d * (k - 1)):
            before_after[1 - zero % 2] += 1                     # the end first   eq. 11.4
        sides.append(tuple(before_after))
    return tuple(sides)


def receptive_field(layers):
    """[(kernel, stride, dilation)], first layer first: (field, jump), by following two outputs."""
    spans = []
    for output in (0, 1):
        low = high = output
        for kernel, stride, dilation in reversed(check.stack(layers)):
            low, high = low * stride, high * stride + (kernel - 1) * dilation
        spans.append((low, high))
    return spans[0][1] - spans[0][0] + 1, spans[1][0] - spans[0][0]
