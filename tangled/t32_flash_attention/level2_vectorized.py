# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:88164504fb1af53a
"""Flash attention, level 2: tiles of scores, for all heads at once; every load and store is counted."""

from typing import NamedTuple

import numpy as np

import tangled.t32_flash_attention.checks as check


class Memory:
    """Counts the bytes that pass between whole arrays and the tiles at work."""

    def __init__(self):
        self.bytes = 0

    def load(self, x, rows):
        """The tile (..., rows, n) of x (..., T, n)."""
        self.bytes += x[..., rows, :].nbytes
        return x[..., rows, :]

    def store(self, x, rows, tile):
        """Put a tile (..., rows, n) into x (..., T, n)."""
        self.bytes += tile.nbytes
        x[..., rows, :] = tile


def _tiles(n, size):
    """Slices of `size` that cover 0 to n; the last may be shorter."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


class Saved(NamedTuple):
    """What backward needs: q, k, v and out; m and 1 / l of each row, (..., Tq, 1); the options."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    out: np.ndarray
    top: np.ndarray
    share: np.ndarray
    mask: np.ndarray | None
    causal: bool
    scale: float
    blocks: tuple
    dtype: np.dtype
    moved: dict

    def skipped(self, rows, cols):
        """Whether all of a tile lies ahead of all of its queries."""
        if not self.causal:
            return False
        offset = self.k.shape[-2] - self.q.shape[-2]
        return cols.start > rows.stop - 1 + offset                      # eq. 32.4

    def scores(self, q, k, rows, cols):
        """Scores (..., rows, cols) of scaled queries (..., rows, D), -inf where masked."""
        s = q @ k.swapaxes(-1, -2)
        if self.mask is not None:
            s = np.where(self.mask[..., rows, cols], s, -np.inf)
        if self.causal:
            at = np.arange(rows.start, rows.stop)[:, None] + self.k.shape[-2] - self.q.shape[-2]
            s = np.where(np.arange(cols.start, cols.stop) <= at, s, -np.inf)
        return s


def flash_attention(q, k, v, causal=False, scale=None, block_q=128, block_k=512, mask=None):
    """Scaled dot-product attention in tiles, exact.

    Dao et al. (2022), algorithm 1, in the order of Dao (2024), algorithm 1; eq. 32.2.

    Parameters
    ----------
    q : ndarray of shape (..., Tq, D), floating
    k : ndarray of shape (..., Tk, D), in the dtype of q
    v : ndarray of shape (..., Tk, Dv), in the dtype of q
    causal : bool, the last query at the last key
    scale : float, or None for 1 / sqrt(D)
    block_q, block_k : int, queries and keys in a tile
    mask : ndarray of bool that broadcasts to (..., Tq, Tk), True where a query may attend; or None

    Returns
    -------
    out : ndarray of shape (..., Tq, Dv), in the dtype of q; zeros for a query that sees nothing
    cache : for `flash_attention_backward`; `cache.moved` has the bytes moved, by pass

    Raises
    ------
    ValueError : if a shape, a dtype or a size is not as above
    """
    q, k, v, mask, scale, dtype, blocks = check.arguments(q, k, v, causal, scale, block_q, block_k, mask)
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    top, share = np.zeros((2, *q.shape[:-1], 1), q.dtype)
    saved = Saved(q, k, v, out.copy(), top, share, mask, causal, scale, blocks, dtype, {})
    memory = Memory()
    for rows in _tiles(q.shape[-2], blocks[0]):
        o = _forward_rows(saved, memory, rows)                  # (..., rows, Dv)
        memory.store(saved.out, rows, o)
        out[..., rows, :] = o                                   # the caller's own
    saved.moved["forward"] = memory.bytes
    return out.astype(dtype, copy=False), saved


def _forward_rows(saved, memory, rows):
    """One tile of queries against all keys: its rows of the output (..., rows, Dv)."""
    q = memory.load(saved.q, rows) * saved.scale                # (..., rows, D)
    top = np.full((*q.shape[:-1], 1), -np.inf, q.dtype)             # (..., rows, 1), eq. 32.1 of no keys
    total, summed = np.zeros_like(top), np.zeros((*q.shape[:-1], saved.v.shape[-1]), q.dtype)
    for cols in _tiles(saved.k.shape[-2], saved.blocks[1]):
        if saved.skipped(rows, cols):
            continue
        k, v = memory.load(saved.k, cols), memory.load(saved.v, cols)
        s = saved.scores(q, k, rows, cols)                      # (..., rows, cols)
        new = np.maximum(top, s.max(axis=-1, keepdims=True))            # (..., rows, 1)
        shift = np.where(new == -np.inf, 0, new)                        # where nothing has been seen
        e = np.exp(s - shift)
        old = np.exp(top - shift)                                       # 0 at the first visible tile
        total, summed = old * total, old * summed
        total = total + e.sum(axis=-1, keepdims=True)           # eq. 32.2
        summed = summed + e @ v
        top = new
    share = 1 / np.where(total == 0, 1, total)
    memory.store(saved.top, rows, np.where(top == -np.inf, 0, top))
    memory.store(saved.share, rows, share)
    return summed * share


