# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:53b2de406e523b67
"""Figures of chapter 01."""

import time

import matplotlib.pyplot as plt
import numpy as np

from tangled.t01_tensor_operations import level2_vectorized as level2
from tangled.t01_tensor_operations import level3_memory_efficient as level3

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


SIZES = (96, 192, 384, 768, 1536, 3072)


def tile_times(sizes=SIZES, k=32, repeats=3):
    """Nanoseconds for a multiply-add of float32 (n, k) by (k, n): name -> ndarray (len(sizes),)."""
    ways = {
        "outer products, whole": lambda a, b: level3.matmul(a, b, len(a), level3.outer_products),
        "outer products, tiles of 256": lambda a, b: level3.matmul(a, b, 256, level3.outer_products),
        "np.matmul": np.matmul,
    }
    best = {name: np.full(len(sizes), np.inf) for name in ways}
    rng = np.random.default_rng(0)
    for j, n in enumerate(sizes):
        a, b = rng.standard_normal((2, n, k)).astype(np.float32)
        for _ in range(repeats):                                 # interleaved, the best of each
            for name, way in ways.items():
                start = time.perf_counter()
                way(a, b.T)
                seconds = time.perf_counter() - start
                best[name][j] = min(best[name][j], seconds / (n * n * k) * 1e9)
    return best


def plot_tile_times(times, sizes=SIZES):
    """Draws what `tile_times` measured: a dict of name -> ndarray (len(sizes),)."""
    figure, axis = plt.subplots(figsize=(5.8, 2.7))
    for (name, values), style in zip(times.items(), ("o-", "^--", "s:")):
        axis.loglog(sizes, values, style, label=name)
    axis.set(xlabel="n", ylabel="ns for a multiply-add")
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.set_ylim(top=4 * max(values.max() for values in times.values()))
    axis.legend(loc="upper left", ncols=2)
    return figure
