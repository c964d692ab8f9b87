# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:3b16718d529f89b0
"""Chapter 13: what a shift of the picture changes."""

import numpy as np

from tangled.t13_pooling import avg_pool2d, max_pool2d

WAYS = {"every fourth pixel": lambda x: x[:, :, ::4, ::4], "maximum of 4 x 4": lambda x: max_pool2d(x, 4)[0],
        "mean of 4 x 4": lambda x: avg_pool2d(x, 4)[0]}


def shifted(x, t):
    """x (..., W) moved to the right by t columns, zeros behind it; the same shape."""
    moved = np.zeros_like(x)
    moved[..., t:] = x[..., :x.shape[-1] - t]
    return moved


def unchanged(images, shifts=(0, 1, 2, 3, 4)):
    """How much of each reduced picture a shift changes.

    Parameters
    ----------
    images : ndarray of shape (N, 28, 28), uint8
    shifts : sequence of int

    Returns
    -------
    {way: list of float, for each shift |pool(shifted) - pool(x)| / |pool(x)|, all pictures together}
    """
    x = images[:, None].astype(np.float32)                      # (N, 1, 28, 28)
    found = {}
    for way, pool in WAYS.items():
        base = pool(x)
        found[way] = [float(np.linalg.norm(pool(shifted(x, t)) - base) / np.linalg.norm(base)) for t in shifts]
    return found


def peaks(width=4, trials=4096, seed=0):
    """Of single peaks at random places, the share whose maxima (N, 1, 1, Q) a shift leaves alone: (width + 1,)."""
    places = 8 * width + np.random.default_rng(seed).integers(0, width, trials)
    x = np.zeros((trials, 1, 1, 16 * width), np.float32)
    x[np.arange(trials), 0, 0, places] = 1
    base, _ = max_pool2d(x, (1, width))
    after = (max_pool2d(shifted(x, t), (1, width))[0] for t in range(width + 1))
    return [float((pooled == base).all(axis=(1, 2, 3)).mean()) for pooled in after]
