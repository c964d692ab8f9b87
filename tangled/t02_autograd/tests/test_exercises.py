# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:510bfcd5b1788ca2
"""Chapter 2: softmax of a tensor, and checkpoints."""

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t02_autograd import Tensor
from tangled.testing import assert_close, check_gradients, rng


def by_hand(x, axis):
    """Softmax, slice by slice, in float64."""
    e = np.exp(np.asarray(x, float) - np.max(x))
    return np.apply_along_axis(lambda row: row / row.sum(), axis, e)


CASES = [((3, 3), -2), ((3, 3), -1), ((3, 3), 0), ((2, 3, 4), 1), ((3, 3, 3), -3), ((5,), 0)]


@pytest.mark.value
@pytest.mark.parametrize("shape, axis", CASES)
def test_softmax(exercises, shape, axis):
    """Each axis of squares and of other shapes; the last one if nothing is said."""
    x = rng(1).standard_normal(shape)
    assert_close(exercises.softmax(Tensor(x), axis).data, by_hand(x, axis), what="softmax")
    assert_close(exercises.softmax(Tensor(x)).data, by_hand(x, -1), what="softmax, last axis")


@pytest.mark.gradient
@pytest.mark.parametrize("shape, axis", CASES)
def test_softmax_gradient(exercises, shape, axis):
    """The result is used twice, and every entry compared with central differences."""
    def forward(x):
        leaf = Tensor(x)
        y = exercises.softmax(leaf, axis=axis)
        out = y * y + y
        return out.data, (out, leaf)

    def backward(dout, cache):
        cache[0].backward(dout)
        return (cache[1].grad,)

    check_gradients(forward, backward, [rng(2).standard_normal(shape)], names="x")


@pytest.mark.edge
def test_softmax_far_out(exercises):
    """Entries of +-1000 and -inf, float32 kept, and data that were written to since are refused."""
    x = Tensor(np.array([[1000.0, -1000.0, 999.0], [-np.inf, 0.0, 0.0]], np.float32))
    y = exercises.softmax(x)
    y.backward(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]], np.float32))
    p = 1 / (1 + np.exp(-1.0))
    assert_close(y.data, np.array([[p, 0.0, 1 - p], [0.0, 0.5, 0.5]], np.float32), what="softmax")
    slope = 2 * p * (1 - p)
    assert_close(x.grad, np.array([[-slope, 0.0, slope], [0.0, -0.5, 0.5]], np.float32), what="gradient")
    assert y.data.dtype == x.grad.dtype == np.float32
    z = exercises.softmax(Tensor(np.ones(3)))
    z.data *= 2.0
    with pytest.raises(RuntimeError):
        z.backward(np.ones(3))


def block(w, calls):
    """Two layers of tanh with a skip, weights w, and a count of its calls."""
    def f(x):
        calls.append(1)
        return ((x @ w).tanh() + x) @ w
    return f


@pytest.mark.gradient
def test_checkpoint_gradients(exercises):
    """Two checkpoints in a row, their weights shared, the input used once more: as without them."""
    found = []
    for around in (lambda f, x: f(x), exercises.checkpoint):
        x, w, calls = Tensor(rng(3).standard_normal((5, 3))), Tensor(rng(4).standard_normal((3, 3))), []
        f = block(w, calls)
        h = around(f, x)
        y = around(f, h) * h + x
        y.backward(rng(5).standard_normal((5, 3)))
        found.append((y.data, x.grad, w.grad))
    assert_close(found[1], found[0], what="result, gradients of x and w")
    assert len(calls) == 4, f"f was called {len(calls)} times; expected twice forward, twice backward"


@pytest.mark.performance
def test_checkpoint_memory(exercises):
    """64 layers, a checkpoint every 8: what is held at once falls to less than a half."""
    def layers(x, n=8):
        for _ in range(n):
            x = x.tanh()
        return x

    def run(around, blocks=8):
        h = Tensor(np.full(1 << 14, 0.5))
        for _ in range(blocks):
            h = around(layers, h)
        h.backward(np.ones(1 << 14))
        return h

    plain, kept = peak_memory(lambda: run(lambda f, x: f(x))), peak_memory(lambda: run(exercises.checkpoint))
    assert kept < 0.5 * plain, f"with checkpoints {kept / plain:.2f} of the plain chain's peak"
