# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:70cc4f5166b9f336
"""Empty axes, infinities, extreme values, and arguments that make no sense."""

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


def arrays(*shapes, scale=3.0):
    """Normal numbers (float64) of the given shapes: a list of ndarray."""
    return [scale * rng(len(shape) + 7).standard_normal(shape) for shape in shapes]


FLOATS = {
    "matmul": arrays((2, 1, 3, 4), (5, 4, 6)),
    "einsum2": ["hbik,bkhj->bihj", *arrays((2, 3, 4, 5), (3, 5, 2, 6))],
    "softmax": [*arrays((4, 5, 3)), -2],
    "logsumexp": [*arrays((4, 5, 3)), 1],
    "unbroadcast": [*arrays((2, 3, 4, 5)), (3, 1, 5)],
}
VIEWS = {"broadcast_to": [*arrays((3, 1, 4)), (2, 3, 5, 4)], "sliding_windows": [*arrays((3, 11)), 4, 2]}


@pytest.mark.parametrize("function", [*FLOATS, *VIEWS])
@pytest.mark.levels(1, 2, 3)
def test_layouts(level, level_number, function):
    """Any order, stride, offset and overlap of the inputs gives the same; inputs stay as they are."""
    inputs = {**FLOATS, **VIEWS}[function]
    assert_layouts(getattr(level, function), inputs, views=function in VIEWS)
    assert_repeatable(getattr(level, function), inputs, views=function in VIEWS)


@pytest.mark.levels(1, 2, 3)
def test_layouts_of_labels(level):
    """Labels too, in any order and type."""
    y = rng(3).integers(0, 6, (2, 3, 4))
    assert_layouts(level.one_hot, (y, 6))
    assert_repeatable(level.one_hot, (y.astype(np.uint8), 6))


LARGE = 65504.0
EXTREMES = {
    "softmax": [(np.full((2, 70), LARGE), -1), (np.array([[LARGE, -LARGE], [0.0, -LARGE]]), 0),
                (np.zeros((5000, 2)), 0)],
    "logsumexp": [(np.full((2, 70), LARGE), -1), (np.array([[60000.0, -LARGE], [0.0, -LARGE]]), 0),
                  (np.zeros((5000, 2)), 0)],
    "matmul": [(np.full((2, 3000), 0.5), np.full((3000, 2), 1.0))],
    "einsum2": [("ik,k->i", np.full((2, 3000), 0.5), np.full(3000, 1.0)),
                ("ki,j->ij", np.full((3000, 2), 1.0), np.full(3, 0.5))],
    "unbroadcast": [(np.ones((3000, 2)), (2,)), (np.ones((2, 3000)), (2, 1))],
}


@pytest.mark.parametrize("function", FLOATS)
@pytest.mark.levels(1, 2, 3)
def test_dtypes(level, function):
    """float16, float32 and float64 come back as they went in, and right, in long sums as well."""
    refuse = (np.int64, np.bool_) if function in ("softmax", "logsumexp") else ()
    assert_dtypes(getattr(level, function), FLOATS[function], scales=(1.0, 1e-3),
                  extremes=EXTREMES[function], refuses=refuse)


def test_softmax_refuses(level):
    """Integers, as PyTorch does; a number without an axis; an axis that is not there."""
    for function in (level.softmax, level.logsumexp):
        expect_value_error("x", function, [1, 2, 3])
        expect_value_error("x", function, np.array([True, False]))
        expect_value_error("x", function, np.array(1.0))
        for axis in (2, -3, 1.0, None):
            expect_value_error("axis", function, np.ones((2, 3)), axis)


def test_shapes_refuse(level):
    """Negative lengths, an unknown order, lengths that differ, too few axes, a length to shrink."""
    expect_value_error("shape", level.contiguous_strides, (2, -1))
    expect_value_error("order", level.contiguous_strides, (2, 3), 8, "K")
    expect_value_error("itemsize", level.contiguous_strides, (2, 3), 0)
    expect_value_error("shape", level.contiguous_strides, (2.0, 3))
    expect_value_error("shapes", level.broadcast_shapes, (2, -1), (1,))
    for shapes in [((2, 3), (2, 4)), ((0,), (3,)), ((3,), (1,), (2,)), ((2, 1), (3, 1))]:
        expect_value_error("shapes", level.broadcast_shapes, *shapes)
    for small, large in [((2, 3), (3,)), ((3,), (3, 2)), ((3,), (1,)), ((1, 3), (3,)), ((2, 1), (3, 1))]:
        expect_value_error("shape", level.broadcast_to, np.ones(small), large)


@pytest.mark.parametrize("large, small", [((2, 3), (2,)), ((3,), (1, 1, 3)), ((3,), (1, 3)),
                                          ((1, 3), (2, 3)), ((0,), (2,))])
def test_unbroadcast_refuses(level, large, small):
    """A target that could not have been stretched to the gradient's shape."""
    expect_value_error("shape", level.unbroadcast, np.ones(large), small)


@pytest.mark.parametrize("window, step, argument", [(6, 1, "window"), (0, 1, "window"),
                                                    (2, 0, "step"), (2, -1, "step"),
                                                    (2.0, 1, "window"), (2, 1.5, "step")])
def test_windows_refuse(level, window, step, argument):
    """Longer than the axis, empty, standing still; and an array without an axis."""
    expect_value_error(argument, level.sliding_windows, np.ones((2, 5)), window, step)
    expect_value_error("x", level.sliding_windows, np.array(1.0), 1)


