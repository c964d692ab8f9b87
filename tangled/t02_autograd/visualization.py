# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:31eb0d28dacf07f9
"""Figures of chapter 02."""

import timeit
import tracemalloc
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from tangled.t02_autograd import level1_naive, level2_vectorized, level3_memory_efficient

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


SIZES = tuple(10**k for k in range(7))


def seconds(f):
    """The shortest time of a call in three blocks of a few milliseconds."""
    calls = max(1, round(0.004 / timeit.timeit(f, number=1)))
    return min(timeit.repeat(f, number=calls, repeat=3)) / calls


def cost_per_number():
    """{level: seconds for one number at each of SIZES}; level 1 repeats its largest measurement."""
    def many_values(n):
        leaves = [(level1_naive.Value(0.5), level1_naive.Value(0.3)) for _ in range(n)]
        return lambda: sum(((x * y + x).tanh() * x for x, y in leaves), 0.0).backward()

    def one_tensor(module, n):
        x, y, ones = module.Tensor(np.full(n, 0.5)), module.Tensor(np.full(n, 0.3)), np.ones(n)
        return lambda: ((x * y + x).tanh() * x).backward(ones)

    scalar = [seconds(many_values(n)) / n for n in SIZES[:4]]
    modules = {"level 2": level2_vectorized, "level 3": level3_memory_efficient}
    tensor = {name: [seconds(one_tensor(module, n)) / n for n in SIZES]
              for name, module in modules.items()}
    return {"level 1": scalar + scalar[-1:] * (len(SIZES) - len(scalar)), **tensor}


def plot_cost(costs):
    """Seconds for one number against the size of the arrays."""
    figure, axis = plt.subplots(figsize=(4.9, 2.1), layout="constrained")
    for (name, seconds), style in zip(costs.items(), ("o-", "s-", "^-")):
        axis.loglog(SIZES, np.array(seconds) * 1e9, style, label=name)
    axis.set(xlabel="numbers in each array", ylabel="nanoseconds for one number")
    axis.legend()
    return figure


def memory_profile(module, depth=12, size=1 << 15):
    """Arrays of `size` float64 held after each step, and the number of forward steps."""
    held, start = [], 0

    def sample():
        held.append((tracemalloc.get_traced_memory()[0] - start) / (8 * size))

    def watched(out):
        owner = out if hasattr(out, "edges") else out.node
        owner.edges = [(operand, lambda g, vjp=vjp: (sample(), vjp(g))[1])
                       for operand, vjp in owner.edges]
        sample()
        return out

    h = module.Tensor(np.full(size, 0.1))
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(depth):
        h = watched(watched(watched(h + 1.0).tanh()) + h)
    forward = len(held)
    h.backward(np.broadcast_to(1.0, (size,)))
    sample()
    tracemalloc.stop()
    return np.array(held), forward


def plot_memory():
    """The profile of levels 2 and 3, side by side in one panel."""
    figure, axis = plt.subplots(figsize=(4.9, 2.1), layout="constrained")
    for name, module in (("level 2", level2_vectorized), ("level 3", level3_memory_efficient)):
        held, forward = memory_profile(module)
        axis.plot(held, label=f"{name}, peak {held.max():.0f}")
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
    for epoch, shade in ((1, 0.35), (5, 0.6), (len(history), 1.0)):
        w, b, _ = history[min(epoch, len(history)) - 1]
        left.plot(ends, w * ends + b, color=BLUE, alpha=shade, label=f"epoch {epoch}")
    left.set(xlabel="x", ylabel="y")
    left.legend()
    right.semilogy(range(1, len(history) + 1), [loss for *_, loss in history], color=ORANGE)
    right.set(xlabel="epoch", ylabel="mean squared error")
    return figure


def plot_table(table, models):
    """Errors by epoch, predictions by age; `models` maps a name to what train_table.train gives."""
    from tangled.t02_autograd.train_table import errors, least_squares
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.3), layout="constrained")
    for function in (lambda x: table.y.mean(), least_squares(table)):
        left.axhline(errors(table, function)[0], color=GREY, lw=0.8, ls=":")
    age, share = table.rows[:, 1], np.linspace(0, 1, 60)
    for (name, (predict, history)), style in zip(models.items(), ("--", "-")):
        left.plot([error for error, _ in history], style, color=GREY, label=name)
        for sex, colour in ((1, BLUE), (0, ORANGE)):
            height = table.x[table.x[:, 0] == sex, 2].mean()
            inputs = np.column_stack([np.full(60, sex), share, np.full(60, height)])
            right.plot(age.min() + share * np.ptp(age), predict(inputs), style, color=colour)
    middles = np.arange(27, 73, 5)
    for sex, colour, name in ((1, BLUE, "men"), (0, ORANGE, "women")):
        mean = [table.y[(table.x[:, 0] == sex) & (abs(age - m) <= 2.5)].mean() for m in middles]
        right.plot(middles, mean, ".", color=colour, label=name)
    left.set(xlabel="epoch", ylabel="mean squared error", ylim=(None, 0.065))
    right.set(xlabel="age", ylabel="income")
    left.legend()
    right.legend()
    return figure
