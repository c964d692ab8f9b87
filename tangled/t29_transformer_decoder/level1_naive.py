# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:79e7489140f4a2f9
"""Transformer decoder, level 1: one key at a time. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t29_transformer_decoder.checks as check
from tangled.t16_normalizations.level1_naive import layer_norm, layer_norm_backward
from tangled.t26_multi_head_attention.level1_naive import (
    multi_head_attention,
    multi_head_attention_backward,
)
from tangled.t28_transformer_encoder.level1_naive import feed_forward, feed_forward_backward


def _rows(x, w, b):
    """x (B, D), one product at a time: x w + b, (B, n)."""
    return np.array([[sum((row[i] * w[i, j] for i in range(len(w))), b[j])
                      for j in range(len(b))] for row in x], x.dtype).reshape(len(x), len(b))


def _look(q, keys, values, real=None):
    """q (B, D), keys and values (B, H, t, d): one average of values a head; (B, D)."""
    B, H, t, d = keys.shape
    out = np.zeros((B, H, d), keys.dtype)
    for b in range(B):
        for h in range(H):
            seen = [j for j in range(t) if real is None or real[b, 0, j]]
            scores = [sum(q[b, h * d + i] * keys[b, h, j, i] for i in range(d)) / math.sqrt(d)
                      for j in seen]
            weights = [math.exp(s - max(scores)) for s in scores]
            for j, weight in zip(seen, weights):
                for i in range(d):
                    out[b, h, i] += weight / sum(weights) * values[b, h, j, i]
    return out.reshape(B, H * d)


def start_decoding(memory, weights, memory_mask=None, *, num_heads):
    """As level 2, memory (B, S, D): a token's key and value at a time."""
    memory, real, w, H = check.beginning(memory, weights, memory_mask, num_heads)
    B, S, D = memory.shape
    pairs = np.zeros((2, B, H, S, D // H), memory.dtype)
    for s in range(S):
        for pair, c in zip(pairs, "kv"):
            pair[:, :, s] = _rows(memory[:, s], w["u_" + c], w["a_" + c]).reshape(B, H, D // H)
    none = pairs[0, :, :, :0]
    return {"keys": none, "values": none, "memory_keys": pairs[0], "memory_values": pairs[1],
            "real": real}


def decoder_block_step(x, state, weights, *, num_heads, activation="gelu", eps=1e-5):
    """As level 2, x (B, D)."""
    x, w, H, dtype = check.one(x, len(state["keys"]), weights, num_heads, activation, eps)
    norm = lambda a, k: layer_norm(a[:, None], w[f"gamma{k}"], w[f"beta{k}"], eps)[0][:, 0]
    normed = norm(x, 1)
    q, k, v = (_rows(normed, w["w_" + c], w["b_" + c]) for c in "qkv")
    shape = len(x), H, 1, x.shape[1] // H
    keys, values = (np.concatenate([state[name], new.reshape(shape)], axis=2)   # eq. 29.8
                    for name, new in (("keys", k), ("values", v)))
    middle = x + _rows(_look(q, keys, values), w["w_o"], w["b_o"])
    q = _rows(norm(middle, 2), w["u_q"], w["a_q"])
    found = _look(q, state["memory_keys"], state["memory_values"], state["real"])
    late = middle + _rows(found, w["u_o"], w["a_o"])
    network = [w[name] for name in check.NETWORK]
    out = late + feed_forward(norm(late, 3), *network, activation)[0]
    return out.astype(dtype, copy=False), state | {"keys": keys, "values": values}


def decoder_block(x, memory, weights, memory_mask=None, *, num_heads, activation="gelu",
                  eps=1e-5):
    """As level 2, x (B, T, D) and memory (B, S, D): level 1 of its parts, one after the other."""
    given = check.block(x, memory, weights, memory_mask, num_heads, activation, eps)
    normed, kept1 = layer_norm(given.x, *given.take("gamma1", "beta1"), eps)
    change, kept_s = multi_head_attention(normed, *given.take(*check.SELF), num_heads=given.heads, causal=True)
    middle = given.x + change                                   # eq. 29.1
    normed, kept2 = layer_norm(middle, *given.take("gamma2", "beta2"), eps)
    change, kept_c = multi_head_attention(normed, *given.take(*check.CROSS), num_heads=given.heads,
                                          context=given.memory, mask=given.real)
    late = middle + change
    normed, kept3 = layer_norm(late, *given.take("gamma3", "beta3"), eps)
    change, kept_f = feed_forward(normed, *given.take(*check.NETWORK), activation)
    return (late + change).astype(given.dtype, copy=False), (given, kept1, kept_s, kept2, kept_c, kept3, kept_f)


def decoder_block_backward(dout, cache):
    """As level 2, dout (B, T, D)."""
    given, kept1, kept_s, kept2, kept_c, kept3, kept_f = cache
    dx = check.gradient(dout, given.x.shape, given.x.dtype)
    change, *of_f = feed_forward_backward(dx, kept_f)
    change, *of_3 = layer_norm_backward(change, kept3)
    dx = dx + change                                            # eq. 29.3
    change, *of_c, dmemory = multi_head_attention_backward(dx, kept_c)
    change, *of_2 = layer_norm_backward(change, kept2)
    dx = dx + change
    change, *of_s = multi_head_attention_backward(dx, kept_s)
    change, *of_1 = layer_norm_backward(change, kept1)
    grads = dict(zip(check.NAMES, (*of_1, *of_s, *of_2, *of_c, *of_3, *of_f), strict=True))
    return ((dx + change).astype(given.dtype, copy=False), dmemory.astype(given.dtype, copy=False),
            {name: g.astype(given.dtype, copy=False) for name, g in grads.items()})
