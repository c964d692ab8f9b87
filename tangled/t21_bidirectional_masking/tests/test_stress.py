# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:a36ff7e42c607f24
"""Chapter 21: growth of time and memory, as exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def step(level, lengths, T, D=8, H=64):
    """A function that runs a batch forward and backward in float32."""
    x, h0, w_ih, w_hh = (rng(k).standard_normal(s).astype(np.float32) * np.float32(0.1)
                         for k, s in enumerate([(len(lengths), T, D), (len(lengths), H), (D, H), (H, H)]))

    def call():
        (out, _), cache = level.masked_rnn(x, lengths, h0, w_ih, w_hh)
        return level.masked_rnn_backward(out, None, cache)
    return call


def loss(level, real, T=40, V=300):
    """A function that computes the loss of `real` steps in each of 8 rows, and its gradient."""
    logits = rng(5).standard_normal((8, T, V)).astype(np.float32)
    mask, targets = np.tile(np.arange(T) < real, (8, 1)), np.zeros((8, T), int)
    return lambda: level.masked_cross_entropy_backward(1.0, level.masked_cross_entropy(logits, targets, mask)[1])


def test_memory_is_linear_in_time(level):
    """One state a step."""
    exponent = growth_exponent(lambda T: step(level, np.array([T, T // 2]), T, 3, 4), [16, 32, 64], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_padding_is_not_computed(level):
    """One long sequence among short ones: the loop costs what is real."""
    short = np.full(64, 4)
    short[0] = 64
    ratio = time_ratio(step(level, np.full(64, 64), 64), step(level, short, 64), rounds=5)
    assert ratio > 1.5, f"a batch of real steps takes only {ratio:.2f} times the time of one of padding"


@pytest.mark.levels(3)
def test_loss_of_real_rows(level):
    """Beside the gradient that is asked for, memory is that of the real rows."""
    full = 8 * 40 * 300 * 4                                     # bytes of the logits
    assert peak_memory(loss(level, 4)) < 1.5 * full
    assert peak_memory(loss(level, 40)) < 3.3 * full


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as sequence by sequence, unit by unit."""
    from tangled.t21_bidirectional_masking import level1_naive as loops
    lengths = np.array([3, 4, 1, 4])
    ratio = time_ratio(step(loops, lengths, 4, 12, 12), step(level, lengths, 4, 12, 12), rounds=3)
    assert ratio > 4, f"only {ratio:.1f} times as fast as level 1"
