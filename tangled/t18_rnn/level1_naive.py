# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:0c9d71ac19de6b0e
"""Recurrent networks, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t18_rnn.checks as check


def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """x (B, D), h (B, H), w_ih (D, H), w_hh (H, H), biases (H,): h_new (B, H), and a cache."""
    x, h, w_ih, w_hh, b_ih, b_hh = check.weights(
        x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    out = np.empty(h.shape)                                     # float64
    for n, j in np.ndindex(*h.shape):
        a = sum(float(x[n, i]) * float(w_ih[i, j]) for i in range(x.shape[1]))      # eq. 18.4
        a += sum(float(h[n, i]) * float(w_hh[i, j]) for i in range(h.shape[1]))
        a += sum(float(b[j]) for b in (b_ih, b_hh) if b is not None)
        out[n, j] = math.tanh(a) if nonlinearity == "tanh" else max(a, 0.0) if a == a else a
    given = b_ih is not None, b_hh is not None
    return out.astype(x.dtype), (x, h, out, w_ih, w_hh, given, nonlinearity)


def rnn_step_backward(dh_new, cache):
    """dh_new (B, H): dx (B, D), dh (B, H), dw_ih (D, H), dw_hh (H, H), and of given biases (H,)."""
    x, h, out, w_ih, w_hh, given, nonlinearity = cache
    dh_new = check.gradient("dh_new", dh_new, out.shape, x.dtype)
    dx, dh, dw_ih, dw_hh, db = (np.zeros(a.shape) for a in (x, h, w_ih, w_hh, w_hh[0]))
    for n, j in np.ndindex(*out.shape):
        y = float(out[n, j])
        slope = 1.0 - y * y if nonlinearity == "tanh" else float(y > 0)
        da = float(dh_new[n, j]) * slope if slope else 0.0      # eq. 18.5
        db[j] += da
        for i in range(x.shape[1]):
            dx[n, i] += da * float(w_ih[i, j])
            dw_ih[i, j] += float(x[n, i]) * da                  # eq. 18.6
        for i in range(h.shape[1]):
            dh[n, i] += da * float(w_hh[i, j])
            dw_hh[i, j] += float(h[n, i]) * da
    grads = [dx, dh, dw_ih, dw_hh] + [db] * sum(given)
    return tuple(grad.astype(x.dtype) for grad in grads)


def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """x (B, T, D), h0 (B, H): (out (B, T, H), h_T (B, H)), and a cache."""
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    out, h, caches = np.empty((*x.shape[:2], h0.shape[1]), x.dtype), h0, []
    for t in range(x.shape[1]):
        h, cache = rnn_step(x[:, t], h, *parameters, nonlinearity)
        out[:, t] = h
        caches.append(cache)
    given = tuple(b is not None for b in parameters[2:])
    return (out, h.copy()), (caches, x.shape, h0, parameters[0], given)


def rnn_backward(dout, dh_T, cache):
    """dout (B, T, H), dh_T (B, H) or None: dx (B, T, D), dh0 (B, H), and of the weights."""
    caches, shape, h0, w_ih, given = cache
    dout = check.gradient("dout", dout, (*shape[:2], h0.shape[1]), h0.dtype)
    ds = (np.zeros(h0.shape, h0.dtype) if dh_T is None
          else check.gradient("dh_T", dh_T, h0.shape, h0.dtype))
    H = h0.shape[1]
    totals = [np.zeros(w_ih.shape), np.zeros((H, H))] + [np.zeros(H)] * sum(given)
    dx = np.zeros(shape, h0.dtype)
    for t in reversed(range(shape[1])):
        dx[:, t], ds, *grads = rnn_step_backward(dout[:, t] + ds, caches[t])
        totals = [total + grad for total, grad in zip(totals, grads)]       # eq. 18.6
    return dx, ds.copy(), *(total.astype(h0.dtype) for total in totals)


def embedding(ids, table):
    """ids (...), table (V, D): (..., D), and a cache."""
    table = check.table(table)
    ids = check.ids("ids", ids, len(table))
    out = np.empty((*ids.shape, table.shape[1]), table.dtype)
    for place in np.ndindex(*ids.shape):
        for d in range(table.shape[1]):
            out[(*place, d)] = table[ids[place], d]
    return out, (ids.copy(), table.shape, table.dtype)


def embedding_backward(dout, cache):
    """dout (..., D): dtable (V, D)."""
    ids, shape, dtype = cache
    dout = check.gradient("dout", dout, (*ids.shape, shape[1]), dtype)
    dtable = np.zeros(shape)
    for place in np.ndindex(*ids.shape):
        for d in range(shape[1]):
            dtable[ids[place], d] += float(dout[(*place, d)])
    return dtable.astype(dtype)


def bigram_counts(ids, V):
    """ids (n,), V: counts (V, V) of pairs."""
    V = check.whole("V", V)
    ids = check.ids("ids", ids, V)
    counts = np.zeros((V, V), np.int64)
    for a, b in zip(ids[:-1].tolist(), ids[1:].tolist()):
        counts[a, b] += 1
    return counts


def sample_categorical(logits, temperature, rng):
    """logits (..., V): ids (...), one draw each."""
    logits, temperature, rng = check.logits(logits), check.temperature(temperature), check.generator(rng)
    out = np.zeros(logits.shape[:-1], np.int64)
    draws = rng.random(out.shape) if temperature else None
    for place in np.ndindex(*out.shape):
        row = [float(v) for v in logits[place]]
        top = max(row)
        if not temperature:
            out[place] = row.index(top)
            continue
        p = [math.exp((v - top) / temperature) for v in row]
        left = float(draws[place]) * sum(p)
        for k, share in enumerate(p):
            left -= share
            out[place] = k
            if left < 0:
                break
    return out
