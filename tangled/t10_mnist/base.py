# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:22ee2e0290f4e9f0
"""Chapter 10: the weights and batches on which all levels must agree with PyTorch."""

from itertools import pairwise

import numpy as np

from tangled.data import load_mnist


def recipe(seed, widths, batch, steps, side):
    """What a trajectory starts from.

    Parameters
    ----------
    seed, batch, steps : int
    widths : tuple of int; the first is side * side
    side : int, 28 for whole pictures, 7 for every fourth pixel

    Returns
    -------
    images : ndarray of shape (steps * batch, side, side), uint8, of MNIST's training set
    labels : ndarray of shape (steps * batch,), uint8
    layers : list of pairs (W (in, out), b (out,)), float64
    """
    images, labels = load_mnist("train")
    stride = 28 // side
    rng, count = np.random.default_rng(seed), steps * batch
    layers = [(rng.standard_normal(shape) * np.sqrt(2 / shape[0]), np.zeros(shape[1]))
              for shape in pairwise(widths)]
    return images[:count, ::stride, ::stride].copy(), labels[:count], layers
