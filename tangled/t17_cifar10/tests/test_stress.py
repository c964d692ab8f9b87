# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:ae504eb933ac6496
"""Chapter 17: growth of memory, as exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def test_memory_is_linear(level):
    """Variations need a fixed multiple of the batch."""
    def problem(n):
        x = np.ones((n, 3, 8, 8), np.float32)
        return lambda: level.augment(x, rng(0))
    exponent = growth_exponent(problem, [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_needs_no_float_copy(level):
    """Statistics from counts, a crop without a padded batch, pictures through a table."""
    from tangled.t17_cifar10 import level2_vectorized as plain
    images = rng(1).integers(0, 256, (256, 3, 32, 32)).astype(np.uint8)
    assert peak_memory(lambda: level.channel_statistics(images)) < 0.2 * images.nbytes
    x, offsets = np.ones((256, 3, 32, 32), np.float32), rng(2).integers(0, 9, (256, 2))
    ratio = peak_memory(lambda: level.crop(x, offsets, 4)) / peak_memory(lambda: plain.crop(x, offsets, 4))
    assert ratio < 0.6, f"{ratio:.2f} of level 2's memory"
    half = np.full(3, 0.5)
    ratio = peak_memory(lambda: level.normalise(images, half, half)) / peak_memory(
        lambda: plain.normalise(images, half, half))
    assert ratio < 0.5, f"{ratio:.2f} of level 2's memory"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as pixel by pixel."""
    from tangled.t17_cifar10 import level1_naive as loops
    x = rng(3).standard_normal((8, 3, 16, 16)).astype(np.float32)
    ratio = time_ratio(lambda: loops.augment(x, rng(4)), lambda: level.augment(x, rng(4)), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(3)
def test_statistics_are_exact(level):
    """Fifty million pixels would overflow a product of 64 bits: the same counts, without the pixels."""
    images = np.broadcast_to(np.array([0, 255], np.uint8), (2000, 1, 500, 2))
    mean, std = level.channel_statistics(images)
    assert_close(np.array([mean[0], std[0]]), np.array([0.5, 0.5]), tol=1e-15, what="mean, std")
