# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:d67ffa1b7c706ac7
"""Scalars, nothing at all, infinities, ties, and every way to use the engine wrongly."""

import threading

import numpy as np
import pytest

from tangled.t02_autograd.expressions import EXPRESSIONS, engines, operands, reused
from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.edge
tensors_only = pytest.mark.levels(2, 3, 4)
ours_only = pytest.mark.levels(2, 3)


def slope(function, engine, x):
    """The value of a function at x and its derivative there, of the reused argument."""
    leaf = engine(x)
    with np.errstate(all="ignore"):
        out = function(leaf * 0.5 + leaf * 0.5)
        out.backward()
    return np.asarray([out.data, leaf.grad])


IEEE = {                               # what: (function, argument, (value, derivative))
    "log of 0": (lambda v: v.log(), 0.0, (-np.inf, np.inf)),
    "log of a negative number": (lambda v: v.log(), -1.0, (np.nan, -1.0)),
    "root of a negative number": (lambda v: v**0.5, -1.0, (np.nan, np.nan)),
    "1 / 0": (lambda v: 1.0 / v, 0.0, (np.inf, -np.inf)),
    "exp overflows": (lambda v: v.exp(), 1000.0, (np.inf, np.inf)),
    "x ** 0 at 0": (lambda v: v**0, 0.0, (1.0, 0.0)),
    "x ** 1 at 0": (lambda v: v**1, 0.0, (0.0, 1.0)),
    "root at 0": (lambda v: v**0.5, 0.0, (0.0, np.inf)),
    "0 ** x": (lambda v: 0.0**v, 2.0, (0.0, 0.0)),
    "0 ** 0, by the exponent": (lambda v: 0.0**v, 0.0, (1.0, 0.0)),
    "relu at 0": (lambda v: v.relu(), 0.0, (0.0, 0.0)),
    "log of a relu that is off": (lambda v: v.relu().log(), -1.0, (-np.inf, 0.0)),
    "relu of NaN": (lambda v: v.relu(), np.nan, (np.nan, 1.0)),
    "tanh of inf": (lambda v: v.tanh(), np.inf, (1.0, 0.0)),
}


@pytest.mark.parametrize("what", IEEE)
def test_ieee_values(level, what):
    """No exception, no silent 0: infinities and NaN as IEEE 754 and PyTorch have them."""
    function, x, expected = IEEE[what]
    for engine in engines(level):
        assert_close(slope(function, engine, x), np.asarray(expected), what=what)


@tensors_only
def test_nan_stays_in_its_entry(level):
    """A NaN in one entry must not spread to the gradients of the others."""
    x = level.Tensor([1.0, np.nan, 3.0])
    (x * x).backward(np.ones(3))
    assert_close(x.grad, np.array([2.0, np.nan, 6.0]), what="gradient")


@tensors_only
def test_dead_relu_stops_infinity(level):
    """log(relu(x)) at x < 0 sends inf back; a mask by multiplication would make it NaN."""
    x = level.Tensor([-1.0, 2.0])
    with np.errstate(all="ignore"):
        (x.relu().log() + x.relu()).backward(np.ones(2))
    assert_close(x.grad, np.array([0.0, 1.5]), what="gradient")


@tensors_only
def test_zero_dimensional(level):
    """Shape () in, shape () out, for data and gradient, and backward() needs no argument."""
    x = level.Tensor(3.0)
    y = (x * x).sum() + x.max() + x.mean() + x.reshape(1).sum()
    y.backward()
    assert (y.data.shape, x.grad.shape) == ((), ())
    assert_close(x.grad, np.asarray(9.0), what="gradient")
    one = level.Tensor([[3.0]])
    (one * one).backward()                                  # one entry, if not of shape ()
    assert_close(one.grad, np.array([[6.0]]), what="gradient of shape (1, 1)")


def test_integers_become_floats(level):
    """2 ** -1 is an error among NumPy's integers; a Value or a Tensor of 2 is 2.0."""
    for engine in engines(level):
        x = engine(2)
        y = x**-1 + x * np.float64(3)
        y.backward()
        assert_close(np.asarray([y.data, x.grad]), np.array([6.5, 2.75]), what="value, derivative")


@tensors_only
def test_empty_batch(level):
    """No samples: the weights get a gradient of zeros, not an error and not None."""
    x, w = level.Tensor(np.zeros((0, 3))), level.Tensor(np.ones((3, 2)))
    h = x @ w + np.ones(2)
    (h * h).sum().backward()
    w[np.zeros(0, int)].sum().backward()
    assert x.grad.shape == (0, 3)
    assert_close(w.grad, np.zeros((3, 2)), what="gradient of w")


@tensors_only
def test_broadcast_of_one(level):
    """Shapes (1,) and () against (2, 3): the gradient keeps its axis and sums everything."""
    one, scalar = level.Tensor([2.0]), level.Tensor(3.0)
    grid = np.arange(6.0).reshape(2, 3)
    (grid * one * scalar + one).sum().backward()
    assert_close((one.grad, scalar.grad), (np.array([51.0]), np.asarray(30.0)), what="gradients")


