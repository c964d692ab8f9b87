# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:d9d273f7a28028f9
"""Chapter 27: what is empty, extreme, not a number, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_layouts, assert_repeatable, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
VALID = {
    "sinusoidal_table": {"length": 8, "dim": 4},
    "rope_tables": {"length": 8, "dim": 4},
    "interleaved_to_half": {"dim": 4},
    "learned_positions": {"table": ones((3, 2)), "positions": [0, 2]},
    "add_positions": {"x": ones((2, 3, 4)), "encoding": ones((3, 4))},
    "rope": {"x": ones((2, 3, 5, 4)), "cos": ones((9, 2)), "sin": ones((9, 2))},
    "alibi_slopes": {"heads": 2},
    "alibi_bias": {"slopes": ones(2), "length": 3},
}
BAD_SIZES = [-1, 2.0, True, None]
BAD_TABLE = {"length": BAD_SIZES, "dim": [0, 1, 7, 4.0, True],
             "base": [0.0, -1.0, np.inf, np.nan, "10"], "dtype": [np.int64, bool]}
REFUSED = {
    "sinusoidal_table": BAD_TABLE,
    "rope_tables": BAD_TABLE,
    "interleaved_to_half": {"dim": [0, 1, 3, 4.0]},
    "learned_positions": {"table": [ones(3), ones((3, 2, 1)), ones((3, 2), int)],
                          "positions": [[3], [-1], [True], [1.0]]},
    "add_positions": {"x": [ones((3, 4)), ones((2, 3, 4), int)],
                      "encoding": [ones((4, 4)), ones((1, 3, 4)), ones((3, 1)), ones(4),
                                   ones((3, 4), int)]},
    "rope": {"x": [ones((2, 3, 5)), ones((2, 3, 5, 3)), ones((2, 3, 5, 0)), ones((2, 3, 5, 4), int)],
             "cos": [ones((9, 4)), ones((9, 1)), ones(2), ones((9, 2), int)],
             "sin": [ones((8, 2)), ones((9, 3)), ones((9, 2), complex)],
             "positions": [[0, 1, 2, 3, 9], [0, 1, 2, 3, -1], [0.0] * 5, [0, 1, 2],
                           [[0, 1, 2, 3, 4]]],
             "layout": ["split", "", None]},
    "alibi_slopes": {"heads": [0, *BAD_SIZES]},
    "alibi_bias": {"slopes": [ones((2, 1)), [1, 2]], "length": BAD_SIZES, "past": BAD_SIZES},
}
CASES = [(function, argument, value) for function, bad in REFUSED.items()
         for argument, values in bad.items() for value in values]


@pytest.mark.parametrize("function, argument, value", CASES)
def test_refuses(level, function, argument, value):
    """Sizes that are none, shapes that NumPy would broadcast, positions that are no rows."""
    expect_value_error(argument, getattr(level, function), **{**VALID[function], argument: value})


@pytest.mark.parametrize("function, changes, text", [
    ("alibi_slopes", {"heads": 0}, "heads = 0; expected an integer of at least 1"),
    ("alibi_bias", {"length": -1}, "length = -1; expected an integer of at least 0"),
    ("rope_tables", {"dim": 7}, "dim = 7; expected an even number, for features turn in pairs"),
    ("rope_tables", {"dim": 1}, "dim = 1; expected an integer of at least 2"),
    ("rope_tables", {"base": -1.0}, "base = -1.0; expected a positive finite number"),
    ("rope_tables", {"dtype": int}, "dtype = int64; expected a floating-point type"),
    ("rope", {"x": ones(2, int)}, "x has dtype int64; expected floating point"),
    ("rope", {"x": ones(2)}, "x has shape (2,); expected (B, H, T, D)"),
    ("rope", {"x": ones((1, 1, 1, 3))}, "x has 3 features; expected an even number, at least 2"),
    ("rope", {"cos": ones((9, 3))}, "cos has shape (9, 3); expected (L, 2)"),
    ("rope", {"layout": "split"}, "layout = 'split'; expected 'interleaved' or 'half'"),
    ("rope", {"positions": [0.5]}, "positions has dtype float64; expected integers"),
    ("rope", {"positions": [0]}, "positions has shape (1,); expected (5,) or (2, 5)"),
    ("rope", {"x": ones((1, 1, 10, 4))},
     "positions run from 0 to 9; expected 0 to 8, the rows of the table"),
    ("learned_positions", {"table": ones(3)}, "table has shape (3,); expected (L, D)"),
    ("add_positions", {"x": ones(3)}, "x has shape (3,); expected (B, T, D)"),
    ("add_positions", {"encoding": ones(3)}, "encoding has shape (3,); expected (3, 4)"),
    ("alibi_bias", {"slopes": ones((1, 1))}, "slopes has shape (1, 1); expected (H,)")])
def test_messages(level, function, changes, text):
    """A message names argument, value and expectation: free sizes as letters, fixed ones as numbers."""
    with pytest.raises(ValueError) as caught:
        getattr(level, function)(**{**VALID[function], **changes})
    assert str(caught.value) == text


def test_backward_refuses_a_gradient_of_another_shape(level):
    """A dout that would broadcast, or that is not floating, is refused by name."""
    for op in ("rope", "learned_positions", "add_positions"):
        out, cache = getattr(level, op)(**VALID[op])
        for dout in (out[:1], out[..., :1], out.astype(int)):
            expect_value_error("dout", getattr(level, op + "_backward"), dout, cache)


def test_limits_are_legal(level):
    """Smallest sizes, first and last row, lists, small and unsigned integers, T = L."""
    assert_close(level.sinusoidal_table(np.int64(1), 2, base=1), np.array([[0.0, 1.0]]), tol=0, what="row 0")
    assert_close(level.alibi_slopes(np.int32(1)), np.array([2.0 ** -8]), tol=1e-15, what="slope of one head")
    assert level.rope(**{**VALID["rope"], "x": ones((1, 1, 9, 4))})[0].shape == (1, 1, 9, 4)
    for kind in (list, np.int8, np.uint32):
        positions = [0, 8, 0, 8, 8] if kind is list else np.array([0, 8, 0, 8, 8], kind)
        assert level.rope(**VALID["rope"], positions=positions)[0].shape == (2, 3, 5, 4)
        assert level.learned_positions(ones((9, 2)), positions)[0].shape == (5, 2)


@pytest.mark.parametrize("shape", [(0, 3, 5, 4), (2, 0, 5, 4), (2, 3, 0, 4), (1, 1, 1, 2)])
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_empty_and_single(level, shape, layout):
    """An empty batch, no heads, no tokens, one pair of one token: all of them go through."""
    x = rng(1).standard_normal(shape)
    out, cache = level.rope(x, *level.rope_tables(9, shape[-1]), layout=layout)
    assert_close(out, x, tol=1e-12, what="one token at position 0")
    assert level.rope_backward(out, cache).shape == shape


def test_empty_tables_and_lookups(level):
    """No rows, no positions, no batch: empty results; the sum over nothing is 0."""
    assert level.sinusoidal_table(0, 4).shape == (0, 4)
    assert level.rope_tables(0, 4)[1].shape == (0, 2)
    out, cache = level.learned_positions(ones((3, 2)), np.zeros((0, 4), int))
    assert out.shape == (0, 4, 2)
    assert_close(level.learned_positions_backward(out, cache), np.zeros((3, 2)), what="dtable")
    out, cache = level.add_positions(ones((0, 3, 4)), ones((3, 4)))
    assert_close(level.add_positions_backward(out, cache)[1], np.zeros((3, 4)), what="dencoding")
    assert level.alibi_bias(ones(2), 0).shape == (2, 0, 0)
    assert level.alibi_bias(ones(2), 0, 3).shape == (2, 0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout, partner", [("interleaved", 1), ("half", 2)])
def test_not_a_number_stays_in_its_pair(level, value, layout, partner):
    """NaN and Inf spoil their own pair at their own position, both members, and nothing else."""
    x, finite = ones((2, 1, 3, 4)), ones((2, 1, 3, 4))
    x[1, 0, 2, 0], finite[1, 0, 2, [0, partner]] = value, 0.0
    with np.errstate(invalid="ignore"):
        out, _ = level.rope(x, *level.rope_tables(3, 4), layout=layout)
    assert_close(np.isfinite(out).astype(float), finite, what="1 where finite")


PACKED = np.array([[0, 8, 2], [4, 0, 0]])
OPS = [("rope", layout, positions) for layout in ("interleaved", "half") for positions in (None, [4, 0, 8], PACKED)]
OPS += [("learned_positions", None, PACKED), ("add_positions", "shared", None), ("add_positions", "own", None)]


def op(level, name, kind, positions):
    """(f, inputs, f_backward) of an op; all sizes differ."""
    x = rng(2).standard_normal((2, 5, 3, 4))
    backward = getattr(level, name + "_backward")
    if name == "learned_positions":
        return level.learned_positions, [rng(3).standard_normal((9, 4)), positions], backward
    if name == "add_positions":
        encoding = rng(4).standard_normal((3, 4) if kind == "shared" else (2, 3, 4))
        return level.add_positions, [x[:, 0], encoding], backward
    tables = level.rope_tables(9, 4)
    if positions is None:
        return lambda x, cos, sin, **out: level.rope(x, cos, sin, layout=kind, **out), [x, *tables], backward
    return (lambda x, cos, sin, p, **out: level.rope(x, cos, sin, p, kind, **out),
            [x, *tables, np.array(positions)], backward)


@pytest.mark.parametrize("name, kind, positions", OPS)
def test_memory_layouts(level, level_number, name, kind, positions):
    """What counts is the array, not how it lies in memory: inputs, upstream gradients, and `out=`."""
    f, inputs, backward = op(level, name, kind, positions)
    out = True if level_number == 3 and name != "learned_positions" else None
    assert_layouts(f, inputs, backward, out=out, backward_out=out)


@pytest.mark.parametrize("name, kind, positions", OPS)
def test_called_twice(level, name, kind, positions):
    """A second call gives the same, in arrays of its own; a cache survives its backward."""
    f, inputs, backward = op(level, name, kind, positions)
    assert_repeatable(f, inputs, backward)


def test_tables_called_twice(level):
    """A table may be written to without spoiling the next one; slopes in every memory layout."""
    assert_repeatable(lambda: level.sinusoidal_table(5, 4), [])
    assert_repeatable(lambda: level.rope_tables(5, 4), [])
    assert_repeatable(lambda: level.interleaved_to_half(6), [])
    assert_repeatable(lambda: level.alibi_slopes(5), [])
    assert_repeatable(lambda slopes: level.alibi_bias(slopes, 4, 2), [level.alibi_slopes(3)])
    assert_layouts(lambda slopes: level.alibi_bias(slopes, 4, 2), [level.alibi_slopes(3)])


@pytest.mark.parametrize("name, kind, positions", OPS)
def test_dtypes(level, name, kind, positions):
    """float16 to float64 come back as they went in, rounded once; large and tiny numbers too."""
    f, inputs, backward = op(level, name, kind, positions)
    large = [np.full(inputs[0].shape, 4e4), *inputs[1:]]
    assert_dtypes(f, inputs, f_backward=backward, scales=(1.0, 1e-3, 1e3), extremes=[large],
                  refuses=(np.int64, np.bool_), tol={2: 6e-4})


def test_sums_in_float16(level):
    """Thousands of ones: float16 cannot count beyond 2,048 in steps of one, the sum must not be in it."""
    many = np.full(5000, 2)
    out, cache = level.learned_positions(ones((4, 3), np.float16), many)
    expected = np.array([[0, 0, 5000, 0]] * 3, np.float16).T
    assert_close(level.learned_positions_backward(out, cache), expected, tol=0, what="dtable")
    x = ones((3000, 2, 3), np.float16)
    _, cache = level.add_positions(x, x[0])
    assert_close(level.add_positions_backward(x, cache)[1], np.full((2, 3), 3000, np.float16), tol=0, what="dencoding")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bias_far_back(level, dtype):
    """70,000 tokens back: too far for float16 to count, and its product with a slope is not."""
    bias = level.alibi_bias(np.array([2.0 ** -8, 2.0 ** -10], dtype), 1, past=70_001)
    assert_close(bias[:, 0, :3], (-np.outer([2.0 ** -8, 2.0 ** -10], [70_001, 70_000, 69_999])).astype(dtype),
                 tol=0, what="bias")


def test_single_position(level):
    """A position without axes reads one row, of shape (D,), and its gradient goes there."""
    table = rng(5).standard_normal((4, 3))
    for position in (2, np.int64(2), np.array(2)):
        out, cache = level.learned_positions(table, position)
        assert_close(out, table[2], tol=0, what="row")
        dtable = level.learned_positions_backward(np.array([1.0, 2.0, 3.0]), cache)
        assert_close(dtable, np.array([[0, 0, 0], [0, 0, 0], [1.0, 2, 3], [0, 0, 0]]), tol=0, what="dtable")
    assert isinstance(out, np.ndarray)


@pytest.mark.levels(1, 2, 3)                                    # PyTorch has one byte order
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_other_byte_order(level, layout):
    """Big-endian floats, as some files hold them: the same numbers, no view of swapped bytes."""
    x, tables = rng(3).standard_normal((2, 1, 5, 4)), level.rope_tables(5, 4)
    out, _ = level.rope(x.astype(x.dtype.newbyteorder()), *tables, layout=layout)
    expected = level.rope(x, *tables, layout=layout)[0]
    assert_close(out.astype(float), expected, tol=1e-12, what="swapped bytes")


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_heads_of_many_numbers(level, layout):
    """Three heads of 25,600 numbers each, turned there and back: blocks that do not divide them."""
    x = rng(4).standard_normal((1, 3, 100, 256)).astype(np.float32)
    tables = level.rope_tables(100, 256)
    out, cache = level.rope(x, *tables, layout=layout)
    a, b = (x[..., 0::2], x[..., 1::2]) if layout == "interleaved" else (x[..., :128], x[..., 128:])
    first = out[..., 0::2] if layout == "interleaved" else out[..., :128]
    assert_close(first, (a * tables[0] - b * tables[1]).astype(np.float32), tol=1e-4, what="first members")
    assert_close(level.rope_backward(out, cache), x, tol=1e-4, what="there and back")


def test_large_values(level):
    """Features of 1e30 in float32 are turned without overflow: rotations keep lengths."""
    out, _ = level.rope(np.full((1, 1, 4, 4), 1e30, np.float32), *level.rope_tables(4, 4))
    assert_close(np.linalg.norm(out / 1e30, axis=-1), np.full((1, 1, 4), 2.0), what="length")
