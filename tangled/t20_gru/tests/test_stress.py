# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:dd2d15a8309f7fc0
"""Chapter 20: growth of time and memory, as exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def step(level, B, T, D, H, kind="pytorch"):
    """A function that runs a sequence forward and backward in float32."""
    x, h0, w_ih, w_hh = (rng(k).standard_normal(s).astype(np.float32) * np.float32(0.1)
                         for k, s in enumerate([(B, T, D), (B, H), (D, 3 * H), (H, 3 * H)]))

    def call():
        (out, _), cache = level.gru(x, h0, w_ih, w_hh, variant=kind)
        return level.gru_backward(out, None, cache)
    return call


def test_memory_is_linear_in_time(level):
    """A few states a step."""
    exponent = growth_exponent(lambda T: step(level, 2, T, 3, 4), [16, 32, 64], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("kind", ["pytorch", "cho"])
def test_level3_is_lean(level, kind):
    """Gates and their gradients, states and outputs, the inputs by time and dx: no gradient of weights a step."""
    B, T, D, H = 16, 64, 32, 64
    arrays = 4 * B * T * (10 * H + 3 * D)                       # bytes, float32
    lean = peak_memory(step(level, B, T, D, H, kind))
    assert lean < 1.2 * arrays, f"{lean / arrays:.2f} times the arrays"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as unit by unit."""
    from tangled.t20_gru import level1_naive as loops
    ratio = time_ratio(step(loops, 4, 4, 10, 10), step(level, 4, 4, 10, 10), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"
