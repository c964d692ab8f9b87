# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:87936166a42c89ae
"""Chapter 21: the graded exercises."""

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng

MASK = np.arange(5) < np.array([3, 5, 0, 1])[:, None]


def junk(x, value=np.nan):
    """x (4, 5, D) with something else in its padding."""
    return np.where(MASK[..., None], x, value)


@pytest.mark.gradient
def test_masked_max(exercises):
    """Negative numbers, ties, holes, junk in the padding."""
    x = -np.abs(rng(0).standard_normal((4, 5, 3))) - 1
    x[1, 3] = x[1, 1] = -0.5                                    # a tie: the first one gets the gradient
    dout = rng(1).standard_normal((4, 3))
    for value in (np.nan, np.inf, 9.0):
        out, cache = exercises.masked_max(junk(x, value), MASK)
        want = np.stack([x[0, :3].max(0), x[1].max(0), np.zeros(3), x[3, 0]])
        assert_close(out, want, tol=0, what="maximum")
        dx = exercises.masked_max_backward(dout, cache)
        assert_close(dx[1, 1], dout[1], tol=0, what="to the first of equals")
        assert_close(dx.sum(1), dout * np.array([1.0, 1, 0, 1])[:, None], tol=0, what="one step each")
        assert not dx[~MASK].any()
    holes = np.array([[False, True, False, True, True]] * 4)
    check_gradients(lambda x: exercises.masked_max(x, holes), exercises.masked_max_backward,
                    [rng(2).standard_normal((4, 5, 3))])


@pytest.mark.gradient
def test_attention_pool(exercises):
    """u = 0 is the masked mean; central differences; large scores; junk in the padding."""
    x, u = rng(3).standard_normal((4, 5, 3)), rng(4).standard_normal(3)
    y, _ = exercises.attention_pool(junk(x), MASK, np.zeros(3))
    want = np.stack([x[0, :3].mean(0), x[1].mean(0), np.zeros(3), x[3, 0]])
    assert_close(y, want, tol=1e-12, what="the mean")
    check_gradients(lambda x, u: exercises.attention_pool(x, MASK, u), exercises.attention_pool_backward, [x, u])
    dy = rng(5).standard_normal((4, 3))
    grads = [exercises.attention_pool_backward(dy, exercises.attention_pool(a, MASK, u)[1]) for a in (x, junk(x))]
    for clean, dirty in zip(*grads):
        assert_close(dirty, clean, tol=0, what="gradients with junk")
    assert not grads[1][0][~MASK].any()
    for scale in (1e4, -1e4):
        y, _ = exercises.attention_pool(junk(x), MASK, scale * u)
        pick = (np.where(MASK, scale * (x @ u), -np.inf)).argmax(1)
        assert_close(y, x[np.arange(4), pick] * MASK.any(1)[:, None], tol=1e-9, what="all the weight on one step")
