# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:a8d6f14ee93b0b73
"""Backpropagation, level 4: PyTorch. NumPy arrays in and out; gradients by autograd."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

import tangled.t05_mlp_forward.checks as check_forward
import tangled.t06_backpropagation.checks as check
from tangled.testing import Case


def _leaf(x):
    return torch.from_numpy(np.array(x)).requires_grad_()


def _gradients(dout, out, leaves):
    """Gradients of the leaves, in their shapes, for dout in the shape of out."""
    dout = torch.from_numpy(np.array(dout))
    found = torch.autograd.grad(out, leaves, dout, retain_graph=True)
    return tuple(grad.numpy() for grad in found)


def _tensor_of(name, dout, out):
    """dout, checked, as an array like out."""
    return check.gradient(name, dout, tuple(out.shape), out.detach().numpy().dtype)


def linear(x, W, b=None):
    """x (..., in), W (in, out), b (out,) or None: out (..., out)."""
    leaves = [_leaf(a) for a in check_forward.layer(x, W, b) if a is not None]
    out = functional.linear(leaves[0], leaves[1].T, *leaves[2:])
    return out.detach().numpy(), (out, leaves)


def linear_backward(dout, cache, input_grad=True):
    """dx (..., in) or None, dW (in, out), and db (out,) unless there is no b."""
    dx, *grads = _gradients(_tensor_of("dout", dout, cache[0]), *cache)
    return dx if input_grad else None, *grads


def relu(x):
    """max(x, 0), any shape."""
    leaf = _leaf(check_forward.floats("x", x))
    out = functional.relu(leaf)
    return out.detach().numpy(), (out, [leaf])


def relu_backward(dout, cache):
    """dx in the shape of x."""
    return _gradients(_tensor_of("dout", dout, cache[0]), *cache)[0]


def softmax_cross_entropy(logits, y):
    """Mean over the rows, for logits (..., K) and y (...)."""
    logits, y = check_forward.classes(logits, y)
    leaf = _leaf(logits)
    y = torch.from_numpy(y.reshape(-1).astype(np.int64))
    loss = functional.cross_entropy(leaf.flatten(0, -2), y)
    return loss.detach().numpy()[()], (loss, [leaf])


def softmax_cross_entropy_backward(dloss, cache):
    """dlogits (..., K)."""
    dloss = np.array(check.scalar("dloss", dloss), cache[0].detach().numpy().dtype)
    return _gradients(dloss, *cache)[0]


def mse(pred, target):
    """Mean over all entries, any shape."""
    pred, target = check_forward.errors(pred, target)
    leaf = _leaf(pred)
    loss = functional.mse_loss(leaf, torch.from_numpy(np.array(target)))
    return loss.detach().numpy()[()], (loss, [leaf])


def mse_backward(dloss, cache):
    """dpred in the shape of pred."""
    return softmax_cross_entropy_backward(dloss, cache)


def mlp_forward(x, parameters):
    """x (N, d_0) through pairs (W, b) with ReLU between them: out (N, d_L)."""
    pairs = check_forward.network(parameters)
    leaves = [_leaf(x), *(_leaf(a) for pair in pairs for a in pair if a is not None)]
    out, rest = leaves[0], iter(leaves[1:])
    for k, (_, b) in enumerate(pairs):
        out = functional.relu(out) if k else out
        out = _affine(out, rest, b)
    return out.detach().numpy(), (out, leaves, pairs)


def _affine(h, rest, b):
    """h (N, in) times the next weight, plus the next bias if there is one: (N, out)."""
    out = h @ next(rest)
    return out if b is None else out + next(rest)


def mlp_backward(dout, cache):
    """dx (N, d_0) and a list of (dW, db), or (dW,), for the layers."""
    out, leaves, pairs = cache
    dx, *grads = _gradients(_tensor_of("dout", dout, out), out, leaves)
    rest = iter(grads)
    return dx, [tuple(next(rest) for a in pair if a is not None) for pair in pairs]


def train(weights, biases, x, y, steps, lr):
    """Losses (steps,) and final arrays of SGD on the whole of x (N, d_0), y (N,)."""
    layers = []
    for W, b in zip(weights, biases):
        layer = torch.nn.Linear(*W.shape, dtype=torch.float64)
        layer.weight.data, layer.bias.data = torch.tensor(W.T.copy()), torch.tensor(b)
        layers += [layer, torch.nn.ReLU()]
    model, losses = torch.nn.Sequential(*layers[:-1]), []
    descent = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        descent.zero_grad()
        loss = functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        descent.step()
        losses.append(loss.item())
    found = [p.detach().numpy() for p in model.parameters()]
    return np.array(losses), [W.T.copy() for W in found[0::2]], found[1::2]


def golden_cases(rng):
    """Each op with gradients for random upstream weights, and a training run."""
    draw = rng.standard_normal
    layer = {"x": draw((5, 3)), "W": draw((3, 4)), "b": draw(4)}
    y = rng.integers(0, 4, 6)
    for name, op, wrt, inputs in (
            ("linear", linear, "xWb", layer),
            ("linear-no-bias", linear, "xW", {"x": layer["x"], "W": layer["W"]}),
            ("linear-sequences", linear, "xWb", {**layer, "x": draw((2, 4, 3))}),
            ("relu", relu, "x", {"x": draw((4, 5))}),
            ("softmax_cross_entropy", softmax_cross_entropy, ["logits"],
             {"logits": 3 * draw((6, 4)), "y": y}),
            ("softmax_cross_entropy-extreme", softmax_cross_entropy, ["logits"],
             {"logits": 1e4 * draw((6, 4)), "y": y}),
            ("softmax_cross_entropy-sequences", softmax_cross_entropy, ["logits"],
             {"logits": draw((2, 3, 4)), "y": y.reshape(2, 3)}),
            ("mse", mse, ["pred"], {"pred": draw((6, 2)), "target": draw((6, 2))})):
        out, cache = op(**inputs)
        dout = draw(np.shape(out))
        grads = dict(zip(wrt, _gradients(dout, *cache)))
        yield Case(name, inputs, {"out": np.array(out)}, {"out": np.array(dout)}, grads)
    sizes = (4, 7, 6, 3)
    weights = [draw(shape) for shape in pairwise(sizes)]
    biases = [draw(n) for n in sizes[1:]]
    inputs = {"x": draw((8, 4)), "weights": weights, "biases": biases}
    out, cache = mlp_forward(inputs["x"], list(zip(weights, biases)))
    dout = draw(out.shape)
    dx, grads = mlp_backward(dout, cache)
    names = {f"{name}{k}": grad
             for k, pair in enumerate(grads) for name, grad in zip("Wb", pair)}
    yield Case("mlp", inputs, {"out": out}, {"out": dout}, {"x": dx, **names})
    inputs |= {"y": rng.integers(0, 3, 8), "steps": 20, "lr": 0.1}
    losses, weights, biases = train(**inputs)
    outputs = {f"{name}{k}": a for name, arrays in (("W", weights), ("b", biases))
               for k, a in enumerate(arrays)}
    yield Case("training", inputs, {"losses": losses, **outputs})