@tensors_only
def test_max_splits_ties(level):
    """Two maxima, or three, share the gradient equally (eq. 2.13), like torch.amax."""
    x = level.Tensor([[1.0, 5.0, 5.0], [6.0, 6.0, 6.0]])
    y = x.max(axis=1)
    (y * y).sum().backward()
    assert_close(x.grad, np.array([[0.0, 5.0, 5.0], [4.0, 4.0, 4.0]]), what="gradient")


@tensors_only
def test_backward_refuses_to_guess(level):
    """A result that is no scalar needs the upstream gradient, and says so."""
    x = level.Tensor(np.ones((2, 3)))
    expect_value_error("grad", (x * x).backward)


@ours_only
def test_wrong_shapes_are_named(level):
    """Each bad argument is a ValueError with the shapes in it, before anything is recorded."""
    x = level.Tensor(np.ones((2, 3)))
    expect_value_error("grad", (x * x).backward, np.ones((3, 2)))
    expect_value_error("other", x.__matmul__, np.ones((2, 3)))
    expect_value_error("other", x.__matmul__, 2.0)
    expect_value_error("data", level.Tensor, ["a", "b"])
    expect_value_error("lr", level.SGD, [x], 0.0)
    expect_value_error("parameters", level.SGD, [], 0.1)
    for wrong in (lambda: x + np.ones(4), lambda: x.reshape(4), lambda: x.sum(axis=2)):
        with pytest.raises(ValueError, match=r"\d"):
            wrong()


@tensors_only
def test_graph_is_used_once(level):
    """A second backward through a freed graph is an error, also through a shared part."""
    x = level.Tensor(2.0)
    y = x * x
    first, second = y * 3.0, y * y
    first.backward()
    for again in (first, second):
        with pytest.raises(RuntimeError):
            again.backward()


def test_second_sweep(level):
    """A Value keeps its graph, a Tensor on request: leaves add up, inner nodes start afresh."""
    for engine in engines(level):
        x = engine(2.0)
        y = x * x
        loss = y * y
        loss.backward(**{"retain_graph": True} if engine.__name__ == "Tensor" else {})
        loss.backward()
        assert_close(np.asarray(x.grad), np.asarray(2 * 32.0), what="gradient of two passes")


@tensors_only
def test_no_grad(level):
    """Nothing inside is recorded, nesting and exceptions included; outside, recording goes on."""
    x = level.Tensor(2.0)
    with pytest.raises(ZeroDivisionError), level.no_grad():
        with level.no_grad():
            inner = x * x
        outer = x * x + x
        raise ZeroDivisionError
    for result in (inner, outer):
        with pytest.raises(RuntimeError):
            result.backward()
    loss = x * x * inner.data
    with level.no_grad():
        loss.backward()                                     # recorded before: no_grad is no matter
    assert_close(x.grad, np.asarray(16.0), what="gradient")


@tensors_only
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_operation_records_under_no_grad(level, name):
    """Every operation asks the switch: one that records by itself would keep its graph alive."""
    leaves = [level.Tensor(x) for x in operands(name, rng(6))]
    with level.no_grad():
        out = EXPRESSIONS[name][0](*leaves)
    with pytest.raises(RuntimeError):
        out.backward(np.ones_like(out.data))


@tensors_only
def test_no_grad_is_one_threads_own(level):
    """A thread that evaluates must not stop another that trains, nor the other way round."""
    x, inside, done, found = level.Tensor(2.0), threading.Event(), threading.Event(), []

    def evaluate():
        with level.no_grad():
            inside.set()
            done.wait(5)
            found.append(x * x)

    thread = threading.Thread(target=evaluate)
    thread.start()
    inside.wait(5)
    (x * x * x).backward()                                  # while the other thread records nothing
    done.set()
    thread.join()
    assert_close(x.grad, np.asarray(12.0), what="gradient")
    with pytest.raises(RuntimeError):
        found[0].backward()


READS = {                              # what: (function, whose array its VJPs read)
    "a * b": (lambda a, b: a * b, "ab"), "a / b": (lambda a, b: a / b, "b"),
    "a ** b": (lambda a, b: a**b, "aby"), "a @ b": (lambda a, b: a @ b, "ab"),
    "a ** 3": (lambda a, b: a**3 + b, "a"), "exp": (lambda a, b: a.exp(), "y"),
    "log": (lambda a, b: a.log() + b, "a"), "tanh": (lambda a, b: a.tanh(), "y"),
    "relu": (lambda a, b: a.relu(), "y"),
    "a * a * b": (lambda a, b: a * (a * b), "ab"),
}
READS_NOTHING = {
    "a + b": lambda a, b: a + b, "a - b": lambda a, b: a - b, "3 a": lambda a, b: 3.0 * a,
    "a / 4": lambda a, b: a / 4.0, "sum": lambda a, b: a.sum(axis=0), "mean": lambda a, b: a.mean(),
    "reshape": lambda a, b: a.reshape(9) + 1.0, "transpose": lambda a, b: a.T + 1.0,
    "slice": lambda a, b: a[1:] + b[:2], "concatenate": lambda a, b: type(a).concatenate([a, b]),
}


