# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:9836c70a0a2c04d8
"""Multi-head attention, level 2: whole arrays, and the module."""

import math

import numpy as np

import tangled.t26_multi_head_attention.checks as check
from tangled.t05_mlp_forward import linear
from tangled.t06_backpropagation import Linear, Module, linear_backward
from tangled.t08_regularization import dropout, dropout_backward
from tangled.t25_self_attention import (
    attention,
    attention_backward,
    causal_mask,
    masked_softmax,
    softmax_backward,
    window_mask,
)


def split_heads(x, num_heads):
    """Give every head its features.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating
    num_heads : int, H, a divisor of D

    Returns
    -------
    ndarray of shape (B, H, T, D / H) : a view, wherever the last axis of x can be cut without a copy
        (it can, if x is contiguous or its rows are). Its gradient is `merge_heads` of the gradient.
    """
    x, H = check.split(x, num_heads)
    B, T, D = x.shape
    return x.reshape(B, T, H, D // H).swapaxes(1, 2)                # (B, H, T, d)    eq. 26.6


def merge_heads(x):
    """Put the heads of a token side by side: the inverse of `split_heads`, and its adjoint.

    Parameters
    ----------
    x : ndarray of shape (B, H, T, d), floating

    Returns
    -------
    ndarray of shape (B, T, H d) : a copy, unless a view will do: for H = 1, T = 1, and for what
        `split_heads` gave and nothing has been done to
    """
    x = check.floats("x", x, ("B", "H", "T", "d"))
    B, H, T, d = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * d)                    # eq. 26.6


def repeat_kv(k, groups):
    """Every key head for `groups` query heads in a row; Ainslie et al. (2023), section 2.2.

    Parameters
    ----------
    k : ndarray of shape (B, Hk, S, d), floating: keys or values
    groups : int, g

    Returns
    -------
    ndarray of shape (B, Hk g, S, d) : a copy. (B, Hk, g, S, d) could be a view with a stride of 0,
        but two axes, one of stride 0, do not join.
    """
    k, g = check.groups("k", k, groups, repeated=False)
    return np.repeat(k, g, axis=1)                                  # eq. 26.9: 0 0 1 1 2 2


def repeat_kv_backward(dk, groups):
    """Gradient of `repeat_kv`.

    Parameters
    ----------
    dk : ndarray of shape (B, H, S, d)
    groups : int, g, a divisor of H

    Returns
    -------
    ndarray of shape (B, H / g, S, d)
    """
    dk, g = check.groups("dk", dk, groups, repeated=True)
    B, H, S, d = dk.shape
    grouped = dk.reshape(B, H // g, g, S, d).astype(check.working(dk.dtype), copy=False)
    total = grouped.sum(axis=2)                                     # eq. 26.10
    return total.astype(dk.dtype, copy=False)


def multi_head_attention(x, w_q, w_k, w_v, w_o, b_q=None, b_k=None, b_v=None, b_o=None, *, num_heads,
                         num_kv_heads=None, context=None, mask=None, causal=False):
    """H attentions side by side; Vaswani et al. (2017), section 3.2.2.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating; at least one token
    w_q, w_o : ndarrays of shape (D, D), in the dtype of x
    w_k, w_v : ndarrays of shape (C, Hk d), d = D / H; C = D without a context
    b_q, b_k, b_v, b_o : ndarrays of shape (D,), (Hk d,), (Hk d,), (D,), each of them or None
    num_heads : int, H, a divisor of D
    num_kv_heads : int, Hk, a divisor of H; None for H
    context : ndarray of shape (B, S, C), where keys and values come from; None for x
    mask : ndarray of bool, of shape (T, S), (B, T, S) or (B, H, T, S), where an axis may be 1: True
        where a query may attend; or None
    causal : bool, the last query at the last key; both mask and causal must allow a pair

    Returns
    -------
    out : ndarray of shape (B, T, D), in the dtype of x; a query that sees nothing gets b_o
    cache : for `multi_head_attention_backward`; float16 is computed in float32

    Raises
    ------
    ValueError : if heads do not divide, or a shape or dtype is not as above
    """
    given = check.arguments(x, (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o), num_heads, num_kv_heads,
                            context, mask, causal)
    return _forward(given, attention, attention_backward)


def _forward(given, attend, attend_backward):
    """out (B, T, D) and a cache, with `attend(q, k, v, mask, causal)` for what a head does."""
    (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o), mask = given.weights, given.biases, given.mask
    groups = given.heads // given.kv_heads
    q, for_q = linear(given.x, w_q, b_q)                        # (B, T, D)
    k, for_k = linear(given.source, w_k, b_k)                   # (B, S, Hk d)
    v, for_v = linear(given.source, w_v, b_v)
    q = split_heads(q, given.heads)                             # (B, H, T, d)
    k, v = (repeat_kv(split_heads(a, given.kv_heads), groups) for a in (k, v))          # (B, H, S, d)
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]                                            # (B, 1, T, S)
    heads, attended = attend(q, k, v, mask, given.causal)           # (B, H, T, d)    eq. 26.1
    merged = merge_heads(heads)                                 # (B, T, D)
    out, for_o = linear(merged, w_o, b_o)                       # eq. 26.2
    return out.astype(given.dtype, copy=False), (
        given, (for_q, for_k, for_v, for_o), attended, attend_backward)


