# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:6efeb27bfc9c92da
"""Figures of chapter 06."""

import matplotlib.pyplot as plt
import numpy as np

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#4D4D4D"
COLOURS, MARKS, HATCHES = (BLUE, ORANGE, GREEN, PURPLE), "o^sv", ("", "...", "///", "---")


def draw_flow():
    """Four ops, what flows forward and backward between them in which shape, and what each keeps."""
    ops = (("Linear", "keeps $X$", 1), ("ReLU", "keeps $H_1$", 0), ("Linear", "keeps $H_1$", 2),
           ("softmax,\ncross-entropy", "keeps $P, y$", 0))
    sums = {1: (r"$\bar W_1 = X^\top \bar Z_1$", "$(d_0, d_1)$", r"$\bar b_1 = \Sigma_n \bar z_n$"),
            2: (r"$\bar W_2 = H_1^\top \bar Z_2$", "$(d_1, K)$", r"$\bar b_2 = \Sigma_n \bar z_n$")}
    flows = (("$X$", "", "$(N, d_0)$"), ("$Z_1$", r"$\bar Z_1$", "$(N, d_1)$"),
             ("$H_1$", r"$\bar H_1$", "$(N, d_1)$"), ("$Z_2$", r"$\bar Z_2$", "$(N, K)$"),
             (r"$\mathcal{L}$", "1", "()"))
    figure, ax = plt.subplots(figsize=(6.6, 2.5))
    for k, (name, kept, layer) in enumerate(ops):
        x = 2.4 * k
        ax.add_patch(plt.Rectangle((x, 0), 1.35, 1.3, facecolor="#F2F2F2", edgecolor=GREY))
        ax.text(x + 0.67, 0.85, name, ha="center", va="center", fontsize=8)
        ax.text(x + 0.67, 0.25, kept, ha="center", va="center", fontsize=7.5, color=GREY)
        if layer:
            ax.add_patch(plt.Rectangle((x - 0.3, -1.75), 1.95, 1.2, facecolor="white",
                                       edgecolor=GREY, hatch="////", alpha=0.25))
            for text, y in zip(sums[layer], (-0.85, -1.2, -1.55)):
                ax.text(x + 0.67, y, text, ha="center", va="center", fontsize=7.5)
            ax.annotate("", (x + 0.67, -0.55), (x + 0.67, 0),
                        arrowprops={"arrowstyle": "-|>", "color": ORANGE, "linestyle": "--"})
    for k, (forward, backward, shape) in enumerate(flows):
        ends = 2.4 * k - 1.0, 2.4 * k - 0.05
        ways = ((forward, 1.0, BLUE, "-", ends), (backward, 0.3, ORANGE, "--", ends[::-1]))
        for text, y, colour, style, (start, stop) in ways:
            if text:
                ax.annotate("", (stop, y), (start, y),
                            arrowprops={"arrowstyle": "-|>", "color": colour, "linestyle": style})
                ax.text(sum(ends) / 2, y + 0.08, text, ha="center", color=colour, fontsize=9)
        ax.text(sum(ends) / 2, 1.4, shape, ha="center", fontsize=7.5, color=GREY)
    ax.set(xlim=(-1.2, 9.7), ylim=(-1.85, 1.75))
    ax.axis("off")
    return figure


def draw_clusters(outcome):
    """The regions after some epochs and after the last, and the losses, from `look_at`."""
    regions, side, (x, y), history = (getattr(outcome, name) for name in
                                      ("regions", "side", "data", "history"))
    figure, axes = plt.subplots(1, len(regions) + 1, figsize=(7.4, 2.1))
    for ax, (epoch, classes) in zip(axes, regions.items()):
        for k, colour in enumerate(COLOURS):
            here = (classes == k).astype(float)
            ax.contourf(side, side, here, levels=[0.5, 1.5], colors=[colour], alpha=0.25,
                        hatches=[HATCHES[k]])
            ax.plot(*x[y == k][::4].T, MARKS[k], color=colour, markersize=1.8)
        ax.set(title=f"epoch {epoch}", xticks=[], yticks=[], aspect="equal")
    axes[-1].semilogy(history["loss"], label="training")
    axes[-1].semilogy(history["validation_loss"], "--", label="new points")
    axes[-1].set(title="loss", xlabel="epoch")
    axes[-1].legend(fontsize=6.5)
    return figure


def draw_wages(table, model, square, history):
    """Wages by experience; predictions of two functions for three lengths of schooling; the loss."""
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


def draw_check(errors):
    """The error of the check against its step, from `difference_errors`."""
    figure, ax = plt.subplots(figsize=(4.9, 2.0))
    for (name, (h, found, epsilon)), colour, mark in zip(errors.items(), (BLUE, ORANGE), "o^"):
        ax.loglog(h, found, mark + "-", color=colour, markersize=3, label=name)
        ax.loglog(h, epsilon / h, ":", color=colour, linewidth=0.9)
    ax.loglog(h, h**2, ":", color=GREY, linewidth=0.9)
    ax.set(xlabel="step h", ylabel="relative error", ylim=(1e-13, 10))
    ax.legend()
    return figure
