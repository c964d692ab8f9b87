# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:fbb29eba6e9da37f
"""Chapter 15: the factorisation, the tree, spirals, losses. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

GREYS = ("0.92", "0.8", "0.68", "0.56")


def draw_mechanism():
    """A full convolution from 3 channels to 4, and the same in two steps."""
    figure, ax = plt.subplots(figsize=(6.6, 2.7))
    ins, outs = [3.4, 2.4, 1.4], [3.9, 2.9, 1.9, 0.9]
    for x, heights in ((0.5, ins), (3.5, outs), (6.7, ins), (9.1, ins), (11.9, outs)):
        for k, y in enumerate(heights):
            _plane(ax, x, y, GREYS[k])
    for a in ins:
        for b in outs:
            ax.plot([0.95, 3.05], [a, b], color="black", linewidth=1.4)
            ax.plot([9.55, 11.45], [a, b], color="black", linewidth=0.5)
        ax.plot([7.15, 8.65], [a, a], color="black", linewidth=1.4)
    for x, text in ((2.0, "w (4, 3, 3, 3)\n108 weights"), (7.9, "w (3, 1, 3, 3)\n27 weights"),
                    (10.5, "w (4, 3)\n12 weights")):
        ax.text(x, 4.75, text, ha="center", va="center", fontsize=8)
    labels = ((0.5, r"$x$ (3, H, W)", r"$\bar{x}$"), (3.5, r"$y$ (4, H, W)", r"$\bar{y}$"),
              (6.7, r"$x$ (3, H, W)", r"$\bar{x}$"), (9.1, r"$h$ (3, H, W)", r"$\bar{h}$"),
              (11.9, r"$y$ (4, H, W)", r"$\bar{y}$"))
    for x, text, gradient in labels:
        ax.text(x, 0.15, text, ha="center", fontsize=8)
        ax.text(x, -0.5, gradient, ha="center", fontsize=9)
    for start, end, text in ((3.2, 0.8, r"$\bar{w}$ (4, 3, 3, 3)"), (8.8, 7.0, r"$\bar{w}$ (3, 1, 3, 3)"),
                             (11.6, 9.4, r"$\bar{w}$ (4, 3)")):
        ax.annotate("", (end, -0.42), (start, -0.42), arrowprops={"arrowstyle": "->", "linewidth": 1})
        ax.text((start + end) / 2, -0.95, text, ha="center", fontsize=8)
    ax.plot([5.1, 5.1], [-1, 5], color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xlim=(-0.3, 12.7), ylim=(-1.15, 5.25))
    ax.axis("off")
    return figure


def _plane(ax, x, y, shade):
    """A feature map, seen at an angle, with its middle at (x, y)."""
    corners = np.array([[-0.42, -0.42], [0.22, -0.22], [0.42, 0.42], [-0.22, 0.22]]) + (x, y)
    ax.add_patch(plt.Polygon(corners, facecolor=shade, edgecolor="0.2", linewidth=0.8, zorder=3))


def draw_tree(length=16, depth=4):
    """Causal layers with K = 2 and dilations 1, 2, 4, ...; the last output's tree is heavy."""
    figure, ax = plt.subplots(figsize=(6.4, 2.1))
    heavy = {length - 1}
    for layer in reversed(range(depth)):
        below = set()
        for t in range(length):
            for back in (0, 2 ** layer):
                if t - back >= 0:
                    strong = t in heavy
                    below |= {t - back} if strong else set()
                    ax.plot([t - back, t], [layer, layer + 1], color="black" if strong else "0.75",
                            linewidth=1.6 if strong else 0.5, zorder=2 if strong else 1)
        ax.text(length, layer + 0.5, f"d = {2 ** layer}", fontsize=8, va="center")
        heavy = below
    for layer in range(depth + 1):
        ax.scatter(range(length), [layer] * length, s=14, facecolor="white", edgecolor="black", zorder=3)
    ax.text(-0.6, 0, r"$x$ (N, C, 16)", fontsize=8, ha="right", va="center")
    ax.text(-0.6, depth, r"$y$ (N, F, 16)", fontsize=8, ha="right", va="center")
    ax.annotate("", (-1.8, 0.4), (-1.8, depth - 0.4), arrowprops={"arrowstyle": "->", "linewidth": 1})
    ax.text(-2.1, depth / 2, r"$\bar{x} \leftarrow \bar{y}$", fontsize=9, ha="right", va="center")
    ax.set(xlim=(-4.2, length + 1.4), ylim=(-0.4, depth + 0.4))
    ax.axis("off")
    return figure


def draw_spirals(found):
    """{name: points (n, 2)}: a panel each."""
    figure, axes = plt.subplots(1, len(found), figsize=(6.6, 1.6))
    for ax, (name, points) in zip(axes, found.items()):
        ax.plot(*points.T, color="black", linewidth=1)
        ax.set_title(name, fontsize=8)
        ax.set(xticks=[], yticks=[], xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    return figure


def draw_losses(curves, pairs):
    """Curves "step", "train", "validation", and the level of the table of pairs."""
    figure, ax = plt.subplots(figsize=(5.6, 2.1))
    ax.plot(curves["step"], curves["train"], color="black", linestyle=":", label="training names")
    ax.plot(curves["step"], curves["validation"], color="black", label="held-out names")
    ax.axhline(pairs, color="black", linestyle="--", linewidth=1, label="table of pairs, held out")
    ax.set(xlabel="step", ylabel="nats per character")
    ax.legend(fontsize=8)
    return figure
