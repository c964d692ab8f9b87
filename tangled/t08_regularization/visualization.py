# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:00b69aeb6878ecd6
"""Chapter 08: the figures."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t08_regularization import level3_memory_efficient
from tangled.t08_regularization.level2_vectorized import soft_threshold


def draw_maps():
    """What one application makes of a weight, and the two priors."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.5))
    w = np.linspace(-1.6, 1.6, 321)
    left.plot(w, w, color="0.75", linewidth=0.8)
    left.plot(w, 0.7 * w, label="L2")
    left.plot(w, soft_threshold(w, 0.3), label="L1")
    left.plot(w, np.clip(w, -1, 1), label="bound", dashes=(4, 2))
    left.set(xlabel="before", ylabel="after", title="one application")
    left.legend()
    v = np.linspace(-4, 4, 401)
    right.plot(v, np.exp(-v * v / 2) / np.sqrt(2 * np.pi), label="Gauss: L2")
    right.plot(v, np.exp(-np.abs(v) * np.sqrt(2)) / np.sqrt(2), label="Laplace: L1")
    right.set(xlabel="weight", ylabel="density", title="priors of variance 1")
    right.legend()
    return figure


def draw_gap(comparison):
    """Accuracies of all recipes, and three validation curves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.8), width_ratios=(1.2, 1))
    names = list(comparison.runs)
    for row, name in enumerate(names):
        ends = comparison.mean(name, "test"), comparison.mean(name, "train")
        left.plot(ends, (row, row), color="0.6", zorder=1)
        left.scatter(*zip(*((e, row) for e in ends)), c=["C0", "C1"], s=18, zorder=2)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set(xlabel="accuracy: test (blue), training (orange)")
    for name, colour in (("none", "C6"), ("L2, 0.03", "C0"), ("dropout, 0.7", "C2")):
        right.plot(comparison.runs[name][0].history["validation_loss"], color=colour, label=name)
    stopper = comparison.runs["early stopping"][0].stopper
    curve = comparison.runs["none"][0].history["validation_loss"]
    best = int(np.argmin(curve))
    right.plot(best, curve[best], "o", color="C6")
    last = stopper.steps - 1
    right.plot(last, curve[last], "x", color="C6", markersize=6)
    right.set(xlabel="epoch", ylabel="validation loss")
    right.legend()
    return figure


def draw_weights(runs):
    """Histograms of the first layer's weights (784, 128)."""
    figure, axes = plt.subplots(1, len(runs), figsize=(6.4, 2.2), sharex=True, sharey=True)
    bins = np.arange(-0.2025, 0.2075, 0.005)
    for ax, run in zip(axes, runs):
        weights = run.first.weight.data.reshape(-1)
        ax.hist(weights, bins, log=True)
        zero = 100 * np.mean(weights == 0)
        ax.set(title=f"{run.recipe.name}: {zero:.1f} % zero", xlabel="weight")
    axes[0].set_ylabel("weights")
    return figure


def draw_variance():
    """Dropout's variance, measured by level 3 and derived."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.4))
    rng, dropout = np.random.default_rng(8), level3_memory_efficient.dropout
    p = np.linspace(0, 0.9, 181)
    left.plot(p, p / (1 - p), color="C1", label="derived")
    dots = np.arange(0.05, 0.95, 0.05)
    measured = [dropout(np.ones(100_000), q, rng)[0].var() for q in dots]
    left.plot(dots, measured, "o", color="C0", label="measured")
    left.set(xlabel="p", ylabel="variance", title="one entry")
    left.legend()
    widths = 4 ** np.arange(1, 6)
    measured = [dropout(np.ones((2000, n), np.float32), 0.5, rng)[0].mean(1).var() for n in widths]
    right.loglog(widths, 1 / widths, color="C1")
    right.loglog(widths, measured, "o", color="C0")
    right.set(xlabel="width", title="mean of a layer")
    return figure
