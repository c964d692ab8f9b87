# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:09aaf7671b197987
"""Chapter 20: the graded exercises."""

import numpy as np
import pytest

from tangled.measuring import time_ratio
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.value
def test_mean_weights(exercises):
    """By hand, with gates of 0 and 1; they sum to 1; nothing that was handed in changes."""
    z = np.array([0.5, 0.0, 0.25, 1.0]).reshape(1, 4, 1)
    got = exercises.mean_weights(z)
    assert_close(got.ravel(), np.array([0, 0, 0.25, 0.75, 0]), tol=1e-12, what="weights")
    z = rng(0).random((2, 5, 3))
    kept, got = z.copy(), exercises.mean_weights(z)
    assert got.shape == (2, 6, 3)
    assert_close(got.sum(1), np.ones((2, 3)), tol=1e-12, what="sums")
    assert_close(got[:, 3], (1 - z[:, 2]) * z[:, 3] * z[:, 4], tol=1e-12, what="weight of the third candidate")
    assert_close(got[:, 0], z.prod(1), tol=1e-12, what="weight of the first state")
    assert_close(z, kept, tol=0, what="z")
    assert_close(exercises.mean_weights(z[:, :0]), np.ones((2, 1, 3)), tol=0, what="no steps")


def one_by_one(a, b, h0):
    """The recurrence, as it is written."""
    h, out = h0, np.empty_like(b)
    for t in range(a.shape[1]):
        h = out[:, t] = a[:, t] * h + b[:, t]
    return out


@pytest.mark.value
@pytest.mark.parametrize("T", [0, 1, 2, 3, 7, 8, 13])
def test_scan(exercises, T):
    """Equal to the loop, at powers of two and between, with factors of 0 and below."""
    a, b, h0 = (rng(k).standard_normal(shape) for k, shape in enumerate([(2, T, 3), (2, T, 3), (2, 3)], 1))
    a[:, T // 2:T // 2 + 1] = 0
    kept = [v.copy() for v in (a, b, h0)]
    assert_close(exercises.scan(a, b, h0), one_by_one(a, b, h0), tol=1e-12, what="h")
    for v, was in zip((a, b, h0), kept):
        assert_close(v, was, tol=0, what="what was handed in")


@pytest.mark.gradient
@pytest.mark.parametrize("T", [1, 2, 5])
def test_scan_backward(exercises, T):
    """Every entry, by central differences; all gradients of an empty one are empty or zero."""
    arrays = [rng(k).standard_normal(shape) for k, shape in enumerate([(2, T, 3), (2, T, 3), (2, 3)], 4)]

    def run(a, b, h0):
        h = exercises.scan(a, b, h0)
        return h, (a, h, h0)
    check_gradients(run, lambda d, cache: exercises.scan_backward(d, *cache), arrays)
    da, db, dh0 = exercises.scan_backward(*(np.ones((2, 0, 3)),) * 3, np.ones((2, 3)))
    assert da.shape == db.shape == (2, 0, 3) and not dh0.any()


@pytest.mark.performance
def test_scan_is_no_loop(exercises):
    """Over a long, thin sequence, several times as fast as a step at a time."""
    a, b, h0 = rng(7).random((1, 4096, 2)), rng(8).random((1, 4096, 2)), np.ones((1, 2))
    ratio = time_ratio(lambda: one_by_one(a, b, h0), lambda: exercises.scan(a, b, h0), rounds=3)
    assert ratio > 4, f"only {ratio:.1f} times as fast as the loop"
