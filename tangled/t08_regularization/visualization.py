# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:9ef30c6f68225582
"""Chapter 08: the figures. Each function draws what it is given and returns a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

STAGES = (("x", "(N, D)", ""), ("h", "(N, H)", "Linear, ReLU"), ("y", "(N, H)", r"$\times\, m / (1 - p)$"),
          ("z", "(N, K)", "Linear"), ("loss", "()", "softmax, $q$"))
BACK = {1: "where it was kept", 3: r"$(\pi - q) / N$"}
UPDATE = (("gradient", "+ slope of a penalty", "L2, L1", True),
          ("weights", r"$\times (1 - \eta\lambda)$", "decay", True),
          ("step", "of the optimiser", "", False), ("weights", r"soft threshold $\eta\lambda$", "L1", True),
          ("columns", r"length at most $c$", "max-norm", True))


def _box(ax, x, y, width, height, **style):
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.03",
                                linewidth=0.9, **({"facecolor": "white", "edgecolor": "0.2"} | style)))


def _arrow(ax, start, end, **style):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.25", "shrinkA": 0, "shrinkB": 0} | style)


def draw_mechanism():
    """Where in a training step each regulariser acts; grey: regularisers."""
    figure, ax = plt.subplots(figsize=(6.6, 2.7))
    for k, (name, shape, step) in enumerate(STAGES):
        x = 1.6 * k
        _box(ax, x, 2.3, 0.5, 0.5, facecolor="0.85" if name == "y" else "white")
        ax.text(x, 2.38, name, ha="center", va="center", fontsize=8, style="italic" if len(name) == 1 else None)
        ax.text(x, 2.18, shape, ha="center", va="center", fontsize=6, family="monospace")
        if k:
            _arrow(ax, (x - 1.3, 2.38), (x - 0.3, 2.38))
            _arrow(ax, (x - 0.3, 2.18), (x - 1.3, 2.18), linestyle="--")
            ax.text(x - 0.8, 2.47, step, ha="center", va="bottom", fontsize=6.5)
        if k in BACK:
            ax.text(x + 0.8, 1.97, BACK[k], ha="center", va="top", fontsize=6.5, style="italic")
    ax.text(3.2, 2.68, "dropout", ha="center", fontsize=6.5, weight="bold")
    ax.text(5.6, 2.75, "label smoothing", ha="center", fontsize=6.5, weight="bold")
    ax.text(0.75, 1.97, "dw (D, H)", ha="center", va="top", fontsize=6.5, style="italic")
    ax.text(4.0, 1.97, "dw (H, K)", ha="center", va="top", fontsize=6.5, style="italic")
    for k, (what, does, name, ours) in enumerate(UPDATE):
        x = 0.1 + 1.55 * k
        _box(ax, x, 0.85, 1.16, 0.55, facecolor="0.85" if ours else "white")
        ax.text(x, 0.96, what, ha="center", va="center", fontsize=7)
        ax.text(x, 0.74, does, ha="center", va="center", fontsize=6)
        ax.text(x, 0.38, name, ha="center", va="center", fontsize=6.5, weight="bold")
        if k:
            _arrow(ax, (x - 0.94, 0.85), (x - 0.61, 0.85))
    _arrow(ax, (0.1, 1.75), (0.1, 1.19), linestyle="--")
    ax.text(6.3, 1.3, "after the epoch: early stopping", ha="center", fontsize=6.5, weight="bold")
    ax.set(xlim=(-0.65, 7.1), ylim=(0.2, 2.95))
    ax.axis("off")
    return figure


def draw_maps(thresholded):
    """What one application makes of weights from -1.6 to 1.6, and the two priors."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.2))
    w = np.linspace(-1.6, 1.6, len(thresholded))
    left.plot(w, w, color="0.75", linewidth=0.8)
    left.plot(w, 0.7 * w, label="L2")
    left.plot(w, thresholded, label="L1", dashes=(6, 1.5))
    left.plot(w, np.clip(w, -1, 1), label="bound", dashes=(2, 1.5))
    left.set(xlabel="before", ylabel="after", title="one application")
    left.legend()
    v = np.linspace(-4, 4, 401)
    right.plot(v, np.exp(-v * v / 2) / np.sqrt(2 * np.pi), label="Gauss: L2")
    right.plot(v, np.exp(-np.abs(v) * np.sqrt(2)) / np.sqrt(2), label="Laplace: L1", dashes=(6, 1.5))
    right.set(xlabel="weight", ylabel="density", title="priors of variance 1")
    right.legend()
    return figure


def draw_gap(train, test, curves, best, last):
    """Mean accuracies of all recipes, {name: float} each, and three validation curves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.4), width_ratios=(1.2, 1))
    for row, name in enumerate(train):
        left.plot((test[name], train[name]), (row, row), color="0.6", zorder=1)
    rows = range(len(train))
    left.plot(list(test.values()), rows, "o", markersize=4, label="test")
    left.plot(list(train.values()), rows, "s", markersize=4, label="training")
    left.set_yticks(rows, list(train))
    left.invert_yaxis()
    left.set(xlabel="accuracy")
    left.legend(fontsize=6.5, loc="lower right")
    for name, dashes in (("none", (1, 0)), ("L2, 0.03", (6, 1.5)), ("dropout, 0.7", (2, 1.5))):
        right.plot(curves[name], dashes=dashes, label=name)
    right.plot(best, curves["none"][best], "o", color="C0")
    right.plot(last, curves["none"][last], "x", color="C0", markersize=6)
    right.set(xlabel="epoch", ylabel="validation loss")
    right.legend()
    return figure


def draw_weights(bins, counts, zeros):
    """Histograms of weights: edges (B + 1,), {name: counts (B,)}, and shares of exact zeros."""
    figure, axes = plt.subplots(1, len(counts), figsize=(6.4, 1.9), sharex=True, sharey=True)
    most = max(max(heights) for heights in counts.values())
    for ax, (name, heights) in zip(axes, counts.items()):
        ax.stairs(np.maximum(heights, 0.5), bins, fill=True, baseline=0.5)
        ax.set(title=f"{name}: {100 * zeros[name]:.1f} % zero", xlabel="weight", yscale="log", ylim=(0.7, 2 * most))
    axes[0].set_ylabel("weights")
    return figure
