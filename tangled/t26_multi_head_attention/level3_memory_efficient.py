# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:89bfe9fd81bdf18e
"""Multi-head attention, level 3: one product for all projections, keys never repeated, windows in blocks."""

import numpy as np

import tangled.t26_multi_head_attention.checks as check
from tangled.t25_self_attention.level3_memory_efficient import attention, attention_backward
from tangled.t26_multi_head_attention import level2_vectorized as plain
from tangled.t26_multi_head_attention.level2_vectorized import (
    from_pytorch,
    merge_heads,
    repeat_kv,
    repeat_kv_backward,
    split_heads,
    to_pytorch,
)

__all__ = ["MultiHeadAttention", "from_pytorch", "merge_heads", "multi_head_attention",
           "multi_head_attention_backward", "repeat_kv", "repeat_kv_backward", "split_heads", "to_pytorch",
           "window_attention", "window_attention_backward"]

ROWS = 64                                                       # least rows of a block of a window


def _project(x, weights, biases):
    """x (B, T, C) times all of them at once: (B, T, n), and the matrix (C, n)."""
    w = weights[0] if len(weights) == 1 else np.concatenate(weights, axis=1)
    out = x.reshape(-1, x.shape[2]) @ w                         # (B T, n)    eq. 26.15
    if any(b is not None for b in biases):
        out += np.concatenate([np.zeros(m.shape[1], out.dtype) if b is None else b
                               for m, b in zip(weights, biases)])
    return out.reshape(*x.shape[:2], w.shape[1]), w


def _project_backward(dout, x, w, widths):
    """dout (B, T, n): dx (B, T, C), and the gradients of the weights and biases, lists."""
    rows, drows = x.reshape(-1, x.shape[2]), dout.reshape(-1, dout.shape[2])
    ends = np.cumsum(widths)[:-1]
    dw, db = rows.T @ drows, np.ones(len(drows), drows.dtype) @ drows
    dx = (drows @ w.T).reshape(x.shape)                         # eq. 26.15
    return dx, [a.copy() for a in np.split(dw, ends, axis=1)], [a.copy() for a in np.split(db, ends)]


def _by_head(x, start, heads, d):
    """A view (B, heads, T, d) of the features of x (B, T, n) from head `start` on."""
    return x[..., start * d:(start + heads) * d].reshape(*x.shape[:2], heads, d).swapaxes(1, 2)


