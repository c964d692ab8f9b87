# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:04203d6235bfd897
"""Chapter 32: worked answers to the graded exercises."""

import numpy as np


def combine(outs, lses):
    """Attention over all keys, from attention over parts of them.

    Parameters
    ----------
    outs : ndarray of shape (P, ..., Tq, Dv), floating
    lses : ndarray of shape (P, ..., Tq): log of the sum of exponentials; -inf if a part showed nothing

    Returns
    -------
    out : ndarray of shape (..., Tq, Dv); zeros where all parts showed nothing
    lse : ndarray of shape (..., Tq)
    """
    top = lses.max(axis=0)
    shift = np.where(top == -np.inf, 0, top)                    # (..., Tq)
    shares = np.exp(lses - shift)                               # (P, ..., Tq)
    total = shares.sum(axis=0)
    safe = np.where(total == 0, 1, total)
    out = (shares[..., None] * outs).sum(axis=0) / safe[..., None]
    return out, np.where(total == 0, -np.inf, shift + np.log(safe))


def ring_attention(qs, ks, vs, causal=False):
    """Attention over a sequence in pieces, one for each worker of a ring.

    Parameters
    ----------
    qs, ks : lists of P ndarrays of shape (..., T_w, D), floating; T_w at least 1, and may differ
    vs : list of P ndarrays of shape (..., T_w, Dv)
    causal : bool, by places in the whole sequence

    Returns
    -------
    outs : list of P ndarrays of shape (..., T_w, Dv)
    cache : for `ring_attention_backward`
    """
    rows = [(np.full((*q.shape[:-1], 1), -np.inf, q.dtype), 0.0, 0.0) for q in qs]
    for w, u, s in _steps(qs, ks, causal):
        top, total, summed = rows[w]
        new = np.maximum(top, s.max(axis=-1, keepdims=True))    # finite: step 0 is the worker's own block
        e, old = np.exp(s - new), np.exp(top - new)
        rows[w] = new, old * total + e.sum(axis=-1, keepdims=True), old * summed + e @ vs[u]
    outs = [summed / total for _, total, summed in rows]
    return outs, (qs, ks, vs, causal, [out.copy() for out in outs], rows)


def _steps(qs, ks, causal):
    """(worker, block it holds, scores), in the order of the ring."""
    for step in range(len(qs)):
        for w, q in enumerate(qs):
            u = (w - step) % len(qs)
            if not causal or u <= w:
                s = q * q.shape[-1] ** -0.5 @ ks[u].swapaxes(-1, -2)
                yield w, u, (np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
                             if causal and u == w else s)


def ring_attention_backward(douts, cache):
    """douts, a list of arrays (..., T_w, Dv): dqs, dks, dvs, lists in the shapes of the inputs."""
    qs, ks, vs, causal, outs, rows = cache
    dqs, dks, dvs = ([np.zeros_like(x) for x in xs] for xs in (qs, ks, vs))
    deltas = [(g * out).sum(axis=-1, keepdims=True) for g, out in zip(douts, outs)]
    for w, u, s in _steps(qs, ks, causal):
        p, scale = np.exp(s - rows[w][0]) / rows[w][1], qs[w].shape[-1] ** -0.5
        ds = p * (douts[w] @ vs[u].swapaxes(-1, -2) - deltas[w]) * scale
        dqs[w] += ds @ ks[u]
        dks[u] += ds.swapaxes(-1, -2) @ qs[w]                   # travels with block u
        dvs[u] += p.swapaxes(-1, -2) @ douts[w]
    return dqs, dks, dvs
