# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:9aa3fc45b3dc07da
"""Chapter 26: a layer as boxes, and what trained heads look at. Drawings take results and return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

HATCHES = ("////", "....")


def _box(ax, x, y, width, height, hatch=None, shade="white"):
    """A rectangle with its lower left corner at (x, y)."""
    ax.add_patch(Rectangle((x, y), width, height, facecolor=shade, edgecolor="0.25", linewidth=0.8, hatch=hatch))


def _arrow(ax, start, end, back=False):
    """Solid forward, dashed backward."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 0.8, "color": "0.35" if back else "0.1",
                                            "linestyle": "--" if back else "-"})


def draw_mechanism(H=4, kv=2):
    """x, projections, heads with their shared keys, merge, output; gradients below."""
    figure, ax = plt.subplots(figsize=(6.8, 3.9))
    heights = [5.6 - 1.35 * h for h in range(H)]                # of the heads' rows
    _box(ax, 0, 3.0, 0.9, 1.2)
    for y in (5.4, 3.2, 1.5):
        _arrow(ax, (0.95, 3.6), (2.0, y + 0.35))
    _box(ax, 2.1, 5.3, 1.2, 1.0)
    for y in (3.1, 1.4):
        for m in range(kv):
            _box(ax, 2.1 + 0.6 * m, y, 0.6, 1.0, HATCHES[m])
    _arrow(ax, (3.4, 1.9), (4.35, 1.9))
    for h, y in enumerate(heights):
        hatch = HATCHES[h * kv // H]
        _box(ax, 5.0, y, 0.35, 0.9)
        _box(ax, 6.3, y, 0.35, 0.9, hatch)
        _box(ax, 7.7, y, 0.9, 0.9)
        for k in range(4):
            for j in range(k + 1):
                _box(ax, 7.7 + 0.225 * j, y + 0.675 - 0.225 * k, 0.225, 0.225, shade="0.75")
        _box(ax, 9.2, y, 0.35, 0.9, hatch)
        ax.text(4.85, y + 0.45, f"$Q_{h}$", ha="right", va="center", fontsize=8)
        ax.text(6.2, y + 0.45, f"$K'_{h * kv // H}$", ha="right", va="center", fontsize=8)
        ax.text(7.62, y + 0.45, f"$P_{h}$", ha="right", va="center", fontsize=8)
        ax.text(9.12, y + 0.45, f"$V'_{h * kv // H}$", ha="right", va="center", fontsize=8)
        _arrow(ax, (9.6, y + 0.45), (10.55, 3.6))
    _arrow(ax, (3.4, 5.8), (4.35, 5.8))
    _arrow(ax, (3.4, 3.6), (4.35, 3.6))
    _box(ax, 10.6, 3.0, 1.2, 1.2)
    for h in range(1, H):
        ax.plot([10.6 + 0.3 * h] * 2, [3.0, 4.2], color="0.25", linewidth=0.6)
    _arrow(ax, (11.85, 3.6), (12.6, 3.6))
    _box(ax, 12.7, 3.0, 0.9, 1.2)
    _words(ax)
    ax.set(xlim=(-0.3, 14.0), ylim=(-0.4, 7.4))
    ax.axis("off")
    return figure


def _words(ax):
    """Shapes above, gradients below."""
    for x, y, text in ((0.45, 4.35, "x\n(B, T, D)"), (2.7, 6.4, "$Q = X W^Q$ (B, T, D)"),
                       (2.7, 4.2, "K (B, S, $H_k$ d)"), (2.7, 2.5, "V (B, S, $H_k$ d)"),
                       (7.2, 6.75, "split: (B, H, T, d) and (B, $H_k$, S, d); scores (B, H, T, S)"),
                       (11.2, 4.35, "merged\n(B, T, D)"), (13.15, 4.35, "out\n(B, T, D)"), (12.25, 3.7, "$W^O$")):
        ax.text(x, y, text, ha="center", va="bottom", fontsize=7.5)
    for start, end in (((12.7, 0.4), (12.1, 0.4)), ((9.9, 0.4), (9.1, 0.4)), ((4.5, 0.4), (3.7, 0.4))):
        _arrow(ax, start, end, back=True)
    for x, text in ((13.15, "dout"), (11.0, "dmerged\n= dout $W^{O\\top}$"),
                    (6.8, "of each head: dQ, dK, dV\ndK$'_0$ = dK$_0$ + dK$_1$, dK$'_1$ = dK$_2$ + dK$_3$\n"
                          "(the same for V)"),
                    (1.8, "dx = dQ $W^{Q\\top}$\n+ dK $W^{K\\top}$ + dV $W^{V\\top}$")):
        ax.text(x, 0.4, text, ha="center", va="center", fontsize=7.5)
    ax.plot([-0.2, 13.8], [1.2, 1.2], color="0.7", linewidth=0.6)


def draw_patterns(arrays):
    """Weights "h1" (1, T, T) and "h2" (2, T, T) as grey cells, with the tokens that are asked for."""
    panels = [("one head", arrays["h1"][0])] + [(f"two heads: head {h}", p) for h, p in enumerate(arrays["h2"])]
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4))
    for ax, (title, p) in zip(axes, panels):
        ax.imshow(np.asarray(p, float), cmap="gray_r", vmin=0, vmax=1)
        rows = np.arange(2, len(p))
        for back in (1, 2):
            ax.plot(rows - back, rows, ".", color="0.5", markersize=2.5)
        ax.set_title(title, fontsize=8)
        ax.set_xlabel("key", fontsize=7)
        ax.set_xticks(range(0, len(p), 5))
        ax.set_yticks(range(0, len(p), 5))
        ax.tick_params(labelsize=6)
    axes[0].set_ylabel("query", fontsize=7)
    return figure
