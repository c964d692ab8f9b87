# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:29198027901f31f3
"""Chapter 04: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def separable(n, features=10, gap=0.5):
    """x (<= n, features) float32 and y, with a margin of about `gap` around a plane."""
    generator = rng(1)
    x = generator.standard_normal((n, features)).astype(np.float32)
    score = x @ generator.standard_normal(features).astype(np.float32)
    return x[np.abs(score) > gap], np.sign(score[np.abs(score) > gap])


def test_an_epoch_is_linear_in_the_samples(level, level_number):
    """Twice the samples, twice the time, for one epoch: exponent near 1."""
    start = {1: 50, 3: 40_000}.get(level_number, 400)

    def problem(n):
        x, y = np.zeros((n, 4)), np.ones(n)
        x[:, 0] = 1.0
        return lambda: level.perceptron_fit(x, y, epochs=1)
    exponent = growth_exponent(problem, [start, 2 * start, 4 * start])
    assert 0.4 < exponent < 1.6, f"time grows as N^{exponent:.2f}"


@pytest.mark.levels(3)
def test_gradient_and_two_blocks(level):
    """Forward and backward hold one array of the size of z, and little else."""
    z = rng(2).standard_normal(400_000).astype(np.float32)
    y = (z > 0).astype(np.float32)

    def both():
        cache = level.bce_with_logits(z, y)[1]
        return level.bce_with_logits_backward(1.0, cache, out=cache)
    assert peak_memory(both) < 1.4 * z.nbytes
    dz = np.empty_like(z)
    assert level.bce_with_logits(z, y, out=dz)[1] is dz
    assert peak_memory(lambda: level.bce_with_logits(z, y, out=dz)) < 0.4 * z.nbytes


@pytest.mark.levels(3)
def test_jumps_change_nothing(level):
    """Blocks of samples make the mistakes of the one-by-one rule, only faster."""
    from tangled.t04_perceptron import level2_vectorized
    x, y = separable(3000)
    w, b, mistakes = level.perceptron_fit(x, y)
    expected = level2_vectorized.perceptron_fit(x, y)
    assert mistakes == expected[2] and len(mistakes) > 2
    assert_close((w, np.asarray(b)), (expected[0], np.asarray(expected[1])), what="(w, b)")
    assert time_ratio(lambda: level2_vectorized.perceptron_fit(x, y),
                      lambda: level.perceptron_fit(x, y), rounds=3) > 2


@pytest.mark.levels(2, 3)
def test_much_faster_than_loops(level):
    """Whole arrays beat the loops of level 1 by a factor of 10 at least."""
    from tangled.t04_perceptron import level1_naive
    z, y = 3 * rng(3).standard_normal(20_000), np.arange(20_000) % 2
    assert time_ratio(lambda: level1_naive.bce_with_logits(z, y),
                      lambda: level.bce_with_logits(z, y), rounds=3) > 10
