# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:bb3f72d03097da78
"""Transformer decoder, level 2: whole arrays, and the modules."""

from functools import lru_cache

import numpy as np

import tangled.t29_transformer_decoder.checks as check
from tangled.t05_mlp_forward import linear
from tangled.t06_backpropagation import Module, Parameter
from tangled.t08_regularization import Dropout
from tangled.t16_normalizations import LayerNorm, layer_norm, layer_norm_backward
from tangled.t18_rnn import embedding, embedding_backward
from tangled.t23_seq2seq import lengths_to_mask
from tangled.t25_self_attention import attention
from tangled.t26_multi_head_attention import (
    MultiHeadAttention,
    merge_heads,
    multi_head_attention,
    multi_head_attention_backward,
    split_heads,
)
from tangled.t26_multi_head_attention import from_pytorch as heads_from_pytorch
from tangled.t26_multi_head_attention import to_pytorch as heads_to_pytorch
from tangled.t27_positional_encodings import sinusoidal_table
from tangled.t28_transformer_encoder import FeedForward, TransformerEncoder, feed_forward, feed_forward_backward
from tangled.t28_transformer_encoder import from_pytorch as encoder_from_pytorch
from tangled.t28_transformer_encoder import to_pytorch as encoder_to_pytorch


def decoder_block(x, memory, weights, memory_mask=None, *, num_heads, activation="gelu",
                  eps=1e-5):
    """Self-attention, attention to a memory, a network; Vaswani et al. (2017), section 3.1.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating; at least one token
    memory : ndarray of shape (B, S, D), in the dtype of x: the encoder's output
    weights : dict of ndarrays in that dtype: gamma1, beta1, gamma2, beta2, gamma3, beta3 (D,);
        w_q, w_k, w_v, w_o (D, D), b_q, b_k, b_v, b_o (D,) of self-attention; u_q, u_k, u_v,
        u_o (D, D), a_q, a_k, a_v, a_o (D,) of cross-attention; w1 (D, F), b1 (F,), w2 (F, D),
        b2 (D,)
    memory_mask : ndarray of bool (B, S), True where the source is real; or None. What stands
        at padding is never read
    num_heads : int, a divisor of D
    activation : "gelu", "gelu_tanh" or "relu"
    eps : float, positive, of all three norms

    Returns
    -------
    out : ndarray of shape (B, T, D), in the dtype of x
    cache : for `decoder_block_backward`; float16 is computed in float32

    Raises
    ------
    ValueError : if a name, a shape, a dtype or an option is not as above
    """
    given = check.block(x, memory, weights, memory_mask, num_heads, activation, eps)
    take, heads = given.take, {"num_heads": given.heads}
    normed, kept1 = layer_norm(given.x, *take("gamma1", "beta1"), eps)              # (B, T, D)
    change, kept_s = multi_head_attention(normed, *take(*check.SELF), causal=True, **heads)
    middle = given.x + change                                               # eq. 29.1
    normed, kept2 = layer_norm(middle, *take("gamma2", "beta2"), eps)
    change, kept_c = multi_head_attention(normed, *take(*check.CROSS),
                                          context=given.memory, mask=given.real, **heads)
    late = middle + change
    normed, kept3 = layer_norm(late, *take("gamma3", "beta3"), eps)
    change, kept_f = feed_forward(normed, *take(*check.NETWORK), activation)
    out = late + change
    return out.astype(given.dtype, copy=False), (
        given, kept1, kept_s, kept2, kept_c, kept3, kept_f)


def decoder_block_backward(dout, cache):
    """Gradients of `decoder_block`; eq. 29.3 and eq. 29.4.

    Parameters
    ----------
    dout : ndarray of shape (B, T, D)
    cache : from `decoder_block`

    Returns
    -------
    dx : ndarray of shape (B, T, D)
    dmemory : ndarray of shape (B, S, D), zeros at padding
    dweights : dict of ndarrays, by the names and in the shapes of the weights
    """
    given, kept1, kept_s, kept2, kept_c, kept3, kept_f = cache
    dx = check.gradient(dout, given.x.shape, given.x.dtype)
    change, *of_f = feed_forward_backward(dx, kept_f)
    change, *of_3 = layer_norm_backward(change, kept3)
    dx = dx + change                                                        # eq. 29.3
    change, *of_c, dmemory = multi_head_attention_backward(dx, kept_c)
    change, *of_2 = layer_norm_backward(change, kept2)
    dx = dx + change
    change, *of_s = multi_head_attention_backward(dx, kept_s)
    change, *of_1 = layer_norm_backward(change, kept1)
    dx = dx + change
    grads = dict(zip(check.NAMES, (*of_1, *of_s, *of_2, *of_c, *of_3, *of_f), strict=True))
    return (dx.astype(given.dtype, copy=False), dmemory.astype(given.dtype, copy=False),
            {name: g.astype(given.dtype, copy=False) for name, g in grads.items()})


