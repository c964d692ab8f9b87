# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:5b3b0756d60d2fc0
"""Shapes, values and adjoints of the tensor operations."""

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng

SHAPES = [(), (5,), (2, 3, 4), (4, 1, 3), (2, 1), (1, 1, 1)]


@pytest.mark.shape
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
def test_contiguous_strides(level, shape, order, dtype):
    """The strides that NumPy gives a fresh array, for both orders and several entry sizes."""
    expected = np.empty(shape, dtype, order=order).strides
    got = level.contiguous_strides(shape, np.dtype(dtype).itemsize, order)
    assert got == expected and all(type(s) is int for s in got)


@pytest.mark.shape
def test_contiguous_strides_defaults(level):
    """Without further arguments: C order, eight bytes."""
    assert level.contiguous_strides((2, 3, 4)) == (96, 32, 8)


@pytest.mark.shape
@pytest.mark.parametrize("shapes", [((3,), (4, 3)), ((4, 1), (3,), (1, 1)), ((2, 1, 5), (7, 1)), ((), (2, 3)),
                                    ((1,), (0,)), ((5,),), (), ((0, 1), (1, 3)), ((2, 3), (2, 3), (2, 3))])
def test_broadcast_shapes(level, shapes):
    """What NumPy predicts, for none to three shapes, scalars and empty axes included."""
    got = level.broadcast_shapes(*shapes)
    assert got == np.broadcast_shapes(*shapes) and all(type(n) is int for n in got)


STRETCHES = [((4,), (3, 4)), ((3, 1), (3, 4)), ((2, 1, 4), (2, 3, 4)), ((), (2, 3)), ((1,), (1,)), ((2, 3), (2, 3))]


@pytest.mark.value
@pytest.mark.parametrize("small, large", STRETCHES)
def test_broadcast_to_value(level, small, large):
    """Every entry, against NumPy's own broadcast."""
    x = rng(1).standard_normal(small)
    assert_close(level.broadcast_to(x, large), np.broadcast_to(x, large), what="broadcast_to")


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
def test_broadcast_to_is_a_view(level):
    """A write to the original is seen through the result: no byte was copied."""
    x = np.zeros((3, 1))
    view = level.broadcast_to(x, (2, 3, 4))
    x[1, 0] = 7.0
    assert np.array_equal(view[:, 1, :], np.full((2, 4), 7.0)), "the result is a copy, expected a view"
    assert view.strides[0] == view.strides[2] == 0


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_views_are_read_only(level):
    """Entries that share memory must not be written through: NumPy refuses."""
    for view in (level.broadcast_to(np.zeros(3), (2, 3)), level.sliding_windows(np.zeros(5), 3)):
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1.0


@pytest.mark.value
def test_sliding_windows_golden(level, golden):
    """Windows of 4 with step 3 over eleven entries: the last three entries start no window."""
    case = golden("windows")
    assert_close(level.sliding_windows(**case.inputs), case.outputs["out"], what="sliding_windows")


@pytest.mark.shape
@pytest.mark.parametrize("n, window, step, count", [(10, 4, 2, 4), (10, 4, 1, 7), (4, 4, 5, 1), (5, 1, 2, 3)])
def test_sliding_windows_count(level, n, window, step, count):
    """floor((n - w) / s) + 1 windows, whether or not the last one ends at the end."""
    assert level.sliding_windows(np.arange(n * 1.0), window, step).shape == (count, window)


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
def test_sliding_windows_is_a_view(level):
    """One write shows in every window that overlaps it; a strided input works as well; the default step is 1."""
    x = np.zeros((2, 12))[:, ::2]
    view = level.sliding_windows(x, 3)
    x[1, 2] = 5.0
    assert view.shape == (2, 4, 3)
    assert view[1].tolist() == [[0, 0, 5], [0, 5, 0], [5, 0, 0], [0, 0, 0]]


@pytest.mark.gradient
@pytest.mark.parametrize("k", range(4))
def test_unbroadcast_golden(level, golden, k):
    """Padded axes, stretched axes, both, and a scalar, against the gradient of torch's expand."""
    case = golden(f"unbroadcast_{k}")
    shape = tuple(case.inputs["shape"].tolist())
    assert_close(level.unbroadcast(case.inputs["grad"], shape), case.outputs["out"], what="unbroadcast")


