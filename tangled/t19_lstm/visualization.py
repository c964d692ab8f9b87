# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:ce0253b4c19249b7
"""Chapter 19: a step of the LSTM, gradients along the cell, the adding problem. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, Rectangle

from tangled.t19_lstm.experiments import BASELINE, SOLVED, cell_norms


def draw_cell():
    """One step: the cell above, the gates below, gradients dashed."""
    figure, ax = plt.subplots(figsize=(6.6, 3.2))
    top, gate = 3.0, 1.25
    places = {"f": 2.0, "i": 3.6, "g": 4.8, "o": 6.6}
    ax.add_patch(Rectangle((1.4, 0), 5.8, 0.62, facecolor="0.9", edgecolor="black"))
    ax.text(4.3, 0.31, r"$[x_t, h_{t-1}]\,[W_x; W_h] + b$:  (B, D + H) to (B, 4H)", ha="center", va="center",
            fontsize=8)
    for name, x in places.items():
        word = {"f": r"$f,\ \sigma$", "i": r"$i,\ \sigma$", "g": r"$g,\ \tanh$", "o": r"$o,\ \sigma$"}[name]
        ax.add_patch(Rectangle((x - 0.42, gate - 0.25), 0.84, 0.5, facecolor="white", edgecolor="black"))
        ax.text(x, gate, word, ha="center", va="center", fontsize=8)
        _arrow(ax, (x, 0.62), (x, gate - 0.25))
    for x, y, sign in ((2.0, top, r"$\times$"), (4.2, top, "+"), (4.2, 2.2, r"$\times$"), (6.6, 2.05, r"$\times$")):
        ax.add_patch(Circle((x, y), 0.2, facecolor="white", edgecolor="black", zorder=3))
        ax.text(x, y, sign, ha="center", va="center", fontsize=9, zorder=4)
    for a, b in (((0.3, top), (1.8, top)), ((2.2, top), (4.0, top)), ((4.4, top), (8.6, top)),
                 ((2.0, gate + 0.25), (2.0, top - 0.2)), ((3.6, gate + 0.25), (4.08, 2.02)),
                 ((4.8, gate + 0.25), (4.32, 2.02)), ((4.2, 2.4), (4.2, top - 0.2)), ((6.6, gate + 0.25), (6.6, 1.85)),
                 ((6.6, top), (6.6, 2.25)), ((6.8, 2.05), (8.6, 2.05)), ((0.3, 0.42), (1.4, 0.42)),
                 ((1.7, -0.75), (1.7, 0))):
        _arrow(ax, a, b)
    ax.text(6.68, 2.55, r"$\tanh$", fontsize=8)
    for a, b in (((8.6, top - 0.17), (4.45, top - 0.17)), ((3.95, top - 0.17), (2.25, top - 0.17)),
                 ((1.75, top - 0.17), (0.3, top - 0.17)), ((8.6, 1.88), (6.85, 1.88)), ((6.45, 2.2), (6.45, top - 0.2)),
                 ((1.4, 0.2), (0.3, 0.2)), ((1.95, 0), (1.95, -0.75))):
        _arrow(ax, a, b, dashed=True)
    for x, y, text in ((0.3, top + 0.14, r"$c_{t-1}$"), (8.6, top + 0.14, r"$c_t$ (B, H)"), (8.6, 2.2, r"$h_t$ (B, H)"),
                       (8.6, top - 0.47, r"$\bar{s}_t$"), (8.6, 1.55, r"$\bar{h}_t$"),
                       (0.3, top - 0.47, r"$\bar{s}_{t-1}$"), (1.0, top - 0.47, r"$= \bar{c}_t \odot f_t$"),
                       (0.3, 0.55, r"$h_{t-1}$"),
                       (1.7, -1.0, r"$x_t$ (B, D),  $\bar{x}_t$"),
                       (0.2, -0.12, r"$\bar{a}_t W_h^\top$"), (5.4, top - 0.47, r"$\bar{c}_t$")):
        ax.text(x, y, text, ha="center", fontsize=8)
    ax.set(xlim=(-0.4, 9.4), ylim=(-1.1, 3.4), aspect="equal")
    ax.axis("off")
    return figure


def _arrow(ax, start, end, dashed=False):
    """An arrow."""
    style = {"linestyle": "--", "color": "0.35"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1, **style})


def draw_carousel(biases=(0.0, 1.0, 3.0, 5.0), T=40):
    """Gradient norms of the cell by lag, at some biases of the forget gate."""
    figure, ax = plt.subplots(figsize=(4.6, 2.5))
    for bias, dashes in zip(biases, ((1, 1), (3, 1.5), (6, 2), (1, 0))):
        ax.semilogy(cell_norms(bias, T), color="black", dashes=dashes, linewidth=1.2, label=f"{bias:g}")
        ax.semilogy((1 / (1 + np.exp(-bias))) ** np.arange(T + 1), color="0.6", linewidth=0.7)
    ax.set(xlabel="lag k", ylabel="relative norm", ylim=(1e-8, 30))
    ax.legend(title="bias", fontsize=7, title_fontsize=7, loc="lower left")
    return figure


def draw_curves(curves, lengths, steps):
    """Held-out errors by step, a panel for each length; `curves` by "lstm, T 50, seed 0"."""
    figure, axes = plt.subplots(1, len(lengths), figsize=(6.6, 2.3), sharey=True, squeeze=False)
    styles = {"lstm": ("0", (1, 0)), "lstm, bias 0": ("0.45", (4, 1.5)), "rnn": ("0.65", (1, 0))}
    for ax, T in zip(axes[0], lengths):
        for key, errors in curves.items():
            name, length, seed = key.rsplit(", ", 2)
            if length == f"T {T}":
                shade, dashes = styles[name]
                at = np.minimum(100 * np.arange(1, len(errors) + 1), steps)
                ax.semilogy(at, errors, color=shade, dashes=dashes, linewidth=0.9,
                            label=name if seed == "seed 0" else None)
        for level in (BASELINE, SOLVED):
            ax.axhline(level, color="black", linewidth=0.6, dashes=(1, 2))
        ax.set(title=f"T = {T}", xlabel="step", ylim=(1e-3, 0.4))
    axes[0, 0].set_ylabel("held-out error")
    axes[0, 0].legend(fontsize=6, loc="lower right")
    return figure
