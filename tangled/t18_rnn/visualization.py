# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:54841fcb7e212e03
"""Chapter 18: the unrolled cell, gradients by lag. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t18_rnn.experiments import lag_norms


def draw_unrolled(steps=3):
    """Cells in a row, forward solid, backward dashed, the edge of a window."""
    figure, ax = plt.subplots(figsize=(6.6, 2.4))
    for t in range(1, steps + 1):
        x = 2.4 * t
        ax.add_patch(Rectangle((x - 0.5, -0.4), 1, 0.8, facecolor="0.9", edgecolor="black"))
        ax.text(x, 0, r"$W_x, W_h$", ha="center", va="center", fontsize=8)
        _arrow(ax, (x - 0.1, -1.2), (x - 0.1, -0.42))
        _arrow(ax, (x + 0.1, -0.42), (x + 0.1, -1.2), dashed=True)
        _arrow(ax, (x - 0.1, 0.42), (x - 0.1, 1.2))
        _arrow(ax, (x + 0.1, 1.2), (x + 0.1, 0.42), dashed=True)
        ax.text(x, -1.45, rf"$x_{t}$ (B, D),  $\bar{{x}}_{t}$", ha="center", fontsize=8)
        ax.text(x + 0.2, 1.3, rf"$o_{t} = h_{t}$,  $\bar{{o}}_{t}$", ha="center", fontsize=8)
    for t in range(steps + 1):
        a, b = 2.4 * t + 0.52, 2.4 * (t + 1) - 0.52
        _arrow(ax, (a, 0.12), (b + 0.6 * (t == steps), 0.12))
        ax.text((a + b) / 2, 0.24, f"$h_{t}$ (B, H)", ha="center", fontsize=8)
        if t < steps:
            _arrow(ax, (b, -0.12), (a, -0.12), dashed=True)
            ax.text((a + b) / 2, -0.38, rf"$\bar{{s}}_{t}$", ha="center", fontsize=8)
    edge = 2.4 * steps + 1.75
    ax.plot([edge, edge], [-1.4, 1.4], color="0.5", dashes=(1, 2))
    ax.plot(edge, -0.12, "x", color="black", markersize=7)
    _arrow(ax, (edge + 0.75, -0.12), (edge + 0.05, -0.12), dashed=True)
    ax.text(edge, 1.5, "edge of the window", ha="center", fontsize=8)
    ax.set(xlim=(0.3, edge + 1), ylim=(-1.7, 1.75), aspect="equal")
    ax.axis("off")
    return figure


def _arrow(ax, start, end, dashed=False):
    """An arrow."""
    style = {"linestyle": "--", "color": "0.35"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1, **style})


def draw_lags(scales=(0.8, 2.0, 4.0), T=40):
    """Gradient norms by lag, for tanh and for the positive part."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.4), sharey=True)
    for ax, kind, title in zip(axes, ("tanh", "relu"), ("tanh", "positive part")):
        for scale, dashes in zip(scales, ((1, 0), (4, 2), (1, 1.5))):
            norms = np.maximum(lag_norms(scale, T, nonlinearity=kind), 1e-16)
            ax.semilogy(norms, color="black", dashes=dashes, linewidth=1.2, label=f"{scale:g}")
        ax.semilogy(0.8 ** np.arange(T + 1), color="0.6", linewidth=0.7)
        ax.set(title=title, xlabel="lag k", ylim=(1e-12, 1e8))
    axes[0].set_ylabel("relative norm")
    axes[0].legend(title="singular value", fontsize=7, title_fontsize=7, loc="upper left", ncols=3)
    return figure
