# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:33cb9b7bb41d940d
"""Attention over a source, level 3: products of exponentials, nothing kept for a pair, one product for all steps."""

import itertools

import numpy as np

import tangled.t24_bahdanau_attention.checks as check
from tangled.t20_gru.level3_memory_efficient import GRU, gru_step, gru_step_backward
from tangled.t24_bahdanau_attention import level2_vectorized as plain

__all__ = ["AnnotatingEncoder", "AttentionDecoder", "AttentionSeq2Seq", "additive_score", "additive_score_backward",
           "attend", "attend_backward", "attention_decoder", "attention_decoder_backward", "attention_step",
           "attention_step_backward", "dot_score", "dot_score_backward", "general_score", "general_score_backward",
           "project_keys"]

FAR, ENTRIES = 40.0, 1 << 16                                    # of an exponent; of a block of pairs


class Pairs:
    """1 / (1 + exp(2q + 2k)), for a query of each sample at a time; k2 (B, S, A) is 2k."""

    def __init__(self, k2):
        self.k2, self.near = k2, np.abs(k2).max(initial=0) < FAR
        self.e_k = np.exp(k2) if self.near else None
        many = max(1, min(len(k2), ENTRIES // max(1, k2.shape[1] * k2.shape[2])))
        self.blocks = [slice(b, min(b + many, len(k2))) for b in range(0, len(k2), many)]
        self.room = np.empty((2, many, *k2.shape[1:]), k2.dtype)

    def sigma(self, rows, q2):
        """For queries q2 (n, A) of a block: (n, S, A) until the next call, and room."""
        out, spare = self.room[:, :len(q2)]
        if self.near and np.abs(q2).max(initial=0) < FAR:
            np.multiply(np.exp(q2)[:, None], self.e_k[rows], out=out)   # eq. 24.20
        else:
            with np.errstate(over="ignore"):
                np.exp(np.add(q2[:, None], self.k2[rows], out=out), out=out)
        out += 1
        return np.reciprocal(out, out=out), spare


def _flat(x):
    """(B, N, D) as (B N, D)."""
    return x.reshape(len(x) * x.shape[1], x.shape[2])


def _times(x, w):
    """x (B, N, D) @ w (D, A), as one product."""
    return (_flat(x) @ w).reshape(*x.shape[:2], w.shape[1])


def _slope(sigma, spare, de, dk):
    """Adds to dk (n, S, A), less the factor 4 v; de (n, S). The query's part, (n, A)."""
    np.multiply(sigma, sigma, out=spare)
    sigma -= spare                                              # sigma (1 - sigma)
    sigma *= de[..., None]
    dk += sigma
    return np.matmul(np.ones((1, de.shape[1]), sigma.dtype), sigma)[:, 0]


def additive_score(query, keys, w_query, v, w_key=None):
    """As level 2, query (B, Tq, D), keys (B, S, K); keeps nothing of size Tq x S x A."""
    given = check.additive(query, keys, w_query, v, w_key)
    query, keys, w_query, v, w_key = check.wide(given)
    q2 = 2 * _times(query, w_query)
    k2 = 2 * (keys if w_key is None else _times(keys, w_key))
    pairs, scores = Pairs(k2), np.empty((*q2.shape[:2], k2.shape[1]), q2.dtype)
    for rows, t in itertools.product(pairs.blocks, range(q2.shape[1])):
        sigma, _ = pairs.sigma(rows, q2[rows, t])
        scores[rows, t] = (_flat(sigma) @ v).reshape(sigma.shape[:2])
    scores *= -2
    scores += v.sum()                                           # eq. 24.20
    cache = q2, k2, query, keys, w_query, v, w_key, given[0].dtype
    return scores.astype(given[0].dtype, copy=False), cache


def additive_score_backward(dscores, cache):
    """As level 2, dscores (B, Tq, S)."""
    q2, k2, query, keys, w_query, v, w_key, dtype = cache
    dscores = check.gradient("dscores", dscores, (*q2.shape[:2], k2.shape[1]), q2.dtype)
    pairs, dv = Pairs(k2), np.zeros_like(v)
    dq, dk = np.empty(q2.shape, q2.dtype), np.zeros(k2.shape, k2.dtype)
    for rows, t in itertools.product(pairs.blocks, range(q2.shape[1])):
        sigma, spare = pairs.sigma(rows, q2[rows, t])
        de = dscores[rows, t]
        dv += de.reshape(-1) @ _flat(sigma)
        dq[rows, t] = _slope(sigma, spare, de, dk[rows])
    dv *= -2
    dv += dscores.sum()
    dq *= 4 * v                                                 # eq. 24.13
    dk *= 4 * v
    grads = [_times(dq, w_query.T), dk, _flat(query).T @ _flat(dq), dv]
    if w_key is not None:
        grads[1] = _times(dk, w_key.T)
        grads.append(_flat(keys).T @ _flat(dk))
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def project_keys(annotations, w_key):
    """As level 2, annotations (B, S, C), in one product."""
    return _times(annotations, w_key)


dot_score, dot_score_backward = plain.dot_score, plain.dot_score_backward


def general_score(query, keys, w):
    """As level 2, query (B, Tq, D); one product for the whole batch, kept for backward."""
    given = check.general(query, keys, w)
    query, keys, w = check.wide(given)
    asked = _times(query, w)                                    # (B, Tq, K)
    scores = asked @ keys.swapaxes(1, 2)
    return scores.astype(given[0].dtype, copy=False), (asked, query, keys, w, given[0].dtype)


def general_score_backward(dscores, cache):
    """As level 2, dscores (B, Tq, S)."""
    asked, query, keys, w, dtype = cache
    dscores = check.gradient("dscores", dscores, (*query.shape[:2], keys.shape[1]), query.dtype)
    dasked = dscores @ keys
    grads = _times(dasked, w.T), dscores.swapaxes(1, 2) @ asked, _flat(query).T @ _flat(dasked)
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


SCORES = {"additive": (additive_score, additive_score_backward),
          "dot": (dot_score, dot_score_backward),
          "general": (general_score, general_score_backward)}


def _softmax(scores):
    """In place, over the last axis of (..., S); zeros where all are -inf."""
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    top[top == -np.inf] = 0
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    total[total == 0] = 1
    scores /= total
    return scores


def _hidden(mask, dtype):
    """0 at real places and -inf at the others, (B, S)."""
    return np.where(mask, dtype.type(0), dtype.type(-np.inf))


def attend(query, keys, values, mask=None, score="dot", weights=()):
    """As level 2, query (B, Tq, D): the scores become the weights in place."""
    query, keys, values, mask, weights = check.attended(query, keys, values, mask, score, weights)
    dtype = query.dtype
    if not mask.all():
        keys, values = (np.where(mask[..., None], a, 0) for a in (keys, values))
    query, keys, values, *weights = check.wide([query, keys, values, *weights])
    p, of_score = SCORES[score][0](query, keys, *weights)
    p += _hidden(mask, p.dtype)[:, None]
    context = _softmax(p) @ values
    return (context.astype(dtype, copy=False), p.astype(dtype)), (p, values, score, of_score, dtype)


def attend_backward(dcontext, dp, cache):
    """As level 2, dcontext (B, Tq, C), dp (B, Tq, S) or None."""
    p, values, score, of_score, dtype = cache
    dcontext = check.gradient("dcontext", dcontext, (*p.shape[:2], values.shape[2]), p.dtype)
    dvalues = p.swapaxes(1, 2) @ dcontext
    ds = dcontext @ values.swapaxes(1, 2)
    if dp is not None:
        ds += check.gradient("dp", dp, p.shape, p.dtype)
    ds -= np.einsum("bts,bts->bt", p, ds)[..., None]
    ds *= p
    dquery, dkeys, *dweights = SCORES[score][1](ds, of_score)
    return tuple(grad.astype(dtype, copy=False) for grad in (dquery, dkeys, dvalues, *dweights))


def attention_step(x, h, annotations, keys, mask, w_query, v, w_ih, w_hh, b_ih, b_hh):
    """As level 2, x (B, E), by this level's `attend`: for searches, where a step comes alone."""
    x, h, annotations, keys, mask, w_query, v, *gru = check.step(
        x, h, annotations, keys, mask, w_query, v, w_ih, w_hh, b_ih, b_hh)
    (seen, p), of_attend = attend(h[:, None], keys, annotations, mask, "additive", (w_query, v))
    h_new, of_gru = gru_step(np.concatenate([x, seen[:, 0]], axis=1), h, *gru)
    return (h_new, seen[:, 0], p[:, 0]), (of_attend, of_gru, x.shape[1])


def attention_step_backward(dh_new, dcontext, cache):
    """As level 2, dh_new (B, H), dcontext (B, C)."""
    of_attend, of_gru, E = cache
    dread, dh, *dgru = gru_step_backward(dh_new, of_gru)
    dquery, dkeys, dvalues, dw_query, dv = attend_backward((dcontext + dread[:, E:])[:, None], None, of_attend)
    return dread[:, :E], dh + dquery[:, 0], dvalues, dkeys, dw_query, dv, *dgru


def attention_decoder(x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh):
    """As level 2, x (B, T, E); keeps states, weights, and four arrays like the states."""
    arrays, mask = check.decoder(
        x, h0, annotations, mask, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh)
    dtype = arrays[0].dtype
    x, h0, annotations, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh = check.wide(arrays)
    (B, T, E), (S, C), (H, A) = x.shape, annotations.shape[1:], w_query.shape
    annotations = np.where(mask[..., None], annotations, 0)
    steps = np.ascontiguousarray(x.swapaxes(0, 1))              # (T, B, E)
    W, W_c = np.concatenate([2 * w_query, w_hh], axis=1), np.ascontiguousarray(w_ih[E:])
    states, seen = np.empty((T + 1, B, H), x.dtype), np.empty((T, B, C), x.dtype)
    p, asked = np.empty((T, B, S), x.dtype), np.empty((T, B, A), x.dtype)
    gates = np.empty((T, B, 4 * H), x.dtype)                    # u, r, z, n of each step
    sent = np.empty((B, A + 3 * H), x.dtype)                    # 2q; the state in r, z, u
    states[0], bias = h0, b_ih.copy()
    bias[:2 * H] += b_hh[:2 * H]
    np.add(_times(steps, w_ih[:E]), bias, out=gates[..., H:])
    k2, hidden, twice = 2 * project_keys(annotations, w_key), _hidden(mask, x.dtype), -2 * v
    pairs = Pairs(k2)
    for t, (h, row) in enumerate(zip(states, gates)):
        np.matmul(h, W, out=sent)
        asked[t] = sent[:, :A]
        for rows in pairs.blocks:
            sigma, _ = pairs.sigma(rows, asked[t, rows])
            np.matmul(_flat(sigma), twice, out=p[t, rows].reshape(-1))
        p[t] += hidden
        _softmax(p[t])
        np.matmul(p[t][:, None], annotations, out=seen[t][:, None])
        row[:, H:] += seen[t] @ W_c
        u, rz, n = row[:, :H], row[:, H:3 * H], row[:, 3 * H:]
        rz += sent[:, A:A + 2 * H]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz += 1
        rz *= 0.5
        np.add(sent[:, A + 2 * H:], b_hh[2 * H:], out=u)
        n += rz[:, :H] * u
        np.tanh(n, out=n)
        np.subtract(h, n, out=states[t + 1])
        states[t + 1] *= rz[:, H:]
        states[t + 1] += n                                      # eq. 24.7
    W_x, results = w_ih[:E].copy(), (states[1:], seen, p)
    cache = (steps, states, seen, p, asked, gates, k2, annotations,
             W, W_c, W_x, w_key, v, dtype)
    return tuple(a.swapaxes(0, 1).astype(dtype, order="C") for a in results), cache


def attention_decoder_backward(dout, dcontexts, cache):
    """As level 2, dout (B, T, H), dcontexts (B, T, C)."""
    steps, states, seen, p, asked, gates, k2, annotations, W, W_c, W_x, w_key, v, dtype = cache
    (T, B), (A, H), C, work = steps.shape[:2], (len(v), states.shape[2]), seen.shape[2], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    dcontexts = check.gradient("dcontexts", dcontexts, (B, T, C), work)
    da = np.empty((T, B, 3 * H), work)                          # of r, z, n before their nonlinearity
    dsent = np.empty((T, B, A + 3 * H), work)                   # of 2q, and of the state's part of r, z, u
    dh, dseen, dk, dv = np.zeros((B, H), work), np.empty_like(seen), np.zeros_like(k2), np.zeros_like(v)
    pairs, of_q, back, back_c = Pairs(k2), 2 * v, np.ascontiguousarray(W.T), np.ascontiguousarray(W_c.T)
    for t in reversed(range(T)):
        dh += dout[:, t]
        h, (u, r, z, n) = states[t], (gates[t][:, k * H:(k + 1) * H] for k in range(4))
        dn = dh * (1 - z) * (1 - n * n)
        da[t, :, 2 * H:], da[t, :, H:2 * H] = dn, dh * (h - n) * (z * (1 - z))
        da[t, :, :H] = dn * u * (r * (1 - r))
        dsent[t, :, A:A + 2 * H], dsent[t, :, A + 2 * H:] = da[t, :, :2 * H], dn * r
        np.add(dcontexts[:, t], da[t] @ back_c, out=dseen[t])   # eq. 24.17
        de = np.matmul(annotations, dseen[t][..., None])[..., 0]
        de -= np.einsum("bs,bs->b", p[t], de)[:, None]
        de *= p[t]                                              # eq. 24.11
        for rows in pairs.blocks:
            sigma, spare = pairs.sigma(rows, asked[t, rows])
            dv += de[rows].reshape(-1) @ _flat(sigma)
            np.multiply(_slope(sigma, spare, de[rows], dk[rows]), of_q, out=dsent[t, rows, :A])
        dh *= z
        dh += dsent[t] @ back                                   # eq. 24.18
    dk *= 4 * v
    dv *= -2
    weights, contexts = p.transpose(1, 2, 0), dseen.swapaxes(0, 1)
    dannotations = np.matmul(weights, contexts) + _times(dk, w_key.T)       # eq. 24.19
    dW, db = _flat(states[:T]).T @ _flat(dsent), np.ones(T * B, work) @ _flat(dsent)
    dw_ih = np.concatenate([_flat(steps).T @ _flat(da), _flat(seen).T @ _flat(da)])
    dx = _times(da, W_x.T).swapaxes(0, 1)
    grads = (dx, dh, dannotations, 2 * dW[:, :A], _flat(annotations).T @ _flat(dk), dv, dw_ih, dW[:, A:].copy(),
             np.ones(T * B, work) @ _flat(da), db[A:].copy())
    return tuple(grad.astype(dtype, order="C", copy=False) for grad in grads)


class AnnotatingEncoder(plain.AnnotatingEncoder):
    """As level 2, ids (B, S), by the GRU of level 3."""

    cell = GRU


class AttentionDecoder(plain.AttentionDecoder):
    """As level 2, h0 (B, H), by the ops of this level."""

    cell, op, op_backward = GRU, staticmethod(attention_decoder), staticmethod(attention_decoder_backward)
    look = staticmethod(attention_step)


class AttentionSeq2Seq(plain.AttentionSeq2Seq):
    """As level 2, source (B, S), by the modules of level 3."""

    parts = AnnotatingEncoder, AttentionDecoder
