# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:3ddf1204aaa2e416
"""Figures of chapter 00."""

import matplotlib.pyplot as plt
import numpy as np


def plot_views():
    """Four strips of memory: which entries a transpose, a slice, a broadcast and a copy visit."""
    x = np.arange(24).reshape(4, 6)
    views = {"x.T   strides (1, 6)": x.T, "x[1:3, ::2]   strides (6, 2)": x[1:3, ::2],
             "np.broadcast_to(x[0], (4, 6))   strides (0, 1)": np.broadcast_to(x[0], (4, 6)),
             "x[[0, 2]]   a new block of 12": x[[0, 2]]}
    figure, axes = plt.subplots(4, 1, figsize=(6.4, 3.0))
    for axis, (title, view) in zip(axes, views.items()):
        copied = not np.shares_memory(x, view)
        draw_strip(axis, view.ravel() if copied else x.ravel(), view, BLOCKS[copied])
        axis.set_title(title, fontsize=8, loc="left", family="monospace")
    return figure


BLOCKS = (("#ffffff", "#cfe8f7", "#56b4e9"), ("#ffffff", "#f9e3bf", "#e69f00"))


def draw_strip(axis, block, view, colours):
    """The numbers of `block` in a row of cells: those in `view` coloured, its first row darker."""
    for k, number in enumerate(block):
        shade = int(number in view) + int(number in view[0])
        axis.add_patch(plt.Rectangle((k, 0), 1, 1, facecolor=colours[shade],
                                     edgecolor="#444444", linewidth=0.6))
        axis.text(k + 0.5, 0.48, str(number), ha="center", va="center", fontsize=7)
    axis.set(xlim=(-0.05, 24.05), ylim=(-0.05, 1.05))
    axis.axis("off")


def plot_softmax_error(magnitudes, errors):
    """Difference of unshifted and shifted softmax (n,) against the logits' magnitude (n,)."""
    failed = np.isnan(errors)
    figure, axis = plt.subplots(figsize=(5.6, 2.4))
    agreed = np.maximum(errors[~failed], 1e-18)
    axis.loglog(magnitudes[~failed], agreed, "o", markersize=3, label="difference")
    axis.loglog(magnitudes[failed], np.full(failed.sum(), 1e-1), "x", markersize=4, label="NaN")
    axis.set(xlabel="largest logit", ylabel="difference", ylim=(1e-19, 1))
    axis.legend(loc="center left")
    return figure
