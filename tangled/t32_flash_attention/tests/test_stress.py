# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:0a056109ae149c25
"""Chapter 32: growth of memory, as exponents and ratios; long sequences in float32."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t25_self_attention import attention, attention_backward
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, T, heads=2, D=16, **options):
    """A function that runs forward and backward in float32."""
    q, k, v = (rng(n).standard_normal((heads, T, D)).astype(np.float32) for n in range(3))

    def call():
        out, cache = level.flash_attention(q, k, v, **options)
        return level.flash_attention_backward(out, cache)
    return call


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("causal", [False, True])
def test_memory_is_linear(level, causal):
    """Peak memory grows as T, with tiles of one size."""
    exponent = growth_exponent(lambda T: step(level, T, 2, 64, causal=causal, block_q=32, block_k=64),
                               [512, 1024, 2048], measure="memory")
    assert exponent < 1.1, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_holds_results_and_two_tiles(level):
    """The output, three gradients, and little more than two buffers."""
    T, heads, D = 1024, 4, 64
    arrays, tiles = 4 * 4 * heads * T * D, 2 * 4 * 128 * 512
    peak = peak_memory(step(level, T, heads, D, causal=True))
    assert peak < arrays + 1.8 * tiles, f"{peak / 1e6:.1f} million bytes, of which {arrays / 1e6:.1f} are results"


@pytest.mark.levels(3)
def test_level3_computes_the_visible_part(level, monkeypatch):
    """Causal: little more than half of the scores."""
    counted, product = [], np.matmul

    def counting(a, b, out=None):
        counted.append(out.size)
        return product(a, b, out=out)
    monkeypatch.setattr(np, "matmul", counting)
    totals = []
    for causal in (False, True):
        counted.clear()
        step(level, 512, causal=causal, block_q=32, block_k=64)()
        totals.append(sum(counted))
    assert totals[0] == 3 * 2 * 512 * 512, f"{totals[0]} entries of scores and their gradients"
    assert totals[1] < 0.54 * totals[0], f"{totals[1] / totals[0]:.2f} of them with a causal mask"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("options", [{"causal": True}, {"mask": rng(6).random((1, 300, 600)) < 0.5}])
def test_long_in_float32(level, options):
    """600 keys in the default tiles, against chapter 25 in float64."""
    draw = rng(5)
    arrays = [draw.standard_normal((3, T, n)) for T, n in ((300, 16), (600, 16), (600, 8), (300, 8))]
    q, k, v, dout = (x.astype(np.float32) for x in arrays)
    out, cache = level.flash_attention(q, k, v, **options)
    expected, kept = attention(*(x.astype(float) for x in (q, k, v)), **options)
    assert_close(out.astype(float), expected, tol=1e-5, what="out")
    grads, wanted = level.flash_attention_backward(dout, cache), attention_backward(dout.astype(float), kept)
    for got, want, name in zip(grads, wanted, "qkv"):
        assert_close(got.astype(float), want, tol=1e-5, what="d" + name)
