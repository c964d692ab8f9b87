# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:ff546ee5171f6b24
"""Recurrent networks by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t18_rnn.checks as check
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """As level 2, x (B, D), h (B, H)."""
    arrays = check.weights(x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    leaves = [None if a is None else _leaf(a) for a in arrays]
    x, h, w_ih, w_hh, b_ih, b_hh = leaves
    cell = torch.rnn_tanh_cell if nonlinearity == "tanh" else torch.rnn_relu_cell
    zero = torch.zeros(w_hh.shape[0], dtype=w_hh.dtype)
    out = cell(x, h, w_ih.T, w_hh.T, zero if b_ih is None else b_ih, zero if b_hh is None else b_hh)
    dtype, leaves = arrays[0].dtype, [leaf for leaf in leaves if leaf is not None]
    return out.detach().numpy().astype(dtype), ((out,), leaves, dtype)


def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """As level 2, x (B, T, D), by torch's fused call."""
    arrays = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    leaves = [None if a is None else _leaf(a) for a in arrays]
    x, h0, w_ih, w_hh, b_ih, b_hh = leaves
    if 0 in x.shape:                                            # which torch refuses
        out, h_T = h0[:, None].expand(-1, x.shape[1], -1) * 0 + x.sum() + w_ih.sum() * 0, h0 * 1
    else:
        run = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
        zero = torch.zeros(w_hh.shape[0], dtype=w_hh.dtype)
        biases = [zero if b is None else b for b in (b_ih, b_hh)]
        out, h_T = run(x, h0[None], [w_ih.T, w_hh.T, *biases], True, 1, 0.0, False, False, True)
        h_T = h_T[0]
    dtype = arrays[0].dtype
    results = tuple(r.detach().numpy().astype(dtype) for r in (out, h_T))
    return results, ((out, h_T), [a for a in leaves if a is not None], dtype)


def _gradients(douts, cache):
    """Gradients of the leaves, zeros for what is not used."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(np.array(d)) for d in douts]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True, allow_unused=True)
    return tuple((torch.zeros_like(leaf) if grad is None else grad).numpy().astype(dtype)
                 for grad, leaf in zip(grads, leaves))


def rnn_step_backward(dh_new, cache):
    """As level 2, dh_new (B, H), by autograd."""
    (out,), _, _ = cache
    return _gradients([check.gradient("dh_new", dh_new, tuple(out.shape), out.detach().numpy().dtype)], cache)


def rnn_backward(dout, dh_T, cache):
    """As level 2, dout (B, T, H), dh_T (B, H) or None, by autograd."""
    out, h_T = cache[0]
    work = out.detach().numpy().dtype
    dout = check.gradient("dout", dout, tuple(out.shape), work)
    dh_T = np.zeros(tuple(h_T.shape), work) if dh_T is None else check.gradient("dh_T", dh_T, tuple(h_T.shape), work)
    return _gradients([dout, dh_T], cache)


def embedding(ids, table):
    """As level 2, ids (...), table (V, D)."""
    table = check.table(table)
    ids = check.ids("ids", ids, len(table))
    leaf = _leaf(table)
    out = F.embedding(torch.from_numpy(ids.astype(np.int64)), leaf)
    return out.detach().numpy().astype(table.dtype), ((out,), [leaf], table.dtype)


def embedding_backward(dout, cache):
    """As level 2, dout (..., D), by autograd."""
    (out,), _, _ = cache
    return _gradients([check.gradient("dout", dout, tuple(out.shape), out.detach().numpy().dtype)], cache)[0]


def bigram_counts(ids, V):
    """As level 2, ids (n,)."""
    V = check.whole("V", V)
    ids = torch.from_numpy(check.ids("ids", ids, V).astype(np.int64))
    return torch.bincount(ids[:-1] * V + ids[1:], minlength=V * V).reshape(V, V).numpy()


def sample_categorical(logits, temperature, rng):
    """As level 2, logits (..., V), by NumPy's draws."""
    logits, temperature, rng = check.logits(logits), check.temperature(temperature), check.generator(rng)
    tensor = torch.from_numpy(logits.astype(np.float64))
    if not temperature:
        return tensor.argmax(-1).numpy()
    up_to = torch.softmax((tensor - tensor.amax(-1, keepdim=True)) / temperature, -1).cumsum(-1)
    draws = torch.from_numpy(np.asarray(rng.random(logits.shape[:-1])))[..., None] * up_to[..., -1:]
    return (up_to <= draws).sum(-1).clamp(max=logits.shape[-1] - 1).numpy()


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ."""
    B, T, D, H = 2, 5, 3, 4
    shapes = {"w_ih": (D, H), "w_hh": (H, H), "b_ih": (H,), "b_hh": (H,)}
    for kind in ("tanh", "relu"):
        weights = {k: 0.7 * rng.standard_normal(shape) for k, shape in shapes.items()}
        inputs = {"x": rng.standard_normal((B, D)), "h": rng.standard_normal((B, H)), **weights, "nonlinearity": kind}
        out, cache = rnn_step(**inputs)
        dout = rng.standard_normal(out.shape)
        grads = dict(zip(("x", "h", *shapes), rnn_step_backward(dout, cache)))
        yield Case(f"step-{kind}", inputs, {"h_new": out}, {"h_new": dout}, grads)
        x, h0 = rng.standard_normal((B, T, D)), rng.standard_normal((B, H))
        inputs = {"x": x, "h0": h0, **weights, "nonlinearity": kind}
        (out, h_T), cache = rnn(**inputs)
        dout, dh_T = rng.standard_normal(out.shape), rng.standard_normal(h_T.shape)
        grads = dict(zip(("x", "h0", *shapes), rnn_backward(dout, dh_T, cache)))
        yield Case(f"rnn-{kind}", inputs, {"out": out, "h_T": h_T}, {"out": dout, "h_T": dh_T}, grads)
    ids, table = np.array([[1, 4, 1], [0, 4, 4]]), rng.standard_normal((6, 2))
    out, cache = embedding(ids, table)
    dout = rng.standard_normal(out.shape)
    yield Case("embedding", {"ids": ids, "table": table}, {"out": out}, {"out": dout},
               {"table": embedding_backward(dout, cache)})
