# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:a41bb5bf1da0b4eb
"""Chapter 07: networks and numbers behind the figures: silent units, gradients by depth, ratios."""

import itertools

import numpy as np

import tangled.t07_activations.level2_vectorized as level
from tangled.measuring import time_ratio
from tangled.t05_mlp_forward import kaiming_normal
from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    DataLoader,
    GradientDescent,
    Linear,
    Sequential,
)

SHOWN = {"ReLU": level.ReLU, "leaky ReLU, 0.2": lambda: level.LeakyReLU(0.2), "ELU": level.ELU,
         "SELU": level.SELU, "GELU": level.GELU, "SiLU": level.SiLU, "Mish": level.Mish,
         "softplus": level.Softplus, "sigmoid": level.Sigmoid, "tanh": level.Tanh}


def values_and_slopes(module, x):
    """An activation and its derivative at the points x (...): two arrays (...)."""
    out = module(x)
    return out, module.backward(np.ones_like(x))


def there_and_back(x, dout):
    """ReLU and SiLU of a few numbers x (n,) with upstream dout (n,): {name: curve and points}."""
    grid, found = np.linspace(-4, 4, 321), {}
    for name in ("ReLU", "SiLU"):
        module = SHOWN[name]()
        curve, (y, slope) = module(grid), values_and_slopes(module, x)
        found[name] = {"grid": grid, "curve": curve, "x": x, "y": y, "slope": slope, "dout": dout,
                       "dx": slope * dout}
    return found


def silent_units(layers, x):
    """Hidden units whose pre-activation is below 0 for every row of x (N, in): an int."""
    silent = 0
    for linear, activation in zip(layers[0::2], layers[1::2]):
        x = linear(x)                                           # (N, width)
        silent += int((x <= 0).all(axis=0).sum())
        x = activation(x)
    return silent


def count_silent(make, x, y, lr, epochs=15, pushed=0.0, width=100, seed=0):
    """Train a net with two hidden layers; half of the first biases begin at `pushed`.

    Returns silent units by epoch; by epoch, how far the weights of the pushed units have
    come, relative to where they began; the accuracy.
    """
    rng = np.random.default_rng(seed)
    sizes = (x.shape[1], width, width)
    hidden = [part for a, b in itertools.pairwise(sizes)
              for part in (Linear(a, b, rng), make())]
    model = Sequential(*hidden, Linear(width, 10, rng))
    loss, optimizer = CrossEntropyLoss(), GradientDescent(model.parameters(), lr)
    hidden[0].bias.data[:width // 2] = pushed
    start = hidden[0].weight.data[:, :width // 2].copy()          # (in, width / 2)
    counts, moved = [silent_units(hidden, x)], [0.0]
    for _ in range(epochs):
        for rows, targets in DataLoader((x, y), 64, rng):
            loss(model(rows), targets)
            optimizer.zero_grad()
            model.backward(loss.backward())
            optimizer.step()
        counts.append(silent_units(hidden, x))
        change = hidden[0].weight.data[:, :width // 2] - start
        moved.append(float(np.linalg.norm(change) / np.linalg.norm(start)))
    return counts, moved, float((model(x).argmax(axis=1) == y).mean())


def gradient_flow(make, gain, depth=40, width=128, batch=64, seed=0):
    """Norms (depth + 1,) of dL/dz from the first layer on, relative to the last."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, width)).astype(np.float32)
    layers = []
    for _ in range(depth):
        W = kaiming_normal(rng, (width, width), gain)
        module = make()
        x = module(x @ W)
        layers.append((W, module))
    dout = rng.standard_normal((batch, width)).astype(np.float32)
    norms = [np.linalg.norm(dout)]
    for W, module in reversed(layers):
        dout = module.backward(dout) @ W.T
        norms.append(np.linalg.norm(dout))
    return np.array(norms[::-1]) / norms[0]


def price_of_a_branch(n=200_000):
    """Time ratios of ways to write one thing, on float32 numbers of random sign: {name: float}."""
    x, g = np.random.default_rng(7).standard_normal((2, n), dtype=np.float32)
    out, factor = np.empty_like(x), np.empty_like(x)

    def by_factor():
        np.greater(x, 0, out=factor)
        np.multiply(g, factor, out=out)

    def by_mask():
        chosen = g.copy()
        chosen[x <= 0] = 0

    return {"np.where against a factor of 0 or 1":
            time_ratio(lambda: np.where(x > 0, g, np.float32(0)), by_factor),
            "a boolean mask against the same factor": time_ratio(by_mask, by_factor),
            "x ** 3 against x * x * x": time_ratio(lambda: x ** 3, lambda: x * x * x),
            "np.maximum(x, 0) against np.clip":
            time_ratio(lambda: np.maximum(x, 0, out=out), lambda: np.clip(x, 0, np.inf, out=out)),
            "np.exp against np.exp2":
            time_ratio(lambda: np.exp(x, out=out), lambda: np.exp2(x, out=out))}
