# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:35045a27025b4785
"""Transformer decoder, level 3: sums inside the norms, a state that grows in place."""

import numpy as np

import tangled.t29_transformer_decoder.checks as check
from tangled.t16_normalizations.level3_memory_efficient import (
    add_layer_norm,
    add_layer_norm_backward,
    layer_norm,
)
from tangled.t26_multi_head_attention.level3_memory_efficient import (
    MultiHeadAttention,
    multi_head_attention,
    multi_head_attention_backward,
)
from tangled.t28_transformer_encoder.level3_memory_efficient import (
    ACTIVATIONS,
    FeedForward,
    TransformerEncoder,
    feed_forward,
    feed_forward_backward,
)
from tangled.t29_transformer_decoder import level2_vectorized as plain
from tangled.t29_transformer_decoder.level2_vectorized import from_pytorch, to_pytorch

__all__ = ["DecoderBlock", "Transformer", "decoder_block", "decoder_block_backward", "decoder_block_step",
           "from_pytorch", "start_decoding", "to_pytorch"]


def decoder_block(x, memory, weights, memory_mask=None, *, num_heads, activation="gelu",
                  eps=1e-5):
    """As level 2, x (B, T, D) and memory (B, S, D)."""
    given = check.block(x, memory, weights, memory_mask, num_heads, activation, eps)
    take, heads = given.take, {"num_heads": given.heads}
    normed, kept1 = layer_norm(given.x, *take("gamma1", "beta1"), eps)
    change, kept_s = multi_head_attention(normed, *take(*check.SELF), causal=True, **heads)
    (normed, middle), kept2 = add_layer_norm(change, given.x, *take("gamma2", "beta2"), eps)
    change, kept_c = multi_head_attention(normed, *take(*check.CROSS),
                                          context=given.memory, mask=given.real, **heads)
    (normed, late), kept3 = add_layer_norm(change, middle, *take("gamma3", "beta3"), eps)
    out, kept_f = feed_forward(normed, *take(*check.NETWORK), activation)
    out += late
    return out.astype(given.dtype, copy=False), (
        given, kept1, kept_s, kept2, kept_c, kept3, kept_f)


def decoder_block_backward(dout, cache):
    """As level 2, dout (B, T, D)."""
    given, kept1, kept_s, kept2, kept_c, kept3, kept_f = cache
    dout = check.gradient(dout, given.x.shape, given.x.dtype)
    change, *of_f = feed_forward_backward(dout, kept_f)
    dlate, _, *of_3 = add_layer_norm_backward(change, dout, kept3)      # eq. 29.3
    change, *of_c, dmemory = multi_head_attention_backward(dlate, kept_c)
    dmiddle, _, *of_2 = add_layer_norm_backward(change, dlate, kept2)
    change, *of_s = multi_head_attention_backward(dmiddle, kept_s)
    dx, _, *of_1 = add_layer_norm_backward(change, dmiddle, kept1)
    grads = dict(zip(check.NAMES, (*of_1, *of_s, *of_2, *of_c, *of_3, *of_f), strict=True))
    return (dx.astype(given.dtype, copy=False), dmemory.astype(given.dtype, copy=False),
            {name: g.astype(given.dtype, copy=False) for name, g in grads.items()})


class State:
    """A block's state: keys and values in one buffer (2, B, H, room, d), with room to grow.

    `filled`, a list of one number, is shared by all states on the buffer: the places written.
    """

    def __init__(self, buffer, filled, t, memory, real):
        self.buffer, self.filled, self.t, self.memory, self.real = (
            buffer, filled, t, memory, real)

    def __len__(self):
        return self.buffer.shape[1]

    def select(self, rows):
        """The state of these rows (n,); the same one for all rows in their order."""
        if len(rows) == len(self) and (np.asarray(rows) == np.arange(len(self))).all():
            return self
        real = None if self.real is None else self.real[rows]
        return State(self.buffer[:, rows], [self.t], self.t, self.memory[:, rows], real)

    def append(self, k, v):
        """One more key and value (B, H, d) a row: the next state. This one stays."""
        buffer, filled, t = self.buffer, self.filled, self.t
        full = t == buffer.shape[3]
        if full or filled[0] != t:              # no room, or somebody else went on from here
            room, filled = max(16, 2 * t) if full else buffer.shape[3], [t]
            buffer = np.empty((*buffer.shape[:3], room, buffer.shape[4]), buffer.dtype)
            buffer[:, :, :, :t] = self.buffer[:, :, :, :t]
        buffer[0, :, :, t], buffer[1, :, :, t] = k, v
        filled[0] = t + 1
        return State(buffer, filled, t + 1, self.memory, self.real)


