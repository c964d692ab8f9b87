# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:c307792b54a938d5
"""Figures of chapter 05."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t05_mlp_forward import (
    kaiming_normal,
    kaiming_uniform,
    linear,
    relu,
    xavier_normal,
)

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"


def draw_fold(seed=3):
    """A plane with two classes before, inside and after one layer of two units."""
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, 120)
    noise, blob = generator.standard_normal((2, 120, 2))
    ring = 1.6 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.12 * noise
    steps, fine = np.linspace(-2, 2, 9), np.linspace(-2, 2, 60)
    lines = [np.stack(pair, 1) for s in np.repeat(steps[:, None], 60, 1)
             for pair in ((s, fine), (fine, s))]
    W, b = np.array([[1.0, -0.5], [0.6, 1.0]]), np.array([0.3, 0.3])
    stages = (("input", lambda x: x), ("x W + b", lambda x: linear(x, W, b)[0]),
              ("relu(x W + b)", lambda x: relu(linear(x, W, b)[0])[0]))
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.3))
    for ax, (title, stage) in zip(axes, stages):
        for line in lines:
            ax.plot(*stage(line).T, color=GREY, linewidth=0.4)
        for points, colour, marker in ((ring, ORANGE, "o"), (0.35 * blob, BLUE, "^")):
            ax.plot(*stage(points).T, marker, color=colour, markersize=2)
        ax.set(title=title, xticks=[0], yticks=[0], aspect="equal")
    return figure


def signals(init, depth=50, width=256, rows=256, seed=0):
    """Mean squares (depth + 1,) of the signal by layer, and of a gradient sent back."""
    generator = np.random.default_rng(seed)
    h = generator.standard_normal((rows, width)).astype(np.float32)
    forward, kept = [1.0], []
    for _ in range(depth):
        W = init(generator, (width, width))
        h = relu(linear(h, W)[0])[0]
        kept.append((W, h > 0))
        forward.append(float(np.mean(h.astype(float) ** 2)))
    g = generator.standard_normal((rows, width)).astype(np.float32)
    backward = [1.0]
    for W, on in reversed(kept):
        g = (g * on) @ W.T
        backward.append(float(np.mean(g.astype(float) ** 2)))
    return np.array(forward), np.array(backward[::-1])


def plain(deviation):
    """An initialiser of normal weights (in, out) with a fixed deviation."""
    return lambda rng, shape: (deviation * rng.standard_normal(shape)).astype(np.float32)


def draw_depth(depth=50, width=256):
    """Mean squares forward and backward for five initialisations, with predictions."""
    cases = (("Kaiming, uniform", kaiming_uniform, 2 / width),
             ("Kaiming, normal", kaiming_normal, 2 / width),
             ("Xavier, normal", xavier_normal, 1 / width),
             ("deviation 0.05", plain(0.05), 0.05**2),
             ("deviation 0.1", plain(0.1), 0.1**2))
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True)
    layers = np.arange(depth + 1)
    for k, (name, init, variance) in enumerate(cases):
        factor = width * variance / 2
        exponents = layers.astype(float), (depth - layers).astype(float)
        for ax, measured, exponent in zip(axes, signals(init, depth, width), exponents):
            ax.semilogy(layers, measured, color=f"C{k}", label=name)
            ax.semilogy(layers, factor**exponent, "--", color="0.3", linewidth=0.7)
    axes[0].set(title="signal", xlabel="layer", ylabel="mean square")
    axes[1].set(title="gradient", xlabel="layer")
    axes[0].legend(fontsize=7)
    return figure


def draw_loss():
    """The loss of two logits (z, 0) with the second class true, in float32, four ways."""
    z = np.linspace(0, 150, 601, dtype=np.float32)
    with np.errstate(all="ignore"):
        textbook = -np.log(1 / (np.exp(z) + 1))
        shifted = np.exp(-z) / (1 + np.exp(-z))
        textbook[~np.isfinite(np.exp(z))] = np.nan
        rounded = np.where(shifted > 0, -np.log(shifted), np.nan)
        ways = (("log-sum-exp", z + np.log1p(np.exp(-z)), "-"),
                ("textbook", textbook, "--"), ("shift, softmax, log", rounded, ":"),
                ("the same with epsilon", -np.log(shifted + np.float32(1e-12)), "-."))
    figure, ax = plt.subplots(figsize=(4.9, 2.6))
    for k, (name, loss, style) in enumerate(ways):
        ax.plot(z, loss + 1.5 * k, style, color=f"C{k}", label=name)
    ax.set(xlabel="logit z", ylabel="loss (curves shifted by 1.5 each)")
    ax.legend(fontsize=7)
    return figure