def square_leaves(level):
    """Two tensors of shape (3, 3), positive."""
    return [level.Tensor(rng(k).uniform(0.5, 2.0, (3, 3))) for k in (9, 10)]


@tensors_only
@pytest.mark.parametrize("what", READS)
def test_changed_data_are_refused(level, what):
    """An array that backward() needs was written to since: an error, not a wrong gradient."""
    function, names = READS[what]
    for name in names:
        a, b = square_leaves(level)
        y = function(a, b)
        changed = {"a": a, "b": b, "y": y}[name]
        loss = y.sum()
        changed.data *= 1.5
        with pytest.raises(RuntimeError):
            loss.backward()
        function(a, b).sum().backward()                     # a new graph of the new numbers


@tensors_only
@pytest.mark.parametrize("what", READS_NOTHING)
def test_changes_that_do_no_harm(level, what):
    """What no VJP reads may change: an update between forward and backward is no error there."""
    a, b = square_leaves(level)
    out = READS_NOTHING[what](a, b)
    upstream = rng(11).standard_normal(out.data.shape)
    out.backward(upstream)
    expected = a.grad
    a, b = square_leaves(level)
    out = READS_NOTHING[what](a, b)
    a.data -= 1.0
    b.data *= 3.0
    out.backward(upstream)
    assert_close(a.grad, expected, what="gradient of a")


@tensors_only
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_stale_gradients(level, golden, name):
    """Each leaf of each expression changed before backward: refused, or the gradient is right."""
    case = golden(name)
    for changed in range(len(case.inputs)):
        leaves = [level.Tensor(x) for x in case.inputs.values()]
        out = reused(EXPRESSIONS[name][0](*leaves))
        leaves[changed].data += 0.5
        try:
            out.backward(case.upstream["out"])
        except RuntimeError:
            continue
        for (key, expected), leaf in zip(case.grads.items(), leaves):
            assert_close(leaf.grad, expected, what=f"gradient of {key}, {'abc'[changed]} changed")


@tensors_only
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_stale_results(level, name):
    """The same for the result of each expression: the VJPs of exp, tanh and / may read it."""
    leaves = [level.Tensor(x) for x in operands(name, rng(12))]
    out = EXPRESSIONS[name][0](*leaves)
    upstream = rng(13).standard_normal(out.data.shape)
    out.backward(upstream, retain_graph=True)
    expected = [leaf.grad.copy() for leaf in leaves]
    for leaf in leaves:
        leaf.zero_grad()
    out.data += 0.5
    try:
        out.backward(upstream)
    except RuntimeError:
        return
    for one, other in zip(leaves, expected):
        assert_close(one.grad, other, what="gradient, the result changed")


@tensors_only
def test_views_are_counted_together(level):
    """A reshape, a transpose and a slice look into the same memory: a write to one is a write to all."""
    views = (lambda t: t.reshape(9), lambda t: t.T, lambda t: t[1:], lambda t: t[0].reshape(3, 1))
    for view in views:
        a, _ = square_leaves(level)
        loss, window = (a * a).sum(), view(a)
        window.data *= 2.0
        with pytest.raises(RuntimeError):
            loss.backward()
        a, _ = square_leaves(level)
        window = view(a)
        loss = (window * window).sum()
        a.data *= 2.0
        with pytest.raises(RuntimeError):
            loss.backward()


@tensors_only
def test_a_step_is_a_write(level):
    """SGD between two backward passes of a retained graph: the second is refused."""
    w = level.Tensor([1.0, 2.0])
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    assert_close(w.grad, np.array([4.0, 8.0]), what="gradient of two passes")
    level.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError):
        loss.backward()


@tensors_only
def test_constants_get_no_gradient(level):
    """requires_grad=False is a constant, and so is what is made of constants alone."""
    x, c = level.Tensor([1.0, 2.0]), level.Tensor([3.0, 4.0], requires_grad=False)
    k = c * c
    (x * k + x).sum().backward()
    assert c.grad is None
    assert_close(x.grad, np.array([10.0, 17.0]), what="gradient of x")


def test_leaf_is_its_own_result(level):
    """backward() of a leaf: its derivative with respect to itself is 1, and adds like any other."""
    for engine in engines(level):
        x = engine(5.0)
        x.backward()
        (x * x).backward()
        x.backward()
        assert_close(np.asarray(x.grad), np.asarray(12.0), what="gradient")


@tensors_only
def test_data_is_copied(level):
    """An optimiser step must not write into the array that the tensor was made of."""
    mine = np.ones((2, 2))
    w = level.Tensor(mine)
    (w * w).sum().backward()
    level.SGD([w], lr=0.5).step()
    assert_close((mine, w.data), (np.ones((2, 2)), np.zeros((2, 2))), what="array, parameter")
