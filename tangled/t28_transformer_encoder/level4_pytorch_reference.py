# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:eed2e12ed1ebbb35
"""Transformer encoder by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t28_transformer_encoder.checks as check
from tangled.t25_self_attention.level4_pytorch_reference import causal_mask
from tangled.testing import Case

ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


def _leaf(array):
    """A copy that wants a gradient, in the same shape; None for None."""
    return None if array is None else torch.from_numpy(np.array(array, order="C")).requires_grad_()


def _tensor(array):
    """A copy of the same shape, without a gradient."""
    return torch.from_numpy(np.array(array, order="C"))


def _differentiate(out, leaves, dout, dtype):
    """Gradients of the leaves that are there, as arrays of that dtype in their shapes."""
    leaves = [leaf for leaf in leaves if leaf is not None]
    dout = check.gradient(dout, out.shape, out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True, materialize_grads=True)
    return tuple(g.numpy().astype(dtype) for g in grads)


def _network(x, w1, b1, w2, b2, activation):
    """Tensors (..., D) to (..., D)."""
    return F.linear(ACTIVATIONS[activation](F.linear(x, w1.T, b1)), w2.T, b2)


def feed_forward(x, w1, b1, w2, b2, activation="gelu"):
    """As level 2, x (..., D); the cache is the graph."""
    given, dtype = check.network(x, w1, b1, w2, b2, activation)
    leaves = [_leaf(a) for a in given]
    out = _network(*leaves, activation)
    return out.detach().numpy().astype(dtype), (out, leaves, dtype)


def feed_forward_backward(dout, cache):
    """As level 2, dout (..., D), by autograd."""
    out, leaves, dtype = cache
    return _differentiate(out, leaves, dout, dtype)


def swiglu(x, w_gate, w_up, w_down):
    """As level 2, x (..., D)."""
    given, dtype = check.gated(x, w_gate, w_up, w_down)
    x, w_gate, w_up, w_down = leaves = [_leaf(a) for a in given]
    out = (F.silu(x @ w_gate) * (x @ w_up)) @ w_down
    return out.detach().numpy().astype(dtype), (out, leaves, dtype)


swiglu_backward = feed_forward_backward


def _heads(x, weights, num_heads, num_kv_heads, mask, causal):
    """Tensors x (B, T, D): the heads' output (B, T, D)."""
    B, T, D = x.shape
    q, k, v = (F.linear(x, weights[f"w_{n}"].T, weights[f"b_{n}"]).unflatten(2, (-1, D // num_heads)).transpose(1, 2)
               for n in "qkv")
    allowed = torch.ones(1, 1, T, T, dtype=torch.bool)
    if mask is not None:
        m = _tensor(mask)
        allowed = allowed & (m[:, None] if m.ndim == 3 else m)
    if causal:
        allowed = allowed & _tensor(causal_mask(T, T))
    out = F.scaled_dot_product_attention(q, k, v, allowed.expand(B, num_heads, T, T), enable_gqa=True)
    return F.linear(out.transpose(1, 2).reshape(B, T, D), weights["w_o"].T, weights["b_o"])


def encoder_block(x, weights, mask=None, *, num_heads, num_kv_heads=None, causal=False, norm_first=True,
                  activation="gelu", eps=1e-5):
    """As level 2, x (B, T, D)."""
    given = check.block(x, weights, mask, num_heads, num_kv_heads, causal, norm_first, activation, eps)
    x, w = _leaf(given.x), {name: _leaf(a) for name, a in given.weights.items()}
    norm = lambda a, k: F.layer_norm(a, a.shape[-1:], w[f"gamma{k}"], w[f"beta{k}"], eps)
    attend = lambda a: _heads(a, w, **given.heads)
    network = lambda a: _network(a, w["w1"], w["b1"], w["w2"], w["b2"], activation)
    if norm_first:
        middle = x + attend(norm(x, 1))
        out = middle + network(norm(middle, 2))
    else:
        middle = norm(x + attend(x), 1)
        out = norm(middle + network(middle), 2)
    return out.detach().numpy().astype(given.dtype), (out, x, w, given)


def encoder_block_backward(dout, cache):
    """As level 2, dout (B, T, D), by autograd."""
    out, x, w, given = cache
    dx, *grads = _differentiate(out, [x, *(w[name] for name in given.given)], dout, given.dtype)
    return dx, dict(zip(given.given, grads))


def patchify(x, patch):
    """x (B, C, H, W) to (B, N, C p p), by F.unfold."""
    x, p = check.images(x, patch)
    return F.unfold(_tensor(x), p, stride=p).transpose(1, 2).numpy()


def unpatchify(x, shape, patch):
    """x (B, N, C p p) to (B, C, H, W), by F.fold."""
    x, (_, H, W), p = check.patches(x, shape, patch)
    return F.fold(_tensor(x).transpose(1, 2), (H, W), p, stride=p).numpy()


def mixture_of_experts(x, w_router, w1, b1, w2, b2, top_k=1, capacity_factor=None, activation="gelu"):
    """As level 2, x (..., D): every expert sees every token, and a matrix of weights (N, E) says what counts."""
    rows, arrays, k, room, activation, shape, dtype = check.experts(
        x, w_router, w1, b1, w2, b2, top_k, capacity_factor, activation)
    leaves = [_leaf(a) for a in (rows, *arrays)]
    rows, w_router, *networks = leaves
    p = torch.softmax(rows @ w_router, dim=1)
    order = p.argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)                                # (N, E): 0 for the best expert
    wanted = torch.cat([ranks == j for j in range(k)])          # (k N, E), first choices first
    served = wanted & (wanted.cumsum(0) <= room)
    weights = p * served.unflatten(0, (k, -1)).any(0)
    out = sum(weights[:, e, None] * _network(rows, *(w[e] for w in networks), activation) for e in range(p.shape[1]))
    share = wanted.to(p.dtype).sum(0) / wanted.sum()
    balance = p.shape[1] * (share * p.mean(0)).sum()
    values = out.detach().numpy().reshape(shape).astype(dtype), dtype.type(balance.item())
    return values, ((out, balance), leaves, shape, dtype)


def mixture_of_experts_backward(dout, cache):
    """As level 2, (dout (..., D), dbalance ()), by autograd."""
    (out, balance), leaves, shape, dtype = cache
    dout, dbalance = dout
    dout = check.gradient(dout, shape, out.detach().numpy().dtype).reshape(out.shape)
    above = [_tensor(dout), torch.tensor(float(dbalance), dtype=balance.dtype)]
    grads = torch.autograd.grad([out, balance], leaves, above, retain_graph=True)
    dx, *others = [g.numpy().astype(dtype) for g in grads]
    return dx.reshape(shape), *others


def smoothed_cross_entropy(logits, targets, smoothing=0.1, padding=None):
    """As level 2, logits (..., K), by F.log_softmax; 0 times -inf is 0 here."""
    z, flat, smoothing, shape, dtype = check.smoothed(logits, targets, smoothing, padding)
    leaf, K = _leaf(z), z.shape[1]
    q = torch.full(z.shape, smoothing / (K - (padding is not None)), dtype=leaf.dtype)
    if padding is not None:
        q[:, padding] = 0
    q[torch.arange(len(flat)), _tensor(flat).long()] += 1 - smoothing
    real = _tensor(flat != (-1 if padding is None else padding))
    log_p = F.log_softmax(leaf[real], dim=1)
    loss = -(q[real] * log_p.where(q[real] > 0, 0)).sum(1).mean()
    return dtype.type(loss.item()), (loss, leaf, shape, dtype)


def smoothed_cross_entropy_backward(dloss, cache):
    """As level 2: dlogits (..., K), by autograd."""
    loss, leaf, shape, dtype = cache
    grad, = torch.autograd.grad(loss, leaf, torch.tensor(float(dloss), dtype=loss.dtype), retain_graph=True)
    return grad.numpy().reshape(shape).astype(dtype)


def layer(d_model, num_heads, d_ff, activation="gelu", norm_first=True, dropout=0.0, dtype=torch.float64):
    """A torch.nn.TransformerEncoderLayer on (B, T, d_model)."""
    return torch.nn.TransformerEncoderLayer(d_model, num_heads, d_ff, dropout, ACTIVATIONS[activation],
                                            batch_first=True, norm_first=norm_first, dtype=dtype)


def block_weights(rng, D, F, width, bias=True):
    """A dict of weights for encoder_block, shifts and biases only if wanted."""
    shapes = dict.fromkeys(check.NAMES, (D,)) | {"b_k": (width,), "b_v": (width,), "b1": (F,)}
    shapes |= {"w_q": (D, D), "w_k": (D, width), "w_v": (D, width), "w_o": (D, D), "w1": (D, F), "w2": (F, D)}
    return {name: rng.standard_normal(shapes[name]) / (1 if len(shapes[name]) == 1 else D ** 0.5)
            for name in check.NAMES if bias or name not in check.OPTIONAL}


def _block_cases(rng):
    """name: (D, H, Hk, F, bias, options) for two samples of five tokens."""
    mask = rng.random((2, 5, 5)) < 0.7
    lengths = np.arange(5) < np.array([3, 5])[:, None, None, None]              # (B, 1, 1, T)
    return {"pre": (12, 3, 3, 7, True, {}), "post": (12, 3, 3, 7, True, {"norm_first": False}),
            "tanh": (12, 6, 6, 7, True, {"activation": "gelu_tanh"}),
            "relu-post": (12, 4, 4, 7, True, {"activation": "relu", "norm_first": False}),
            "no-bias": (12, 3, 3, 7, False, {}), "eps": (6, 3, 3, 7, True, {"eps": 0.3}),
            "grouped-causal": (12, 6, 2, 7, True, {"causal": True}),
            "masked": (12, 3, 3, 7, True, {"mask": mask}), "padded": (12, 3, 3, 7, True, {"mask": lengths}),
            "padded-post": (12, 6, 3, 7, True, {"mask": lengths, "norm_first": False, "causal": True})}


def _op_case(rng, name, f, f_backward, inputs, order):
    """A case of an op with one output, or with (out, balance)."""
    out, cache = f(**inputs)
    outs = dict(zip(("out", "balance"), out)) if isinstance(out, tuple) else {"out": out}
    dout = {k: rng.standard_normal(np.shape(o)) for k, o in outs.items()}
    grads = f_backward(tuple(dout.values()) if len(dout) > 1 else dout["out"], cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    return Case(name, inputs, {k: np.asarray(o) for k, o in outs.items()}, {k: np.asarray(d) for k, d in dout.items()},
                dict(zip(order, grads, strict=True)))


def _layer_case(rng, name, D, H, width, activation, norm_first, padded):
    """A torch.nn.TransformerEncoderLayer with random weights: state, output, gradients."""
    torch_layer = layer(D, H, width, activation, norm_first)
    with torch.no_grad():
        for parameter in torch_layer.parameters():
            parameter.copy_(_tensor(rng.standard_normal(tuple(parameter.shape)) / 2))
    x, lengths = _leaf(rng.standard_normal((3, 4, D))), np.array([4, 2, 3])
    hidden = _tensor(np.arange(4) >= lengths[:, None]) if padded else None
    out = torch_layer(x, src_key_padding_mask=hidden)
    dout = rng.standard_normal(tuple(out.shape))
    leaves = {"x": x, **dict(torch_layer.named_parameters())}
    grads = torch.autograd.grad(out, list(leaves.values()), _tensor(dout))
    plain = lambda key: key.replace(".", "__")                  # a dot would make a dict of it
    inputs = {plain(k): leaf.detach().numpy().copy() for k, leaf in leaves.items()}
    inputs |= {"num_heads": H, "activation": activation, "norm_first": norm_first, "padded": padded}
    return Case(name, inputs, {"out": out.detach().numpy()}, {"out": dout},
                {plain(k): g.numpy() for k, g in zip(leaves, grads)})


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    draw = rng.standard_normal
    for activation in check.ACTIVATIONS:
        inputs = {"x": draw((2, 3, 5)), "w1": draw((5, 7)), "b1": draw(7), "w2": draw((7, 5)), "b2": draw(5)}
        yield _op_case(rng, f"network-{activation}", feed_forward, feed_forward_backward,
                       inputs | {"activation": activation}, list(inputs))
    inputs = {"x": draw((2, 3, 5)), "w_gate": draw((5, 7)), "w_up": draw((5, 7)), "w_down": draw((7, 5))}
    yield _op_case(rng, "swiglu", swiglu, swiglu_backward, inputs, list(inputs))
    for name, (D, H, kv, width, bias, options) in _block_cases(rng).items():
        x, weights = draw((2, 5, D)), block_weights(rng, D, width, D // H * kv, bias)
        options = {"num_heads": H, "num_kv_heads": kv} | options
        out, cache = encoder_block(x, weights, **options)
        dout = draw(out.shape)
        dx, dweights = encoder_block_backward(dout, cache)
        yield Case(name, {"x": x, "weights": weights} | options, {"out": out}, {"out": dout}, {"x": dx} | dweights)
    for name, k, factor in (("experts", 1, None), ("two-experts", 2, None), ("capacity", 1, 0.8),
                            ("two-experts-capacity", 2, 0.7)):
        inputs = {"x": draw((2, 5, 6)), "w_router": draw((6, 4)), "w1": draw((4, 6, 3)), "b1": draw((4, 3)),
                  "w2": draw((4, 3, 6)), "b2": draw((4, 6))}
        yield _op_case(rng, name, mixture_of_experts, mixture_of_experts_backward,
                       inputs | {"top_k": k, "capacity_factor": factor}, list(inputs))
    targets = np.array([[2, 0, 3, 1], [0, 0, 5, 2], [4, 4, 0, 1]])
    for name, padding, smoothing in (("smoothed", 0, 0.2), ("smoothed-all", None, 0.3), ("not-smoothed", 0, 0.0)):
        yield _op_case(rng, name, smoothed_cross_entropy, smoothed_cross_entropy_backward,
                       {"logits": draw((3, 4, 6)), "targets": targets, "smoothing": smoothing, "padding": padding},
                       ["logits"])
    for name, *options in (("layer-pre", "gelu", True, False), ("layer-post", "gelu", False, True),
                           ("layer-tanh", "gelu_tanh", True, True), ("layer-relu", "relu", False, False)):
        yield _layer_case(rng, name, 6, 3, 5, *options)
