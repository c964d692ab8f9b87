# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:70bdfa087c74620b
"""The experiments of chapter 04: data to separate, their margin, the path of the weights."""

import numpy as np


def two_clouds(gap, n=80, seed=0):
    """x (n, 2) and y (n,): two clouds on both sides of a slanted strip of width `gap`."""
    generator = np.random.default_rng(seed)
    normal = np.array([0.8, 0.6])
    y = np.where(np.arange(n) % 2, 1, -1)
    depth = gap / 2 + np.abs(generator.normal(0, 0.8, n))        # beyond the strip
    along = generator.normal(0, 1.2, n)
    x = (y * depth)[:, None] * normal + along[:, None] * np.array([-0.6, 0.8])
    return x + np.array([0.5, 0.3]), y


def best_direction(points, steps=5000):
    """Unit vector (D,) with nearly the largest smallest product with points (N, D).

    Walks towards the point of the convex hull that is nearest to the origin
    (Frank and Wolfe's method with an exact line search).
    """
    v = points.mean(0)                                           # (D,), in the hull
    best, margin = v / np.linalg.norm(v), -np.inf
    for _ in range(steps):
        products = points @ v                                    # (N,)
        worst = int(products.argmin())
        if products[worst] / np.linalg.norm(v) > margin:
            best, margin = v / np.linalg.norm(v), products[worst] / np.linalg.norm(v)
        toward = points[worst] - v
        length = toward @ toward
        if length == 0 or v @ toward >= -1e-12:
            break
        v = v + min(1.0, -(v @ toward) / length) * toward
    return best


def history(x, y, epochs=100):
    """Weights (D + 1,) after each mistake, and the sample of each: two lists."""
    points = np.c_[x, np.ones(len(x))] * y[:, None]
    v, weights, samples = np.zeros(points.shape[1]), [], []
    for _ in range(epochs):
        before = len(weights)
        for n, point in enumerate(points):
            if v @ point <= 0:
                v = v + point
                weights.append(v)
                samples.append(n)
        if len(weights) == before:
            break
    return weights, samples


def through_the_origin(gap, n, seed):
    """x (n, 2) and y (n,): clouds like `two_clouds`, but no bias is needed."""
    x, y = two_clouds(gap, n, seed)
    return x - np.array([0.5, 0.3]), y
