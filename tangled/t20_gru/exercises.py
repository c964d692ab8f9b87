# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:8bd6dcb723f3b31a
"""Chapter 20: worked answers to the graded exercises."""

import numpy as np


def mean_weights(z):
    """How much of the last state comes from where.

    Parameters
    ----------
    z : ndarray of shape (B, T, H), the update gates, from 0 to 1

    Returns
    -------
    weights : ndarray of shape (B, T + 1, H); entry 0 is the weight of h_0, entry t that of n_t
    """
    B, T, H = z.shape
    left = np.ones((B, T + 1, H), z.dtype)                      # the product of all gates behind t
    left[:, :T] = np.cumprod(z[:, ::-1], axis=1)[:, ::-1]
    left[:, 1:] *= 1 - z
    return left


def scan(a, b, h0):
    """All states of h_t = a_t h_{t-1} + b_t.

    Parameters
    ----------
    a, b : ndarrays of shape (B, T, H)
    h0 : ndarray of shape (B, H)

    Returns
    -------
    h : ndarray of shape (B, T, H): h_1, ..., h_T
    """
    a, b = a.copy(), b.copy()
    if a.shape[1]:
        b[:, 0] += a[:, 0] * h0
    k = 1
    while k < a.shape[1]:
        b[:, k:] += a[:, k:] * b[:, :-k]                        # the right side comes first
        a[:, k:] = a[:, k:] * a[:, :-k]
        k *= 2
    return b


def scan_backward(dh, a, h, h0):
    """Gradients of `scan`.

    Parameters
    ----------
    dh : ndarray of shape (B, T, H), that of every state from outside
    a : as for `scan`;  h : its result, of the same shape (B, T, H)
    h0 : ndarray of shape (B, H)

    Returns
    -------
    da, db, dh0 : ndarrays of shapes (B, T, H), (B, T, H), (B, H)
    """
    if not a.shape[1]:
        return np.zeros_like(a), np.zeros_like(a), np.zeros_like(h0)
    after = np.concatenate([a[:, 1:], np.zeros_like(a[:, :1])], axis=1)     # a_{t+1}
    db = scan(after[:, ::-1], dh[:, ::-1], np.zeros_like(h0))[:, ::-1]
    before = np.concatenate([h0[:, None], h[:, :-1]], axis=1)
    return db * before, db.copy(), a[:, 0] * db[:, 0]
