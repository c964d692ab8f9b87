# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:94e8cad4497f442b
"""Chapter 15's small experiments: what a ReLU destroys, and what a network costs layer by layer."""

import math

import numpy as np


def survives(k, m, trials=4000, seed=0):
    """Share of trials in which the map x -> max(V x, 0), k numbers to m, has rank k at a random x."""
    rng = np.random.default_rng(seed)
    V, x = rng.standard_normal((trials, m, k)), rng.standard_normal((trials, k, 1))
    active = V @ x > 0                                          # (trials, m, 1)
    return float(np.mean(np.linalg.matrix_rank(V * active) == k))


def survives_by_formula(k, m):
    """The same probability, eq. 15.8."""
    return sum(math.comb(m, a) for a in range(k, m + 1)) / 2 ** m


def spiral_through_relu(widths, points=300, seed=2):
    """{name: points (n, 2)}: a spiral, and what comes back from each width."""
    rng, angle = np.random.default_rng(seed), np.linspace(0, 4 * np.pi, points)
    curve = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / angle[-1]
    found = {"the curve": curve}
    for m in widths:
        V = rng.standard_normal((m, 2))
        found[f"m = {m}"] = np.maximum(curve @ V.T, 0) @ np.linalg.pinv(V).T
    return found
