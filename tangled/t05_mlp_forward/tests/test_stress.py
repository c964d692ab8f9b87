# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:afd1ffdfb7883ac4
"""Chapter 05: growth of time and memory, as exponents and ratios, never seconds."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def network(level, widths, rows):
    generator = rng(1)
    layers = [(level.kaiming_uniform(generator, shape), None) for shape in pairwise(widths)]
    return generator.standard_normal((rows, widths[0])).astype(np.float32), layers


def test_time_is_linear_in_the_batch(level, level_number):
    """Twice the rows, twice the time: exponent near 1."""
    widths, start = ([4, 8, 4], 16) if level_number == 1 else ([128, 256, 64], 512)

    def problem(n):
        x, layers = network(level, widths, n)
        return lambda: level.mlp_forward(x, layers)
    assert 0.5 < growth_exponent(problem, [start, 2 * start, 4 * start]) < 1.4


@pytest.mark.levels(3)
def test_two_arrays_for_any_depth(level):
    """With keep=False the peak does not grow with the depth."""
    def peak(depth):
        x, layers = network(level, [64] * (depth + 1), 512)
        return peak_memory(lambda: level.mlp_forward(x, layers, keep=False))
    assert peak(24) < 1.2 * peak(4)


@pytest.mark.levels(3)
def test_loss_in_the_array_of_the_logits(level):
    """With out=logits the loss needs a few numbers a row, and no second array."""
    logits, y = rng(2).standard_normal((256, 400)).astype(np.float32), np.zeros(256, int)
    peak = peak_memory(lambda: level.softmax_cross_entropy(logits, y, out=logits))
    assert peak < 0.2 * logits.nbytes


@pytest.mark.levels(3)
def test_weights_are_drawn_in_float32(level):
    """No float64 array on the way: the peak is the result itself."""
    for name in ("xavier_uniform", "kaiming_normal"):
        peak = peak_memory(lambda name=name: getattr(level, name)(rng(3), (500, 400)))
        assert peak < 1.2 * 4 * 500 * 400


@pytest.mark.levels(2, 3)
def test_much_faster_than_loops(level):
    """Whole arrays beat the loops of level 1 by a factor of 20 at least."""
    from tangled.t05_mlp_forward import level1_naive
    x, layers = network(level, [32, 32, 32], 16)
    assert time_ratio(lambda: level1_naive.mlp_forward(x, layers),
                      lambda: level.mlp_forward(x, layers), rounds=3) > 20
