# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:c38549f15e541d81
"""Figures of chapter 02: each takes results and draws them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from tangled.t02_autograd import level1_naive

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#4D4D4D"


def layered_layout(root):
    """Places {cell: (column, row)} and routes [(slope, cells from operand to user)].

    A node's column is its longest distance from a leaf. An arrow that passes a column has a cell
    of its own there, so that it goes around the boxes. Within a column, cells are sorted by the
    mean row of what lies to their left.
    """
    order, column = level1_naive._topological_order(root), {}
    for node in order:                               # operands come first
        column[node] = max((column[operand] + 1 for operand, _ in node.edges), default=0)
    cells, left, routes = {node: column[node] for node in order}, {node: [] for node in order}, []
    for node in order:
        for operand, slope in node.edges:
            passed = [(operand, node, k) for k in range(column[operand] + 1, column[node])]
            cells.update({cell: cell[2] for cell in passed})
            stops = [operand, *passed, node]
            for a, b in pairwise(stops):
                left.setdefault(b, []).append(a)
            routes.append((slope, stops))
    place = {}
    for k in range(column[root] + 1):
        here = [cell for cell in cells if cells[cell] == k]
        here.sort(key=lambda cell: -np.mean([place[a][1] for a in left[cell]]) if k else 0)
        place.update({cell: (k, (len(here) - 1) / 2 - i) for i, cell in enumerate(here)})
    return place, routes


def plot_graph(root, names):
    """The graph below `root`, values and gradients in boxes; `names` maps text to Value."""
    place, routes = layered_layout(root)
    at = {cell: (1.9 * x, 1.35 * y) for cell, (x, y) in place.items()}
    figure, axis = plt.subplots(figsize=(5.6, 2.5), layout="constrained")
    for slope, (start, *passed, end) in routes:
        (x, y), (u, v) = at[start], at[end]
        points = [(x + 0.5, y), *(at[cell] for cell in passed), (u - 0.5, v)]
        axis.plot(*zip(*points[:-1]), color=GREY, lw=1)
        axis.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": GREY})
        middle = at[passed[0]] if passed else np.mean(points, axis=0)
        axis.text(*middle, f"{slope:g}", color=BLUE, fontsize=8.5, ha="center", va="center",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
    for name, node in names.items():
        x, y = at[node]
        axis.add_patch(plt.Rectangle((x - 0.5, y - 0.36), 1, 0.72, facecolor="#F2F2F2", edgecolor=GREY))
        axis.text(x, y + 0.45, name, ha="center", fontsize=9, style="italic")
        axis.text(x, y + 0.06, f"{node.data:g}", ha="center", fontsize=9.5)
        axis.text(x, y - 0.27, f"grad {node.grad:g}", ha="center", fontsize=8.5, color=ORANGE)
    axis.margins(0.02, 0.12)
    axis.set_aspect("equal")
    axis.axis("off")
    return figure


SHAPES = {  # name: (x, y, text)
    "x": (0, 0.75, "x\n(5, 3)"), "w": (0, -0.75, "w\n(3, 4)"), "a": (2.6, 0, "a = x w\n(5, 4)"),
    "b": (2.6, -1.5, "b\n(4,)"), "z": (5.2, 0, "z = a + b\n(5, 4)"), "h": (7.8, 0, "h = tanh z\n(5, 4)"),
}
RULES = {  # operand and result: (rule of the gradient, where it stands)
    "xa": (r"$\bar x = \bar a\, w^\top$", (1.45, 1.0)), "wa": (r"$\bar w = x^\top \bar a$", (1.45, -1.05)),
    "az": (r"$\bar a = \bar z$", (3.9, 0.42)), "bz": (r"$\bar b = \sum_{5\ rows} \bar z$", (4.75, -1.35)),
    "zh": (r"$\bar z = \bar h \odot (1 - h^2)$", (6.5, 0.55)),
}


def plot_shapes():
    """One layer: values forward, gradients of the same shapes backward."""
    figure, axis = plt.subplots(figsize=(6.3, 2.2), layout="constrained")
    for pair, (rule, (u, v)) in RULES.items():
        (x, y, _), (p, q, _) = SHAPES[pair[0]], SHAPES[pair[1]]
        for up, start, end, style in ((0.09, (x + 0.62, y), (p - 0.62, q), "-"),
                                      (-0.09, (p - 0.62, q), (x + 0.62, y), "--")):
            axis.annotate("", (end[0], end[1] + up), (start[0], start[1] + up),
                          arrowprops={"arrowstyle": "-|>", "color": GREY, "ls": style, "shrinkA": 0, "shrinkB": 0})
        axis.text(u, v, rule, fontsize=8, ha="center", va="center")
    for x, y, text in SHAPES.values():
        axis.add_patch(plt.Rectangle((x - 0.62, y - 0.36), 1.24, 0.72, facecolor="#F2F2F2", edgecolor=GREY))
        axis.text(x, y, text, ha="center", va="center", fontsize=8)
    axis.set(xlim=(-0.8, 8.6), ylim=(-1.95, 1.3))
    axis.axis("off")
    return figure


def plot_memory(profiles):
    """{level: (arrays held, forward steps)}, in one panel."""
    figure, axis = plt.subplots(figsize=(4.9, 2.1), layout="constrained")
    for (name, (held, forward)), style in zip(profiles.items(), ("--", "-")):
        axis.plot(held, style, label=f"{name}, peak {held.max():.0f}")
        axis.axvline(forward - 0.5, color=GREY, lw=0.7, ls=":")
    axis.set(xlabel="operation, forward then backward", ylabel="arrays held", ylim=(0, None))
    axis.legend()
    return figure


def plot_line(data, history):
    """Samples with the line after 1, 5 and all epochs, and the loss."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.1), layout="constrained")
    x, y = np.array(data).T
    left.plot(x, y, ".", color=GREY)
    ends = np.array([-1.0, 1.0])
    for epoch, style in ((1, ":"), (5, "--"), (len(history), "-")):
        w, b, _ = history[min(epoch, len(history)) - 1]
        left.plot(ends, w * ends + b, style, color=BLUE, label=f"epoch {epoch}")
    left.set(xlabel="x", ylabel="y")
    left.legend()
    right.semilogy(range(1, len(history) + 1), [loss for *_, loss in history], color=ORANGE)
    right.set(xlabel="epoch", ylabel="mean squared error")
    return figure


def plot_table(found):
    """Errors by epoch, predictions by age, from `train_table.for_figure`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.3), layout="constrained")
    for level in found.levels:
        left.axhline(level, color=GREY, lw=0.8, ls=":")
    for (name, curve), style in zip(found.curves.items(), ("--", "-")):
        left.plot(curve, style, color=GREY, label=name)
    for (who, predicted), colour, mark in zip(found.predicted.items(), (BLUE, ORANGE), "o^"):
        for curve, style in zip(predicted.values(), ("--", "-")):
            right.plot(found.age, curve, style, color=colour)
        right.plot(found.middles, found.averages[who], mark, ms=3, color=colour, label=who)
    left.set(xlabel="epoch", ylabel="mean squared error", ylim=(None, 0.065))
    right.set(xlabel="age", ylabel="income")
    left.legend()
    right.legend()
    return figure