def start_decoding(memory, weights, memory_mask=None, *, num_heads):
    """The state of a block before the first token: keys and values of the memory alone.

    Parameters
    ----------
    memory : ndarray of shape (B, S, D), floating
    weights, memory_mask, num_heads : as for `decoder_block`

    Returns
    -------
    state : for `decoder_block_step`, B rows; chapter 23's `select` takes rows of it
    """
    memory, real, weights, H = check.beginning(memory, weights, memory_mask, num_heads)
    keys, values = (split_heads(linear(memory, weights["u_" + c], weights["a_" + c])[0], H)
                    for c in "kv")
    none = np.empty((*keys.shape[:2], 0, keys.shape[3]), keys.dtype)
    return {"keys": none, "values": none, "memory_keys": keys, "memory_values": values,
            "real": None if real is None else real[:, None]}


def decoder_block_step(x, state, weights, *, num_heads, activation="gelu", eps=1e-5):
    """One more token through a block.

    Parameters
    ----------
    x : ndarray of shape (B, D), floating: the token's vector in each row
    state : from `start_decoding`, or from the last step; not changed
    weights, num_heads, activation, eps : as for `decoder_block`

    Returns
    -------
    out : ndarray of shape (B, D): that of `decoder_block` for the last of all tokens so far
    state : with one more key and value in each row
    """
    x, w, H, dtype = check.one(x, len(state["keys"]), weights, num_heads, activation, eps)
    normed = layer_norm(x[:, None], w["gamma1"], w["beta1"], eps)[0]        # (B, 1, D)
    q, k, v = (split_heads(linear(normed, w["w_" + c], w["b_" + c])[0], H) for c in "qkv")
    keys = np.concatenate([state["keys"], k], axis=2)               # (B, H, t, d)    eq. 29.8
    values = np.concatenate([state["values"], v], axis=2)
    found = merge_heads(attention(q, keys, values)[0])
    middle = x[:, None] + linear(found, w["w_o"], w["b_o"])[0]
    normed = layer_norm(middle, w["gamma2"], w["beta2"], eps)[0]
    q = split_heads(linear(normed, w["u_q"], w["a_q"])[0], H)
    found = merge_heads(
        attention(q, state["memory_keys"], state["memory_values"], state["real"])[0])
    late = middle + linear(found, w["u_o"], w["a_o"])[0]
    normed = layer_norm(late, w["gamma3"], w["beta3"], eps)[0]
    out = late + feed_forward(normed, *(w[name] for name in check.NETWORK), activation)[0]
    return out[:, 0].astype(dtype, copy=False), state | {"keys": keys, "values": values}


