# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:d7ebf6f4c97c8690
"""Shapes, values and gradients of the five challenges."""

import numpy as np
import pytest

from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.shape
@pytest.mark.parametrize("n, k, m", [(2, 3, 4), (1, 5, 1), (4, 1, 2)])
def test_matmul_shape(level, n, k, m):
    """(n, k) times (k, m) is (n, m), also when a length is 1 and a wrong axis could hide."""
    assert level.matmul(np.ones((n, k)), np.ones((k, m))).shape == (n, m)


@pytest.mark.value
def test_matmul_golden(level, golden):
    """Three different lengths: a sum over the wrong axis cannot have the right shape and value."""
    case = golden("matmul")
    assert_close(level.matmul(**case.inputs), case.outputs["out"], what="matmul")


@pytest.mark.value
def test_matmul_keeps_float32(level):
    """float32 in, float32 out: a stray Python float array would double the memory of a network."""
    a = rng(1).standard_normal((3, 3)).astype(np.float32)
    got = level.matmul(a, a)
    assert got.dtype == np.float32
    assert_close(got, a @ a, what="matmul")


PAIRS = [((3,), (4, 3)), ((4, 1), (3,)), ((2, 1, 5), (7, 1)), ((), (2, 3)), ((1,), (0,)), ((6, 1, 1), (1, 1, 1))]


@pytest.mark.shape
@pytest.mark.parametrize("a, b", PAIRS)
def test_broadcast_shape(level, a, b):
    """The prediction equals what NumPy does, both ways round, with scalars and empty axes among the cases."""
    expected = np.broadcast_shapes(a, b)
    assert level.broadcast_shape(a, b) == expected
    assert level.broadcast_shape(b, a) == expected


@pytest.mark.value
def test_sine_of_square_golden(level, golden):
    """Forward values against PyTorch."""
    case = golden("sine_of_square")
    assert_close(level.sine_of_square(case.inputs["x"])[0], case.outputs["out"], what="sine_of_square")


@pytest.mark.gradient
def test_sine_of_square_backward_golden(level, golden):
    """The gradient under a random upstream, against PyTorch's."""
    case = golden("sine_of_square")
    _, cache = level.sine_of_square(case.inputs["x"])
    assert_close(level.sine_of_square_backward(case.upstream["out"], cache), case.grads["x"], what="dx")


@pytest.mark.gradient
def test_sine_of_square_gradient(level):
    """Every entry by central differences (eq. 0.6), on both sides of zero."""
    check_gradients(level.sine_of_square, level.sine_of_square_backward, (rng(2).uniform(-2, 2, (3, 4)),))


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_predict_copies(level):
    """Each answer against np.shares_memory on the evaluated expression."""
    x = np.arange(1.0, 25.0).reshape(4, 6)
    answers = level.predict_copies()
    assert len(answers) == 12
    for expression, copied in answers.items():
        result = eval(expression, {"x": x, "np": np})
        assert copied == (not np.shares_memory(x, result)), f"{expression}: answered copy={copied}"


@pytest.mark.value
@pytest.mark.levels(4)
def test_torch_views_differ_in_flatten(level):
    """PyTorch agrees on nine expressions; its flatten is a view where it can be."""
    wrong = {"x.T.reshape(24)", "x[[0, 2]]", "x[x > 0]", "x + 0"}
    assert {name for name, copied in level.predict_copies().items() if copied} == wrong


@pytest.mark.value
def test_softmax_golden(level, golden):
    """Values on a stack of rows, against PyTorch: the reduction is over the last axis, not over all."""
    case = golden("softmax")
    assert_close(level.softmax(**case.inputs), case.outputs["out"], what="softmax")


@pytest.mark.value
def test_softmax_is_shift_invariant(level):
    """eq. 0.8 holds for every c, so adding 50 to a row changes nothing."""
    x = rng(3).standard_normal((4, 6))
    assert_close(level.softmax(x + 50.0), level.softmax(x), what="softmax")
