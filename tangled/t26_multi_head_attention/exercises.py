# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:50530d362c26ce87
"""Chapter 26: worked answers to the graded exercises."""

import numpy as np

from tangled.t25_self_attention import attention, attention_backward


def pool_key_heads(w, num_heads, num_kv_heads):
    """The key or value projection of a grouped layer, from that of a full one.

    Parameters
    ----------
    w : ndarray of shape (..., H d), floating: weights (C, H d) or a bias (H d,); not changed
    num_heads : int, H
    num_kv_heads : int, Hk, a divisor of H

    Returns
    -------
    ndarray of shape (..., Hk d), in the dtype of w : means over groups of H / Hk neighbouring heads
    """
    d = w.shape[-1] // num_heads
    grouped = w.reshape(*w.shape[:-1], num_kv_heads, num_heads // num_kv_heads, d)
    return grouped.mean(axis=-2, dtype=w.dtype).reshape(*w.shape[:-1], num_kv_heads * d)


def latent_attention(q, latent, w_k, w_v, mask=None):
    """Attention to keys latent @ w_k[h] and values latent @ w_v[h], of which neither is made.

    Parameters
    ----------
    q : ndarray of shape (B, H, T, d), floating
    latent : ndarray of shape (B, S, r)
    w_k : ndarray of shape (H, r, d)
    w_v : ndarray of shape (H, r, e)
    mask : ndarray of bool that broadcasts to (B, H, T, S), or None

    Returns
    -------
    out : ndarray of shape (B, H, T, e)
    cache : for `latent_attention_backward`
    """
    absorbed = q @ w_k.swapaxes(1, 2)                           # (B, H, T, r)
    shared = np.broadcast_to(latent[:, None], (*q.shape[:2], *latent.shape[1:]))       # a view
    mean, cache = attention(absorbed, shared, shared, mask, scale=q.shape[-1] ** -0.5)
    return mean @ w_v, (q, w_k, w_v, mean, cache)               # (B, H, T, e)


def latent_attention_backward(dout, cache):
    """dout (B, H, T, e): dq, dlatent, dw_k, dw_v in the shapes of the inputs."""
    q, w_k, w_v, mean, kept = cache
    dw_v = (mean.swapaxes(2, 3) @ dout).sum(axis=0)             # (H, r, e)
    dabsorbed, by_keys, by_values = attention_backward(dout @ w_v.swapaxes(1, 2), kept)
    dw_k = (dabsorbed.swapaxes(2, 3) @ q).sum(axis=0)           # (H, r, d)
    return dabsorbed @ w_k, (by_keys + by_values).sum(axis=1), dw_k, dw_v
