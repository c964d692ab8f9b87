# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:8b87ea2673076afd
"""Chapter 12: the mechanism, and the checkerboard. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t12_im2col import col2im, conv_transpose2d, im2col


def draw_mechanism(size=4, kernel=3):
    """Two channels, their columns, the product; backward below."""
    figure, ax = plt.subplots(figsize=(6.6, 3.0))
    outputs = size - kernel + 1
    count = col2im(im2col(np.ones((1, 1, size, size)), kernel), (size, size), kernel)[0, 0]
    for channel in (1, 0):
        _matrix(ax, channel * 0.7, 2.2 - channel * 0.7, np.full((size, size), 0.05), 0.55, count)
    columns = np.tile(np.linspace(0.1, 0.55, outputs ** 2), (2 * kernel ** 2, 1))
    _matrix(ax, 5.6, 0.3, columns, 0.26)
    _matrix(ax, 9.4, 2.4, np.full((1, 2 * kernel ** 2), 0.25), 0.26)
    _matrix(ax, 15.8, 2.4, np.linspace(0.1, 0.55, outputs ** 2)[None], 0.26)
    _arrow(ax, (3.4, 3.2), (5.4, 3.2), "im2col: copy")
    _arrow(ax, (5.4, 1.0), (3.4, 1.0), "col2im: add")
    for x, y, text in ((1.4, -0.55, "x (2, 4, 4)"), (6.1, -0.35, "X (18, 4)"), (11.7, 3.0, "W (1, 18)"),
                       (16.3, 3.0, "y = W X (1, 4)"), (14.9, 2.45, "X =")):
        ax.text(x, y, text, ha="center", fontsize=8)
    for y, text in ((1.5, "dW = dy X^T      (1, 4) (4, 18)"), (0.9, "dX = W^T dy      (18, 1) (1, 4)"),
                    (0.3, "dx = col2im(dX)      (2, 4, 4)")):
        ax.text(9.4, y, text, fontsize=8)
    ax.set(xlim=(-0.3, 17.8), ylim=(-0.9, 5.4), aspect="equal")
    ax.axis("off")
    return figure


def _matrix(ax, x, y, shades, cell, numbers=None):
    """A grid of grey cells with its lower left corner at (x, y)."""
    rows, columns = shades.shape
    for r, c in np.ndindex(rows, columns):
        corner = x + c * cell, y + (rows - 1 - r) * cell
        shade = str(1 - shades[r, c])
        ax.add_patch(plt.Rectangle(corner, cell, cell, facecolor=shade, edgecolor="0.4", linewidth=0.5))
        if numbers is not None:
            middle = corner[0] + cell / 2, corner[1] + cell / 2
            ax.text(*middle, f"{numbers[r, c]:.0f}", ha="center", va="center", fontsize=6)


def _arrow(ax, start, end, text):
    """An arrow with words above."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1})
    ax.text((start[0] + end[0]) / 2, start[1] + 0.15, text, ha="center", fontsize=8)


def draw_checkerboard(size=6, kernels=(2, 3, 4), seed=0):
    """How many copies reach an output, and the answer to ones."""
    figure, axes = plt.subplots(2, len(kernels), figsize=(5.6, 3.6))
    rng, ones = np.random.default_rng(seed), np.ones((1, 1, size, size))
    for (above, below), kernel in zip(axes.T, kernels):
        copies, _ = conv_transpose2d(ones, np.ones((1, 1, kernel, kernel)), stride=2)
        w = 1 + 0.15 * rng.standard_normal((1, 1, kernel, kernel))
        answer, _ = conv_transpose2d(ones, w, stride=2)
        for ax, picture in ((above, copies), (below, answer)):
            ax.imshow(picture[0, 0], cmap="gray_r", vmin=0, vmax=5)
            ax.axis("off")
        above.set_title(f"kernel {kernel}: {copies.min():.0f} to {copies.max():.0f} copies", fontsize=8)
    return figure
