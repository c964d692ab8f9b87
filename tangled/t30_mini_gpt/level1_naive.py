# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:d18e9a6627745ec5
"""Mini-GPT, level 1: the levels 1 of earlier chapters, called one after the other. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t30_mini_gpt.checks as check
from tangled.t16_normalizations.level1_naive import layer_norm, layer_norm_backward
from tangled.t28_transformer_encoder.level1_naive import encoder_block, encoder_block_backward

NAMES = {"gamma1": "norm1.weight", "beta1": "norm1.bias", "gamma2": "norm2.weight", "beta2": "norm2.bias",
         **{f"w_{p[0]}": f"attention.{p}.weight" for p in check.PROJECTIONS},
         **{f"b_{p[0]}": f"attention.{p}.bias" for p in check.PROJECTIONS},
         **dict(zip(("w1", "b1", "w2", "b2"), ("ffn." + name for name in check.FFN)))}


def gpt(ids, weights, num_heads):
    """ids (B, T), weights by the names of `GPT.state_dict`: logits (B, T, V), cache."""
    given = check.model(ids, weights, num_heads)
    w, (B, T) = given.weights, given.ids.shape
    table, places = w["wte.weight"], w["wpe.weight"]
    x, caches = np.zeros((B, T, table.shape[1]), table.dtype), []
    for n, t in np.ndindex(B, T):
        for d in range(table.shape[1]):
            x[n, t, d] = table[given.ids[n, t], d] + places[t, d]               # eq. 30.1
    for k in range(check.depth(w)):
        block = {short: w[f"blocks.{k}.{name}"] for short, name in NAMES.items()}
        x, cache = encoder_block(x, block, num_heads=given.heads, causal=True, activation="gelu_tanh")
        caches.append(cache)
    h, last = layer_norm(x, w["norm.weight"], w["norm.bias"])
    logits = np.zeros((B, T, len(table)), given.dtype)
    for n, t, v in np.ndindex(*logits.shape):
        logits[n, t, v] = sum(a * b for a, b in zip(h[n, t].tolist(), table[v].tolist()))       # eq. 30.3
    return logits, (given, caches, h, last)


def gpt_backward(dlogits, cache):
    """dlogits (B, T, V): a dict of gradients, under the names of the weights."""
    given, caches, h, last = cache
    table = given.weights["wte.weight"]
    dlogits = check.gradient(dlogits, (*given.ids.shape, len(table)), table.dtype)
    grads = {name: np.zeros(a.shape) for name, a in given.weights.items()}
    dh = np.zeros(h.shape)
    for n, t, v in np.ndindex(*dlogits.shape):
        for d in range(table.shape[1]):
            dh[n, t, d] += float(dlogits[n, t, v]) * table[v, d]
            grads["wte.weight"][v, d] += float(dlogits[n, t, v]) * h[n, t, d]   # as columns
    dx, grads["norm.weight"], grads["norm.bias"] = layer_norm_backward(dh.astype(h.dtype), last)
    for k in reversed(range(len(caches))):
        dx, of_block = encoder_block_backward(dx, caches[k])
        grads |= {f"blocks.{k}.{NAMES[short]}": grad for short, grad in of_block.items()}
    for n, t in np.ndindex(*given.ids.shape):
        for d in range(table.shape[1]):
            grads["wte.weight"][given.ids[n, t], d] += float(dx[n, t, d])       # as rows, too
            grads["wpe.weight"][t, d] += float(dx[n, t, d])
    return {name: grads[name].astype(given.dtype) for name in given.weights}


def repetition_penalty(logits, seen, penalty):
    """logits (..., V), seen (..., n): logits (..., V)."""
    logits = check.logits(logits)
    seen, penalty = check.seen(seen, logits.shape, logits.shape[-1]), check.real("penalty", penalty, 1)
    out = logits.copy()
    for place in np.ndindex(*logits.shape[:-1]):
        for v in set(seen[place].tolist()):
            z = float(logits[(*place, v)])
            out[(*place, v)] = z / penalty if z > 0 else z * penalty            # eq. 30.11
    return out


def filter_logits(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """logits (..., V) and what to keep: logits / temperature (..., V), -inf for the others."""
    logits, how = check.logits(logits), check.choice(temperature, top_k, top_p, min_p)
    out = np.full(logits.shape, -np.inf, logits.dtype)
    for place in np.ndindex(*logits.shape[:-1]):
        row = [float(z) for z in logits[place]]
        if how.temperature == 0:
            best = row.index(max(row))
            out[(*place, best)] = logits[(*place, best)]
            continue
        least = _least([(z - max(row)) / how.temperature for z in row], how)
        for v, z in enumerate(row):
            if (z - max(row)) / how.temperature >= least:
                out[(*place, v)] = z / how.temperature
    return out


def _least(z, how):
    """What a logit has to reach; the largest of the list z is 0."""
    falling = sorted(z, reverse=True)[:how.top_k]
    falling = [v for v in sorted(z, reverse=True) if v >= falling[-1]]          # ties stay
    if how.top_p is not None:
        p, reached = [math.exp(v) for v in falling], 0.0
        for count, share in enumerate(p, 1):
            reached += share
            if reached >= how.top_p * sum(p):
                falling = falling[:count]                       # with the one that crosses, eq. 30.9
                break
    floor = -math.inf if how.min_p is None else math.log(how.min_p)             # eq. 30.10
    return max(falling[-1], floor)
