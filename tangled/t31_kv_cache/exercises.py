# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:5ee9f2097c6162d1
"""Chapter 31: worked answers to the graded exercises."""

import numpy as np


class RollingCache:
    """Keys and values of the last `window` tokens of one text.

    Parameters
    ----------
    heads, window, head_dim : int, H, w, d
    dtype : floating-point dtype

    Attributes
    ----------
    data : ndarray of shape (2, H, w, d), all that is kept
    """

    def __init__(self, heads, window, head_dim, dtype=np.float64):
        self.data, self.seen = np.zeros((2, heads, window, head_dim), dtype), 0

    def step(self, q, k, v):
        """Attention of one token to itself and the w - 1 before it: q, k, v (H, d) to (H, d)."""
        w = self.data.shape[2]
        self.data[:, :, self.seen % w] = k, v
        self.seen += 1
        keys, values = self.data[:, :, :min(self.seen, w)]      # in any order
        s = np.einsum("hd,hsd->hs", q, keys) * q.shape[1] ** -0.5
        e = np.exp(s - s.max(axis=1, keepdims=True))
        return np.einsum("hs,hsd->hd", e / e.sum(axis=1, keepdims=True), values)


def verify_many(p, qs, drafted, uniform):
    """One token with the distribution p, a draft if possible.

    Parameters
    ----------
    p : ndarray of shape (V,), probabilities
    qs : ndarray of shape (m, V), those that the drafts were drawn from
    drafted : ndarray of shape (m,), integers below V
    uniform : ndarray of shape (m + 1,), from 0 to 1, without 1

    Returns
    -------
    token : int
    accepted : int, the number of the draft; m if none was
    """
    for k, (q, u) in enumerate(zip(qs, drafted)):
        if uniform[k] * q[u] < p[u]:
            return int(u), k
        left = np.maximum(p - q, 0)
        if left.sum() > 0:                                      # else p equals q, up to rounding
            p = left / left.sum()
    up_to = p.cumsum()
    token = int((up_to <= uniform[-1] * up_to[-1]).sum())
    return min(token, int(np.flatnonzero(p)[-1])), len(qs)
