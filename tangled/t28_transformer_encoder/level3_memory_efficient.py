# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:79f363d23a1d1984
"""Transformer encoder, level 3: the network in chunks of rows, sums inside the norms."""

import numpy as np

import tangled.t28_transformer_encoder.checks as check
from tangled.t07_activations.level3_memory_efficient import (
    gelu,
    gelu_backward,
    relu,
    relu_backward,
    silu,
    silu_backward,
)
from tangled.t16_normalizations.level3_memory_efficient import (
    add_layer_norm,
    add_layer_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from tangled.t26_multi_head_attention.level3_memory_efficient import (
    multi_head_attention,
    multi_head_attention_backward,
)
from tangled.t28_transformer_encoder import level2_vectorized as plain
from tangled.t28_transformer_encoder.level2_vectorized import (
    MixtureOfExperts,
    PatchEmbedding,
    from_pytorch,
    mixture_of_experts,
    mixture_of_experts_backward,
    patchify,
    smoothed_cross_entropy,
    smoothed_cross_entropy_backward,
    to_pytorch,
    unpatchify,
)

__all__ = ["EncoderBlock", "FeedForward", "MixtureOfExperts", "PatchEmbedding", "SwiGLU", "TransformerEncoder",
           "ViT", "encoder_block", "encoder_block_backward", "feed_forward", "feed_forward_backward",
           "from_pytorch", "mixture_of_experts", "mixture_of_experts_backward", "patchify",
           "smoothed_cross_entropy", "smoothed_cross_entropy_backward", "swiglu", "swiglu_backward", "to_pytorch",
           "unpatchify"]

CHUNK = 1 << 17                                                 # hidden numbers in a chunk
ACTIVATIONS = {"gelu": (gelu, gelu_backward), "relu": (relu, relu_backward),
               "gelu_tanh": (lambda x, out: gelu(x, "tanh", out), gelu_backward)}


def _chunks(rows, size):
    """Slices of `rows` rows of `size` hidden numbers, about CHUNK numbers each."""
    step = max(1, CHUNK // max(size, 1))
    return [slice(k, min(k + step, rows)) for k in range(0, rows, step)]


def feed_forward(x, w1, b1, w2, b2, activation="gelu"):
    """As level 2, x (..., D); keeps the hidden numbers and, in float32, the slopes of GELU."""
    given, dtype = check.network(x, w1, b1, w2, b2, activation)
    x, w1, b1, w2, b2 = given
    rows, F, kept = x.reshape(-1, x.shape[-1]), w1.shape[1], []
    active, out = np.empty((len(rows), F), x.dtype), np.empty(rows.shape, x.dtype)
    for part in _chunks(len(rows), F):
        hidden = rows[part] @ w1                                # (n, F), in cache
        if b1 is not None:
            hidden += b1
        _, cache = ACTIVATIONS[activation][0](hidden, out=active[part])
        kept.append((part, cache))
        np.matmul(active[part], w2, out=out[part])
    if b2 is not None:
        out += b2
    return out.reshape(x.shape).astype(dtype, copy=False), (given, active, kept, activation, dtype)


def feed_forward_backward(dout, cache):
    """As level 2, dout (..., D)."""
    (x, w1, b1, w2, b2), active, kept, activation, dtype = cache
    dout = check.gradient(dout, x.shape, x.dtype).reshape(-1, x.shape[-1])
    rows, dx = x.reshape(dout.shape), np.empty(dout.shape, x.dtype)
    dw1, db1, ones = np.zeros(w1.shape, x.dtype), np.zeros(w1.shape[1], x.dtype), np.ones(len(rows), x.dtype)
    buffer = np.empty((max((part.stop - part.start for part, _ in kept), default=0), len(w2)), x.dtype)
    for part, slopes in kept:
        dhidden = np.matmul(dout[part], w2.T, out=buffer[:part.stop - part.start])
        ACTIVATIONS[activation][1](dhidden, slopes, out=dhidden)
        dw1 += rows[part].T @ dhidden                           # eq. 28.19
        db1 += ones[part] @ dhidden
        np.matmul(dhidden, w1.T, out=dx[part])
    found = [dx.reshape(x.shape), dw1, *[db1] * (b1 is not None), active.T @ dout, *[ones @ dout] * (b2 is not None)]
    return tuple(g.astype(dtype, copy=False) for g in found)


def swiglu(x, w_gate, w_up, w_down):
    """As level 2, x (..., D); keeps two hidden arrays, and computes SiLU again in backward."""
    given, dtype = check.gated(x, w_gate, w_up, w_down)
    x, w_gate, w_up, w_down = given
    rows, F = x.reshape(-1, x.shape[-1]), w_gate.shape[1]
    gate, up = np.empty((2, len(rows), F), x.dtype)
    out, buffer = np.empty(rows.shape, x.dtype), np.empty((max(1, min(len(rows), CHUNK // max(F, 1))), F), x.dtype)
    for part in _chunks(len(rows), F):
        np.matmul(rows[part], w_gate, out=gate[part])
        np.matmul(rows[part], w_up, out=up[part])
        product, _ = silu(gate[part], out=buffer[:part.stop - part.start])
        product *= up[part]
        np.matmul(product, w_down, out=out[part])
    return out.reshape(x.shape).astype(dtype, copy=False), (given, gate, up, dtype)


def swiglu_backward(dout, cache):
    """As level 2, dout (..., D)."""
    (x, w_gate, w_up, w_down), gate, up, dtype = cache
    dout = check.gradient(dout, x.shape, x.dtype).reshape(-1, x.shape[-1])
    rows, dx = x.reshape(dout.shape), np.empty(dout.shape, x.dtype)
    dw_gate, dw_up, dw_down = (np.zeros(w.shape, x.dtype) for w in (w_gate, w_up, w_down))
    for part in _chunks(len(rows), gate.shape[1]):
        dproduct = dout[part] @ w_down.T                        # (n, F)
        open_, kept = silu(gate[part])
        dw_down += (open_ * up[part]).T @ dout[part]
        open_ *= dproduct                                       # the gradient of up
        dproduct *= up[part]
        dgate = silu_backward(dproduct, kept, out=dproduct)
        dw_gate += rows[part].T @ dgate
        dw_up += rows[part].T @ open_
        np.matmul(dgate, w_gate.T, out=dx[part])
        dx[part] += open_ @ w_up.T
    return tuple(g.astype(dtype, copy=False) for g in (dx.reshape(x.shape), dw_gate, dw_up, dw_down))


def encoder_block(x, weights, mask=None, *, num_heads, num_kv_heads=None, causal=False, norm_first=True,
                  activation="gelu", eps=1e-5):
    """As level 2, x (B, T, D)."""
    given = check.block(x, weights, mask, num_heads, num_kv_heads, causal, norm_first, activation, eps)
    x, of_heads, of_network = given.x, given.take(*check.NAMES[2:10]), given.take(*check.NAMES[12:])
    norms = [(*given.take(*names), eps) for names in (check.NAMES[:2], check.NAMES[10:12])]
    if norm_first:
        normed, kept1 = layer_norm(x, *norms[0])
        attended, kept_a = multi_head_attention(normed, *of_heads, **given.heads)
        (normed, middle), kept2 = add_layer_norm(attended, x, *norms[1])
        out, kept_f = feed_forward(normed, *of_network, activation)
        out += middle                                           # eq. 28.6, in place
    else:
        attended, kept_a = multi_head_attention(x, *of_heads, **given.heads)
        (middle, _), kept1 = add_layer_norm(attended, x, *norms[0])
        change, kept_f = feed_forward(middle, *of_network, activation)
        (out, _), kept2 = add_layer_norm(change, middle, *norms[1])
    return out.astype(given.dtype, copy=False), (given, kept1, kept_a, kept2, kept_f)


def encoder_block_backward(dout, cache):
    """As level 2, dout (B, T, D)."""
    given, kept1, kept_a, kept2, kept_f = cache
    dout = check.gradient(dout, given.x.shape, given.x.dtype)
    if given.norm_first:
        change, *of_f = feed_forward_backward(dout, kept_f)
        dmiddle, _, *of_2 = add_layer_norm_backward(change, dout, kept2)        # eq. 28.8
        change, *of_a = multi_head_attention_backward(dmiddle, kept_a)
        dx, _, *of_1 = add_layer_norm_backward(change, dmiddle, kept1)
    else:
        dsecond, *of_2 = layer_norm_backward(dout, kept2)
        change, *of_f = feed_forward_backward(dsecond, kept_f)
        change += dsecond
        dfirst, *of_1 = layer_norm_backward(change, kept1)
        dx, *of_a = multi_head_attention_backward(dfirst, kept_a)
        dx += dfirst
    grads = dict(zip(given.given, (*of_1, *of_a, *of_2, *of_f), strict=True))
    return dx.astype(given.dtype, copy=False), {k: g.astype(given.dtype, copy=False) for k, g in grads.items()}


class FeedForward(plain.FeedForward):
    """As level 2, on the op above wherever nothing is dropped."""

    def forward(self, x):
        """x (..., D) to (..., D)."""
        self.whole = not (self.training and self.drop.p)
        if not self.whole:
            return super().forward(x)
        arrays = [p if p is None else p.data for p in self.arrays()]
        out, self.cache = feed_forward(x, *arrays, self.activation)
        return out

    def arrays(self):
        """The Parameters in the order of the op: (D, F), (F,), (F, D), (D,); None for a bias that is not."""
        return [self.linear1.weight, self.linear1.bias, self.linear2.weight, self.linear2.bias]

    def backward(self, dout):
        """dout (..., D) to dx (..., D)."""
        kept = self.kept()
        if not self.whole:
            return super().backward(dout)
        dx, *grads = feed_forward_backward(dout, kept)
        for parameter, grad in zip((p for p in self.arrays() if p is not None), grads):
            parameter.accumulate(grad)
        return dx


class SwiGLU(plain.SwiGLU):
    """As level 2, on the op above."""

    def forward(self, x):
        """x (..., D) to (..., D)."""
        out, self.cache = swiglu(x, self.w_gate.data, self.w_up.data, self.w_down.data)
        return out

    def backward(self, dout):
        """dout (..., D) to dx (..., D)."""
        dx, *grads = swiglu_backward(dout, self.kept())
        for parameter, grad in zip((self.w_gate, self.w_up, self.w_down), grads):
            parameter.accumulate(grad)
        return dx


class EncoderBlock(plain.EncoderBlock):
    """As level 2, on the op above wherever nothing is dropped and the parts are FeedForward and LayerNorm."""

    def forward(self, x, mask=None):
        """x (B, T, D), mask as in `encoder_block`: (B, T, D)."""
        usual = isinstance(self.ffn, plain.FeedForward) and isinstance(self.norm1, plain.LayerNorm)
        self.whole = usual and not (self.training and self.drop1.p) and self.norm1.eps == self.norm2.eps
        if not self.whole:
            return super().forward(x, mask)
        self.balance, a = None, self.attention
        weights = {name: p.data for name, p in self.arrays().items()}
        out, self.cache = encoder_block(
            x, weights, mask, num_heads=a.num_heads, num_kv_heads=a.num_kv_heads, causal=a.causal,
            norm_first=self.norm_first, activation=self.ffn.activation, eps=self.norm1.eps)
        return out

    def arrays(self):
        """{name of the op: Parameter} of those that there are."""
        heads = self.attention.projections()
        found = [self.norm1.weight, self.norm1.bias, *(p.weight for p in heads), *(p.bias for p in heads),
                 self.norm2.weight, self.norm2.bias, self.ffn.linear1.weight, self.ffn.linear1.bias,
                 self.ffn.linear2.weight, self.ffn.linear2.bias]
        return {name: p for name, p in zip(check.NAMES, found) if p is not None}

    def backward(self, dout):
        """dout (B, T, D) to dx (B, T, D)."""
        if not getattr(self, "whole", True):
            return super().backward(dout)
        dx, grads = encoder_block_backward(dout, self.kept())
        for name, parameter in self.arrays().items():
            parameter.accumulate(grads[name])
        return dx


class TransformerEncoder(plain.TransformerEncoder):
    """As level 2, of the blocks above."""

    block = EncoderBlock


class ViT(plain.ViT):
    """As level 2, on the encoder above."""

    encoder_type = TransformerEncoder
