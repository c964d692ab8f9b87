# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:982db536215c55b5
"""The network of chapter 13."""

from tangled.t06_backpropagation.level2_vectorized import Sequential
from tangled.t06_backpropagation.level3_memory_efficient import Linear, ReLU
from tangled.t12_im2col.level3_memory_efficient import Conv2d
from tangled.t13_pooling.level3_memory_efficient import Flatten, MaxPool2d


def build_cnn(rng, channels=(8, 24), hidden=128, classes=10):
    """Two convolutions and two linear layers: (N, 1, 28, 28) to logits (N, classes).

    Parameters
    ----------
    rng : numpy.random.Generator, for the weights
    channels : pair of int, the filters of the convolutions
    hidden, classes : int

    Returns
    -------
    Sequential
    """
    first, second = channels
    return Sequential(
        Conv2d(1, first, 5, padding=2, rng=rng), MaxPool2d(2), ReLU(),      # (N, first, 14, 14)
        Conv2d(first, second, 5, rng=rng), MaxPool2d(2), ReLU(),            # (N, second, 5, 5)
        Flatten(), Linear(25 * second, hidden, rng), ReLU(), Linear(hidden, classes, rng))
