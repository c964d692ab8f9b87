# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:403b3c33217cd40b
"""Chapter 06: what the figures draw."""

import numpy as np


def difference_error(dtype, h, seed=0):
    """Largest error of central differences of a smooth loss, over the largest gradient."""
    generator = np.random.default_rng(seed)
    shapes = (8, 5), (5, 6), (6, 2), (8, 2)
    x, W, V, t = (generator.standard_normal(s).astype(dtype) for s in shapes)
    loss = lambda W: np.mean((np.tanh(x @ W) @ V - t) ** 2, dtype=dtype)
    hidden = np.tanh(x @ W)
    exact = x.T @ ((2 / t.size * (hidden @ V - t)) @ V.T * (1 - hidden**2))
    numeric = np.zeros_like(exact)
    for index in np.ndindex(W.shape):
        moved = np.stack([W, W])
        moved[(0, *index)] += dtype(h)
        moved[(1, *index)] -= dtype(h)
        width = moved[(0, *index)] - moved[(1, *index)]
        numeric[index] = (loss(moved[0]) - loss(moved[1])) / width if width else np.nan
    return np.max(np.abs(numeric - exact)) / np.abs(exact).max()


def difference_errors():
    """{dtype: (steps (S,), errors (S,), machine epsilon)} for float64 and float32."""
    found = {}
    for dtype, start in ((np.float64, -10), (np.float32, -6)):
        h = np.logspace(start, 0, 4 * -start + 1)
        errors = np.array([difference_error(dtype, step) for step in h])
        found[dtype.__name__] = h, errors, float(np.finfo(dtype).eps)
    return found
