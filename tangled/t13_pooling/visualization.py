# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:3866ae8af2d40522
"""Chapter 13: drawings of results that are handed in. Each returns a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t13_pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
STYLES = (("-", "o", BLUE), ("--", "s", ORANGE), (":", "^", GREEN))
EXAMPLE = ((1, 6, 0, 2), (6, 3, 5, 1), (2, 0, 9, 4), (6, 4, 7, 8))


def draw_mechanism():
    """One map, both ways to pool it, and both gradients."""
    x, dy = np.array(EXAMPLE, float)[None, None], np.array([[1.0, 2], [3, 4]])[None, None]
    (high, of_max), (mean, of_mean) = max_pool2d(x, 2), avg_pool2d(x, 2)
    won = max_pool2d_backward(np.ones_like(dy), of_max)[0, 0] > 0
    figure, ax = plt.subplots(figsize=(6.6, 3.3))
    _grid(ax, 4.2, 4.6, x[0, 0], won)
    _grid(ax, 0.4, 5.6, high[0, 0])
    _grid(ax, 10, 5.6, mean[0, 0])
    _grid(ax, 5.2, 0.6, dy[0, 0])
    _grid(ax, 0, 0, max_pool2d_backward(dy, of_max)[0, 0], won)
    _grid(ax, 9.6, 0, avg_pool2d_backward(dy, of_mean)[0, 0])
    for a, b, y, text in ((4.1, 2.6, 6.6, "max"), (8.3, 9.8, 6.6, "mean"), (5.1, 4.15, 1.6, ""), (7.3, 9.45, 1.6, "")):
        ax.annotate("", (b, y), (a, y), arrowprops={"arrowstyle": "->", "linewidth": 1})
        ax.text((a + b) / 2, y + 0.15, text, ha="center", fontsize=8)
    for x0, y0, text in ((6.2, 8.75, "x (4, 4)"), (1.4, 7.75, "y (2, 2)"), (11, 7.75, "y (2, 2)"),
                         (6.2, 2.75, r"$\bar{y}$ (2, 2)"), (2, 4.15, r"$\bar{x}$: to the winner"),
                         (11.6, 4.15, r"$\bar{x}$: a quarter each")):
        ax.text(x0, y0, text, ha="center", fontsize=8)
    ax.set(xlim=(-0.2, 13.8), ylim=(-0.2, 9.2), aspect="equal")
    ax.axis("off")
    return figure


def _grid(ax, x, y, values, marked=None):
    """Numbers (h, w) in cells with the lower left corner at (x, y); windows of 2 x 2 in bold."""
    rows, columns = values.shape
    for r, c in np.ndindex(rows, columns):
        corner = x + c, y + rows - 1 - r
        hatch = "////" if marked is not None and marked[r, c] else None
        ax.add_patch(plt.Rectangle(corner, 1, 1, facecolor="white", edgecolor="0.6", linewidth=0.5, hatch=hatch))
        ax.text(corner[0] + 0.5, corner[1] + 0.5, f"{values[r, c]:g}", ha="center", va="center", fontsize=7.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    step = 2 if rows == 4 else 1
    for r, c in np.ndindex(rows // step, columns // step):
        ax.add_patch(plt.Rectangle((x + c * step, y + r * step), step, step, fill=False, edgecolor="0.1",
                                   linewidth=1.3))


def draw_shifts(kept, change):
    """Shares (K + 1,) of peaks that stay, and {way: relative changes (K + 1,)}."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.3))
    t = np.arange(len(kept))
    left.plot(t, 1 - t / t[-1], "-", color="0.5", label="1 - t/K")
    left.plot(t, kept, "o", color=BLUE, label="measured")
    left.set(xlabel="shift t, windows of K = 4", ylabel="share that stays", xticks=t)
    left.legend(fontsize=7)
    for (way, values), (line, marker, colour) in zip(change.items(), STYLES):
        right.plot(t, values, line, marker=marker, markersize=4, color=colour, label=way)
    right.set(xlabel="shift t", ylabel="relative change", xticks=t)
    right.legend(fontsize=6.5)
    return figure


def draw_network(filters, curves, shifted):
    """First-layer filters (F, KH, KW); {name: errors by epoch}; {model: accuracies by shift}."""
    figure = plt.figure(figsize=(6.6, 2.3), layout="constrained")
    parts = figure.subfigures(1, 3, width_ratios=(1, 1.25, 1.25))
    limit = np.abs(filters).max()
    for ax, picture in zip(parts[0].subplots(-(-len(filters) // 2), 2).flat, filters):
        ax.imshow(picture, cmap="gray", vmin=-limit, vmax=limit)
        ax.axis("off")
    middle, right = parts[1].subplots(), parts[2].subplots()
    for (name, values), (line, _, colour) in zip(curves.items(), STYLES):
        middle.plot(np.arange(1, len(values) + 1), 100 * np.array(values), line, color=colour, label=name)
    middle.set(xlabel="epoch", ylabel="errors, %", yscale="log")
    for (name, values), (line, marker, colour) in zip(shifted.items(), STYLES):
        right.plot(np.arange(len(values)), 100 * np.array(values), line, marker=marker, markersize=4, color=colour,
                   label=name)
    right.set(xlabel="shift of the test digits", ylabel="right, %", xticks=np.arange(len(values)))
    for ax in (middle, right):
        ax.legend(fontsize=6.5)
    return figure


def draw_confusion(counts, names=None):
    """Counts (K, K), truth in rows; recalls in per cent on the diagonal."""
    counts = np.asarray(counts)
    figure, ax = plt.subplots(figsize=(3.4, 3.1))
    off = counts * (1 - np.eye(len(counts)))
    ax.imshow(off, cmap="Greys", vmax=2.5 * max(4, off.max()))
    for i, j in np.ndindex(*counts.shape):
        text = f"{100 * counts[i, i] / max(1, counts[i].sum()):.0f} %" if i == j else f"{counts[i, j] or ''}"
        ax.text(j, i, text, ha="center", va="center", fontsize=6.5)
    ticks = names or range(len(counts))
    ax.set_xticks(range(len(counts)), ticks, rotation=90 if names else 0, fontsize=7)
    ax.set_yticks(range(len(counts)), ticks, fontsize=7)
    ax.set(xlabel="said", ylabel="true")
    return figure
