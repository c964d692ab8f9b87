# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:14e627ab9a4f3aaf
"""Chapter 28: growth of memory and of work, as exponents and counts, never seconds; chunks; the program."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t28_transformer_encoder import checks
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, B, T, D=32, F=64, H=4, **options):
    """A function that runs a block forward and backward in float32."""
    shapes = dict.fromkeys(checks.NAMES, (D,)) | {"b1": (F,), "w1": (D, F), "w2": (F, D)}
    shapes |= dict.fromkeys(("w_q", "w_k", "w_v", "w_o"), (D, D))
    w = {name: rng(0).standard_normal(shapes[name], np.float32) / np.float32(D ** 0.5) for name in checks.NAMES}
    x = rng(1).standard_normal((B, T, D), np.float32)

    def call():
        out, cache = level.encoder_block(x, w, num_heads=H, **options)
        return level.encoder_block_backward(out, cache)
    return call


@pytest.mark.levels(3)
def test_level3_memory_is_linear_in_tokens(level):
    """No array of T x T."""
    exponent = growth_exponent(lambda T: step(level, 1, T), [512, 1024, 2048], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_needs_less(level):
    """At 256 tokens less than half of level 2's memory."""
    from tangled.t28_transformer_encoder import level2_vectorized as plain
    lean, other = (peak_memory(step(m, 4, 256, 64, 256)) for m in (level, plain))
    assert lean < other / 2, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(3)
@pytest.mark.parametrize("chunk", [1, 40, 90, 10 ** 6])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_level3_chunks(level, chunk, activation, monkeypatch):
    """One row at a time, chunks that do not divide the rows, all rows at once; float32 keeps slopes."""
    from tangled.t28_transformer_encoder import level2_vectorized as plain
    monkeypatch.setattr(level, "CHUNK", chunk)
    draw = rng(2).standard_normal
    for dtype, tol in ((np.float32, 1e-5), (np.float64, 1e-10)):
        x, dout, w1, b1, w2, b2 = (draw(s).astype(dtype) for s in ((5, 3, 6), (5, 3, 6), (6, 20), (20,), (20, 6), (6,)))
        for name, args in (("feed_forward", (x, w1, b1, w2, b2, activation)), ("swiglu", (x, w1, w1 + 1, w2))):
            (out, cache), (want, kept) = (getattr(m, name)(*args) for m in (level, plain))
            assert_close(out, want, tol=tol, what="out")
            for a, b in zip(*(getattr(m, name + "_backward")(dout, c) for m, c in ((level, cache), (plain, kept)))):
                assert_close(a, b, tol=tol, what="gradient")


@pytest.mark.levels(2)
def test_experts_see_their_tokens_only(level, monkeypatch):
    """Counted: k N rows go through experts, however many there are; c k N / E at most through each."""
    seen, inner = [], level.feed_forward
    monkeypatch.setattr(level, "feed_forward", lambda x, *a: (seen.append(len(x)), inner(x, *a))[1])
    for E, k, factor in ((2, 1, None), (8, 1, None), (8, 2, None), (8, 2, 1.0)):
        seen.clear()
        draw = rng(3).standard_normal
        level.mixture_of_experts(draw((64, 6)), draw((6, E)), draw((E, 6, 4)), draw((E, 4)), draw((E, 4, 6)),
                                 draw((E, 6)), k, factor)
        assert len(seen) == E and (sum(seen) == 64 * k if factor is None else max(seen) <= 64 * k / E)


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("norm_first", [True, False])
def test_deep_in_float32(level, norm_first):
    """Six blocks of width 48 in float32 against float64."""
    x, dout = rng(4).standard_normal((2, 2, 30, 48))
    results = []
    for dtype in (np.float32, np.float64):
        encoder = level.TransformerEncoder(6, 48, 4, 96, norm_first=norm_first).astype(dtype)
        out = encoder(x.astype(dtype))
        dx = encoder.backward(dout.astype(dtype))
        results.append([out, dx, encoder.blocks[0].ffn.linear1.weight.grad])
    for got, want in zip(*results):
        scale = np.abs(want).max()
        assert_close(got / np.float32(scale), (want / scale).astype(np.float32), tol=1e-4, what="result")


@pytest.mark.levels(2)
@pytest.mark.value
def test_the_start_is_as_the_chapter_says(level):
    """What arrives along the stream, and how gradients of the last block depend on the depth."""
    from tangled.t28_transformer_encoder.experiments import start
    level.TransformerEncoder(1, 12, 3, 7)
    pre, post = ({n: start(first, n) for n in (3, 12)} for first in (True, False))
    assert np.allclose(pre[12]["share"], 1, atol=0.15) and post[12]["share"][0] < 0.3
    assert pre[3]["w1"][-1] > 1.2 * pre[12]["w1"][-1] and 0.6 < post[3]["w1"][-1] / post[12]["w1"][-1] < 1.6
    assert (np.diff(pre[12]["variance"]) > 0).all() and np.allclose(post[12]["variance"], 1, atol=0.01)
