# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:3a74f4c9eeb9fddf
"""Chapter 22: growth of time and memory, as exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, V, B=64, K=5, D=16, dtype=np.float32):
    """A function that makes one step on tables of V words, the same words every time."""
    tables = [rng(k).standard_normal((V, D)).astype(dtype) for k in range(2)]
    ids = [rng(k + 2).integers(0, 500, shape) for k, shape in enumerate([(B,), (B,), (B, K)])]
    return lambda: level.skip_gram_step(*ids, *tables)


def bag(level, V, B=32, C=4, K=5, D=16, dtype=np.float32):
    """The same of CBOW."""
    tables = [rng(k).standard_normal((V, D)).astype(dtype) for k in range(2)]
    context, centre, negatives = (rng(k + 2).integers(0, 500, shape) for k, shape in enumerate([(B, C), (B,), (B, K)]))
    mask = rng(5).random((B, C)) < 0.7
    return lambda: level.cbow_step(context, mask, centre, negatives, *tables)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("make", [step, bag])
def test_memory_does_not_grow_with_the_vocabulary(level, make, dtype):
    """Rows that are used, not tables, and no copy of a table in a wider dtype."""
    ratio = peak_memory(make(level, 50_000, dtype=dtype)) / peak_memory(make(level, 500, dtype=dtype))
    assert ratio < 1.2, f"{ratio:.2f} times the memory for 100 times the words"


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("make", [step, bag])
def test_time_does_not_grow_with_the_vocabulary(level, make):
    """The exponent of V is 0; dense gradients would make it 1."""
    exponent = growth_exponent(lambda V: make(level, V), [1_000, 10_000, 100_000])
    assert exponent < 0.3, f"time grows as V^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_table_is_built_in_linear_time(level):
    """Vose: every column is filled once."""
    exponent = growth_exponent(lambda V: lambda: level.AliasTable(rng(0).random(V)), [2_000, 8_000, 32_000])
    assert exponent < 1.4, f"the table takes V^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_draws_are_constant(level):
    """As long for 100,000 words as for 1,000, but for the cache."""
    tables = {V: level.AliasTable(np.ones(V)) for V in (1_000, 100_000)}
    ratio = time_ratio(lambda: tables[100_000].draw(3_000, rng(0)), lambda: tables[1_000].draw(3_000, rng(0)))
    assert ratio < 4, f"{ratio:.1f} times as long"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Many times as fast as pair by pair."""
    from tangled.t22_word2vec import level1_naive as loops
    ratio = time_ratio(step(loops, 500, B=32), step(level, 500, B=32), rounds=3)
    assert ratio > 5, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(2, 3)
def test_large_batches(level):
    """Runs long and short, beyond what is summed one by one: equal to a dense sum."""
    ids, rows = np.minimum(rng(1).geometric(0.02, 5_000), 300), rng(2).standard_normal((5_000, 6))
    want = np.zeros((301, 6))
    np.add.at(want, ids, rows)
    found, sums = level.sum_rows(ids, rows)
    assert_close(sums, want[found], tol=1e-10, what="sums")