def flash_attention_backward(dout, cache):
    """Gradients of `flash_attention`, the scores computed again; eq. 32.3.

    Parameters
    ----------
    dout : ndarray of shape (..., Tq, Dv)
    cache : from `flash_attention`

    Returns
    -------
    dq : ndarray of shape (..., Tq, D)
    dk : ndarray of shape (..., Tk, D)
    dv : ndarray of shape (..., Tk, Dv)
    """
    dout = check.gradient(dout, cache.out.shape, cache.q.dtype)
    memory, (dq, dk, dv) = Memory(), (np.zeros_like(x, order="C") for x in cache[:3])
    delta = np.zeros_like(cache.top)
    for rows in _tiles(cache.q.shape[-2], cache.blocks[0]):
        g, o = memory.load(dout, rows), memory.load(cache.out, rows)
        d = (g * o).sum(axis=-1, keepdims=True)                         # (..., rows, 1), eq. 25.13
        memory.store(delta, rows, d)
    for cols in _tiles(cache.k.shape[-2], cache.blocks[1]):
        dk_j, dv_j = _backward_columns(cache, memory, cols, dout, delta, dq)
        memory.store(dk, cols, dk_j)
        memory.store(dv, cols, dv_j)
    cache.moved["backward"] = memory.bytes
    return tuple(grad.astype(cache.dtype, copy=False) for grad in (dq, dk, dv))


def _backward_columns(saved, memory, cols, dout, delta, dq):
    """One tile of keys, against all queries: its dk and dv (..., cols, n); adds to dq."""
    k, v = memory.load(saved.k, cols), memory.load(saved.v, cols)
    dk, dv = np.zeros(k.shape, k.dtype), np.zeros(v.shape, v.dtype)
    for rows in _tiles(saved.q.shape[-2], saved.blocks[0]):
        if saved.skipped(rows, cols):
            continue
        q = memory.load(saved.q, rows) * saved.scale
        g, d = memory.load(dout, rows), memory.load(delta, rows)
        s = saved.scores(q, k, rows, cols)
        p = np.exp(s - memory.load(saved.top, rows)) * memory.load(saved.share, rows)
        dv += p.swapaxes(-1, -2) @ g
        ds = p * (g @ v.swapaxes(-1, -2) - d)                   # (..., rows, cols), eq. 32.3
        memory.store(dq, rows, memory.load(dq, rows) + ds @ k * saved.scale)
        dk += ds.swapaxes(-1, -2) @ q                           # q is scaled
    return dk, dv


def traffic(Tq, Tk, D, Dv, block_q, block_k, causal=False):
    """Numbers that one head moves between whole arrays and tiles.

    Dao et al. (2022), theorem 2, with its constants; eq. 32.5 and eq. 32.6.

    Parameters
    ----------
    Tq, Tk, D, Dv : int, shapes of q (Tq, D), k (Tk, D) and v (Tk, Dv)
    block_q, block_k : int, queries and keys in a tile
    causal : bool

    Returns
    -------
    forward, backward : int, int; times the size of a number: bytes
    """
    Tq, Tk, D, Dv, block_q, block_k = check.sizes(Tq, Tk, D, Dv, block_q, block_k)
    first, firsts = np.arange(0, Tq, block_q), np.arange(0, Tk, block_k)
    rows, cols = np.minimum(block_q, Tq - first), np.minimum(block_k, Tk - firsts)
    last = (first + rows - 1 + Tk - Tq)[:, None]
    visited = firsts <= last if causal else np.ones((len(rows), len(cols)), bool)       # eq. 32.4
    forward = Tq * (D + Dv + 2) + (D + Dv) * (visited @ cols).sum()
    backward = Tq * (2 * Dv + 1) + 2 * Tk * (D + Dv) + (3 * D + Dv + 3) * (rows @ visited).sum()
    return int(forward), int(backward)
