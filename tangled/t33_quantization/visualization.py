# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:9473c899c9984fba
"""Chapter 33: the grid, blocks, and the clip. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t33_quantization.experiments import best_clip, laplace_error


def draw_mechanism(scale=0.25, zero=-1, low=-4, high=3):
    """A line with its grid, where the gradient passes, and three kinds of blocks."""
    figure, (line, below) = plt.subplots(2, 1, figsize=(6.6, 4.2), height_ratios=(1.25, 1))
    points = scale * (np.arange(low, high + 1) - zero)
    left, right = points[0] - scale / 2, points[-1] + scale / 2
    line.set(xlim=(left - 0.5, right + 0.5), ylim=(-1.75, 1.5))
    line.axis("off")
    for k, p in enumerate(points):
        line.add_patch(plt.Rectangle((p - scale / 2, -0.22), scale, 0.44, facecolor="0.85" if k % 2 else "white",
                                     edgecolor="0.4", linewidth=0.6))
        line.plot(p, 0, "o", color="black", markersize=5)
        line.text(p, -0.47, f"{low + k}".replace("-", "−"), ha="center", fontsize=8,
                  weight="bold" if low + k == zero else "normal")
        line.text(p, 1.22, f"{p:g}".replace("-", "−"), ha="center", fontsize=8)
    for a, b in ((left - 0.45, left), (right, right + 0.45)):
        line.add_patch(plt.Rectangle((a, -0.22), b - a, 0.44, facecolor="white", edgecolor="0.55", hatch="////",
                                     linewidth=0))
    line.plot((left - 0.45, right + 0.45), (0, 0), color="0.3", linewidth=0.8, zorder=0)
    for x in (left - 0.3, -0.33, 0.09, 0.68, right + 0.35):
        to = points[np.abs(points - x).argmin()]
        line.plot(x, 0.72, "v", color="0.2", markersize=5)
        line.annotate("", (to, 0.1), (x, 0.66), arrowprops={"arrowstyle": "->", "linewidth": 1, "color": "0.2"})
    ends = left - 0.47
    for y, text in ((1.22, "$\\hat x$"), (0.72, "$x$"), (-0.47, "$q$"), (-1.35, "gradient")):
        line.text(ends, y, text, ha="right", va="baseline", fontsize=9)
    line.annotate("", (points[4], -0.67), (points[5], -0.67), arrowprops={"arrowstyle": "<->", "linewidth": 1})
    line.text((points[4] + points[5]) / 2, -0.92, "$s$", ha="center", fontsize=9)
    line.annotate("$z$", (0, -0.5), (0, -0.98), ha="center", fontsize=9, arrowprops={"arrowstyle": "-"})
    steps = np.array([left - 0.45, left, left, right, right, right + 0.45])
    line.plot(steps, -1.45 + 0.3 * np.array([0, 0, 1, 1, 0, 0]), color="0.2", linewidth=1.3)
    for x, text in ((left - 0.22, "0"), ((left + right) / 2 - 0.35, "1"), (right + 0.22, "0")):
        line.text(x, -1.4 + 0.33 * (text == "1"), text, ha="center", fontsize=8)
    _draw_blocks(below)
    return figure


def _draw_blocks(ax):
    """Three matrices of 8 x 6 with framed blocks."""
    ax.set(xlim=(-2.2, 33), ylim=(-2.4, 9), aspect="equal")
    ax.axis("off")
    for k, (block, name) in enumerate((((8, 6), "block=None\nscale: ()"), ((8, 1), "block=(None, 1)\nscale: (1, 6)"),
                                       ((4, 1), "block=(4, 1)\nscale: (2, 6)"))):
        at = 12 * k
        for i, j in np.ndindex(8, 6):
            ax.add_patch(plt.Rectangle((at + j, i), 1, 1, facecolor="white", edgecolor="0.75", linewidth=0.5))
        for i, j in np.ndindex(8 // block[0], 6 // block[1]):
            shade = "0.88" if (i + j) % 2 == 0 else "0.98"
            ax.add_patch(plt.Rectangle((at + j * block[1], i * block[0]), block[1], block[0], edgecolor="black",
                                       facecolor=shade, alpha=0.75, linewidth=1.3))
        ax.text(at + 3, -0.5, name, ha="center", va="top", fontsize=8)
    ax.text(-0.4, 4, "in", ha="right", va="center", fontsize=8)
    ax.text(3, 8.25, "out", ha="center", fontsize=8)


def draw_clip(found):
    """found: {bits: (clips, errors)}."""
    figure, ax = plt.subplots(figsize=(5.2, 2.7))
    line = np.linspace(1, 13, 200)
    for (bits, (clips, errors)), mark in zip(found.items(), "os"):
        cut, rounded = laplace_error(line, bits)
        ax.plot(line, cut + rounded, color="0.2", linewidth=1.1)
        ax.plot(clips, errors, mark, color="0.2", markersize=4.5, fillstyle="none", label=f"{bits} bits, measured")
        ax.axvline(best_clip(bits), color="0.5", linestyle="--", linewidth=0.8)
    cut, rounded = laplace_error(line, next(iter(found)))
    ax.plot(line, cut, ":", color="0.2", linewidth=1)
    ax.plot(line, rounded, ":", color="0.2", linewidth=1)
    ax.set(yscale="log", xlabel="clip c", ylabel="mean squared error", ylim=(1e-5, 2))
    ax.legend(fontsize=7)
    return figure
