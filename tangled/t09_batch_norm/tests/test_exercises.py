# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:a90e5d2de12aee2a
"""Chapter 09: the graded exercises."""

import numpy as np
import pytest

from tangled.t09_batch_norm import batch_norm, batch_norm_backward
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.value
SIZES = (5, 2, 0, 1, 7)


def shards(seed=1):
    """Float64 arrays (N_k, 3) of different means and deviations."""
    generator = rng(seed)
    return [generator.uniform(0.5, 3) * generator.standard_normal((n, 3)) + 5 * generator.standard_normal(3)
            for n in SIZES]


def moments(x):
    return len(x), x.mean(0), x.var(0)


def test_merge_moments(exercises):
    """Two sets of different sizes, means and variances; the order does not matter; nothing is changed."""
    a, b = shards()[0], shards()[4]
    first, second = moments(a), moments(b)
    kept = [np.copy(v) for v in (*first, *second)]
    for one, other in ((first, second), (second, first)):
        count, mean, var = exercises.merge_moments(one, other)
        both = np.concatenate([a, b])
        assert count == 12
        assert_close(mean, both.mean(0), tol=1e-12, what="mean")
        assert_close(var, both.var(0), tol=1e-12, what="var")
    for now, before in zip((*first, *second), kept):
        assert_close(np.asarray(now, float), before.astype(float), tol=0, what="an argument afterwards")


def test_merge_with_nothing(exercises):
    """An empty set, whose mean is NaN, changes nothing; one sample has variance 0."""
    known, nothing = moments(shards()[0]), (0, np.full(3, np.nan), np.full(3, np.nan))
    for pair in ((known, nothing), (nothing, known)):
        count, mean, var = exercises.merge_moments(*pair)
        assert count == 5
        assert_close(mean, known[1], tol=1e-12, what="mean")
        assert_close(var, known[2], tol=1e-12, what="var")
    a, b = rng(2).standard_normal((2, 3))
    _, _, var = exercises.merge_moments((1, a, np.zeros(3)), (1, b, np.zeros(3)))
    assert_close(var, (a - b) ** 2 / 4, tol=1e-12, what="var of two samples")


def test_merge_cancels_nothing(exercises):
    """Means of 1e8: E[x^2] - m^2 would leave no digit of a variance of 1."""
    x = 1e8 + rng(3).standard_normal((40, 3))
    _, _, var = exercises.merge_moments(moments(x[:13]), moments(x[13:]))
    assert_close(var, x.var(0), tol=1e-6, what="var")


@pytest.mark.parametrize("shape", [(), (4, 3)])
def test_precise_statistics(exercises, shape):
    """Unequal batches whose means differ, with and without pixels: as if they were one."""
    generator = rng(4)
    batches = [generator.standard_normal((n, 2, *shape)) * (k + 1) + 4 * k for k, n in enumerate((6, 1, 3))]
    mean, var = exercises.precise_statistics(iter(batches))
    axes = (0, 2, 3)[:1 + len(shape)]
    both = np.concatenate(batches)
    assert_close(mean, both.mean(axes), tol=1e-10, what="mean")
    assert_close(var, both.var(axes, ddof=1), tol=1e-10, what="var")


def test_precise_statistics_in_float32(exercises):
    """A thousand batches with mean 1,000: neither sums nor squares lose the variance."""
    x = (1000 + rng(5).standard_normal((1000, 8, 3))).astype(np.float32)
    mean, var = exercises.precise_statistics(x)
    exact = x.astype(np.float64).reshape(-1, 3)
    assert_close(mean, exact.mean(0), tol=1e-9, what="mean")
    assert_close(var, exact.var(0, ddof=1), tol=1e-6, what="var")


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_sync_batch_norm(exercises, eps):
    """Five workers, one without and one with a single sample: the batch as a whole."""
    parts, gamma, beta = shards(), rng(6).uniform(0.5, 2, 3), rng(7).standard_normal(3)
    kept = [part.copy() for part in parts]
    outs, _ = exercises.sync_batch_norm(parts, gamma, beta, eps)
    whole, _ = batch_norm(np.concatenate(parts), gamma, beta, None, None, True, eps=eps)
    assert [out.shape for out in outs] == [part.shape for part in parts]
    assert_close(np.concatenate(outs), whole, tol=1e-10, what="outs")
    assert_close(np.concatenate(parts), np.concatenate(kept), tol=0, what="the shards afterwards")


@pytest.mark.gradient
def test_sync_batch_norm_backward(exercises):
    """Gradients of the whole batch, twice; one worker's upstream moves another worker's dx."""
    parts, gamma, beta = shards(), rng(6).uniform(0.5, 2, 3), rng(7).standard_normal(3)
    douts = [rng(8 + k).standard_normal(part.shape) for k, part in enumerate(parts)]
    _, cache = exercises.sync_batch_norm(parts, gamma, beta, 0.1)
    _, whole = batch_norm(np.concatenate(parts), gamma, beta, None, None, True, eps=0.1)
    expected = batch_norm_backward(np.concatenate(douts), whole)
    for _ in range(2):
        dxs, *rest = exercises.sync_batch_norm_backward(douts, cache)
        assert_close(np.concatenate(dxs), expected[0], tol=1e-10, what="dxs")
        for got, want, name in zip(rest, expected[1:], ("dgamma", "dbeta"), strict=True):
            assert_close(got, want, tol=1e-10, what=name)


def test_sync_batch_norm_keeps_float32(exercises):
    """float32 in, float32 out."""
    parts = [part.astype(np.float32) for part in shards()]
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    outs, cache = exercises.sync_batch_norm(parts, ones, zeros)
    dxs, *_ = exercises.sync_batch_norm_backward(outs, cache)
    for got in (*outs, *dxs):
        assert got.dtype == np.float32, f"dtype {got.dtype}"
    whole, _ = batch_norm(np.concatenate(parts), ones, zeros, None, None, True)
    assert_close(np.concatenate(outs), whole, tol=1e-5, what="outs")
