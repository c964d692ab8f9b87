# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:934652b346bdb1b5
"""Chapter 21: figures."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

ROWS = (("a", 5), ("b", 3), ("c", 4), ("d", 1))


def draw_batch(T=6):
    """Four sequences: padded, reversed each within its length, and packed."""
    figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.5), gridspec_kw={"width_ratios": [6, 6, 5]})
    padded = [[f"{name}{t + 1}" if t < n else "" for t in range(T)] for name, n in ROWS]
    turned = [[f"{name}{n - t}" if t < n else "" for t in range(T)] for name, n in ROWS]
    packed = [[f"{name}{t + 1}" for t in range(n)] for name, n in sorted(ROWS, key=lambda row: -row[1])]
    titles = ("padded", "each row reversed", "packed")
    for ax, cells, title in zip(axes, (padded, turned, packed), titles):
        _grid(ax, cells)
        ax.set_title(title, fontsize=9)
        _arrow(ax, (0.2, 4.45), (len(cells[0]) - 0.2, 4.45))
        _arrow(ax, (len(cells[0]) - 0.2, 4.8), (0.2, 4.8), dashed=True)
        ax.set(xlim=(-0.9, T + 0.1), ylim=(5.6, -0.9), aspect="equal")
        ax.axis("off")
    for (_, n), row in zip(ROWS, range(4)):
        axes[0].text(-0.15, row + 0.5, rf"$\ell = {n}$", ha="right", va="center", fontsize=7)
    sizes = [sum(len(row) > t for row in packed) for t in range(5)]
    for t, n in enumerate(sizes):
        axes[2].text(t + 0.5, -0.15, str(n), ha="center", fontsize=7)
    axes[2].text(-0.15, -0.15, "$n_t$", ha="right", fontsize=7)
    for ax, text in zip(axes, ("$x$ (B, T, D), mask (B, T)", "$Px$ (B, T, D)", "data (N, D), N = 13")):
        ax.text(T / 2, 5.5, text, ha="center", fontsize=8)
    figure.subplots_adjust(left=0.01, right=0.99, wspace=0.05)
    return figure


def _grid(ax, cells):
    """Labelled squares; grey ones where there is no label."""
    for y, row in enumerate(cells):
        for x, text in enumerate(row):
            grey = "white" if text else "0.75"
            ax.add_patch(Rectangle((x, y), 1, 1, facecolor=grey, edgecolor="black", linewidth=0.7))
            ax.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=8)


def _arrow(ax, start, end, dashed=False):
    """An arrow, dashed for gradients."""
    style = {"linestyle": "--", "color": "0.35"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1, **style})


def draw_shares(shares):
    """The share of padding by the pool; shares: {"1": share, ..., "None": of all}."""
    figure, ax = plt.subplots(figsize=(4.2, 2.2))
    values = np.array([100 * float(value) for value in shares.values()])
    ax.plot(values, "o-", color="black", linewidth=1.2, markersize=4)
    ax.set(xticks=range(len(values)), xticklabels=["all" if k == "None" else k for k in shares],
           xlabel="batches sorted together", ylabel="padding, %", ylim=(0, None))
    return figure


def draw_curves(curves):
    """Loss and accuracy by epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(6, 2.4))
    for ax, (name, curve) in zip(axes, curves.items()):
        ax.plot(np.arange(1, len(curve) + 1), curve, color="black")
        ax.set(xlabel="epoch", title=name)
    return figure
