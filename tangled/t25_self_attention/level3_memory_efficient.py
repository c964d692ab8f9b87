# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:453f36021ff66ccc
"""Self-attention, level 3: blocks of rows, the visible part of causal scores only, nothing of size Tq x Tk."""

import math
from typing import NamedTuple

import numpy as np

import tangled.t25_self_attention.checks as check
from tangled.t25_self_attention import level2_vectorized as plain
from tangled.t25_self_attention.level2_vectorized import causal_mask, padding_mask, window_mask

__all__ = ["attention", "attention_backward", "causal_mask", "masked_softmax", "padding_mask",
           "softmax_backward", "window_mask"]

ROWS, ENTRIES = 64, 1 << 17                                     # of a block of scores


def masked_softmax(scores, mask=None):
    """As level 2, in one array like scores (..., T)."""
    scores, mask, dtype = check.scores(scores, mask)
    p = np.array(scores)
    if mask is not None:
        np.copyto(p, -np.inf, where=~mask)
    top = p.max(axis=-1, keepdims=True, initial=-np.inf)
    top[top == -np.inf] = 0
    with np.errstate(invalid="ignore"):
        p -= top
        np.exp(p, out=p)
        total = p.sum(axis=-1, keepdims=True)
        total[total == 0] = 1
        p /= total
    if mask is not None:
        np.copyto(p, 0, where=~mask)
    return p.astype(dtype, copy=False)


def softmax_backward(dp, p):
    """As level 2, in one array like p (..., T)."""
    dp, p, dtype = check.weights(dp, p)
    ds, nothing = np.array(dp), p == 0
    np.copyto(ds, 0, where=nothing)
    with np.errstate(invalid="ignore", over="ignore"):
        ds -= np.einsum("...t,...t->...", p, ds)[..., None]
        ds *= p
    np.copyto(ds, 0, where=nothing)
    return ds.astype(dtype, copy=False)


class Heads(NamedTuple):
    """q (G, Tq, D), k (G, Tk, D), v (G, Tk, Dv); mask (*batch, Tq, Tk), a view, or None; see `_future`."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None
    causal: bool
    scale: float
    future: np.ndarray | None

    def blocks(self):
        """(heads, rows, n): two slices, and how many keys these rows can see, unless it is none."""
        (G, Tq, _), Tk, many = self.q.shape, self.k.shape[1], self.together()
        for g in range(0, G, many):
            for i in range(0, Tq, ROWS):
                rows = slice(i, min(i + ROWS, Tq))
                n = rows.stop + Tk - Tq if self.causal else Tk  # eq. 25.6
                if n > 0:
                    yield slice(g, min(g + many, G)), rows, n

    def together(self):
        """How many heads make a block, all of their keys counted."""
        G, Tq, _ = self.q.shape
        return max(1, min(G, ENTRIES // max(1, min(ROWS, Tq) * self.k.shape[1])))

    def room(self):
        """Two buffers for a block."""
        size = self.together() * min(ROWS, self.q.shape[1]) * self.k.shape[1]
        return np.empty((2, size), self.q.dtype)

    def allowed(self, g, rows, n):
        """What the mask alone lets rows of the heads g see: (heads, rows, n), bool."""
        batch = self.mask.shape[:-2]
        places = (np.unravel_index(k, batch) for k in range(g.start, g.stop))
        return np.stack([self.mask[place][rows, :n] for place in places])

    def ahead(self, rows, n):
        """Which of the first n keys come after a row: (rows, n), bool."""
        at = np.arange(rows.start, rows.stop)[:, None] + (self.k.shape[1] - self.q.shape[1])
        return np.arange(n) > at

    def scores(self, g, rows, n, room):
        """Scaled queries (heads, rows, D); their scores (heads, rows, n) in room, -inf where masked."""
        q = self.q[g, rows] * self.scale
        s = room[:q.shape[0] * q.shape[1] * n].reshape(*q.shape[:2], n)
        np.matmul(q, self.k[g, :n].swapaxes(1, 2), out=s)
        if self.mask is not None:
            s += np.where(self.allowed(g, rows, n), s.dtype.type(0), s.dtype.type(-np.inf))
        if self.causal:
            many = rows.stop - rows.start
            s[..., -many:] += self.future[:many, max(0, many - n):many]
        return q, s

    def exactly(self, g, rows, n):
        """Level 2's out and cache for a block."""
        mask = None if self.mask is None else self.allowed(g, rows, n)
        if self.causal:
            mask = ~self.ahead(rows, n) if mask is None else mask & ~self.ahead(rows, n)
        return plain.attention(self.q[g, rows], self.k[g, :n], self.v[g, :n], mask, scale=self.scale)


