# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:c6e2b8f07476f284
"""Shapes, values, gradients of every operation; accumulation; the optimiser."""

import numpy as np
import pytest

from tangled import autograd_stub
from tangled.t02_autograd.expressions import EXPRESSIONS, SCALARS, engines, operands, reused
from tangled.testing import (
    assert_close,
    assert_layouts,
    assert_repeatable,
    check_gradients,
    rng,
    upstream_like,
)

each_expression = pytest.mark.parametrize("name", EXPRESSIONS)
tensors_only = pytest.mark.levels(2, 3, 4)


def run(level, name, arrays):
    """The reused result of an expression, and its leaves."""
    leaves = [level.Tensor(x) for x in arrays]
    return reused(EXPRESSIONS[name][0](*leaves)), leaves


@pytest.mark.shape
@pytest.mark.levels(2, 3)
@each_expression
def test_shapes_and_dtypes(level, name):
    """float32 operands get float32 gradients of their own shape, whatever constants do."""
    arrays = [x.astype(np.float32) for x in operands(name, rng(1))]
    out, leaves = run(level, name, [*arrays])
    expected = out.data.shape
    out.backward(np.ones(expected, out.data.dtype))
    for x, leaf in zip(arrays, leaves):
        assert (leaf.grad.shape, leaf.grad.dtype) == (x.shape, np.float32)


@pytest.mark.shape
@tensors_only
@pytest.mark.parametrize("dtype", (np.float16, np.float32))
@pytest.mark.parametrize("shape", ((), (3,)), ids=str)
def test_python_numbers_keep_the_dtype(level, dtype, shape):
    """A Python number takes the type of its tensor: float64 must not creep in, forward or back."""
    x = level.Tensor(np.ones(shape, dtype))
    out = (2.0**x + (3 - x * 0.5) / 2 + 1 / x - 1).mean()
    out.backward()
    assert (out.data.dtype, x.grad.dtype, x.grad.shape) == (dtype, dtype, shape)


@pytest.mark.shape
@tensors_only
@pytest.mark.parametrize("dtype", (np.float16, np.float32))
@pytest.mark.parametrize("shape", ((), (3,), (2, 3)), ids=str)
def test_gradients_keep_the_dtype(level, dtype, shape):
    """Against constants in float64, pass after pass: the gradient has the leaf's type and shape."""
    x = level.Tensor(np.ones(shape, dtype))
    for passes in (1, 2, 3):
        (x * np.full(shape, 0.5) + x).backward(np.full(shape, 2.0))
        assert type(x.grad) is np.ndarray and x.grad.dtype == dtype
        assert_close(x.grad, np.full(shape, 3.0 * passes, dtype), what="gradient")


@pytest.mark.shape
@tensors_only
def test_results_are_arrays(level):
    """Of shape () as of any other: a NumPy scalar can't be written into."""
    x = level.Tensor(3.0)
    for y in (x + x, x * x, x.exp(), x.sum(), x.max(), x.mean(), x.reshape(1)[0], -x, x / x, x**x):
        assert type(y.data) is np.ndarray and y.data.shape == () and y.ndim == 0 and y.shape == ()


@pytest.mark.value
@tensors_only
@each_expression
def test_values_golden(level, golden, name):
    """Forward values against PyTorch's, in float64."""
    case = golden(name)
    out, _ = run(level, name, case.inputs.values())
    assert_close(out.data, case.outputs["out"], what=name)


@pytest.mark.gradient
@tensors_only
@each_expression
def test_gradients_golden(level, golden, name):
    """Gradients under random upstream weights against PyTorch's: ones would hide a lost sum."""
    case = golden(name)
    out, leaves = run(level, name, case.inputs.values())
    out.backward(case.upstream["out"])
    for (key, expected), leaf in zip(case.grads.items(), leaves):
        assert_close(leaf.grad, expected, what=f"gradient of {key} in {name}")


def as_op(level, name):
    """An expression as a pair forward, backward of arrays; the graph is the cache."""
    def forward(*arrays):
        out, leaves = run(level, name, arrays)
        return out.data, (out, leaves)

    def backward(dout, cache):
        out, leaves = cache
        for leaf in leaves:
            leaf.zero_grad()
        out.backward(dout, retain_graph=True)
        return tuple(leaf.grad for leaf in leaves)
    return forward, backward


