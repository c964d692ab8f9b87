# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:1355af829516483a
"""Chapter 14: the graded exercises."""

import numpy as np
import pytest

from tangled.t12_im2col import conv2d, conv2d_backward
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.gradient
@pytest.mark.parametrize("shape, channels, stride", [((2, 3, 5, 4), 3, 1), ((2, 3, 5, 4), 5, 2), ((1, 2, 7, 8), 4, 3)])
def test_pad_shortcut(exercises, shape, channels, stride):
    """Values in the open; gradients by central differences; the input stays, and is not shared."""
    x = rng(0).standard_normal(shape)
    kept = x.copy()
    out, _ = exercises.pad_shortcut(x, channels, stride)
    assert out.shape == (shape[0], channels, -(-shape[2] // stride), -(-shape[3] // stride))
    for n, c, i, j in np.ndindex(*out.shape):
        want = x[n, c, i * stride, j * stride] if c < shape[1] else 0.0
        assert_close(out[n, c, i, j], want, tol=0, what=f"out[{n}, {c}, {i}, {j}]")
    check_gradients(lambda x: exercises.pad_shortcut(x, channels, stride), exercises.pad_shortcut_backward, [x])
    assert exercises.pad_shortcut(x.astype(np.float32), channels, stride)[0].dtype == np.float32
    out[...] = 0
    assert_close(x, kept, tol=0, what="x")


def branch(seed, channels):
    """A convolution and a tanh: forward and backward."""
    w = 0.5 * rng(seed).standard_normal((channels, channels, 3, 3))

    def forward(x):
        z, of_conv = conv2d(x, w, None, 1, 1)
        return np.tanh(z), (np.tanh(z), of_conv)

    def backward(dout, cache):
        return conv2d_backward(dout * (1 - cache[0] ** 2), cache[1])[0]
    return forward, backward


@pytest.mark.gradient
def test_reversible(exercises):
    """Values, inputs found again, gradients by central differences, the outputs as they were."""
    (f, f_back), (g, g_back) = branch(1, 2), branch(2, 2)
    x1, x2, dy1, dy2 = rng(3).standard_normal((4, 2, 2, 3, 4))
    y1, y2 = exercises.reversible(x1, x2, f, g)
    assert_close(y1, x1 + f(x2)[0], what="y1")
    assert_close(y2, x2 + g(y1)[0], what="y2")
    kept = y1.copy(), y2.copy()
    dx1, dx2, again1, again2 = exercises.reversible_backward(dy1, dy2, y1, y2, f, f_back, g, g_back)
    assert_close(again1, x1, tol=1e-10, what="x1")
    assert_close(again2, x2, tol=1e-10, what="x2")
    loss = lambda a, b: sum(np.vdot(d, y) for d, y in zip((dy1, dy2), exercises.reversible(a, b, f, g)))
    for name, x, grad in (("dx1", x1, dx1), ("dx2", x2, dx2)):
        numeric = np.empty_like(x)
        for index in np.ndindex(*x.shape):
            moved = x.copy()
            moved[index] += 1e-6
            up = loss(moved, x2) if name == "dx1" else loss(x1, moved)
            moved[index] -= 2e-6
            numeric[index] = (up - (loss(moved, x2) if name == "dx1" else loss(x1, moved))) / 2e-6
        assert_close(grad, numeric, tol=1e-6, what=name)
    assert_close(y1, kept[0], tol=0, what="y1 afterwards")
    assert_close(y2, kept[1], tol=0, what="y2 afterwards")


@pytest.mark.edge
def test_reversible_through_many_blocks(exercises):
    """Thirty blocks there and back: the inputs to 1e-6 from the last outputs alone."""
    pairs = [(branch(2 * k, 2), branch(2 * k + 1, 2)) for k in range(30)]
    x1, x2, d1, d2 = rng(4).standard_normal((4, 1, 2, 3, 5))
    y1, y2 = x1, x2
    for (f, _), (g, _) in pairs:
        y1, y2 = exercises.reversible(y1, y2, f, g)
    for (f, f_back), (g, g_back) in reversed(pairs):
        d1, d2, y1, y2 = exercises.reversible_backward(d1, d2, y1, y2, f, f_back, g, g_back)
    assert_close(y1, x1, tol=1e-6, what="x1")
    assert_close(y2, x2, tol=1e-6, what="x2")
