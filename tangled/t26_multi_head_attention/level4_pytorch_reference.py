# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:1646f967efdd9e98
"""Multi-head attention by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t26_multi_head_attention.checks as check
from tangled.t25_self_attention.level4_pytorch_reference import causal_mask, window_mask
from tangled.testing import Case


def _leaf(array):
    """A copy that wants a gradient, in the same shape; None for None."""
    return None if array is None else torch.from_numpy(np.array(array, order="C")).requires_grad_()


def _tensor(array):
    """A copy of the same shape, without a gradient."""
    return torch.from_numpy(np.array(array, order="C"))


def split_heads(x, num_heads):
    """x (B, T, D) to (B, H, T, d), by unflatten."""
    x, H = check.split(x, num_heads)
    return _tensor(x).unflatten(2, (H, -1)).transpose(1, 2).numpy()


def merge_heads(x):
    """x (B, H, T, d) to (B, T, H d)."""
    return _tensor(check.floats("x", x, ("B", "H", "T", "d"))).transpose(1, 2).flatten(2).numpy()


def repeat_kv(k, groups):
    """k (B, Hk, S, d) to (B, Hk groups, S, d), by repeat_interleave."""
    k, g = check.groups("k", k, groups, repeated=False)
    return _tensor(k).repeat_interleave(g, 1).numpy()


def repeat_kv_backward(dk, groups):
    """dk (B, H, S, d) to (B, H / groups, S, d), by autograd."""
    dk, g = check.groups("dk", dk, groups, repeated=True)
    B, H, S, d = dk.shape
    leaf = torch.zeros(B, H // g, S, d, dtype=_tensor(dk).dtype, requires_grad=True)
    return torch.autograd.grad(leaf.repeat_interleave(g, 1), leaf, _tensor(dk))[0].numpy()


def multi_head_attention(x, w_q, w_k, w_v, w_o, b_q=None, b_k=None, b_v=None, b_o=None, *, num_heads,
                         num_kv_heads=None, context=None, mask=None, causal=False):
    """As level 2, x (B, T, D); the cache is the graph."""
    given = check.arguments(x, (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o), num_heads, num_kv_heads, context,
                            mask, causal)
    B, T, S, D, d = given.sizes
    first, weights, biases = _leaf(given.x), [_leaf(w) for w in given.weights], [_leaf(b) for b in given.biases]
    source = _leaf(given.source) if given.crossed else first
    q, k, v = (F.linear(a, w.T, b).reshape(B, a.shape[1], w.shape[1] // d, d).transpose(1, 2)
               for a, w, b in zip((first, source, source), weights, biases))
    allowed = torch.ones(1, 1, T, S, dtype=torch.bool)
    if given.mask is not None:
        m = _tensor(given.mask)
        allowed = allowed & (m[:, None] if m.ndim == 3 else m)
    if given.causal:
        allowed = allowed & _tensor(causal_mask(T, S))
    heads = F.scaled_dot_product_attention(q, k, v, allowed.expand(B, given.heads, T, S), enable_gqa=True)
    out = F.linear(heads.transpose(1, 2).reshape(B, T, D), weights[3].T, biases[3])
    leaves = [first, *weights, *(b for b in biases if b is not None)] + [source] * given.crossed
    return out.detach().numpy().astype(given.dtype), (out, leaves, given.dtype)


def multi_head_attention_backward(dout, cache):
    """As level 2, dout (B, T, D), by autograd."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, out.shape, out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return tuple(g.numpy().astype(dtype) for g in grads)


def window_attention(q, k, v, window, sinks=0):
    """q, k (B, H, T, d), v (B, H, T, e): out (B, H, T, e), cache, under a mask."""
    q, k, v, window, sinks = check.window(q, k, v, window, sinks)
    leaves = [_leaf(a.astype(check.working(a.dtype))) for a in (q, k, v)]
    out = F.scaled_dot_product_attention(*leaves, _tensor(window_mask(q.shape[2], q.shape[2], window, sinks)))
    return out.detach().numpy().astype(q.dtype), (out, leaves, q.dtype)


def window_attention_backward(dout, cache):
    """dout (B, H, T, e): dq, dk, dv, by autograd."""
    return multi_head_attention_backward(dout, cache)


def module(d_model, num_heads, bias=True, **options):
    """A torch.nn.MultiheadAttention on (B, T, d_model), float64."""
    return torch.nn.MultiheadAttention(d_model, num_heads, bias=bias, batch_first=True, dtype=torch.float64, **options)