def _mask_of_round(given, j):
    """The mask of the heads j, g + j, ...: something that broadcasts to (B, Hk, T, S), or None."""
    mask = given.mask
    if mask is None or mask.ndim == 2:
        return mask
    if mask.ndim == 3:
        return mask[:, None]
    return mask if mask.shape[1] == 1 else mask[:, j::given.heads // given.kv_heads]


def multi_head_attention(x, w_q, w_k, w_v, w_o, b_q=None, b_k=None, b_v=None, b_o=None, *, num_heads,
                         num_kv_heads=None, context=None, mask=None, causal=False):
    """As level 2, x (B, T, D): keys are held once, scores a block at a time."""
    given = check.arguments(x, (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o), num_heads, num_kv_heads,
                            context, mask, causal)
    (B, T, _, D, d), H, kv = given.sizes, given.heads, given.kv_heads
    weights, biases, g = given.weights[:3], given.biases[:3], H // kv
    if given.crossed:
        q, *w = _project(given.x, weights[:1], biases[:1])
        pairs, w_pairs = _project(given.source, weights[1:], biases[1:])
        w, start = (*w, w_pairs), 0
    else:
        q, *w = _project(given.x, weights, biases)
        pairs, start = q, H
    k = np.ascontiguousarray(_by_head(pairs, start, kv, d))     # (B, Hk, S, d), once for all rounds
    v = np.ascontiguousarray(_by_head(pairs, start + kv, kv, d))
    q, merged, caches = _by_head(q, 0, H, d), np.empty((B, T, H, d), given.x.dtype), []
    for j in range(g):
        head, cache = attention(q[:, j::g], k, v, _mask_of_round(given, j), given.causal)
        merged[:, :, j::g] = head.swapaxes(1, 2)
        caches.append(cache)
    out, w_o = _project(merged.reshape(B, T, D), given.weights[3:], given.biases[3:])
    return out.astype(given.dtype, copy=False), (given, caches, merged, (*w, w_o))


def multi_head_attention_backward(dout, cache):
    """As level 2, dout (B, T, D); gradients of shared keys add up over the rounds."""
    given, caches, merged, w = cache
    (B, T, S, D, d), H, kv = given.sizes, given.heads, given.kv_heads
    dout, g, work = check.gradient(dout, given.x.shape, given.x.dtype), H // kv, given.x.dtype
    dmerged, of_wo, of_bo = _project_backward(dout, merged.reshape(B, T, D), w[-1], [D])
    dmerged = _by_head(dmerged, 0, H, d)                        # (B, H, T, d)
    if given.crossed:
        dq, pairs = np.empty((B, T, H, d), work), np.empty((B, S, 2, kv, d), work)
    else:
        together = np.empty((B, T, H + 2 * kv, d), work)
        dq, pairs = together[:, :, :H], together[:, :, H:].reshape(B, T, 2, kv, d)
    for j, kept in enumerate(caches):
        of_q, *of_pairs = attention_backward(dmerged[:, j::g], kept)
        dq[:, :, j::g] = of_q.swapaxes(1, 2)
        for k, grad in enumerate(of_pairs):
            if j == 0:
                pairs[:, :, k] = grad.swapaxes(1, 2)
            else:
                pairs[:, :, k] += grad.swapaxes(1, 2)           # eq. 26.10
    if given.crossed:
        dx, of_w, of_b = _project_backward(dq.reshape(B, T, D), given.x, w[0], [D])
        dsource, more_w, more_b = _project_backward(
            pairs.reshape(B, S, 2 * kv * d), given.source, w[1], [kv * d] * 2)
        of_w, of_b, last = of_w + more_w, of_b + more_b, [dsource]
    else:
        dx, of_w, of_b = _project_backward(
            together.reshape(B, T, (H + 2 * kv) * d), given.x, w[0], [D, kv * d, kv * d])
        last = []
    biases = [db for db, b in zip(of_b + of_bo, given.biases) if b is not None]
    return tuple(a.astype(given.dtype, copy=False) for a in [dx, *of_w, *of_wo, *biases, *last])


class MultiHeadAttention(plain.MultiHeadAttention):
    """As level 2, on the op above; with dropout in training it is level 2's."""

    _op, _op_backward = staticmethod(multi_head_attention), staticmethod(multi_head_attention_backward)


def _bands(T, window, sinks):
    """(rows, band, extra): slices of queries and of keys, and how many sinks stand before the band."""
    step = max(window, ROWS)
    for a in range(0, T, step):
        first = max(0, a - window + 1)
        yield slice(a, min(a + step, T)), slice(first, min(a + step, T)), min(sinks, first)


def _seen(rows, band, extra, window, sinks):
    """(rows, extra + band), bool: eq. 26.12 for these rows and keys."""
    at = np.arange(rows.start, rows.stop)[:, None]
    keys = np.concatenate([np.arange(extra), np.arange(band.start, band.stop)])
    return (keys <= at) & ((keys > at - window) | (keys < sinks))


def window_attention(q, k, v, window, sinks=0):
    """As level 2, (B, H, T, d): O(T (window + sinks)) products and no array of T x T."""
    q, k, v, window, sinks = check.window(q, k, v, window, sinks)
    out, caches = np.empty(v.shape, v.dtype), []
    for rows, band, extra in _bands(q.shape[2], window, sinks):
        near = [np.concatenate([a[:, :, :extra], a[:, :, band]], axis=2) if extra else a[:, :, band]
                for a in (k, v)]
        out[:, :, rows], cache = attention(q[:, :, rows], *near, _seen(rows, band, extra, window, sinks))
        caches.append((rows, band, extra, cache))
    return out, (caches, k.shape, out.dtype)


def window_attention_backward(dout, cache):
    """As level 2, dout (B, H, T, e): each block adds to the keys that it saw."""
    caches, shape, dtype = cache
    e = np.asarray(dout).shape[-1:] or (0,)
    dout = check.floats("dout", dout, ("B", "H", "T", "e"))
    if dout.shape[:3] != shape[:3]:
        raise ValueError(f"dout has shape {dout.shape}; expected {(*shape[:3], *e)}")
    work = check.working(dtype)
    dq, dk, dv = np.empty(shape, dtype), np.zeros(shape, work), np.zeros(dout.shape, work)
    for rows, band, extra, kept in caches:
        dq[:, :, rows], *grads = attention_backward(dout[:, :, rows], kept)
        for total, grad in zip((dk, dv), grads):
            total[:, :, :extra] += grad[:, :, :extra]
            total[:, :, band] += grad[:, :, extra:]
    return dq, dk.astype(dtype, copy=False), dv.astype(dtype, copy=False)
