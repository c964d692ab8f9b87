# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:28835fb127e08201
"""Transformer encoder, level 2: whole arrays, and the modules."""

import numpy as np

import tangled.t28_transformer_encoder.checks as check
from tangled.t01_tensor_operations import softmax
from tangled.t05_mlp_forward import linear
from tangled.t06_backpropagation import Linear, Module, Parameter, linear_backward
from tangled.t07_activations import gelu, gelu_backward, relu, relu_backward, silu, silu_backward
from tangled.t08_regularization import Dropout
from tangled.t16_normalizations import LayerNorm, layer_norm, layer_norm_backward
from tangled.t25_self_attention import padding_mask, softmax_backward
from tangled.t26_multi_head_attention import (
    MultiHeadAttention,
    multi_head_attention,
    multi_head_attention_backward,
)
from tangled.t26_multi_head_attention import from_pytorch as heads_from_pytorch
from tangled.t26_multi_head_attention import to_pytorch as heads_to_pytorch

ACTIVATIONS = {"gelu": (gelu, gelu_backward), "relu": (relu, relu_backward),
               "gelu_tanh": (lambda x: gelu(x, "tanh"), gelu_backward)}


def feed_forward(x, w1, b1, w2, b2, activation="gelu"):
    """Two linear layers at every token; Vaswani et al. (2017), equation 2, with GELU.

    Parameters
    ----------
    x : ndarray of shape (..., D), floating
    w1, w2 : ndarrays of shape (D, F) and (F, D), in the dtype of x
    b1, b2 : ndarrays of shape (F,) and (D,), or None
    activation : "gelu", "gelu_tanh" or "relu"

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `feed_forward_backward`; float16 is computed in float32

    Raises
    ------
    ValueError : if a shape, a dtype or the activation is not one of these
    """
    (x, w1, b1, w2, b2), dtype = check.network(x, w1, b1, w2, b2, activation)
    hidden, for_1 = linear(x, w1, b1)                           # (..., F)
    active, for_a = ACTIVATIONS[activation][0](hidden)
    out, for_2 = linear(active, w2, b2)                         # eq. 28.1
    return out.astype(dtype, copy=False), (for_1, for_a, for_2, activation, dtype)


def feed_forward_backward(dout, cache):
    """Gradients of `feed_forward`; eq. 28.2.

    Parameters
    ----------
    dout : ndarray of shape (..., D)
    cache : from `feed_forward`

    Returns
    -------
    dx : ndarray of the shape of x
    dw1, db1, dw2, db2 : ndarrays of the shapes of the weights; no db where there is no b
    """
    for_1, for_a, for_2, activation, dtype = cache
    dout = check.gradient(dout, for_1[0].shape, for_1[0].dtype)
    dactive, *of_2 = linear_backward(dout, for_2)               # (..., F)
    dhidden = ACTIVATIONS[activation][1](dactive, for_a)
    dx, *of_1 = linear_backward(dhidden, for_1)
    return tuple(g.astype(dtype, copy=False) for g in (dx, *of_1, *of_2))


def swiglu(x, w_gate, w_up, w_down):
    """A feed-forward network with a gate; Shazeer (2020), equation 6.

    Parameters
    ----------
    x : ndarray of shape (..., D), floating
    w_gate, w_up : ndarrays of shape (D, F), in the dtype of x
    w_down : ndarray of shape (F, D)

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `swiglu_backward`
    """
    (x, w_gate, w_up, w_down), dtype = check.gated(x, w_gate, w_up, w_down)
    gate, for_g = linear(x, w_gate)                             # (..., F)
    up, for_u = linear(x, w_up)
    open_, for_s = silu(gate)
    out, for_d = linear(open_ * up, w_down)                     # eq. 28.4
    return out.astype(dtype, copy=False), (for_g, for_u, for_s, for_d, open_, up, dtype)