def multi_head_attention_backward(dout, cache):
    """Gradients of `multi_head_attention`; eq. 26.7 and eq. 26.8.

    Parameters
    ----------
    dout : ndarray of shape (B, T, D)
    cache : from `multi_head_attention`

    Returns
    -------
    dx : ndarray of shape (B, T, D)
    dw_q, dw_k, dw_v, dw_o : ndarrays of the shapes of the weights
    db_q, db_k, db_v, db_o : ndarrays of the shapes of the biases, those that were given
    dcontext : ndarray of shape (B, S, C), if there was a context
    """
    given, (for_q, for_k, for_v, for_o), attended, attend_backward = cache
    groups = given.heads // given.kv_heads
    dout = check.gradient(dout, given.x.shape, given.x.dtype)
    dmerged, *of_o = linear_backward(dout, for_o)
    dq, dk, dv = attend_backward(split_heads(dmerged, given.heads), attended)
    dq, dk, dv = (merge_heads(d) for d in (
        dq, repeat_kv_backward(dk, groups), repeat_kv_backward(dv, groups)))
    (dx, *of_q), (by_k, *of_k), (by_v, *of_v) = (
        linear_backward(d, kept) for d, kept in ((dq, for_q), (dk, for_k), (dv, for_v)))
    dsource = by_k + by_v                                           # eq. 26.8
    if not given.crossed:
        dx = dx + dsource                                       # x was used three times
    parts = (of_q, of_k, of_v, of_o)
    grads = [dx, *(part[0] for part in parts), *(part[1] for part in parts if len(part) > 1)]
    return tuple(g.astype(given.dtype, copy=False) for g in grads + [dsource] * given.crossed)


def window_attention(q, k, v, window, sinks=0):
    """Causal attention to the last `window` keys and the first `sinks`; Xiao et al. (2024).

    Parameters
    ----------
    q, k : ndarrays of shape (B, H, T, d), floating
    v : ndarray of shape (B, H, T, e), in the dtype of q
    window : int, at least 1; the token itself counts
    sinks : int, at least 0

    Returns
    -------
    out : ndarray of shape (B, H, T, e)
    cache : for `window_attention_backward`
    """
    q, k, v, window, sinks = check.window(q, k, v, window, sinks)
    return attention(q, k, v, window_mask(q.shape[2], q.shape[2], window, sinks))       # eq. 26.12


def window_attention_backward(dout, cache):
    """Gradients of `window_attention`.

    Parameters
    ----------
    dout : ndarray of shape (B, H, T, e)
    cache : from `window_attention`

    Returns
    -------
    dq, dk : ndarrays of shape (B, H, T, d)
    dv : ndarray of shape (B, H, T, e)
    """
    return attention_backward(dout, cache)


class MultiHeadAttention(Module):
    """`multi_head_attention` with weights of its own.

    Parameters
    ----------
    d_model : int, D
    num_heads : int, H, a divisor of D
    num_kv_heads : int, a divisor of H; None for H
    bias : bool, for all four projections; zeros at first
    causal : bool
    dropout : float, from 0 to less than 1: of the attention weights, in training (masked tokens finite)
    rng : numpy.random.Generator, for weights and dropout; by default one with the seed 0

    Attributes
    ----------
    q_proj, out_proj : Linear of shape (D, D)
    k_proj, v_proj : Linear of shape (D, Hk d); a context has D features too
    """

    def __init__(self, d_model, num_heads, num_kv_heads=None, bias=True, causal=False, dropout=0.0,
                 rng=None):
        D = self.d_model = check.whole("d_model", d_model)
        self.num_heads, self.num_kv_heads = check.head_counts(D, num_heads, num_kv_heads)
        bias, self.causal = check.truth("bias", bias), check.truth("causal", causal)
        self.dropout, self.rng = check.rate(dropout), np.random.default_rng(0) if rng is None else rng
        width = D // self.num_heads * self.num_kv_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            Linear(D, n, self.rng, bias) for n in (D, width, width, D))
        for layer in self.projections():
            bound = D ** -0.5 if layer is self.out_proj else (6 / (2 * D + 2 * width)) ** 0.5
            layer.weight.data[...] = self.rng.uniform(-bound, bound, layer.weight.data.shape)

    def projections(self):
        """[q_proj, k_proj, v_proj, out_proj]."""
        return [self.q_proj, self.k_proj, self.v_proj, self.out_proj]

    def forward(self, x, context=None, mask=None):
        """x (B, T, D), context (B, S, D) or None, mask as in `multi_head_attention`: (B, T, D)."""
        arrays = [p.weight.data for p in self.projections()]
        arrays += [None if p.bias is None else p.bias.data for p in self.projections()]
        out, self.cache = self._run(x, *arrays, context=context, mask=mask)
        return out

    def _run(self, x, *arrays, **options):
        """The op, or the op that drops weights: out (B, T, D), and a cache with its own backward."""
        options |= {"num_heads": self.num_heads, "num_kv_heads": self.num_kv_heads, "causal": self.causal}
        if not (self.training and self.dropout):
            out, cache = self._op(x, *arrays, **options)
            return out, (self._op_backward, cache)
        given = check.arguments(x, arrays[:4], arrays[4:], **options)
        attend = lambda *inputs: _attend_with_holes(*inputs, self.dropout, self.rng)
        out, cache = _forward(given, attend, _attend_with_holes_backward)
        return out, (multi_head_attention_backward, cache)

    def backward(self, dout):
        """dout (B, T, D): dx, or (dx, dcontext) if there was a context; adds to all gradients."""
        backward, cache = self.kept()
        dx, *grads = backward(dout, cache)
        layers = self.projections()
        parameters = [p.weight for p in layers] + [p.bias for p in layers if p.bias is not None]
        for parameter, grad in zip(parameters, grads):
            parameter.accumulate(grad)
        return (dx, grads[-1]) if len(grads) > len(parameters) else dx

    _op, _op_backward = staticmethod(multi_head_attention), staticmethod(multi_head_attention_backward)


