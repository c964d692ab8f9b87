# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:57e90f447fe8a3d2
"""Chapter 12: worked answers to the graded exercises."""

import numpy as np

from tangled.t12_im2col import conv2d, conv_transpose2d


def upsample2d(x, factor):
    """Each pixel becomes a square of factor x factor pixels.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    factor : int, positive

    Returns
    -------
    out : ndarray of shape (N, C, factor * H, factor * W), in the dtype of x
    cache : for `upsample2d_backward`
    """
    w = np.ones((x.shape[1], 1, factor, factor), x.dtype)
    return conv_transpose2d(x, w, stride=factor, groups=x.shape[1])[0], w


def upsample2d_backward(dout, cache):
    """dout (N, C, factor * H, factor * W): dx (N, C, H, W), sums over the squares."""
    return conv2d(dout, cache, stride=cache.shape[2], groups=len(cache))[0]


B_T = np.array([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
G = np.array([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A_T = np.array([[1.0, 1, 1, 0], [0, 1, -1, -1]])


def winograd_conv2d(x, w):
    """A 3 x 3 convolution with stride 1 and padding 1, by tiles of 2 x 2 outputs.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    w : ndarray of shape (F, C, 3, 3), in the dtype of x

    Returns
    -------
    out : ndarray of shape (N, F, H, W), in the dtype of x
    """
    (N, C, H, W), dtype = x.shape, x.dtype
    rows, columns = -(-H // 2), -(-W // 2)                      # tiles
    padded = np.zeros((N, C, 2 * rows + 2, 2 * columns + 2), dtype)
    padded[:, :, 1:H + 1, 1:W + 1] = x
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(2, 3))[:, :, ::2, ::2]
    B, g, A = (matrix.astype(dtype) for matrix in (B_T, G, A_T))
    V = (B @ tiles @ B.T).reshape(N, C, rows * columns, 16)     # (N, C, tiles, 16)
    U = (g @ w @ g.T).reshape(len(w), C, 16)                    # (F, C, 16)
    M = U.transpose(2, 0, 1) @ V.transpose(0, 3, 1, 2)          # (N, 16, F, tiles)
    M = M.transpose(0, 2, 3, 1).reshape(N, len(w), rows, columns, 4, 4)
    out = (A @ M @ A.T).swapaxes(3, 4)                          # (N, F, rows, 2, columns, 2)
    return out.reshape(N, len(w), 2 * rows, 2 * columns)[:, :, :H, :W].copy()
