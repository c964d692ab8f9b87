# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:a2ac7f5ab98f783b
"""Chapter 21: worked answers to the graded exercises."""

import numpy as np


def masked_max(x, mask):
    """The maximum over real steps.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating, without NaN at real steps; T at least 1
    mask : ndarray of shape (B, T), bool

    Returns
    -------
    out : ndarray of shape (B, D); zeros for a row without real steps
    cache : for `masked_max_backward`
    """
    mask = mask.copy()
    filled = np.where(mask[..., None], x, -np.inf)
    first = filled.argmax(axis=1)                               # (B, D)
    out = np.take_along_axis(filled, first[:, None], axis=1)[:, 0]
    some = mask.any(axis=1)[:, None]
    return np.where(some, out, 0).astype(x.dtype), (first, some, x.shape)


def masked_max_backward(dout, cache):
    """dout (B, D) to dx (B, T, D): to the first real step that has the maximum."""
    first, some, shape = cache
    dx = np.zeros(shape, dout.dtype)
    np.put_along_axis(dx, first[:, None], np.where(some, dout, 0)[:, None], axis=1)
    return dx


def attention_pool(x, mask, u):
    """A weighted mean over real steps, weights softmax of x @ u.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating; T at least 1
    mask : ndarray of shape (B, T), bool
    u : ndarray of shape (D,)

    Returns
    -------
    y : ndarray of shape (B, D); zeros for a row without real steps
    cache : for `attention_pool_backward`
    """
    x = np.where(mask[..., None], x, 0)
    scores = np.where(mask, x @ u, -np.inf)                     # (B, T)
    top = np.where(mask.any(axis=1), scores.max(axis=1), 0)[:, None]
    a = np.exp(scores - top)
    a = a / np.maximum(a.sum(axis=1, keepdims=True), np.finfo(x.dtype).tiny)
    return (a[..., None] * x).sum(axis=1), (x, a, u)


def attention_pool_backward(dy, cache):
    """dy (B, D) to dx (B, T, D), zero at padding, and du (D,)."""
    x, a, u = cache
    da = (x * dy[:, None]).sum(axis=2)                          # (B, T)
    ds = a * (da - (a * da).sum(axis=1, keepdims=True))
    return a[..., None] * dy[:, None] + ds[..., None] * u, (ds[..., None] * x).sum(axis=(0, 1))
