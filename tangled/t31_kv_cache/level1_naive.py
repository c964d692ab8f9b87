# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:e57cb74f882fad21
"""KV cache, level 1: one token, one number at a time; keys and values in lists. Errors as in level 2."""

import math

import numpy as np

import tangled.t31_kv_cache.checks as check
from tangled.t16_normalizations.level1_naive import layer_norm
from tangled.t28_transformer_encoder.level1_naive import ACTIVATIONS


def _affine(row, w, b):
    """A list row (M,) times w (M, N), plus b: a list (N,)."""
    return [sum(x * y for x, y in zip(row, w[:, j].tolist())) + float(b[j]) for j in range(w.shape[1])]


def _turn(head, place, base):
    """A list (d,), every pair turned by the angles of its place; eq. 27.12."""
    out = []
    for i in range(0, len(head), 2):
        angle = place * base ** (-i / len(head))
        a, b, c, s = head[i], head[i + 1], math.cos(angle), math.sin(angle)
        out += [a * c - b * s, a * s + b * c]
    return out


def _cut(row, d):
    """A list (H d,) as a list of H lists (d,)."""
    return [row[i:i + d] for i in range(0, len(row), d)]


class Decoder:
    """As level 2; the cache is self.keys[layer][row], a list with Hk lists (d,) for each token."""

    def __init__(self, weights, num_heads, batch=1, capacity=None, base=10000.0):
        self.size, weights = check.model(weights, num_heads)
        self.weights = {name: a.astype(float) for name, a in weights.items()}
        self.capacity = check.capacity_of(capacity, self.size.context)
        self.base, (batch,) = check.real("base", base, 0, open_low=True), check.sizes(batch=batch)
        self.keys = [[[] for _ in range(batch)] for _ in range(self.size.layers)]
        self.values = [[[] for _ in range(batch)] for _ in range(self.size.layers)]

    @property
    def lengths(self):
        """How many tokens each row has, (batch,)."""
        return np.array([len(row) for row in self.keys[0]])

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,)."""
        lengths, rows = check.lengths_of(lengths, rows, self.lengths)
        for length, row in zip(lengths.tolist(), rows.tolist()):
            for layer in range(self.size.layers):
                del self.keys[layer][row][length:], self.values[layer][row][length:]

    def extend(self, ids, counts=None, rows=None):
        """ids (B, T), counts (B,), rows (B,): logits (B, T, V)."""
        ids, counts, rows = check.step(ids, counts, rows, self.size, self.lengths)
        longest = int((self.lengths[rows] + counts).max(initial=0))
        if longest > self.capacity:
            raise ValueError(f"ids would make {longest} tokens; expected at most the capacity of {self.capacity}")
        logits = np.zeros((*ids.shape, self.size.vocab), self.size.dtype)
        for b, row in enumerate(rows.tolist()):
            for t in range(counts[b]):
                logits[b, t] = self._token(int(ids[b, t]), row)
        return logits

    def _token(self, token, row):
        """Logits (V,) behind one more token of a row."""
        w, place = self.weights, len(self.keys[0][row])                         # eq. 31.2
        x = w["wte.weight"][token]
        if self.size.context is not None:
            x = x + w["wpe.weight"][place]
        for layer in range(self.size.layers):
            x = self._block(layer, x, row, place)
        h = self._norm(x, "norm")
        return [sum(a * float(b) for a, b in zip(h, line)) for line in w["wte.weight"]]

    def _norm(self, x, name):
        """x (D,) normalised: a list."""
        return layer_norm(x, self.weights[name + ".weight"], self.weights[name + ".bias"])[0].tolist()

    def _block(self, layer, x, row, place):
        """x (D,) through one block: (D,). Its key and value are kept."""
        at, w, s = f"blocks.{layer}.", self.weights, self.size
        linear = lambda a, name: _affine(a, w[f"{at}{name}.weight"], w[f"{at}{name}.bias"])
        a = self._norm(x, at + "norm1")
        q, k, v = (_cut(linear(a, f"attention.{p}_proj"), s.head_dim) for p in "qkv")
        if s.context is None:
            q, k = ([_turn(head, place, self.base) for head in heads] for heads in (q, k))
        self.keys[layer][row].append(k)                         # eq. 31.1
        self.values[layer][row].append(v)
        out = []
        for h in range(s.heads):
            of = h * s.kv_heads // s.heads                      # the key head of this query head
            scores = [sum(a * b for a, b in zip(q[h], key[of])) / math.sqrt(s.head_dim)
                      for key in self.keys[layer][row]]         # all that there are: eq. 31.3
            e = [math.exp(score - max(scores)) for score in scores]
            for i in range(s.head_dim):
                out.append(sum(p * value[of][i] for p, value in zip(e, self.values[layer][row])) / sum(e))
        x = x + np.array(linear(out, "attention.out_proj"))
        hidden = linear(self._norm(x, at + "norm2"), "ffn.linear1")
        return x + np.array(linear([ACTIVATIONS["gelu_tanh"](z)[0] for z in hidden], "ffn.linear2"))


def cache_bytes(layers, kv_heads, head_dim, lengths, itemsize=2, capacity=None, block_size=None):
    """Bytes that keys and values take, an int; lengths (B,)."""
    layers, kv_heads, head_dim, itemsize = check.sizes(layers=layers, kv_heads=kv_heads, head_dim=head_dim,
                                                       itemsize=itemsize)
    total = 0
    for length in np.atleast_1d(lengths).tolist():
        room = check.whole("lengths", length, 0)
        if capacity is not None:
            room = check.whole("capacity", capacity)
            if length > room:
                raise ValueError(f"lengths has {length}; expected at most the capacity of {room}")
        elif block_size is not None:
            room = 0
            while room < length:
                room += check.whole("block_size", block_size)
        total += 2 * layers * kv_heads * head_dim * itemsize * room             # eq. 31.5
    return total


def verify(p, q, drafted, uniform, counts=None):
    """p (B, k + 1, V), q (B, k, V), drafted (B, k), uniform (B, k + 1), counts (B,): accepted (B,), token (B,)."""
    p, q, drafted, uniform, counts = check.drafts(p, q, drafted, uniform, counts)
    accepted, token = np.zeros(len(p), np.int64), np.zeros(len(p), np.int64)
    for b in range(len(p)):
        k = 0
        while k < counts[b] and uniform[b, k] * q[b, k, drafted[b, k]] < p[b, k, drafted[b, k]]:        # eq. 31.7
            k += 1
        left = p[b, k].tolist()
        if k < counts[b]:
            less = [max(x - y, 0.0) for x, y in zip(left, q[b, k].tolist())]    # eq. 31.8
            left = less if sum(less) > 0 else left
        accepted[b], rest, mark = k, 0.0, uniform[b, -1] * sum(left)
        for v, x in enumerate(left):
            rest += x
            if rest > mark:
                token[b] = v
                break
        else:
            token[b] = max(v for v, x in enumerate(left) if x > 0)
    return accepted, token
