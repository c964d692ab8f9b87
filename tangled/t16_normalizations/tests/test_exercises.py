# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:5d944d19fd6a2b04
"""Chapter 16: the graded exercises."""

import numpy as np
import pytest

from tangled.t16_normalizations import layer_norm
from tangled.testing import assert_close, numeric_gradient, rng


@pytest.mark.value
def test_fold_layer_norm(exercises):
    """The folded layer equals the two; what was handed in stays."""
    x, (gamma, beta), W = rng(0).standard_normal((4, 5)), rng(1).standard_normal((2, 5)), rng(2).standard_normal((5, 3))
    b = np.array([1.0, -2.0, 0.5])
    kept = W.copy()
    new_W, new_b = exercises.fold_layer_norm(gamma, beta, W, b)
    s = (x.var(axis=1, keepdims=True) + 1e-5) ** -0.5
    assert_close(s * (x @ new_W) + new_b, layer_norm(x, gamma, beta)[0] @ W + b, tol=1e-9, what="folded")
    assert_close(s * ((x + 100.0) @ new_W) + new_b, layer_norm(x, gamma, beta)[0] @ W + b, tol=1e-8, what="x + 100")
    assert_close(W, kept, tol=0, what="W")


@pytest.mark.value
@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_spectral_norm(exercises, shape):
    """Many iterations: the largest singular value is 1; one iteration from the next start continues."""
    W, u = rng(3).standard_normal(shape), rng(4).standard_normal(shape[0])
    (W_hat, _), _ = exercises.spectral_norm(W, u, iterations=300)
    assert_close(np.linalg.svd(W_hat, compute_uv=False)[0], np.ones(()), tol=1e-8, what="largest singular value")
    (one, u1), _ = exercises.spectral_norm(W, u, 1)
    (two, _), _ = exercises.spectral_norm(W, u1, 1)
    assert_close(two, exercises.spectral_norm(W, u, 2)[0][0], tol=1e-10, what="two steps")
    assert np.abs(one - W_hat).max() > 1e-6


@pytest.mark.gradient
def test_spectral_norm_backward(exercises):
    """Central differences, once the iteration has converged."""
    W, u, dW_hat = rng(5).standard_normal((4, 3)), rng(6).standard_normal(4), rng(7).standard_normal((4, 3))
    (_, u), cache = exercises.spectral_norm(W, u, 300)
    got = exercises.spectral_norm_backward(dW_hat, cache)
    numeric = numeric_gradient(lambda: exercises.spectral_norm(W, u, 300)[0][0], W, dW_hat)
    assert_close(got, numeric, tol=1e-5, what="dW")
