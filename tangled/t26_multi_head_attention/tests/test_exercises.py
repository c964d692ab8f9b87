# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:4968891e611a1186
"""Chapter 26: the graded exercises."""

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t25_self_attention import attention
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.value
def test_pool_key_heads(exercises):
    """Means of neighbours, for weights and a bias; tied heads come back as they were; w stays."""
    w = rng(0).standard_normal((5, 12)).astype(np.float32)
    kept = w.copy()
    pooled = exercises.pool_key_heads(w, 6, 2)
    heads = [w[:, 2 * h:2 * h + 2] for h in range(6)]
    expected = np.concatenate([sum(heads[:3]) / 3, sum(heads[3:]) / 3], axis=1)
    assert pooled.dtype == np.float32
    assert_close(pooled, expected, tol=1e-6, what="weights")
    assert_close(exercises.pool_key_heads(w[0], 6, 2), expected[0], tol=1e-6, what="a bias")
    tied = np.repeat(w.reshape(5, 3, 1, 4), 2, axis=2).reshape(5, 24)
    assert_close(exercises.pool_key_heads(tied, 6, 3), w, tol=1e-6, what="tied heads")
    assert_close(exercises.pool_key_heads(w, 6, 6), w, tol=0, what="no groups")
    assert_close(w, kept, tol=0, what="w")


@pytest.mark.value
@pytest.mark.parametrize("masked", [False, True])
def test_latent_attention(exercises, masked):
    """Equal to attention with the keys and values written out."""
    q, latent = rng(1).standard_normal((2, 3, 4, 5)), rng(2).standard_normal((2, 6, 7))
    w_k, w_v = rng(3).standard_normal((3, 7, 5)), rng(4).standard_normal((3, 7, 2))
    mask = rng(5).random((2, 1, 4, 6)) < 0.6 if masked else None
    out, _ = exercises.latent_attention(q, latent, w_k, w_v, mask)
    expected, _ = attention(q, latent[:, None] @ w_k, latent[:, None] @ w_v, mask)
    assert_close(out, expected, tol=1e-10, what="out")


@pytest.mark.gradient
def test_latent_attention_backward(exercises):
    """Central differences for all four."""
    inputs = [rng(k).standard_normal(s) for k, s in enumerate(((2, 3, 4, 5), (2, 6, 2), (3, 2, 5), (3, 2, 4)))]
    check_gradients(exercises.latent_attention, exercises.latent_attention_backward, inputs)


@pytest.mark.performance
def test_latent_attention_makes_no_keys(exercises):
    """One query, 4,096 latents of 4 numbers: far less memory than the keys of 8 heads would take."""
    q, latent = np.ones((1, 8, 1, 64)), np.ones((1, 4096, 4))
    w_k, w_v = np.ones((8, 4, 64)), np.ones((8, 4, 64))
    peak, keys = peak_memory(lambda: exercises.latent_attention(q, latent, w_k, w_v)), 8 * 8 * 4096 * 64
    assert peak < keys / 4, f"{peak / keys:.2f} of what the keys take"
