# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:adef4b3dcc336c38
"""Chapter 07: functions and slopes, approximations, dead units, the flow of gradients."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

import tangled.t07_activations.level2_vectorized as level
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

DASHES = ((1, 0), (4, 2), (1, 1.5), (5, 1, 1, 1))


def values_and_slopes(module, x):
    """An activation and its derivative at the points x (...): two arrays (...)."""
    out = module(x)
    return out, module.backward(np.ones_like(x))


def draw_functions():
    """All functions with their derivatives, one panel each."""
    x = np.linspace(-4, 4, 401)
    figure, axes = plt.subplots(2, 5, figsize=(6.6, 3.1), sharex=True, sharey=True)
    for ax, (name, make) in zip(axes.flat, SHOWN.items()):
        out, slope = values_and_slopes(make(), x)
        ax.axhline(0, color="0.8", linewidth=0.6)
        ax.axvline(0, color="0.8", linewidth=0.6)
        ax.plot(x, out, color="C0", label="f")
        ax.plot(x, slope, color="C1", dashes=(3, 1.5), label="f'")
        ax.set(title=name, ylim=(-2, 3), xticks=(-4, 0, 4))
    axes[0, 0].legend(loc="upper left")
    return figure


def draw_approximations():
    """How far the two cheap forms of GELU are from the exact one; values, slopes."""
    x = np.linspace(-5, 5, 801)
    exact = values_and_slopes(level.GELU(), x)
    cubic = values_and_slopes(level.GELU("tanh"), x)
    scaled = values_and_slopes(level.SiLU(), 1.702 * x)
    scaled = scaled[0] / 1.702, scaled[1]
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.0), sharex=True)
    for k, ax in enumerate(axes):
        error = np.abs(scaled[k] - exact[k]) + 1e-9
        ax.semilogy(x, error, color="C1", label="x sigmoid(1.702 x)")
        ax.semilogy(x, np.abs(cubic[k] - exact[k]) + 1e-9, color="C0", label="tanh form")
        title = ("error of the value", "error of the derivative")[k]
        ax.set(title=title, xlabel="x", ylim=(1e-6, 1))
    axes[0].legend(loc="upper center", ncols=2)
    return figure


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


def draw_silent(counts, moved):
    """Silent units by epoch, and how far pushed units moved; name -> list, both."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.2))
    for ax, runs in zip(axes, (counts, moved)):
        for k, (name, numbers) in enumerate(runs.items()):
            ax.plot(numbers, color=f"C{k}", dashes=DASHES[k % 4], label=name)
        top = 1.35 * max(max(numbers) for numbers in runs.values())
        ax.set(xlabel="epoch", ylim=(0, top))
        ax.legend(ncols=3, loc="upper left", fontsize=6.5)
    axes[0].set(title="silent units of 200, ReLU")
    axes[1].set(title="weights of pushed units: change")
    return figure


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


def draw_flow(flows):
    """Gradient norms by layer, one line for each entry of a dict of arrays (depth + 1,)."""
    figure, ax = plt.subplots(figsize=(6.2, 2.5))
    for k, (name, norms) in enumerate(flows.items()):
        ax.semilogy(norms, color=f"C{k % 6}", dashes=DASHES[k % 4], label=name)
    ax.set(xlabel="layer (the loss is on the right)", ylabel="gradient, relative",
           ylim=(1e-8, 100))
    ax.legend(ncols=3, loc="lower left")
    return figure
