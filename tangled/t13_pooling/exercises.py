# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:0a3e9d8e585a2ff0
"""Chapter 13: worked answers to the graded exercises."""

import numpy as np

from tangled.t13_pooling import avg_pool2d, avg_pool2d_backward


def lp_pool2d(x, kernel_size, p, stride=None):
    """The p-norm of each window, p at least 1.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    kernel_size, stride : int, or (h, w); stride None is kernel_size
    p : float

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW), in the dtype of x
    cache : for `lp_pool2d_backward`
    """
    total, cache = avg_pool2d(np.abs(x) ** p, kernel_size, stride, divisor_override=1)
    out = (total ** (1 / p)).astype(x.dtype, copy=False)
    return out, (x.copy(), out.copy(), p, cache)


def lp_pool2d_backward(dout, cache):
    """dx (N, C, H, W) for dout (N, C, OH, OW); 0 in a window of zeros."""
    x, out, p, of_sum = cache
    safe = np.where(out > 0, out, 1)
    back = np.where(out > 0, dout * safe ** (1 - p), 0).astype(x.dtype)
    dx = np.sign(x) * np.abs(x) ** (p - 1) * avg_pool2d_backward(back, of_sum)
    return dx.astype(x.dtype, copy=False)


def running_max(x, k):
    """Maxima of k neighbours along the last axis, with work that does not depend on k.

    Parameters
    ----------
    x : ndarray of shape (..., W), floating
    k : int, 1 to W

    Returns
    -------
    ndarray of shape (..., W - k + 1), in the dtype of x
    """
    W = x.shape[-1]
    blocks = -(-W // k)
    padded = np.full((*x.shape[:-1], blocks * k), -np.inf, x.dtype)
    padded[..., :W] = x
    parts = padded.reshape(*x.shape[:-1], blocks, k)            # (..., blocks, k)
    left = np.maximum.accumulate(parts, axis=-1).reshape(padded.shape)
    right = np.maximum.accumulate(parts[..., ::-1], axis=-1)[..., ::-1].reshape(padded.shape)
    return np.maximum(right[..., :W - k + 1], left[..., k - 1:W])
