# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:0cce8d900de84849
"""Chapter 05: the graded exercises."""

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.value


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 13, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunked_cross_entropy(exercises, chunk, dtype):
    """The loss of all columns at once, for chunks that divide 13 and that do not; inputs stay."""
    h, W = (rng(k).standard_normal(s).astype(dtype) for k, s in enumerate(((7, 4), (4, 13))))
    y = np.array([0, 12, 5, 3, 9, 10, 4])
    kept = h.copy(), W.copy(), y.copy()
    for size in (1, 30):
        loss = exercises.chunked_cross_entropy(h, (size * W).astype(dtype), y, chunk)
        wanted = softmax_cross_entropy(h @ (size * W).astype(dtype), y)[0]
        assert_close(loss, wanted, dtype=dtype, what="loss")
    assert_close((h, W, y), kept, what="inputs after the call")


@pytest.mark.parametrize("order", [1, -1])
def test_chunked_extremes(exercises, order):
    """Logits of +-1e4 that rise or fall from chunk to chunk: finite and right."""
    W = order * np.linspace(-1e4, 1e4, 9, dtype=np.float32)[None]          # (1, 9)
    y = np.array([0, 8, 4])
    with np.errstate(over="raise", divide="raise"):
        loss = exercises.chunked_cross_entropy(np.ones((3, 1), np.float32), W, y, 2)
    assert_close(loss, np.float32(1e4), what="loss")


def test_chunked_memory(exercises):
    """No array of N times K numbers."""
    h, W = (rng(k).standard_normal(s).astype(np.float32) for k, s in enumerate(((64, 8), (8, 4000))))
    y = np.arange(64)
    exercises.chunked_cross_entropy(h, W, y, 50)
    assert peak_memory(lambda: exercises.chunked_cross_entropy(h, W, y, 50)) < 0.4 * 64 * 4000 * 4


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 3)])
def test_orthogonal(exercises, shape):
    """The shorter side is orthonormal times the gain; float32; the generator decides."""
    for gain in (1.0, 3.0):
        W = exercises.orthogonal(rng(1), shape, gain)
        short = W.T @ W if shape[0] >= shape[1] else W @ W.T
        assert_close(W, exercises.orthogonal(rng(1), shape, gain), dtype=np.float32, what="same seed")
        assert W.shape == shape
        assert_close(short, gain**2 * np.eye(min(shape), dtype=np.float32), tol=1e-4, what="products")


def test_orthogonal_is_uniform(exercises):
    """Every entry has mean 0 and variance 1 / n: without the signs of R, the diagonal has not."""
    generator, n, draws = rng(2), 3, 2000
    found = np.array([exercises.orthogonal(generator, (n, n)) for _ in range(draws)])
    assert_close(1 + found.mean(axis=0), np.ones((n, n)), tol=0.06, what="1 + mean")
    assert_close((found**2).mean(axis=0), np.full((n, n), 1 / n), tol=0.1, what="variance")
