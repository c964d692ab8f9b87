# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:2a5390c46eabcf91
"""Chapter 25: growth of memory, as exponents and ratios; long sequences in float32."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, T, batch=(1, 2), D=8, **options):
    """A function that runs forward and backward in float32."""
    q, k, v = (rng(n).standard_normal((*batch, T, D)).astype(np.float32) for n in range(3))

    def call():
        out, cache = level.attention(q, k, v, **options)
        return level.attention_backward(out, cache)
    return call


@pytest.mark.levels(2)
def test_level2_keeps_the_square(level):
    """Peak memory grows as T^2."""
    exponent = growth_exponent(lambda T: step(level, T, causal=True), [128, 256, 512], measure="memory")
    assert 1.7 < exponent < 2.2, f"memory grows as T^{exponent:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("causal", [False, True])
def test_level3_is_linear(level, causal):
    """Peak memory grows as T, and no array has T x T entries."""
    exponent = growth_exponent(lambda T: step(level, T, (4, 4), 32, causal=causal), [512, 1024, 2048],
                               measure="memory")
    assert exponent < 1.25, f"memory grows as T^{exponent:.2f}"
    T = 2048
    assert peak_memory(step(level, T, (1, 1), causal=causal)) < 4 * T * T / 4


@pytest.mark.levels(3)
def test_level3_takes_less_than_half(level):
    """Of level 2's peak, at 512 tokens."""
    from tangled.t25_self_attention import level2_vectorized as plain
    lean, other = (peak_memory(step(m, 512, (2, 4), 32, causal=True)) for m in (level, plain))
    assert lean < other / 2, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(3)
def test_level3_computes_the_visible_part(level, monkeypatch):
    """Causal: the products of a square are little more than half as wide."""
    counted = []
    product = np.matmul

    def counting(a, b, out=None):
        counted.append(a.shape[0] * a.shape[1] * b.shape[2])
        return product(a, b, out=out)
    monkeypatch.setattr(np, "matmul", counting)
    totals = []
    for causal in (False, True):
        counted.clear()
        step(level, 512, causal=causal)()
        totals.append(sum(counted))
    assert totals[0] == 3 * 2 * 512 * 512, f"{totals[0]} entries of scores and their gradients"
    assert totals[1] < 0.6 * totals[0], f"{totals[1] / totals[0]:.2f} of them with a causal mask"


@pytest.mark.levels(2, 3)
def test_long_in_float32(level):
    """600 keys, against float64; a mask too."""
    draw = rng(5)
    q, k, v = (draw.standard_normal((2, 3, T, 16)) for T in (300, 600, 600))
    mask = draw.random((2, 1, 300, 600)) < 0.5
    for options in ({"causal": True}, {"mask": mask}):
        results = []
        for dtype in (np.float32, np.float64):
            out, cache = level.attention(*(x.astype(dtype) for x in (q, k, v)), **options)
            results.append((out, *level.attention_backward(out, cache)))
        for got, exact, name in zip(*results, ("out", "dq", "dk", "dv")):
            assert_close(got.astype(float), exact, tol=1e-5, what=name)
