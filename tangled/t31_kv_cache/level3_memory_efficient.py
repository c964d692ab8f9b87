# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:4ab3e42cad995e72
"""KV cache, level 3: norms folded into the weights, vectors for a single token, no padding."""

import math
from typing import NamedTuple

import numpy as np

import tangled.t31_kv_cache.checks as check
from tangled.t27_positional_encodings import rope_tables
from tangled.t31_kv_cache.level2_vectorized import (
    KVCache,
    OutOfBlocks,
    PagedCache,
    Speculation,
    cache_bytes,
    generate,
    speculative_decode,
    verify,
)

__all__ = ["Decoder", "KVCache", "OutOfBlocks", "PagedCache", "Speculation", "cache_bytes", "generate",
           "speculative_decode", "verify"]

CUBIC = (math.sqrt(2 / math.pi) * 0.044715) ** (1 / 3)          # tanh(g^3 + LINEAR g), g = CUBIC h, is that of
LINEAR = math.sqrt(2 / math.pi) / CUBIC                         # the tanh GELU of h


class Layer(NamedTuple):
    """A block's four matrices and biases, ready for a stream of mean 0."""

    w_qkv: np.ndarray
    b_qkv: np.ndarray
    w_out: np.ndarray
    b_out: np.ndarray
    w_up: np.ndarray
    b_up: np.ndarray
    w_down: np.ndarray
    b_down: np.ndarray


def _centred(w):
    """Rows of mean 0: what is written to the stream."""
    return w - w.mean(axis=-1, keepdims=True)


def _behind_norm(w, b, gamma, beta):
    """Scale and shift of a norm moved into the matrix behind it; eq. 31.11."""
    return gamma[:, None] * w, beta @ w + b


def _fold(weights, k, size):
    """The `Layer` of block k, in the dtype of the weights; sums are formed in float64."""
    of = lambda name: weights[f"blocks.{k}.{name}"].astype(np.float64)
    both = lambda name: (of(name + ".weight"), of(name + ".bias"))
    parts = [both(f"attention.{p}_proj") for p in "qkv"]
    w, b = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts))
    w, b = _behind_norm(w, b, *both("norm1"))
    for a in (w, b):
        a[..., :size.width] *= size.head_dim ** -0.5            # the queries' share
    w_out, b_out = map(_centred, both("attention.out_proj"))
    w_up, b_up = _behind_norm(*both("ffn.linear1"), *both("norm2"))
    w_down, b_down = map(_centred, both("ffn.linear2"))
    dtype = weights["wte.weight"].dtype
    gate = w_up * CUBIC, b_up * CUBIC, w_down / (2 * CUBIC)     # `_gate` has fewer steps so
    arrays = w, b, w_out, b_out, *gate, b_down
    return Layer(*(np.ascontiguousarray(a, dtype) for a in arrays))


def _gate(g, u):
    """g (1 + tanh(g^3 + LINEAR g)) in place of g: the GELU times 2 CUBIC; u is room of g's shape."""
    np.multiply(g, g, out=u)
    u += LINEAR
    u *= g
    np.tanh(u, out=u)
    u += 1
    g *= u
    return g


