# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:fad50ae5d7e522c2
"""Flash attention, level 3: one head at a time, every tile in the same buffers; nothing of size Tq x Tk."""

import math
from typing import NamedTuple

import numpy as np

import tangled.t32_flash_attention.checks as check
from tangled.t32_flash_attention.level2_vectorized import _tiles, traffic

__all__ = ["flash_attention", "flash_attention_backward", "traffic"]


class Head(NamedTuple):
    """q (Tq, D), k (Tk, D), v (Tk, Dv), mask (Tq, Tk) or None; sizes of a tile."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None
    causal: bool
    scale: float
    blocks: tuple

    def seen(self, rows, cols):
        """The part of the keys `cols` that some of `rows` can see, a slice; None if there is none."""
        stop = min(cols.stop, rows.stop + len(self.k) - len(self.q)) if self.causal else cols.stop
        if stop <= cols.start or (self.mask is not None and not self.mask[rows, cols.start:stop].any()):
            return None                                         # eq. 32.4
        return slice(cols.start, stop)

    def scores(self, q, rows, cols, room):
        """Scores (rows, cols) of scaled queries (rows, D) in the buffer, -inf where masked."""
        s = room[:len(q) * (cols.stop - cols.start)].reshape(len(q), -1)
        np.matmul(q, self.k[cols].T, out=s)
        if self.mask is not None:
            np.copyto(s, -np.inf, where=~self.mask[rows, cols])
        offset = len(self.k) - len(self.q)
        if self.causal and cols.stop - 1 > rows.start + offset:
            first = max(cols.start, rows.start + offset + 1)    # before it everybody sees everything
            ahead = np.arange(first, cols.stop) > np.arange(rows.start, rows.stop)[:, None] + offset
            np.copyto(s[:, first - cols.start:], -np.inf, where=ahead)
        return s


def _heads(q, k, v, mask, causal, scale, blocks):
    """A `Head` for each of q, k, v (G, T, n)."""
    batch = () if mask is None else mask.shape[:-2]
    for g in range(len(q)):
        of_head = None if mask is None else mask[np.unravel_index(g, batch)]
        yield Head(q[g], k[g], v[g], of_head, causal, scale, blocks)


def _room(q, k, blocks, dtype):
    """Two buffers for a tile."""
    return np.empty((2, min(blocks[0], q.shape[1]) * min(blocks[1], k.shape[1])), dtype)


def flash_attention(q, k, v, causal=False, scale=None, block_q=128, block_k=512, mask=None):
    """As level 2, out (..., Tq, Dv) read-only; the cache holds q, k, v, out and two numbers for each query."""
    q, k, v, mask, scale, dtype, blocks = check.arguments(q, k, v, causal, scale, block_q, block_k, mask)
    G, shape = math.prod(q.shape[:-2]), (*q.shape[:-1], v.shape[-1])
    given = *(x.reshape(G, *x.shape[-2:]) for x in (q, k, v)), mask, bool(causal), scale, blocks
    out = np.zeros((G, *shape[-2:]), q.dtype)
    top, share = np.zeros((2, *out.shape[:2], 1), q.dtype)
    room = _room(*given[:2], blocks, q.dtype)[0]
    for g, head in enumerate(_heads(*given)):
        for rows in _tiles(len(head.q), blocks[0]):
            _forward_rows(head, rows, room, out[g, rows], top[g, rows], share[g, rows])
    result = out.astype(dtype, copy=False).reshape(shape)
    result.flags.writeable = False                              # it is the cache's too
    return result, (given, out, top, share, shape, dtype)


def _forward_rows(head, rows, room, out, top, share):
    """One tile of queries: fills its rows of out (rows, Dv), of top and of share (rows, 1)."""
    q = head.q[rows] * head.scale
    m, total, ones = np.full_like(top, -np.inf), np.zeros_like(top), np.ones((head.blocks[1], 1), q.dtype)
    for cols in _tiles(len(head.k), head.blocks[1]):
        cols = head.seen(rows, cols)
        if cols is None:
            continue
        e = head.scores(q, rows, cols, room)
        new = np.maximum(m, e.max(axis=1, keepdims=True))
        top[...] = np.where(new == -np.inf, 0, new)
        e -= top
        np.exp(e, out=e)
        old = np.exp(m - top)
        total *= old
        total += e @ ones[:e.shape[1]]                          # eq. 32.2
        out *= old
        out += e @ head.v[cols]
        m = new
    np.divide(1, total, out=share, where=total != 0)
    out *= share


def flash_attention_backward(dout, cache):
    """As level 2, dout (..., Tq, Dv); the same two buffers for every tile."""
    given, out, top, share, shape, dtype = cache
    dout = check.gradient(dout, shape, out.dtype).reshape(out.shape)
    grads = [np.zeros(x.shape, x.dtype) for x in given[:3]]
    rooms = _room(*given[:2], given[-1], out.dtype)
    for g, head in enumerate(_heads(*given)):
        _backward_head(head, (dout[g], out[g], top[g], share[g]), [grad[g] for grad in grads], rooms)
    return tuple(grad.astype(dtype, copy=False).reshape(*shape[:-2], *grad.shape[1:]) for grad in grads)


def _backward_head(head, kept, grads, rooms):
    """Adds to dq (Tq, D), dk (Tk, D) and dv (Tk, Dv); eq. 32.3."""
    (dout, out, top, share), (dq, dk, dv) = kept, grads
    delta = np.einsum("td,td->t", dout, out)[:, None] * share   # eq. 25.13, over l
    for cols in _tiles(len(head.k), head.blocks[1]):
        for rows in _tiles(len(head.q), head.blocks[0]):
            seen = head.seen(rows, cols)
            if seen is None:
                continue
            q, g = head.q[rows] * head.scale, dout[rows] * share[rows]
            e = head.scores(q, rows, seen, rooms[0])
            e -= top[rows]
            np.exp(e, out=e)
            ds = rooms[1][:e.size].reshape(e.shape)
            np.matmul(g, head.v[seen].T, out=ds)
            ds -= delta[rows]
            ds *= e
            dv[seen] += e.T @ g
            dk[seen] += ds.T @ q
            dq[rows] += ds @ head.k[seen]
    dq *= head.scale
