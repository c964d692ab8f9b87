# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:f12be504ecda888e
"""Chapter 29: a block between its two streams, a cached step, a training run. Results in, a figure out."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

SUBLAYERS = (("LN", "self-attention,\ncausal (B,H,T,T)"), ("LN", "cross-attention\n(B,H,T,S)"),
             ("LN", "$W_1$, ReLU, $W_2$"))


def _arrow(ax, start, end, back=False, bend=0.0):
    """Solid forward, dashed backward."""
    ax.annotate("", end, start, arrowprops={
        "arrowstyle": "->", "linewidth": 0.9, "color": "0.45" if back else "0.1", "linestyle": "--" if back else "-",
        "connectionstyle": f"arc3,rad={bend}"})


def _box(ax, x, y, width, height, text, shade="white"):
    """A rounded box around its centre (x, y), with words in it."""
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.03",
                                facecolor=shade, edgecolor="0.25", linewidth=0.9))
    ax.text(x, y, text, ha="center", va="center", fontsize=7)


def draw_mechanism():
    """The decoder's stream below, the memory above, gradients dashed."""
    figure, ax = plt.subplots(figsize=(6.8, 3.3))
    ax.plot([0.8, 15.0], [0, 0], color="0.1", linewidth=3, solid_capstyle="butt")
    _arrow(ax, (14.9, 0), (15.4, 0))
    for k, (norm, inner) in enumerate(SUBLAYERS):
        x = 1.2 + 4.7 * k
        _arrow(ax, (x, 0), (x, 1.15))
        _box(ax, x, 1.45, 0.7, 0.5, norm, "0.9")
        _arrow(ax, (x + 0.4, 1.45), (x + 0.85, 1.45))
        _box(ax, x + 2.1, 1.45, 2.3, 0.9, inner, "0.82" if k == 1 else "white")
        _arrow(ax, (x + 3.3, 1.45), (x + 3.75, 0.26))
        ax.plot([x + 3.85], [0], "o", markersize=13, markerfacecolor="white", markeredgecolor="0.1", zorder=3)
        ax.text(x + 3.85, -0.02, "+", ha="center", va="center", fontsize=11, zorder=4)
        _arrow(ax, (x + 3.7, -0.75), (x + 0.1, -0.75), back=True)
        ax.text(x + 1.9, -1.05, ("d of x", "d of middle", "d of late")[k], ha="center", fontsize=7)
    ax.plot([4.2, 15.0], [3.2, 3.2], color="0.35", linewidth=3, solid_capstyle="butt")
    ax.text(9.4, 3.62, "memory M (B, S, D): the encoder's output, the same for every block", ha="center", fontsize=7.5)
    for x, words in ((7.5, "K"), (8.3, "V")):
        _arrow(ax, (x, 3.15), (x, 1.97))
        ax.text(x + 0.15, 2.55, words, fontsize=8)
    ax.text(6.55, 1.6, "Q", fontsize=8, ha="center")
    _arrow(ax, (9.0, 1.97), (9.0, 3.1), back=True)
    ax.text(9.2, 2.5, "its share of dM: added to that of every other block", fontsize=7, va="center")
    for x, text in ((0.2, "x\n(B, T, D)"), (16.0, "out\n(B, T, D)")):
        ax.text(x, 0, text, ha="center", va="center", fontsize=7.5)
    _arrow(ax, (15.6, -0.75), (14.6, -0.75), back=True)
    ax.text(16.0, -0.75, "dout", ha="center", va="center", fontsize=7.5)
    ax.text(0.6, -0.75, "dx", ha="center", va="center", fontsize=7.5)
    ax.set(xlim=(-0.6, 16.8), ylim=(-1.4, 4.0))
    ax.axis("off")
    return figure


def draw_run(curves, shown, weights):
    """Curves by epoch, and weights (T, S) of a phrase `shown`, the units (english, french)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.8, 2.9), width_ratios=(1, 1.15))
    epochs = np.arange(1, len(curves["loss"]) + 1)
    left.plot(epochs, curves["loss"], color="0.1", label="training, smoothed")
    left.plot(epochs, curves["held"], color="0.1", linestyle="--", label="validation")
    left.set(xlabel="epoch", ylabel="loss by symbol")
    other = left.twinx()
    other.plot(epochs, curves["chrf"], color="0.55", linewidth=2)
    other.set_ylabel("chrF of validation (grey)")
    left.legend(loc="center right", fontsize=6.5)
    english, french = shown
    right.imshow(weights, cmap="gray_r", aspect="auto", vmin=0)
    for axis, units in ((right.xaxis, english), (right.yaxis, french)):
        symbols = [*(unit.replace(" ", "\u2423") for unit in units), "end"]
        axis.set_ticks(range(len(symbols)), symbols, fontsize=6)
    right.set(xlabel="read by the encoder", ylabel="predicted")
    return figure
