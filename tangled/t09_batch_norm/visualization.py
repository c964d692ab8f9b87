# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:8dee9ac25cda0350
"""Chapter 09: pictures of results. Each function draws what it is given and returns a figure."""

import matplotlib.pyplot as plt
import numpy as np

PLACES = {"x": (0, 1), "mean": (1, 0), "d": (2, 1), "var": (3, 0), "s": (4.1, 0), "x_hat": (5.2, 1),
          "gamma": (5.6, 0), "y": (7, 1), "beta": (6.7, 0)}
ARROWS = (("x", "mean"), ("x", "d"), ("mean", "d"), ("d", "var"), ("var", "s"), ("d", "x_hat"),
          ("s", "x_hat"), ("x_hat", "y"), ("gamma", "y"), ("beta", "y"))
STEPS = {("x", "mean"): "mean", ("mean", "d"): "minus", ("d", "var"): "mean square", ("var", "s"): "root, inverse",
         ("s", "x_hat"): "times", ("gamma", "y"): "times", ("beta", "y"): "plus"}
SYMBOLS = {"x": "x_8", "mean": r"\mu", "d": "d_8", "var": r"\sigma^2", "s": "s", "x_hat": r"\hat x_8",
           "y": "y_8", "gamma": r"\gamma", "beta": r"\beta"}


def draw_graph(values):
    """The graph of one channel; values: {name: (value, gradient)}, arrays (M,) or numbers."""
    figure, ax = plt.subplots(figsize=(6.6, 2.35))
    for start, end in ARROWS:
        ax.annotate("", PLACES[end], PLACES[start], zorder=1,
                    arrowprops={"arrowstyle": "-|>", "color": "0.35", "shrinkA": 17, "shrinkB": 19})
    for (start, end), step in STEPS.items():
        (a, b), (c, d) = PLACES[start], PLACES[end]
        flat = b == d
        ax.text((a + c) / 2 + (0 if flat else 0.08), (b + d) / 2 + (0.17 if flat else 0), step, fontsize=7,
                color="0.35", ha="center" if flat else "left", va="center")
    for name, (x, y) in PLACES.items():
        value, gradient = (np.atleast_1d(a) for a in values[name])
        each = len(value) > 1                                   # one number for each sample
        box = {"boxstyle": "square,pad=0.35" if each else "round,pad=0.35", "edgecolor": "0.2",
               "facecolor": "white" if each else "0.9"}
        ax.text(x, y, f"${SYMBOLS[name]}$ = {value[-1]:.4g}", bbox=box, ha="center", va="center",
                fontsize=8, zorder=2)
        above = y > 0.5
        ax.text(x, y + (0.33 if above else -0.33), f"gradient {gradient[-1]:.4g}", ha="center", va="center",
                fontsize=7.5, style="italic")
        ax.text(x, y + (0.53 if above else -0.53), "(M,)" if each else "(1,)", ha="center",
                va="center", fontsize=7, color="0.35", family="monospace")
    ax.set(xlim=(-0.6, 7.6), ylim=(-0.7, 1.7))
    ax.axis("off")
    return figure


def draw_dynamics(curves):
    """Losses for two initial scales, and deviations by layer; curves: {name: list}."""
    figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.4))
    for k, name in enumerate(("plain", "batch norm")):
        for scale, dashes in (("1", (1, 0)), ("0.5", (3, 1))):
            axes[0].plot(curves[f"loss, {name}, x {scale}"], color=f"C{k}", dashes=dashes,
                         linewidth=1.6 if k else 0.9, label=f"{name}, x {scale}")
        for layer, dashes in ((1, (1, 0)), (3, (6, 2)), (5, (3, 1.5)), (7, (1, 1))):
            axes[k + 1].plot(curves[f"deviation, {name}, layer {layer}"], color=f"C{k}", dashes=dashes,
                             linewidth=1.1, label=f"layer {layer}")
        axes[k + 1].set(title=f"deviation, {name}", xlabel="step", yscale="log", ylim=(0.003, 5))
    axes[0].set(title="loss", xlabel="step", ylim=(0, 4))
    axes[0].legend(fontsize=7, ncols=2, columnspacing=1, handlelength=1.5)
    axes[1].legend(fontsize=7, loc="lower right")
    axes[2].set_yticklabels([])
    return figure


def draw_rates(rates, final):
    """Final loss against learning rate; final: {name: (seeds, rates)}."""
    figure, ax = plt.subplots(figsize=(5.2, 2.4))
    for (name, losses), marker, dashes in zip(final.items(), "os", ((1, 0), (4, 1.5))):
        line, = ax.plot(rates, np.mean(losses, 0), marker=marker, markersize=4, dashes=dashes, label=name)
        for one in losses:
            ax.plot(rates, one, marker=marker, markersize=2, linewidth=0, color=line.get_color())
    ax.axhline(np.log(10), color="0.6", dashes=(1, 2), linewidth=0.8)
    ax.set(xscale="log", yscale="log", ylim=(0.2, 12), xlabel="learning rate", ylabel="loss")
    ax.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.legend()
    return figure


def draw_drift(noise_sizes, noise, sizes, losses):
    """Training against evaluation: of one normalisation (sizes,), and of a trained network."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.3))
    axes[0].plot(noise_sizes, noise, "o", markersize=4, label="measured")
    axes[0].plot(noise_sizes, np.sqrt(1.5 / np.array(noise_sizes)), color="C1", label="predicted")
    axes[0].set(xscale="log", yscale="log", title="one layer", ylabel="difference")
    for (name, values), marker, dashes in zip(losses.items(), "os", ((1, 0), (4, 1.5))):
        axes[1].plot(sizes, values, marker=marker, markersize=4, dashes=dashes, label=name)
    axes[1].set(xscale="log", title="eight layers, unseen data", ylabel="loss")
    for ax in axes:
        ax.set_xlabel("batch size M")
        ax.legend()
    return figure
