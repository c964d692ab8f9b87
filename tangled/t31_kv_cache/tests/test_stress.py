# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:36aec0ca40457fb9
"""Chapter 31: work and memory, counted; a long text in float32."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t31_kv_cache.tests.test_basic import model, pieces, whole
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


@pytest.mark.levels(2, 3)
def test_long_text(level):
    """300 tokens one by one in float32, against the whole sequence in float64."""
    for name in ("learned-mqa", "rope-gqa"):
        weights, heads = model(0, name, np.float32, V=11, context=300, D=24, L=2)
        ids = rng(1).integers(0, 11, (1, 300))
        got = pieces(level.Decoder(weights, heads, 1, 300), ids, [100, *range(101, 300)])
        assert_close(got.astype(float), whole(ids, weights, heads), tol=2e-5, what=f"logits, {name}")


@pytest.mark.levels(2, 3)
def test_a_step_needs_little(level):
    """Memory of one step grows with the keys at most, and not with their square; level 3: hardly at all."""
    def step(S):
        weights, heads = model(2, "rope-mha", np.float32, D=48)
        decoder = level.Decoder(weights, heads, 1, S + 1)
        decoder.extend(np.zeros((1, S), int))

        def call():
            decoder.extend(np.ones((1, 1), int))
            decoder.truncate([S])
        return call
    exponent = growth_exponent(step, [256, 512, 1024], measure="memory")
    assert exponent < 1.15, f"memory of a step grows as S^{exponent:.2f}"
    if level.__name__.endswith("level3_memory_efficient"):
        peak = peak_memory(step(1024))
        assert peak < 4 * 1024 * 12, f"{peak} bytes for 1024 keys in 3 heads: keys were copied"


@pytest.mark.levels(3)
def test_padding_costs_nothing(level, monkeypatch):
    """Of 64 places 22 are real: every matrix meets 22 rows."""
    from tangled.t31_kv_cache import level3_memory_efficient as module
    weights, heads = model(3, dtype=np.float32, context=16)
    decoder, rows, linear = level.Decoder(weights, heads, 4), [], module._linear

    def counting(x, w, b):
        rows.append(len(x))
        return linear(x, w, b)
    monkeypatch.setattr(module, "_linear", counting)
    decoder.extend(np.zeros((4, 16), int), [16, 1, 0, 5])
    assert set(rows) == {22} and len(rows) == 2 * 2 + 1


@pytest.mark.levels(2)
def test_pages_take_what_they_need(level):
    """Ten short texts in a cache that has room for one and a half long ones."""
    weights, heads = model(4, context=64, dtype=np.float32)
    cache = level.PagedCache(2, 10, 3, 24, 4, 4)
    decoder = level.Decoder(weights, heads, cache=cache)
    assert cache.nbytes == level.cache_bytes(2, 3, 4, 96, itemsize=4)
    decoder.extend(np.zeros((10, 8), int), [5, 8, 1, 8, 7, 6, 8, 3, 8, 5])
    assert 24 - len(cache.free) == 2 + 2 + 1 + 2 + 2 + 2 + 2 + 1 + 2 + 2
