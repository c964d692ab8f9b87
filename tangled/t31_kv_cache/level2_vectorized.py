# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:f4a2b74c4e63fa1c
"""KV cache, level 2: buffers, a decoder on top of them, and what is built from the two."""

from typing import NamedTuple

import numpy as np

import tangled.t31_kv_cache.checks as check
from tangled.t16_normalizations import layer_norm
from tangled.t18_rnn import sample_categorical
from tangled.t25_self_attention import attention
from tangled.t26_multi_head_attention import merge_heads, repeat_kv, split_heads
from tangled.t27_positional_encodings import rope, rope_tables
from tangled.t28_transformer_encoder import feed_forward
from tangled.t30_mini_gpt import filter_logits

_AS_IT_IS = 1.0, None, None, None                                # options of a sampler that change nothing


class KVCache:
    """Keys and values of all layers, in one buffer that never grows.

    Parameters
    ----------
    layers, batch, heads, capacity, head_dim : int, L, B, Hk, S, d
    dtype : floating-point dtype

    Attributes
    ----------
    data : ndarray of shape (L, 2, B, Hk, S, d), keys and values
    lengths : ndarray of shape (B,), the tokens of each row; what stands behind them is not read
    """

    def __init__(self, layers, batch, heads, capacity, head_dim, dtype=np.float32):
        self.layers, self.batch, self.heads, self.capacity, self.head_dim = check.sizes(
            layers=layers, batch=batch, heads=heads, capacity=capacity, head_dim=head_dim)
        shape = (layers, 2, batch, heads, capacity, head_dim)
        self.data = np.zeros(shape, dtype)
        self.lengths = np.zeros(batch, np.int64)

    @property
    def nbytes(self):
        """Bytes of the buffer, an int."""
        return self.data.nbytes

    def reserve(self, rows, counts):
        """Refuse, with a ValueError, what does not fit: counts (n,) more tokens of these rows (n,)."""
        longest = int((self.lengths[rows] + counts).max(initial=0))
        if longest > self.capacity:
            raise ValueError(f"ids would make {longest} tokens; "
                             f"expected at most the capacity of {self.capacity}")

    def append(self, layer, k, v, rows, counts):
        """Write keys and values, and give all that there are.

        Parameters
        ----------
        layer : int
        k, v : ndarrays of shape (n, Hk, T, d), of which the first counts[i] tokens are real
        rows, counts : ndarrays of shape (n,), integers

        Returns
        -------
        keys, values : ndarrays of shape (n, Hk, S, d), S the longest of these rows with its new tokens
        """
        at, step = np.nonzero(np.arange(k.shape[2]) < counts[:, None])          # of each real token
        row, place = rows[at], self.lengths[rows[at]] + step
        self.data[layer, 0, row, :, place] = k[at, :, step]     # (tokens, Hk, d)
        self.data[layer, 1, row, :, place] = v[at, :, step]
        longest = int((self.lengths[rows] + counts).max(initial=0))
        return self.data[layer, 0, rows, :, :longest], self.data[layer, 1, rows, :, :longest]

    def advance(self, rows, counts):
        """Count the new tokens: counts (n,) of rows (n,)."""
        self.lengths[rows] += counts

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,), by default of all."""
        lengths, rows = check.lengths_of(lengths, rows, self.lengths)
        self.lengths[rows] = lengths


class Decoder:
    """A GPT that remembers keys and values of what it has read.

    Parameters
    ----------
    weights : dict of ndarray by the names of `GPT.state_dict`, in one floating dtype; without wpe.weight
        positions are rotary; k_proj and v_proj may have the shape (D, Hk d), Hk a divisor of num_heads
    num_heads : int, H
    batch : int, the rows of the cache
    capacity : int, the most tokens a row may have; by default the context
    cache : KVCache or PagedCache; by default a new KVCache in the dtype of the weights
    base : float, of rotary positions

    Raises
    ------
    ValueError : for other names, shapes or dtypes, or a cache of another model
    """

    def __init__(self, weights, num_heads, batch=1, capacity=None, cache=None, base=10000.0):
        self.size, self.weights = check.model(weights, num_heads)
        s, base = self.size, check.real("base", base, 0, open_low=True)
        if cache is None:
            cache = KVCache(s.layers, batch, s.kv_heads, check.capacity_of(capacity, s.context),
                            s.head_dim, s.dtype)
        self.cache = check.fits(cache, s)
        self.capacity = min(cache.capacity, s.context or cache.capacity)
        if s.context is None:
            self.cos, self.sin = rope_tables(self.capacity, s.head_dim, base)   # (S, d/2) each

    @property
    def lengths(self):
        """How many tokens each row has, (batch,)."""
        return self.cache.lengths.copy()

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,), by default of all."""
        self.cache.truncate(lengths, rows)

    def extend(self, ids, counts=None, rows=None):
        """Read the next tokens.

        Parameters
        ----------
        ids : ndarray of shape (B, T), integers below V, T at least 1
        counts : ndarray of shape (B,), how many of each row are real, from 0 to T; by default all
        rows : ndarray of shape (B,), different rows of the cache; by default all of them

        Returns
        -------
        logits : ndarray of shape (B, T, V), in the dtype of the weights; 0 behind padding

        Raises
        ------
        ValueError : if a shape or a number is not as above, or there is no room; nothing has changed then
        """
        ids, counts, rows = check.step(ids, counts, rows, self.size, self.cache.lengths)
        self.cache.reserve(rows, counts)
        T = ids.shape[1]
        positions = self.cache.lengths[rows][:, None] + np.arange(T)    # (B, T), eq. 31.2
        places = np.minimum(positions, self.capacity - 1)       # of padding any will do
        x = self.weights["wte.weight"][ids]                     # (B, T, D)
        if self.size.context is not None:
            x = x + self.weights["wpe.weight"][places]
        for layer in range(self.size.layers if len(ids) else 0):
            x = self._block(layer, x, places, rows, counts)
        self.cache.advance(rows, counts)
        logits = self._norm(x, "norm") @ self.weights["wte.weight"].T           # (B, T, V)
        logits[np.arange(T) >= counts[:, None]] = 0
        return logits.astype(self.size.dtype, copy=False)

    def _norm(self, x, name):
        """x (B, T, D), normalised."""
        return layer_norm(x, self.weights[name + ".weight"], self.weights[name + ".bias"])[0]

    def _block(self, layer, x, positions, rows, counts):
        """x (B, T, D) through one block; its keys and values are kept."""
        s, at = self.size, f"blocks.{layer}."
        of = lambda name: (self.weights[at + name + ".weight"], self.weights[at + name + ".bias"])
        a = self._norm(x, at + "norm1")
        q, k, v = (split_heads(a @ w + b, heads) for (w, b), heads in zip(
            map(of, ("attention.q_proj", "attention.k_proj", "attention.v_proj")),
            (s.heads, s.kv_heads, s.kv_heads)))                 # (B, H, T, d), (B, Hk, T, d) twice
        if s.context is None:
            q, k = (rope(heads, self.cos, self.sin, positions)[0] for heads in (q, k))
        keys, values = self.cache.append(layer, k, v, rows, counts)             # eq. 31.1
        seen = np.arange(keys.shape[2]) <= positions[:, None, :, None]  # (B, 1, T, S), eq. 31.3
        keys, values = (repeat_kv(a.astype(x.dtype, copy=False), s.heads // s.kv_heads)
                        for a in (keys, values))                # (B, H, S, d)
        o = merge_heads(attention(q, keys, values, seen)[0])
        w, b = of("attention.out_proj")
        x = x + o @ w + b
        a = self._norm(x, at + "norm2")
        return x + feed_forward(a, *of("ffn.linear1"), *of("ffn.linear2"), activation="gelu_tanh")[0]


def generate(decoder, ids, n, counts=None, temperature=1.0, top_k=None, top_p=None, min_p=None, rng=None):
    """Write n tokens behind each prompt; what the decoder had read is forgotten.

    Parameters
    ----------
    decoder : Decoder with as many rows as there are prompts
    ids : ndarray of shape (B, T), integers, padded on the right; or (T,)
    n : int, at least 0; the prompt and n - 1 tokens must fit
    counts : ndarray of shape (B,), the lengths of the prompts, at least 1; by default T
    temperature, top_k, top_p, min_p : as for `filter_logits`
    rng : numpy.random.Generator; by default one with the seed 0

    Returns
    -------
    ndarray of shape (B, n), or (n,) : the tokens written

    Raises
    ------
    ValueError : for what is not as above; before anything is read
    """
    prompts, counts, n = check.generation(ids, counts, n, decoder.capacity)
    how = check.choice(temperature, top_k, top_p, min_p)
    rng = np.random.default_rng(0) if rng is None else check.generator(rng)
    out = np.zeros((len(prompts), n), np.int64)
    decoder.truncate(np.zeros(len(decoder.lengths), np.int64))
    for step in range(n):
        if step == 0:
            logits = decoder.extend(prompts, counts)            # (B, T, V)
            logits = logits[np.arange(len(prompts)), counts - 1]            # (B, V)
        else:
            logits = decoder.extend(out[:, step - 1:step])[:, 0]                # (B, V)
        if how.temperature and how != _AS_IT_IS:
            logits = filter_logits(logits, *how)
        out[:, step] = sample_categorical(logits, 1.0 if how.temperature else 0.0, rng)
    return out if np.ndim(ids) == 2 else out[0]


def cache_bytes(layers, kv_heads, head_dim, lengths, itemsize=2, capacity=None, block_size=None):
    """Bytes of the keys and values of some texts; eq. 31.5.

    Parameters
    ----------
    layers, kv_heads, head_dim : int, L, Hk, d
    lengths : int, or sequence of int of shape (B,), tokens
    itemsize : int, bytes a number
    capacity : int; if given, every row takes a buffer of so many tokens
    block_size : int; if given, and no capacity, rows take whole blocks, eq. 31.6

    Returns
    -------
    int
    """
    layers, kv_heads, head_dim, itemsize = check.sizes(
        layers=layers, kv_heads=kv_heads, head_dim=head_dim, itemsize=itemsize)
    rows = [check.whole("lengths", n, 0) for n in np.atleast_1d(lengths).tolist()]
    if capacity is not None:
        if max(rows, default=0) > check.whole("capacity", capacity):
            raise ValueError(f"lengths has {max(rows)}; expected at most the capacity of {capacity}")
        rows = [capacity] * len(rows)
    elif block_size is not None:
        rows = [check.whole("block_size", block_size) * -(-n // block_size) for n in rows]
    return 2 * layers * kv_heads * head_dim * itemsize * sum(rows)


class OutOfBlocks(ValueError):
    """No free block is left. Nothing has been written."""


class PagedCache:
    """Keys and values in blocks that rows take as they need them; Kwon et al. (2023), section 4.

    Parameters
    ----------
    layers, batch, heads, blocks, block_size, head_dim : int, L, B, Hk, and d at the end
    dtype : floating-point dtype

    Attributes
    ----------
    data : ndarray of shape (L, 2, blocks, Hk, block_size, d)
    lengths : ndarray of shape (B,), the tokens of each row
    tables : list of B lists, the blocks of each row in order
    users : ndarray of shape (blocks,), in how many tables a block stands
    """

    def __init__(self, layers, batch, heads, blocks, block_size, head_dim, dtype=np.float32):
        self.layers, self.batch, self.heads, self.blocks, self.block_size, self.head_dim = check.sizes(
            layers=layers, batch=batch, heads=heads, blocks=blocks, block_size=block_size, head_dim=head_dim)
        self.capacity = blocks * block_size
        self.data = np.zeros((layers, 2, blocks, heads, block_size, head_dim), dtype)
        self.lengths, self.users = np.zeros(batch, np.int64), np.zeros(blocks, np.int64)
        self.tables = [[] for _ in range(batch)]
        self.free = dict.fromkeys(range(blocks))                # in the order in which they will be taken
        self.known, self.prefix_of = {}, {}                     # prefix: block, and the other way round

    @property
    def nbytes(self):
        """Bytes of all blocks, an int."""
        return self.data.nbytes

    def reserve(self, rows, counts):
        """Take the blocks for counts (n,) more tokens of these rows (n,), or raise OutOfBlocks."""
        users, plan = self.users.copy(), []                     # of (row, place in its table)
        for row, count in zip(rows.tolist(), counts.tolist()):
            table, length = self.tables[row], int(self.lengths[row])
            begun = length // self.block_size                   # where the first new token goes
            if count and begun < len(table) and users[table[begun]] > 1:    # others read it: copy on write
                users[table[begun]] -= 1
                plan.append((row, begun))
            needed = -(-(length + count) // self.block_size)
            plan += [(row, k) for k in range(len(table), needed)]
        if len(plan) > len(self.free):
            raise OutOfBlocks(f"ids need {len(plan)} more blocks of {self.block_size} tokens; "
                              f"expected at most the {len(self.free)} of {self.blocks} that are free")
        for row, k in plan:
            block, table = self._take(), self.tables[row]
            if k < len(table):                                  # a copy, to write into
                self.data[:, :, block] = self.data[:, :, table[k]]
                self._drop(table[k])
                table[k] = block
            else:
                table.append(block)
        for row, count in zip(rows.tolist(), counts.tolist()):
            begun = int(self.lengths[row]) // self.block_size
            if count and begun < len(self.tables[row]):
                self._forget(self.tables[row][begun])           # it will not be what was published

    def _take(self):
        """The block that has been free for longest; what it was known for is forgotten."""
        block = next(iter(self.free))
        del self.free[block]
        self._forget(block)
        self.users[block] = 1
        return block

    def _drop(self, block):
        """One user fewer."""
        self.users[block] -= 1
        if not self.users[block]:
            self.free[block] = None

    def _forget(self, block):
        """Nobody will be given this block for its prefix any more."""
        if block in self.prefix_of:
            del self.known[self.prefix_of.pop(block)]

    def append(self, layer, k, v, rows, counts):
        """As `KVCache.append`, with k, v (n, Hk, T, d): keys and values (n, Hk, S, d), copies."""
        tables = [self.tables[row] for row in rows.tolist()]
        width = max(map(len, tables), default=0)
        tables = np.array([table + [0] * (width - len(table)) for table in tables], np.int64).reshape(-1, width)
        at, step = np.nonzero(np.arange(k.shape[2]) < counts[:, None])
        place = self.lengths[rows[at]] + step
        block, inside = tables[at, place // self.block_size], place % self.block_size
        self.data[layer, 0, block, :, inside] = k[at, :, step]
        self.data[layer, 1, block, :, inside] = v[at, :, step]
        found = self.data[layer][:, tables].swapaxes(2, 3)      # (2, n, Hk, width, block_size, d)
        longest = int((self.lengths[rows] + counts).max(initial=0))
        return found.reshape(2, len(rows), self.heads, -1, self.head_dim)[:, :, :, :longest]

    def advance(self, rows, counts):
        """Count the new tokens: counts (n,) of rows (n,)."""
        self.lengths[rows] += counts

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,), and give back their blocks."""
        lengths, rows = check.lengths_of(lengths, rows, self.lengths)
        for row, length in zip(rows.tolist(), lengths.tolist()):
            while len(self.tables[row]) > -(-length // self.block_size):
                self._drop(self.tables[row].pop())
            self.lengths[row] = length

    def publish(self, row, ids):
        """Let others have the full blocks of a row whose tokens are ids (T,)."""
        ids = np.asarray(ids).tolist()
        for k in range(min(len(ids), int(self.lengths[row])) // self.block_size):
            prefix, block = tuple(ids[:(k + 1) * self.block_size]), self.tables[row][k]
            if prefix not in self.known and block not in self.prefix_of:
                self.known[prefix], self.prefix_of[block] = block, prefix

    def share(self, row, ids):
        """Give an empty row the published blocks that ids (T,) begin with: how many tokens.

        The last token is never among them: it has to be read, for its logits.
        """
        ids, (row,) = np.asarray(ids).tolist(), check.row_numbers([row], self.batch)
        if self.lengths[row]:
            raise ValueError(f"row {row} has {self.lengths[row]} tokens; expected an empty one")
        for k in range((len(ids) - 1) // self.block_size):
            block = self.known.get(tuple(ids[:(k + 1) * self.block_size]))
            if block is None:
                break
            self._use(row, block)
        self.lengths[row] = len(self.tables[row]) * self.block_size
        return int(self.lengths[row])

    def fork(self, row, to):
        """Give the empty row `to` all that `row` has, without a copy: two texts that part from here on."""
        row, to = check.row_numbers([row, to], self.batch).tolist()
        if self.lengths[to]:
            raise ValueError(f"row {to} has {self.lengths[to]} tokens; expected an empty one")
        for block in self.tables[row]:
            self._use(to, block)
        self.lengths[to] = self.lengths[row]

    def _use(self, row, block):
        """One user more."""
        self.free.pop(block, None)
        self.users[block] += 1
        self.tables[row].append(block)


def verify(p, q, drafted, uniform, counts=None):
    """How many drafts are accepted, and the token behind them; Leviathan et al. (2023).

    Parameters
    ----------
    p : ndarray of shape (B, k + 1, V), the target's probabilities before each draft and behind the last
    q : ndarray of shape (B, k, V), those the drafts were drawn from
    drafted : ndarray of shape (B, k), integers below V
    uniform : ndarray of shape (B, k + 1), from 0 to 1, without 1: one for each draft, one for the last draw
    counts : ndarray of shape (B,), how many drafts a row has; by default k

    Returns
    -------
    accepted : ndarray of shape (B,), from 0 to counts
    token : ndarray of shape (B,), in place of the first refused draft, or behind the last
    """
    p, q, drafted, uniform, counts = check.drafts(p, q, drafted, uniform, counts)
    each, k = np.arange(len(p)), q.shape[1]
    of = lambda a: np.take_along_axis(a, drafted[..., None], axis=2)[..., 0]    # (B, k)
    good = (uniform[:, :k] * of(q) < of(p[:, :k])) & (np.arange(k) < counts[:, None])   # eq. 31.7
    accepted = good.cumprod(axis=1).sum(axis=1)
    left = p[each, accepted]                                    # (B, V)
    refused = accepted < counts
    if refused.any():
        less = np.maximum(left - q[each, np.minimum(accepted, k - 1)], 0)       # (B, V), eq. 31.8
        left = np.where((refused & (less.sum(axis=1) > 0))[:, None], less, left)
    up_to = left.cumsum(axis=1)
    token = (up_to <= uniform[:, -1:] * up_to[:, -1:]).sum(axis=1)
    last = p.shape[2] - 1 - (left[:, ::-1] > 0).argmax(axis=1)  # rounding must not pass it
    return accepted, np.minimum(token, last)


class Speculation(NamedTuple):
    """What a run did: passes of the target, and drafts made and accepted, all rows together."""

    passes: int
    drafted: int
    accepted: int


def speculative_decode(target, draft, ids, n, k=4, temperature=1.0, top_k=None, top_p=None, min_p=None,
                       rng=None):
    """Write n tokens behind each prompt, distributed as the target's, in fewer of its passes.

    Parameters
    ----------
    target, draft : Decoders, or what has their `lengths`, `extend` and `truncate`, with B rows each
    ids : ndarray of shape (B, T), integers, T at least 1
    n, k : int, tokens to write, and drafts a pass, at least 0
    temperature, top_k, top_p, min_p : as for `filter_logits`, of both models
    rng : numpy.random.Generator; by default one with the seed 0

    Returns
    -------
    tokens : ndarray of shape (B, n)
    done : Speculation
    """
    ids, _, n = check.generation(ids, None, n, target.capacity)
    k, how = check.whole("k", k, 0), check.choice(temperature, top_k, top_p, min_p)
    rng = np.random.default_rng(0) if rng is None else check.generator(rng)
    (B, T), passes, asked, given = ids.shape, 0, 0, 0
    text, ends = np.zeros((B, T + n + k + 1), np.int64), np.full(B, T)
    text[:, :T] = ids
    for each in (target, draft):
        each.truncate(np.zeros(B, np.int64))
    if T > 1:
        target.extend(ids[:, :-1])
    while (rows := np.flatnonzero(ends < T + n)).size:
        want = np.minimum(k, T + n - 1 - ends[rows])            # a pass gives one more than it accepts
        drafted, q = _drafts(draft, text, ends, rows, want, how, rng)
        read = np.concatenate([text[rows, ends[rows] - 1][:, None], drafted], axis=1)
        p = _chances(target.extend(read, 1 + want, rows), how)  # (b, k + 1, V)
        q = q if drafted.size else p[:, :0]
        accepted, token = verify(p, q, drafted, rng.random(read.shape), want)
        at, step = np.nonzero(np.arange(drafted.shape[1]) < accepted[:, None])
        text[rows[at], ends[rows[at]] + step] = drafted[at, step]
        text[rows, ends[rows] + accepted] = token
        ends[rows] += accepted + 1
        target.truncate(ends[rows] - 1, rows)
        draft.truncate(np.minimum(draft.lengths[rows], ends[rows] - 1), rows)
        passes, asked, given = passes + 1, asked + int(want.sum()), given + int(accepted.sum())
    return text[:, T:T + n], Speculation(passes, asked, given)


def _chances(logits, how):
    """Probabilities (..., V) of what a sampler with these options would draw."""
    z = (logits if how == _AS_IT_IS else filter_logits(logits, *how)).astype(np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _drafts(draft, text, ends, rows, want, how, rng):
    """Up to want (b,) drafts of each row: tokens (b, k), and what they were drawn from (b, k, V)."""
    before, drafted, q = draft.lengths[rows], [], []
    counts = ends[rows] - before                                # what the draft has not read yet
    read = text[rows[:, None], before[:, None] + np.arange(counts.max())]
    for step in range(want.max()):
        logits = draft.extend(read, np.where(want > step, counts, 0), rows)
        q.append(_chances(logits[np.arange(len(rows)), counts - 1], how))       # (b, V)
        up_to = q[-1].cumsum(axis=1)
        drawn = (up_to <= rng.random(len(rows))[:, None] * up_to[:, -1:]).sum(axis=1)
        drafted.append(np.minimum(drawn, up_to.shape[1] - 1))
        read, counts = drafted[-1][:, None], np.ones_like(counts)
    if not drafted:
        return np.zeros((len(rows), 0), np.int64), None
    return np.stack(drafted, axis=1), np.stack(q, axis=1)
