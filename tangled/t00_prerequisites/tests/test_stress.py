# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:9239d44c49fb64d2
"""How time and memory grow, as ratios and exponents."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


@pytest.mark.levels(3)
def test_matmul_memory_is_the_answers(level):
    """Level 3's peak grows with the square of n (the answer), not with its cube."""
    def product(n):
        a = rng(n).standard_normal((n, n))
        return lambda: level.matmul(a, a)

    exponent = growth_exponent(product, (48, 96, 192), measure="memory")
    assert exponent < 2.3, f"peak memory grows as n^{exponent:.2f}, expected n^2"


@pytest.mark.levels(2, 3)
def test_softmax_memory_is_linear(level):
    """A few arrays of the input's size, never a C by C matrix."""
    x = rng(0).standard_normal((64, 512))
    assert peak_memory(lambda: level.softmax(x)) < 4 * x.nbytes


@pytest.mark.levels(1, 2, 3)
def test_softmax_rows_are_independent(level):
    """Two hundred rows at once equal two hundred calls of one row."""
    x = rng(1).standard_normal((200, 7)) * 5
    together = level.softmax(x)
    apart = np.concatenate([level.softmax(row[None]) for row in x])
    assert_close(together, apart, tol=1e-15, what="softmax")
