# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:3c4cbecba92a5c41
"""The perceptron and the logistic unit, level 4: PyTorch. NumPy arrays in and out."""

import numpy as np
import torch
from torch.nn import functional

import tangled.t04_perceptron.checks as check
from tangled.testing import Case


def _tensor(x):
    return torch.from_numpy(np.array(x))


def perceptron_fit(x, y, epochs=100):
    """x (N, D), y (N,) of -1 and +1: w (D,), b, mistakes."""
    x, y, dtype = check.signed(x, y, epochs)
    points = _tensor(np.concatenate([x, np.ones((len(x), 1), x.dtype)], 1) * y[:, None])
    v, mistakes = torch.zeros(points.shape[1], dtype=points.dtype), []
    for _ in range(epochs):
        mistakes.append(0)
        for point in points:
            if torch.dot(v, point) <= 0:
                v += point
                mistakes[-1] += 1
        if mistakes[-1] == 0:
            break
    return v[:-1].numpy().astype(dtype), dtype.type(v[-1].item()), mistakes


def perceptron_predict(x, w, b):
    """x (N, D), w (D,), b: (N,) of -1 and +1."""
    x, w, b = check.unit(x, w, b)
    positive = functional.linear(_tensor(x), _tensor(w)[None])[:, 0] + float(b) > 0
    return (2 * positive.int() - 1).numpy()


def sigmoid(z):
    """Any shape."""
    return torch.sigmoid(_tensor(check.floats("z", z))).numpy()[()]


def bce_with_logits(z, y):
    """Mean loss of z and y of one shape; cache (z, loss), as tensors."""
    z, y = check.logits(z, y)
    z = _tensor(z).requires_grad_()
    loss = functional.binary_cross_entropy_with_logits(z, _tensor(y))
    return loss.detach().numpy()[()], (z, loss)


def bce_with_logits_backward(dloss, cache):
    """dz, in the shape of z, by autograd."""
    z, loss = cache
    upstream = torch.tensor(check.scalar("dloss", dloss), dtype=loss.dtype)
    return torch.autograd.grad(loss, z, upstream, retain_graph=True)[0].numpy()[()]


def logistic_fit(x, y, lr, epochs):
    """x (N, D), y (N,) from 0 to 1: w (D,), b, losses."""
    x, y, dtype = check.labelled(x, y, lr, epochs)
    x, y = _tensor(x), _tensor(y)
    unit = torch.nn.Linear(x.shape[1], 1, dtype=x.dtype)
    for parameter in unit.parameters():
        torch.nn.init.zeros_(parameter)
    descent, losses = torch.optim.SGD(unit.parameters(), lr=lr), []
    for _ in range(epochs):
        descent.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(unit(x)[:, 0], y)
        loss.backward()
        descent.step()
        losses.append(loss.item())
    w, b = unit.weight.detach().numpy()[0], unit.bias.detach().numpy()[0]
    return w.astype(dtype), dtype.type(b), losses


def golden_cases(rng):
    """Fits of both units, losses and gradients, in float64."""
    x, v = rng.standard_normal((40, 3)), rng.standard_normal(4)
    score = x @ v[:3] + v[3]
    x = x[np.abs(score) > 0.3]
    y = np.sign(score[np.abs(score) > 0.3])
    xor = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    for name, inputs in (("perceptron", {"x": x, "y": y}),
                         ("perceptron-xor", {"x": xor, "y": np.array([-1, 1, 1, -1])})):
        w, b, mistakes = perceptron_fit(**inputs, epochs=50)
        yield Case(name, {**inputs, "epochs": 50},
                   {"w": w, "b": np.array(b), "mistakes": np.array(mistakes)})
    z = np.concatenate([6 * rng.standard_normal(12), [-1e4, 1e4, 0.0]])
    yield Case("sigmoid", {"z": z}, {"out": sigmoid(z)})
    for name, z in (("bce", 3 * rng.standard_normal(9)), ("bce-one", np.array([-1.5])),
                    ("bce-extreme", 1e4 * rng.standard_normal((3, 4)))):
        y, dloss = rng.integers(0, 2, z.shape), np.array(-1.7)
        loss, cache = bce_with_logits(z, y)
        yield Case(name, {"z": z, "y": y}, {"loss": np.array(loss)}, {"loss": dloss},
                   {"z": bce_with_logits_backward(dloss, cache)})
    inputs = {"x": x, "y": (y := rng.uniform(0, 1, len(x))), "lr": 0.7, "epochs": 30}
    w, b, losses = logistic_fit(**inputs)
    yield Case("logistic", inputs, {"w": w, "b": np.array(b), "losses": np.array(losses)})
