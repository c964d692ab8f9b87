# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:9fc45be0cf5b91d4
"""Depthwise, pointwise and causal convolution by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t15_depthwise_separable.checks as check
from tangled.testing import Case


def _leaves(*arrays):
    """Tensors that want gradients, for the arrays that are not None; the dtype to compute in."""
    return [torch.from_numpy(np.array(a, dtype=check.working(a.dtype))).requires_grad_()
            for a in arrays if a is not None]


def _result(out, leaves, dtype):
    """out as an array of a dtype, and a cache."""
    return out.detach().numpy().astype(dtype), (out, leaves, dtype)


def _backward(dout, cache):
    """Gradients of the leaves, in order, by autograd, shapes as theirs."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, torch.from_numpy(np.array(dout)), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


def depthwise_conv2d(x, w, b=None, stride=1, padding=0, dilation=1):
    """x (N, C, H, W) to (N, C M, OH, OW), by F.conv2d with C groups."""
    x, w, b, at = check.depthwise(x, w, b, stride, padding, dilation)
    leaves = _leaves(x, w, b)
    padded = F.pad(leaves[0], (*at.sides[1], *at.sides[0]))
    out = F.conv2d(padded, leaves[1], (leaves + [None])[2], at.stride, 0, at.dilation, x.shape[1])
    return _result(out, leaves, x.dtype)


def pointwise_conv2d(x, w, b=None):
    """x (N, C, H, W) to (N, F, H, W), by F.conv2d."""
    x, w, b = check.pointwise(x, w, b)
    leaves = _leaves(x, w, b)
    return _result(F.conv2d(leaves[0], leaves[1][:, :, None, None], (leaves + [None])[2]), leaves, x.dtype)


def causal_conv1d(x, w, b=None, dilation=1):
    """x (N, C, T) to (N, F, T), by F.conv1d behind zeros."""
    x, w, b, dilation = check.causal(x, w, b, dilation)
    leaves = _leaves(x, w, b)
    if x.shape[2] == 0:
        return _result((leaves[0].sum() + leaves[1].sum() + sum(l.sum() for l in leaves[2:])) *
                       torch.zeros((len(x), len(w), 0), dtype=leaves[0].dtype), leaves, x.dtype)
    padded = F.pad(leaves[0], ((w.shape[2] - 1) * dilation, 0))
    return _result(F.conv1d(padded, leaves[1], (leaves + [None])[2], dilation=dilation), leaves, x.dtype)


def squeeze_excite(x, w1, b1, w2, b2):
    """x (N, C, H, W) to the same shape."""
    x, w1, b1, w2, b2 = check.excited(x, w1, b1, w2, b2)
    leaves = _leaves(x, w1, b1, w2, b2)
    t, w1, b1, w2, b2 = leaves
    s = torch.sigmoid(torch.relu(t.mean((2, 3)) @ w1 + b1) @ w2 + b2)
    return _result(t * s[:, :, None, None], leaves, x.dtype)


depthwise_conv2d_backward = pointwise_conv2d_backward = _backward
causal_conv1d_backward = squeeze_excite_backward = _backward

CASES = {  # name: (op, shapes of its inputs, options); all sizes differ
    "plain": ("depthwise_conv2d", ((2, 3, 6, 7), (3, 1, 2, 4), 3), {}),
    "multiplier": ("depthwise_conv2d", ((2, 3, 5, 6), (12, 1, 3, 2), 12), {"padding": 1}),
    "knobs": ("depthwise_conv2d", ((2, 3, 9, 11), (6, 1, 3, 2), 6), {
        "stride": (2, 3), "padding": (1, 0, 2, 3), "dilation": (2, 3)}),
    "same": ("depthwise_conv2d", ((3, 2, 5, 6), (4, 1, 2, 4), 4), {"padding": "same", "dilation": (3, 1)}),
    "pointwise": ("pointwise_conv2d", ((2, 3, 5, 4), (6, 3), 6), {}),
    "causal": ("causal_conv1d", ((2, 3, 7), (4, 3, 2), 4), {}),
    "dilated": ("causal_conv1d", ((2, 4, 9), (5, 4, 3), 5), {"dilation": 2}),
    "longer-than-the-past": ("causal_conv1d", ((3, 2, 4), (5, 2, 3), 5), {"dilation": 6}),
    "excite": ("squeeze_excite", ((3, 5, 4, 6), (5, 2), 2, (2, 5), 5), {})}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (kind, shapes, options) in CASES.items():
        names = ("x", "w1", "b1", "w2", "b2") if name == "excite" else ("x", "w", "b")
        inputs = {key: rng.standard_normal(shape) for key, shape in zip(names, shapes)}
        out, cache = globals()[kind](**inputs, **options)
        dout = rng.standard_normal(out.shape)
        yield Case(name, {**inputs, **options}, {"out": out}, {"out": dout}, dict(zip(names, _backward(dout, cache))))
