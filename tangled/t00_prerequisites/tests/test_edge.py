# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:8fee3655ff301102
"""What happens at the borders: empty axes, huge numbers, arguments that make no sense."""

import numpy as np
import pytest

from tangled.testing import assert_close, expect_value_error

pytestmark = pytest.mark.edge


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


def test_broadcast_refuses_mismatch(level):
    """Neither length is 1; lengths equal on the left do not help; 0 and 2 do not fit."""
    for a, b in [((2, 3), (2, 4)), ((4, 3), (4,)), ((0,), (2,)), ((2, 3, 1), (4, 1, 1))]:
        expect_value_error("b", level.broadcast_shape, a, b)


def test_softmax_of_huge_numbers(level):
    """exp(10000) overflows; softmax of it does not, and neither does that of -10000."""
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [0.0, -np.inf, 0.0]])
    expected = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5]])
    assert_close(level.softmax(x), expected, what="softmax")


def test_softmax_of_few(level):
    """With a single class the answer is certain; no rows give no rows; a vector is a row."""
    assert_close(level.softmax(np.array([[3.0], [-7.0]])), np.ones((2, 1)), what="softmax")
    assert level.softmax(np.ones((0, 3))).shape == (0, 3)
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
