# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:ed193d17790d0095
"""Self-attention, level 2: whole arrays; the weights (..., Tq, Tk) are kept."""

import math

import numpy as np

import tangled.t25_self_attention.checks as check


def causal_mask(Tq, Tk):
    """No query sees a key that comes after it; the last query stands at the last key.

    Parameters
    ----------
    Tq, Tk : int, numbers of queries and of keys

    Returns
    -------
    mask : ndarray of bool, shape (Tq, Tk), True where j <= i + Tk - Tq
    """
    Tq, Tk, _, _ = check.window(Tq, Tk, 1, 0)
    return np.arange(Tk) <= np.arange(Tq)[:, None] + (Tk - Tq)      # (Tq, Tk), eq. 25.6


def padding_mask(lengths, Tk):
    """Keys before the end of each sample.

    Parameters
    ----------
    lengths : array of int, shape (B,), each from 0 to Tk
    Tk : int

    Returns
    -------
    mask : ndarray of bool, shape (B, 1, 1, Tk), for all heads and queries
    """
    lengths, Tk = check.ends(lengths, Tk)
    return (np.arange(Tk) < lengths[:, None])[:, None, None]    # (B, 1, 1, Tk)


def window_mask(Tq, Tk, window, sinks=0):
    """The last `window` keys up to a query's own position, and the first `sinks` keys.

    Parameters
    ----------
    Tq, Tk : int
    window : int, at least 1; the query's own position counts
    sinks : int

    Returns
    -------
    mask : ndarray of bool, shape (Tq, Tk); nowhere True where `causal_mask` is not
    """
    Tq, Tk, window, sinks = check.window(Tq, Tk, window, sinks)
    at, keys = np.arange(Tq)[:, None] + (Tk - Tq), np.arange(Tk)
    return (keys <= at) & ((keys > at - window) | (keys < sinks))           # eq. 25.7


def masked_softmax(scores, mask=None):
    """Softmax over the last axis, of the visible scores only.

    Parameters
    ----------
    scores : ndarray of shape (..., T), floating; masked ones may be anything, NaN and infinite too
    mask : ndarray of bool that broadcasts to the shape of scores, True where visible; or None

    Returns
    -------
    p : ndarray of shape (..., T), in the dtype of scores; 0 where masked, and in rows without a
        visible score above -inf
    """
    scores, mask, dtype = check.scores(scores, mask)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        top = scores.max(axis=-1, keepdims=True, initial=-np.inf)       # (..., 1)
        e = np.exp(scores - np.where(top == -np.inf, 0, top))
        total = e.sum(axis=-1, keepdims=True)
        p = e / np.where(total == 0, 1, total)                          # eq. 25.5
        if mask is not None:
            p = np.where(mask, p, 0)                                    # also in a row that holds NaN
    return p.astype(dtype, copy=False)


def softmax_backward(dp, p):
    """Gradient of the scores; eq. 25.9.

    Parameters
    ----------
    dp : ndarray of shape (..., T), the gradient of p; not looked at where p is 0
    p : ndarray of shape (..., T), from `masked_softmax`, in the dtype of dp

    Returns
    -------
    ds : ndarray of shape (..., T); 0 where p is 0
    """
    dp, p, dtype = check.weights(dp, p)
    seen = p != 0
    with np.errstate(invalid="ignore", over="ignore"):
        delta = np.sum(p * dp, axis=-1, keepdims=True, where=seen)      # (..., 1)
        ds = p * (dp - delta)                                           # eq. 25.9
    return np.where(seen, ds, 0).astype(dtype, copy=False)


def _over_visible(weights, x, visible):
    """weights (..., n, m) @ x (..., m, d), no term where visible (..., n, m) is False."""
    broken = ~np.isfinite(x).all(axis=-1)                           # (..., m)
    if visible is None or not broken.any():
        return weights @ x
    out = weights @ np.where(broken[..., None], 0, x)           # (..., n, d)
    for j in np.flatnonzero(broken.reshape(-1, x.shape[-2]).any(axis=0)):
        sees = (visible[..., j] & broken[..., j, None])[..., None]          # (..., n, 1)
        out += np.where(sees, weights[..., j, None] * x[..., j, None, :], 0)
    return out


def attention(q, k, v, mask=None, causal=False, scale=None):
    """Scaled dot-product attention.

    Vaswani et al. (2017), eq. 1; eq. 25.3 and eq. 25.5.

    Parameters
    ----------
    q : ndarray of shape (..., Tq, D), floating
    k : ndarray of shape (..., Tk, D), in the dtype of q
    v : ndarray of shape (..., Tk, Dv), in the dtype of q
    mask : ndarray of bool that broadcasts to (..., Tq, Tk), True where a query may attend; or None
    causal : bool; True: also masked is what `causal_mask(Tq, Tk)` masks
    scale : float, or None for 1 / sqrt(D)

    Returns
    -------
    out : ndarray of shape (..., Tq, Dv), in the dtype of q; zeros for a query that sees nothing
    cache : for `attention_backward`; float16 is computed in float32

    Raises
    ------
    ValueError : if a shape or a dtype is not as above, or the mask is not of bool
    """
    q, k, v, mask, scale, dtype = check.heads(q, k, v, mask, causal, scale)
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1])
    if causal:
        ahead = causal_mask(q.shape[-2], k.shape[-2])
        mask = np.broadcast_to(ahead, (*q.shape[:-2], *ahead.shape)) if mask is None else mask & ahead
    with np.errstate(invalid="ignore", over="ignore"):          # in masked places
        scores = q @ k.swapaxes(-1, -2)                                 # (..., Tq, Tk), variance D: eq. 25.4
        scores *= scale                                                 # variance 1, in place
        p = masked_softmax(scores, mask)
        out = _over_visible(p, v, mask)                         # (..., Tq, Dv)
    return out.astype(dtype, copy=False), (q, k, v, p, mask, scale, dtype)


def attention_backward(dout, cache):
    """Gradients of `attention`; eq. 25.10 to eq. 25.12.

    Parameters
    ----------
    dout : ndarray of shape (..., Tq, Dv)
    cache : from `attention`

    Returns
    -------
    dq : ndarray of shape (..., Tq, D)
    dk : ndarray of shape (..., Tk, D)
    dv : ndarray of shape (..., Tk, Dv)
    """
    q, k, v, p, mask, scale, dtype = cache
    dout = check.gradient(dout, (*q.shape[:-1], v.shape[-1]), q.dtype)
    across = None if mask is None else mask.swapaxes(-1, -2)    # (..., Tk, Tq)
    with np.errstate(invalid="ignore", over="ignore"):
        dv = _over_visible(p.swapaxes(-1, -2), dout, across)
        dp = dout @ v.swapaxes(-1, -2)                          # (..., Tq, Tk)
        ds = softmax_backward(dp, p)                                    # eq. 25.11
        ds *= scale
        dq = _over_visible(ds, k, mask)
        dk = _over_visible(ds.swapaxes(-1, -2), q, across)
    return tuple(grad.astype(dtype, copy=False) for grad in (dq, dk, dv))
