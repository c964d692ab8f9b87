# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:7358d36fafc4392e
"""Figures of chapter 02."""

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from tangled.measuring import best_times
from tangled.t02_autograd import level1_naive, level2_vectorized, level3_memory_efficient

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#4D4D4D"


def layered_layout(root):
    """Place (column, row) for each node: the column is its longest distance from a leaf."""
    order, column = level1_naive._topological_order(root), {}
    for node in order:                               # operands come first
        column[node] = max((column[operand] + 1 for operand, _ in node.edges), default=0)
    place = {}
    for k in range(max(column.values()) + 1):
        nodes = [node for node in order if column[node] == k]
        if k:                                        # keep each near the middle of its operands
            nodes.sort(key=lambda node: -np.mean([place[operand][1] for operand, _ in node.edges]))
        for i, node in enumerate(nodes):
            place[node] = (k, (len(nodes) - 1) / 2 - i)
    return place


def plot_graph(root, names):
    """The graph below `root`: values and gradients in boxes, slopes on the arrows; `names` maps text to Value."""
    place, label = layered_layout(root), {node: name for name, node in names.items()}
    spread = {node: (1.9 * x, 1.3 * y + 0.35 * np.sin(2.0 * x)) for node, (x, y) in place.items()}
    figure, axis = plt.subplots(figsize=(5.4, 2.5), layout="constrained")
    for node, (x, y) in spread.items():
        for operand, slope in node.edges:
            u, v = spread[operand]
            axis.annotate("", (x - 0.5, y), (u + 0.5, v), arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1})
            axis.text(u + 0.5 + 0.4 * (x - u - 1), v + 0.4 * (y - v), f"{slope:g}", color=BLUE, fontsize=8, ha="center",
                      va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})
        axis.add_patch(plt.Rectangle((x - 0.5, y - 0.36), 1, 0.72, facecolor="#F2F2F2", edgecolor=GREY, lw=0.8))
        axis.text(x, y + 0.48, label.get(node, ""), ha="center", fontsize=8.5, style="italic")
        axis.text(x, y + 0.15, f"{node.data:g}", ha="center", va="center", fontsize=9)
        axis.text(x, y - 0.17, f"grad {node.grad:g}", ha="center", va="center", fontsize=8, color=ORANGE)
    axis.set(xlim=(-0.7, max(x for x, _ in spread.values()) + 0.7))
    axis.margins(y=0.16)
    axis.set_aspect("equal")
    axis.axis("off")
    return figure


SIZES = tuple(10**k for k in range(7))


def cost_per_number():
    """{level: seconds for one number at each of SIZES}; level 1 repeats its largest measurement."""
    def many_values(n):
        leaves = [(level1_naive.Value(0.5), level1_naive.Value(0.3)) for _ in range(n)]
        return lambda: sum(((x * y + x).tanh() * x for x, y in leaves), 0.0).backward()

    def one_tensor(module, n):
        x, y, ones = module.Tensor(np.full(n, 0.5)), module.Tensor(np.full(n, 0.3)), np.ones(n)
        return lambda: ((x * y + x).tanh() * x).backward(ones)

    scalar = [best_times([many_values(n)], 3)[0] / n for n in SIZES[:4]]
    modules = {"level 2": level2_vectorized, "level 3": level3_memory_efficient}
    tensor = {name: [best_times([one_tensor(module, n)], 3)[0] / n for n in SIZES] for name, module in modules.items()}
    return {"level 1": scalar + scalar[-1:] * (len(SIZES) - len(scalar)), **tensor}


def plot_cost(costs):
    """Seconds for one number against the size of the arrays."""
    figure, axis = plt.subplots(figsize=(4.9, 2.6), layout="constrained")
    for (name, seconds), style in zip(costs.items(), ("o-", "s-", "^-")):
        axis.loglog(SIZES, np.array(seconds) * 1e9, style, label=name)
    axis.set(xlabel="numbers in each array", ylabel="nanoseconds for one number")
    axis.legend()
    return figure


def memory_profile(module, depth=12, size=1 << 15):
    """Arrays of `size` float64 held after each step of forward, then of backward; and where backward begins."""
    held, start = [], 0

    def sample():
        held.append((tracemalloc.get_traced_memory()[0] - start) / (8 * size))

    def watched(out):
        owner = out if hasattr(out, "edges") else out.node
        owner.edges = tuple((operand, lambda g, vjp=vjp: (sample(), vjp(g))[1]) for operand, vjp in owner.edges)
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
    figure, axis = plt.subplots(figsize=(4.9, 2.5), layout="constrained")
    for name, module in (("level 2", level2_vectorized), ("level 3", level3_memory_efficient)):
        held, forward = memory_profile(module)
        axis.plot(held, label=f"{name}, peak {held.max():.0f}")
    axis.axvline(forward - 0.5, color=GREY, lw=0.7, ls=":")
    axis.set(xlabel="operation, forward then backward", ylabel="arrays held", ylim=(0, None))
    axis.legend()
    return figure


def plot_line(data, history):
    """Samples with the line after 1, 5 and all epochs, and the loss."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(5.6, 2.4), layout="constrained")
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
    """Errors by epoch and predictions by age; `models` maps a name to (function, history) of train_table."""
    from tangled.t02_autograd.train_table import errors, least_squares
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.7), layout="constrained")
    for name, level in (("mean", errors(table, lambda x: table.y.mean())), ("least squares", errors(table, least_squares(table)))):
        left.axhline(level[0], color=GREY, lw=0.8, ls="--")
        left.text(len(next(iter(models.values()))[1]), level[0], name, va="bottom", ha="right", fontsize=7)
    ages = np.linspace(0, 1, 60)
    years = table.rows[:, 1].min() + ages * np.ptp(table.rows[:, 1])
    for (name, (predict, history)), style in zip(models.items(), ("-", "-.")):
        left.plot(range(1, len(history) + 1), [error for error, _ in history], style, color=GREY, lw=1, label=name)
        for sex, colour in ((1, BLUE), (0, ORANGE)):
            height = table.x[table.x[:, 0] == sex, 2].mean()
            inputs = np.column_stack([np.full(60, sex), ages, np.full(60, height)])
            right.plot(years, predict(inputs), style, color=colour, label=f"{('woman', 'man')[sex]}, {name}")
    for sex, colour in ((1, BLUE), (0, ORANGE)):
        bins = [(table.x[:, 0] == sex) & (abs(table.rows[:, 1] - middle) <= 2.5) for middle in range(27, 73, 5)]
        right.plot(range(27, 73, 5), [table.y[rows].mean() for rows in bins], ".", color=colour)
    left.set(xlabel="epoch", ylabel="mean squared error")
    right.set(xlabel="age", ylabel="income")
    left.legend(loc="upper right")
    right.legend(fontsize=6.5)
    return figure
