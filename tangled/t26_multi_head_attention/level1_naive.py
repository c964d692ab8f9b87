# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:4754ee43dc9d4ded
"""Multi-head attention, level 1: one sample and one head at a time. Shapes and errors as in level 2."""

import numpy as np

import tangled.t26_multi_head_attention.checks as check
from tangled.t25_self_attention.level1_naive import attention, attention_backward, window_mask


def _product(a, b):
    """a (M, K) times b (K, N), entry by entry: (M, N), float64."""
    columns = [b[:, j].tolist() for j in range(b.shape[1])]
    rows = [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a.tolist()]
    return np.array(rows, float).reshape(len(a), b.shape[1])


def _shifted(a, b):
    """a (M, N) plus b (N,), or a where b is None."""
    if b is None:
        return a
    return np.array([[x + y for x, y in zip(row, b.tolist())] for row in a.tolist()])


def _column_sums(a):
    """a (M, N): (N,)."""
    return np.array([sum(a[:, j].tolist()) for j in range(a.shape[1])])


def split_heads(x, num_heads):
    """x (B, T, D) to (B, H, T, d); a copy at this level."""
    x, H = check.split(x, num_heads)
    B, T, D = x.shape
    out = np.empty((B, H, T, D // H), x.dtype)
    for n, t, c in np.ndindex(x.shape):
        out[n, c // (D // H), t, c % (D // H)] = x[n, t, c]    # eq. 26.6
    return out


def merge_heads(x):
    """x (B, H, T, d) to (B, T, H d)."""
    x = check.floats("x", x, ("B", "H", "T", "d"))
    B, H, T, d = x.shape
    out = np.empty((B, T, H * d), x.dtype)
    for n, h, t, i in np.ndindex(x.shape):
        out[n, t, h * d + i] = x[n, h, t, i]
    return out


def repeat_kv(k, groups):
    """k (B, Hk, S, d) to (B, Hk groups, S, d)."""
    k, g = check.groups("k", k, groups, repeated=False)
    heads = [k[:, h // g] for h in range(g * k.shape[1])]       # eq. 26.9
    return np.stack(heads, axis=1) if heads else k.copy()


def repeat_kv_backward(dk, groups):
    """dk (B, H, S, d) to (B, H / groups, S, d)."""
    dk, g = check.groups("dk", dk, groups, repeated=True)
    B, H, S, d = dk.shape
    out = np.zeros((B, H // g, S, d), check.working(dk.dtype))
    for h in range(H):
        out[:, h // g] += dk[:, h]                              # eq. 26.10
    return out.astype(dk.dtype)


def multi_head_attention(x, w_q, w_k, w_v, w_o, b_q=None, b_k=None, b_v=None, b_o=None, *, num_heads,
                         num_kv_heads=None, context=None, mask=None, causal=False):
    """x (B, T, D), weights and biases as in level 2: out (B, T, D), cache."""
    given = check.arguments(x, (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o), num_heads, num_kv_heads,
                            context, mask, causal)
    B, T, _, D, d = given.sizes
    out, caches = np.zeros((B, T, D)), {}
    for n in range(B):
        for h in range(given.heads):
            head, cache = attention(*_inputs_of(given, n, h), _mask_of(given, n, h), given.causal)
            out[n] += _product(head, given.weights[3][h * d:(h + 1) * d])       # eq. 26.2
            caches[n, h] = head, cache
        out[n] = _shifted(out[n], given.biases[3])
    return out.astype(given.dtype), (given, caches)


def _columns(given, h):
    """Where head h has its columns: of w_q, of w_k, of w_v, three slices."""
    d, m = given.x.shape[2] // given.heads, h // (given.heads // given.kv_heads)       # eq. 26.9
    return slice(h * d, (h + 1) * d), slice(m * d, (m + 1) * d), slice(m * d, (m + 1) * d)


def _inputs_of(given, n, h):
    """q (T, d), k (S, d), v (S, d) of sample n and head h."""
    places = (given.x, given.source, given.source), given.weights, given.biases, _columns(given, h)
    return [_shifted(_product(a[n], w[:, part]), None if b is None else b[part])
            for a, w, b, part in zip(*places)]


def _mask_of(given, n, h):
    """What the mask says to sample n and head h: an array of two axes, or None."""
    mask = given.mask
    if mask is None or mask.ndim == 2:
        return mask
    mask = mask[n % len(mask)]                                  # a first axis of 1 is for all samples
    return mask if mask.ndim == 2 else mask[h % len(mask)]


def multi_head_attention_backward(dout, cache):
    """dout (B, T, D): dx, dw_q, dw_k, dw_v, dw_o, the db that there are, dcontext if there is one."""
    given, caches = cache
    B, T, _, D, d = given.sizes
    dout = check.gradient(dout, (B, T, D), given.x.dtype).astype(float)
    dx, dsource = np.zeros(given.x.shape), np.zeros(given.source.shape)
    dw = [np.zeros(w.shape) for w in given.weights]
    db = [np.zeros(w.shape[1]) for w in given.weights]
    for (n, h), (head, kept) in caches.items():
        rows = slice(h * d, (h + 1) * d)
        dw[3][rows] += _product(head.T, dout[n])                # eq. 26.7
        dhead = _product(dout[n], given.weights[3][rows].T)     # (T, d)
        for k, (part, grad) in enumerate(zip(_columns(given, h), attention_backward(dhead, kept))):
            into, place = (dx, given.x) if k == 0 else (dsource, given.source)
            into[n] += _product(grad, given.weights[k][:, part].T)              # eq. 26.8
            dw[k][:, part] += _product(place[n].T, grad)
            db[k][part] += _column_sums(grad)
    for n in range(B):
        db[3] += _column_sums(dout[n])
    first = dx if given.crossed else dx + dsource               # x was used three times
    grads = [first, *dw, *(g for g, b in zip(db, given.biases) if b is not None)]
    return tuple(g.astype(given.dtype) for g in grads + [dsource] * given.crossed)


def window_attention(q, k, v, window, sinks=0):
    """q, k (B, H, T, d), v (B, H, T, e): out (B, H, T, e), cache; all pairs, under a mask."""
    q, k, v, window, sinks = check.window(q, k, v, window, sinks)
    return attention(q, k, v, window_mask(q.shape[2], q.shape[2], window, sinks))


def window_attention_backward(dout, cache):
    """dout (B, H, T, e): dq, dk, dv."""
    return attention_backward(dout, cache)
