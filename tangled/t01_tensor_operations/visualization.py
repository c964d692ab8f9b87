# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:89c92e5c6b3e008b
"""Figures of chapter 01."""

import time

import matplotlib.pyplot as plt
import numpy as np

from tangled.t01_tensor_operations import level2_vectorized as level2
from tangled.t01_tensor_operations import level3_memory_efficient as level3

COLOURS = ("#56b4e9", "#f0c75e", "#7fc8a9", "#d9a3c7")


def draw_cells(axis, labels, colours, y=0.0, x=0):
    """Numbered unit cells from `x` on at height `y`; `labels` and `colours` have one entry a cell."""
    for k, (label, colour) in enumerate(zip(labels, colours)):
        axis.add_patch(plt.Rectangle((x + k, y), 1, 0.8, facecolor=colour, edgecolor="#444444", linewidth=0.7))
        axis.text(x + k + 0.5, y + 0.38, str(label), ha="center", va="center", fontsize=8)


def plot_layout():
    """Twelve cells in C order above twelve in F order, with arrows along the last axis of row 0."""
    figure, axes = plt.subplots(2, 1, figsize=(6.2, 2.7), layout="constrained")
    for axis, order in zip(axes, "CF"):
        index = np.arange(12).reshape(3, 4).ravel(order)         # entry number stored at each place
        draw_cells(axis, [f"{i // 4},{i % 4}" for i in index], [COLOURS[i // 4] for i in index])
        places = [int(np.flatnonzero(index == j)[0]) for j in range(4)]
        for start, end in zip(places, places[1:]):
            axis.annotate("", (end + 0.5, 0.82), (start + 0.5, 0.82), arrowprops={
                "arrowstyle": "->", "connectionstyle": "arc3,rad=-0.5", "linewidth": 0.9})
        strides = level2.contiguous_strides((3, 4), 8, order)
        axis.set_title(f"order {order}: strides {strides} bytes for float64", fontsize=8.5, loc="left")
        axis.set(xlim=(-0.1, 12.1), ylim=(-0.1, 1.9))
        axis.axis("off")
    return figure


def plot_windows(n=10, window=4, step=2):
    """A strip of `n` cells and, below it, each window at the place that it reads."""
    view = level2.sliding_windows(np.arange(n), window, step)
    figure, axis = plt.subplots(figsize=(6.2, 2.3), layout="constrained")
    draw_cells(axis, range(n), ["#ffffff"] * n, y=len(view) + 0.3)
    for r, row in enumerate(view):
        draw_cells(axis, row, [COLOURS[r % 4]] * window, y=len(view) - 1 - r, x=int(row[0]))
        axis.text(-0.25, len(view) - 1 - r + 0.38, f"row {r}", ha="right", va="center", fontsize=8)
    axis.text(-0.25, len(view) + 0.68, "memory", ha="right", va="center", fontsize=8)
    axis.set(xlim=(-1.6, n + 0.1), ylim=(-0.1, len(view) + 1.2))
    axis.axis("off")
    return figure


def seconds_per_step(call, n, repeats=3):
    """Best of `repeats` runs of `call()`, divided by the n^3 multiply-adds."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / n**3


def plot_tile_times(sizes=(64, 128, 256, 512, 768)):
    """Nanoseconds for a multiply-add against the size, for four ways to multiply two float32 matrices."""
    ways = {
        "outer products, whole": lambda a, b: level2.matmul(a, b),
        "outer products, tiles of 64": lambda a, b: level3.matmul(a, b, 64, level3.outer_products),
        "np.matmul, tiles of 256": lambda a, b: level3.matmul(a, b, 256),
        "np.matmul, whole": np.matmul,
    }
    figure, axis = plt.subplots(figsize=(5.8, 3.2), layout="constrained")
    rng = np.random.default_rng(0)
    pairs = [rng.standard_normal((2, n, n)).astype(np.float32) for n in sizes]
    for (name, way), marker in zip(ways.items(), "o^s."):
        times = [seconds_per_step(lambda way=way, a=a, b=b: way(a, b), len(a)) * 1e9 for a, b in pairs]
        axis.loglog(sizes, times, marker=marker, markersize=4, label=name)
    axis.set(xlabel="n (matrices n x n)", ylabel="ns for a multiply-add")
    axis.legend(frameon=False, fontsize=8)
    return figure
