# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:86a826cd21954f9f
"""Chapter 15: growth and memory, as counts, exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, shape, multiplier=1):
    """A function that runs a depthwise step in float32, 3 x 3 with padding 1."""
    x = rng(0).standard_normal(shape).astype(np.float32)
    w = rng(1).standard_normal((multiplier * shape[1], 1, 3, 3)).astype(np.float32)

    def call():
        out, cache = level.depthwise_conv2d(x, w, None, 1, 1)
        return level.depthwise_conv2d_backward(out, cache)
    return call


def test_memory_is_linear_in_the_channels(level):
    """No matrix of all channels against all."""
    exponent = growth_exponent(lambda c: step(level, (2, c, 5, 5)), [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as C^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_holds_little(level):
    """The peak of a step is below three times the input: output, dx, and one picture's copies; level 2 has more."""
    from tangled.t15_depthwise_separable import level2_vectorized as plain
    shape = (16, 24, 28, 30)
    size = 4 * np.prod(shape)
    lean, other = (peak_memory(step(m, shape)) for m in (level, plain))
    assert lean < 3 * size, f"{lean / size:.2f} times the input"
    assert other > 4 * size, "level 2 is expected to hold the padded picture twice"


@pytest.mark.levels(3)
def test_level3_pointwise_makes_no_gradient_a_picture(level):
    """Level 2 forms N matrices (F, C) backward; level 3 one."""
    from tangled.t15_depthwise_separable import level2_vectorized as plain
    x, w = rng(2).standard_normal((32, 64, 3, 3)), rng(3).standard_normal((48, 64))
    peaks = []
    for m in (level, plain):
        out, cache = m.pointwise_conv2d(x, w)
        peaks.append(peak_memory(lambda m=m, out=out, cache=cache: m.pointwise_conv2d_backward(out, cache)))
    assert peaks[0] < peaks[1] / 3, f"{peaks[0]} bytes against {peaks[1]}"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("kind, shapes", [
    ("depthwise_conv2d", ((4, 8, 20, 20), (8, 1, 3, 3))), ("pointwise_conv2d", ((4, 8, 20, 20), (9, 8))),
    ("causal_conv1d", ((4, 8, 400), (9, 8, 2))), ("squeeze_excite", ((4, 8, 20, 20), (8, 2), 2, (2, 8), 8))])
def test_float32_takes_half_of_the_memory(level, kind, shapes):
    """Nothing is computed in a wider type behind the caller's back."""
    def step_in(dtype):
        inputs = [np.ones(shape, dtype) for shape in shapes]
        out, cache = getattr(level, kind)(*inputs)
        return lambda: (getattr(level, kind)(*inputs), getattr(level, kind + "_backward")(out, cache))
    ratio = peak_memory(step_in(np.float32)) / peak_memory(step_in(np.float64))
    assert ratio < 0.65, f"{ratio:.2f} of the memory that float64 takes"


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """Sums of a thousand pixels for dw, against float64."""
    x = rng(2).standard_normal((8, 5, 16, 15)).astype(np.float32)
    w = rng(3).standard_normal((5, 1, 3, 3)).astype(np.float32)
    found = []
    for dtype in (np.float32, float):
        out, cache = level.depthwise_conv2d(x.astype(dtype), w.astype(dtype), None, 1, 1)
        found.append(level.depthwise_conv2d_backward(out, cache))
    for got, want in zip(*found):
        assert_close(got.astype(float), want, tol=1e-4, what="gradient")


@pytest.mark.levels(1)
def test_memory_is_linear_in_the_multiplier(level):
    """Memory grows with the outputs, no faster."""
    exponent = growth_exponent(lambda m: step(level, (1, 2, 5, 5), m), [4, 8, 16], measure="memory")
    assert exponent < 1.3, f"memory grows as M^{exponent:.2f}"
