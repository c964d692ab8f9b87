# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:931c84f5a0882ac4
"""Chapter 23: both networks, a beam, curves. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t23_seq2seq.experiments import EDGES

TREE = {"": {"a": 0.5, "b": 0.4, ".": 0.1}, "a": {"c": 0.7, ".": 0.2, "d": 0.1}, "b": {".": 0.9, "c": 0.1},
        "ac": {".": 0.95, "c": 0.05}}
SOURCES, SAID = (("a", "b", "EOS"), ("d", "EOS", "")), (("u", "v", "w", "EOS"), ("x", "EOS", "", ""))


def _arrow(ax, start, end, dashed=False):
    """An arrow; dashed for gradients."""
    style = {"linestyle": "--", "color": "0.35"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1, **style})


def _cell(ax, x, y, real):
    """A cell of a network; grey where it reads padding."""
    ax.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, facecolor="1" if real else "0.8",
                           edgecolor="0" if real else "0.6"))


def _row(ax, x0, y, said, read):
    """Cells in a row: what is read below, what is predicted (or nothing) above, forward and backward."""
    for t, symbol in enumerate(read):
        x, real = x0 + 1.3 * t, bool(symbol if said is None else said[t])
        _cell(ax, x, y, real)
        ax.text(x, y - 0.85, symbol or "PAD", ha="center", fontsize=7, color="0" if real else "0.6")
        _arrow(ax, (x, y - 0.65), (x, y - 0.32))
        if said is not None and said[t]:
            ax.text(x - 0.05, y + 0.75, said[t], ha="center", fontsize=7)
            _arrow(ax, (x - 0.1, y + 0.32), (x - 0.1, y + 0.68))
            _arrow(ax, (x + 0.12, y + 0.68), (x + 0.12, y + 0.32), dashed=True)
        if t + 1 < len(read) and (read if said is None else said)[t + 1]:
            _arrow(ax, (x + 0.42, y + 0.1), (x + 0.88, y + 0.1))
            _arrow(ax, (x + 0.88, y - 0.1), (x + 0.42, y - 0.1), dashed=True)


def draw_mechanism():
    """Encoder, the vector, decoder, for a batch of two of different lengths."""
    figure, ax = plt.subplots(figsize=(6.8, 2.7))
    for n, y in enumerate((2.4, 0.0)):
        _row(ax, 0, y, None, SOURCES[n])
        last = 1.3 * (sum(map(bool, SOURCES[n])) - 1)
        ax.add_patch(Rectangle((4.0, y - 0.45), 0.3, 0.9, facecolor="0.9", edgecolor="black"))
        ax.text(4.15, y + 0.55, f"$c_{n + 1}$ (H,)", ha="center", fontsize=8)
        bend = "arc3,rad=-0.35" if n else "arc3"
        for side, style in ((0.12, {"color": "0"}), (-0.12, {"color": "0.35", "linestyle": "--"})):
            ends = ((3.98, y + side), (last + 0.42, y + side))
            ends = ends if side > 0 else ends[::-1]
            ax.annotate("", *ends, arrowprops={"arrowstyle": "->", "connectionstyle": bend if side > 0 else
                                               bend.replace("-", ""), **style})
        _arrow(ax, (4.32, y + 0.1), (4.98, y + 0.1))
        _arrow(ax, (4.98, y - 0.1), (4.32, y - 0.1), dashed=True)
        _row(ax, 5.4, y, SAID[n], ("BOS", *SAID[n][:-1]))
    ax.text(1.3, 3.75, "encoder: ids (B, S)", ha="center", fontsize=8)
    ax.text(7.35, 3.75, "decoder: reads (B, T), predicts (B, T)", ha="center", fontsize=8)
    ax.set(xlim=(-0.7, 10), ylim=(-1.1, 4.1), aspect="equal")
    ax.axis("off")
    return figure


def draw_beam(step_probabilities, width=2):
    """A search as a tree: `step_probabilities` maps a prefix (str) to {symbol: probability}, "." ends.

    Each level of prefixes is a column; what the beam keeps is framed, what ended has a double frame.
    """
    figure, ax = plt.subplots(figsize=(6.6, 2.6))
    live, column = [("", 1.0, 0.0)], 0
    ax.text(0, 0, "BOS", ha="center", va="center", fontsize=8, bbox={"facecolor": "1", "edgecolor": "0"})
    while live:
        column += 1
        rows = [(prefix + symbol, p * q, y) for prefix, p, y in live
                for symbol, q in step_probabilities.get(prefix, {}).items()]
        kept = sorted(rows, key=lambda row: -row[1])[:width]
        heights = np.linspace(1.5, -1.5, len(rows)) if len(rows) > 1 else [0.0]
        live = []
        for (text, p, y), height in zip(rows, heights):
            ended, inside = text.endswith("."), (text, p, y) in kept
            ax.plot([column - 0.78, column - 0.24], [y, height], color="0.5", linewidth=0.8)
            box = {"facecolor": "0.85" if ended and inside else "1", "edgecolor": "0" if inside else "1"}
            ax.text(column, height, f"{text}  {p:.3f}", ha="center", va="center", fontsize=7.5, bbox=box,
                    color="0" if inside else "0.45")
            if inside and not ended:
                live.append((text, p, height))
        width -= sum(text.endswith(".") for text, _, _ in kept)
    ax.set(xlim=(-0.4, column + 0.1), ylim=(-1.8, 1.8))
    ax.axis("off")
    return figure


def draw_run(curves, values):
    """Losses by epoch; chrF by the length of the reference."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 2.5), layout="constrained")
    epochs = np.arange(1, len(curves["loss"]) + 1)
    left.plot(epochs, curves["loss"], color="black", dashes=(4, 2), linewidth=1.2, label="training")
    left.plot(epochs, curves["held"], color="black", linewidth=1.2, label="validation")
    left.set(xlabel="epoch", ylabel="nats a character", ylim=(0, None))
    left.legend(fontsize=7)
    names = [f"to {edge}" for edge in EDGES] + ["longer"]
    right.bar(names, values["by_length"], color="0.7", edgecolor="black")
    right.set(xlabel="characters of the reference", ylabel="chrF")
    right.tick_params(axis="x", labelsize=7)
    return figure
