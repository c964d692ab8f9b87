# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:24ab29a1357e819d
"""Chapter 25: worked answers to the graded exercises."""

import math

import numpy as np

from tangled.t25_self_attention import causal_mask


def packed_mask(documents):
    """The causal mask of several documents packed into one sequence.

    Parameters
    ----------
    documents : ndarray of int, shape (B, T): the document of each token, -1 for padding

    Returns
    -------
    mask : ndarray of bool, shape (B, 1, T, T), True where a query may attend
    """
    same = documents[:, :, None] == documents[:, None, :]       # (B, T, T)
    real = documents >= 0
    mask = same & real[:, :, None] & causal_mask(*documents.shape[1:] * 2)
    return mask[:, None]


def online_attention(q, blocks, scale=None):
    """Attention over keys that arrive in blocks; each block is looked at once and not kept.

    Parameters
    ----------
    q : ndarray of shape (..., Tq, D), floating
    blocks : iterable of (k, v, mask): k (..., n, D), v (..., n, Dv), mask of bool that broadcasts to
        (..., Tq, n), or None; n may differ from block to block, and Dv not; at least one block
    scale : float, or None for 1 / sqrt(D)

    Returns
    -------
    out : ndarray of shape (..., Tq, Dv), in the dtype of q; zeros for a query that sees nothing
    """
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    top = np.full((*q.shape[:-1], 1), -np.inf, q.dtype)         # (..., Tq, 1)
    total, summed = np.zeros_like(top), 0.0
    for k, v, mask in blocks:
        scores = q @ k.swapaxes(-1, -2) * scale                 # (..., Tq, n)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        new = np.maximum(top, scores.max(axis=-1, keepdims=True, initial=-np.inf))
        shift = np.where(new == -np.inf, 0, new)
        e, old = np.exp(scores - shift), np.exp(top - shift)
        total = old * total + e.sum(axis=-1, keepdims=True)     # eq. 25.18
        summed = old * summed + e @ v
        top = new
    return summed / np.where(total == 0, 1, total)
