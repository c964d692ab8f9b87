# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:24d2f8cf449668b2
"""Chapter 12: the mechanism, and the checkerboard. Drawings return a figure."""

import matplotlib.pyplot as plt
import numpy as np

from tangled.t12_im2col import col2im, conv_transpose2d, im2col


def draw_mechanism(size=4, kernel=3):
    """Two channels, their columns, the product; backward below."""
    figure, ax = plt.subplots(figsize=(6.6, 2.7))
    outputs = size - kernel + 1
    count = col2im(im2col(np.ones((1, 1, size, size)), kernel), (size, size), kernel)[0, 0]
    for channel in (1, 0):
        _matrix(ax, channel * 0.8, 1.6 - channel * 0.8, np.full((size, size), 0.05), 0.7, None if channel else count)
    columns = np.tile(np.linspace(0.1, 0.55, outputs ** 2), (2 * kernel ** 2, 1))
    _matrix(ax, 7.6, 0, columns, 0.26)
    _matrix(ax, 10.2, 3.4, np.full((1, 2 * kernel ** 2), 0.25), 0.26)
    _matrix(ax, 16.4, 3.4, np.linspace(0.1, 0.55, outputs ** 2)[None], 0.26)
    _arrow(ax, (4.2, 3.3), (7.3, 3.3), "im2col: copy")
    _arrow(ax, (7.3, 1.5), (4.2, 1.5), "col2im: add")
    for x, y, text in ((1.8, 0.2, "x (2, 4, 4)"), (8.1, 4.85, "X (18, 4)"), (12.5, 3.85, "W (1, 18)"),
                       (16.9, 3.85, "y (1, 4)"), (15.6, 3.42, "X =")):
        ax.text(x, y, text, ha="center", fontsize=8)
    for y, text in ((2.1, r"$\bar{W} = \bar{y} X^\top$   (1, 4) (4, 18)"),
                    (1.3, r"$\bar{X} = W^\top \bar{y}$   (18, 1) (1, 4)"),
                    (0.5, r"$\bar{x}$ = col2im($\bar{X}$)   (2, 4, 4)")):
        ax.text(10.2, y, text, fontsize=8)
    ax.set(xlim=(-0.1, 17.7), ylim=(-0.1, 5.3), aspect="equal")
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
    figure, axes = plt.subplots(2, len(kernels), figsize=(4.6, 3.0))
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
