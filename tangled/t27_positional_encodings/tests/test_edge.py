# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:61d0693952d22844
"""Chapter 27: what is empty, extreme, not a number, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.edge


def arguments(level, **changes):
    cos, sin = level.rope_tables(9, 4)
    return {"x": np.ones((2, 3, 5, 4)), "cos": cos, "sin": sin, **changes}


@pytest.mark.parametrize("argument, value", [
    ("length", -1), ("length", 2.0), ("length", True), ("dim", 0), ("dim", 7), ("dim", 4.0), ("dim", True),
    ("base", 0.0), ("base", -1.0), ("base", np.inf), ("base", np.nan), ("base", "10"), ("dtype", np.int64)])
def test_tables_refuse(level, argument, value):
    """A size that is none, an odd dim, a base without a logarithm, an integer dtype."""
    for table in (level.sinusoidal_table, level.rope_tables):
        expect_value_error(argument, table, **{"length": 8, "dim": 4, argument: value})
    if argument == "dim":
        expect_value_error("dim", level.interleaved_to_half, value)


@pytest.mark.parametrize("argument, value", [
    ("x", np.ones((2, 3, 5))), ("x", np.ones((2, 3, 5, 3))), ("x", np.ones((2, 3, 5, 0))), ("x", np.ones((2, 3, 5, 4), int)),
    ("cos", np.ones((9, 4))), ("cos", np.ones((9, 1))), ("cos", np.ones(2)), ("cos", np.ones((9, 2), int)),
    ("sin", np.ones((8, 2))), ("sin", np.ones((9, 3))), ("sin", np.ones((9, 2), complex)),
    ("positions", [0, 1, 2, 3, 9]), ("positions", [0, 1, 2, 3, -1]), ("positions", [0.0, 1.0, 2.0, 3.0, 4.0]),
    ("positions", [0, 1, 2]), ("positions", [[0, 1, 2, 3, 4]]), ("layout", "split"), ("layout", None)])
def test_rope_refuses(level, argument, value):
    """Wrong axes, odd features, tables that do not fit, positions that are no rows, unknown layouts."""
    expect_value_error(argument, level.rope, **arguments(level, **{argument: value}))


def test_rope_refuses_sequences_longer_than_the_table(level):
    """Without positions, T must not exceed the rows of the table: T = L passes, T = L + 1 does not."""
    longest = level.rope(**arguments(level, x=np.ones((1, 1, 9, 4))))[0]
    assert longest.shape == (1, 1, 9, 4)
    expect_value_error("positions", level.rope, **arguments(level, x=np.ones((1, 1, 10, 4))))


def test_last_and_first_row_are_legal(level):
    """Positions 0 and L - 1 are accepted, as lists, as small and as unsigned integers."""
    for kind in (list, np.int8, np.uint32):
        positions = [0, 8, 0, 8, 8] if kind is list else np.array([0, 8, 0, 8, 8], kind)
        assert level.rope(**arguments(level, positions=positions))[0].shape == (2, 3, 5, 4)
        assert level.learned_positions(np.ones((9, 2)), positions)[0].shape == (5, 2)


@pytest.mark.parametrize("argument, changes", [
    ("table", {"table": np.ones(3)}), ("table", {"table": np.ones((3, 2), int)}), ("positions", {"positions": [3]}),
    ("positions", {"positions": [-1]}), ("positions", {"positions": [True]}), ("positions", {"positions": [1.0]})])
def test_learned_refuses(level, argument, changes):
    """A table that is no floating matrix; positions that are no rows of it, negative ones above all."""
    expect_value_error(argument, level.learned_positions, **{"table": np.ones((3, 2)), "positions": [0], **changes})


@pytest.mark.parametrize("argument, x, encoding", [
    ("x", (3, 4), (3, 4)), ("encoding", (2, 3, 4), (4, 4)), ("encoding", (2, 3, 4), (1, 3, 4)),
    ("encoding", (2, 3, 4), (4,)), ("encoding", (2, 2, 4), (2, 5)), ("encoding", (2, 3, 4), (3, 1))])
def test_add_refuses(level, argument, x, encoding):
    """Encodings that NumPy would broadcast without complaint, but along axes that nobody meant."""
    expect_value_error(argument, level.add_positions, np.ones(x), np.ones(encoding))
    expect_value_error(argument, level.add_positions, np.ones(x, int), np.ones(encoding)) if argument == "x" else None


@pytest.mark.parametrize("argument, changes", [
    ("slopes", {"slopes": np.ones((2, 1))}), ("slopes", {"slopes": [1, 2]}), ("length", {"length": -1}),
    ("length", {"length": 2.5}), ("past", {"past": -1}), ("past", {"past": 1.0})])
def test_alibi_refuses(level, argument, changes):
    """Slopes that are no vector of floats, and sizes that are none; no heads at all."""
    expect_value_error(argument, level.alibi_bias, **{"slopes": np.ones(2), "length": 3, **changes})
    for heads in (0, -1, 2.0, True):
        expect_value_error("heads", level.alibi_slopes, heads)


def test_backward_refuses_a_gradient_of_another_shape(level):
    """A dout that would broadcast, or that is not floating, is refused by name."""
    ops = [(level.rope(**arguments(level))[1], level.rope_backward, (2, 3, 1, 4)),
           (level.learned_positions(np.ones((3, 2)), [0, 1])[1], level.learned_positions_backward, (1, 2)),
           (level.add_positions(np.ones((2, 3, 4)), np.ones((3, 4)))[1], level.add_positions_backward, (1, 3, 4))]
    for cache, backward, shape in ops:
        expect_value_error("dout", backward, np.ones(shape), cache)
        expect_value_error("dout", backward, np.ones(shape, int), cache)


@pytest.mark.parametrize("shape", [(0, 3, 5, 4), (2, 0, 5, 4), (2, 3, 0, 4), (1, 1, 1, 4), (1, 1, 1, 2)])
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_empty_and_single(level, shape, layout):
    """An empty batch, no heads, no tokens, one token of one head, one pair: all of them go through."""
    cos, sin = level.rope_tables(9, shape[-1])
    x = rng(1).standard_normal(shape)
    out, cache = level.rope(x, cos, sin, layout=layout)
    assert out.shape == level.rope_backward(out, cache).shape == shape
    if shape[2] == 1:
        assert_close(out, x, tol=1e-12, what="one token at position 0")


def test_empty_tables_and_lookups(level):
    """No rows, no positions, no batch: empty results, and zeros for the gradient of a sum over nothing."""
    assert level.sinusoidal_table(0, 4).shape == (0, 4) and level.rope_tables(0, 4)[1].shape == (0, 2)
    assert level.sinusoidal_table(1, 2).tolist() == [[0.0, 1.0]]
    out, cache = level.learned_positions(np.ones((3, 2)), np.zeros((0, 4), int))
    assert out.shape == (0, 4, 2) and not level.learned_positions_backward(out, cache).any()
    out, cache = level.add_positions(np.ones((0, 3, 4)), np.ones((3, 4)))
    assert_close(level.add_positions_backward(out, cache)[1], np.zeros((3, 4)), what="dencoding")
    assert level.alibi_bias(np.ones(2), 0).shape == (2, 0, 0)
    assert level.alibi_bias(np.ones(2), 0, past=3).shape == (2, 0, 3)
    assert level.alibi_bias(np.ones(2), 1).tolist() == [[[0.0]], [[0.0]]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout, partner", [("interleaved", 3), ("half", 4)])
def test_not_a_number_stays_in_its_pair(level, value, layout, partner):
    """NaN and Inf spoil their own pair at their own position, both members, and nothing else."""
    x = np.ones((2, 1, 3, 6)) if layout == "interleaved" else np.ones((2, 1, 3, 4))
    spoilt = 2
    if layout == "half":
        spoilt, partner = 0, 2
    x[1, 0, 2, spoilt] = value
    cos, sin = level.rope_tables(3, x.shape[-1])
    with np.errstate(invalid="ignore"):
        out, _ = level.rope(x, cos, sin, layout=layout)
    expected = np.zeros(x.shape, bool)
    expected[1, 0, 2, [spoilt, partner]] = True
    assert np.array_equal(~np.isfinite(out), expected)


def test_strided_input(level):
    """Heads split off by a transpose, a reversed axis, every other feature: views go through as copies do."""
    cos, sin = level.rope_tables(5, 4)
    base = rng(2).standard_normal((2, 5, 3, 8))
    for x in (base[..., :4].swapaxes(1, 2), base[..., ::2].swapaxes(1, 2), base[..., 7:3:-1].swapaxes(1, 2)):
        for layout in ("interleaved", "half"):
            expected = level.rope(np.ascontiguousarray(x), cos, sin, layout=layout)[0]
            assert_close(level.rope(x, cos, sin, layout=layout)[0], expected, tol=1e-12, what="strided")


def test_large_values(level):
    """Features of 1e30 in float32 are turned without overflow: rotations keep lengths."""
    x = np.full((1, 1, 4, 4), 1e30, np.float32)
    out, _ = level.rope(x, *level.rope_tables(4, 4))
    assert_close(np.linalg.norm(out / 1e30, axis=-1), np.full((1, 1, 4), 2.0), what="length")
