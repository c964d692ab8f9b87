# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:bf6c6914c83a27fe
"""The forward pass of an MLP, level 4: PyTorch. NumPy arrays in and out."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional, init

import tangled.t05_mlp_forward.checks as check
from tangled.testing import Case


def _tensor(x):
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


def linear(x, W, b=None):
    """x (..., in), W (in, out), b (out,) or None: out (..., out), and (x, W, b)."""
    x, W, b = check.layer(x, W, b)
    out = functional.linear(_tensor(x), _tensor(W).T, None if b is None else _tensor(b))
    return out.numpy(), (x, W, b)


def relu(x):
    """max(x, 0), any shape; the cache is the output."""
    out = functional.relu(_tensor(check.floats("x", x))).numpy()
    return out, out


def mlp_forward(x, parameters):
    """x (N, d_0) through torch.nn.Sequential: out (N, d_L), and no caches."""
    layers, modules = check.network(parameters), []
    for W, b in layers:
        module = torch.nn.Linear(*np.shape(W), bias=b is not None, dtype=_tensor(W).dtype)
        module.weight.data = _tensor(W).T
        if b is not None:
            module.bias.data = _tensor(b)
        modules += [module, torch.nn.ReLU()]
    check.layer(x, *layers[0])
    with torch.no_grad():
        return torch.nn.Sequential(*modules[:-1])(_tensor(x)).numpy(), None


def softmax_cross_entropy(logits, y):
    """Mean over the rows, for logits (..., K) and y (...); cache (p, y)."""
    logits, y = check.classes(logits, y)
    rows = _tensor(logits.reshape(-1, logits.shape[-1]))
    loss = functional.cross_entropy(rows, _tensor(y.reshape(-1).astype(np.int64)))
    p = functional.softmax(rows, dim=-1).numpy().reshape(logits.shape)
    return loss.numpy()[()], (p, y)


def mse(pred, target):
    """Mean over all entries, any shape; the cache is the difference."""
    pred, target = check.errors(pred, target)
    loss = functional.mse_loss(_tensor(pred), _tensor(target)).numpy()[()]
    return loss, np.asarray(pred - target)


def _initialised(function, rng, shape, **options):
    """Weights (in, out), float32, from an initialiser that wants (out, in)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        return function(torch.empty(shape[::-1]), **options).T.contiguous().numpy()


def xavier_uniform(rng, shape, gain=1.0):
    """Weights (in, out), float32."""
    shape = check.initial(rng, shape, gain)
    return _initialised(init.xavier_uniform_, rng, shape, gain=gain)


def xavier_normal(rng, shape, gain=1.0):
    """Weights (in, out), float32."""
    shape = check.initial(rng, shape, gain)
    return _initialised(init.xavier_normal_, rng, shape, gain=gain)


def kaiming_uniform(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32; PyTorch knows the gain sqrt(2) under the name "relu"."""
    shape = check.initial(rng, shape, gain, mode)
    options = {"mode": mode, "nonlinearity": "relu"}
    weights = _initialised(init.kaiming_uniform_, rng, shape, **options)
    return weights * np.float32(gain / 2.0 ** 0.5)


def kaiming_normal(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32."""
    shape = check.initial(rng, shape, gain, mode)
    options = {"mode": mode, "nonlinearity": "relu"}
    weights = _initialised(init.kaiming_normal_, rng, shape, **options)
    return weights * np.float32(gain / 2.0 ** 0.5)


def golden_cases(rng):
    """Layers, networks and losses, from the functions above, in float64."""
    draw = rng.standard_normal
    for name, inputs in (("linear", {"x": draw((5, 3)), "W": draw((3, 4)), "b": draw(4)}),
                         ("linear-no-bias", {"x": draw((5, 3)), "W": draw((3, 4))}),
                         ("linear-sequences", {"x": draw((2, 4, 3)), "W": draw((3, 2)),
                                               "b": draw(2)})):
        yield Case(name, inputs, {"out": linear(**inputs)[0]})
    x = draw((4, 5))
    yield Case("relu", {"x": x}, {"out": relu(x)[0]})
    sizes = (6, 9, 7, 3)
    layers = [(draw((m, n)), draw(n)) for m, n in pairwise(sizes)]
    x = draw((8, 6))
    weights, biases = map(list, zip(*layers))
    yield Case("mlp_forward", {"x": x, "weights": weights, "biases": biases},
               {"out": mlp_forward(x, layers)[0]})
    for name, logits in (("cross_entropy", 3 * draw((7, 4))),
                         ("cross_entropy-one", draw((1, 5))),
                         ("cross_entropy-sequences", draw((2, 5, 3))),
                         ("cross_entropy-extreme", 1e4 * draw((6, 4)))):
        y = rng.integers(0, logits.shape[-1], logits.shape[:-1])
        loss, (p, _) = softmax_cross_entropy(logits, y)
        yield Case(name, {"logits": logits, "y": y}, {"loss": np.array(loss), "p": p})
    for name, shape in (("mse", (6, 2)), ("mse-vector", (5,))):
        inputs = {"pred": draw(shape), "target": draw(shape)}
        yield Case(name, inputs, {"loss": np.array(mse(**inputs)[0])})
