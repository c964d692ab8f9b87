# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:f527113a66395404
"""Chapter 27: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance
both_layouts = pytest.mark.parametrize("layout", ["interleaved", "half"])


def rotation(level, shape, layout, in_place=False, dtype=np.float32):
    tables = level.rope_tables(*shape[2:])                      # float64, and cast for x
    x = rng(1).standard_normal(shape).astype(dtype)
    return lambda: level.rope(x, *tables, layout=layout, **({"out": x} if in_place else {}))


@both_layouts
def test_rotation_is_linear_in_the_length(level, level_number, layout):
    """Time O(T): an exponent near 1, and well below the 2 of anything quadratic."""
    start = 32 if level_number == 1 else 1024
    exponent = growth_exponent(lambda n: rotation(level, (1, 2, n, 32), layout),
                               [start, 2 * start, 4 * start])
    assert exponent < 1.6, f"time grows as T^{exponent:.2f}"


@both_layouts
def test_rotation_holds_no_matrix(level, layout):
    """Peak memory O(D): a matrix of D x D, even one alone, would give exponent 2."""
    exponent = growth_exponent(lambda n: rotation(level, (1, 2, 4, n), layout),
                               [1024, 2048, 4096], measure="memory")
    assert exponent < 1.3, f"memory grows as D^{exponent:.2f}"


@pytest.mark.levels(1, 2, 3)                                    # PyTorch's memory is not counted
def test_float32_takes_half_the_memory(level):
    """Tables of float64 do not make temporaries of float64 for an x of float32."""
    single, double = (peak_memory(rotation(level, (4, 4, 16, 32), "interleaved", dtype=dtype))
                      for dtype in (np.float32, np.float64))
    assert single < 0.75 * double, f"{single / double:.2f} of the memory for float64"


def test_tables_are_linear(level):
    """Tables take memory O(L): nothing of size L x L is formed on the way."""
    exponent = growth_exponent(lambda n: lambda: level.sinusoidal_table(n, 8),
                               [2000, 4000, 8000], measure="memory")
    assert exponent < 1.3, f"memory grows as L^{exponent:.2f}"


def test_scatter_holds_no_one_hot_matrix(level):
    """The gradient of a lookup takes memory O(N D + L D), not the O(N L) of a one-hot matrix."""
    def scatter(n):
        positions = rng(2).integers(0, n, n)
        out, cache = level.learned_positions(np.ones((n, 4), np.float32), positions)
        return lambda: level.learned_positions_backward(out, cache)

    exponent = growth_exponent(scatter, [1000, 2000, 4000], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("layout, share", [("interleaved", 0.1), ("half", 0.4)])
def test_level3_needs_less_memory(level, layout, share):
    """With out=x the peak is a fraction of level 2's: the angles, and one block for half."""
    from tangled.t27_positional_encodings import level2_vectorized as plain
    shape = (8, 8, 256, 64)
    lean = peak_memory(rotation(level, shape, layout, in_place=True))
    full = peak_memory(rotation(plain, shape, layout))
    assert lean < share * full, f"{lean / full:.2f} of level 2's memory"


@pytest.mark.levels(3)
@pytest.mark.parametrize("layout, share", [("interleaved", 0.1), ("half", 0.5)])
def test_level3_needs_no_second_x(level, layout, share):
    """In place, of many heads: complex numbers need a turn for each angle, halves one block."""
    shape = (1, 2048, 4, 64)
    size = peak_memory(lambda: np.ones(shape, np.float32))
    peak = peak_memory(rotation(level, shape, layout, in_place=True))
    assert peak < share * size, f"{peak} bytes for an x of {size}"


@pytest.mark.levels(3)
@both_layouts
def test_level3_writes_where_told(level, layout):
    """out=x overwrites x with what a call without out= gives; a wrong out is refused."""
    x = rng(3).standard_normal((3, 2, 7, 8)).astype(np.float32)
    tables, positions = level.rope_tables(7, 8), rng(4).integers(0, 7, (3, 7))
    expected, cache = level.rope(x, *tables, positions, layout)
    assert level.rope(x, *tables, positions, layout, out=x)[0] is x
    assert_close(x, expected, tol=0, what="out, in place")
    expected = level.rope_backward(x, cache)
    assert level.rope_backward(x, cache, out=x) is x
    assert_close(x, expected, tol=0, what="dx, in place")
    for out in (x[:1], x.astype(float), x.tolist()):
        with pytest.raises(ValueError, match=r"out is .*expected float32"):
            level.rope(x, *tables, out=out)


@pytest.mark.levels(3)
def test_level3_leaves_buffers_as_they_were(level):
    """NumPy's buffers are set for one product; whoever calls has the size that was there."""
    x, tables, before = np.ones((2, 2, 5, 8)), level.rope_tables(5, 8), np.getbufsize()
    with np.errstate():
        np.setbufsize(before // 2)
        level.rope_backward(x, level.rope(x, *tables)[1])
        assert np.getbufsize() == before // 2
    assert np.getbufsize() == before


@pytest.mark.levels(3)
def test_level3_doubles(level, monkeypatch):
    """2,048 rows take 11 calls of the exponential, and no sine."""
    calls, exp = [], np.exp
    monkeypatch.setattr(np, "exp", lambda *args, **options: calls.append(1) or exp(*args, **options))
    monkeypatch.setattr(np, "sin", None)
    level.rope_tables(2048, 4)
    assert len(calls) <= 12, f"{len(calls)} calls of np.exp for 2,048 rows"


@pytest.mark.levels(3)
def test_level3_adds_where_told(level):
    """The sum into x, its gradient into dout, and dencoding of either shape beside them."""
    x = rng(5).standard_normal((3, 4, 2))
    for encoding in (x[0].copy(), x + 1.0):
        total, dout = x.copy(), x - 2.0
        expected, cache = level.add_positions(x, encoding)
        assert level.add_positions(total, encoding, out=total)[0] is total
        assert_close(total, expected, tol=0, what="out, in place")
        kept = dout.copy()
        dx, dencoding = level.add_positions_backward(dout, cache, out=dout)
        assert dx is dout and not np.shares_memory(dx, dencoding)
        assert_close(dx, kept, tol=0, what="dx, in place")
        assert_close(dencoding, kept.sum(0) if encoding.ndim == 2 else kept, tol=1e-12, what="dencoding")


@pytest.mark.levels(3)
def test_level3_bias_is_a_view(level):
    """Memory O(T) for a bias of T x T: a read-only view of one ramp a head."""
    exponent = growth_exponent(lambda n: lambda: level.alibi_bias(np.ones(2), n),
                               [500, 1000, 2000], measure="memory")
    assert exponent < 1.3, f"memory grows as T^{exponent:.2f}"
    assert not level.alibi_bias(np.ones(2), 8).flags.writeable