def swiglu_backward(dout, cache):
    """Gradients of `swiglu`; eq. 28.5.

    Parameters
    ----------
    dout : ndarray of shape (..., D)
    cache : from `swiglu`

    Returns
    -------
    dx : ndarray of the shape of x
    dw_gate, dw_up, dw_down : ndarrays of the shapes of the weights
    """
    for_g, for_u, for_s, for_d, open_, up, dtype = cache
    dout = check.gradient(dout, for_g[0].shape, for_g[0].dtype)
    dproduct, dw_down = linear_backward(dout, for_d)            # (..., F)
    by_gate, dw_gate = linear_backward(silu_backward(dproduct * up, for_s), for_g)
    by_up, dw_up = linear_backward(dproduct * open_, for_u)
    return tuple(g.astype(dtype, copy=False) for g in (by_gate + by_up, dw_gate, dw_up, dw_down))


def encoder_block(x, weights, mask=None, *, num_heads, num_kv_heads=None, causal=False, norm_first=True,
                  activation="gelu", eps=1e-5):
    """Attention and a feed-forward network, each with a norm, and sums; Xiong et al. (2020).

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating; at least one token
    weights : dict of ndarrays in the dtype of x: gamma1, beta1, gamma2, beta2 (D,); w_q, w_o (D, D),
        w_k, w_v (D, Hk d), b_q, b_k, b_v, b_o as in `multi_head_attention`; w1 (D, F), b1 (F,),
        w2 (F, D), b2 (D,). Shifts and biases may be None or missing.
    mask : ndarray of bool (T, T), (B, T, T) or (B, H, T, T), True where a query may attend; or None
    num_heads, num_kv_heads, causal : as in `multi_head_attention`
    norm_first : bool, False for a norm behind each sum, as in Vaswani et al. (2017)
    activation : "gelu", "gelu_tanh" or "relu"
    eps : float, positive, of both norms

    Returns
    -------
    out : ndarray of shape (B, T, D), in the dtype of x
    cache : for `encoder_block_backward`; float16 is computed in float32

    Raises
    ------
    ValueError : if a name, a shape, a dtype or an option is not as above
    """
    given = check.block(x, weights, mask, num_heads, num_kv_heads, causal, norm_first, activation, eps)
    x, of_heads, of_network = given.x, given.take(*check.NAMES[2:10]), given.take(*check.NAMES[12:])
    norms = [(*given.take(*names), eps) for names in (check.NAMES[:2], check.NAMES[10:12])]
    if norm_first:
        normed, kept1 = layer_norm(x, *norms[0])                        # (B, T, D)
        attended, kept_a = multi_head_attention(normed, *of_heads, **given.heads)
        middle = x + attended                                           # eq. 28.6
        normed, kept2 = layer_norm(middle, *norms[1])
        change, kept_f = feed_forward(normed, *of_network, activation)
        out = middle + change
    else:
        attended, kept_a = multi_head_attention(x, *of_heads, **given.heads)
        middle, kept1 = layer_norm(x + attended, *norms[0])             # eq. 28.7
        change, kept_f = feed_forward(middle, *of_network, activation)
        out, kept2 = layer_norm(middle + change, *norms[1])
    return out.astype(given.dtype, copy=False), (given, kept1, kept_a, kept2, kept_f)


