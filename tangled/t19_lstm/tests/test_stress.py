# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:bc8bc216ea1a4203
"""Chapter 19: growth of time and memory, as exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def step(level, B, T, D, H):
    """A function that runs a sequence forward and backward in float32."""
    arrays = [rng(k).standard_normal(s).astype(np.float32) * np.float32(0.1)
              for k, s in enumerate([(B, T, D), (B, H), (B, H), (D, 4 * H), (H, 4 * H), (4 * H,)])]

    def call():
        (out, _), cache = level.lstm(*arrays)
        return level.lstm_backward(out, None, None, cache)
    return call


def test_memory_is_linear_in_time(level):
    """A number of states a step."""
    exponent = growth_exponent(lambda T: step(level, 2, T, 3, 4), [16, 32, 64], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_is_lean(level):
    """Gates and their gradients (4H each), cells, their tanh, states and outputs, inputs by time and dx."""
    B, T, D, H = 16, 64, 32, 64
    arrays = 4 * B * T * (12 * H + 2 * D)                       # bytes, float32
    lean = peak_memory(step(level, B, T, D, H))
    assert lean < 1.25 * arrays, f"{lean / arrays:.2f} times the arrays"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as unit by unit."""
    from tangled.t19_lstm import level1_naive as loops
    ratio = time_ratio(step(loops, 4, 4, 10, 10), step(level, 4, 4, 10, 10), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"
