# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:693720fdcda46406
"""Convolution as a matrix product, level 1: loops. Shapes and errors as in level 2."""

import itertools

import numpy as np

import tangled.t12_im2col.checks as check


def im2col(x, kernel, stride=1, padding=0, dilation=1):
    """x (N, C, H, W): columns (N, C KH KW, OH OW)."""
    x = check.pictures(x)
    return _copy(x, check.window(x.shape, kernel, stride, padding, dilation))


def col2im(columns, size, kernel, stride=1, padding=0, dilation=1):
    """columns (N, C KH KW, OH OW), size (H, W): (N, C, H, W)."""
    columns, shape, at = check.columns(columns, size, kernel, stride, padding, dilation)
    return _add_back(columns, shape, at)


def _places(shape, at):
    """(row, column, place in x) for each entry of the columns that is not padding."""
    (KH, KW), (OH, OW) = at.kernel, at.outputs
    for c, i, j, o, q in itertools.product(*map(range, (shape[1], KH, KW, OH, OW))):
        a = o * at.stride[0] + i * at.dilation[0] - at.sides[0][0]
        e = q * at.stride[1] + j * at.dilation[1] - at.sides[1][0]
        if 0 <= a < shape[2] and 0 <= e < shape[3]:
            yield (c * KH + i) * KW + j, o * OW + q, (c, a, e)


def _copy(x, at):
    """eq. 12.1 for x (N, C, H, W): (N, C KH KW, L)."""
    columns = np.zeros((len(x), x.shape[1] * np.prod(at.kernel), np.prod(at.outputs)), x.dtype)
    for n in range(len(x)):
        for row, column, place in _places(x.shape, at):
            columns[n, row, column] = x[n][place]
    return columns


def _add_back(columns, shape, at):
    """eq. 12.5 for columns (N, C KH KW, L): zeros of that shape, (N, C, H, W), added to."""
    total = np.zeros(shape, check.working(columns.dtype))
    for n in range(shape[0]):
        for row, column, place in _places(shape, at):
            total[n][place] += columns[n, row, column]
    return total.astype(columns.dtype)


def _product(A, B):
    """(n, k) times (k, m), loops; in float64."""
    B = list(zip(*B.tolist()))                                  # its columns
    rows = [[sum(a * b for a, b in zip(row, column)) for column in B] for row in A.tolist()]
    return np.array(rows).reshape(len(rows), len(B))


def _grouped(array, groups):
    """(c, ...) in `groups` parts along its first axis."""
    return array.reshape(groups, len(array) // groups, *array.shape[1:])


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """x (N, C, H, W), w (F, C / groups, KH, KW), b (F,): out (N, F, OH, OW), and a cache."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    at = check.window(x.shape, w.shape[2:], stride, padding, dilation)
    columns = _copy(x, at)
    W = _grouped(w.reshape(len(w), -1), groups)                 # (G, F / G, r)
    out = np.zeros((len(x), len(w), *at.outputs))
    for n in range(len(x)):
        parts = [_product(*pair) for pair in zip(W, _grouped(columns[n], groups))]     # eq. 12.2
        out[n] = np.concatenate(parts).reshape(out[n].shape)
        if b is not None:
            out[n] += b[:, None, None]
    return out.astype(x.dtype), (x.shape, columns, w, b is not None, at, groups)


def conv2d_backward(dout, cache):
    """dout (N, F, OH, OW): dx as x, dw as w, and db (F,) if there was a b."""
    shape, columns, w, has_bias, at, groups = cache
    dout = check.gradient(dout, (shape[0], len(w), *at.outputs), w.dtype)
    W = _grouped(w.reshape(len(w), -1), groups)
    dW, dcolumns = np.zeros(W.shape), np.zeros(columns.shape)
    for n in range(shape[0]):
        g = _grouped(dout[n].reshape(len(w), -1), groups)       # (G, F / G, L)
        for k, X in enumerate(_grouped(columns[n], groups)):
            dW[k] += _product(g[k], X.T)                        # eq. 12.3
            _grouped(dcolumns[n], groups)[k] = _product(W[k].T, g[k])
    dx = _add_back(dcolumns, shape, at)
    grads = dx, dW.reshape(w.shape), dout.sum(axis=(0, 2, 3), dtype=float)
    return tuple(grad.astype(w.dtype) for grad in grads[:2 + has_bias])


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """x (N, C, H, W), w (C, F / groups, KH, KW), b (F,): out (N, F, OH, OW), and a cache."""
    geometry = stride, padding, output_padding, dilation, groups
    x, w, b, shape, at, groups = check.transposed(x, w, b, *geometry)
    W = _grouped(w.reshape(len(w), -1), groups)                 # (G, C / G, r)
    columns = np.zeros((len(x), groups * W.shape[-1], x[0:1, 0].size))
    for n in range(len(x)):
        parts = zip(W, _grouped(x[n].reshape(len(w), -1), groups))
        columns[n] = np.concatenate([_product(M.T, X) for M, X in parts])
    out = _add_back(columns, shape, at)                         # eq. 12.7
    if b is not None:
        out += b[:, None, None]
    return out.astype(x.dtype), (x, w, b is not None, shape, at, groups)


def conv_transpose2d_backward(dout, cache):
    """dout (N, F, OH, OW): dx as x, dw as w, and db (F,) if there was a b."""
    x, w, has_bias, shape, at, groups = cache
    dout = check.gradient(dout, shape, x.dtype)
    columns, W = _copy(dout, at), _grouped(w.reshape(len(w), -1), groups)
    dx, dW = np.zeros((len(x), groups, len(w) // groups, x[0:1, 0].size)), np.zeros(W.shape)
    for n in range(len(x)):
        X = _grouped(x[n].reshape(len(w), -1), groups)
        for k, D in enumerate(_grouped(columns[n], groups)):
            dx[n, k], dW[k] = _product(W[k], D), dW[k] + _product(X[k], D.T)
    grads = dx.reshape(x.shape), dW.reshape(w.shape), dout.sum(axis=(0, 2, 3), dtype=float)
    return tuple(grad.astype(x.dtype) for grad in grads[:2 + has_bias])
