# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:4bcc05382af37d7f
"""What happens at the borders: empty axes, huge numbers, arguments that make no sense."""

import numpy as np
import pytest

from tangled.testing import assert_close, expect_value_error

pytestmark = pytest.mark.edge


def test_matmul_of_nothing(level):
    """A sum over no terms is zero: (2, 0) times (0, 3) is a (2, 3) matrix of zeros."""
    assert_close(level.matmul(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)), what="matmul")


def test_matmul_refuses_mismatch(level):
    """Inner sizes that differ are named, and so is a vector."""
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones((2, 3)))
    expect_value_error("a", level.matmul, np.ones(3), np.ones((3, 2)))


def test_broadcast_refuses_mismatch(level):
    """Neither length is 1; and lengths equal on the left do not help, for shapes align at the right."""
    expect_value_error("b", level.broadcast_shape, (2, 3), (2, 4))
    expect_value_error("b", level.broadcast_shape, (4, 3), (4,))


def test_softmax_of_huge_numbers(level):
    """exp(10000) overflows; softmax of it does not, and neither does that of -10000."""
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    assert_close(level.softmax(x), np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]), what="softmax")


def test_softmax_of_one_class(level):
    """With a single class the answer is certain."""
    assert_close(level.softmax(np.array([[3.0], [-7.0]])), np.ones((2, 1)), what="softmax")


def test_sine_of_square_at_zero(level):
    """The inner derivative vanishes at zero, whatever arrives from above."""
    _, cache = level.sine_of_square(np.zeros((2, 2)))
    assert_close(level.sine_of_square_backward(np.full((2, 2), 7.0), cache), np.zeros((2, 2)), what="dx")
