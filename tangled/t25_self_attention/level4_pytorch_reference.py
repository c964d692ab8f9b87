# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:3364f18b2737d8e1
"""Self-attention by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import math

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t25_self_attention.checks as check
from tangled.testing import Case


def _tensor(array):
    """A copy as a tensor of the same shape."""
    return torch.from_numpy(np.array(array, order="C"))


def causal_mask(Tq, Tk):
    """(Tq, Tk) bool, by tril."""
    Tq, Tk, _, _ = check.window(Tq, Tk, 1, 0)
    return torch.ones(Tq, Tk, dtype=torch.bool).tril(Tk - Tq).numpy()


def padding_mask(lengths, Tk):
    """lengths (B,): (B, 1, 1, Tk) bool."""
    lengths, Tk = check.ends(lengths, Tk)
    ends = torch.from_numpy(lengths.astype(np.int64))
    return (torch.arange(Tk)[None] < ends[:, None])[:, None, None].numpy()


def window_mask(Tq, Tk, window, sinks=0):
    """(Tq, Tk) bool, by two triangles and the first columns."""
    Tq, Tk, window, sinks = check.window(Tq, Tk, window, sinks)
    past = torch.ones(Tq, Tk, dtype=torch.bool).tril(Tk - Tq)
    near = past & torch.ones(Tq, Tk, dtype=torch.bool).triu(Tk - Tq - window + 1)
    near[:, :sinks] |= past[:, :sinks]
    return near.numpy()


def masked_softmax(scores, mask=None):
    """scores (..., T), mask or None: (..., T), by masked_fill and softmax."""
    scores, mask, dtype = check.scores(scores, mask)
    s = _tensor(scores)
    if mask is not None:
        s = s.masked_fill(~_tensor(mask), -math.inf)
    p = torch.softmax(s, -1)
    p = torch.where((s == -math.inf).all(-1, keepdim=True), 0, p)
    if mask is not None:
        p = p.masked_fill(~_tensor(mask), 0)
    return p.numpy().astype(dtype)


def softmax_backward(dp, p):
    """dp, p (..., T): (..., T), by the Jacobian of every row."""
    dp, p, dtype = check.weights(dp, p)
    p, dp = _tensor(p), _tensor(np.where(p == 0, 0, dp))
    J = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]             # eq. 25.8
    return (J @ dp[..., None])[..., 0].numpy().astype(dtype)


def attention(q, k, v, mask=None, causal=False, scale=None):
    """As level 2, by F.scaled_dot_product_attention; the cache is the graph."""
    q, k, v, mask, scale, dtype = check.heads(q, k, v, mask, causal, scale)
    G, shape = math.prod(q.shape[:-2]), (*q.shape[:-1], v.shape[-1])
    leaves = [_tensor(x).requires_grad_() for x in (q, k, v)]
    allowed = torch.ones(1, 1, q.shape[-2], k.shape[-2], dtype=torch.bool)
    if mask is not None:
        allowed = _tensor(mask).reshape(1, G, *mask.shape[-2:])
    if causal:
        allowed = allowed & _tensor(causal_mask(q.shape[-2], k.shape[-2]))
    flat = [x.reshape(1, G, *x.shape[-2:]) for x in leaves]
    out = F.scaled_dot_product_attention(*flat, attn_mask=allowed, scale=scale).reshape(shape)
    return out.detach().numpy().astype(dtype), (out, leaves, dtype)


def attention_backward(dout, cache):
    """dq, dk, dv in the shapes of q, k, v, by autograd."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


SIZES = (5, 7, 4, 6)                                            # Tq, Tk, D, Dv: all different


def _cases(rng):
    """name: (batch axes, (Tq, Tk, D, Dv), options)."""
    mask = rng.random((2, 3, 5, 7)) < 0.6
    mask[1, 2, 3] = False                                       # a query that sees nothing
    lengths = padding_mask(np.array([4, 7]), 7)
    return {"plain": ((2, 3), SIZES, {}),
            "no-batch": ((), SIZES, {}),
            "three-axes": ((2, 3, 2), SIZES, {"causal": True}),
            "causal": ((2, 3), (6, 6, 4, 5), {"causal": True}),
            "causal-short": ((2, 3), SIZES, {"causal": True}),
            "causal-long": ((2, 3), (7, 5, 4, 6), {"causal": True}),
            "mask": ((2, 3), SIZES, {"mask": mask}),
            "mask-of-heads": ((2, 3), SIZES, {"mask": rng.random((3, 1, 7)) < 0.6}),
            "padding": ((2, 3), SIZES, {"mask": lengths}),
            "window": ((2, 3), (6, 8, 4, 5), {"mask": window_mask(6, 8, 3, 1)}),
            "scale": ((2, 3), SIZES, {"scale": 0.8}),
            "everything": ((2, 3), SIZES, {"mask": mask & lengths, "causal": True, "scale": 1.3})}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (batch, (Tq, Tk, D, Dv), options) in _cases(rng).items():
        inputs = {"q": rng.standard_normal((*batch, Tq, D)), "k": rng.standard_normal((*batch, Tk, D)),
                  "v": rng.standard_normal((*batch, Tk, Dv)), **options}
        out, cache = attention(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, dict(zip("qkv", attention_backward(dout, cache))))
    scores, mask = 3 * rng.standard_normal((2, 3, 5)), rng.random((3, 5)) < 0.6
    mask[1] = False
    s = _tensor(scores).requires_grad_()
    p = torch.softmax(s.masked_fill(~_tensor(mask), -1e300), -1) * _tensor(mask)
    dp = rng.standard_normal(p.shape)
    (grad,) = torch.autograd.grad(p, s, _tensor(dp))
    yield Case("softmax", {"scores": scores, "mask": mask}, {"p": p.detach().numpy()}, {"p": dp},
               {"scores": grad.numpy()})
