# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:3b5eb300ddd29f96
"""Figures of chapter 01."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t01_tensor_operations import level2_vectorized as level2

COLOURS = ("#56b4e9", "#f0c75e", "#7fc8a9", "#d9a3c7")


def draw_cells(axis, labels, colours, y=0.0, x=0):
    """Numbered unit cells from `x` on at height `y`; `labels` and `colours`: one entry a cell."""
    for k, (label, colour) in enumerate(zip(labels, colours)):
        axis.add_patch(plt.Rectangle((x + k, y), 1, 0.8, facecolor=colour, edgecolor="#444444",
                                     linewidth=0.7))
        axis.text(x + k + 0.5, y + 0.38, str(label), ha="center", va="center", fontsize=8)


def plot_layout():
    """Twelve cells in C order above twelve in F order, with arrows along the last axis of row 0."""
    figure, axis = plt.subplots(figsize=(6.2, 1.6))
    for y, order in ((2.7, "C"), (0.0, "F")):
        index = np.arange(12).reshape(3, 4).ravel(order)         # entry number stored at each place
        labels, colours = [f"{i // 4},{i % 4}" for i in index], [COLOURS[i // 4] for i in index]
        draw_cells(axis, labels, colours, y)
        step = 1 if order == "C" else 3                          # places between neighbours in a row
        for start in (0, step, 2 * step):
            bend = {"arrowstyle": "->", "connectionstyle": f"arc3,rad={-1.2 / (step + 1)}",
                    "shrinkA": 0, "shrinkB": 0, "linewidth": 0.9}
            axis.annotate("", (start + step + 0.45, y + 0.84), (start + 0.55, y + 0.84), arrowprops=bend)
        strides = level2.contiguous_strides((3, 4), 8, order)
        axis.text(0, y - 0.5, f"{order} order: strides {strides} bytes for float64", fontsize=8.5)
    axis.set(xlim=(-0.1, 12.1), ylim=(-0.6, 4.5))
    axis.axis("off")
    return figure


def plot_windows(n=10, window=4, step=2):
    """A strip of `n` cells and, below it, each window at the place that it reads."""
    view = level2.sliding_windows(np.arange(n), window, step)
    figure, axis = plt.subplots(figsize=(6.2, 1.6))
    draw_cells(axis, range(n), ["#ffffff"] * n, y=len(view) + 0.3)
    for r, row in enumerate(view):
        draw_cells(axis, row, [COLOURS[r % 4]] * window, y=len(view) - 1 - r, x=int(row[0]))
        axis.text(-0.25, len(view) - 1 - r + 0.38, f"row {r}", ha="right", va="center", fontsize=8)
    axis.text(-0.25, len(view) + 0.68, "memory", ha="right", va="center", fontsize=8)
    axis.set(xlim=(-1.6, n + 0.1), ylim=(-0.1, len(view) + 1.2))
    axis.axis("off")
    return figure


def draw_grid(axis, numbers, x, y, hatched=()):
    """The matrix `numbers` (n, m) as cells with the upper left corner at (x, y)."""
    for i, row in enumerate(numbers):
        for j, number in enumerate(row):
            hatch = "///" if j in hatched else None
            axis.add_patch(plt.Rectangle((x + j, y - i - 1), 1, 1, facecolor="white", hatch=hatch,
                                         edgecolor="#bbbbbb" if hatch else "#444444", linewidth=0.7))
            axis.text(x + j + 0.5, y - i - 0.5, f"{number:g}", ha="center", va="center", fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})


def plot_broadcast():
    """A column stretched to four columns, and the sums of a gradient on the way back."""
    x, g = np.array([[1.0], [2.0], [3.0]]), np.array([[1, -2, 0, 3], [4, 1, -1, 2], [0, 5, 2, -3]])
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 1.75))
    for axis, left, right, words in ((axes[0], x, level2.broadcast_to(x, (3, 4)), "read"),
                                     (axes[1], g, level2.unbroadcast(g, (3, 1)), "add")):
        n = left.shape[1]
        draw_grid(axis, left, 0, 3)
        draw_grid(axis, right, n + 2, 3, hatched=range(1, 4) if words == "read" else ())
        axis.annotate("", (n + 1.85, 1.5), (n + 0.15, 1.5), arrowprops={
            "arrowstyle": "->", "linestyle": "-" if words == "read" else "--"})
        axis.text(n + 1, 1.75, words, ha="center", fontsize=8)
        names = ("x (3, 1)", "y (3, 4)") if words == "read" else ("g (3, 4)", "dx (3, 1)")
        axis.text(0, 3.25, names[0], fontsize=8.5)
        axis.text(n + 2, 3.25, names[1], fontsize=8.5)
        axis.set(xlim=(-0.1, 7.3), ylim=(-0.1, 3.8), aspect="equal")
        axis.axis("off")
    return figure


def plot_tile_times(times):
    """Nanoseconds for a multiply-add: name -> dict of n -> number."""
    figure, axis = plt.subplots(figsize=(5.8, 2.7))
    for (name, values), style in zip(times.items(), ("o-", "^--", "s:")):
        axis.loglog(list(values), list(values.values()), style, label=name)
        sizes = list(values)
    axis.set(xlabel="n", ylabel="ns for a multiply-add")
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.set_ylim(top=4 * max(max(values.values()) for values in times.values()))
    axis.legend(loc="upper left", ncols=2)
    return figure
