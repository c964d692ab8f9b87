# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:6ccd2a97cb70af20
"""Chapter 04: the graded exercises."""

import numpy as np
import pytest

from tangled.t04_perceptron import logistic_fit, sigmoid
from tangled.testing import assert_close, assert_repeatable, expect_value_error, rng


def overlapping(n=60, dtype=np.float64):
    """x (n, 3) of whole numbers and noisy labels -1 and +1 (n,)."""
    x = rng(0).integers(-5, 6, (n, 3)).astype(dtype)
    return x, np.where(x @ [1, 2, -1] + rng(1).normal(0, 4, n) > 1, 1, -1)


def slow_average(x, y, epochs):
    """(w, b) by adding up the weights after every sample."""
    v, total, seen = np.zeros(4), np.zeros(4), 0
    for _ in range(epochs):
        wrong = 0
        for point in np.c_[x, np.ones(len(x))] * y[:, None]:
            if point @ v <= 0:
                v, wrong = v + point, wrong + 1
            total, seen = total + v, seen + 1
        if wrong == 0:
            break
    return total[:3] / seen, total[3] / seen


@pytest.mark.value
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_averaged_perceptron(exercises, epochs):
    """The mean over every sample visited, where the classes overlap; float32 stays float32."""
    x, y = overlapping()
    w, b = exercises.averaged_perceptron(x, y, epochs)
    assert_close((w, np.asarray(b)), slow_average(x, y, epochs), tol=1e-10, what="(w, b)")
    w, b = exercises.averaged_perceptron(x.astype(np.float32), y, epochs)
    expected = slow_average(x, y, epochs)
    assert_close((w, np.asarray(b)), expected, tol=1e-5, what="(w, b)", dtype=np.float32)


@pytest.mark.value
def test_averaged_perceptron_stops(exercises):
    """The epoch without a mistake is the last, and part of the mean; nothing is changed or kept."""
    x, _ = overlapping()
    y = np.where(x @ [1, 2, -1] > 0.5, 1, -1)
    w, b = exercises.averaged_perceptron(x, y, 500)
    assert_close((w, np.asarray(b)), slow_average(x, y, 500), tol=1e-10, what="(w, b)")
    assert_repeatable(exercises.averaged_perceptron, (x, y, 3))


@pytest.mark.value
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_newton_finds_the_minimum(exercises, scale):
    """The gradient vanishes, in few steps, whatever the scale of the features; nothing rises."""
    x, y = overlapping()
    x, y = x * scale, (y + 1) / 2
    w, b, losses = exercises.logistic_newton(x, y, 0.1 * scale**2)
    dz = (sigmoid(x @ w + b) - y) / len(y)
    gradient = np.append(dz @ x / scale + 0.1 * scale * w, dz.sum())
    assert_close(gradient, np.zeros(4), tol=1e-6, what="the gradient")
    assert len(losses) <= 15 and (np.diff(losses) <= 1e-12).all()
    assert_close(losses[0], np.array(np.log(2)), what="the first objective")
    expected = np.mean(np.logaddexp(0, x @ w + b) - (x @ w + b) * y) + 0.05 * scale**2 * w @ w
    assert_close(losses[-1], np.array(expected), tol=1e-10, what="the last objective")


@pytest.mark.value
def test_newton_goes_where_descent_goes(exercises):
    """With hardly any penalty the weights are those of a long gradient descent."""
    x, y = overlapping()
    w, b, _ = exercises.logistic_newton(x, (y + 1) / 2, 1e-12)
    slow = logistic_fit(x, (y + 1) / 2, lr=0.2, epochs=4000)
    assert_close(np.append(w, b), np.append(slow[0], slow[1]), tol=1e-4, what="(w, b)")


@pytest.mark.edge
def test_newton_is_safe(exercises):
    """Far separated clouds, where full steps overshoot; a single class is refused."""
    x = np.concatenate([rng(2).normal(-30, 1, (20, 2)), rng(3).normal(30, 1, (20, 2))])
    y = np.repeat([0.0, 1.0], 20)
    w, b, losses = exercises.logistic_newton(x, y, 1e-6)
    assert (np.diff(losses) <= 1e-12).all()
    dz = (sigmoid(x @ w + b) - y) / len(y)
    assert_close(np.append(dz @ x + 1e-6 * w, dz.sum()), np.zeros(3), tol=1e-8, what="the gradient")
    expect_value_error("y", exercises.logistic_newton, x, np.ones(40), 0.1)
