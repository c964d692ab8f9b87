# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:e6dc773c589e577a
"""Chapter 24: a step of the decoder, alignments, the gain. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t23_seq2seq.experiments import EDGES


def _arrow(ax, start, end, dashed=False):
    """An arrow; dashed for gradients."""
    style = {"linestyle": "--", "color": "0.4"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 0.9, **style})


def _both(ax, start, end, shift=(0.12, 0)):
    """Forward, and beside it backward."""
    dx, dy = shift
    _arrow(ax, (start[0] - dx, start[1] - dy), (end[0] - dx, end[1] - dy))
    _arrow(ax, (end[0] + dx, end[1] + dy), (start[0] + dx, start[1] + dy), dashed=True)


def _box(ax, x, y, text, width=0.9, height=0.5, **style):
    """A box with text, centred."""
    look = {"facecolor": "1", "edgecolor": "0", "linewidth": 0.8, "zorder": 4} | style
    ax.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, **look))
    ax.text(x, y, text, ha="center", va="center", fontsize=7.5, zorder=5)


def draw_mechanism(weights=(0.15, 0.7, 0.0, 0.15)):
    """Annotations, keys, scores, weights, the context, the GRU, for one step."""
    figure, ax = plt.subplots(figsize=(6.7, 3.7))
    places = (0, 1.5, 4.5, 3.0)
    for k, (x, p) in enumerate(zip(places, weights)):
        real = p > 0
        s = (1, 2, 4, 3)[k]
        look = {} if real else {"hatch": "/////", "edgecolor": "0.6"}
        _box(ax, x, 0, f"$a_{s}$" if real else "", **look)
        if not real:
            ax.text(x, -0.55, "padding", ha="center", fontsize=6.5, color="0.4")
            continue
        _both(ax, (x - 0.15, 0.28), (x - 0.15, 0.97))
        _box(ax, x - 0.15, 1.2, f"$k_{s}$", 0.6, 0.42)
        _both(ax, (x - 0.15, 1.44), (x - 0.15, 2.0))
        ax.text(x - 0.15, 2.16, f"$e_{s}$", ha="center", va="center", fontsize=8)
        _both(ax, (x - 0.15, 2.34), (x - 0.15, 2.72))
        ax.add_patch(Rectangle((x - 0.4, 2.75), 0.5, 1.0 * p, facecolor="0.55", edgecolor="0"))
        _both(ax, (x + 0.36, 0.28), (6.05, 2.9 - 0.12 * s), (0.03, 0.09))
    ax.text(-2.5, 1.2, "keys (S, A), once", fontsize=7, va="center")
    ax.text(3.15, 2.55, "scores (S,)", fontsize=7, va="center")
    ax.text(-0.55, 3.62, "weights (S,): softmax over real places", fontsize=7)
    ax.text(2.1, -0.62, "annotations (S, C)", fontsize=7, ha="center")
    _box(ax, -2.2, 2.16, "$h_{t-1}$\n(H,)", 1.0, 0.7)
    _both(ax, (-1.68, 2.16), (-0.35, 2.16), (0, 0.07))
    ax.text(-1.02, 2.36, "query", fontsize=7, ha="center")
    _box(ax, 6.6, 2.7, "$c_t$\n(C,)", 0.9, 0.7)
    _both(ax, (3.3, 3.12), (6.1, 2.92), (0, 0.07))
    _both(ax, (6.6, 3.08), (6.6, 3.95))
    _box(ax, 6.6, 4.25, "GRU", 1.3, 0.55)
    _both(ax, (7.95, 3.2), (7.1, 3.95), (0.08, 0.05))
    ax.text(8.15, 2.9, "$x_t$ (E,)", fontsize=7.5, ha="center")
    _both(ax, (7.27, 4.25), (8.1, 4.25), (0, 0.07))
    ax.text(8.2, 4.25, "$h_t$", fontsize=8.5, va="center")
    ax.plot([-2.2, -2.2], [2.55, 4.32], color="0", linewidth=0.9)
    _arrow(ax, (-2.2, 4.32), (5.93, 4.32))
    ax.plot([5.93, -2.08], [4.18, 4.18], color="0.4", linestyle="--", linewidth=0.9)
    _arrow(ax, (-2.08, 4.18), (-2.08, 2.53), dashed=True)
    ax.set(xlim=(-2.8, 8.7), ylim=(-0.9, 4.65))
    ax.axis("off")
    return figure


def draw_alignments(samples, weights):
    """Up to five heatmaps: rows are letters written, columns letters of the source; EOS is a dot."""
    figure, axes = plt.subplots(2, 3, figsize=(6.8, 5.2), layout="constrained")
    for k, (ax, sample) in enumerate(zip(axes.flat, samples)):
        ax.imshow(weights[str(k)], cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_xticks(range(len(sample["english"]) + 1), [*sample["english"], "·"], fontsize=6)
        ax.set_yticks(range(len(sample["said"]) + 1), [*sample["said"], "·"], fontsize=6)
        ax.tick_params(length=0)
        ax.set_title(f"{sample['said']}", fontsize=7)
    for ax in axes.flat[len(samples):]:
        ax.axis("off")
        ax.text(0.05, 0.5, "rows: what is written\ncolumns: the source\n·: EOS\nblack: all the weight", fontsize=7,
                va="center")
    return figure


def draw_gain(curves, plain, by_length, plain_by_length):
    """Validation losses by epoch; chrF by the length of the reference; dashed and light: without attention."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.5), layout="constrained")
    epochs = np.arange(1, len(curves["held"]) + 1)
    left.plot(epochs, plain["held"], color="black", dashes=(4, 2), linewidth=1.2, label="one vector")
    left.plot(epochs, curves["held"], color="black", linewidth=1.2, label="attention")
    left.set(xlabel="epoch", ylabel="nats a character, validation", ylim=(0, None))
    left.legend(fontsize=7)
    names, at = [f"to {edge}" for edge in EDGES] + ["longer"], np.arange(len(by_length))
    right.bar(at - 0.2, plain_by_length, 0.4, color="0.9", edgecolor="black", label="one vector")
    right.bar(at + 0.2, by_length, 0.4, color="0.5", edgecolor="black", label="attention")
    right.set(xlabel="characters of the reference", ylabel="chrF", ylim=(0, 1.3 * max(*by_length, *plain_by_length)))
    right.set_xticks(at, names, fontsize=7)
    right.legend(fontsize=7, loc="upper left", ncols=2)
    return figure
