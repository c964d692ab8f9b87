# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:a88c42a2633ecea0
"""Chapter 31: the graded exercises."""

import numpy as np
import pytest

from tangled.t26_multi_head_attention import window_attention
from tangled.testing import assert_close, rng


@pytest.mark.value
@pytest.mark.parametrize("window", [1, 3, 8, 50])
def test_rolling_cache(exercises, window):
    """Forty tokens one by one equal the windowed attention of chapter 26, in a buffer that does not grow."""
    q, k, v = rng(0).standard_normal((3, 2, 40, 5))
    cache = exercises.RollingCache(2, window, 5)
    expected = window_attention(q[None], k[None], v[None], window)[0][0]
    for t in range(40):
        assert_close(cache.step(q[:, t], k[:, t], v[:, t]), expected[:, t], tol=1e-10, what=f"token {t}")
    held = sum(a.size for a in vars(cache).values() if isinstance(a, np.ndarray))
    assert held == cache.data.size == 2 * 2 * window * 5, f"{held} numbers are kept"
    assert exercises.RollingCache(1, 2, 3, np.float32).step(*np.ones((3, 1, 3), np.float32)).dtype == np.float32


@pytest.mark.value
def test_verify_many(exercises):
    """Up to 20,000 draws with none, one and three drafts: chi-square against p; the first draft is tried first."""
    draw, V = rng(1), 4
    p, qs = draw.dirichlet(np.ones(V)), draw.dirichlet(np.ones(V), 3)
    for m, n in ((0, 2000), (1, 5000), (3, 20_000)):
        found, first = np.zeros(V), 0
        drafted = np.array([draw.choice(V, n, p=q) for q in qs[:m]]).reshape(m, n)
        for u, x in zip(drafted.T, draw.random((n, m + 1))):
            token, accepted = exercises.verify_many(p, qs[:m], u, x)
            found[token] += 1
            first += accepted == 0
            assert accepted == m or token == u[accepted]
        statistic = ((found - n * p) ** 2 / (n * p)).sum()
        assert statistic < 16.3, f"chi-square {statistic:.1f}, {m} drafts; 99.9 % at 3 degrees of freedom: 16.3"
        if m:
            assert abs(first / n - np.minimum(p, qs[0]).sum()) < 0.02
    kept = p.copy()
    exercises.verify_many(p, qs, np.zeros(3, int), np.full(4, 0.99))
    assert np.array_equal(p, kept), "p was changed"
