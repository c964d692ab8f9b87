# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:126427e626d18621
"""Flash attention, level 3: as many heads at once as fill a tile, every tile in the same buffers."""

import math
from typing import NamedTuple

import numpy as np

import tangled.t32_flash_attention.checks as check
from tangled.t32_flash_attention.level2_vectorized import _tiles, traffic

__all__ = ["flash_attention", "flash_attention_backward", "traffic"]

ROOM = 1 << 16                                                  # numbers in a buffer, at least a tile


class Heads(NamedTuple):
    """q (h, Tq, D), k (h, Tk, D), v (h, Tk, Dv); mask (..., Tq, Tk) of all or None; their place in it."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    mask: np.ndarray | None
    place: tuple
    causal: bool
    scale: float
    blocks: tuple

    def visible(self, rows, cols):
        """The mask of a tile, (h, rows, cols) or, of all heads, (rows, cols)."""
        return self.mask[(*self.place, rows, cols)]

    def seen(self, rows, cols):
        """The part of the keys `cols` that some of `rows` can see, a slice; None if there is none."""
        stop = min(cols.stop, rows.stop + self.k.shape[1] - self.q.shape[1]) if self.causal else cols.stop
        if stop <= cols.start or (
                self.mask is not None and not self.visible(rows, slice(cols.start, stop)).any()):
            return None                                         # eq. 32.4
        return slice(cols.start, stop)

    def scores(self, q, rows, cols, room):
        """Scores (h, rows, cols) of scaled queries (h, rows, D) in the buffer, -inf where masked."""
        shape = *q.shape[:2], cols.stop - cols.start
        s = room[:math.prod(shape)].reshape(shape)
        np.matmul(q, self.k[:, cols].swapaxes(1, 2), out=s)
        if self.mask is not None:
            np.copyto(s, -np.inf, where=~self.visible(rows, cols))
        offset = self.k.shape[1] - self.q.shape[1]
        if self.causal and cols.stop - 1 > rows.start + offset:
            first = max(cols.start, rows.start + offset + 1)    # before it everybody sees everything
            ahead = np.arange(first, cols.stop) > np.arange(rows.start, rows.stop)[:, None] + offset
            np.copyto(s[..., first - cols.start:], -np.inf, where=ahead)
        return s


def _at_once(q, k, blocks):
    """For q, k (G, T, D): how many heads one tile has room for, and the numbers of their scores."""
    tile = min(blocks[0], q.shape[1]) * min(blocks[1], k.shape[1])
    heads = max(1, min(math.prod(blocks), ROOM, len(q) * tile) // max(1, tile))
    return heads, heads * tile


def _heads(q, k, v, mask, *options):
    """(slice, `Heads`) for q, k, v (G, T, n)."""
    batch = () if mask is None else mask.shape[:-2]
    for part in _tiles(len(q), _at_once(q, k, options[-1])[0]):
        place = np.unravel_index(np.arange(part.start, part.stop), batch) if batch else ()
        yield part, Heads(q[part], k[part], v[part], mask, place, *options)


def _rooms(q, k, blocks):
    """Two buffers for a tile."""
    return np.empty((2, _at_once(q, k, blocks)[1]), q.dtype)


def flash_attention(q, k, v, causal=False, scale=None, block_q=128, block_k=512, mask=None):
    """As level 2, out (..., Tq, Dv) read-only; the cache holds q, k, v, out, two numbers a query."""
    q, k, v, mask, scale, dtype, blocks = check.arguments(q, k, v, causal, scale, block_q, block_k, mask)
    G, shape = math.prod(q.shape[:-2]), (*q.shape[:-1], v.shape[-1])
    given = *(x.reshape(G, *x.shape[-2:]) for x in (q, k, v)), mask, bool(causal), scale, blocks
    out = np.zeros((G, *shape[-2:]), q.dtype)
    top, share = np.zeros((2, *out.shape[:2], 1), q.dtype)
    room = _rooms(*given[:2], blocks)[0]
    for part, heads in _heads(*given):
        for rows in _tiles(shape[-2], blocks[0]):
            _forward_rows(heads, rows, room, out[part, rows], top[part, rows], share[part, rows])
    result = out.astype(dtype, copy=False).reshape(shape)
    result.flags.writeable = False                              # it is the cache's too
    return result, (given, out, top, share, shape, dtype)


def _forward_rows(heads, rows, room, out, top, share):
    """One tile of queries: fills its rows of out (h, rows, Dv), of top and of share (h, rows, 1)."""
    q = heads.q[:, rows] * heads.scale
    m, total, ones = (np.full_like(top, -np.inf), np.zeros_like(top),
                      np.ones((heads.blocks[1], 1), q.dtype))
    for cols in _tiles(heads.k.shape[1], heads.blocks[1]):
        cols = heads.seen(rows, cols)
        if cols is None:
            continue
        e = heads.scores(q, rows, cols, room)
        new = np.maximum(m, e.max(axis=2, keepdims=True))
        top[...] = np.where(new == -np.inf, 0, new)
        e -= top
        np.exp(e, out=e)
        old = np.exp(m - top)
        total *= old
        total += e @ ones[:e.shape[2]]                          # eq. 32.2
        out *= old
        out += e @ heads.v[:, cols]
        m = new
    np.divide(1, total, out=share, where=total != 0)
    out *= share


def flash_attention_backward(dout, cache):
    """As level 2, dout (..., Tq, Dv); the same two buffers for every tile."""
    given, out, top, share, shape, dtype = cache
    dout = check.gradient(dout, shape, out.dtype).reshape(out.shape)
    grads = [np.zeros(x.shape, x.dtype) for x in given[:3]]
    rooms = _rooms(*given[:2], given[-1])
    for part, heads in _heads(*given):
        _backward_heads(heads, (dout[part], out[part], top[part], share[part]),
                        [grad[part] for grad in grads], rooms)
    return tuple(grad.astype(dtype, copy=False).reshape(*shape[:-2], *grad.shape[1:]) for grad in grads)


def _backward_heads(heads, kept, grads, rooms):
    """Adds to dq (h, Tq, D), dk (h, Tk, D) and dv (h, Tk, Dv); eq. 32.3."""
    (dout, out, top, share), (dq, dk, dv) = kept, grads
    delta = np.vecdot(dout, out)[..., None] * share             # eq. 25.13, over l
    for cols in _tiles(heads.k.shape[1], heads.blocks[1]):
        for rows in _tiles(heads.q.shape[1], heads.blocks[0]):
            seen = heads.seen(rows, cols)
            if seen is None:
                continue
            q, g = heads.q[:, rows] * heads.scale, dout[:, rows] * share[:, rows]
            e = heads.scores(q, rows, seen, rooms[0])
            e -= top[:, rows]
            np.exp(e, out=e)
            ds = rooms[1][:e.size].reshape(e.shape)
            np.matmul(g, heads.v[:, seen].swapaxes(1, 2), out=ds)
            ds -= delta[:, rows]
            ds *= e
            dv[:, seen] += e.swapaxes(1, 2) @ g
            dk[:, seen] += ds.swapaxes(1, 2) @ q
            dq[:, rows] += ds @ heads.k[:, seen]
    dq *= heads.scale
