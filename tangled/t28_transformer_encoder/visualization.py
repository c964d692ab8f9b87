# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:4dbba7ab0eca7207
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
    figure, ax = plt.subplots(figsize=(6.8, 2.9))
    ax.plot([0.6, 12.9], [0, 0], color="0.1", linewidth=3, solid_capstyle="butt")
    _arrow(ax, (12.8, 0), (13.3, 0))
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
    for x, text in ((0.25, "x\n(B, T, D)"), (13.75, "out\n(B, T, D)")):
        ax.text(x, 0.05, text, ha="center", va="center", fontsize=7.5)
    ax.text(6.3, 0.12, "$x_{l+1}$ (B, T, D)", ha="center", va="bottom", fontsize=7.5)
    for x, text in ((0.25, "dx"), (13.75, "dout")):
        ax.text(x, -1.0, text, ha="center", va="center", fontsize=8)
    ax.set(xlim=(-0.5, 14.5), ylim=(-1.75, 3.0))
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
        ax.text(x + 5.05, -1.0, "", fontsize=7)
        _arrow(ax, (13.4, -1.0), (x + 4.3, -1.0), back=True)


def draw_start(found):
    """{blocks: (pre, post)}, each what `experiments.start` gives."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5))
    for shade, (blocks, pair) in zip(("0.65", "0.4", "0"), found.items()):
        at = (np.arange(blocks) + 0.5) / blocks
        for values, line, name in zip(pair, ("-", "--"), ("pre-norm", "post-norm")):
            for ax, key in zip(axes, ("share", "w1")):
                ax.semilogy(at, np.maximum(values[key], 1e-3), line, color=shade, label=f"{name}, {blocks} blocks")
    axes[0].set_ylabel("share along the stream", fontsize=8)
    axes[1].set_ylabel("length of the gradient of $W_1$", fontsize=8)
    axes[1].set_ylim(0.3, 6)
    for ax in axes:
        ax.set_xlabel("depth, from the input to the output", fontsize=8)
        ax.tick_params(labelsize=7, which="both")
    figure.tight_layout()
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=6.5, ncol=3, loc="lower center",
                  bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def draw_vit(curves, positions):
    """Mistakes by epoch of what "... accuracy" there is; cosines of positions (1 + N, D)."""
    figure, (ax, right) = plt.subplots(1, 2, figsize=(6.4, 2.6), width_ratios=(1.35, 1))
    names = {"vit": ("ViT", "-", "0"), "set": ("without positions", "--", "0.4"), "cnn": ("CNN", ":", "0.2")}
    for kind, (name, line, shade) in names.items():
        if f"{kind} accuracy" in curves:
            wrong = 1 - np.asarray(curves[f"{kind} accuracy"])
            ax.semilogy(np.arange(1, len(wrong) + 1), np.maximum(wrong, 1e-5), line, color=shade, label=name)
    ax.set_xlabel("epoch", fontsize=8)
    ax.set_ylabel("share wrong, in training", fontsize=8)
    ax.tick_params(labelsize=7, which="both")
    ax.legend(fontsize=7, frameon=False)
    p = positions[1:] - positions[1:].mean(axis=0)
    p = p / np.linalg.norm(p, axis=1, keepdims=True)
    side = round(len(p) ** 0.5)
    tiles = np.full((side * (side + 1), side * (side + 1)), np.nan)
    for n, row in enumerate(p @ p.T):
        i, j = (k * (side + 1) for k in divmod(n, side))
        tiles[i:i + side, j:j + side] = row.reshape(side, side)
    right.imshow(tiles[:-1, :-1], cmap="gray_r", vmin=-0.5, vmax=1)
    right.axis("off")
    return figure