def _cases(rng):
    """name: ((B, T, S, D, C), H, Hk, options); S and C None without a context."""
    bools = lambda *shape: rng.random(shape) < 0.7
    of_heads = bools(2, 6, 3, 5)
    of_heads[1, 4, 2] = False                                   # a query that sees nothing
    return {"self": ((2, 5, None, 12, None), 3, 3, {}),
            "one-head": ((2, 5, None, 6, None), 1, 1, {}),
            "no-bias": ((2, 5, None, 12, None), 3, 3, {"bias": False}),
            "causal": ((2, 5, None, 12, None), 6, 6, {"causal": True}),
            "grouped": ((2, 5, None, 24, None), 6, 2, {"causal": True}),
            "multi-query": ((2, 5, None, 12, None), 4, 1, {}),
            "cross": ((2, 3, 5, 12, 7), 6, 6, {}),
            "cross-grouped": ((2, 3, 5, 12, 7), 6, 3, {"causal": True}),
            "mask": ((2, 5, None, 12, None), 4, 4, {"mask": bools(5, 5)}),
            "mask-of-samples": ((2, 5, None, 12, None), 2, 2, {"mask": bools(2, 5, 5)}),
            "mask-of-keys": ((2, 3, 5, 12, 7), 4, 2, {"mask": bools(2, 1, 1, 5)}),
            "mask-of-heads": ((2, 3, 5, 12, 7), 6, 3, {"mask": of_heads})}


def _problem(rng, sizes, H, kv, bias=True, **options):
    """The arguments of multi_head_attention as a dict."""
    (B, T, S, D, C), draw = sizes, rng.standard_normal
    width, C = D // H * kv, D if C is None else C
    inputs = {"x": draw((B, T, D)), "w_q": draw((D, D)) / 2, "w_k": draw((C, width)) / 2,
              "w_v": draw((C, width)), "w_o": draw((D, D))}
    if bias:
        inputs |= {"b_q": draw(D), "b_k": draw(width), "b_v": draw(width), "b_o": draw(D)}
    if S is not None:
        inputs["context"] = draw((B, S, C))
    return inputs | {"num_heads": H, "num_kv_heads": kv} | options


def _module_case(rng, name, D, H, S, bias, mask):
    """A torch.nn.MultiheadAttention with random weights: packed state, output, gradients."""
    layer = module(D, H, bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(_tensor(rng.standard_normal(tuple(parameter.shape)) / 2))
    x = _leaf(rng.standard_normal((3, 4, D)))
    context = x if S is None else _leaf(rng.standard_normal((3, S, D)))
    out, _ = layer(x, context, context, attn_mask=None if mask is None else ~_tensor(mask).repeat_interleave(H, 0))
    dout = rng.standard_normal(tuple(out.shape))
    leaves = {"x": x, **({} if S is None else {"context": context}), **dict(layer.named_parameters())}
    grads = torch.autograd.grad(out, list(leaves.values()), _tensor(dout))
    plain = lambda key: key.replace(".", "_")                   # a dot would make a dict of it
    inputs = {plain(k): p.detach().numpy().copy() for k, p in layer.named_parameters()} | {"num_heads": H}
    inputs |= {k: leaves[k].detach().numpy() for k in ("x", "context") if k in leaves}
    inputs |= {} if mask is None else {"mask": mask}
    return Case(name, inputs, {"out": out.detach().numpy()}, {"out": dout},
                {plain(k): g.numpy() for k, g in zip(leaves, grads)})


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (sizes, H, kv, options) in _cases(rng).items():
        inputs = _problem(rng, sizes, H, kv, **options)
        out, cache = multi_head_attention(**inputs)
        dout = rng.standard_normal(out.shape)
        order = [k for k in ("x", *check.WEIGHTS, *check.BIASES, "context") if k in inputs]
        yield Case(name, inputs, {"out": out}, {"out": dout},
                   dict(zip(order, multi_head_attention_backward(dout, cache), strict=True)))
    for name, (T, window, sinks) in {"window": (9, 3, 0), "window-sinks": (9, 3, 2)}.items():
        inputs = {k: rng.standard_normal((2, 3, T, e)) for k, e in zip("qkv", (4, 4, 5))}
        inputs |= {"window": window, "sinks": sinks}
        out, cache = window_attention(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, dict(zip("qkv", window_attention_backward(dout, cache))))
    mask = rng.random((3, 4, 4)) < 0.7
    mask |= np.eye(4, dtype=bool)
    yield _module_case(rng, "module", 6, 3, None, True, None)
    yield _module_case(rng, "module-masked", 8, 2, None, True, mask)
    yield _module_case(rng, "module-cross", 6, 2, 5, False, None)
