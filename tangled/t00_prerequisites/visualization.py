# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:09ff031fa31ac9bb
"""Figures of chapter 00."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t00_prerequisites import softmax


def plot_views():
    """Four strips of memory: which entries `x.T`, a slice, a broadcast row and a fancy index visit."""
    x = np.arange(24).reshape(4, 6)
    rows = [("x.T   strides (1, 6)", set(range(24)), 24), ("x[1:3, ::2]   strides (6, 2)", set(x[1:3, ::2].flat), 24),
            ("np.broadcast_to(x[0], (4, 6))   strides (0, 1)", set(range(6)), 24),
            ("x[[0, 2]]   a new block of 12", set(range(12)), 12)]
    figure, axes = plt.subplots(4, 1, figsize=(6.4, 3.4), layout="constrained")
    for axis, (title, visited, count) in zip(axes, rows):
        draw_strip(axis, visited, count, own=count == 12)
        axis.set_title(title, fontsize=8, loc="left", family="monospace")
    return figure


def draw_strip(axis, visited, count, own):
    """`count` numbered cells in a row; the set `visited` is coloured, in another colour if it is an `own` block."""
    for k in range(count):
        colour = ("#d55e00" if own else "#56b4e9") if k in visited else "#ffffff"
        axis.add_patch(plt.Rectangle((k, 0), 1, 1, facecolor=colour, edgecolor="#444444", linewidth=0.6))
        label = k if not own else (k if k < 6 else k + 6)
        axis.text(k + 0.5, 0.48, str(label), ha="center", va="center", fontsize=6.5)
    axis.set(xlim=(-0.05, 24.05), ylim=(-0.05, 1.05))
    axis.axis("off")


def plot_softmax_error():
    """Largest difference between unshifted and shifted softmax against the logits' magnitude."""
    magnitudes = np.geomspace(1, 5000, 60)
    base = np.linspace(-1, 1, 8)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = []
        for magnitude in magnitudes:
            terms = np.exp(base * magnitude)
            errors.append(np.abs(terms / terms.sum() - softmax(base * magnitude)).max())
    errors = np.array(errors)
    failed = np.isnan(errors)
    figure, axis = plt.subplots(figsize=(5.6, 2.7), layout="constrained")
    axis.loglog(magnitudes[~failed], np.maximum(errors[~failed], 1e-18), "o", markersize=3, label="difference")
    axis.loglog(magnitudes[failed], np.full(failed.sum(), 1e-1), "x", markersize=4, label="NaN")
    axis.set(xlabel="largest logit", ylabel="difference", ylim=(1e-19, 1))
    axis.legend(frameon=False)
    return figure