class DecoderBlock(Module):
    """`decoder_block` with weights of its own, and dropout in training.

    Parameters
    ----------
    d_model, num_heads, d_ff : int, D, H and F
    dropout : float, from 0 to less than 1, of what each sublayer adds, and inside heads and network
    activation : "gelu", "gelu_tanh" or "relu"
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    norm1, attention, drop1, norm2, cross, drop2, norm3, ffn, drop3 : Modules, in the order of the data
    """

    heads, network = MultiHeadAttention, FeedForward
    _start, _step = staticmethod(start_decoding), staticmethod(decoder_block_step)

    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, activation="gelu", rng=None):
        rng, p = np.random.default_rng(0) if rng is None else rng, check.rate(dropout)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model) for _ in range(3))
        self.attention = self.heads(d_model, num_heads, causal=True, dropout=p, rng=rng)
        self.cross = self.heads(d_model, num_heads, dropout=p, rng=rng)
        self.ffn = self.network(d_model, d_ff, activation, p, rng=rng)
        self.drop1, self.drop2, self.drop3 = (Dropout(p, rng) for _ in range(3))

    def forward(self, x, memory, memory_mask=None):
        """x (B, T, D), memory (B, S, D), memory_mask (B, S) or None: (B, T, D)."""
        memory, real = check.memory_of(memory, memory_mask, x)
        x = x + self.drop1(self.attention(self.norm1(x)))
        x = x + self.drop2(self.cross(self.norm2(x), context=memory, mask=real))
        return x + self.drop3(self.ffn(self.norm3(x)))

    def backward(self, dout):
        """dout (B, T, D) to dx (B, T, D) and dmemory (B, S, D)."""
        dout = dout + self.norm3.backward(self.ffn.backward(self.drop3.backward(dout)))
        change, dmemory = self.cross.backward(self.drop2.backward(dout))
        dout = dout + self.norm2.backward(change)
        return dout + self.norm1.backward(self.attention.backward(self.drop1.backward(dout))), dmemory

    def arrays(self):
        """{name of the op: Parameter}."""
        parts = []
        for norm, heads in ((self.norm1, self.attention), (self.norm2, self.cross)):
            layers = heads.projections()
            parts += [norm.weight, norm.bias, *(p.weight for p in layers), *(p.bias for p in layers)]
        parts += [self.norm3.weight, self.norm3.bias]
        parts += [p for layer in (self.ffn.linear1, self.ffn.linear2) for p in (layer.weight, layer.bias)]
        return dict(zip(check.NAMES, parts, strict=True))

    def start(self, memory, memory_mask=None):
        """The state (B rows) of `start_decoding`, for memory (B, S, D)."""
        weights = {name: p.data for name, p in self.arrays().items()}
        return self._start(memory, weights, memory_mask, num_heads=self.attention.num_heads)

    def step(self, x, state):
        """x (B, D), state: `decoder_block_step`, (B, D) and a state; nothing is dropped."""
        weights = {name: p.data for name, p in self.arrays().items()}
        return self._step(x, state, weights, num_heads=self.attention.num_heads, activation=self.ffn.activation,
                          eps=self.norm1.eps)


def positions(length, D, dtype):
    """Sines and cosines (length, D) in a dtype, from a table that is kept."""
    return _table(1 << max(6, (length - 1).bit_length()), D, dtype)[:length]


@lru_cache(maxsize=8)
def _table(length, D, dtype):
    table = sinusoidal_table(length, D, dtype=np.dtype(dtype))
    table.flags.writeable = False
    return table


class Transformer(Module):
    """Encoder and decoder; Vaswani et al. (2017), norms first, one table for both languages.

    Parameters
    ----------
    vocab : int, V, symbols of the two languages together
    d_model, num_heads, num_layers, d_ff : int, D (even), H, blocks on either side, F
    dropout : float, from 0 to less than 1
    activation : "relu", "gelu" or "gelu_tanh"
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    table : Parameter of shape (V, D): vectors of both languages, and the matrix of the logits
    encoder : TransformerEncoder
    blocks : list of DecoderBlock
    norm : LayerNorm behind the last of them
    """

    encoder_type, block = TransformerEncoder, DecoderBlock

    def __init__(self, vocab, d_model=128, num_heads=4, num_layers=2, d_ff=512, dropout=0.0,
                 activation="relu", rng=None):
        rng, shape = np.random.default_rng(0) if rng is None else rng, (
            check.whole("vocab", vocab), d_model)
        self.table = Parameter(
            rng.normal(0, check.whole("d_model", d_model) ** -0.5, shape).astype(np.float32))
        self.source_drop, self.target_drop = Dropout(dropout, rng), Dropout(dropout, rng)
        self.encoder = self.encoder_type(num_layers, d_model, num_heads, d_ff,
                                         dropout=dropout, activation=activation, rng=rng)
        self.blocks = [self.block(d_model, num_heads, d_ff, dropout, activation, rng)
                       for _ in range(num_layers)]
        self.norm = LayerNorm(d_model)

    def _embed(self, name, ids, first=0):
        """ids (B, T), at positions from `first` on: (B, T, D), and the table's cache."""
        V, D = self.table.data.shape
        x, kept = embedding(check.tokens(name, ids, V, 2), self.table.data)
        x *= x.dtype.type(D ** 0.5)
        return (x + positions(first + x.shape[1], D, x.dtype.char)[first:],     # eq. 29.5
                kept)

    def encode(self, source, lengths):
        """source (B, S), lengths (B,): the memory (B, S, D), zeros at padding."""
        x, self.read = self._embed("source", source)
        return self.encoder(self.source_drop(x), lengths=lengths)

    def forward(self, source, lengths, inputs):
        """source (B, S), its lengths (B,), inputs (B, T) from BOS on: logits (B, T, V)."""
        memory, real = (self.encode(source, lengths),
                        lengths_to_mask(lengths, source.shape[1]))
        x, kept = self._embed("inputs", inputs)
        x = self.target_drop(x)
        for block in self.blocks:
            x = block(x, memory, real)
        x = self.norm(x)
        self.cache = (x, memory.shape, self.read, kept)
        return x @ self.table.data.T                                    # eq. 29.6

    def backward(self, dlogits):
        """dlogits (B, T, V): adds to all gradients; integers have none."""
        x, shape, of_source, of_inputs = self.kept()
        dx, dmemory = (self.norm.backward(dlogits @ self.table.data),
                       np.zeros(shape, x.dtype))
        for block in reversed(self.blocks):
            dx, part = block.backward(dx)
            dmemory += part                                                 # eq. 29.4
        dinputs, dsource = (self.target_drop.backward(dx),
                            self.source_drop.backward(self.encoder.backward(dmemory)))
        grad = dlogits.reshape(-1, len(self.table.data)).T @ x.reshape(-1, x.shape[2])  # (V, D)
        for dvectors, kept in ((dinputs, of_inputs), (dsource, of_source)):
            grad += embedding_backward(         # eq. 29.7
                dvectors * x.dtype.type(x.shape[2] ** 0.5), kept)
        self.table.accumulate(grad)

    def start(self, source, lengths):
        """source (B, S), lengths (B,): the state before BOS, B rows. In evaluation mode."""
        memory, real = (self.encode(source, lengths),
                        lengths_to_mask(lengths, source.shape[1]))
        return {"t": np.zeros(len(source), np.int64),
                "blocks": [block.start(memory, real) for block in self.blocks]}

    def step(self, state, tokens):
        """state, tokens (n,) read last: log-probabilities (n, V), and the next state."""
        ids = check.tokens("tokens", tokens, len(self.table.data), 1)
        first = int(state["t"][0]) if len(ids) else 0                   # all rows are equally far
        x, blocks = self._embed("tokens", ids[:, None], first)[0][:, 0], []
        for block, before in zip(self.blocks, state["blocks"]):
            x, after = block.step(x, before)
            blocks.append(after)
        logits = self.norm(x) @ self.table.data.T
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return log_p, {"t": state["t"] + 1, "blocks": blocks}


