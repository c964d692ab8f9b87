# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:cad971cc0173913a
"""Chapter 26: growth of memory and of work, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, T, D=64, H=4, kv=4):
    """A function that runs a causal layer forward and backward in float32."""
    draw, width = rng(0).standard_normal, D // H * kv
    x, w_q, w_k, w_v, w_o = (draw(s, np.float32) for s in ((1, T, D), (D, D), (D, width), (D, width), (D, D)))

    def call():
        out, cache = level.multi_head_attention(x, w_q, w_k, w_v, w_o, num_heads=H, num_kv_heads=kv, causal=True)
        return level.multi_head_attention_backward(out, cache)
    return call


@pytest.mark.levels(3)
def test_level3_memory_is_linear_in_tokens(level):
    """No array of H x T x T: memory grows as T."""
    exponent = growth_exponent(lambda T: step(level, T), [512, 1024, 2048], measure="memory")
    assert exponent < 1.4, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_needs_less(level):
    """At 512 tokens and 8 heads less than a third of level 2's memory."""
    from tangled.t26_multi_head_attention import level2_vectorized as plain
    lean, other = (peak_memory(step(m, 512, 64, 8, 2)) for m in (level, plain))
    assert lean < other / 3, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(3)
def test_level3_repeats_no_key(level):
    """One key head for 16 heads takes less memory than 16 of them, by the keys, values and their gradients."""
    one, all_of_them = (peak_memory(step(level, 256, 256, 16, kv)) for kv in (1, 16))
    keys = 4 * 256 * 256                                        # bytes of all keys, float32
    assert one < all_of_them - 2 * keys, f"{(all_of_them - one) / keys:.1f} arrays of keys are saved"


@pytest.mark.levels(2, 3)
def test_memory_of_a_split(level):
    """A view: nothing that grows."""
    x = np.ones((8, 512, 64), np.float32)
    assert peak_memory(lambda: level.split_heads(x, 4)) < 10_000


@pytest.mark.levels(3)
def test_level3_window_is_linear(level):
    """Counted, not timed: scores that are formed grow as T, those of the full version as T squared."""
    counts = {}
    inner = level.attention
    try:
        for T in (256, 1024):
            q = np.ones((1, 2, T, 4), np.float32)
            formed = []

            def counting(q, k, v, mask=None, causal=False, formed=formed):
                formed.append(q.shape[2] * k.shape[2])
                return inner(q, k, v, mask, causal)

            level.attention = counting
            level.window_attention(q, q, q, 16, 4)
            counts[T] = sum(formed)
    finally:
        level.attention = inner
    assert counts[1024] < 5 * counts[256], f"{counts}"
    assert counts[1024] < 1024 * 1024 / 8, f"{counts}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("T, window, sinks", [(64, 5, 0), (65, 5, 2), (128, 64, 3), (200, 70, 5), (130, 3, 100)])
def test_level3_blocks_of_a_window(level, T, window, sinks):
    """Lengths that blocks divide and do not, sinks inside and outside of the band."""
    from tangled.t26_multi_head_attention import level2_vectorized as plain
    q, k, v, dout = rng(1).standard_normal((4, 1, 2, T, 3))
    (out, cache), (expected, kept) = (m.window_attention(q, k, v, window, sinks) for m in (level, plain))
    assert_close(out, expected, tol=1e-10, what="out")
    for got, want in zip(level.window_attention_backward(dout, cache), plain.window_attention_backward(dout, kept)):
        assert_close(got, want, tol=1e-10, what="gradient")


@pytest.mark.levels(2, 3)
def test_long_in_float32(level):
    """200 tokens, width 96, float32 against float64."""
    draw = rng(2).standard_normal
    arrays = [draw((2, 200, 96)), *(draw(s) / 10 for s in ((96, 96), (96, 32), (96, 32), (96, 96)))]
    dout = draw((2, 200, 96))

    def call(dtype):
        given = [a.astype(dtype) for a in arrays]
        out, cache = level.multi_head_attention(*given, num_heads=6, num_kv_heads=2, causal=True)
        return out, *level.multi_head_attention_backward(dout.astype(dtype), cache)

    for got, want in zip(call(np.float32), call(np.float64)):
        scale = np.abs(want).max()
        assert_close(got / np.float32(scale), (want / scale).astype(np.float32), tol=1e-4, what="result")