@pytest.mark.gradient
@pytest.mark.parametrize("small, large", STRETCHES)
def test_unbroadcast_is_the_adjoint(level, small, large):
    """<Bx, g> = <x, B^T g> for random x and g (eq. 1.5)."""
    x, g = rng(2).standard_normal(small), rng(3).standard_normal(large)
    left, right = np.sum(level.broadcast_to(x, large) * g), np.sum(x * level.unbroadcast(g, small))
    assert_close(right, left, what="<x, B^T g>")


@pytest.mark.gradient
def test_unbroadcast_by_differences(level):
    """The same by central differences, through the harness that later chapters use."""
    check_gradients(lambda x: (level.broadcast_to(x, (2, 3, 4)), None),
                    lambda dout, cache: level.unbroadcast(dout, (3, 1)), (rng(4).standard_normal((3, 1)),))


@pytest.mark.gradient
def test_softmax_is_the_gradient_of_logsumexp(level):
    """Central differences of logsumexp equal softmax, with a random upstream."""
    check_gradients(lambda x: (level.logsumexp(x), x), lambda dout, x: dout[..., None] * level.softmax(x),
                    (rng(5).standard_normal((3, 4)) * 3,))


@pytest.mark.value
@pytest.mark.parametrize("name", ["matmul", "matmul_batched"])
def test_matmul_golden(level, golden, name):
    """A plain product, and stacks (2, 1) and (5,) that broadcast to (2, 5)."""
    case = golden(name)
    assert_close(level.matmul(**case.inputs), case.outputs["out"], what="matmul")


@pytest.mark.value
def test_matmul_keeps_float32(level):
    """float32 in, float32 out, also for transposed operands."""
    a = rng(6).standard_normal((4, 3)).astype(np.float32)
    got = level.matmul(a.T, a)
    assert got.dtype == np.float32
    assert_close(got, a.T @ a, what="matmul")


@pytest.mark.value
@pytest.mark.levels(3)
@pytest.mark.parametrize("kernel", ["matmul", "outer_products"])
def test_matmul_tiles_cover_everything(level, kernel):
    """Sizes that are no multiple of the tile leave narrow blocks at the borders."""
    a, b = rng(7).standard_normal((11, 7)), rng(8).standard_normal((7, 10))
    kernel = np.matmul if kernel == "matmul" else level.outer_products
    assert_close(level.matmul(a, b, tile=4, kernel=kernel), a @ b, what="matmul")


@pytest.mark.value
@pytest.mark.parametrize("name", ["matrix", "batch", "attention", "outer", "diagonal", "lonely", "full"])
def test_einsum2_golden(level, golden, name):
    """Each fate of a letter: batch, contracted, left, right, diagonal, summed alone, and no output at all."""
    case = golden(f"einsum_{name}")
    assert_close(level.einsum2(**case.inputs), case.outputs["out"], what="einsum2")


@pytest.mark.value
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_golden(level, golden, axis):
    """Each axis of a (3, 4, 5) array: a reduction over the wrong one has the right shape."""
    case = golden(f"softmax_{axis}")
    assert_close(level.softmax(**case.inputs), case.outputs["out"], what="softmax")


@pytest.mark.value
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_logsumexp_golden(level, golden, axis):
    """The same axes, with the reduced axis gone from the shape."""
    case = golden(f"logsumexp_{axis}")
    assert_close(level.logsumexp(**case.inputs), case.outputs["out"], what="logsumexp")


@pytest.mark.value
def test_last_axis_is_the_default(level):
    """Without `axis` both reduce over the last."""
    x = rng(9).standard_normal((2, 3, 4)).astype(np.float32)
    soft, total = level.softmax(x), level.logsumexp(x)
    assert soft.dtype == total.dtype == np.float32
    assert_close(soft, level.softmax(x, 2), what="softmax")
    assert_close(total, level.logsumexp(x, 2), what="logsumexp")


@pytest.mark.value
def test_one_hot(level):
    """A 1 at each label, also for labels with two axes; float32."""
    y = np.array([[0, 2], [1, 2]])
    got = level.one_hot(y, 4)
    assert got.dtype == np.float32
    assert_close(got, np.eye(4)[y], what="one_hot")