def to_pytorch(model):
    """The weights of a Transformer by the names of torch.nn.Transformer, and "table".

    Parameters
    ----------
    model : Transformer

    Returns
    -------
    dict of ndarray : copies; table (V, D), encoder.layers.0.linear1.weight (F, D),
        decoder.layers.0.multihead_attn.in_proj_weight (3D, D), decoder.norm.weight (D,), ...
    """
    state = {"table": model.table.data.copy()}
    for k, block in enumerate(model.encoder.blocks):
        state |= {f"encoder.layers.{k}.{name}": a for name, a in encoder_to_pytorch(block).items()}
    for name, module in _named(model):
        if isinstance(module, MultiHeadAttention):
            state |= {f"{name}.{inner}": a for inner, a in heads_to_pytorch(module).items()}
        else:
            state |= {f"{name}.weight": module.weight.data.T.copy(), f"{name}.bias": module.bias.data.copy()}
    return state


def from_pytorch(model, state):
    """Copy weights by the names of torch.nn.Transformer, and "table" (V, D), into a Transformer.

    Parameters
    ----------
    model : Transformer
    state : dict of ndarray, as `to_pytorch` gives it

    Returns
    -------
    Transformer : the model

    Raises
    ------
    ValueError : if names or shapes are not those
    """
    state = check.state(state, {name: a.shape for name, a in to_pytorch(model).items()})
    under = lambda prefix: {k[len(prefix):]: a for k, a in state.items() if k.startswith(prefix)}
    model.table.data[...] = state["table"]
    for k, block in enumerate(model.encoder.blocks):
        encoder_from_pytorch(block, under(f"encoder.layers.{k}."))
    for name, module in _named(model):
        if isinstance(module, MultiHeadAttention):
            heads_from_pytorch(module, under(name + "."))
        else:
            module.weight.data[...] = state[f"{name}.weight"].T
            module.bias.data[...] = state[f"{name}.bias"]
    return model


def _named(model):
    """[(name of PyTorch, module)] of all that is not a block of the encoder."""
    found = [("encoder.norm", model.encoder.norm), ("decoder.norm", model.norm)]
    for k, block in enumerate(model.blocks):
        parts = {"self_attn": block.attention, "multihead_attn": block.cross, "linear1": block.ffn.linear1,
                 "linear2": block.ffn.linear2, "norm1": block.norm1, "norm2": block.norm2, "norm3": block.norm3}
        found += [(f"decoder.layers.{k}.{name}", module) for name, module in parts.items()]
    return found
