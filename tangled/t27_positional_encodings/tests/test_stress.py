# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:c9458a12203a6f6a
"""Chapter 27: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import rng

pytestmark = pytest.mark.performance


def rotation(level, steps, dim, layout="interleaved", **options):
    cos, sin = level.rope_tables(steps, dim, dtype=np.float32)
    x = rng(1).standard_normal((1, 2, steps, dim)).astype(np.float32)
    return lambda: level.rope(x, cos, sin, layout=layout, **(options and {"out": x}))


def size(level, small, large):
    return small if "level1" in level.__name__ else large


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_rotation_is_linear_in_the_length(level, layout):
    """Time O(T): doubling the tokens doubles the work."""
    start = size(level, 64, 8192)
    exponent = growth_exponent(lambda steps: rotation(level, steps, 32, layout), [start, 2 * start, 4 * start])
    assert exponent < 1.5, f"time grows as T^{exponent:.2f}"


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_rotation_holds_no_matrix(level, layout):
    """Peak memory O(D): an array of D x D numbers, or one matrix a position, would give exponent 2."""
    exponent = growth_exponent(lambda dim: rotation(level, 4, dim, layout), [1024, 2048, 4096], measure="memory")
    assert exponent < 1.3, f"memory grows as D^{exponent:.2f}"


def test_tables_are_linear(level):
    """Tables take memory O(L): nothing of size L x L is formed on the way."""
    exponent = growth_exponent(lambda rows: lambda: level.sinusoidal_table(rows, 8), [2000, 4000, 8000], measure="memory")
    assert exponent < 1.2, f"memory grows as L^{exponent:.2f}"


def test_scatter_holds_no_one_hot_matrix(level):
    """The gradient of a lookup takes memory O(N D + L D), not the O(N L) of a one-hot matrix."""
    def scatter(n):
        positions = rng(2).integers(0, n, n)
        out, cache = level.learned_positions(np.ones((n, 4), np.float32), positions)
        return lambda: level.learned_positions_backward(out, cache)

    exponent = growth_exponent(scatter, [1000, 2000, 4000], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("layout, share", [("interleaved", 0.15), ("half", 0.7)])
def test_level3_in_place(level, layout, share):
    """With out=x, the peak is a fraction of level 2's: the angles, and for the half-split layout one block."""
    from tangled.t27_positional_encodings import level2_vectorized as plain
    lean = peak_memory(rotation(level, 256, 64, layout, out=True))
    assert lean < share * peak_memory(rotation(plain, 256, 64, layout))


@pytest.mark.levels(3)
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_level3_writes_where_told(level, layout):
    """out=x overwrites x with the result that a call without out= gives, forward and backward."""
    x = rng(3).standard_normal((3, 2, 7, 8)).astype(np.float32)
    cos, sin = level.rope_tables(7, 8)
    positions = rng(4).integers(0, 7, (3, 7))
    expected, cache = level.rope(x, cos, sin, positions, layout)
    out, _ = level.rope(x, cos, sin, positions, layout, out=x)
    assert out is x and np.array_equal(x, expected)
    expected = level.rope_backward(x, cache)
    assert level.rope_backward(x, cache, out=x) is x and np.array_equal(x, expected)
    assert level.add_positions(x[0], x[0], out=x[0])[0].base is x


@pytest.mark.levels(3)
def test_level3_bias_is_a_view(level):
    """Memory O(T) for a bias of T x T: the matrix is a read-only view of one ramp a head."""
    exponent = growth_exponent(lambda n: lambda: level.alibi_bias(np.ones(2), n), [500, 1000, 2000], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"
    assert not level.alibi_bias(np.ones(2), 8).flags.writeable
