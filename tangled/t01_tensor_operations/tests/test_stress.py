# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:4e9a5333b3853e72
"""How the operations grow: views in constant time, products in tiles, streams without temporaries."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import rng

pytestmark = pytest.mark.performance


@pytest.mark.levels(2, 3, 4)
@pytest.mark.parametrize("operation", ["broadcast_to", "sliding_windows"])
def test_views_take_constant_time(level, operation):
    """The result grows by a factor of 4,096; the time does not grow with it."""
    def make(n):
        if operation == "broadcast_to":
            return lambda x=np.zeros((1, n)): level.broadcast_to(x, (n, n))
        return lambda x=np.zeros(n * 8): level.sliding_windows(x, n)
    exponent = growth_exponent(make, (256, 2048, 16384))
    assert exponent < 0.3, f"time grows as n^{exponent:.2f}, expected a constant"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("operation", ["broadcast_to", "sliding_windows"])
def test_views_take_constant_memory(level, operation):
    """A result of 8 MB in a few hundred bytes."""
    if operation == "broadcast_to":
        call = lambda x=np.zeros((1, 1000)): level.broadcast_to(x, (1000, 1000))
    else:
        call = lambda x=np.zeros(2000): level.sliding_windows(x, 1000)
    assert call().size >= 1_000_000
    assert peak_memory(call) < 20_000


@pytest.mark.levels(3)
def test_matmul_memory_is_one_tile(level):
    """Beyond the result there is one buffer of a tile, even when an operand is strided."""
    a = rng(0).standard_normal((1024, 512))[:, ::2]
    b = rng(1).standard_normal((256, 512))
    result = 1024 * 512 * 8
    assert peak_memory(lambda: level.matmul(a, b, tile=64)) < result + 12 * 64 * 64 * 8


@pytest.mark.levels(3)
def test_logsumexp_streams(level):
    """The working memory is that of a block, not of the input."""
    x = rng(2).standard_normal((64, 16384))
    assert peak_memory(lambda: level.logsumexp(x)) < x.nbytes / 8


@pytest.mark.levels(3)
def test_softmax_makes_one_array(level):
    """In place means: the result, and one number a row."""
    x = rng(3).standard_normal((256, 1024))
    assert peak_memory(lambda: level.softmax(x)) < 1.2 * x.nbytes