def _future(size, dtype):
    """What to add to the last scores of a causal block: -inf above the diagonal, (size, size)."""
    places = np.arange(size)
    return np.where(places > places[:, None], dtype.type(-np.inf), dtype.type(0))


@np.errstate(invalid="ignore", over="ignore")
def attention(q, k, v, mask=None, causal=False, scale=None):
    """As level 2; the cache holds q, k, v, out and two numbers for each query."""
    q, k, v, mask, scale, dtype = check.heads(q, k, v, mask, causal, scale)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    G, shape = math.prod(q.shape[:-2]), (*q.shape[:-1], v.shape[-1])
    heads = Heads(*(x.reshape(G, *x.shape[-2:]) for x in (q, k, v)), mask, bool(causal), scale,
                  _future(min(ROWS, q.shape[-2]), q.dtype) if causal else None)
    out = np.zeros((G, *shape[-2:]), q.dtype)
    top, share = np.zeros((2, *out.shape[:2], 1), q.dtype)      # m and 1 / l of each row
    room, ones = heads.room()[0], np.ones((k.shape[-2], 1), q.dtype)
    for g, rows, n in heads.blocks():
        _, e = heads.scores(g, rows, n, room)
        m = e.max(axis=-1, keepdims=True)
        m[m == -np.inf] = 0
        e -= m
        np.exp(e, out=e)
        total = e @ ones[:n]                                    # (heads, rows, 1)
        np.divide(1, total, out=share[g, rows], where=total != 0)
        o = e @ heads.v[g, :n]
        o *= share[g, rows]                                     # eq. 25.16
        top[g, rows] = m
        out[g, rows] = o if np.isfinite(o).all() else heads.exactly(g, rows, n)[0]
    return out.astype(dtype).reshape(shape), (heads, out, top, share, shape, dtype)


@np.errstate(invalid="ignore", over="ignore")
def attention_backward(dout, cache):
    """As level 2; the scores are computed again, a block at a time."""
    heads, out, top, share, shape, dtype = cache
    dout = check.gradient(dout, shape, out.dtype).reshape(out.shape)
    dq, dk, dv = (np.zeros(x.shape, x.dtype) for x in heads[:3])
    finite = np.isfinite(heads.q.sum())                         # or 0 * inf in dk, where dq shows nothing
    rooms = heads.room()
    for g, rows, n in heads.blocks():
        grads = _block_backward(heads, dout, out, top, share, (g, rows, n), rooms) if finite else None
        if grads is None or not np.isfinite(grads[0]).all():
            grads = plain.attention_backward(dout[g, rows], heads.exactly(g, rows, n)[1])
        dq[g, rows] = grads[0]
        dk[g, :n] += grads[1]
        dv[g, :n] += grads[2]
    return tuple([grad.astype(dtype, copy=False).reshape(*shape[:-2], *grad.shape[1:])
                  for grad in (dq, dk, dv)])


def _block_backward(heads, dout, out, top, share, block, rooms):
    """dq (heads, rows, D), parts of dk (heads, n, D), dv (heads, n, Dv); eq. 25.17."""
    g, rows, n = block
    q, e = heads.scores(g, rows, n, rooms[0])
    e -= top[g, rows]
    np.exp(e, out=e)
    grad = dout[g, rows] * share[g, rows]                       # (heads, rows, Dv)
    ds = rooms[1][:e.size].reshape(e.shape)
    np.matmul(grad, heads.v[g, :n].swapaxes(1, 2), out=ds)
    ds -= np.vecdot(grad, out[g, rows])[..., None]           # eq. 25.13
    ds *= e
    dq = ds @ heads.k[g, :n]
    dq *= heads.scale
    return dq, ds.swapaxes(1, 2) @ q, e.swapaxes(1, 2) @ grad