def start_decoding(memory, weights, memory_mask=None, *, num_heads):
    """As level 2, memory (B, S, D)."""
    memory, real, w, H = check.beginning(memory, weights, memory_mask, num_heads)
    (B, S, D), pairs = memory.shape, []
    for c in "kv":
        rows = memory.reshape(-1, D) @ w["u_" + c]
        rows += w["a_" + c]
        pairs.append(rows.reshape(B, S, H, D // H).swapaxes(1, 2))
    return State(np.empty((2, B, H, 0, D // H), memory.dtype), [0], 0,
                 np.stack(pairs), real)


def _norm(x, gamma, beta, eps):
    """Layer norm of rows (B, D)."""
    x = x - x.mean(axis=1, keepdims=True)
    x *= 1 / np.sqrt(np.einsum("bd,bd->b", x, x)[:, None] / x.shape[1] + eps
                     ).astype(x.dtype, copy=False)
    x *= gamma
    x += beta
    return x


def _look(q, keys, values, real=None):
    """q (B, H, d), keys and values (B, H, t, d), real (B, 1, t) or None: (B, H d)."""
    scores = np.matmul(keys,                                    # (B, H, t)
                       (q * q.dtype.type(q.shape[2] ** -0.5))[..., None])[..., 0]
    if real is not None:
        scores = np.where(real, scores, scores.dtype.type(-np.inf))
    top = scores.max(axis=2, keepdims=True)
    scores -= np.where(np.isneginf(top), 0, top)        # a row that sees nothing stays at -inf
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(axis=2, keepdims=True), np.finfo(scores.dtype).tiny)
    return np.matmul(scores[:, :, None], values).reshape(len(q), q.shape[1] * q.shape[2])


def decoder_block_step(x, state, weights, *, num_heads, activation="gelu", eps=1e-5):
    """As level 2, x (B, D); the new key is written behind the others."""
    x, w, H, dtype = check.one(x, len(state), weights, num_heads, activation, eps)
    shape = (len(x), H, x.shape[1] // H)
    normed = _norm(x, w["gamma1"], w["beta1"], eps)
    q, k, v = ((normed @ w["w_" + c] + w["b_" + c]).reshape(shape) for c in "qkv")
    state = state.append(k, v)                                  # eq. 29.8
    keys, values = state.buffer[:, :, :, :state.t]
    x = x + (_look(q, keys, values) @ w["w_o"] + w["b_o"])
    q = (_norm(x, w["gamma2"], w["beta2"], eps) @ w["u_q"] + w["a_q"]).reshape(shape)
    x += _look(q, *state.memory, state.real) @ w["u_o"] + w["a_o"]
    hidden = _norm(x, w["gamma3"], w["beta3"], eps) @ w["w1"] + w["b1"]
    x += (ACTIVATIONS[activation][0](hidden, out=np.empty_like(hidden))[0] @ w["w2"]
          + w["b2"])
    return x.astype(dtype, copy=False), state


class DecoderBlock(plain.DecoderBlock):
    """As level 2, on the ops above wherever nothing is dropped."""

    heads, network = MultiHeadAttention, FeedForward
    _start, _step = staticmethod(start_decoding), staticmethod(decoder_block_step)

    def forward(self, x, memory, memory_mask=None):
        """x (B, T, D), memory (B, S, D), memory_mask (B, S) or None: (B, T, D)."""
        self.whole = not (self.training and self.drop1.p)
        if not self.whole:
            return super().forward(x, memory, memory_mask)
        out, self.cache = decoder_block(x, memory, {name: p.data for name, p in self.arrays().items()}, memory_mask,
                                        num_heads=self.attention.num_heads, activation=self.ffn.activation,
                                        eps=self.norm1.eps)
        return out

    def backward(self, dout):
        """dout (B, T, D) to dx (B, T, D) and dmemory (B, S, D)."""
        if not getattr(self, "whole", True):
            return super().backward(dout)
        dx, dmemory, grads = decoder_block_backward(dout, self.kept())
        for name, parameter in self.arrays().items():
            parameter.accumulate(grads[name])
        return dx, dmemory


class Transformer(plain.Transformer):
    """As level 2, of the blocks above."""

    encoder_type, block = TransformerEncoder, DecoderBlock
