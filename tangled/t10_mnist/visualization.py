# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:85948855a59fc55d
"""Figures of chapter 10: drawings of results that are handed in. Each returns a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#4D4D4D"

STAGES = (("file", "IDX\ngzip", "read_idx"), ("images", "(N, 28, 28)\nuint8, 0 to 255", "prepare"),
          ("x", "(B, 784) float32\nmean 0", "model"), ("logits", "(B, 10)\nfloat32", "loss"),
          ("loss", "()", ""))
STATE = (("order of pictures", "$g_1$"), ("masks", "$g_2$"), ("weights, 6 arrays", r"$\theta$"),
         ("AdamW's sums", "$m, v$"), ("updates", "$t$"))


def _box(ax, x, y, width, height, **style):
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.04",
                                linewidth=0.9, **({"facecolor": "white", "edgecolor": "0.2"} | style)))


def _arrow(ax, start, end, **style):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.25", "shrinkA": 0, "shrinkB": 0} | style)


def draw_mechanism():
    """The pipeline with its gradients, and below it the state that a checkpoint keeps."""
    figure, ax = plt.subplots(figsize=(6.6, 2.75))
    for k, (name, shape, step) in enumerate(STAGES):
        x = 1.5 * k
        _box(ax, x, 2, 1.02, 0.78, facecolor="0.9" if name == "file" else "white")
        ax.text(x, 2.19, name, ha="center", va="center", fontsize=8, weight="bold")
        ax.text(x, 1.86, shape, ha="center", va="center", fontsize=6)
        if step:
            _arrow(ax, (x + 0.56, 2.08), (x + 0.94, 2.08))
            ax.text(x + 0.75, 2.5, step, ha="center", fontsize=6.5, family="monospace")
    _arrow(ax, (5.44, 1.86), (5.06, 1.86), linestyle="--")
    ax.text(5.25, 1.44, "dlogits (B, 10)", ha="center", va="top", fontsize=6, style="italic")
    ax.text(2.25, 1.44, "no dx is asked for", ha="center", va="top", fontsize=6, style="italic")
    _box(ax, 3.2, 0.35, 6.9, 0.62, facecolor="none", linestyle="--")
    for k, (name, symbol) in enumerate(STATE):
        x = 0.45 + 1.36 * k
        _box(ax, x, 0.35, 1.14, 0.42, facecolor="0.95")
        ax.text(x, 0.45, symbol, ha="center", va="center", fontsize=8)
        ax.text(x, 0.26, name, ha="center", va="center", fontsize=6)
    ax.text(6.75, 0.35, "one .npz\nan epoch", fontsize=6.5, va="center")
    _arrow(ax, (3.75, 1.86), (3.35, 0.64), linestyle="--")
    ax.text(3.75, 1.12, "gradients, one for each of the 6 arrays", fontsize=6, style="italic")
    _arrow(ax, (0.45, 0.64), (1.3, 1.54))
    ax.text(1.05, 1.08, "which pictures come next", fontsize=6)
    ax.set(xlim=(-0.75, 7.5), ylim=(-0.05, 2.75))
    ax.axis("off")
    return figure


def draw_digits(images, labels, rows=4):
    """The first pictures (28, 28) of each class, one class a column."""
    columns = [np.concatenate(list(images[labels == k][:rows])) for k in range(10)]
    figure, ax = plt.subplots(figsize=(4.1, 1.7))
    ax.imshow(np.concatenate(columns, axis=1), cmap="gray", interpolation="none")
    ax.set_axis_off()
    return figure


def plot_history(ax, history):
    """Losses and errors by epoch."""
    epochs = np.arange(1, len(history["loss"]) + 1)
    for name, label, colour, marker in (("", "training", BLUE, None), ("validation_", "test", ORANGE, "o")):
        ax.semilogy(epochs, history[name + "loss"], color=colour, marker=marker, markersize=3,
                    label=f"loss, {label}")
        errors = 1 - np.array(history[name + "accuracy"])
        ax.semilogy(epochs, np.maximum(errors, 1e-4), ":", color=colour, marker=marker, markersize=3,
                    label=f"errors, {label}")
    ax.set(xlabel="epoch")
    ax.legend(fontsize=6.5)


def draw_curves(history, errors, count=10_000):
    """By epoch, and by the number of training pictures; errors: {size: shares (seeds,)} of `count`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.3))
    plot_history(left, history)
    for size, found in errors.items():
        for share in found:
            right.errorbar(int(size), 100 * share, 100 * np.sqrt(share * (1 - share) / count), fmt="o",
                           color=BLUE, capsize=2, markersize=3, alpha=0.8)
    right.set(xlabel="training pictures", ylabel="errors on test pictures, %", xscale="log", yscale="log")
    right.set_yticks([2, 5, 10, 20], ["2", "5", "10", "20"])
    right.minorticks_off()
    return figure


def plot_confusion(ax, counts):
    """Counts (K, K) off the diagonal, recalls on it."""
    counts = np.asarray(counts)
    shown = counts * (1 - np.eye(len(counts)))
    ax.imshow(shown, cmap="Greys", vmax=2.5 * max(8, shown.max()))
    for i, j in np.ndindex(*counts.shape):
        text = f"{100 * counts[i, i] / counts[i].sum():.1f}" if i == j else str(counts[i, j] or "")
        ax.text(j, i, text, ha="center", va="center", fontsize=6, color=BLUE if i == j else "black")
    ax.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel="said", ylabel="true")


def draw_confusion(counts):
    """The table of confusions (K, K)."""
    figure, ax = plt.subplots(figsize=(2.8, 2.6))
    plot_confusion(ax, counts)
    return figure


def plot_mistakes(axes, worst, images):
    """Mistakes among images (N, 28, 28), one in each of the axes; worst: {"index" ...: list}."""
    for ax, n, true, said, sure in zip(axes.flat, *(worst[k] for k in ("index", "true", "said", "sure"))):
        ax.imshow(images[int(n)], cmap="gray_r", interpolation="none")
        ax.set_title(f"{int(true)}, said {int(said)}\n{100 * sure:.1f} %", fontsize=6.5, pad=2)
    for ax in axes.flat:
        ax.set_axis_off()


def draw_mistakes(worst, images):
    """The gallery, in rows of ten."""
    rows = len(worst["index"]) // 10
    figure, axes = plt.subplots(rows, 10, figsize=(6.4, 1.05 * rows))
    plot_mistakes(axes, worst, images)
    return figure


def draw_report(history, counts, worst, images):
    """One page for the program: curves, confusions, mistakes among images (N, 28, 28)."""
    figure = plt.figure(figsize=(9, 6.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    left, right = above.subplots(1, 2)
    plot_history(left, history)
    plot_confusion(right, counts)
    plot_mistakes(below.subplots(2, 10), worst, images)
    return figure