def test_products_refuse(level):
    """Inner lengths that differ, a vector, and specifications that do not parse or fit."""
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones((2, 3)))
    expect_value_error("a", level.matmul, np.ones(3), np.ones((3, 2)))
    expect_value_error("b", level.matmul, np.ones((2, 3)), np.ones(3))
    for spec in ("ij,jk", "ij->j", "ij,jk->iz", "ij,jk->ii", "i1,1k->ik", "ij,jk,kl->il"):
        expect_value_error("spec", level.einsum2, spec, np.ones((2, 3)), np.ones((3, 4)))


@pytest.mark.levels(1, 2, 3)
def test_einsum_names_the_operand(level):
    """Wrong number of axes, a letter with two lengths, an arrow before the comma."""
    expect_value_error("a", level.einsum2, "i,jk->ik", np.ones((2, 3)), np.ones((3, 4)))
    expect_value_error("b", level.einsum2, "ij,jk->ik", np.ones((2, 3)), np.ones((4, 4)))
    expect_value_error("a", level.einsum2, "ii,ik->k", np.ones((2, 1)), np.ones((2, 4)))
    expect_value_error("spec", level.einsum2, "ij->jk,ik", np.ones((2, 3)), np.ones((3, 4)))


def test_one_hot_refuses(level):
    """Labels below 0, equal to k, and labels that are no integers."""
    expect_value_error("y", level.one_hot, np.array([0, -1]), 3)
    expect_value_error("y", level.one_hot, np.array([0, 3]), 3)
    expect_value_error("y", level.one_hot, np.array([0.0, 1.0]), 3)
    expect_value_error("y", level.one_hot, np.array([True, False]), 3)
    expect_value_error("k", level.one_hot, np.array([], int), -1)


def test_empty_arrays(level):
    """A batch of nothing keeps its shape; a sum over nothing is 0; no labels make no rows."""
    assert level.matmul(np.ones((0, 3)), np.ones((3, 2))).shape == (0, 2)
    assert level.matmul(np.ones((0, 2, 3)), np.ones((3, 2))).shape == (0, 2, 2)
    assert_close(level.matmul(np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)), what="matmul")
    got = level.einsum2("ij,jk->ik", np.ones((2, 0)), np.ones((0, 3)))
    assert_close(got, np.zeros((2, 3)), what="einsum2")
    assert level.softmax(np.ones((0, 3))).shape == (0, 3)
    assert level.softmax(np.ones((3, 0))).shape == (3, 0)
    assert level.logsumexp(np.ones((0, 3))).shape == (0,)
    assert_close(level.logsumexp(np.ones((3, 0))), np.full(3, -np.inf), what="logsumexp")
    assert level.one_hot(np.array([], dtype=int), 3).shape == (0, 3)
    assert_close(level.unbroadcast(np.ones((0, 3)), (3,)), np.zeros(3), what="unbroadcast")
    assert_close(level.unbroadcast(np.ones((3, 0)), (3, 1)), np.zeros((3, 1)), what="unbroadcast")
    assert level.broadcast_to(np.ones((1, 3)), (0, 3)).shape == (0, 3)
    assert level.sliding_windows(np.ones((0, 5)), 2, 2).shape == (0, 2, 2)


@pytest.mark.levels(1, 2, 3)
def test_strides_step_over_empty_axes(level):
    """An axis of length 0 counts as 1 (a convention, since no entry is ever reached)."""
    assert level.contiguous_strides((3, 0, 2)) == (16, 16, 8)


@pytest.mark.filterwarnings("error")
def test_exponentials_at_extremes(level):
    """Huge logits neither overflow nor lose the small ones; rows do not see each other."""
    x = np.array([[1e4, 1e4], [-1e4, -1e4], [0.0, -1e4], [1.7e308, -1.7e308]])
    expected = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    assert_close(level.softmax(x), expected, what="softmax")
    expected = np.array([1e4 + np.log(2.0), -1e4 + np.log(2.0), 0.0, 1.7e308])
    assert_close(level.logsumexp(x), expected, tol=1e-12, what="logsumexp")


@pytest.mark.filterwarnings("error")
def test_infinite_rows(level):
    """log of a sum of nothing is -inf, with no warning; +inf wins, NaN over it; softmax is NaN."""
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf], [inf, 0.0], [inf, 1e4], [nan, 0.0], [nan, inf], [-inf, 1.0]])
    expected = np.array([-inf, inf, inf, nan, nan, 1.0])
    assert_close(level.logsumexp(x), expected, what="logsumexp")
    expected = np.array([[nan, nan]] * 5 + [[0.0, 1.0]])
    assert_close(level.softmax(x), expected, what="softmax")


def test_unbroadcast_hides_nothing(level):
    """An infinity or a NaN in the gradient reaches the sum that it belongs to, and no other."""
    grad = np.array([[1.0, np.inf, np.nan], [2.0, 1.0, 1.0]])
    assert_close(level.unbroadcast(grad, (3,)), np.array([3.0, np.inf, np.nan]), what="unbroadcast")


@pytest.mark.levels(3)
@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_stream_does_not_depend_on_its_blocks(level, block):
    """eq. 1.12 gives the same for all blocks, with infinities in the stream."""
    x = rng(1).standard_normal((3, 7)) * 50
    x[1, :4], x[2, 5] = -np.inf, np.inf
    assert_close(level.logsumexp(x, block=block), level.logsumexp(x), tol=1e-12, what="logsumexp")