def encoder_block_backward(dout, cache):
    """Gradients of `encoder_block`; eq. 28.8 or eq. 28.9.

    Parameters
    ----------
    dout : ndarray of shape (B, T, D)
    cache : from `encoder_block`

    Returns
    -------
    dx : ndarray of shape (B, T, D)
    dweights : dict of ndarrays, by the names and in the shapes of the weights that there are
    """
    given, kept1, kept_a, kept2, kept_f = cache
    dout = check.gradient(dout, given.x.shape, given.x.dtype)
    if given.norm_first:
        change, *of_f = feed_forward_backward(dout, kept_f)
        change, *of_2 = layer_norm_backward(change, kept2)
        dmiddle = dout + change                                         # eq. 28.8
        change, *of_a = multi_head_attention_backward(dmiddle, kept_a)
        change, *of_1 = layer_norm_backward(change, kept1)
        dx = dmiddle + change
    else:
        dsecond, *of_2 = layer_norm_backward(dout, kept2)
        change, *of_f = feed_forward_backward(dsecond, kept_f)
        dfirst, *of_1 = layer_norm_backward(dsecond + change, kept1)    # eq. 28.9
        change, *of_a = multi_head_attention_backward(dfirst, kept_a)
        dx = dfirst + change
    grads = dict(zip(given.given, (*of_1, *of_a, *of_2, *of_f), strict=True))
    return dx.astype(given.dtype, copy=False), {
        k: g.astype(given.dtype, copy=False) for k, g in grads.items()}


class FeedForward(Module):
    """`feed_forward` with weights of its own; dropout of the hidden numbers in training.

    Parameters
    ----------
    d_model, d_ff : int, D and F
    activation : "gelu", "gelu_tanh" or "relu"
    dropout : float, from 0 to less than 1
    bias : bool; zeros at first
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    linear1, linear2 : Linear of shape (D, F) and (F, D), Xavier's uniform weights
    """

    def __init__(self, d_model, d_ff, activation="gelu", dropout=0.0, bias=True, rng=None):
        D, F = check.whole("d_model", d_model), check.whole("d_ff", d_ff)
        rng = np.random.default_rng(0) if rng is None else rng
        self.activation, bias = check.activation(activation), check.truth("bias", bias)
        self.linear1, self.linear2 = _xavier(D, F, rng, bias), _xavier(F, D, rng, bias)
        self.drop = Dropout(check.rate(dropout), rng)

    def forward(self, x):
        """x (..., D) to (..., D)."""
        active, self.cache = ACTIVATIONS[self.activation][0](self.linear1(x))
        return self.linear2(self.drop(active))

    def backward(self, dout):
        """dout (..., D) to dx (..., D)."""
        dactive = self.drop.backward(self.linear2.backward(dout))
        return self.linear1.backward(ACTIVATIONS[self.activation][1](dactive, self.kept()))


def _xavier(fan_in, fan_out, rng, bias):
    """A Linear (fan_in, fan_out) with Xavier's uniform weights."""
    layer, bound = Linear(fan_in, fan_out, rng, bias), (6 / (fan_in + fan_out)) ** 0.5
    layer.weight.data[...] = rng.uniform(-bound, bound, (fan_in, fan_out))
    return layer


class SwiGLU(Module):
    """`swiglu` with weights of its own: w_gate, w_up (D, F) and w_down (F, D), Xavier's.

    Parameters
    ----------
    d_model, d_ff : int, D and F; for as many weights as a FeedForward, two thirds of its F
    rng : numpy.random.Generator; by default one with the seed 0
    """

    def __init__(self, d_model, d_ff, rng=None):
        D, F = check.whole("d_model", d_model), check.whole("d_ff", d_ff)
        rng = np.random.default_rng(0) if rng is None else rng
        sizes = {"w_gate": (D, F), "w_up": (D, F), "w_down": (F, D)}
        for name, (fan_in, fan_out) in sizes.items():
            setattr(self, name, _xavier(fan_in, fan_out, rng, False).weight)

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


