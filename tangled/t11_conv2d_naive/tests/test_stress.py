# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:ab91b4c9d91bd559
"""Chapter 11: growth of time and memory, as counts, exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, shape, filters, kernel=3, **options):
    """A function that runs forward and backward in float32."""
    x = rng(0).standard_normal(shape).astype(np.float32)
    w = rng(1).standard_normal((filters, shape[1], kernel, kernel)).astype(np.float32)

    def call():
        out, cache = level.conv2d(x, w, None, padding=kernel // 2, **options)
        return level.conv2d_backward(out, cache)
    return call


def test_memory_is_linear_in_the_batch(level):
    """No matrix of all outputs against all inputs."""
    exponent = growth_exponent(lambda n: step(level, (n, 2, 6, 6), 2), [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_memory_is_linear_in_the_pixels(level):
    """A dense matrix would have (H W)^2 entries."""
    exponent = growth_exponent(lambda n: step(level, (1, 3, n, n), 4), [24, 48, 96], measure="memory") / 2
    assert exponent < 1.3, f"memory grows as (H W)^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as seven loops, which take 41,472 multiplications here."""
    from tangled.t11_conv2d_naive import level1_naive
    ratio = time_ratio(step(level1_naive, (2, 4, 12, 12), 4), step(level, (2, 4, 12, 12), 4), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(3)
def test_level3_makes_no_padded_copy(level):
    """Beyond its results it holds one picture's planes, whatever the batch."""
    from tangled.t11_conv2d_naive import level2_vectorized as plain
    shape = (32, 8, 24, 24)
    lean, other = (peak_memory(step(m, shape, 8)) for m in (level, plain))
    results = 2 * 4 * np.prod(shape)                            # out and dx, float32
    assert lean < 1.25 * results, f"{lean / results:.2f} times out and dx"
    assert lean < 0.5 * other, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(2, 3)
def test_float32_takes_half_of_the_memory(level):
    """Nothing is computed in a wider type behind the caller's back."""
    def step_in(dtype):
        x, w = np.ones((1, 6, 20, 20), dtype), np.ones((5, 6, 3, 3), dtype)
        return lambda: level.conv2d_backward(np.ones((1, 5, 20, 20), dtype), level.conv2d(x, w, padding=1)[1])
    ratio = peak_memory(step_in(np.float32)) / peak_memory(step_in(np.float64))
    assert ratio < 0.65, f"{ratio:.2f} of the memory that float64 takes"


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """1,152 products a sum, against float64."""
    x = rng(2).standard_normal((2, 128, 9, 8)).astype(np.float32)
    w = rng(3).standard_normal((5, 128, 3, 3)).astype(np.float32)
    out, _ = level.conv2d(x, w, padding=1)
    exact, _ = level.conv2d(x.astype(float), w.astype(float), padding=1)
    assert_close(out.astype(float), exact, tol=1e-4, what="out")
