# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:4244aa9a7437fe72
"""Self-attention, level 1: loops over pairs of tokens, in Python's floats. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t25_self_attention.checks as check


def causal_mask(Tq, Tk):
    """(Tq, Tk) bool: True where key j is not after query i, the last query at the last key."""
    Tq, Tk, _, _ = check.window(Tq, Tk, 1, 0)
    rows = [[j <= i + Tk - Tq for j in range(Tk)] for i in range(Tq)]           # eq. 25.6
    return np.array(rows, bool).reshape(Tq, Tk)


def padding_mask(lengths, Tk):
    """lengths (B,): (B, 1, 1, Tk) bool, True before a sample's end."""
    lengths, Tk = check.ends(lengths, Tk)
    rows = [[j < n for j in range(Tk)] for n in lengths.tolist()]
    return np.array(rows, bool).reshape(len(lengths), 1, 1, Tk)


def window_mask(Tq, Tk, window, sinks=0):
    """(Tq, Tk) bool: the last `window` keys, and the first `sinks`; never a later one."""
    Tq, Tk, window, sinks = check.window(Tq, Tk, window, sinks)
    places = [i + Tk - Tq for i in range(Tq)]
    rows = [[j <= t and (j > t - window or j < sinks) for j in range(Tk)] for t in places]      # eq. 25.7
    return np.array(rows, bool).reshape(Tq, Tk)


def masked_softmax(scores, mask=None):
    """scores (..., T), mask that broadcasts to them: weights (..., T), 0 where masked."""
    scores, mask, dtype = check.scores(scores, mask)
    p = np.zeros(scores.shape)
    for row in np.ndindex(*scores.shape[:-1]):
        seen = [j for j in range(scores.shape[-1]) if mask is None or mask[row][j]]
        for j, weight in zip(seen, _softmax([float(scores[row][j]) for j in seen])):
            p[row][j] = weight
    return p.astype(dtype)


def softmax_backward(dp, p):
    """dp, p (..., T): gradient of the scores (..., T)."""
    dp, p, dtype = check.weights(dp, p)
    ds = np.zeros(p.shape)
    for row in np.ndindex(*p.shape[:-1]):
        ds[row] = _softmax_backward(dp[row].tolist(), p[row].tolist())
    return ds.astype(dtype)


def _softmax(s):
    """Weights of a list of scores; zeros, if all are -inf."""
    top = max(s, default=-math.inf)
    if top == -math.inf:
        return [0.0] * len(s)
    e = [math.exp(x - top) for x in s]
    return [x / sum(e) for x in e]                              # eq. 25.5


def _softmax_backward(dp, p):
    """Gradient of a list of scores; eq. 25.9. What has no weight is not looked at."""
    delta = sum(weight * grad for weight, grad in zip(p, dp) if weight != 0)
    return [weight * (grad - delta) if weight != 0 else 0.0 for weight, grad in zip(p, dp)]


def _dot(a, b):
    """Inner product of two lists."""
    return sum(x * y for x, y in zip(a, b))


def attention(q, k, v, mask=None, causal=False, scale=None):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv): out (..., Tq, Dv), and a cache."""
    q, k, v, mask, scale, dtype = check.heads(q, k, v, mask, causal, scale)
    (*batch, Tq, D), (Tk, Dv) = q.shape, v.shape[-2:]
    scale = 1.0 / math.sqrt(D) if scale is None else scale
    seen = np.ones((*batch, Tq, Tk), bool) if mask is None else mask
    seen = seen & causal_mask(Tq, Tk) if causal else seen
    out, p = np.zeros((*batch, Tq, Dv)), np.zeros(seen.shape)
    for b in np.ndindex(*batch):
        Q, K, V = q[b].tolist(), k[b].tolist(), v[b].tolist()
        for i in range(Tq):
            keys = [j for j in range(Tk) if seen[b][i, j]]
            weights = _softmax([scale * _dot(Q[i], K[j]) for j in keys])
            for j, weight in zip(keys, weights):
                p[b][i, j] = weight
                for d in range(Dv):
                    out[b][i, d] += weight * V[j][d]
    return out.astype(dtype), (q, k, v, p, seen, scale, dtype)


def attention_backward(dout, cache):
    """dout (..., Tq, Dv): dq (..., Tq, D), dk (..., Tk, D), dv (..., Tk, Dv)."""
    q, k, v, p, seen, scale, dtype = cache
    dout = check.gradient(dout, (*q.shape[:-1], v.shape[-1]), q.dtype)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for b in np.ndindex(*q.shape[:-2]):
        Q, K, V, G = (x[b].tolist() for x in (q, k, v, dout))
        for i, g in enumerate(G):
            keys = np.flatnonzero(seen[b][i]).tolist()
            weights = p[b][i, keys].tolist()
            ds = _softmax_backward([_dot(g, V[j]) for j in keys], weights)
            for j, weight, s in zip(keys, weights, ds):
                dv[b][j] += [weight * x for x in g]             # eq. 25.10
                dq[b][i] += [scale * s * x for x in K[j]]       # eq. 25.12
                dk[b][j] += [scale * s * x for x in Q[i]]
    return tuple(grad.astype(dtype) for grad in (dq, dk, dv))
