# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:212719ea54b3adfb
"""Chapter 17: the variations, a run, what the network sees. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t06_backpropagation import evaluating
from tangled.t17_cifar10.level2_vectorized import augment, class_activation_map, crop, cutout, flip, normalise


def _show(ax, picture, title=None):
    """A picture (3, H, W) of numbers from -1 to 1, 0 is grey."""
    ax.imshow(np.clip(picture.transpose(1, 2, 0) / 2 + 0.5, 0, 1))
    ax.axis("off")
    if title:
        ax.set_title(title, fontsize=8)


def draw_mechanism(picture, seed=1):
    """The three operations on a picture (3, 32, 32) of bytes, and eight draws of all."""
    x = picture[None] / 127.5 - 1.0
    figure, axes = plt.subplots(2, 8, figsize=(6.6, 2.2))
    wide = crop(np.pad(x, ((0, 0), (0, 0), (4, 4), (4, 4))), np.zeros((1, 2), int), 0)[0]
    moved = crop(x, np.array([[7, 6]]), 4)
    steps = [(x[0], "x"), (wide, "in its frame"), (moved[0], "crop (7, 6)"), (flip(x, np.ones(1, bool))[0], "flip"),
             (cutout(x, np.array([[12, 20]]), 8)[0], "cutout (12, 20)")]
    for ax, (image, title) in zip(axes[0], steps):
        _show(ax, image, title)
    axes[0, 1].add_patch(Rectangle((-0.5, -0.5), 40, 40, fill=False, hatch="////", edgecolor="0.6", linewidth=0.5))
    axes[0, 1].add_patch(Rectangle((5.5, 6.5), 32, 32, fill=False, edgecolor="black", linewidth=1.2))
    for ax in axes[0, len(steps):]:
        ax.axis("off")
    for ax, image in zip(axes[1], augment(np.repeat(x, 8, axis=0), np.random.default_rng(seed))):
        _show(ax, image)
    return figure


def draw_run(history, confusion, names):
    """Curves by epoch, and the confusion (K, K) as shares of its rows."""
    figure, axes = plt.subplots(1, 3, figsize=(6.6, 2.4), width_ratios=(1, 1, 1.15))
    for ax, key in zip(axes, ("loss", "accuracy")):
        ax.plot(history[key], color="black", linewidth=1, label="training, varied")
        if f"validation_{key}" in history:
            ax.plot(history[f"validation_{key}"], color="0.4", linewidth=1, dashes=(3, 1), label="test")
        ax.set(title=key, xlabel="epoch")
    axes[1].legend(fontsize=7)
    confusion = np.asarray(confusion)
    axes[2].imshow(confusion / np.maximum(confusion.sum(1, keepdims=True), 1), cmap="gray_r", vmin=0, vmax=1)
    short = [name.split()[0] for name in names]
    axes[2].set_xticks(range(len(names)), short, rotation=90, fontsize=6)
    axes[2].set_yticks(range(len(names)), short, fontsize=6)
    return figure


def features_of(model, x):
    """What the global mean of a ResNet is taken of: x (N, 3, H, W) to (N, C, H', W'), in evaluation."""
    with evaluating(model):
        for module in model.pictures():
            x = module(x)
    return x


def draw_seen(model, images, labels, logits, scale, names, count=6):
    """First filters, activation maps of right answers, mistakes with what was said and what is true."""
    said, target = logits.argmax(axis=1), labels.astype(np.int64)
    right, wrong = np.flatnonzero(said == target)[:3 * count:3], np.flatnonzero(said != target)[:count]
    figure = plt.figure(figsize=(6.6, 4.0))
    grid = figure.add_gridspec(4, 1, height_ratios=(0.7, 1, 1, 1.25), hspace=0.25)
    filters = model.conv1.weight.data
    row = grid[0].subgridspec(1, len(filters))
    for k, kernel in enumerate(filters):
        _show(figure.add_subplot(row[k]), kernel / np.abs(filters).max())
    features = features_of(model, normalise(images[right], *scale))
    maps = class_activation_map(features, model.fc.weight.data, target[right])
    for r in range(2):
        row = grid[1 + r].subgridspec(1, count)
        for c, k in enumerate(range(r * count // 2, (r + 1) * count // 2)):
            _show(figure.add_subplot(row[2 * c]), images[right[k]] / 127.5 - 1.0)
            ax = figure.add_subplot(row[2 * c + 1])
            ax.imshow(np.kron(maps[k], np.ones((8, 8))), cmap="gray_r", vmin=0, vmax=maps.max())
            ax.axis("off")
    row = grid[3].subgridspec(1, count)
    for c, k in enumerate(wrong):
        ax = figure.add_subplot(row[c])
        _show(ax, images[k] / 127.5 - 1.0)
        ax.set_title(f"{names[said[k]].split()[0]}\nis {names[target[k]].split()[0]}", fontsize=7, y=-0.6)
    return figure
