# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:677b8623c1d7cfb8
"""Normalisations by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t16_normalizations.checks as check
from tangled.testing import Case


def _leaves(*arrays):
    """Tensors that want gradients, None where there is None."""
    return [None if a is None else torch.from_numpy(np.array(a, check.working(a.dtype))).requires_grad_()
            for a in arrays]


def _result(outs, leaves, dtype):
    """outs as arrays, one or a tuple; the cache is the graph."""
    arrays = tuple(out.detach().numpy().astype(dtype) for out in outs)
    return arrays if len(arrays) > 1 else arrays[0], (outs, [leaf for leaf in leaves if leaf is not None], dtype)


def layer_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2, x (..., D), by F.layer_norm."""
    leaves = _leaves(*check.features(x, gamma, beta, eps))
    return _result((_layer_norm(*leaves, eps),), leaves, np.asarray(x).dtype)


def _layer_norm(x, gamma, beta, eps):
    """F.layer_norm of tensors, x (..., D); a shift without a scale, which that refuses, is added."""
    if gamma is None and beta is not None:
        return F.layer_norm(x, x.shape[-1:], None, None, eps) + beta
    return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)


def rms_norm(x, gamma=None, eps=1e-5):
    """As level 2, x (..., D), by F.rms_norm."""
    leaves = _leaves(*check.features(x, gamma, None, eps))
    return _result((F.rms_norm(leaves[0], leaves[0].shape[-1:], leaves[1], eps),), leaves, np.asarray(x).dtype)


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """As level 2, x (N, C, *S), by F.group_norm; what that refuses (a row of one number) by rows."""
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    leaves = _leaves(x, gamma, beta)
    if len(x) * x[0:1].size // groups == 1 or not len(x) or (gamma is None and beta is not None):
        rows = leaves[0].reshape(len(x) * groups, x[0:1].size // groups if len(x) else 1)
        out = _layer_norm(rows, None, None, eps).reshape(x.shape)
        wide = [None if leaf is None else leaf.reshape(-1, *[1] * (x.ndim - 2)) for leaf in leaves[1:]]
        out = out if wide[0] is None else out * wide[0]
        out = out if wide[1] is None else out + wide[1]
    else:
        out = F.group_norm(leaves[0], groups, *leaves[1:], eps)
    return _result((out,), leaves, x.dtype)


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """As level 2, x (N, C, *S), by F.instance_norm where that takes it."""
    x, _, gamma, beta = check.channels(x, 1, gamma, beta, eps)
    if x.ndim != 4 or x.shape[2] * x.shape[3] == 1 or not len(x) or (gamma is None and beta is not None):
        return group_norm(x, x.shape[1], gamma, beta, eps)
    leaves = _leaves(x, gamma, beta)
    out = F.instance_norm(leaves[0], None, None, *leaves[1:], True, 0.1, eps)
    return _result((out,), leaves, x.dtype)


def weight_norm(v, g, axis=0):
    """As level 2, v of any shape, g (K,)."""
    v, g, axis = check.weights(v, g, axis)
    leaves = _leaves(np.moveaxis(v, axis, 0), g)
    w = torch._weight_norm(leaves[0], leaves[1].reshape(-1, *[1] * (v.ndim - 1)), 0)
    array, cache = _result((w,), leaves, v.dtype)
    return np.moveaxis(array, 0, axis), (*cache, axis)


def add_layer_norm(x, residual, gamma=None, beta=None, eps=1e-5):
    """As level 2, x and residual (..., D)."""
    x, gamma, beta = check.features(x, gamma, beta, eps)
    leaves = _leaves(x, check.same("residual", residual, x), gamma, beta)
    total = leaves[0] + leaves[1]
    return _result((_layer_norm(total, *leaves[2:], eps), total), leaves, x.dtype)


def _backward(dout, cache):
    """Gradients of the leaves that there are, dout as out, by autograd."""
    (out,), leaves, _ = cache
    return _gradients([check.gradient("dout", dout, tuple(out.shape), leaves[0].detach().numpy().dtype)], cache)


def _gradients(douts, cache):
    """Gradients of the leaves for upstream arrays."""
    outs, leaves, dtype = cache
    given = [torch.from_numpy(np.ascontiguousarray(dout).copy()) for dout in douts]
    grads = torch.autograd.grad(outs, leaves, given, retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


layer_norm_backward = rms_norm_backward = group_norm_backward = instance_norm_backward = _backward


def weight_norm_backward(dw, cache):
    """dv as v, dg (K,), by autograd."""
    *graph, axis = cache
    shape = np.moveaxis(graph[0][0].detach().numpy(), 0, axis).shape
    dw = check.gradient("dw", dw, shape, graph[1][0].detach().numpy().dtype)
    dv, dg = _gradients([np.moveaxis(dw, axis, 0)], graph)
    return np.moveaxis(dv, 0, axis), dg


def add_layer_norm_backward(dout, dtotal, cache):
    """dx, dresidual, dgamma, dbeta, by autograd; dout and dtotal of shape (..., D)."""
    shape, dtype = tuple(cache[0][0].shape), cache[1][0].detach().numpy().dtype
    given = [check.gradient(name, d, shape, dtype) for name, d in (("dout", dout), ("dtotal", dtotal))]
    return _gradients(given, cache)


CASES = {  # name: (op, x, features, options); all sizes differ
    "layer": (layer_norm, (3, 4, 5), 5, {}), "layer-eps": (layer_norm, (4, 3), 3, {"eps": 0.5}),
    "layer-vector": (layer_norm, (7,), 7, {}),
    "rms": (rms_norm, (3, 4, 5), 5, {}), "rms-eps": (rms_norm, (4, 3), 3, {"eps": 0.5}),
    "group": (group_norm, (2, 6, 3, 5), 6, {"groups": 3}),
    "group-eps": (group_norm, (3, 4, 2), 4, {"groups": 2, "eps": 0.5}),
    "group-one": (group_norm, (2, 3, 4, 5), 3, {"groups": 1}), "group-flat": (group_norm, (3, 8), 8, {"groups": 2}),
    "instance": (instance_norm, (2, 3, 4, 5), 3, {}), "instance-eps": (instance_norm, (3, 2, 4, 5), 2, {"eps": 0.5})}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (op, shape, K, options) in CASES.items():
        names = ("x", "gamma") if op is rms_norm else ("x", "gamma", "beta")
        inputs = {"x": 2 * rng.standard_normal(shape) + 1, **options}
        inputs |= {k: rng.standard_normal(K) for k in names[1:]}
        out, cache = op(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, dict(zip(names, _backward(dout, cache))))
    for name, (shape, axis) in {"weight": ((3, 2, 4), 0), "weight-last": ((4, 3), 1)}.items():
        inputs = {"v": rng.standard_normal(shape), "g": rng.standard_normal(shape[axis]), "axis": axis}
        w, cache = weight_norm(**inputs)
        dw = rng.standard_normal(shape)
        yield Case(name, inputs, {"w": w}, {"w": dw}, dict(zip("vg", weight_norm_backward(dw, cache))))
    inputs = {k: rng.standard_normal((3, 4, 5)) for k in ("x", "residual")}
    inputs |= {k: rng.standard_normal(5) for k in ("gamma", "beta")} | {"eps": 0.1}
    (out, total), cache = add_layer_norm(**inputs)
    dout, dtotal = rng.standard_normal((2, 3, 4, 5))
    grads = add_layer_norm_backward(dout, dtotal, cache)
    yield Case("add", inputs, {"out": out, "total": total}, {"out": dout, "total": dtotal},
               dict(zip(("x", "residual", "gamma", "beta"), grads)))
