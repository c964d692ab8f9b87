# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:ec693ae5dad807e5
"""Chapter 32: the mechanism, traffic, memory. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np


def _tiles(ax, T, rows, cols):
    """T x T cells in tiles: grey if visited, hatched where masked."""
    for i in range(0, T, rows):
        for j in range(0, T, cols):
            visited = j <= i + rows - 1
            ax.add_patch(plt.Rectangle((j, T - i - rows), cols, rows, linewidth=1,
                                       facecolor="0.82" if visited else "white", edgecolor="0.25"))
            for r, c in np.ndindex(rows, cols):
                if visited and j + c > i + r:
                    ax.add_patch(plt.Rectangle((j + c, T - i - r - 1), 1, 1, facecolor="white", edgecolor="0.5",
                                               linewidth=0.3, hatch="/////"))


def draw_mechanism(T=12, rows=3, cols=4):
    """Forward: a row of tiles; backward: a column of tiles; what stays and what passes."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.5))
    for ax in axes:
        _tiles(ax, T, rows, cols)
        ax.set(xlim=(-5.2, T + 3.4), ylim=(-3.8, T + 3.6), aspect="equal")
        ax.axis("off")
    write = lambda ax, x, y, text: ax.text(x, y, text, ha="center", va="center", fontsize=7.5)
    frame = {"fill": False, "linewidth": 2.2, "edgecolor": "black"}
    arrow = {"arrowstyle": "->", "linewidth": 1.4}
    left, right = axes
    left.add_patch(plt.Rectangle((0, 3), T, rows, **frame))
    left.annotate("", (8, T + 0.7), (0, T + 0.7), arrowprops=arrow)
    write(left, 6, T + 2.3, "$K, V$ pass: $b_k \\times D$, $b_k \\times D_v$")
    write(left, -2.6, 4.5, "$Q$ stays:\n$b_q \\times D$")
    write(left, T + 1.8, 4.5, "$m,\\ \\ell$\n$b_q \\times 1$\n$a$\n$b_q \\times D_v$")
    write(left, 6, -1.7, "forward, at the end of a row:\n$O = a / \\ell$; kept: $O$, $m$, $1 / \\ell$")
    right.add_patch(plt.Rectangle((4, 0), cols, T, **frame))
    right.annotate("", (-0.7, 2), (-0.7, 9), arrowprops=arrow)
    write(right, 6, T + 2.3, "$K, V$ stay, and collect\n$\\bar K$: $b_k \\times D$, $\\bar V$: $b_k \\times D_v$")
    write(right, -3.1, 5.5, "pass:\n$Q,\\ \\bar O$\n$m,\\ 1/\\ell,\\ \\delta$\n$\\bar Q$: $b_q \\times D$")
    write(right, 6, -1.7, "backward, in each tile:\n$P$ again, $\\bar S = P \\odot (\\bar O V^\\top - \\delta)$")
    return figure


def draw_traffic(heights, pairs, plain):
    """pairs: for each height (counted, derived), each (forward, backward)."""
    figure, ax = plt.subplots(figsize=(4.8, 2.5))
    run, derived = np.array(pairs).swapaxes(0, 1)               # (heights, 2) each
    for k, line, mark, name in ((0, "-", "o", "forward"), (1, "--", "s", "backward")):
        ax.plot(heights, derived[:, k], line, color="0.2", linewidth=1, label=f"{name}, derived")
        ax.plot(heights, run[:, k], mark, color="0.2", markersize=5, fillstyle="none", label=f"{name}, counted")
    ax.axhline(plain, color="0.2", linestyle=":", label="whole arrays, forward")
    ax.set(xscale="log", yscale="log", xlabel="queries in a tile", ylabel="numbers moved")
    ax.set_xticks(heights, [str(b) for b in heights])
    ax.minorticks_off()
    ax.legend(fontsize=7)
    return figure


def draw_memory(lengths, peaks):
    """Peak bytes by length, a line for each name in peaks."""
    figure, ax = plt.subplots(figsize=(4.6, 2.2))
    for (name, values), style in zip(peaks.items(), ("--s", "-.^", "-o")):
        ax.plot(lengths, np.array(values) / 1e6, style, color="0.2", label=name, markersize=4)
    ax.set(xscale="log", yscale="log", xlabel="T", ylabel="peak, million bytes")
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.minorticks_off()
    ax.legend(fontsize=8)
    return figure
