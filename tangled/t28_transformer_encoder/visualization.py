# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:f8c9aa6a8fc488db
"""Chapter 28: a block as a stream with stations, gradients by depth, a trained ViT. Results in, a figure out."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyBboxPatch

STATIONS = (("LN", "attention\n(B, H, T, T)", "drop"), ("LN", "$W_1$: D to F\nGELU\n$W_2$: F to D", "drop"))


def _arrow(ax, start, end, back=False, bend=0.0):
    """Solid forward, dashed backward."""
    ax.annotate("", end, start, arrowprops={
        "arrowstyle": "->", "linewidth": 0.9, "color": "0.45" if back else "0.1", "linestyle": "--" if back else "-",
        "connectionstyle": f"arc3,rad={bend}"})


def _box(ax, x, y, width, height, text, shade="white"):
    """A rounded box around its centre (x, y), with words in it."""
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.03",
                                facecolor=shade, edgecolor="0.25", linewidth=0.9))
    ax.text(x, y, text, ha="center", va="center", fontsize=7.5)


def draw_mechanism():
    """The stream from x to out, two sublayers above it, gradients below."""
    figure, ax = plt.subplots(figsize=(6.8, 2.8), layout="constrained")
    ax.plot([0.5, 13.0], [0, 0], color="0.1", linewidth=3, solid_capstyle="butt")
    _arrow(ax, (12.8, 0), (13.4, 0))
    for k, (norm, inner, drop) in enumerate(STATIONS):
        x = 1.2 + 6.0 * k
        _arrow(ax, (x, 0), (x, 1.5))
        _box(ax, x, 1.85, 0.9, 0.6, norm, "0.9")
        _arrow(ax, (x + 0.5, 1.85), (x + 1.3, 1.85))
        _box(ax, x + 2.2, 1.85, 1.7, 1.1, inner)
        _arrow(ax, (x + 3.1, 1.85), (x + 3.75, 1.85))
        _box(ax, x + 4.25, 1.85, 0.9, 0.6, drop, "0.9")
        _arrow(ax, (x + 4.25, 1.5), (x + 4.25, 0.27))
        ax.add_patch(Circle((x + 4.25, 0), 0.24, facecolor="white", edgecolor="0.1", linewidth=1.2, zorder=3))
        ax.text(x + 4.25, -0.02, "+", ha="center", va="center", fontsize=11, zorder=4)
        says = ("moves between tokens", "each token alone")[k]
        ax.text(x + 2.2, 2.65, says, ha="center", fontsize=7.5, style="italic")
        _gradients(ax, x, k)
    for x, y, text in ((0.35, 0, "x"), (13.55, 0, "out"), (0.35, -1, "dx"), (13.55, -1, "dout")):
        ax.text(x, y, text, ha=("right", "left")[x > 1], va="center", fontsize=8)
    for x, text in ((0.05, "(B, T, D)"), (6.45, "(B, T, D)"), (13.0, "(B, T, D)")):
        ax.text(x, 0.22, text, ha="center", va="bottom", fontsize=7)
    ax.set(xlim=(-0.6, 14.3), ylim=(-1.55, 3.0))
    ax.axis("off")
    return figure


def _gradients(ax, x, k):
    """Below a station: one copy past it, one through it, their sum."""
    _arrow(ax, (x + 4.25, -1.0), (x + 0.15, -1.0), back=True)
    _arrow(ax, (x + 4.1, -0.35), (x + 0.2, -0.35), back=True, bend=0.12)
    ax.text(x + 2.2, -0.66, f"through: $N^\\top J^\\top$ d{('middle', 'out')[k]}", ha="center", va="center", fontsize=7)
    ax.text(x + 2.2, -1.25, "past: unchanged", ha="center", va="center", fontsize=7)
    ax.add_patch(Circle((x, -1.0), 0.16, facecolor="white", edgecolor="0.45", linewidth=0.9, zorder=3))
    ax.text(x, -1.02, "+", ha="center", va="center", fontsize=8, color="0.3", zorder=4)
    end = 0.55 if k == 0 else x - 1.7
    _arrow(ax, (x - 0.18, -1.0), (end, -1.0), back=True)
    if k == 1:
        _arrow(ax, (13.4, -1.0), (x + 4.3, -1.0), back=True)


def draw_start(found):
    """{blocks: (pre, post)}, each what `experiments.start` gives."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.2))
    for shade, (blocks, pair) in zip(("0.65", "0.4", "0"), found.items()):
        at = (np.arange(blocks) + 0.5) / blocks
        for values, line, name in zip(pair, ("-", "--"), ("pre-norm", "post-norm")):
            for ax, key in zip(axes, ("share", "w1")):
                ax.semilogy(at, np.maximum(values[key], 1e-3), line, color=shade, label=f"{name}, {blocks} blocks")
    axes[0].set_ylabel("share along the stream", fontsize=8)
    axes[1].set_ylabel("gradient of $W_1$, length", fontsize=8)
    axes[1].set_ylim(0.3, 6)
    axes[1].set_yticks([0.3, 1, 3], ["0.3", "1", "3"])
    axes[1].set_yticks([], minor=True)
    for ax in axes:
        ax.set_xlabel("depth, from the input to the output", fontsize=8)
        ax.tick_params(labelsize=7, which="both")
    figure.tight_layout()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, ncol=3, loc="lower center",
                  bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def draw_vit(curves, moved):
    """Mistakes by epoch of what "... accuracy" there is; {kind: accuracies on pictures moved by 0, 1, ... pixels}."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1), layout="constrained")
    names = {"vit": ("ViT", "-", "0"), "moved": ("ViT, pictures moved", "-.", "0"),
             "set": ("ViT without positions", "--", "0.45"), "cnn": ("CNN", ":", "0.2")}
    for kind, (name, line, shade) in names.items():
        if f"{kind} accuracy" in curves:
            wrong = 1 - np.asarray(curves[f"{kind} accuracy"])
            left.semilogy(np.arange(1, len(wrong) + 1), np.maximum(wrong, 1e-5), line, color=shade, label=name)
            right.plot(range(len(moved[kind])), moved[kind], line, color=shade)
    left.set_xlabel("epoch", fontsize=8)
    left.set_ylabel("wrong, in training", fontsize=8)
    right.set_xlabel("moved by so many pixels", fontsize=8)
    right.set_xticks(range(5))
    right.set_ylabel("right, test pictures", fontsize=8)
    for ax in (left, right):
        ax.tick_params(labelsize=7, which="both")
    figure.legend(fontsize=7, frameon=False, ncol=4, loc="outside upper center")
    return figure
