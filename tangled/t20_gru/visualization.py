# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:26a79f7ed6ec8b11
"""Chapter 20: the unit in both variants, gradients by lag, losses by step and second. Drawings return a figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tangled.t20_gru.experiments import lag_norms

STYLES = {"rnn": ("plain", (1, 1.5)), "lstm": ("LSTM", (4, 2)), "gru": ("GRU", (1, 0))}


def draw_cell():
    """One step, forward solid and backward dashed; left the reset after the product, right before it."""
    figure, axes = plt.subplots(1, 2, figsize=(7.0, 3.0))
    for ax, title, after in zip(axes, ("PyTorch: reset after", "Cho: reset before"), (True, False)):
        _line(ax, (0, 3), (2.3, 3))
        _line(ax, (2.75, 3), (4.95, 3))
        _line(ax, (5.4, 3), (7.2, 3))
        _line(ax, (7.1, 2.72), (5.45, 2.72), dashed=True)
        _line(ax, (4.9, 2.72), (2.78, 2.72), dashed=True)
        _line(ax, (2.25, 2.72), (0, 2.72), dashed=True)
        _node(ax, 2.5, 2.86, r"$\odot z$")
        _node(ax, 5.2, 2.86, "+")
        ax.text(0, 3.2, "$h_{t-1}$", fontsize=9)
        ax.text(6.6, 3.2, "$h_t$", fontsize=9)
        ax.text(6.45, 2.32, r"$\bar{h}_t$", fontsize=9)
        ax.text(0.7, 2.32, r"$z \odot \bar{h}_t + \ldots$", fontsize=9)
        first, second = ("W", "r") if after else ("r", "W")
        ax.plot([0.55, 0.55], [3, 0.9], color="black", linewidth=1)
        _line(ax, (0.55, 0.9), (1.05, 0.9))
        _stage(ax, 1.5, first)
        _line(ax, (1.95, 0.9), (2.75, 0.9))
        ax.text(2.2, 1.05, "$u$" if after else "$v$", fontsize=9)
        _stage(ax, 3.2, second)
        _line(ax, (3.65, 0.9), (4.05, 0.9))
        _node(ax, 4.3, 0.9, "+")
        _line(ax, (4.3, -0.1), (4.3, 0.63))
        ax.text(4.3, -0.45, r"$x_t W_{xn} + b_{xn}$", fontsize=9, ha="center")
        _line(ax, (4.57, 0.9), (4.82, 0.9))
        ax.text(5.2, 0.9, "tanh", fontsize=8, ha="center", va="center", bbox={"boxstyle": "square", "fc": "0.9"})
        _line(ax, (5.2, 1.15), (5.2, 1.6))
        _node(ax, 5.2, 1.9, r"$\odot (1-z)$")
        _line(ax, (5.2, 2.2), (5.2, 2.63))
        ax.text(4.85, 1.28, "$n$", fontsize=9)
        _line(ax, (6.0, 2.6), (6.0, 1.0), dashed=True)
        ax.text(6.1, 1.65, r"$\bar{n} = (1-z) \odot \bar{h}_t$", fontsize=8)
        ax.set(xlim=(-0.2, 8.5), ylim=(-0.8, 3.6), title=title)
        ax.title.set_fontsize(9)
        ax.axis("off")
    return figure


def _stage(ax, x, kind):
    """The product with the recurrent weights, or the reset gate."""
    if kind == "r":
        _node(ax, x, 0.9, r"$\odot r$")
    else:
        ax.text(x, 0.9, "$W_{hn}$\n$+\\,b_{hn}$", fontsize=8, ha="center", va="center",
                bbox={"boxstyle": "square", "fc": "0.9"})


def _node(ax, x, y, text):
    """A round node."""
    ax.text(x, y, text, fontsize=8, ha="center", va="center", bbox={"boxstyle": "round,pad=0.25", "fc": "white"})


def _line(ax, start, end, dashed=False):
    """An arrow."""
    style = {"linestyle": "--", "color": "0.35"} if dashed else {"linestyle": "-", "color": "0"}
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1, "shrinkA": 0, "shrinkB": 0, **style})


def draw_lags(T=40):
    """Gradient norms by lag: a plain network, and a GRU by the bias of its update gate."""
    figure, ax = plt.subplots(figsize=(5.2, 2.5))
    ax.semilogy(lag_norms(None, T), color="black", linewidth=1.2, label="plain")
    for bias, dashes in ((0, (4, 2)), (2, (2, 1)), (4, (1, 1.5))):
        ax.semilogy(lag_norms(bias, T), color="black", dashes=dashes, linewidth=1.2, label=f"GRU, bias {bias}")
        ax.semilogy((1 / (1 + np.exp(-bias))) ** np.arange(T + 1), color="0.6", linewidth=0.7)
    ax.set(xlabel="lag k", ylabel="relative norm", ylim=(1e-13, 3))
    ax.legend(fontsize=7)
    return figure


def draw_losses(curves, out=None):
    """Held-out losses of "name/held" by "name/step" and by "name/seconds"; saved to the file `out`, if given."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.6), sharey=True)
    for ax, key in zip(axes, ("step", "seconds")):
        for name in [name[:-5] for name in curves if name.endswith("/held")]:
            label, dashes = STYLES[name.partition(",")[0]]
            color, width = ("0.6", 0.8) if "," in name else ("black", 1.2)
            ax.plot(curves[f"{name}/{key}"], curves[f"{name}/held"], color=color, dashes=dashes, linewidth=width,
                    label=None if "," in name else label)
        ax.set(xlabel={"step": "step", "seconds": "seconds of training"}[key])
    axes[0].set_ylabel("nats a letter, held out")
    lowest = min(min(curves[name]) for name in curves if name.endswith("/held"))
    axes[0].set_ylim(lowest - 0.05, lowest + 0.9)
    axes[0].legend(fontsize=7)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=150)
    return figure
