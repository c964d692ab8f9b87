# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:8d3d4793272a8616
"""Chapter 29: growth of work and memory, as counts and exponents, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t29_transformer_decoder import checks
from tangled.testing import rng

pytestmark = pytest.mark.performance


def weights(D=16, F=16):
    """A dict for decoder_block, float32."""
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in checks.NAMES} | {"w1": (D, F), "b1": (F,),
                                                                                     "w2": (F, D)}
    return {name: rng(0).standard_normal(s, np.float32) / np.float32(D ** 0.5) for name, s in shapes.items()}


@pytest.mark.levels(3)
def test_level3_memory_is_linear_in_tokens(level):
    """No array of T x T or T x S, forward and backward."""
    w = weights()

    def run(T):
        x, memory = rng(1).standard_normal((2, 1, T, 16), np.float32)

        def call():
            out, cache = level.decoder_block(x, memory, w, num_heads=2)
            level.decoder_block_backward(out, cache)
        return call
    exponent = growth_exponent(run, [512, 1024, 2048], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_appends_in_place(level):
    """Most steps allocate nothing of the size of the keys."""
    w, x = weights(), rng(2).standard_normal((4, 16), np.float32)
    state = level.start_decoding(rng(3).standard_normal((4, 2, 16), np.float32), w, num_heads=2)
    peaks = []
    for _ in range(1500):
        _, state = level.decoder_block_step(x, state, w, num_heads=2)
    for _ in range(20):
        peaks.append(peak_memory(lambda state=state: level.decoder_block_step(x, state, w, num_heads=2)))
        _, state = level.decoder_block_step(x, state, w, num_heads=2)
    keys = 2 * 4 * 1500 * 16 * 4
    assert np.median(peaks) < keys / 2, f"{np.median(peaks) / keys:.2f} of keys and values, in every step"


@pytest.mark.levels(2, 3)
def test_the_source_is_not_read_again(level, monkeypatch):
    """Work of a step does not grow with the source but for one product with its keys: no (S, D) x (D, D)."""
    D, w = 64, weights(64, 8)
    x = rng(4).standard_normal((2, D), np.float32)

    def run(S):
        state = level.start_decoding(rng(5).standard_normal((2, S, D), np.float32), w, num_heads=2)
        return lambda: level.decoder_block_step(x, state, w, num_heads=2)
    small, large = (peak_memory(run(S)) for S in (64, 4096))
    assert large - small < 4096 * D * 4 * 2, "a step makes arrays of the size of the source's keys"