class Decoder:
    """As level 2, on a KVCache."""

    def __init__(self, weights, num_heads, batch=1, capacity=None, cache=None, base=10000.0):
        self.size, w = check.model(weights, num_heads)
        s, base = self.size, check.real("base", base, 0, open_low=True)
        if cache is None:
            cache = KVCache(s.layers, batch, s.kv_heads, check.capacity_of(capacity, s.context), s.head_dim, s.dtype)
        if not isinstance(cache, KVCache):
            raise ValueError(f"cache is a {type(cache).__name__}; expected a KVCache: pages are for level 2")
        self.cache = check.fits(cache, s)
        self.capacity = min(cache.capacity, s.context or cache.capacity)
        dtype = w["wte.weight"].dtype
        self.layers = [_fold(w, k, s) for k in range(s.layers)]
        wide = {name: w[name].astype(np.float64) for name in ("wte.weight", "norm.weight", "norm.bias")}
        last = _behind_norm(wide["wte.weight"].T, np.zeros(s.vocab), wide["norm.weight"], wide["norm.bias"])
        self.w_last, self.b_last = (np.ascontiguousarray(a, dtype) for a in last)
        self.tokens = _centred(wide["wte.weight"]).astype(dtype)                # (V, D)
        if s.context is None:
            self.cos, self.sin = (t.astype(dtype) for t in rope_tables(self.capacity, s.head_dim, base))
        else:
            self.places = _centred(w["wpe.weight"].astype(np.float64)).astype(dtype)
        first, hidden = self.layers[0], len(self.layers[0].b_up)
        self.qkv, self.row = np.empty(len(first.b_qkv), dtype), np.empty(s.width, dtype)
        self.hidden, self.room = np.empty((2, hidden), dtype)

    @property
    def lengths(self):
        """How many tokens each row has, (batch,)."""
        return self.cache.lengths.copy()

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,), by default of all."""
        self.cache.truncate(lengths, rows)

    def extend(self, ids, counts=None, rows=None):
        """As level 2, ids (B, T), counts (B,), rows (B,): logits (B, T, V)."""
        if counts is None and rows is None and self._plain(ids):
            lengths = self.cache.lengths
            logits = self._one(ids.item(), 0, lengths.item()).astype(self.size.dtype, copy=False)
            lengths += 1
            return logits.reshape(1, 1, -1)
        ids, counts, rows = check.step(ids, counts, rows, self.size, self.cache.lengths)
        self.cache.reserve(rows, counts)
        logits = np.zeros((*ids.shape, self.size.vocab), self.size.dtype)
        start = self.cache.lengths[rows]
        if ids.size == 1 and counts[0]:
            logits[0, 0] = self._one(int(ids[0, 0]), int(rows[0]), int(start[0]))
        elif counts.any():
            some = counts > 0
            at, step = np.nonzero(np.arange(ids.shape[1]) < counts[:, None])
            logits[at, step] = self._many(ids[at, step], start[at] + step, rows[some], start[some], counts[some])
        self.cache.advance(rows, counts)
        return logits

    def _plain(self, ids):
        """The most frequent call of all, and a good one: ids (1, 1), one row, and room; anything else is looked at."""
        return (type(ids) is np.ndarray and ids.shape == (1, 1) and ids.dtype == np.int64
                and len(self.cache.lengths) == 1 and self.cache.lengths.item() < self.capacity
                and 0 <= ids.item() < self.size.vocab)

    def _one(self, token, row, place):
        """Logits (V,) behind one token of one row: vectors throughout."""
        s, data, stop = self.size, self.cache.data, place + 1
        D, eps, qkv, out, dot = s.width, 1e-5, self.qkv, self.row, np.dot
        x = self.tokens[token].copy() if s.context is None else self.tokens[token] + self.places[place]
        heads = qkv.reshape(-1, s.head_dim)                     # (H + 2 Hk, d)
        q, new = (heads[:s.heads].reshape(s.kv_heads, -1, s.head_dim),
                  heads[s.heads:].reshape(2, -1, s.head_dim))
        for k, layer in enumerate(self.layers):
            dot(x, layer.w_qkv, out=qkv)
            qkv *= 1 / math.sqrt(dot(x, x) / D + eps)           # eq. 31.11
            qkv += layer.b_qkv
            if s.context is None:
                _turn(heads[:s.heads + s.kv_heads], self.cos[place], self.sin[place])
            data[k, :, row, :, place] = new                     # eq. 31.1
            keys, values = data[k, :, row, :, :stop].astype(x.dtype, copy=False)
            e = np.matmul(q, keys.swapaxes(1, 2))               # (Hk, H / Hk, S)
            e -= e.max(axis=2, keepdims=True)
            np.exp(e, out=e)
            o = np.matmul(e, values)
            o /= e.sum(axis=2, keepdims=True)
            x += dot(o.reshape(D), layer.w_out, out=out)
            x += layer.b_out
            h = dot(x, layer.w_up, out=self.hidden)
            h *= 1 / math.sqrt(dot(x, x) / D + eps)
            h += layer.b_up
            x += dot(_gate(h, self.room), layer.w_down, out=out)
            x += layer.b_down
        return dot(x, self.w_last) * x.dtype.type(1 / math.sqrt(dot(x, x) / D + eps)) + self.b_last

    def _many(self, tokens, places, rows, start, counts):
        """Logits (N, V) behind N tokens, row after row: counts (n,) of each of rows (n,), from start (n,)."""
        s, data, N = self.size, self.cache.data, len(tokens)
        x, owner = self.tokens[tokens], np.repeat(rows, counts)                 # (N, D), (N,)
        if s.context is not None:
            x += self.places[places]
        attend = self._attend_step if len(rows) == N else self._attend_rows
        for k, layer in enumerate(self.layers):
            heads = _linear(x, layer.w_qkv, layer.b_qkv).reshape(N, -1, s.head_dim)     # (N, H + 2 Hk, d)
            if s.context is None:
                _turn(heads[:, :s.heads + s.kv_heads], self.cos[places, None], self.sin[places, None])
            for c, new in enumerate(np.split(heads[:, s.heads:], 2, axis=1)):
                data[k, c, owner, :, places] = new
            o = attend(data[k], heads[:, :s.heads], rows, start, counts)        # (N, D)
            x += o @ layer.w_out
            x += layer.b_out
            h = _linear(x, layer.w_up, layer.b_up)
            x += _gate(h, np.empty_like(h)) @ layer.w_down
            x += layer.b_down
        return _linear(x, self.w_last, self.b_last)

    def _attend_step(self, data, q, rows, start, counts):
        """One query of each row, q (n, H, d), against its keys in data (2, B, Hk, S, d): (n, D)."""
        s, longest = self.size, int(start.max()) + 1
        near = (np.diff(rows) == 1).all()
        chosen = slice(int(rows[0]), int(rows[-1]) + 1) if near else rows       # a view, if it can be one
        keys, values = data[:, chosen, :, :longest].astype(q.dtype, copy=False)
        e = np.matmul(q.reshape(len(rows), s.kv_heads, -1, s.head_dim), keys.swapaxes(2, 3))
        if (start != start[0]).any():
            e += np.where(np.arange(longest) <= start[:, None], 0, -np.inf).astype(e.dtype)[:, None, None]
        return _weighted(e, values).reshape(len(rows), s.width)

    def _attend_rows(self, data, q, rows, start, counts):
        """Queries (N, H, d), row after row, each against its own row's keys: (N, D)."""
        s, out, first = self.size, np.empty((len(q), self.size.width), q.dtype), 0
        for row, begin, c in zip(rows.tolist(), start.tolist(), counts.tolist()):
            keys, values = data[:, row, :, :begin + c].astype(q.dtype, copy=False)
            mine = q[first:first + c].swapaxes(0, 1).reshape(s.kv_heads, -1, s.head_dim)        # (Hk, H / Hk c, d)
            e = np.matmul(mine, keys.swapaxes(1, 2))
            ahead = ~np.tri(c, begin + c, begin, dtype=bool)                                    # eq. 31.3
            np.copyto(e.reshape(s.kv_heads, -1, c, begin + c), -np.inf, where=ahead)
            o = _weighted(e, values).reshape(s.heads, c, s.head_dim)
            out[first:first + c] = o.swapaxes(0, 1).reshape(c, s.width)
            first += c
        return out


def _linear(x, w, b):
    """Rows (N, D) of mean 0, normalised, times w, plus b."""
    y = x @ w
    y *= (1 / np.sqrt(np.einsum("nd,nd->n", x, x) / x.shape[1] + 1e-5)).astype(x.dtype)[:, None]
    y += b
    return y


def _weighted(e, values):
    """Softmax of scores (..., S), in place, times values (..., S, d)."""
    e -= e.max(axis=-1, keepdims=True)
    np.exp(e, out=e)
    o = np.matmul(e, values)
    o /= e.sum(axis=-1, keepdims=True)
    return o


def _turn(heads, cos, sin):
    """Turn the pairs of heads (..., d) in place; cos and sin broadcast to (..., d / 2)."""
    a, b = heads[..., 0::2].copy(), heads[..., 1::2].copy()
    heads[..., 0::2] = a * cos - b * sin                        # eq. 27.12
    heads[..., 1::2] = a * sin + b * cos
