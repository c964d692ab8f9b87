# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:bd0143fd43a82758
"""How the operations grow: views in constant time, products in tiles, streams without temporaries."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import rng

pytestmark = pytest.mark.performance


def view_of(level, operation, n):
    """A call whose result has n * n entries (broadcast) or n * 7n (windows)."""
    if operation == "broadcast_to":
        row = np.zeros((1, n))
        return lambda: level.broadcast_to(row, (n, n))
    line = np.zeros(n * 8)
    return lambda: level.sliding_windows(line, n)


@pytest.mark.levels(2, 3, 4)
@pytest.mark.parametrize("operation", ["broadcast_to", "sliding_windows"])
def test_views_take_constant_time(level, operation):
    """The result grows by a factor of 4,096; the time does not grow with it."""
    exponent = growth_exponent(lambda n: view_of(level, operation, n), (256, 2048, 16384))
    assert exponent < 0.3, f"time grows as n^{exponent:.2f}, expected a constant"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("operation", ["broadcast_to", "sliding_windows"])
def test_views_take_constant_memory(level, operation):
    """A million entries and more in a few thousand bytes."""
    call = view_of(level, operation, 1000)
    assert call().size >= 1_000_000
    assert peak_memory(call) < 20_000


@pytest.mark.levels(2)
def test_matmul_makes_no_cube(level):
    """Outer products one after the other: a few results of memory, not k of them."""
    a = rng(0).standard_normal((128, 128))
    assert peak_memory(lambda: level.matmul(a, a)) < 4 * a.nbytes


@pytest.mark.levels(3)
def test_matmul_memory_is_one_tile(level):
    """Beyond the result there is one buffer of a tile, even when an operand is strided."""
    a = rng(0).standard_normal((1024, 512))[:, ::2]
    b = rng(1).standard_normal((256, 512))
    result = 1024 * 512 * 8
    assert peak_memory(lambda: level.matmul(a, b, tile=64)) < result + 12 * 64 * 64 * 8


@pytest.mark.levels(2, 3)
def test_einsum_copies_no_matrix(level):
    """A large matrix, transposed, times a vector: the peak is nowhere near a copy of it."""
    a, b = rng(0).standard_normal((400, 500)), rng(1).standard_normal(400)
    assert peak_memory(lambda: level.einsum2("ij,i->j", a, b)) < a.nbytes / 10


@pytest.mark.levels(3)
def test_einsum_copies_no_operand(level):
    """Attention scores from (b, t, h, d) arrays: the peak is the result."""
    q = rng(0).standard_normal((2, 64, 4, 128))
    assert peak_memory(lambda: level.einsum2("bthd,bshd->bhts", q, q)) < 2 * 4 * 64 * 64 * 8 * 1.2


@pytest.mark.levels(3)
def test_exponentials_stream(level):
    """logsumexp works in the memory of a block; softmax in its result, and one number a row."""
    x = rng(2).standard_normal((16, 65536))
    assert peak_memory(lambda: level.logsumexp(x)) < x.nbytes / 8
    assert peak_memory(lambda: level.softmax(x)) < 1.2 * x.nbytes
