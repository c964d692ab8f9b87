# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:edf387a37026fe93
"""Chapter 16: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, rows, features):
    """A function that runs layer norm forward and backward in float32."""
    x, gamma = rng(0).standard_normal((rows, features)).astype(np.float32), np.ones(features, np.float32)

    def call():
        out, cache = level.layer_norm(x, gamma, gamma)
        return level.layer_norm_backward(out, cache)
    return call


def test_memory_is_linear(level):
    """No D x D Jacobian anywhere: memory grows as D."""
    exponent = growth_exponent(lambda n: step(level, 4, n), [400, 800, 1600], measure="memory")
    assert exponent < 1.3, f"memory grows as D^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_keeps_no_normalised_copy(level):
    """Beyond out and dx a few blocks; level 2 holds x_hat and temporaries."""
    from tangled.t16_normalizations import level2_vectorized as plain
    lean, other = (peak_memory(step(m, 8192, 256)) for m in (level, plain))
    results = 2 * 4 * 8192 * 256                                # out and dx, float32
    assert lean < 1.2 * results, f"{lean / results:.2f} times out and dx"
    assert lean < 0.6 * other, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(3)
@pytest.mark.parametrize("rows", [1, 255, 256, 257, 1000])
def test_level3_blocks(level, rows):
    """Sums over blocks that divide the rows and blocks that do not, against level 1."""
    from tangled.t16_normalizations import level1_naive as loops
    level_block, level.BLOCK = level.BLOCK, 1024                # 256 rows of 4
    try:
        x, gamma, dout = rng(1).standard_normal((rows, 4)), rng(2).standard_normal(4), rng(3).standard_normal((rows, 4))
        (out, cache), (expected, of_loops) = (m.layer_norm(x, gamma, gamma) for m in (level, loops))
        assert_close(out, expected, tol=1e-10, what="out")
        for got, want in zip(level.layer_norm_backward(dout, cache), loops.layer_norm_backward(dout, of_loops)):
            assert_close(got, want, tol=1e-9, what="gradient")
    finally:
        level.BLOCK = level_block


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """8,192 rows of 512 in float32, against float64: parameters' gradients are long sums."""
    x, dout = rng(4).standard_normal((2, 8192, 64)).astype(np.float32)
    gamma = rng(5).standard_normal(64).astype(np.float32)
    _, cache = level.layer_norm(x, gamma, gamma)
    _, exact = level.layer_norm(x.astype(float), gamma.astype(float), gamma.astype(float))
    for got, want in zip(level.layer_norm_backward(dout, cache), level.layer_norm_backward(dout.astype(float), exact)):
        assert_close(got.astype(float), want, tol=1e-4, what="gradient")
