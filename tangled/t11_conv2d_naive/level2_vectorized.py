# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:713a099772a3290d
"""Convolution, level 2: a loop over the kernel's offsets, whole planes at once."""

import numpy as np

import tangled.t11_conv2d_naive.checks as check


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    """How many outputs there are along one axis.

    Parameters
    ----------
    size, kernel, stride, dilation : int
    padding : int, or (before, after)

    Returns
    -------
    int, at least 1; a ValueError if the kernel, dilation included, exceeds the padded axis
    """
    size, kernel, stride, (before, after), dilation = check.axis(size, kernel, stride, padding, dilation)
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1      # eq. 11.2


def explicit_padding(padding, kernel, stride=1, dilation=1):
    """Zeros on each side of a picture.

    Parameters
    ----------
    padding : int, (h, w), (top, bottom, left, right), or "same", which keeps the size at stride 1
    kernel, stride, dilation : int, or (h, w)

    Returns
    -------
    ((top, bottom), (left, right)) : ints. "same" gives the odd zero to the bottom and the right.
    """
    kernel, dilation = check.pair("kernel", kernel), check.pair("dilation", dilation)
    if not (isinstance(padding, str) and padding == "same"):
        return check.sides(padding)
    check.same(stride)
    totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return tuple((total // 2, total - total // 2) for total in totals)      # eq. 11.4


def receptive_field(layers):
    """How far an output sees along one axis.

    Parameters
    ----------
    layers : list of (kernel, stride, dilation), ints, the first layer first

    Returns
    -------
    (field, jump) : ints, in entries of the input: the width that one output depends on, and the
        distance between neighbouring outputs
    """
    field = jump = 1
    for kernel, stride, dilation in check.stack(layers):
        field += (kernel - 1) * dilation * jump                 # eq. 11.10, with the old jump
        jump *= stride
    return field, jump


def _pad(x, sides):
    """x (N, C, H, W) among zeros; x itself where there are none to add."""
    (top, bottom), (left, right) = sides
    if not (top or bottom or left or right):
        return x
    N, C, H, W = x.shape
    padded = np.zeros((N, C, top + H + bottom, left + W + right), x.dtype)
    padded[:, :, top:top + H, left:left + W] = x
    return padded


def _offsets(kernel, size, stride, dilation):
    """(i, j, rows, columns): each offset of a kernel, and the slices that all outputs read there."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            start = i * dilation[0], j * dilation[1]
            rows, columns = (slice(a, a + (n - 1) * s + 1, s)           # eq. 11.1
                             for a, n, s in zip(start, size, stride))
            yield i, j, rows, columns


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlate every picture with every filter.

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
    kernel, dtype = w.shape[2:], x.dtype
    sides = explicit_padding(padding, kernel, stride, dilation)
    check.planes(x, kernel, sides, dilation)
    size = tuple(conv_output_size(*axis) for axis in zip(x.shape[2:], kernel, stride, sides, dilation))
    xp = _pad(x.astype(check.working(dtype), copy=False), sides)
    weights = w.reshape(groups, len(w) // groups, *w.shape[1:]).astype(xp.dtype)    # (G, F/G, C/G, KH, KW)
    (N, C), F = x.shape[:2], len(w)
    total = np.zeros((N, groups, F // groups, size[0] * size[1]), xp.dtype)
    for i, j, rows, columns in _offsets(kernel, size, stride, dilation):
        planes = xp[:, :, rows, columns].reshape(N, groups, C // groups, size[0] * size[1])
        total += weights[..., i, j] @ planes                            # (G, F/G, C/G) @ (N, G, C/G, L)
    out = total.reshape(N, F, *size)
    if b is not None:
        out += b[:, None, None]                                 # before float16 rounds the sum
    return out.astype(dtype, copy=False), (
        xp, weights, b is not None, (size, stride, dilation, sides), w.shape, dtype)


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
    xp, weights, has_bias, (size, stride, dilation, sides), w_shape, dtype = cache
    N, C = xp.shape[:2]
    dout = check.gradient(dout, (N, w_shape[0], *size), xp.dtype)
    G, L = len(weights), size[0] * size[1]
    rows_of_dout = dout.reshape(N, G, w_shape[0] // G, L)       # (N, G, F/G, L)
    dxp, dweights = np.zeros(xp.shape, xp.dtype), np.empty(weights.shape, xp.dtype)
    for i, j, rows, columns in _offsets(w_shape[2:], size, stride, dilation):
        planes = xp[:, :, rows, columns].reshape(N, G, C // G, L)
        dweights[..., i, j] = (rows_of_dout @ planes.swapaxes(-1, -2)).sum(axis=0)      # eq. 11.7
        back = weights[..., i, j].swapaxes(-1, -2) @ rows_of_dout                       # (N, G, C/G, L)
        dxp[:, :, rows, columns] += back.reshape(N, C, *size)           # eq. 11.8, as a scatter
    (top, _), (left, _) = sides
    H, W = (n - sum(both) for n, both in zip(xp.shape[2:], sides))
    dx = dxp[:, :, top:top + H, left:left + W].astype(dtype)
    dw = dweights.reshape(w_shape).astype(dtype, copy=False)
    if not has_bias:
        return dx, dw
    db = dout.sum(axis=(0, 2, 3)).astype(dtype, copy=False)         # eq. 11.6
    return dx, dw, db
