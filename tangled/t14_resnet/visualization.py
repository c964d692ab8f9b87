# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:a83572bb9f2af16a
"""Chapter 14: the mechanism, gradients by depth, loss surfaces. Drawings take results and return a figure."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

STYLES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ((0, (5, 1)), "x"))


def draw_mechanism():
    """The original block and the pre-activated one: forward in solid lines, gradients dashed."""
    figure, axes = plt.subplots(2, 1, figsize=(6.6, 4.0))
    _block(axes[0], "original", ("$w_1$", "$B_1$", r"$\rho$", "$w_2$", "$B_2$"), r"$\rho$", "(N, C, H, W)",
           r"$d = \bar{y} \odot [y > 0]$")
    _block(axes[1], "pre-activated", ("$B_1$", r"$\rho$", "$w_1$", "$B_2$", r"$\rho$", "$w_2$"), None,
           "(N, C, H, W)", r"$\bar{y}$")
    return figure


def _block(ax, title, ops, behind, shape, upstream):
    """One block from left to right; the gradients below from right to left."""
    plus, end = 9.4, 11.2
    xs = np.linspace(1.9, 8.1, len(ops))
    for x, text in zip(xs, ops):
        _box(ax, x, text)
    stops = [0.35, *xs, plus] + ([10.3] if behind else []) + [end]
    for k, (a, b) in enumerate(itertools.pairwise(stops)):
        _line(ax, [(a + (0.0 if k == 0 else 0.32), 0), (b - 0.32, 0)])
    if behind:
        _box(ax, 10.3, behind)
    ax.add_patch(plt.Circle((plus, 0), 0.28, facecolor="white", edgecolor="black"))
    ax.text(plus, -0.02, "+", ha="center", va="center", fontsize=11)
    _line(ax, [(0.9, 0), (0.9, 1.1), (plus, 1.1), (plus, 0.3)], width=2.2)
    _line(ax, [(plus, -0.3), (plus, -1.75), (0.9, -1.75), (0.9, -1.2)], dashed=True, width=2.2)
    _line(ax, [(plus - 0.35, -0.7), (1.2, -0.7)], dashed=True)
    ax.text(0.3, 0.22, "x", ha="right", fontsize=9)
    ax.text(0.2, -0.45, shape, ha="center", fontsize=6.5)
    ax.text(end - 0.25, 0.12, "y", ha="left", fontsize=9)
    ax.text(5.2, 1.2, "shortcut s: the identity", ha="center", fontsize=8)
    ax.text(5.2, -0.6, r"$J_f^\top$: through every weight of the branch", ha="center", fontsize=7.5)
    ax.text(5.2, -1.65, "the same gradient, multiplied by nothing", ha="center", fontsize=7.5)
    ax.text(plus + 0.15, -1.0, upstream, ha="left", fontsize=8)
    ax.text(0.75, -1.1, r"$\bar{x}$", ha="right", fontsize=9)
    ax.text(-0.5, 1.2, title, fontsize=9, weight="bold")
    ax.set(xlim=(-0.8, 12.2), ylim=(-2.0, 1.6))
    ax.axis("off")


def _box(ax, x, text):
    """A box of one op at x."""
    ax.add_patch(plt.Rectangle((x - 0.32, -0.3), 0.64, 0.6, facecolor="0.92", edgecolor="black", linewidth=0.8))
    ax.text(x, 0, text, ha="center", va="center", fontsize=8.5)


def _line(ax, points, dashed=False, width=1.0):
    """A line through points with an arrow at its end."""
    xs, ys = zip(*points)
    ax.plot(xs[:-1], ys[:-1], color="black", linewidth=width, linestyle="--" if dashed else "-")
    ax.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "->", "linewidth": width,
                                                        "linestyle": "--" if dashed else "-"})


def draw_gradients(depths, curves):
    """Gradient norms (len(depths),) by depth for each name of curves, on a logarithmic scale."""
    figure, ax = plt.subplots(figsize=(5.0, 3.2))
    for (name, ratios), (line, marker) in zip(curves.items(), STYLES, strict=True):
        ax.semilogy(depths, ratios, linestyle=line, marker=marker, markersize=3.5, color="black", linewidth=1,
                    label=name)
    ax.set(xlabel="layers", ylabel="gradient norm, front / back", xticks=depths)
    ax.legend(loc="lower left")
    return figure


def draw_surfaces(points, surfaces):
    """Contours of losses (P, P) over points (P,) in two directions, one panel for each name."""
    figure, axes = plt.subplots(1, len(surfaces), figsize=(6.2, 3.0), sharey=True)
    for ax, (name, grid) in zip(axes, surfaces.items(), strict=True):
        grid = np.array(grid)
        levels = np.round(np.linspace(grid.min() + 0.05, np.quantile(grid, 0.9), 8), 2)
        lines = ax.contour(points, points, grid.T, levels=levels, colors="black", linewidths=0.8)
        ax.clabel(lines, fontsize=6)
        ax.plot(0, 0, marker="x", color="black", markersize=6)
        ax.set(title=name, xlabel="direction 1", aspect="equal")
    axes[0].set_ylabel("direction 2")
    return figure
