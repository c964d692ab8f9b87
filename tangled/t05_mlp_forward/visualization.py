# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:55fbf98c301a0dbd
"""Figures of chapter 05."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t05_mlp_forward import linear, relu

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


ARRAYS = (("$X$", 4, 2, "kept"), ("$W_1$", 2, 2, "///"), ("$b_1$", 1, 2, "///"), ("$Z_1$", 4, 2, ""),
          ("$H_1$", 4, 2, "kept"), ("$W_2$", 2, 3, "///"), ("$b_2$", 1, 3, "///"), ("$Z_2$", 4, 3, ""),
          ("$P$", 4, 3, "kept"), (r"$\mathcal{L}$", 1, 1, ""))
BETWEEN = ("@", "+", "=", "relu", "@", "+", "=", "softmax", "mean of\n$-\\log p_y$")
SHAPES = ("(N, $d_0$)", "($d_0$, $d_1$)", "($d_1$,)", "(N, $d_1$)", "(N, $d_1$)", "($d_1$, K)", "(K,)",
          "(N, K)", "(N, K)", "()")


def draw_mechanism():
    """The arrays of a forward pass, in their shapes, for N = 4 and widths 2, 2, 3."""
    figure, ax = plt.subplots(figsize=(6.8, 2.1))
    x = 0.0
    for (name, rows, columns, kind), shape, sign in zip(ARRAYS, SHAPES, (*BETWEEN, "")):
        y = 1 - rows / 4
        hatch = kind if kind == "///" else None
        ax.add_patch(plt.Rectangle((x, y), 0.45 * columns, rows / 2, facecolor="white",
                                   edgecolor="0.4", hatch=hatch, linewidth=0.9))
        if kind == "kept":
            ax.add_patch(plt.Rectangle((x - 0.07, y - 0.08), 0.45 * columns + 0.14, rows / 2 + 0.16,
                                       fill=False, edgecolor="0.4", linewidth=0.9))
        middle = x + 0.225 * columns
        ax.text(middle, 1, name, ha="center", va="center", fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
        ax.text(middle, 2.25, shape, ha="center", fontsize=6.5)
        wide = 0.5 if len(sign) == 1 else 0.9 if sign == "relu" else 1.6
        ax.text(x + 0.45 * columns + wide / 2, 1, sign, ha="center", va="center", fontsize=7.5)
        x += 0.45 * columns + wide
    ax.annotate("", (0.3, -0.35), (x - 1.8, -0.35),
                arrowprops={"arrowstyle": "-|>", "color": "0.4", "linestyle": "--"})
    ax.text(x / 2, -0.75, "gradients, in the same shapes (Chapter 6)", ha="center", fontsize=7)
    ax.set(xlim=(-0.2, x - 1.4), ylim=(-0.9, 2.6))
    ax.axis("off")
    return figure


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


def draw_depth(curves, predictions):
    """Mean squares (depth + 1,) forward and backward, by name, with those of eq. 5.12."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True)
    for k, (name, pair) in enumerate(curves.items()):
        layers = np.arange(len(pair[0]))
        for ax, measured, exponent in zip(axes, pair, (layers, layers[::-1])):
            ax.semilogy(layers, measured, linestyle=LINES[k], color=f"C{k}", label=name)
            ax.semilogy(layers, predictions[name] ** exponent, color="0.3", linewidth=0.5)
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
