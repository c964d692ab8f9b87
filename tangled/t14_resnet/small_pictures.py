# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:016d9ac45d426de7
"""Chapter 14: 3 x 3 convolutions of small pictures, by columns with channels innermost."""

import numpy as np
from numpy.lib.stride_tricks import as_strided


def columns(x, stride):
    """x (N, H, W, C), a view or an array: its windows as rows, (N OH OW, 9 C) in the order i, j, c."""
    N, H, W, C = x.shape
    padded = np.zeros((N, H + 2, W + 2, C), x.dtype)
    padded[:, 1:-1, 1:-1] = x
    n, row, column, c = padded.strides
    OH, OW = -(-H // stride), -(-W // stride)
    windows = as_strided(padded, (N, OH, OW, 3, 3 * C), (n, stride * row, stride * column, row, c))
    return windows.reshape(N * OH * OW, 9 * C)                  # copies runs of 3 C numbers


def last(x):
    """x (N, C, H, W) as a view (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1)


def first(rows, shape):
    """rows (N H W, C) as an array of a shape (N, C, H, W)."""
    N, C, H, W = shape
    return np.ascontiguousarray(rows.reshape(N, H * W, C).swapaxes(1, 2)).reshape(shape)


def conv(x, w, stride):
    """x (N, C, H, W), w (F, C, 3, 3): (N, F, OH, OW), eq. 12.2 with rows for columns."""
    N, (OH, OW) = len(x), (-(-size // stride) for size in x.shape[2:])
    W = w.transpose(2, 3, 1, 0).reshape(-1, len(w))             # (9 C, F)
    return first(columns(last(x), stride) @ W, (N, len(w), OH, OW))


def weight_gradient(dout, x, stride):
    """dout (N, F, OH, OW), x (N, C, H, W): dw (F, C, 3, 3), eq. 12.3."""
    F, C = dout.shape[1], x.shape[1]
    g = last(dout).reshape(-1, F)                               # (N OH OW, F)
    dw = columns(last(x), stride).T @ g                         # (9 C, F)
    return np.ascontiguousarray(dw.reshape(3, 3, C, F).transpose(3, 2, 0, 1))


def input_gradient(dout, w, shape, stride):
    """dout (N, F, OH, OW), w (F, C, 3, 3): dx of a shape (N, C, H, W)."""
    (N, C, H, W), (OH, OW) = shape, dout.shape[2:]
    if stride == 1:
        return conv(dout, w[:, :, ::-1, ::-1].swapaxes(0, 1), 1)            # eq. 11.9
    g = last(dout).reshape(-1, len(w))
    parts = g @ w.transpose(0, 2, 3, 1).reshape(len(w), -1)     # (N OH OW, 9 C)
    parts, padded = parts.reshape(N, OH, OW, 3, 3, C), np.zeros((N, H + 2, W + 2, C), w.dtype)
    for i, j in np.ndindex(3, 3):
        view = padded[:, i:i + stride * OH:stride, j:j + stride * OW:stride]
        view += parts[:, :, :, i, j]                            # eq. 12.5
    return np.ascontiguousarray(padded[:, 1:-1, 1:-1].transpose(0, 3, 1, 2))


def project(x, w, stride):
    """x (N, C, H, W), w (F, C, 1, 1): (N, F, OH, OW), from every stride-th pixel."""
    rows, size = picked_rows(x, stride)
    return (w[:, :, 0, 0] @ rows).reshape(len(x), len(w), *size)


def picked_rows(x, stride):
    """Every stride-th pixel of x (N, C, H, W) as (N, C, OH OW), and (OH, OW)."""
    picked = x[:, :, ::stride, ::stride]
    return picked.reshape(*x.shape[:2], picked.shape[2] * picked.shape[3]), picked.shape[2:]


def project_weight_gradient(dout, x, stride):
    """dout (N, F, OH, OW), x (N, C, H, W): dw (F, C, 1, 1)."""
    (rows, _), (g, _) = picked_rows(x, stride), picked_rows(dout, 1)        # (N, C, L), (N, F, L)
    return (g @ rows.swapaxes(1, 2)).sum(axis=0)[:, :, None, None]


def project_input_gradient(dout, w, shape, stride):
    """dout (N, F, OH, OW), w (F, C, 1, 1): dx of a shape (N, C, H, W), 0 where no pixel was picked."""
    dx = np.zeros(shape, w.dtype)
    picked = dx[:, :, ::stride, ::stride]
    picked[...] = (w[:, :, 0, 0].T @ picked_rows(dout, 1)[0]).reshape(picked.shape)
    return dx
