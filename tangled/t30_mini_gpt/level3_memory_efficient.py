# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:1ecf933ec753f0c2
"""Mini-GPT, level 3: weights in two flat vectors, buffers that stay, parts of a batch side by side."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import tangled.t30_mini_gpt.checks as check
from tangled.t06_backpropagation import Parameter
from tangled.t18_rnn.level3_memory_efficient import embedding_backward
from tangled.t30_mini_gpt import level2_vectorized as plain

ROWS, SAMPLES, EPS = 128, 4, 1e-5                               # of a chunk; under the root of a norm
CUBIC = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
PROJECTIONS = "q_proj", "k_proj", "v_proj"
PLACES = ("norm1.weight", "norm1.bias", "attention.qkv.weight", "attention.qkv.bias", "attention.out_proj.weight",
          "attention.out_proj.bias", "norm2.weight", "norm2.bias", *(f"ffn.{n}" for n in check.FFN))


class Layer(NamedTuple):
    """The arrays of a block, in the order of PLACES."""

    norm1: np.ndarray
    norm1_bias: np.ndarray
    qkv: np.ndarray
    qkv_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    norm2: np.ndarray
    norm2_bias: np.ndarray
    up: np.ndarray
    up_bias: np.ndarray
    down: np.ndarray
    down_bias: np.ndarray


class Arrays:
    """Weights, or gradients, as views of two flat vectors: matrices, and all that is 1-D."""

    def __init__(self, shapes, vectors):
        self.by_name, used = {}, [0, 0]
        for name, shape in shapes.items():
            kind, size = int(len(shape) == 1), math.prod(shape)
            self.by_name[name] = vectors[kind][used[kind]:used[kind] + size].reshape(shape)
            used[kind] += size
        self.wte, self.wpe, self.norm, self.norm_bias = (
            self.by_name[name] for name in ("wte.weight", "wpe.weight", "norm.weight", "norm.bias"))
        self.layers = [Layer(*(self.by_name[f"blocks.{k}.{place}"] for place in PLACES))
                       for k in range(check.depth(shapes))]


def packed(state):
    """The weights by their names, with q_proj, k_proj, v_proj (D, D) side by side as qkv (D, 3D)."""
    arrays = {}
    for name, array in state.items():
        if ".q_proj." in name:
            parts = [state[name.replace("q_proj", part)] for part in PROJECTIONS]
            arrays[name.replace("q_proj", "qkv")] = np.concatenate(parts, axis=-1)
        elif ".k_proj." not in name and ".v_proj." not in name:
            arrays[name] = array
    return arrays


def unpacked(arrays):
    """Copies by the names of `GPT.state_dict`: qkv (D, 3D) taken apart."""
    state = {}
    for name, array in arrays.items():
        parts = np.split(array, 3, axis=-1) if ".qkv." in name else [array]
        state |= {name.replace("qkv", part): a.copy() for part, a in zip(PROJECTIONS, parts)}
    return state


class Worker:
    """Forward and backward of B sequences of T tokens, in buffers of its own."""

    def __init__(self, shapes, heads, B, T, dtype):
        (V, D), self.heads, self.B, self.T = shapes["wte.weight"], heads, B, T
        N, L, F = B * T, check.depth(shapes), shapes["blocks.0.ffn." + check.FFN[0]][1]
        room = lambda *shape: np.empty(shape, dtype)
        self.sizes = [sum(math.prod(s) for s in shapes.values() if (len(s) == 1) == one) for one in (False, True)]
        self.vectors = [np.zeros(size, dtype) for size in self.sizes]
        self.grads = Arrays(shapes, self.vectors)
        self.kept = [{"hat1": room(N, D), "inv1": room(N), "a1": room(N, D), "qkv": room(N, 3 * D),
                      "p": room(B, heads, T, T), "o": room(N, D), "hat2": room(N, D), "inv2": room(N),
                      "a2": room(N, D), "slope": room(N, F), "g": room(N, F)} for _ in range(L)]
        self.x, self.dx, self.spare, self.other = (room(N, D) for _ in range(4))
        self.last = {"hat": room(N, D), "inv": room(N), "a": room(N, D)}
        self.logits, self.dqkv, self.dh = room(N, V), room(N, 3 * D), room(N, F)
        self.dp, self.chunk = room(SAMPLES, heads, T, T), room(2, ROWS, F)
        self.mean, self.ones = np.full(D, 1 / D, dtype), np.ones(max(N, T, V), dtype)
        self.ahead = np.triu(np.full((T, T), -np.inf, dtype), 1)

    def heads_of(self, rows, parts):
        """rows (N, parts D) as a view (parts, B, H, T, d)."""
        return rows.reshape(self.B, self.T, parts, self.heads, -1).transpose(2, 0, 3, 1, 4)

    def norm(self, gamma, beta, hat, inv, out):
        """self.x (N, D) normalised into hat, 1 / deviation into inv (N,), scaled and shifted into out."""
        np.subtract(self.x, (self.x @ self.mean)[:, None], out=hat)
        np.einsum("nd,nd->n", hat, hat, out=inv)
        inv *= self.mean[0]
        inv += EPS
        np.sqrt(inv, out=inv)
        np.divide(1, inv, out=inv)
        hat *= inv[:, None]
        np.multiply(hat, gamma, out=out)
        out += beta

    def norm_backward(self, dy, gamma, hat, inv, dgamma, dbeta):
        """Adds to self.dx (N, D); dy (N, D) is used up."""
        N, t = len(dy), self.spare
        np.multiply(dy, hat, out=t)
        np.matmul(self.ones[:N], t, out=dgamma)
        np.matmul(self.ones[:N], dy, out=dbeta)
        weights = gamma * self.mean
        with_hat, plain = t @ weights, dy @ weights
        dy *= gamma
        np.multiply(hat, with_hat[:, None], out=t)
        dy -= t
        dy -= plain[:, None]
        dy *= inv[:, None]
        self.dx += dy

    def attend(self, w, kept):
        """self.x += attention of its norm."""
        self.norm(w.norm1, w.norm1_bias, kept["hat1"], kept["inv1"], kept["a1"])
        D, T, qkv = len(self.mean), self.T, kept["qkv"]
        np.matmul(kept["a1"], w.qkv, out=qkv)
        qkv += w.qkv_bias
        qkv[:, :D] *= math.log2(math.e) / math.sqrt(D // self.heads)            # for exp2
        q, k, v = self.heads_of(qkv, 3)
        out = self.heads_of(kept["o"], 1)[0]
        for b in range(0, self.B, SAMPLES):
            part = slice(b, b + SAMPLES)
            p = kept["p"][part]
            self.weights(q[part], k[part], p, shift=p.max)
            total = p.reshape(-1, T) @ self.ones[:T]
            if not total.min(initial=1.0) > 1e-30:                              # a row far below the others
                self.weights(q[part], k[part], p, shift=lambda p=p: p.max(axis=-1, keepdims=True))
                total = p.reshape(-1, T) @ self.ones[:T]
            p *= (1 / total).reshape(*p.shape[:3], 1)
            np.matmul(p, v[part], out=out[part])
        np.matmul(kept["o"], w.out, out=self.other)
        self.x += self.other
        self.x += w.out_bias

    def weights(self, q, k, p, shift):
        """2 to the scores into p (b, H, T, T), shifted; 0 ahead of the query."""
        np.matmul(q, k.swapaxes(2, 3), out=p)
        p += self.ahead
        p -= shift()
        np.exp2(p, out=p)

    def attend_backward(self, w, kept, g):
        """Through `attend`: self.dx (N, D) and the gradients g of a block."""
        N, D = self.dx.shape
        np.matmul(kept["o"].T, self.dx, out=g.out)
        np.matmul(self.ones[:N], self.dx, out=g.out_bias)
        np.matmul(self.dx, w.out.T, out=self.other)
        (q, k, v), (dq, dk, dv) = self.heads_of(kept["qkv"], 3), self.heads_of(self.dqkv, 3)
        dout = self.heads_of(self.other, 1)[0]
        np.multiply(self.other, kept["o"], out=self.spare)
        delta = self.heads_of(self.spare, 1)[0].sum(axis=-1)[..., None]         # (B, H, T, 1)
        for b in range(0, self.B, SAMPLES):
            part = slice(b, b + SAMPLES)
            p = kept["p"][part]
            ds = self.dp[:len(p)]
            np.matmul(p.swapaxes(2, 3), dout[part], out=dv[part])
            np.matmul(dout[part], v[part].swapaxes(2, 3), out=ds)
            ds -= delta[part]
            ds *= p
            np.matmul(ds, k[part], out=dq[part])
            np.matmul(ds.swapaxes(2, 3), q[part], out=dk[part])
        self.dqkv[:, :D] *= 1 / math.sqrt(D // self.heads)
        self.dqkv[:, D:2 * D] *= math.log(2)                                    # q was scaled for exp2
        np.matmul(kept["a1"].T, self.dqkv, out=g.qkv)
        np.matmul(self.ones[:N], self.dqkv, out=g.qkv_bias)
        np.matmul(self.dqkv, w.qkv.T, out=self.other)
        self.norm_backward(self.other, w.norm1, kept["hat1"], kept["inv1"], g.norm1, g.norm1_bias)

    def feed_forward(self, w, kept):
        """self.x += the MLP of its norm, ROWS rows at a time, which stay in the cache."""
        self.norm(w.norm2, w.norm2_bias, kept["hat2"], kept["inv2"], kept["a2"])
        for a in range(0, len(self.x), ROWS):
            part = slice(a, a + ROWS)
            h, g = kept["slope"][part], kept["g"][part]
            np.matmul(kept["a2"][part], w.up, out=h)
            h += w.up_bias
            gelu(h, g, *self.chunk[:, :len(h)])
            np.matmul(g, w.down, out=self.other[part])
        self.x += self.other
        self.x += w.down_bias

    def feed_forward_backward(self, w, kept, g):
        """Through `feed_forward`."""
        N = len(self.dx)
        np.matmul(kept["g"].T, self.dx, out=g.down)
        np.matmul(self.ones[:N], self.dx, out=g.down_bias)
        for a in range(0, N, ROWS):
            part = slice(a, a + ROWS)
            np.matmul(self.dx[part], w.down.T, out=self.dh[part])
            self.dh[part] *= kept["slope"][part]
            np.matmul(self.dh[part], w.up.T, out=self.other[part])
        np.matmul(kept["a2"].T, self.dh, out=g.up)
        np.matmul(self.ones[:N], self.dh, out=g.up_bias)
        self.norm_backward(self.other, w.norm2, kept["hat2"], kept["inv2"], g.norm2, g.norm2_bias)

    @np.errstate(over="ignore", invalid="ignore")
    def forward(self, w, ids):
        """ids (B, T) to logits (N, V), a buffer."""
        self.ids = ids.copy()
        np.take(w.wte, ids.reshape(-1), axis=0, out=self.x, mode="clip")
        self.x.reshape(self.B, self.T, -1)[...] += w.wpe[:self.T]
        for layer, kept in zip(w.layers, self.kept):
            self.attend(layer, kept)
            self.feed_forward(layer, kept)
        self.norm(w.norm, w.norm_bias, *self.last.values())     # hat, inv, a
        return np.matmul(self.last["a"], w.wte.T, out=self.logits)

    @np.errstate(over="ignore", invalid="ignore")
    def backward(self, w, dlogits):
        """dlogits (N, V): all gradients, into self.grads."""
        g = self.grads
        np.matmul(dlogits.T, self.last["a"], out=g.wte)
        np.matmul(dlogits, w.wte, out=self.other)
        self.dx[...] = 0
        self.norm_backward(self.other, w.norm, self.last["hat"], self.last["inv"], g.norm, g.norm_bias)
        for layer, kept, grads in zip(w.layers[::-1], self.kept[::-1], g.layers[::-1]):
            self.feed_forward_backward(layer, kept, grads)
            self.attend_backward(layer, kept, grads)
        g.wte += embedding_backward(self.dx, (self.ids.reshape(-1), g.wte.shape, g.wte.dtype))
        np.sum(self.dx.reshape(self.B, self.T, -1), axis=0, out=g.wpe[:self.T])     # the rest stays 0
        return g

    def losses(self, w, ids, targets, share):
        """Sum of -log p over the targets, times share; the logits become the gradient of that."""
        z, y = self.forward(w, ids), targets.reshape(-1)
        z -= z.max(axis=1)[:, None]
        rows = np.arange(len(y))
        picked = z[rows, y]
        np.exp(z, out=z)
        total = z @ self.ones[:z.shape[1]]
        z *= (share / total)[:, None]
        z[rows, y] -= share
        return float((np.log(total) - picked).sum(dtype=float)) * share


def gelu(h, g, t, s):
    """h becomes the slope of GELU, g its value; t, s: scratch; all (rows, F). x / (1 + 2^(-2 u log2 e))."""
    a, b = (-2 * math.log2(math.e) * c for c in CUBIC)
    np.multiply(h, h, out=t)                                    # x^2
    np.multiply(t, b, out=s)
    s += a
    s *= h
    np.exp2(s, out=s)
    s += 1
    np.reciprocal(s, out=s)                                     # the gate
    np.multiply(h, s, out=g)
    t *= 6 * CUBIC[1]
    t += 2 * CUBIC[0]                                           # slope of 2 u
    np.subtract(1, s, out=h)
    h *= t
    h *= g
    h += s                                                      # gate + x gate (1 - gate) (2 u)'


def gpt(ids, weights, num_heads):
    """As level 2, ids (B, T): every array is written once, into a buffer."""
    given = check.model(ids, weights, num_heads)
    arrays = packed(given.weights)
    shapes, work = {name: a.shape for name, a in arrays.items()}, given.weights["wte.weight"].dtype
    if not given.ids.size:
        return np.zeros((*given.ids.shape, shapes["wte.weight"][0]), given.dtype), (given, None, shapes)
    worker = Worker(shapes, given.heads, *given.ids.shape, work)
    w = Arrays(shapes, [np.empty(size, work) for size in worker.sizes])
    for name, array in arrays.items():
        w.by_name[name][...] = array
    logits = worker.forward(w, given.ids).reshape(*given.ids.shape, -1).astype(given.dtype)
    return logits, (given, (worker, w), shapes)


def gpt_backward(dlogits, cache):
    """As level 2, dlogits (B, T, V)."""
    given, run, shapes = cache
    dlogits = check.gradient(dlogits, (*given.ids.shape, shapes["wte.weight"][0]), given.weights["wte.weight"].dtype)
    if run is None:
        return {name: np.zeros(a.shape, given.dtype) for name, a in given.weights.items()}
    worker, w = run
    grads = unpacked(worker.backward(w, dlogits.reshape(len(worker.x), -1)).by_name)
    return {name: grads[name].astype(given.dtype, copy=False) for name in given.weights}


class FlatGPT:
    """A GPT for training: what `GPT` computes, forward, loss and backward, over two flat vectors.

    Parameters
    ----------
    state : dict of ndarray, as `GPT.state_dict` gives it
    num_heads : int
    threads : int; a batch is cut into so many parts, which are worked on side by side

    Attributes
    ----------
    parameters : two Parameters, flat: all matrices, and all vectors (biases, norms)
    """

    def __init__(self, state, num_heads, threads=1):
        arrays = packed(state)
        self.heads, self.threads, self.workers = num_heads, check.whole("threads", threads), {}
        self.shapes = {name: a.shape for name, a in arrays.items()}
        self.vocab_size, self.context = len(arrays["wte.weight"]), len(arrays["wpe.weight"])
        flat = [np.concatenate([a.ravel() for a in arrays.values() if (a.ndim == 1) == one]) for one in (False, True)]
        self.parameters = [Parameter(vector) for vector in flat]
        self.pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def weights(self):
        """The arrays, as views of the vectors; made anew, since an optimiser may have moved them."""
        return Arrays(self.shapes, [p.data for p in self.parameters])

    def worker(self, part, B, T):
        """The buffers of a part of a batch."""
        key = part, B, T
        if key not in self.workers:
            self.workers[key] = Worker(self.shapes, self.heads, B, T, self.parameters[0].data.dtype)
        return self.workers[key]

    def parts(self, B):
        """Slices of a batch, one for each thread, as equal as can be."""
        ends = [B * k // self.threads for k in range(self.threads + 1)]
        return [slice(a, b) for a, b in pairwise(ends) if b > a]

    def each(self, f, B):
        """[f(number, slice)] for the parts of a batch, side by side, in their order."""
        numbered = list(enumerate(self.parts(B)))
        if self.pool is None or len(numbered) == 1:
            return [f(*item) for item in numbered]
        return list(self.pool.map(lambda item: f(*item), numbered))

    def __call__(self, ids):
        """ids (B, T) to logits (B, T, V)."""
        ids, w = check.ids(ids, self.vocab_size, self.context), self.weights()
        logits = self.each(lambda k, part: self.worker(k, *ids[part].shape).forward(w, ids[part]).copy(), len(ids))
        none = np.empty((0, self.vocab_size), self.parameters[0].data.dtype)
        return np.concatenate(logits or [none]).reshape(*ids.shape, self.vocab_size)

    def loss_and_gradients(self, ids, targets, share=1.0):
        """Mean loss of ids, targets (B, T); adds share times its gradient to the parameters'."""
        ids, w = check.texts(ids, self.vocab_size, self.context), self.weights()
        targets = check.targets(targets, ids.shape, self.vocab_size)

        def part_of(k, part):
            worker = self.worker(k, *ids[part].shape)
            loss = worker.losses(w, ids[part], targets[part], 1 / ids.size)
            worker.backward(w, worker.logits)
            return worker.vectors, loss
        losses = 0.0
        for vectors, loss in self.each(part_of, len(ids)):      # added in one order, whoever was first
            losses += loss
            for parameter, vector in zip(self.parameters, vectors):
                if share != 1.0:
                    vector *= share
                parameter.grad += vector
        return losses

    def state_dict(self):
        """Copies by the names of `GPT`."""
        return unpacked(self.weights().by_name)

    def load_state_dict(self, state):
        """Take over what `GPT.state_dict` gave."""
        w, given = self.weights(), packed(state)
        check.same_shapes(given, self.shapes)
        for name, array in given.items():
            w.by_name[name][...] = array


