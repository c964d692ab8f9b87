# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:c2a80e878a61d7f7
"""What happens at the borders: empty axes, huge numbers, arguments that make no sense."""

import numpy as np
import pytest

from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_layouts,
    assert_repeatable,
    expect_value_error,
    rng,
)

pytestmark = pytest.mark.edge

OPS = {"matmul": ((3, 4), (4, 5)), "sine_of_square": ((3, 4, 5),), "softmax": ((3, 4, 5),)}


def inputs_of(function):
    """Normal numbers of the shapes that the function takes: a list of ndarray."""
    return [rng(k).standard_normal(shape) for k, shape in enumerate(OPS[function])]


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("function", OPS)
def test_layouts_and_second_calls(level, function):
    """Neither the order in memory nor an earlier call shows in a result; inputs stay as they are."""
    back = level.sine_of_square_backward if function == "sine_of_square" else None
    assert_layouts(getattr(level, function), inputs_of(function), back)
    assert_repeatable(getattr(level, function), inputs_of(function), back)


TOP = 65504.0                                                    # the largest float16
EXTREMES = {"matmul": [(np.full((2, 3000), 0.5), np.ones((3000, 2)))],
            "sine_of_square": [(np.array([TOP, -300.0, 0.0]),)],
            "softmax": [(np.array([[TOP, -TOP], [TOP, TOP]]),), (np.zeros((1, 70_000)),)]}


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("function", OPS)
def test_dtypes(level, function):
    """float16 to float64 come back as they went in, and right: long sums, squares beyond 65,504."""
    refuses = () if function == "matmul" else (np.int64, np.bool_)
    back = level.sine_of_square_backward if function == "sine_of_square" else None
    assert_dtypes(getattr(level, function), inputs_of(function), scales=(1.0, 1e-3),
                  f_backward=back, extremes=EXTREMES[function], refuses=refuses)


def test_refuses_what_has_no_result(level):
    """Integers into sine and softmax, a number without axes, a gradient of another shape."""
    expect_value_error("x", level.softmax, [1, 2, 3])
    expect_value_error("x", level.softmax, 1.0)
    expect_value_error("x", level.sine_of_square, np.arange(3))
    _, cache = level.sine_of_square(np.ones((3, 2)))
    for dout in (np.ones(2), np.ones((1, 2)), np.ones((2, 3)), 1.0, np.ones((3, 2), int)):
        expect_value_error("dout", level.sine_of_square_backward, dout, cache)


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
def test_sine_of_what_is_not_finite(level):
    """The sine of an infinity is no number, in its own entry and no other; nothing is raised."""
    x = np.array([1e200, np.inf, np.nan, 1.0])
    out, cache = level.sine_of_square(x)
    assert_close(out, np.array([np.nan] * 3 + [np.sin(1.0)]), what="sine_of_square")
    dx = level.sine_of_square_backward(np.ones(4), cache)
    assert_close(dx, np.array([np.nan] * 3 + [2 * np.cos(1.0)]), what="dx")


def test_matmul_of_nothing(level):
    """A sum over no terms is zero; no rows in, no rows out; a single number is a matrix."""
    assert_close(level.matmul(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)), what="matmul")
    assert level.matmul(np.ones((0, 3)), np.ones((3, 2))).shape == (0, 2)
    assert_close(level.matmul(np.full((1, 1), 3.0), np.full((1, 1), 2.0)), np.full((1, 1), 6.0))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_matmul_hides_nothing(level):
    """An infinity times zero is NaN, in its entry and no other."""
    got = level.matmul(np.array([[np.inf, 1.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert_close(got, np.array([[np.nan, np.inf], [1.0, 2.0]]), what="matmul")


def test_matmul_refuses_mismatch(level):
    """Inner sizes that differ are named, and so is a vector, on either side."""
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones((2, 3)))
    expect_value_error("a", level.matmul, np.ones(3), np.ones((3, 2)))
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones(3))
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones((1, 3)))
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones((3, 2, 2)))
    expect_value_error("a", level.matmul, np.ones((2, 3), bool), np.ones((3, 2)))


def test_broadcast_refuses_mismatch(level):
    """Neither length is 1; lengths equal on the left do not help; 0 and 2 do not fit."""
    for a, b in [((2, 3), (2, 4)), ((4, 3), (4,)), ((0,), (2,)), ((2, 3, 1), (4, 1, 1))]:
        expect_value_error("b", level.broadcast_shape, a, b)
    expect_value_error("a", level.broadcast_shape, (2, -1), (2, 1))
    expect_value_error("b", level.broadcast_shape, (2, 1), (2.0, 1))


def test_softmax_of_huge_numbers(level):
    """exp(10000) overflows; softmax of it does not, and neither does that of -10000."""
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [0.0, -np.inf, 0.0]])
    expected = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5]])
    assert_close(level.softmax(x), expected, what="softmax")


def test_softmax_of_few(level):
    """With a single class the answer is certain; no rows give no rows; a vector is a row."""
    assert_close(level.softmax(np.array([[3.0], [-7.0]])), np.ones((2, 1)), what="softmax")
    for shape in ((0, 3), (3, 0), (2, 0, 3)):
        assert level.softmax(np.ones(shape)).shape == shape
    assert_close(level.softmax(np.zeros(4)), np.full(4, 0.25), what="softmax")


def test_softmax_keeps_nan_in_its_row(level):
    """A NaN spoils its own row, wherever it stands, and no other."""
    got = level.softmax(np.array([[np.nan, 1.0], [1.0, np.nan], [0.0, 0.0]]))
    assert_close(got, np.array([[np.nan, np.nan], [np.nan, np.nan], [0.5, 0.5]]), what="softmax")


def test_sine_of_square_at_zero(level):
    """The inner derivative vanishes at zero, whatever arrives from above."""
    _, cache = level.sine_of_square(np.zeros((2, 2)))
    dx = level.sine_of_square_backward(np.full((2, 2), 7.0), cache)
    assert_close(dx, np.zeros((2, 2)), what="dx")
