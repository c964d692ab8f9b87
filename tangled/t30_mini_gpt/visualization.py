# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:27d3130a348824c5
"""Chapter 30: the mechanism, the curves, what a sampler keeps. Drawings take results and return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

STYLES = {"numpy": ("NumPy", (1, 0)), "torch": ("PyTorch", (3, 1.5))}


def draw_curves(curves, level=None):
    """Held-out loss by step, and the training loss; curves {"numpy": {"step", "loss", "held"}, ...}."""
    figure, ax = plt.subplots(figsize=(6.4, 2.9))
    for name, curve in curves.items():
        label, dashes = STYLES[name]
        ax.plot(curve["step"], curve["held"], color="black", dashes=dashes, label=f"{label}, held out")
        ax.plot(curve["step"], curve["loss"], color="0.6", dashes=dashes, label=f"{label}, training")
    if level is not None:
        ax.axhline(level, color="black", linewidth=0.6, dashes=(1, 2))
        ax.text(ax.get_xlim()[1], level, "recurrent network ", ha="right", va="bottom", fontsize=7)
    ax.set(xlabel="step", ylabel="nats a symbol", ylim=(None, 2.6))
    ax.legend(fontsize=7)
    return figure


def _box(ax, x, y, width, height, text, shade="white", hatch=None):
    """A labelled box around (x, y)."""
    ax.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=shade, edgecolor="0.25",
                           linewidth=0.9, hatch=hatch))
    ax.text(x, y, text, ha="center", va="center", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if hatch else None)


def _arrow(ax, start, end, back=False, curve=0.0):
    """Solid forward, dashed backward."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 0.9, "color": "0.35" if back else "0.1",
                                            "linestyle": "--" if back else "-",
                                            "connectionstyle": f"arc3,rad={curve}"})


def draw_mechanism():
    """Ids, two tables, the stream with a block taken apart, the norm, and the table again."""
    figure, ax = plt.subplots(figsize=(6.8, 3.5))
    _box(ax, 0.2, 2, 1.0, 0.8, "ids\n(B, T)")
    _box(ax, 2.0, 2.9, 1.3, 0.8, "table E\n(V, D)", hatch="///")
    _box(ax, 2.0, 1.1, 1.3, 0.8, "places P\n(T, D)")
    ax.plot([3.5], [2], "o", markersize=13, markerfacecolor="white", markeredgecolor="0.2")
    ax.text(3.5, 2, "+", ha="center", va="center")
    _arrow(ax, (0.7, 2.1), (1.3, 2.8))
    _arrow(ax, (2.65, 2.8), (3.3, 2.15))
    _arrow(ax, (2.65, 1.2), (3.3, 1.85))
    ax.plot([3.75, 9.6], [2, 2], color="0.1", linewidth=1.6)
    for x, text in ((4.9, "norm,\nattention"), (7.3, "norm,\nMLP")):
        _box(ax, x + 0.35, 3.25, 1.35, 0.8, text, shade="0.92")
        _arrow(ax, (x - 0.55, 2), (x - 0.3, 3.0))
        _arrow(ax, (x + 1.0, 3.0), (x + 1.3, 2.08))
        ax.plot([x + 1.32], [2], "o", markersize=9, markerfacecolor="white", markeredgecolor="0.2")
        ax.text(x + 1.32, 2, "+", ha="center", va="center", fontsize=7)
    ax.add_patch(Rectangle((4.05, 1.6), 4.95, 2.35, fill=False, edgecolor="0.4", linewidth=0.8, linestyle=":"))
    ax.text(8.95, 4.02, "L times", ha="right", fontsize=8)
    ax.text(8.66, 2.13, "(B, T, D)", fontsize=6.5)
    _box(ax, 10.1, 2, 0.9, 0.8, "norm\nh")
    _box(ax, 11.8, 2, 1.3, 0.8, "$h E^{\\top}$\n(B, T, V)", hatch="///")
    _arrow(ax, (9.35, 2), (9.65, 2))
    _arrow(ax, (10.55, 2.08), (11.15, 2.08))
    _arrow(ax, (12.45, 2.08), (13.3, 2.08))
    ax.text(13.35, 2.2, "logits", fontsize=8)
    _arrow(ax, (13.3, 1.8), (12.45, 1.8), back=True)
    ax.text(13.35, 1.62, "(p - y) / BT", fontsize=7)
    _arrow(ax, (11.15, 1.8), (10.55, 1.8), back=True)
    _arrow(ax, (9.6, 1.75), (3.75, 1.75), back=True)
    ax.text(6.5, 1.38, r"$\bar x$: straight through, and what each sublayer adds", ha="center", fontsize=7)
    ax.plot([11.8, 11.8, 2.0], [2.45, 4.45, 4.45], color="0.35", linewidth=0.9, linestyle="--")
    _arrow(ax, (2.0, 4.45), (2.0, 3.33), back=True)
    ax.text(7.0, 4.56, r"first gradient of E, as columns: $\bar z^{\top} h$", ha="center", fontsize=7)
    _arrow(ax, (3.3, 1.75), (2.3, 2.46), back=True, curve=-0.25)
    ax.text(2.4, 1.98, "second,\nas rows", ha="right", va="center", fontsize=7)
    _arrow(ax, (3.25, 1.7), (2.68, 1.0), back=True)
    ax.set(xlim=(-0.4, 14.4), ylim=(0.55, 4.85))
    ax.axis("off")
    return figure


def draw_choice(p, rows):
    """Probabilities p (V,), falling, and for each row (name, kept (V,), drawn from) a strip below."""
    figure, ax = plt.subplots(figsize=(6.6, 2.6))
    n = len(p)
    ax.bar(np.arange(n), p, color="0.75", edgecolor="0.2", linewidth=0.6)
    top = float(max(p))
    for k, (name, kept) in enumerate(rows):
        y = -top * (0.16 + 0.13 * k)
        ax.plot(np.flatnonzero(kept), np.full(int(kept.sum()), y), "s", color="black", markersize=4)
        ax.text(-1.2, y, name, ha="right", va="center", fontsize=7)
    ax.set(xlim=(-1, n), ylim=(-top * (0.2 + 0.13 * len(rows)), top * 1.05))
    ax.set_yticks([0, round(top / 2, 2), round(top, 2)])
    ax.set_xticks([])
    ax.spines["left"].set_bounds(0, top)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    return figure
