# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:9ff8696c8abd0253
"""Batch normalisation by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.fusion import fuse_linear_bn_weights

import tangled.t09_batch_norm.checks as check
from tangled.testing import Case


def _tensor(array, dtype=None):
    """A copy as a tensor of the same shape."""
    return torch.from_numpy(np.array(array, dtype=dtype))


def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    """As level 2, by F.batch_norm; the cache is the graph."""
    x, gamma, beta = check.forward(x, gamma, beta, running_mean, running_var, training,
                                   momentum, eps)
    work = np.promote_types(x.dtype, np.float32)                # float16: as float32
    past = [None if r is None else _tensor(r, work) for r in (running_mean, running_var)]
    leaves = [_tensor(a, work).requires_grad_() for a in (x, gamma, beta)]
    out = F.batch_norm(leaves[0], *past, *leaves[1:], training, momentum, eps)
    if training and running_mean is not None:
        running_mean[...], running_var[...] = (r.numpy() for r in past)
    return check.narrow(out.detach().numpy(), x.dtype), (out, leaves, x.dtype)


def batch_norm_backward(dout, cache):
    """dx as x, dgamma (C,), dbeta (C,), by autograd."""
    out, leaves, dtype = cache
    dout = _tensor(check.gradient(dout, out.detach().numpy()))
    grads = torch.autograd.grad(out, leaves, dout, retain_graph=True)
    return tuple(check.narrow(grad.numpy(), dtype) for grad in grads)


def fold_batch_norm(W, b, gamma, beta, running_mean, running_var, eps=1e-5):
    """W (in, C), b (C,) by fuse_linear_bn_weights, whose W is (C, in)."""
    W, b, *layer = check.fold(W, b, gamma, beta, running_mean, running_var, eps)
    gamma, beta, mean, var = map(_tensor, layer)
    b, dtype = None if b is None else _tensor(b), W.dtype
    W, b = fuse_linear_bn_weights(_tensor(W.T, check.wide(W).dtype), b, mean, var, eps, gamma, beta)
    return [check.narrow(a.detach().numpy().T, dtype).copy() for a in (W, b)]


CASES = {"train-1d": ((7, 3), {}), "train-2d": ((4, 3, 5, 2), {}), "train-two": ((2, 3), {}),
         "train-pixels": ((1, 3, 2, 2), {}), "train-momentum": ((6, 3), {"momentum": 0.3}),
         "train-eps": ((3, 3, 2, 2), {"eps": 0.5}),
         "eval-1d": ((5, 3), {}), "eval-2d": ((2, 3, 3, 4), {}), "eval-one": ((1, 3), {}),
         "eval-eps": ((4, 3), {"eps": 0.3})}


def golden_cases(rng):
    """Inputs from `rng`; outputs, running statistics and gradients in float64."""
    for name, (shape, options) in CASES.items():
        x = 3.0 * rng.standard_normal(shape) + rng.standard_normal(3).reshape(
            3, *[1] * (len(shape) - 2))
        yield _graded(name, x, rng, options)
    x = rng.standard_normal((5, 3))
    x[:, 1] = 0.75                                              # a constant channel
    yield _graded("train-constant", x, rng, {})
    inputs = {"W": rng.standard_normal((4, 3)), "b": rng.standard_normal(3), **_layer(rng)}
    for name in ("fold", "fold-eps", "fold-without-bias"):
        inputs = {**inputs, "eps": 0.4} if name == "fold-eps" else inputs
        inputs = inputs if name != "fold-without-bias" else {k: v for k, v in inputs.items()
                                                             if k not in ("b", "eps")}
        W, b = fold_batch_norm(**{"b": None, **inputs})
        yield Case(name, inputs, {"W": W, "b": b})


def _layer(rng):
    """gamma, beta, running_mean and running_var, (3,) each."""
    return {"gamma": rng.standard_normal(3), "beta": rng.standard_normal(3),
            "running_mean": rng.standard_normal(3), "running_var": rng.uniform(0.2, 2.0, 3)}


def _graded(name, x, rng, options):
    """A case of batch_norm with upstream weights and the gradients that they give."""
    inputs = {"x": x, **_layer(rng), "training": name.startswith("train"), **options}
    given = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
    out, cache = batch_norm(**given)
    dout = rng.standard_normal(out.shape)
    grads = dict(zip(("x", "gamma", "beta"), batch_norm_backward(dout, cache)))
    past = {k: given[k] for k in ("running_mean", "running_var")}
    return Case(name, inputs, {"out": out, **past}, {"out": dout}, grads)
