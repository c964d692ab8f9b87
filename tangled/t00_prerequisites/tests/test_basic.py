# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:a2eee663563ccf33
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
@pytest.mark.parametrize("name", ["matmul", "matmul_square"])
def test_matmul_golden(level, golden, name):
    """Three lengths, of which a wrong sum changes the shape; and one, where only values tell."""
    case = golden(name)
    assert_close(level.matmul(**case.inputs), case.outputs["out"], what="matmul", dtype=np.float64)


@pytest.mark.value
def test_matmul_keeps_the_type(level):
    """float32 and integers come back as they went in, also from transposed operands."""
    a = rng(1).standard_normal((3, 4)).astype(np.float32)
    assert level.matmul([[2**60 + 1]], [[1]]).tolist() == [[2**60 + 1]]      # no float64
    for x in (a, (9 * a).astype(np.int32)):
        assert_close(level.matmul(x, x.T), x @ x.T, what="matmul", dtype=x.dtype)
    assert_close(level.matmul([[1, 2]], [[3.0], [4.0]]), np.array([[11.0]]), what="matmul of lists")


PAIRS = [((3,), (4, 3)), ((4, 1), (3,)), ((2, 1, 5), (7, 1)), ((), (2, 3)), ((1,), (0,)), ((), ()),
         ((6, 1, 1), (1, 1, 1)), ((2, 3), (2, 3)), ((0, 2), (1, 2)), ((5, 1, 4, 1), (1, 3, 1, 2))]


@pytest.mark.shape
@pytest.mark.parametrize("a, b", PAIRS)
def test_broadcast_shape(level, a, b):
    """What NumPy does, both ways round, with scalars and empty axes; plain integers."""
    expected = np.broadcast_shapes(a, b)
    for got in (level.broadcast_shape(a, b), level.broadcast_shape(b, a)):
        assert got == expected and all(type(n) is int for n in got)


@pytest.mark.value
def test_sine_of_square_golden(level, golden):
    """Forward values against PyTorch."""
    case = golden("sine_of_square")
    out, _ = level.sine_of_square(case.inputs["x"])
    assert_close(out, case.outputs["out"], what="sine_of_square", dtype=np.float64)


@pytest.mark.gradient
def test_sine_of_square_backward_golden(level, golden):
    """The gradient under a random upstream, against PyTorch's."""
    case = golden("sine_of_square")
    _, cache = level.sine_of_square(case.inputs["x"])
    level.sine_of_square(case.inputs["x"] + 1.0)                 # another call between the two
    for times in (1.0, -2.0):
        dx = level.sine_of_square_backward(times * case.upstream["out"], cache)
        assert_close(dx, times * case.grads["x"], what="dx", dtype=np.float64)


@pytest.mark.gradient
def test_sine_of_square_gradient(level):
    """Every entry by central differences (eq. 0.6), on both sides of zero."""
    x = rng(2).uniform(-2, 2, (3, 4))
    check_gradients(level.sine_of_square, level.sine_of_square_backward, (x,))


@pytest.mark.gradient
def test_sine_of_square_keeps_float32(level):
    """float32 forward and backward, for an x that is a transposed view."""
    x = rng(3).uniform(-2, 2, (3, 4)).astype(np.float32).T
    out, cache = level.sine_of_square(x)
    assert_close(out, np.sin(x * x), what="sine_of_square", dtype=np.float32)
    for dout in (np.full(x.shape, 1.5, np.float32), np.full(x.shape, 1.5)):
        dx = level.sine_of_square_backward(dout, cache)
        assert_close(dx, 1.5 * np.cos(x * x) * 2 * x, what="dx", dtype=np.float32)


@pytest.mark.gradient
def test_sine_of_a_number(level):
    """A number without an axis gives a NumPy scalar, as np.sin does, forwards and backwards."""
    out, cache = level.sine_of_square(np.float32(1.5))
    dx = level.sine_of_square_backward(np.float32(1.0), cache)
    for got, expected in ((out, np.sin(2.25)), (dx, 3 * np.cos(2.25))):
        assert isinstance(got, np.float32), f"a {type(got).__name__}, expected np.float32"
        assert_close(got, np.float32(expected))


EXPRESSIONS = ["x.T", "x[1:3, ::2]", "x[0]", "x[[0, 2]]", "x[x > 0]", "x.reshape(6, 4)",
               "x.T.reshape(24)", "x.ravel()", "x.flatten()", "np.broadcast_to(x, (3, 4, 6))",
               "x + 0", "x.astype(x.dtype)"]


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_predict_copies(level, expression):
    """Each answer against np.shares_memory on the evaluated expression; no others are given."""
    x = np.arange(1.0, 25.0).reshape(4, 6)
    answers = level.predict_copies()
    copied = not np.shares_memory(x, eval(expression, {"x": x, "np": np}))
    assert answers.keys() == set(EXPRESSIONS)
    assert answers[expression] == copied, f"answered copy={answers[expression]}"


@pytest.mark.value
@pytest.mark.levels(4)
def test_torch_views_differ_in_flatten(level):
    """PyTorch agrees on nine expressions; its flatten is a view where it can be."""
    wrong = {"x.T.reshape(24)", "x[[0, 2]]", "x[x > 0]", "x + 0"}
    assert {name for name, copied in level.predict_copies().items() if copied} == wrong


@pytest.mark.value
@pytest.mark.parametrize("name", ["softmax", "softmax_square"])
def test_softmax_golden(level, golden, name):
    """Stacks of rows against PyTorch, on a cube as well, where the sum over another axis fits."""
    case = golden(name)
    got = level.softmax(**case.inputs)
    assert_close(got, case.outputs["out"], what="softmax", dtype=np.float64)


@pytest.mark.value
def test_softmax_is_shift_invariant(level):
    """eq. 0.8 holds for every c: adding 50 changes nothing. float32 stays, views will do."""
    x = rng(3).standard_normal((6, 4)).astype(np.float32).T
    got = level.softmax(x)
    assert got.dtype == np.float32
    assert_close(level.softmax(x + 50.0), got, what="softmax")
    assert_close(got.sum(-1), np.ones(4, np.float32), what="the sum of a row")
