# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:1c9108c8d3102a10
"""Attention over a source, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t24_bahdanau_attention.checks as check


def _product(x, w):
    """x (B, N, D) times w (D, A): (B, N, A)."""
    out = np.zeros((*x.shape[:2], w.shape[1]))
    for b, n, a in np.ndindex(*out.shape):
        out[b, n, a] = sum(float(x[b, n, d]) * float(w[d, a]) for d in range(w.shape[0]))
    return out


def _product_backward(dout, x, w):
    """dout (B, N, A): dx (B, N, D), dw (D, A)."""
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for b, n, a in np.ndindex(*dout.shape):
        for d in range(w.shape[0]):
            dx[b, n, d] += dout[b, n, a] * float(w[d, a])
            dw[d, a] += dout[b, n, a] * float(x[b, n, d])
    return dx, dw


def additive_score(query, keys, w_query, v, w_key=None):
    """query (B, Tq, D), keys (B, S, K): scores (B, Tq, S), and a cache."""
    query, keys, w_query, v, w_key = check.additive(query, keys, w_query, v, w_key)
    q, k = _product(query, w_query), keys if w_key is None else _product(keys, w_key)
    (B, Tq, A), S = q.shape, k.shape[1]
    tanh, scores = np.zeros((B, Tq, S, A)), np.zeros((B, Tq, S))
    for b, t, s, a in np.ndindex(*tanh.shape):
        tanh[b, t, s, a] = math.tanh(q[b, t, a] + k[b, s, a])
        scores[b, t, s] += float(v[a]) * tanh[b, t, s, a]       # eq. 24.1
    return scores.astype(query.dtype), (tanh, query, keys, w_query, v, w_key)


def additive_score_backward(dscores, cache):
    """dscores (B, Tq, S): dquery, dkeys, dw_query, dv, and dw_key if w_key was given."""
    tanh, query, keys, w_query, v, w_key = cache
    (B, Tq, S, A), dtype = tanh.shape, query.dtype
    dscores = check.gradient("dscores", dscores, (B, Tq, S), check.working(dtype))
    dq, dk, dv = np.zeros((B, Tq, A)), np.zeros((B, S, A)), np.zeros(A)
    for b, t, s, a in np.ndindex(*tanh.shape):
        de, y = float(dscores[b, t, s]), tanh[b, t, s, a]
        dv[a] += de * y                                         # eq. 24.12
        dq[b, t, a] += de * float(v[a]) * (1 - y * y)           # eq. 24.13
        dk[b, s, a] += de * float(v[a]) * (1 - y * y)
    dquery, dw_query = _product_backward(dq, query, w_query)
    grads = [dquery, dk, dw_query, dv]
    if w_key is not None:
        grads[1], dw_key = _product_backward(dk, keys, w_key)
        grads.append(dw_key)
    return tuple(grad.astype(dtype) for grad in grads)


def dot_score(query, keys):
    """query (B, Tq, D), keys (B, S, D): scores (B, Tq, S), and a cache."""
    query, keys = check.dot(query, keys)
    scores = np.zeros((*query.shape[:2], keys.shape[1]))
    for b, t, s in np.ndindex(*scores.shape):
        for d in range(query.shape[2]):
            scores[b, t, s] += float(query[b, t, d]) * float(keys[b, s, d])     # eq. 24.3
    return scores.astype(query.dtype), (query, keys)


def dot_score_backward(dscores, cache):
    """dscores (B, Tq, S): dquery (B, Tq, D), dkeys (B, S, D)."""
    query, keys = cache
    shape = (*query.shape[:2], keys.shape[1])
    dscores = check.gradient("dscores", dscores, shape, check.working(query.dtype))
    dquery, dkeys = np.zeros(query.shape), np.zeros(keys.shape)
    for b, t, s in np.ndindex(*dscores.shape):
        for d in range(query.shape[2]):
            dquery[b, t, d] += float(dscores[b, t, s]) * float(keys[b, s, d])
            dkeys[b, s, d] += float(dscores[b, t, s]) * float(query[b, t, d])
    return dquery.astype(query.dtype), dkeys.astype(query.dtype)


def general_score(query, keys, w):
    """query (B, Tq, D), keys (B, S, K), w (D, K): scores (B, Tq, S), and a cache."""
    query, keys, w = check.general(query, keys, w)
    asked = _product(query, w)                                  # (B, Tq, K)
    scores, _ = dot_score(asked, keys.astype(np.float64))       # eq. 24.4
    return scores.astype(query.dtype), (asked, query, keys, w)


def general_score_backward(dscores, cache):
    """dscores (B, Tq, S): dquery (B, Tq, D), dkeys (B, S, K), dw (D, K)."""
    asked, query, keys, w = cache
    dasked, dkeys = dot_score_backward(dscores, (asked, keys.astype(np.float64)))
    dquery, dw = _product_backward(dasked, query, w)
    return tuple(grad.astype(query.dtype) for grad in (dquery, dkeys, dw))


SCORES = {"additive": (additive_score, additive_score_backward),
          "dot": (dot_score, dot_score_backward),
          "general": (general_score, general_score_backward)}


def attend(query, keys, values, mask=None, score="dot", weights=()):
    """query (B, Tq, D), keys (B, S, K), values (B, S, C): contexts (B, Tq, C), p (B, Tq, S); a cache."""
    query, keys, values, mask, weights = check.attended(query, keys, values, mask, score, weights)
    dtype, keys = query.dtype, np.where(mask[..., None], keys, 0)
    query, keys, *weights = (np.asarray(a, np.float64) for a in (query, keys, *weights))
    scores, of_score = SCORES[score][0](query, keys, *weights)
    p, context = np.zeros(scores.shape), np.zeros((*scores.shape[:2], values.shape[2]))
    for b, t in np.ndindex(*scores.shape[:2]):
        places = [s for s in range(scores.shape[2]) if mask[b, s]]
        top = max((scores[b, t, s] for s in places), default=0.0)
        total = sum(math.exp(scores[b, t, s] - top) for s in places)
        for s in places:
            p[b, t, s] = math.exp(scores[b, t, s] - top) / total            # eq. 24.5
            for c in range(values.shape[2]):
                context[b, t, c] += p[b, t, s] * float(values[b, s, c])     # eq. 24.6
    return (context.astype(dtype), p.astype(dtype)), (p, values, mask, score, of_score, dtype)


def attend_backward(dcontext, dp, cache):
    """dcontext (B, Tq, C), dp (B, Tq, S) or None: dquery, dkeys, dvalues, and of the score's arrays."""
    p, values, mask, score, of_score, dtype = cache
    dcontext = check.gradient("dcontext", dcontext, (*p.shape[:2], values.shape[2]), check.working(dtype))
    dp = np.zeros(p.shape) if dp is None else np.array(check.gradient("dp", dp, p.shape, np.float64))
    dvalues, dscores = np.zeros(values.shape), np.zeros(p.shape)
    for b, t in np.ndindex(*p.shape[:2]):
        places = [s for s in range(p.shape[2]) if mask[b, s]]
        for s in places:
            for c in range(values.shape[2]):
                dvalues[b, s, c] += p[b, t, s] * float(dcontext[b, t, c])
                dp[b, t, s] += float(values[b, s, c]) * float(dcontext[b, t, c])
        mean = sum(p[b, t, s] * dp[b, t, s] for s in places)
        for s in places:
            dscores[b, t, s] = p[b, t, s] * (dp[b, t, s] - mean)            # eq. 24.11
    dquery, dkeys, *dweights = SCORES[score][1](dscores, of_score)
    return tuple(grad.astype(dtype) for grad in (dquery, dkeys, dvalues, *dweights))
