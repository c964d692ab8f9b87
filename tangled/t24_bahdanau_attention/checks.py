# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:b8666267b0c0f560
"""Chapter 24: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t18_rnn.checks import floats, generator, gradient, shown, whole, working
from tangled.t23_seq2seq.checks import lengths

__all__ = ["additive", "attended", "decoder", "dot", "floats", "general", "generator", "gradient", "lengths",
           "padding", "step", "whole", "wide", "working"]
SCORES = {"additive": (2, 3), "dot": (0,), "general": (1,)}     # how many arrays each has of its own


def wide(arrays):
    """The same in the dtype to compute in; None stays."""
    return [None if a is None else a.astype(working(a.dtype), copy=False) for a in arrays]


def _pair(query, keys):
    """query (B, Tq, D), keys (B, S, K) of one dtype."""
    query = floats("query", query, ("B", "Tq", "D"))
    return query, floats("keys", keys, (len(query), "S", "K"), query.dtype)


def additive(query, keys, w_query, v, w_key):
    """query (B, Tq, D), keys (B, S, K), w_query (D, A), v (A,), w_key (K, A) or None, then K is A."""
    query, keys = _pair(query, keys)
    w_query = floats("w_query", w_query, (query.shape[2], "A"), query.dtype)
    A = w_query.shape[1]
    v = floats("v", v, (A,), query.dtype)
    if w_key is None:
        keys = floats("keys", keys, (*keys.shape[:2], A))
    else:
        w_key = floats("w_key", w_key, (keys.shape[2], A), query.dtype)
    return query, keys, w_query, v, w_key


def dot(query, keys):
    """query (B, Tq, D), keys (B, S, D)."""
    query, keys = _pair(query, keys)
    return query, floats("keys", keys, (*keys.shape[:2], query.shape[2]))


def general(query, keys, w):
    """query (B, Tq, D), keys (B, S, K), w (D, K)."""
    query, keys = _pair(query, keys)
    return query, keys, floats("w", w, (query.shape[2], keys.shape[2]), query.dtype)


def padding(mask, B, S):
    """mask (B, S) of bool; all true for None."""
    mask = np.ones((B, S), bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool or mask.shape != (B, S):
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; expected bool {shown((B, S))}")
    return mask


def attended(query, keys, values, mask, score, weights):
    """query (B, Tq, D), keys (B, S, K), values (B, S, C), mask (B, S) or None, a name, its arrays."""
    if score not in SCORES:
        raise ValueError(f"score = {score!r}; expected one of {', '.join(SCORES)}")
    weights = tuple(weights)
    if len(weights) not in SCORES[score]:
        raise ValueError(f"weights has {len(weights)} arrays; expected {SCORES[score]} for {score!r}")
    query, keys = _pair(query, keys)
    values = floats("values", values, (*keys.shape[:2], "C"), query.dtype)
    if score == "additive":
        additive(query, keys, *weights, *(None,) * (3 - len(weights)))
    else:
        (dot if score == "dot" else general)(query, keys, *weights)
    return query, keys, values, padding(mask, *keys.shape[:2]), [np.asarray(w) for w in weights]


def step(x, h, annotations, keys, mask, w_query, v, w_ih, w_hh, b_ih, b_hh):
    """x (B, E), h (B, H), annotations (B, S, C), keys (B, S, A), mask (B, S), the arrays of a step."""
    x = floats("x", x, ("B", "E"))
    annotations = floats("annotations", annotations, (len(x), "S", "C"), x.dtype)
    h, dtype = floats("h", h, (len(x), "H"), x.dtype), x.dtype
    (B, S, C), H = annotations.shape, h.shape[1]
    w_query = floats("w_query", w_query, (H, "A"), dtype)
    A, gates = w_query.shape[1], (3 * H,)
    keys, v = floats("keys", keys, (B, S, A), dtype), floats("v", v, (A,), dtype)
    w_ih = floats("w_ih", w_ih, (x.shape[1] + C, *gates), dtype)
    w_hh = floats("w_hh", w_hh, (H, *gates), dtype)
    b_ih, b_hh = floats("b_ih", b_ih, gates, dtype), floats("b_hh", b_hh, gates, dtype)
    return x, h, annotations, keys, padding(mask, B, S), w_query, v, w_ih, w_hh, b_ih, b_hh


def decoder(x, h0, annotations, mask, w_query, w_key, v, *gru):
    """x (B, T, E) and the rest as for `step`, with w_key (C, A) in place of keys; the mask apart."""
    x = floats("x", x, ("B", "T", "E"))
    h0 = floats("h0", h0, (len(x), "H"), x.dtype)
    annotations = floats("annotations", annotations, (len(x), "S", "C"), x.dtype)
    w_query = floats("w_query", w_query, (h0.shape[1], "A"), x.dtype)
    w_key = floats("w_key", w_key, (annotations.shape[2], w_query.shape[1]), x.dtype)
    keys = np.empty((*annotations.shape[:2], w_key.shape[1]), x.dtype)
    first = np.empty((len(x), x.shape[2]), x.dtype)
    _, h0, annotations, _, mask, w_query, v, *gru = step(first, h0, annotations, keys, mask, w_query, v, *gru)
    return (x, h0, annotations, w_query, w_key, v, *gru), mask
