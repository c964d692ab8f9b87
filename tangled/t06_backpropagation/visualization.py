# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:f4e584030cbc0cf7
"""Figures of chapter 06."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t06_backpropagation import train_clusters, train_regression

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4D4D4D"
COLOURS, MARKS = (BLUE, ORANGE, GREEN, PURPLE), "o^sv"


def draw_flow():
    """Four ops, what flows forward and backward between them, and what each keeps."""
    ops = (("Linear", "X", r"$\bar W_1, \bar b_1$"), ("ReLU", "$H_1$", ""),
           ("Linear", "$H_1$", r"$\bar W_2, \bar b_2$"),
           ("softmax +\ncross-entropy", "P, y", ""))
    flows = (("X", ""), ("$Z_1$", r"$\bar Z_1$"), ("$H_1$", r"$\bar H_1$"),
             ("$Z_2$", r"$\bar Z_2$"), ("loss", "1"))
    figure, ax = plt.subplots(figsize=(6.4, 2.1))
    for k, (name, kept, left) in enumerate(ops):
        x = 2.2 * k
        ax.add_patch(plt.Rectangle((x, 0), 1.3, 1.2, facecolor="#F2F2F2", edgecolor=GREY))
        ax.text(x + 0.65, 0.78, name, ha="center", va="center", fontsize=8.5)
        ax.text(x + 0.65, 0.25, f"keeps {kept}", ha="center", va="center", fontsize=7.5,
                color=GREY)
        if left:
            ax.annotate(left, (x + 0.65, 0), (x + 0.65, -0.75), color=ORANGE, ha="center",
                        fontsize=9, arrowprops={"arrowstyle": "<|-", "color": ORANGE})
    for k, (forward, backward) in enumerate(flows):
        ends = 2.2 * k - 0.85, 2.2 * k - 0.05
        for text, y, colour, (start, stop) in ((forward, 0.95, BLUE, ends),
                                               (backward, 0.3, ORANGE, ends[::-1])):
            if text:
                ax.annotate("", (stop, y), (start, y),
                            arrowprops={"arrowstyle": "-|>", "color": colour})
                ax.text(sum(ends) / 2, y + 0.08, text, ha="center", color=colour)
    ax.set(xlim=(-1.0, 8.9), ylim=(-1.0, 1.4))
    ax.axis("off")
    return figure


def draw_clusters(hidden=(32, 32), shown=(1, 3), **options):
    """The regions after some epochs and after the last, and the losses."""
    side = np.linspace(-2.2, 2.2, 120, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    regions = {}

    def look(model, history):
        epoch = len(history["loss"])
        if epoch in shown:
            regions[epoch] = model(grid).argmax(1)

    model, (x, y), _, history = train_clusters.train(hidden, on_epoch=look, **options)
    regions[len(history["loss"])] = model(grid).argmax(1)
    figure, axes = plt.subplots(1, len(regions) + 1, figsize=(7.4, 2.1))
    for ax, (epoch, classes) in zip(axes, regions.items()):
        for k, colour in enumerate(COLOURS):
            here = (classes == k).reshape(120, 120).astype(float)
            ax.contourf(side, side, here, levels=[0.5, 1.5], colors=[colour], alpha=0.25)
            ax.plot(*x[y == k][::4].T, MARKS[k], color=colour, markersize=1.8)
        ax.set(title=f"epoch {epoch}", xticks=[], yticks=[], aspect="equal")
    axes[-1].semilogy(history["loss"], label="training")
    axes[-1].semilogy(history["validation_loss"], "--", label="new points")
    axes[-1].set(title="loss", xlabel="epoch")
    axes[-1].legend(fontsize=6.5)
    return figure


def draw_wages(table, model, history):
    """Wages by experience, with predictions for three lengths of schooling; the loss."""
    square = train_regression.candidates(table, model)["with a square"]
    figure, (ax, right) = plt.subplots(1, 2, figsize=(6.4, 2.2), width_ratios=(3, 2))
    years = np.linspace(0, 45, 90)
    rows = table.x * table.scale + table.mean                            # (N, 2), in years
    dollars = lambda y: np.exp(y[:, 0] + table.middle)                   # (N, 1) to (N,)
    ax.plot(rows[:, 1], dollars(table.y), ".", color="0.7", markersize=3)
    for schooling, colour in ((16, BLUE), (12, ORANGE), (8, GREEN)):
        x = np.stack([np.full(90, schooling), years], axis=1)
        x = ((x - table.mean) / table.scale).astype(np.float32)
        for predict, style in ((model, "-"), (square, "--")):
            label = f"{schooling} years of school" if style == "-" else None
            ax.plot(years, dollars(predict(x)), style, color=colour, label=label)
    ax.set(xlabel="years of experience", ylabel="wage, $ an hour", ylim=(0, 25))
    ax.legend(fontsize=7, loc="upper right")
    right.plot(history["loss"], label="training")
    right.plot(history["validation_loss"], "--", label="test rows")
    right.set(xlabel="epoch", ylabel="mean squared error", ylim=(0, 0.5))
    right.legend(fontsize=7)
    return figure


def difference_error(dtype, h, seed=0):
    """Largest error of central differences of a smooth loss, over the largest gradient."""
    generator = np.random.default_rng(seed)
    shapes = (8, 5), (5, 6), (6, 2), (8, 2)
    x, W, V, t = (generator.standard_normal(s).astype(dtype) for s in shapes)
    loss = lambda W: np.mean((np.tanh(x @ W) @ V - t) ** 2, dtype=dtype)
    hidden = np.tanh(x @ W)
    exact = x.T @ ((2 / t.size * (hidden @ V - t)) @ V.T * (1 - hidden**2))
    numeric = np.zeros_like(exact)
    for index in np.ndindex(W.shape):
        moved = np.stack([W, W])
        moved[(0, *index)] += dtype(h)
        moved[(1, *index)] -= dtype(h)
        width = moved[(0, *index)] - moved[(1, *index)]
        numeric[index] = (loss(moved[0]) - loss(moved[1])) / width if width else np.nan
    return np.max(np.abs(numeric - exact)) / np.abs(exact).max()


def draw_check():
    """The error of the check against its step, in both precisions."""
    figure, ax = plt.subplots(figsize=(4.9, 2.0))
    for dtype, start, colour in ((np.float64, -10, BLUE), (np.float32, -6, ORANGE)):
        h = np.logspace(start, 0, 4 * -start + 1)
        epsilon = float(np.finfo(dtype).eps)
        ax.loglog(h, [difference_error(dtype, step) for step in h], ".-", color=colour,
                  markersize=3, label=dtype.__name__)
        ax.loglog(h, epsilon / h, ":", color=colour, linewidth=0.9)
    ax.loglog(h := np.logspace(-6, 0, 20), h**2, ":", color=GREY, linewidth=0.9)
    ax.set(xlabel="step h", ylabel="relative error", ylim=(1e-13, 10))
    ax.legend()
    return figure
