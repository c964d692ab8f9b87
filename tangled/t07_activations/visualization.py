# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:5e1f4710c1ee726d
"""Chapter 07: pictures of results. Each function draws what it is given and returns a figure."""

import matplotlib.pyplot as plt
import numpy as np

import tangled.t07_activations.level2_vectorized as level
from tangled.t07_activations.experiments import SHOWN, values_and_slopes

DASHES = ((1, 0), (4, 2), (1, 1.5), (5, 1, 1, 1), (8, 2))


def draw_mechanism(results):
    """Numbers on their way over a curve and their gradients back; results of `there_and_back`."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.7), sharey=True)
    for ax, (name, r) in zip(axes, results.items()):
        ax.axhline(0, color="0.8", linewidth=0.6)
        ax.plot(r["grid"], r["curve"], color="0.45", linewidth=1)
        for x, y, slope, g, dx in zip(*(r[key] for key in ("x", "y", "slope", "dout", "dx"))):
            ax.plot([x, x, 4.2], [-1.9, y, y], color="0.6", linewidth=0.7, dashes=(2, 2))
            reach = np.array([-0.8, 0.8]) / np.hypot(1, slope)
            ax.plot(x + reach, y + slope * reach, color="C0", linewidth=2.2)
            ax.plot(x, y, "o", color="black", markersize=4)
            ax.text(x, -2.15, f"x = {x:g}\ndx = {dx:.2f}", ha="center", va="top", fontsize=7)
            ax.text(4.3, y, f"y = {y:.2f}\ndout = {g:g}", ha="left", va="center", fontsize=7)
        ax.set(title=f"{name}: x (3,) to y (3,), dout (3,) to dx (3,)", xlim=(-4, 4.2), ylim=(-2, 3.4),
               xticks=[], yticks=[])
        ax.title.set_fontsize(8)
    figure.subplots_adjust(wspace=0.45, bottom=0.2)
    return figure


def draw_functions():
    """All functions with their derivatives, one panel each."""
    x = np.linspace(-4, 4, 401)
    figure, axes = plt.subplots(2, 5, figsize=(6.6, 2.9), sharex=True, sharey=True)
    for ax, (name, make) in zip(axes.flat, SHOWN.items()):
        out, slope = values_and_slopes(make(), x)
        ax.axhline(0, color="0.8", linewidth=0.6)
        ax.axvline(0, color="0.8", linewidth=0.6)
        ax.plot(x, out, color="C0", label="f")
        ax.plot(x, slope, color="C1", dashes=(3, 1.5), label="f'")
        ax.set(title=name, ylim=(-2, 3), xticks=(-4, 0, 4))
    axes[0, 0].legend(loc="upper left")
    return figure


def draw_approximations():
    """How far the two cheap forms of GELU are from the exact one; values, slopes."""
    x = np.linspace(-5, 5, 801)
    exact = values_and_slopes(level.GELU(), x)
    cubic = values_and_slopes(level.GELU("tanh"), x)
    scaled = values_and_slopes(level.SiLU(), 1.702 * x)
    scaled = scaled[0] / 1.702, scaled[1]
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 1.9), sharex=True)
    for k, ax in enumerate(axes):
        error = np.abs(scaled[k] - exact[k]) + 1e-9
        ax.semilogy(x, error, color="C1", dashes=(3, 1.5), label="x sigmoid(1.702 x)")
        ax.semilogy(x, np.abs(cubic[k] - exact[k]) + 1e-9, color="C0", label="tanh form")
        title = ("error of the value", "error of the derivative")[k]
        ax.set(title=title, xlabel="x", ylim=(1e-6, 1))
    axes[0].legend(loc="upper center", ncols=2)
    return figure


def draw_silent(counts, moved):
    """Silent units by epoch, and how far pushed units moved; name -> list, both."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.1))
    for ax, runs in zip(axes, (counts, moved)):
        for k, (name, numbers) in enumerate(runs.items()):
            ax.plot(numbers, color=f"C{k}", dashes=DASHES[k], label=name)
        top = 1.35 * max(max(numbers) for numbers in runs.values())
        ax.set(xlabel="epoch", ylim=(0, top))
        ax.legend(ncols=3, loc="upper left", fontsize=6.5)
    axes[0].set(title="silent units of 200, ReLU")
    axes[1].set(title="weights of pushed units: change")
    return figure


def draw_flow(flows):
    """Gradient norms by layer in two panels, of those that hold and those that fade; name -> (depth + 1,)."""
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 2.4), sharey=True)
    names = list(flows)
    for ax, shown in zip(axes, (names[:5], names[5:])):
        for k, name in enumerate(shown):
            ax.semilogy(flows[name], color=f"C{k}", dashes=DASHES[k], linewidth=1.3, label=name)
        ax.set(xlabel="layer (the loss is on the right)", ylim=(1e-8, 100))
        ax.legend(ncols=2, loc="lower left" if ax is axes[0] else "lower right", fontsize=6.5)
    axes[0].set_ylabel("gradient, relative")
    return figure