def _attend_with_holes(q, k, v, mask, causal, p, rng):
    """Attention (B, H, T, d) whose weights are dropped with probability p."""
    scale, T, S = 1.0 / math.sqrt(q.shape[-1]), q.shape[2], k.shape[2]
    if causal:
        mask = causal_mask(T, S) if mask is None else mask & causal_mask(T, S)
    weights = masked_softmax(q @ k.swapaxes(2, 3) * scale, mask)                # (B, H, T, S)
    holed, holes = dropout(weights, p, rng)
    return holed @ v, (q, k, v, weights, holed, holes, scale)


def _attend_with_holes_backward(dout, cache):
    """dq, dk, dv in the shapes of q, k, v."""
    q, k, v, weights, holed, holes, scale = cache
    dweights = dropout_backward(dout @ v.swapaxes(2, 3), holes)
    dscores = softmax_backward(dweights, weights) * scale
    return dscores @ k, dscores.swapaxes(2, 3) @ q, holed.swapaxes(2, 3) @ dout


def to_pytorch(module):
    """The state of a torch.nn.MultiheadAttention that computes the same.

    Parameters
    ----------
    module : MultiHeadAttention of width D; grouped heads are written out, H of them

    Returns
    -------
    state : dict of ndarray; in_proj_weight (3D, D), out_proj.weight (D, D) and, with biases,
        in_proj_bias (3D,), out_proj.bias (D,); copies
    """
    H, kv = module.num_heads, module.num_kv_heads
    full = lambda a: np.repeat(a.reshape(*a.shape[:-1], kv, -1), H // kv, axis=-2).reshape(*a.shape[:-1], -1)
    layers = module.projections()
    w_q, w_k, w_v, w_o = (p.weight.data for p in layers)
    packed = np.concatenate([w_q, full(w_k), full(w_v)], axis=1)    # (D, 3D)
    state = {"in_proj_weight": packed.T.copy(), "out_proj.weight": w_o.T.copy()}
    if layers[0].bias is not None:
        b_q, b_k, b_v, b_o = (p.bias.data for p in layers)
        state |= {"in_proj_bias": np.concatenate([b_q, full(b_k), full(b_v)]), "out_proj.bias": b_o.copy()}
    return state


def from_pytorch(module, state):
    """Copy the state of a torch.nn.MultiheadAttention into a module.

    Parameters
    ----------
    module : MultiHeadAttention of width D, one key head for each head
    state : dict of ndarray, what `to_pytorch` gives: in_proj_weight (3D, D) and the others

    Returns
    -------
    MultiHeadAttention : the module

    Raises
    ------
    ValueError : if the module shares key heads, or names or shapes are not those
    """
    if module.num_kv_heads != module.num_heads:
        raise ValueError(f"module has {module.num_kv_heads} key heads; expected {module.num_heads}, as PyTorch has")
    layers, D = module.projections(), module.d_model
    state = check.state(state, D, layers[0].bias is not None)
    for k, layer in enumerate(layers[:3]):
        layer.weight.data[...] = state["in_proj_weight"][k * D:(k + 1) * D].T
    layers[3].weight.data[...] = state["out_proj.weight"].T
    if layers[0].bias is not None:
        for k, layer in enumerate(layers[:3]):
            layer.bias.data[...] = state["in_proj_bias"][k * D:(k + 1) * D]
        layers[3].bias.data[...] = state["out_proj.bias"]
    return module