@pytest.mark.gradient
@tensors_only
@each_expression
def test_gradients_numerical(level, name):
    """Every entry against central differences: the check that trusts no framework."""
    arrays = operands(name, rng(2))
    check_gradients(*as_op(level, name), arrays, names="abc"[:len(arrays)])


@pytest.mark.gradient
@pytest.mark.levels(2, 3)
@each_expression
def test_layouts(level, name):
    """Arrays in any order in memory, backwards, with gaps, read-only, and the upstream as well."""
    forward, backward = as_op(level, name)
    assert_layouts(forward, operands(name, rng(7)), backward)


@pytest.mark.gradient
@pytest.mark.levels(2, 3)
@each_expression
def test_called_twice(level, name):
    """A graph that is retained gives the same twice; nothing handed in or out is shared."""
    forward, backward = as_op(level, name)
    assert_repeatable(forward, operands(name, rng(8)), backward)


@pytest.mark.value
@pytest.mark.parametrize("name", SCALARS)
def test_scalars_golden(level, golden, name):
    """Value and Tensor compute the same numbers from the same formula, numbers on either side."""
    case = golden(name)
    for engine in engines(level):
        out = reused(SCALARS[name](*(engine(x.item()) for x in case.inputs.values())))
        assert_close(np.asarray(out.data), case.outputs["out"], what=name)


@pytest.mark.gradient
@pytest.mark.parametrize("name", SCALARS)
def test_scalar_gradients_golden(level, golden, name):
    """Both engines, one node reused: the slopes of + - * / ** exp log tanh relu."""
    case = golden(name)
    for engine in engines(level):
        leaves = [engine(x.item()) for x in case.inputs.values()]
        out = reused(SCALARS[name](*leaves)) * case.upstream["out"].item()
        out.backward()
        for (key, expected), leaf in zip(case.grads.items(), leaves):
            assert_close(np.asarray(leaf.grad), expected, what=f"gradient of {key} in {name}")


@pytest.mark.gradient
def test_unequal_paths(level):
    """The worked trace: c reaches e directly and through d, so c must wait for d."""
    for engine in engines(level):
        a, b = engine(3.0), engine(2.0)
        c = a * b
        d = c + a
        e = c * d
        e.backward()
        assert_close(np.asarray([a.grad, b.grad]), np.array([36.0, 45.0]), what="gradients of a, b")


@pytest.mark.gradient
def test_paths_are_shared(level):
    """Fibonacci: 60 steps make 4e12 paths, and the gradient is their number."""
    for engine in engines(level):
        x = engine(1.0)
        older, newer = x, x * 1.0
        for _ in range(60):
            older, newer = newer, older + newer
        newer.backward()
        assert_close(np.asarray(x.grad), np.asarray(4052739537881.0), what="number of paths")


@pytest.mark.gradient
@tensors_only
def test_in_place_sums_are_private(level):
    """x + x, then views of it: a sum in place must not change an array still to be read."""
    x = level.Tensor(np.arange(6.0).reshape(2, 3))
    y = x + x                                               # two shares, one array
    z = y.reshape(3, 2).T.reshape(6) * np.arange(6.0)       # views on the way
    (z.sum() + (y * y).sum() + y.sum()).backward()
    weights = np.arange(6.0).reshape(2, 3).T.reshape(2, 3)
    assert_close(x.grad, 2 * weights + 8 * x.data + 2, what="gradient of x")


@pytest.mark.gradient
def test_gradients_accumulate_over_passes(level):
    """Two losses of one leaf: their gradients add until zero_grad() forgets them."""
    for engine in engines(level):
        x = engine(3.0)
        (x * x).backward()
        (x * x * x).backward()
        assert_close(np.asarray(x.grad), np.asarray(6.0 + 27.0), what="sum of two gradients")
        x.zero_grad()
        (x * x + x).backward()
        assert_close(np.asarray(x.grad), np.asarray(7.0), what="gradient after zero_grad")