class EncoderBlock(Module):
    """One block: attention and a feed-forward network, each with a norm and a way around it.

    Parameters
    ----------
    d_model, num_heads, d_ff : int, D, H and F
    dropout : float, from 0 to less than 1, in the four places of PyTorch's layer
    activation : "gelu", "gelu_tanh" or "relu"
    norm_first : bool, False for a norm behind each sum
    causal : bool, as in a decoder without an encoder
    num_kv_heads : int, a divisor of H; None for H
    bias : bool, of all linear layers
    ffn : function (d_model, d_ff, rng=) -> Module, such as SwiGLU; None for a FeedForward
    norm : function (d_model) -> Module, such as RMSNorm; None for LayerNorm
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    norm1, attention, drop1, norm2, ffn, drop2 : Modules, in the order of the data
    balance : float, the balance loss of the last forward pass, if ffn has one
    balance_weight : float, with which that loss is learned from, 0.01
    """

    balance, balance_weight = 0.0, 0.01

    def __init__(self, d_model, num_heads, d_ff, dropout=0.0, activation="gelu", norm_first=True,
                 causal=False, num_kv_heads=None, bias=True, ffn=None, norm=None, rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        self.norm_first, norm, p = (
            check.truth("norm_first", norm_first), norm or LayerNorm, check.rate(dropout))
        self.norm1 = norm(d_model)
        self.attention = MultiHeadAttention(d_model, num_heads, num_kv_heads, bias, causal, p, rng)
        self.drop1, self.norm2 = Dropout(p, rng), norm(d_model)
        self.ffn = (FeedForward(d_model, d_ff, activation, p, bias, rng) if ffn is None
                    else ffn(d_model, d_ff, rng=rng))
        self.drop2 = Dropout(p, rng)

    def forward(self, x, mask=None):
        """x (B, T, D), mask as in `encoder_block`: (B, T, D)."""
        attend = lambda a: self.attention(a, mask=mask)
        if self.norm_first:
            middle = x + self.drop1(attend(self.norm1(x)))
            out = middle + self.drop2(self._network(self.norm2(middle)))    # eq. 28.12
        else:
            middle = self.norm1(x + self.drop1(attend(x)))
            out = self.norm2(middle + self.drop2(self._network(middle)))
        return out

    def _network(self, x):
        """x (B, T, D) through ffn; a balance loss, if it has one, is kept."""
        out = self.ffn(x)
        out, self.balance = out if isinstance(out, tuple) else (out, None)
        return out

    def _network_backward(self, dout):
        """dout (B, T, D) to dx (B, T, D); the balance loss sends back its weight."""
        return self.ffn.backward(dout if self.balance is None else (dout, self.balance_weight))

    def backward(self, dout):
        """dout (B, T, D) to dx (B, T, D)."""
        if self.norm_first:
            dout = dout + self.norm2.backward(self._network_backward(self.drop2.backward(dout)))
            return dout + self.norm1.backward(self.attention.backward(self.drop1.backward(dout)))
        dout = self.norm2.backward(dout)
        dout = self.norm1.backward(dout + self._network_backward(self.drop2.backward(dout)))
        return dout + self.attention.backward(self.drop1.backward(dout))


class TransformerEncoder(Module):
    """A stack of blocks, and a norm behind the last if the norms come first.

    Parameters
    ----------
    num_layers : int
    d_model, num_heads, d_ff, dropout, activation, norm_first, causal, num_kv_heads, bias, ffn, norm, rng :
        as in `EncoderBlock`

    Attributes
    ----------
    blocks : list of EncoderBlock
    norm : Module, or None
    """

    block = EncoderBlock

    def __init__(self, num_layers, d_model, num_heads, d_ff, norm_first=True, norm=None, rng=None,
                 **options):
        rng = np.random.default_rng(0) if rng is None else rng
        self.blocks = [
            self.block(d_model, num_heads, d_ff, norm_first=norm_first, norm=norm, rng=rng, **options)
            for _ in range(check.whole("num_layers", num_layers))]
        self.norm = (norm or LayerNorm)(d_model) if norm_first else None

    def forward(self, x, mask=None, lengths=None):
        """x (B, T, D), mask as in `encoder_block`, lengths (B,) of real tokens, or None: (B, T, D)."""
        real = self.cache = None
        if lengths is not None:
            (B, T, _), H = x.shape, self.blocks[0].attention.num_heads
            real, mask = check.real_tokens(lengths, B, T), check.visible(mask, (B, H, T, T))
            padding = padding_mask(lengths, T)                  # (B, 1, 1, T); real: (B, T, 1)
            mask = padding if mask is None else padding & (mask[:, None] if mask.ndim == 3 else mask)
            x = _only(real, x)                                              # not x * real: NaN * 0 is NaN
        for block in self.blocks:
            x = block(x, mask)
        x = x if self.norm is None else self.norm(x)
        self.cache = (real,)
        return _only(real, x)

    def backward(self, dout):
        """dout (B, T, D) to dx (B, T, D); nothing comes from padding, and nothing goes there."""
        real, = self.kept()
        dout = _only(real, dout)
        dout = dout if self.norm is None else self.norm.backward(dout)
        for block in reversed(self.blocks):
            dout = block.backward(dout)
        return _only(real, dout)

    @property
    def balance(self):
        """The sum of the balance losses of the blocks in the last forward pass."""
        return sum(block.balance or 0.0 for block in self.blocks)


def _only(real, x):
    """x (B, T, D) with zeros where `real` (B, T, 1) is False, whatever stood there."""
    return x if real is None else np.where(real, x, x.dtype.type(0))


def to_pytorch(block):
    """The state of a torch.nn.TransformerEncoderLayer that computes the same.

    Parameters
    ----------
    block : EncoderBlock with a FeedForward and LayerNorms

    Returns
    -------
    dict of ndarray : copies; self_attn.in_proj_weight (3D, D), linear1.weight (F, D), norm1.weight (D,), ...
    """
    state = {f"self_attn.{name}": a for name, a in heads_to_pytorch(block.attention).items()}
    for name, module in _named(block):
        state[f"{name}.weight"] = module.weight.data.T.copy()
        if module.bias is not None:
            state[f"{name}.bias"] = module.bias.data.copy()
    return state


def from_pytorch(block, state):
    """Copy the state of a torch.nn.TransformerEncoderLayer into a block.

    Parameters
    ----------
    block : EncoderBlock with a FeedForward, LayerNorms and as many key heads as heads
    state : dict of ndarray, as `to_pytorch` gives it: linear1.weight of shape (F, D) and the others

    Returns
    -------
    EncoderBlock : the block

    Raises
    ------
    ValueError : if names or shapes are not those
    """
    state = check.state(state, {name: a.shape for name, a in to_pytorch(block).items()})
    heads_from_pytorch(block.attention, {name[10:]: a for name, a in state.items() if name.startswith("self_attn.")})
    for name, module in _named(block):
        module.weight.data[...] = state[f"{name}.weight"].T
        if module.bias is not None:
            module.bias.data[...] = state[f"{name}.bias"]
    return block


def _named(block):
    """[(name of PyTorch, module)] of all but the heads."""
    if not isinstance(block.ffn, FeedForward) or not isinstance(block.norm1, LayerNorm):
        raise ValueError(f"block has {type(block.ffn).__name__} and {type(block.norm1).__name__}; "
                         "expected FeedForward and LayerNorm")
    return [("linear1", block.ffn.linear1), ("linear2", block.ffn.linear2),
            ("norm1", block.norm1), ("norm2", block.norm2)]


def patchify(x, patch):
    """Pictures as sequences of patches; Dosovitskiy et al. (2021), section 3.1.

    Parameters
    ----------
    x : ndarray of shape (B, C, H, W), floating
    patch : int, p, a divisor of H and W

    Returns
    -------
    ndarray of shape (B, N, C p p), N = H W / (p p) : patches row by row, each as (C, p, p). Its
        gradient is `unpatchify` of the gradient.
    """
    x, p = check.images(x, patch)
    B, C, H, W = x.shape
    cut = x.reshape(B, C, H // p, p, W // p, p)
    # eq. 28.14
    return cut.transpose(0, 2, 4, 1, 3, 5).copy().reshape(B, H // p * (W // p), C * p * p)


def unpatchify(x, shape, patch):
    """The inverse of `patchify`, and its adjoint.

    Parameters
    ----------
    x : ndarray of shape (B, N, C p p)
    shape : (C, H, W)
    patch : int, p

    Returns
    -------
    ndarray of shape (B, C, H, W)
    """
    x, (C, H, W), p = check.patches(x, shape, patch)
    cut = x.reshape(len(x), H // p, W // p, C, p, p)
    return cut.transpose(0, 3, 1, 4, 2, 5).reshape(len(x), C, H, W).copy()


class PatchEmbedding(Module):
    """Patches, each through one Linear (C p p, D); `projection` is that layer.

    Parameters
    ----------
    patch, channels, d_model : int, p, C and D
    rng : numpy.random.Generator; by default one with the seed 0
    """

    def __init__(self, patch, channels, d_model, rng=None):
        self.patch, channels = check.whole("patch", patch), check.whole("channels", channels)
        rng = np.random.default_rng(0) if rng is None else rng
        self.projection = _xavier(channels * patch ** 2, check.whole("d_model", d_model), rng, True)

    def forward(self, x):
        """x (B, C, H, W) to (B, N, D)."""
        self.cache = np.shape(x)[1:]
        return self.projection(patchify(x, self.patch))

    def backward(self, dout):
        """dout (B, N, D) to dx (B, C, H, W), or None where `input_grad` is False."""
        shape = self.kept()
        self.projection.input_grad = self.input_grad
        dpatches = self.projection.backward(dout)
        return None if dpatches is None else unpatchify(dpatches, shape, self.patch)


class ViT(Module):
    """A vision transformer: patches, a class token, positions, an encoder, a linear layer.

    Parameters
    ----------
    image, patch, channels : int; pictures (C, image, image), patches of patch x patch
    classes : int, K
    num_layers, d_model, num_heads, d_ff : int, as in TransformerEncoder
    positions : bool, False to learn from a set of patches
    rng : numpy.random.Generator; by default one with the seed 0
    options : of TransformerEncoder

    Attributes
    ----------
    embedding, encoder, head : Modules
    token : Parameter of shape (1, 1, D); positions : Parameter of shape (1, 1 + N, D), or None
    """

    encoder_type = TransformerEncoder

    def __init__(self, image, patch, channels, classes, num_layers, d_model, num_heads, d_ff, positions=True,
                 rng=None, **options):
        rng = np.random.default_rng(0) if rng is None else rng
        if check.whole("image", image) % check.whole("patch", patch):
            raise ValueError(f"patch = {patch}; expected a divisor of image = {image}")
        self.embedding = PatchEmbedding(patch, channels, d_model, rng)
        drawn = rng.normal(0, 0.02, (1, 1 + (image // patch) ** 2, d_model)).astype(np.float32)
        self.token = Parameter(drawn[:, :1] * 0)
        self.positions = Parameter(drawn) if check.truth("positions", positions) else None
        self.encoder = self.encoder_type(num_layers, d_model, num_heads, d_ff, rng=rng, **options)
        self.head = Linear(d_model, check.whole("classes", classes), rng)
        self.head.weight.data *= np.float32(0.1)                # all classes alike at first

    def forward(self, x):
        """x (B, C, H, W) to logits (B, K)."""
        patches = self.embedding(x)                             # (B, N, D)
        token = np.broadcast_to(self.token.data, (len(x), *self.token.data.shape[1:]))
        tokens = np.concatenate([token, patches], axis=1)       # (B, 1 + N, D)
        if self.positions is not None:
            tokens += self.positions.data
        out = self.encoder(tokens)
        self.cache = out.shape
        return self.head(out[:, 0])

    def backward(self, dout):
        """dout (B, K) to dx (B, C, H, W), or None where `input_grad` is False."""
        dtokens = np.zeros(self.kept(), dout.dtype)
        self.head.input_grad = True
        dtokens[:, 0] = self.head.backward(dout)
        dtokens = self.encoder.backward(dtokens)
        if self.positions is not None:
            self.positions.accumulate(dtokens.sum(0, keepdims=True))
        self.token.accumulate(dtokens[:, :1].sum(0, keepdims=True))
        self.embedding.input_grad = self.input_grad
        return self.embedding.backward(dtokens[:, 1:])


def mixture_of_experts(x, w_router, w1, b1, w2, b2, top_k=1, capacity_factor=None, activation="gelu"):
    """A feed-forward network for each kind of token; Fedus et al. (2022), section 2.

    Parameters
    ----------
    x : ndarray of shape (..., D), floating, at least one token
    w_router : ndarray of shape (D, E), in the dtype of x
    w1, b1, w2, b2 : ndarrays of shape (E, D, F), (E, F), (E, F, D), (E, D)
    top_k : int, k, experts for each token, at most E
    capacity_factor : positive number c: an expert takes at most c k N / E of the N tokens, rounded up;
        or None for all that choose it
    activation : "gelu", "gelu_tanh" or "relu"

    Returns
    -------
    (out, balance) : ndarray of the shape and dtype of x, zeros for a token that no expert took;
        and the balance loss (), 1 if all experts are used alike
    cache : for `mixture_of_experts_backward`
    """
    rows, arrays, k, room, activation, shape, dtype = check.experts(
        x, w_router, w1, b1, w2, b2, top_k, capacity_factor, activation)
    w_router, *networks = arrays
    p = softmax(rows @ w_router)                                # (N, E)    eq. 28.15
    chosen = np.argsort(-p, axis=1, kind="stable")[:, :k]       # (N, k), best first
    taken = _within(chosen, room, p.shape[1])
    out, caches = np.zeros_like(rows), []
    for e in range(p.shape[1]):
        n = np.flatnonzero((taken == e).any(axis=1))            # tokens of expert e
        y, kept = feed_forward(rows[n], *(w[e] for w in networks), activation)
        out[n] += p[n, e, None] * y                                     # eq. 28.16
        caches.append((n, y, kept))
    share = np.bincount(chosen.ravel(), minlength=p.shape[1]) / chosen.size         # f, (E,)
    balance = p.shape[1] * (share @ p.mean(axis=0, dtype=float))    # eq. 28.18
    return (out.reshape(shape).astype(dtype, copy=False), dtype.type(balance)), (
        rows, w_router, p, share, caches, shape, dtype)


def _within(chosen, room, experts):
    """chosen (N, k), with -1 where an expert has `room` tokens already; first choices come first."""
    queue = chosen.T.ravel()                                        # all first choices, then all second ones
    taken = queue.copy()
    for e in range(experts):
        taken[np.flatnonzero(queue == e)[room:]] = -1
    return taken.reshape(chosen.shape[::-1]).T


def mixture_of_experts_backward(dout, cache):
    """Gradients of `mixture_of_experts`; eq. 28.17.

    Parameters
    ----------
    dout : (dout, dbalance), ndarrays of shape (..., D) and ()
    cache : from `mixture_of_experts`

    Returns
    -------
    dx : ndarray of the shape of x
    dw_router, dw1, db1, dw2, db2 : ndarrays of the shapes of the weights
    """
    dout, dbalance = dout
    rows, w_router, p, share, caches, shape, dtype = cache
    dout = check.gradient(dout, shape, rows.dtype).reshape(rows.shape)
    drows, grads, E = np.zeros_like(rows), [], p.shape[1]
    dp = np.zeros_like(p) + float(dbalance) * E * share / len(rows)
    for e, (n, y, kept) in enumerate(caches):
        dp[n, e] += (dout[n] * y).sum(axis=1)
        dexpert, *of_network = feed_forward_backward(p[n, e, None] * dout[n], kept)
        drows[n] += dexpert
        grads.append(of_network)
    dlogits = softmax_backward(dp.astype(p.dtype), p)
    drows += dlogits @ w_router.T
    found = (drows.reshape(shape), rows.T @ dlogits, *(np.stack(g) for g in zip(*grads)))
    return tuple(g.astype(dtype, copy=False) for g in found)


class MixtureOfExperts(Module):
    """`mixture_of_experts` with weights of its own: (out, balance) for x (..., D).

    Parameters
    ----------
    d_model, d_ff, experts : int, D, F and E
    top_k, capacity_factor, activation : as in `mixture_of_experts`
    rng : numpy.random.Generator; by default one with the seed 0

    Attributes
    ----------
    router (D, E), w1 (E, D, F), b1 (E, F), w2 (E, F, D), b2 (E, D) : Parameters
    """

    def __init__(self, d_model, d_ff, experts, top_k=1, capacity_factor=None, activation="gelu", rng=None):
        D, F, E = (check.whole(*pair) for pair in (("d_model", d_model), ("d_ff", d_ff), ("experts", experts)))
        rng = np.random.default_rng(0) if rng is None else rng
        self.top_k, self.capacity_factor, self.activation = top_k, capacity_factor, check.activation(activation)
        draw = lambda fans, *shape: Parameter(
            rng.uniform(-1, 1, shape).astype(np.float32) * np.float32((6 / sum(fans)) ** 0.5))
        self.router = draw((D, E), D, E)
        self.w1, self.b1 = draw((D, F), E, D, F), Parameter(np.zeros((E, F), np.float32))
        self.w2, self.b2 = draw((F, D), E, F, D), Parameter(np.zeros((E, D), np.float32))

    def arrays(self):
        """The Parameters in the order of the op: (D, E), (E, D, F), (E, F), (E, F, D), (E, D)."""
        return [self.router, self.w1, self.b1, self.w2, self.b2]

    def forward(self, x):
        """x (..., D) to (out (..., D), balance ())."""
        found, self.cache = mixture_of_experts(x, *(p.data for p in self.arrays()), self.top_k, self.capacity_factor,
                                               self.activation)
        return found

    def backward(self, dout):
        """(dout (..., D), dbalance ()) to dx (..., D)."""
        dx, *grads = mixture_of_experts_backward(dout, self.kept())
        for parameter, grad in zip(self.arrays(), grads):
            parameter.accumulate(grad)
        return dx


def smoothed_cross_entropy(logits, targets, smoothing=0.1, padding=None):
    """Mean cross-entropy against smoothed targets, over the tokens that are not padding.

    Parameters
    ----------
    logits : ndarray of shape (..., K), floating
    targets : integers of shape (...), from 0 to K - 1
    smoothing : float, from 0 to less than 1, spread evenly over all classes but `padding`
    padding : int, the class that fills up; None if there is none

    Returns
    -------
    loss : scalar in the dtype of logits
    cache : for `smoothed_cross_entropy_backward`
    """
    z, flat, smoothing, shape, dtype = check.smoothed(logits, targets, smoothing, padding)
    real, classes = np.ones(len(z), bool), np.ones(z.shape[1], bool)
    if padding is not None:
        real, classes[padding] = flat != padding, False
    q = np.where(classes, z.dtype.type(smoothing / classes.sum()), z.dtype.type(0)) * real[:, None]     # (N, K)
    q[real, flat[real]] += z.dtype.type(1 - smoothing)          # eq. 28.13
    log_p = z - z.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    loss = -(q * np.where(q > 0, log_p, 0)).sum(dtype=float) / real.sum()       # 0 times -inf is 0 here
    return dtype.type(loss), (np.exp(log_p), q, real, shape, dtype)


def smoothed_cross_entropy_backward(dloss, cache):
    """Gradient dlogits (..., K) of `smoothed_cross_entropy`, for a number dloss; 0 for padding."""
    p, q, real, shape, dtype = cache
    dlogits = np.where(real[:, None], p - q, p.dtype.type(0)) * p.dtype.type(float(dloss) / real.sum())
    return dlogits.reshape(shape).astype(dtype, copy=False)
