# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:07189ecfb6915618
"""Chapter 13: the graded exercises."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent
from tangled.t13_pooling import max_pool2d
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.gradient
@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_lp_pool2d(exercises, p):
    """Against norms; gradients by central differences; windows of zeros."""
    x = rng(0).standard_normal((2, 3, 4, 6))
    x += 0.2 * np.sign(x)                                       # nothing near 0, where |x| has a kink
    out, _ = exercises.lp_pool2d(x, 2, p)
    windows = x.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 2, 3, 4)
    assert_close(out, np.linalg.norm(windows, ord=p, axis=-1), tol=1e-10, what="out")
    check_gradients(lambda x: exercises.lp_pool2d(x, (3, 2), p, 1), exercises.lp_pool2d_backward, [x])
    out, cache = exercises.lp_pool2d(np.zeros((1, 2, 2, 4), np.float32), 2, p)
    dx = exercises.lp_pool2d_backward(np.ones(out.shape, np.float32), cache)
    assert_close(dx, np.zeros((1, 2, 2, 4), np.float32), what="dx of zeros", dtype=np.float32)


@pytest.mark.value
@pytest.mark.parametrize("k", [1, 2, 3, 7, 12, 13])
def test_running_max(exercises, k):
    """Equal to max_pool2d with stride 1; NaN is handed on; the dtype is kept."""
    x = rng(1).standard_normal((2, 3, 4, 13))
    x[0, 1, 2, 5], x[1, 0, 0, :4] = np.nan, -np.inf
    for dtype in (np.float32, np.float64):
        out = exercises.running_max(x.astype(dtype), k)
        assert_close(out, max_pool2d(x.astype(dtype), (1, k), 1)[0], tol=0, what="out", dtype=dtype)


@pytest.mark.performance
def test_running_max_does_not_depend_on_k(exercises):
    """Windows 16 times as wide in the same time."""
    x = rng(2).standard_normal((8, 16_384)).astype(np.float32)
    assert_close(exercises.running_max(x, 100)[:, 7], x[:, 7:107].max(axis=1), tol=0, what="out")
    exponent = growth_exponent(lambda k: lambda: exercises.running_max(x, k), [32, 128, 512])
    assert exponent < 0.5, f"time grows as K^{exponent:.2f}"
