# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:ea0bc5d7fd42b6cf
"""Chapter 11: the mechanism, kernels by hand, receptive fields. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from tangled.t11_conv2d_naive import conv2d, conv2d_backward, conv_output_size, receptive_field

MECHANISM = [("plain", 0, 1, 1), ("padding 1", 1, 1, 1), ("stride 2", 0, 2, 1), ("dilation 2", 0, 1, 2)]


def draw_mechanism(size=5, kernel=3):
    """Which inputs the first output reads, and where the windows of all outputs begin."""
    figure, axes = plt.subplots(1, 4, figsize=(6.6, 1.9))
    for ax, (title, padding, stride, dilation) in zip(axes, MECHANISM):
        _grid(ax, size, padding)
        reads = range(-padding, -padding + kernel * dilation, dilation)
        for a in reads:
            for e in reads:
                ax.add_patch(Rectangle((e, a), 1, 1, facecolor="0.75", edgecolor="0.3", linewidth=0.8))
        outputs = conv_output_size(size, kernel, stride, padding, dilation)
        places = np.arange(outputs) * stride - padding + 0.5
        ax.plot(*(grid.ravel() for grid in np.meshgrid(places, places)), "o", color="black", markersize=2.5)
        ax.set_title(f"{title}\n{size} x {size} to {outputs} x {outputs}", fontsize=8)
        ax.set(xlim=(-1.2, size + 1.2), ylim=(size + 1.2, -1.2), aspect="equal")
        ax.axis("off")
    return figure


def _grid(ax, size, padding):
    """size x size cells, in a hatched ring of `padding`."""
    for a in range(-padding, size + padding):
        for e in range(-padding, size + padding):
            inside = 0 <= a < size and 0 <= e < size
            ax.add_patch(Rectangle((e, a), 1, 1, facecolor="white", edgecolor="0.6", linewidth=0.6,
                                   hatch=None if inside else "////"))


SOBEL = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
LAPLACE = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4


def draw_kernels(picture):
    """A picture (3, H, W) of uint8, blurred, its edges, its Laplacian."""
    channels = picture[:, None].astype(np.float64) / 255        # (3, 1, H, W): a batch of three
    apply = lambda kernel: conv2d(channels, kernel[None, None], padding="same")[0][:, 0]    # (3, H, W)
    edges = np.hypot(apply(SOBEL), apply(SOBEL.T)).max(axis=0)
    figure, axes = plt.subplots(1, 4, figsize=(6.6, 1.8))
    show = lambda rgb: np.clip(rgb.transpose(1, 2, 0), 0, 1)
    axes[0].imshow(show(channels[:, 0]))
    axes[1].imshow(show(apply(np.full((5, 5), 1 / 25))))
    axes[2].imshow(edges[1:-1, 1:-1], cmap="gray_r")
    axes[3].imshow(apply(LAPLACE).mean(axis=0)[1:-1, 1:-1], cmap="gray", vmin=-0.5, vmax=0.5)
    for ax, title in zip(axes, ("picture", "mean, 5 x 5", "Sobel", "Laplacian")):
        ax.set_title(title, fontsize=8)
        ax.axis("off")
    return figure


STACKS = {"two layers": [(3, 1, 1)] * 2, "eight layers": [(3, 1, 1)] * 8,
          "strides 2, 2, 1": [(3, 2, 1), (3, 2, 1), (3, 1, 1)],
          "dilations 1 to 8": [(3, 1, 2 ** k) for k in range(4)]}


def reached(layers, channels=8, trials=20, seed=0):
    """Mean |gradient| (r, r) of one output with respect to its receptive field of width r."""
    rng, (field, _) = np.random.default_rng(seed), receptive_field(layers)
    total = np.zeros((field, field))
    for _ in range(trials):
        x, caches, width = rng.standard_normal((1, 1, field, field)), [], 1
        for kernel, stride, dilation in layers:
            w = rng.standard_normal((channels, width, kernel, kernel)) * np.sqrt(2 / (width * kernel ** 2))
            out, cache = conv2d(x, w, stride=stride, dilation=dilation)
            x, width = np.maximum(out, 0), channels
            caches.append((cache, out > 0))
        grad = np.ones_like(x)                                  # (1, channels, 1, 1)
        for cache, alive in reversed(caches):
            grad, _ = conv2d_backward(grad * alive, cache)
        total += np.abs(grad[0, 0])
    return total / max(total.max(), 1e-300)


def draw_field():
    """The gradient's reach for four stacks, each in the frame of its receptive field."""
    figure, axes = plt.subplots(1, 4, figsize=(6.6, 2.0))
    for ax, (title, layers) in zip(axes, STACKS.items()):
        heat = reached(layers)
        ax.imshow(heat, cmap="gray_r", vmin=0, vmax=1)
        for side in ax.spines.values():
            side.set(visible=True, color="black", linewidth=1)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{title}\nr = {len(heat)}", fontsize=8)
    return figure
