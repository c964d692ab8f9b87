# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:194cb1ba6ae0b10b
"""Flash attention, level 1: one pair at a time, in Python's floats. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t32_flash_attention.checks as check


def _dot(a, b):
    """Inner product of two lists."""
    return sum(x * y for x, y in zip(a, b))


def _keys(mask, causal, place, last, Tk):
    """The keys that a query may see; `place` is its row of the mask, `last` the last causal one."""
    stop = max(0, min(Tk, last + 1)) if causal else Tk
    return [j for j in range(stop) if mask is None or mask[place][j]]


def flash_attention(q, k, v, causal=False, scale=None, block_q=128, block_k=512, mask=None):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv): out (..., Tq, Dv), and a cache."""
    q, k, v, mask, scale, dtype, _ = check.arguments(q, k, v, causal, scale, block_q, block_k, mask)
    (*batch, Tq, _), (Tk, Dv) = q.shape, v.shape[-2:]
    out, rows = np.zeros((*batch, Tq, Dv)), {}
    for b in np.ndindex(*batch):
        Q, K, V = q[b].tolist(), k[b].tolist(), v[b].tolist()
        for i in range(Tq):
            m, total, a = -math.inf, 0.0, [0.0] * Dv            # eq. 32.1 of no keys
            for j in _keys(mask, causal, (*b, i), i + Tk - Tq, Tk):
                s = scale * _dot(Q[i], K[j])
                if s > m:
                    old = math.exp(m - s)                       # 0 at the first key
                    m, total, a = s, old * total, [old * x for x in a]
                e = math.exp(s - m)
                total += e                                      # eq. 32.2
                a = [x + e * y for x, y in zip(a, V[j])]
            out[b][i] = [x / total for x in a] if total else 0.0
            rows[(*b, i)] = m, total
    return out.astype(dtype), (q, k, v, mask, causal, scale, dtype, out, rows)


def flash_attention_backward(dout, cache):
    """dout (..., Tq, Dv): dq (..., Tq, D), dk (..., Tk, D), dv (..., Tk, Dv)."""
    q, k, v, mask, causal, scale, dtype, out, rows = cache
    dout = check.gradient(dout, out.shape, q.dtype)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    (Tq, Tk) = q.shape[-2], k.shape[-2]
    for b in np.ndindex(*q.shape[:-2]):
        Q, K, V, G = (x[b].tolist() for x in (q, k, v, dout))
        for i, g in enumerate(G):
            m, total = rows[(*b, i)]
            delta = _dot(g, out[b][i].tolist())                 # eq. 25.13
            for j in _keys(mask, causal, (*b, i), i + Tk - Tq, Tk):
                p = math.exp(scale * _dot(Q[i], K[j]) - m) / total
                ds = p * (_dot(g, V[j]) - delta)                # eq. 32.3
                dv[b][j] += [p * x for x in g]
                dq[b][i] += [scale * ds * x for x in K[j]]
                dk[b][j] += [scale * ds * x for x in Q[i]]
    return tuple(grad.astype(dtype) for grad in (dq, dk, dv))


def traffic(Tq, Tk, D, Dv, block_q, block_k, causal=False):
    """Numbers that one head moves, forward and backward: two ints, added up visit by visit."""
    Tq, Tk, D, Dv, block_q, block_k = check.sizes(Tq, Tk, D, Dv, block_q, block_k)
    forward, backward = 0, Tq * (2 * Dv + 1) + 2 * Tk * (D + Dv)
    for i in range(0, Tq, block_q):
        rows = min(block_q, Tq - i)
        forward += rows * (D + Dv + 2)
        for j in range(0, Tk, block_k):
            if not causal or j <= i + rows - 1 + Tk - Tq:       # eq. 32.4
                forward += min(block_k, Tk - j) * (D + Dv)
                backward += rows * (3 * D + Dv + 3)
    return forward, backward
