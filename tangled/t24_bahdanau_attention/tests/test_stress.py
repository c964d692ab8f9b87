# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:a1fe9814a0c84bd6
"""Chapter 24: growth and memory."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def call(level, B, T, S, A, width=4):
    """A function that runs the additive score forward and backward in float32."""
    shapes = (B, T, width), (B, S, A), (width, A), (A,)
    given = [rng(n).standard_normal(s).astype(np.float32) for n, s in enumerate(shapes)]
    up = rng(9).standard_normal((B, T, S)).astype(np.float32)

    def run():
        _, cache = level.additive_score(*given)
        return level.additive_score_backward(up, cache)
    return run


@pytest.mark.levels(3)
def test_nothing_is_kept_for_a_pair(level):
    """Eight times as many queries, and no more memory than their own."""
    few, many = (peak_memory(call(level, 2, T, 64, 256)) for T in (4, 32))
    assert many < 1.6 * few, f"{many / few:.1f} times the memory"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as number by number."""
    from tangled.t24_bahdanau_attention import level1_naive as loops
    ratio = time_ratio(call(loops, 2, 4, 10, 16), call(level, 2, 4, 10, 16), rounds=3)
    assert ratio > 4, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(3)
def test_decoder_memory_is_linear(level):
    """A state, a context and a row of weights for a step; nothing that is T times S times A."""
    def decoder(T):
        shapes = (2, T, 3), (2, 4), (2, 40, 6), (4, 90), (6, 90), (90,), (9, 12), (4, 12), (12,), (12,)
        given = [rng(n).standard_normal(s).astype(np.float32) * np.float32(0.1) for n, s in enumerate(shapes)]

        def run():
            (out, contexts, _), cache = level.attention_decoder(*given[:3], None, *given[3:])
            return level.attention_decoder_backward(out, contexts, cache)
        return run
    assert peak_memory(decoder(64)) < 4 * 64 * 2 * 40 * 90 / 2
    assert growth_exponent(decoder, [32, 64, 128], measure="memory") < 1.2
