# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:d912f6ed7a14c804
"""Chapter 24: the graded exercises."""

import numpy as np
import pytest

from tangled.testing import assert_close, rng


@pytest.mark.value
def test_local_attend(exercises):
    """Place by place; a window at the edge; a window of padding alone."""
    scores, values = rng(0).standard_normal((2, 4, 7)), rng(1).standard_normal((2, 7, 3))
    mask = np.arange(7) < np.array([[7], [4]])
    centres = np.array([[0.0, 3.2, 6.0, 2.5], [1.0, 3.0, 6.4, 0.3]])
    want = np.zeros((2, 4, 3))
    for b in range(2):
        for t in range(4):
            places = [s for s in range(7) if mask[b, s] and abs(s - centres[b, t]) <= 2]
            e = np.exp(scores[b, t, places])
            for s, weight in zip(places, e / e.sum() if places else []):
                want[b, t] += weight * np.exp(-(s - centres[b, t]) ** 2 / 2) * values[b, s]
    got = exercises.local_attend(scores, values, mask, centres, 2.0)
    assert not got[1, 2].any()
    assert_close(got, want, tol=1e-10, what="context")
    far = exercises.local_attend(scores + 1e4, values, mask, centres, 2.0)
    assert_close(far, want, tol=1e-8, what="context of large scores")


@pytest.mark.value
def test_coverage_loss(exercises):
    """The sum, place by place, and central differences of it; nothing of padded steps."""
    p = rng(2).random((3, 5, 4))
    p /= p.sum(2, keepdims=True)
    lengths = np.array([5, 3, 0])

    def by_hand(p):
        total = 0.0
        for b, n in enumerate(lengths):
            for t in range(n):
                total += np.minimum(p[b, t], p[b, :t].sum(0)).sum()
        return total
    loss, dp = exercises.coverage_loss(p, lengths)
    assert abs(loss - by_hand(p)) < 1e-12
    for index in np.ndindex(*p.shape):
        up, down = p.copy(), p.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        assert abs((by_hand(up) - by_hand(down)) / 2e-6 - dp[index]) < 1e-6
