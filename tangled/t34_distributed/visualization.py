# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:7e444d2b82b8b6e6
"""Chapter 34: the ring, the processes, costs, the power law. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t34_distributed.laws import ring_seconds, tree_seconds


def draw_mechanism(R=4):
    """Ring all-reduce of R ranks, step by step: how many summands each rank has of each piece."""
    figure, axes = plt.subplots(1, 2 * R - 1, figsize=(6.6, 1.9))
    counts = np.ones((R, R), int)                               # (rank, piece)
    for step, ax in enumerate(axes):
        for rank, piece in np.ndindex(R, R):
            n = counts[rank, piece]
            ax.add_patch(plt.Rectangle((piece, R - 1 - rank), 1, 1, edgecolor="0.25", linewidth=0.7,
                                       facecolor=str(1 - 0.16 * (n - 1)), hatch="//" if n == R else None))
            ax.text(piece + 0.5, R - 0.5 - rank, str(n), ha="center", va="center", fontsize=7.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6} if n == R else None)
        if step < 2 * R - 2:
            first = step < R - 1
            new = counts.copy()
            for rank in range(R):
                piece = (rank - step - 1) % R if first else (rank - (step - R + 1)) % R
                to = (rank + 1) % R
                new[to, piece] = counts[to, piece] + counts[rank, piece] if first else counts[rank, piece]
                if to:
                    ax.annotate("", (piece + 0.82, R - 1.72 - rank), (piece + 0.82, R - 0.28 - rank - 0.25),
                                arrowprops={"arrowstyle": "->", "linewidth": 1})
            counts = new
        ax.set(xlim=(-0.1, R + 0.1), ylim=(-0.15, R + 0.15), aspect="equal")
        ax.set_title("start" if step == 0 else f"step {step}", fontsize=7.5)
        ax.set_xticks([])
        ax.set_yticks([R - 0.5 - rank for rank in range(R)] if step == 0 else [],
                      [f"rank {rank}" for rank in range(R)] if step == 0 else [], fontsize=7.5)
        ax.tick_params(length=0)
        for side in ax.spines.values():
            side.set_visible(False)
    return figure


def draw_processes():
    """A parent, four workers, sockets, and slots of a common memory."""
    figure, ax = plt.subplots(figsize=(5.2, 2.5))
    places = [(1, 3), (3.4, 3), (5.8, 3), (8.2, 3)]
    write = lambda x, y, text, **more: ax.text(x, y, text, ha="center", va="center", fontsize=8, **more)
    box = {"facecolor": "0.85", "edgecolor": "0.2", "boxstyle": "round,pad=0.4"}
    for k, (x, y) in enumerate(places):
        ax.plot([4.6, x], [5.2, y + 0.3], "--", color="0.3", linewidth=1, zorder=0)
        for x2, _ in places[k + 1:]:
            middle, sag = (x + x2) / 2, 0.28 * (x2 - x) ** 1.1 - 0.4
            t = np.linspace(0, 1, 30)
            ax.plot((1 - t)**2 * x + 2 * t * (1 - t) * middle + t**2 * x2, y - 2 * t * (1 - t) * sag, color="0.55",
                    linewidth=0.8, zorder=0)
        write(x, y, f"rank {k}", bbox={"facecolor": "white", "edgecolor": "0.2", "boxstyle": "circle,pad=0.3"})
    write(4.6, 5.3, "parent: starts, listens, ends all", bbox=box)
    for k in range(12):
        ax.add_patch(plt.Rectangle((1.4 + 0.54 * k, 0.2), 0.5, 0.5, facecolor="0.8" if k == 3 else "white",
                                   edgecolor="0.3", linewidth=0.7))
    write(8.8, 0.45, "slots")
    ax.annotate("", (3.1, 0.8), (1, 2.5), arrowprops={"arrowstyle": "->"})
    ax.annotate("", (3.5, 2.45), (3.35, 0.8), arrowprops={"arrowstyle": "->"})
    ax.set(xlim=(0, 9.4), ylim=(0, 5.8))
    ax.axis("off")
    return figure


def draw_costs(values):
    """Measured times and fitted lines, ring and tree, 2 and 4 ranks, through common memory."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.6), sharey=True)
    sizes = np.array(values["bytes"])
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    for ax, ranks in zip(axes, (2, 4)):
        for name, seconds, line, mark in (("ring", ring_seconds, "-", "o"), ("tree", tree_seconds, "--", "s")):
            found = values[f"{name}, {ranks} ranks, memory"]
            ax.plot(sizes, 1e3 * np.array(found["times"]), mark, color="0.2", markersize=4, fillstyle="none",
                    label=f"{name}, measured")
            ax.plot(fine, [1e3 * seconds(n, ranks, float(found["alpha"]), float(found["beta"])) for n in fine], line,
                    color="0.2", linewidth=1, label=f"{name}, fitted")
        ax.set(xscale="log", yscale="log", xlabel="bytes", title=f"{ranks} ranks")
    axes[0].set_ylabel("milliseconds")
    axes[0].legend(fontsize=7)
    return figure


def draw_scaling(runs, scale, exponent):
    """Losses of five sizes, and the line through the first four."""
    figure, ax = plt.subplots(figsize=(4.6, 2.5))
    sizes, losses = (np.array([float(run[key]) for run in runs]) for key in ("size", "loss"))
    fine = np.geomspace(sizes[0] * 0.8, sizes[-1] * 1.25, 50)
    ax.plot(fine, scale * fine**-exponent, "-", color="0.4", linewidth=1, label="fit to the first four")
    ax.plot(sizes[:-1], losses[:-1], "o", color="0.2", markersize=5, label="trained")
    ax.plot(sizes[-1:], losses[-1:], "s", color="0.2", markersize=6, fillstyle="none", label="the fifth, trained")
    ax.set(xscale="log", yscale="log", xlabel="numbers in the network", ylabel="nats a character")
    ticks = [tick for tick in (1.4, 1.6, 1.8, 2.0, 2.2, 2.4) if 0.97 * losses.min() < tick < 1.03 * losses.max()]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.legend(fontsize=7)
    return figure