@pytest.mark.gradient
@tensors_only
def test_no_shared_buffers(level):
    """y = a + b hands the same array to both; in-place changes of one must not reach the other."""
    a, b = level.Tensor(np.ones((2, 3))), level.Tensor(np.ones((2, 3)))
    s = a + b
    before = rng(3).standard_normal((2, 3))
    upstream, expected = before.copy(), before * (1 + 2 * 2)
    (s + s.reshape(6).reshape(2, 3) * s + a).backward(upstream)
    assert_close((a.grad, b.grad), (expected + before, expected), what="gradients of a, b")
    b.zero_grad()
    b.backward(upstream)
    a.grad[...] = b.grad[...] = 0.0
    assert_close(upstream, before, what="the argument of backward")


@pytest.mark.gradient
@tensors_only
def test_leaves_do_not_share(level):
    """The same share goes to two leaves: emptying the gradient of one leaves the other alone."""
    a, b = level.Tensor(np.ones((2, 3))), level.Tensor(np.ones((2, 3)))
    (a + b).sum().backward()
    (a + b).sum().backward()
    assert_close((a.grad, b.grad), (np.full((2, 3), 2.0),) * 2, what="gradients of a, b")
    a.grad[...] = 0.0
    assert_close(b.grad, np.full((2, 3), 2.0), what="gradient of b")


@pytest.mark.value
@tensors_only
def test_sgd_follows_the_formula(level):
    """Three steps on sum(w * w), each a factor 1 - 2 lr; an old gradient shows at step two."""
    start = rng(4).standard_normal((3, 2)).astype(np.float32)
    w, v, idle = level.Tensor(start), level.Tensor(2 * start), level.Tensor(start)
    optimiser = level.SGD(iter([w, idle, v]), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        ((w * w).sum() + (v * v).sum()).backward()
        optimiser.step()
    shrunk = start * np.float32(0.8**3)
    assert_close((w.data, v.data, idle.data), (shrunk, 2 * shrunk, start), what="w, v, idle")
    assert w.data.dtype == np.float32, "a step must keep the type of its parameter"


@pytest.mark.value
@tensors_only
def test_sgd_twice(level):
    """Two optimisers, two rates, gradients that add up where nobody forgets them."""
    a, b = level.Tensor(np.array([1.0, 2.0])), level.Tensor(np.array([3.0]))
    slow, fast = level.SGD([a], lr=0.25), level.SGD([b], 2.0)
    for passes in (1, 2):
        (a.sum() * 2.0 + b.sum()).backward()
        slow.step()
        assert_close(a.grad, np.full(2, 2.0 * passes), what="gradient of a")
    fast.step()
    assert_close((a.data, b.data), (np.array([-0.5, 0.5]), np.array([-1.0])), what="a, b")
    fast.zero_grad()
    assert b.grad is None
    assert_close(a.grad, np.full(2, 4.0), what="gradient of a, not forgotten")


@pytest.mark.gradient
@pytest.mark.levels(2, 3)
def test_subclass_as_leaf(level):
    """A Parameter is a Tensor with another name; a leaf of it is a leaf."""
    class Parameter(level.Tensor):
        pass

    w, x = Parameter(np.array([[1.0, 2.0], [3.0, 4.0]])), level.Tensor(np.array([5.0, 6.0]))
    for _ in range(2):
        (w * x + w).sum().backward()
    assert_close((w.grad, x.grad), (np.full((2, 2), 2.0) * [6.0, 7.0], np.array([8.0, 12.0])),
                 what="gradients of w, x")


@pytest.mark.gradient
@tensors_only
def test_agrees_with_the_escape_hatch(level):
    """A network with a reused hidden layer has the gradients of tangled/autograd_stub.py."""
    results = []
    for module in (level, autograd_stub):
        r = rng(5)
        x, w, b, v = (module.Tensor(r.standard_normal(s)) for s in ((5, 3), (3, 4), (4,), (4, 4)))
        h = (x @ w + b).relu()
        y = (h @ v).tanh() + h
        y.backward(upstream_like(y.data))
        results.append(tuple(t.grad for t in (x, w, b, v)))
    assert_close(*results, what="gradients of x, w, b, v")
