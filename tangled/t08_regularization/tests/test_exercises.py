# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:22927be7ff0b862f
"""Chapter 08: the graded exercises."""

import tracemalloc

import numpy as np
import pytest

from tangled.testing import assert_close, rng


@pytest.mark.gradient
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seeded_dropout_has_one_mask(exercises, dtype):
    """Backward through the mask of forward, twice, also after the generator has moved on."""
    x, dice = np.ones((30, 40), dtype), rng(1)
    first, cache = exercises.seeded_dropout(x, 0.2, dice)
    second, _ = exercises.seeded_dropout(x, 0.2, dice)
    assert first.dtype == dtype and (first != second).any(), "two calls on one generator, one mask"
    state = dice.bit_generator.state
    for factor in (1, -3):
        dx = exercises.seeded_dropout_backward(factor * x, cache)
        assert_close(dx, factor * first, what="dx", dtype=dtype)
    assert dice.bit_generator.state == state, "backward draws from the caller's generator"


@pytest.mark.value
def test_seeded_dropout_in_its_moments(exercises):
    """Kept entries are divided by 1 - p, and 1 - p of them are kept."""
    x = 1 + rng(2).random((200, 300))
    out, _ = exercises.seeded_dropout(x, 0.3, rng(3))
    kept = out != 0
    assert_close(out[kept], x[kept] / 0.7, what="kept entries")
    assert abs(kept.mean() - 0.7) < 0.02
    dice = rng(4)
    state = dice.bit_generator.state
    for more in ((0.0, dice), (0.5, dice, False)):
        out, cache = exercises.seeded_dropout(x, *more)
        assert_close(out, x, tol=0, what="out")
        assert_close(exercises.seeded_dropout_backward(x, cache), x, tol=0, what="dx")
    assert dice.bit_generator.state == state


@pytest.mark.performance
def test_seeded_dropout_keeps_no_mask(exercises):
    """Twenty caches of 100,000 entries each: less than one of their masks."""
    x, kept, dice = np.ones(100_000, np.float32), [], rng(5)

    tracemalloc.start()
    try:
        kept.extend(exercises.seeded_dropout(x, 0.5, dice)[1] for _ in range(20))
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size < 100_000, f"{size} bytes are kept; expected a few hundred a call"


def problem(n=60, d=8):
    """X (n, d) with columns of other lengths that are not orthogonal, and t (n,)."""
    generator = rng(6)
    X = generator.standard_normal((n, d)) @ (np.eye(d) + 0.4) * np.linspace(0.5, 3, d)
    return X, X @ np.array([2.0, 0, -1, 0, 0, 0.5, 0, 0.02]) + 0.3 * generator.standard_normal(n)


@pytest.mark.value
@pytest.mark.parametrize("l1, l2", [(0.3, 0.0), (0.2, 0.7), (0.05, 0.1), (3.0, 0.0)])
def test_elastic_net_is_at_the_minimum(exercises, l1, l2):
    """The slope is l1 with the weight's sign, or within +- l1 where the weight is exactly 0."""
    X, t = problem()
    kept = X.copy(), t.copy()
    w = exercises.elastic_net(X, t, l1, l2)
    slope = X.T @ (t - X @ w) / len(X) - l2 * w
    alive = w != 0
    assert_close(slope[alive], l1 * np.sign(w[alive]), tol=1e-5, what="slope where w is not 0")
    assert np.abs(slope[~alive]).max(initial=0) <= l1 * (1 + 1e-6)
    assert_close(X, kept[0], tol=0, what="X afterwards")
    assert_close(t, kept[1], tol=0, what="t afterwards")


@pytest.mark.value
def test_elastic_net_at_the_ends(exercises):
    """All zeros from max |X^T t| / n on; ridge and least squares where l1 is 0."""
    X, t = problem()
    most = np.abs(X.T @ t).max() / len(X)
    assert_close(exercises.elastic_net(X, t, 1.0001 * most), np.zeros(8), tol=0, what="w")
    assert (exercises.elastic_net(X, t, 0.99 * most) != 0).sum() == 1
    for l2 in (0.0, 0.4):
        expected = np.linalg.solve(X.T @ X / len(X) + l2 * np.eye(8), X.T @ t / len(X))
        assert_close(exercises.elastic_net(X, t, 0.0, l2), expected, tol=1e-5, what=f"w for l2 = {l2}")


@pytest.mark.edge
def test_elastic_net_of_dull_columns(exercises):
    """A column of zeros keeps the weight 0; float32 is taken; too few sweeps are said."""
    X, t = problem()
    X[:, 3] = 0
    w = exercises.elastic_net(X.astype(np.float32), t.astype(np.float32), 0.1)
    assert w.dtype == np.float64 and w[3] == 0 and np.isfinite(w).all()
    with pytest.raises(ValueError, match="sweeps = 1; expected more"):
        exercises.elastic_net(X, t, 0.01, sweeps=1)
