# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:4aa72ad5b1c7d531
"""Chapter 23: growth, memory, and how often a step is called."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def call(level, B, T, E, H, V, real=None):
    """A function that runs the decoder forward and backward in float32."""
    arrays = [rng(k).standard_normal(s).astype(np.float32) * np.float32(0.1) for k, s in enumerate(
        [(B, H), (V, E), (E, 3 * H), (H, 3 * H), (3 * H,), (3 * H,), (H, V), (V,)])]
    tokens, lengths = rng(9).integers(0, V, (B, T + 1)), np.full(B, T if real is None else real)

    def run():
        _, cache = level.teacher_forced_loss(arrays[0], tokens, lengths, *arrays[1:])
        return level.teacher_forced_loss_backward(1.0, cache)
    return run


def test_memory_is_linear_in_time(level):
    """One state and one row of logits a step."""
    sizes = [8, 16, 32] if "level1" in level.__name__ else [16, 32, 64]
    exponent = growth_exponent(lambda T: call(level, 2, T, 3, 4, 5), sizes, measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_padding_costs_no_logits(level):
    """With one real place in eight, far less than with all of them real."""
    few, all_ = (peak_memory(call(level, 16, 64, 4, 8, 600, real)) for real in (8, 64))
    assert few < 0.4 * all_, f"{few / all_:.2f} of the memory"


@pytest.mark.levels(3)
def test_one_array_of_logits(level):
    """Logits become the gradient: one array (n, V), and little beside it."""
    B, T, V = 16, 64, 1500
    peak = peak_memory(call(level, B, T, 4, 8, V))
    assert peak < 1.5 * 4 * B * T * V, f"{peak / (4 * B * T * V):.2f} arrays of logits"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as unit by unit."""
    from tangled.t23_seq2seq import level1_naive as loops
    ratio = time_ratio(call(loops, 3, 4, 8, 10, 12), call(level, 3, 4, 8, 10, 12), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(3)
def test_steps_do_not_grow_with_sentences(level):
    """All sentences in one batch: as many calls for forty as for two."""
    def calls(n):
        count = []

        def step(state, tokens):
            count.append(1)
            return np.full((len(tokens), 5), -np.log(5)), state
        level.beam_search(step, np.zeros((n, 1)), 0, 4, 3, 12, 1.0)
        return len(count)
    assert calls(40) == calls(2) <= 12
