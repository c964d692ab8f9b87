# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:51507502904b1fe2
"""Gated recurrent units by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch

import tangled.t20_gru.checks as check
from tangled.testing import Case


def _leaves(arrays):
    """Tensors that want a gradient, and the six that the calls want, zeros for biases that are not there."""
    work, size = check.working(arrays[0].dtype), arrays[2].shape[1]
    leaves = [None if a is None else torch.from_numpy(np.array(a, work)).requires_grad_() for a in arrays]
    zero = torch.zeros(size, dtype=leaves[0].dtype)
    return [a for a in leaves if a is not None], [zero if a is None else a for a in leaves]


def _cho(x, h, w_ih, w_hh, b_ih, b_hh):
    """A step (B, D), (B, H) of the variant that torch does not have, written out."""
    H = h.shape[1]
    a = x @ w_ih + b_ih
    r, z = torch.sigmoid(a[:, :2 * H] + h @ w_hh[:, :2 * H] + b_hh[:2 * H]).split(H, 1)
    n = torch.tanh(a[:, 2 * H:] + (r * h) @ w_hh[:, 2 * H:] + b_hh[2 * H:])
    return z * h + (1 - z) * n


def gru_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """As level 2, x (B, D), h (B, H)."""
    arrays = check.weights(x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, variant)
    leaves, six = _leaves(arrays)
    x, h, w_ih, w_hh, b_ih, b_hh = six
    out = torch.gru_cell(x, h, w_ih.T, w_hh.T, b_ih, b_hh) if variant == "pytorch" else _cho(*six)
    return out.detach().numpy().astype(arrays[0].dtype), ((out,), leaves, arrays[0].dtype)


def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """As level 2, x (B, T, D), by torch's fused call, or by steps."""
    arrays = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, variant)
    leaves, six = _leaves(arrays)
    x, h0, w_ih, w_hh, b_ih, b_hh = six
    if 0 in x.shape:                                            # which torch refuses
        out, h_T = h0[:, None].expand(-1, x.shape[1], -1) * 0 + x.sum() + w_ih.sum() * 0, h0 * 1
    elif variant == "pytorch":
        out, h_T = torch.gru(x, h0[None], [w_ih.T, w_hh.T, b_ih, b_hh], True, 1, 0.0, False, False, True)
        h_T = h_T[0]
    else:
        outs, h_T = [], h0
        for t in range(x.shape[1]):
            h_T = _cho(x[:, t], h_T, w_ih, w_hh, b_ih, b_hh)
            outs.append(h_T)
        out = torch.stack(outs, 1)
    dtype = arrays[0].dtype
    return tuple(a.detach().numpy().astype(dtype) for a in (out, h_T)), ((out, h_T), leaves, dtype)


def _gradients(douts, cache):
    """Gradients of the leaves, zeros for what is not used."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(np.array(d)) for d in douts]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True, allow_unused=True)
    return tuple((torch.zeros_like(leaf) if grad is None else grad).numpy().astype(dtype)
                 for grad, leaf in zip(grads, leaves))


def gru_step_backward(dh_new, cache):
    """As level 2, dh_new (B, H), by autograd."""
    (out,), _, _ = cache
    return _gradients([check.gradient("dh_new", dh_new, tuple(out.shape), out.detach().numpy().dtype)], cache)


def gru_backward(dout, dh_T, cache):
    """As level 2, dout (B, T, H), dh_T (B, H) or None, by autograd."""
    out, h_T = cache[0]
    work = out.detach().numpy().dtype
    dout = check.gradient("dout", dout, tuple(out.shape), work)
    dh_T = np.zeros(tuple(h_T.shape), work) if dh_T is None else check.gradient("dh_T", dh_T, tuple(h_T.shape), work)
    return _gradients([dout, dh_T], cache)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ."""
    B, T, D, H = 2, 5, 3, 4
    shapes = {"w_ih": (D, 3 * H), "w_hh": (H, 3 * H), "b_ih": (3 * H,), "b_hh": (3 * H,)}
    for kind in ("pytorch", "cho"):
        weights = {k: 0.8 * rng.standard_normal(shape) for k, shape in shapes.items()}
        inputs = {"x": rng.standard_normal((B, D)), "h": rng.standard_normal((B, H)), **weights, "variant": kind}
        out, cache = gru_step(**inputs)
        dout = rng.standard_normal(out.shape)
        grads = dict(zip(("x", "h", *shapes), gru_step_backward(dout, cache)))
        yield Case(f"step-{kind}", inputs, {"h_new": out}, {"h_new": dout}, grads)
        x, h0 = rng.standard_normal((B, T, D)), rng.standard_normal((B, H))
        inputs = {"x": x, "h0": h0, **weights, "variant": kind}
        (out, h_T), cache = gru(**inputs)
        dout, dh_T = rng.standard_normal(out.shape), rng.standard_normal(h_T.shape)
        grads = dict(zip(("x", "h0", *shapes), gru_backward(dout, dh_T, cache)))
        yield Case(f"gru-{kind}", inputs, {"out": out, "h_T": h_T}, {"out": dout, "h_T": dh_T}, grads)
