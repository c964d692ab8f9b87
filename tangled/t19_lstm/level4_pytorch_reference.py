# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:2c27a178b0f40bd6
"""LSTM by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch

import tangled.t19_lstm.checks as check
from tangled.testing import Case


def _leaf(array):
    """A tensor that wants a gradient."""
    return torch.from_numpy(np.array(array, check.working(array.dtype))).requires_grad_()


def _leaves(arrays):
    """Leaves of the arrays that are there, and the weights as torch wants them."""
    leaves = [None if a is None else _leaf(a) for a in arrays]
    w_ih, w_hh, *biases = leaves[3:]
    zero = torch.zeros(w_hh.shape[1], dtype=w_hh.dtype)
    return leaves, [w_ih.T, w_hh.T, *(zero if b is None else b for b in biases)]


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2, x (B, D), h and c (B, H)."""
    arrays = check.weights(x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    leaves, weights = _leaves(arrays)
    outs = torch.lstm_cell(leaves[0], (leaves[1], leaves[2]), *weights)
    return _results(outs, leaves, arrays[0].dtype)


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2, x (B, T, D), by torch's fused call."""
    arrays = check.weights(x, ("B", "T", "D"), h0, c0, w_ih, w_hh, b_ih, b_hh)
    leaves, weights = _leaves(arrays)
    x, h0, c0 = leaves[:3]
    if 0 in x.shape:                                            # which torch refuses
        outs = h0[:, None].expand(-1, x.shape[1], -1) * 0 + x.sum(), h0 * 1, c0 * 1
    else:
        out, h, c = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, False, False, True)
        outs = out, h[0], c[0]
    (out, h, c), cache = _results(outs, leaves, arrays[0].dtype)
    return (out, (h, c)), cache


def _results(outs, leaves, dtype):
    """Arrays of the tensors, and what autograd needs."""
    arrays = tuple(out.detach().numpy().astype(dtype) for out in outs)
    return arrays, (outs, [leaf for leaf in leaves if leaf is not None], dtype)


def _gradients(names, douts, cache):
    """Gradients of the leaves, zeros for what is not used."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(check.upstreams(tuple(out.shape), out.detach().numpy().dtype, **{name: d})[0])
             for name, d, out in zip(names, douts, outs)]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True, allow_unused=True)
    return tuple((torch.zeros_like(leaf) if grad is None else grad).numpy().astype(dtype)
                 for grad, leaf in zip(grads, leaves))


def lstm_step_backward(dh, dc, cache):
    """As level 2, dh and dc (B, H) or None, by autograd."""
    return _gradients(("dh", "dc"), (dh, dc), cache)


def lstm_backward(dout, dh_T, dc_T, cache):
    """As level 2, dout (B, T, H), dh_T and dc_T (B, H) or None, by autograd."""
    check.gradient("dout", dout, tuple(cache[0][0].shape), np.float64)
    return _gradients(("dout", "dh_T", "dc_T"), (dout, dh_T, dc_T), cache)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. All sizes differ."""
    B, T, D, H = 2, 5, 3, 4
    shapes = {"w_ih": (D, 4 * H), "w_hh": (H, 4 * H), "b_ih": (4 * H,), "b_hh": (4 * H,)}
    weights = {k: 0.7 * rng.standard_normal(shape) for k, shape in shapes.items()}
    states = rng.standard_normal((2, B, H))
    inputs = {"x": rng.standard_normal((B, D)), "h": states[0], "c": states[1], **weights}
    outs, cache = lstm_step(**inputs)
    douts = rng.standard_normal((2, B, H))
    grads = dict(zip(inputs, lstm_step_backward(*douts, cache)))
    yield Case("step", inputs, dict(zip(("h", "c"), outs)), dict(zip(("h", "c"), douts)), grads)
    inputs = {"x": rng.standard_normal((B, T, D)), "h0": states[0], "c0": states[1], **weights}
    (out, ends), cache = lstm(**inputs)
    dout, dends = rng.standard_normal(out.shape), rng.standard_normal((2, B, H))
    grads = dict(zip(inputs, lstm_backward(dout, *dends, cache)))
    yield Case("lstm", inputs, {"out": out, "h_T": ends[0], "c_T": ends[1]},
               {"out": dout, "h_T": dends[0], "c_T": dends[1]}, grads)
