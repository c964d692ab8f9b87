# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:6b2f471fba8920d4
"""Chapter 34: what communication costs, and how loss falls with size."""

import math

import numpy as np


def ring_seconds(n, ranks, alpha, beta):
    """Seconds of a ring all-reduce of n bytes: alpha a message, beta a byte; eq. 34.6."""
    return 2 * (ranks - 1) * (alpha + beta * n / ranks)


def tree_seconds(n, ranks, alpha, beta):
    """Seconds of a tree all-reduce of n bytes; eq. 34.7."""
    return 2 * math.ceil(math.log2(ranks)) * (alpha + beta * n)


def fit_cost(seconds, sizes, ranks, times):
    """alpha and beta for which `seconds` comes closest to the times of `sizes` bytes, by relative error."""
    rows = [[seconds(n, ranks, 1, 0) / t, seconds(n, ranks, 0, 1) / t] for n, t in zip(sizes, times)]
    scale = np.max(rows, axis=0)
    return tuple((np.linalg.lstsq(rows / scale, np.ones(len(rows)), rcond=None)[0] / scale).tolist())


def fit_power_law(sizes, losses):
    """(scale, exponent) of losses = scale * sizes^-exponent: the line through the logarithms; eq. 34.11."""
    x, y = np.log(sizes), np.log(losses)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / np.square(x - x.mean()).sum()
    return float(np.exp(y.mean() - slope * x.mean())), float(-slope)