def repetition_penalty(logits, seen, penalty):
    """As level 2, logits (..., V), seen (..., n)."""
    return plain.repetition_penalty(logits, seen, penalty)


def filter_logits(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """As level 2, logits (..., V), row by row: nothing is sorted that cannot be in the answer."""
    logits, how = check.logits(logits), check.choice(temperature, top_k, top_p, min_p)
    if how.temperature == 0:
        return plain.filter_logits(logits, 0.0)
    out = np.full(logits.shape, -np.inf, logits.dtype)
    rows = logits.reshape(-1, logits.shape[-1])                 # (..., V) as (R, V)
    for row, warm in zip(rows, out.reshape(rows.shape)):
        z = np.subtract(row, row.max(), dtype=np.float64)
        if how.temperature != 1:
            z /= how.temperature
        np.divide(row, how.temperature, out=warm, where=z >= _least(z, how))
    return out


def _least(z, how):
    """What a logit of z (V,), whose largest is 0, has to reach."""
    least = -math.inf if how.min_p is None else math.log(how.min_p)             # eq. 30.10
    if how.top_k is not None and how.top_k < len(z):
        edge = np.partition(z, len(z) - how.top_k)[len(z) - how.top_k]
        least, z = max(least, edge), z[z >= edge]               # ties stay
    if how.top_p is not None:
        p = np.exp(z)
        total = p.sum()
        few = np.sort(z[p >= (1 - how.top_p) * total / len(p)])[::-1]     # the others: below 1 - top_p
        crossing = np.exp(few).cumsum().searchsorted(how.top_p * total)
        least = max(least, few[min(crossing, len(few) - 1)])    # eq. 30.9
    return least
