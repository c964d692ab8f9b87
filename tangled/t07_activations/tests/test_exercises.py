# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:77388e2d112fd9c8
"""Chapter 07: the graded exercises."""

import math

import numpy as np
import pytest

from tangled.t07_activations import silu
from tangled.testing import (
    assert_close,
    assert_layouts,
    assert_repeatable,
    check_gradients,
    rng,
)

pytestmark = pytest.mark.value


def test_erf(exercises):
    """Twelve digits of the value from 1e-300 to 30, on both sides, where 1 - erfc has none."""
    x = np.concatenate([np.logspace(-300, 0, 61), np.linspace(0.3, 0.7, 41), np.linspace(1, 30, 59)])
    for sign in (1, -1):
        exact = np.array([math.erf(sign * v) for v in x])
        assert_close(exercises.erf(sign * x) / exact, np.ones_like(x), tol=1e-12, what="erf / expected")


def test_erf_at_its_ends(exercises):
    """0, infinities, an array of two axes, and x as it was."""
    x = np.array([[0.0, np.inf], [-np.inf, 0.5]])
    kept = x.copy()
    with np.errstate(all="raise", under="ignore"):
        out = exercises.erf(x)
    assert_close(out, np.array([[0, 1], [-1, math.erf(0.5)]]), tol=1e-12, what="erf")
    assert_close(x, kept, tol=0, what="x afterwards")


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 5)])
def test_swish(exercises, shape):
    """Values by the definition; both gradients by central differences; inputs stay."""
    x, beta = 2 * rng(1).standard_normal(shape), np.array([0.3, 1.0, 2.5])
    out, _ = exercises.swish(x, beta)
    b = beta.reshape(-1, *[1] * (len(shape) - 2))
    assert_close(out, x / (1 + np.exp(-b * x)), tol=1e-10, what="swish")
    check_gradients(exercises.swish, exercises.swish_backward, [x, beta])
    assert_repeatable(exercises.swish, (x, beta), exercises.swish_backward)


def test_swish_limits(exercises):
    """beta = 1 is SiLU, 0 is x / 2, 1e4 is ReLU; nothing overflows; float32 stays float32."""
    x = np.array([[-5.0, -5, -5], [3, 3, 3]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        out, cache = exercises.swish(x, np.array([1, 0, 1e4], np.float32))
        dx, dbeta = exercises.swish_backward(np.ones_like(x), cache)
    expected = np.stack([silu(x[:, 0])[0], x[:, 1] / 2, np.maximum(x[:, 2], 0)], axis=1)
    assert_close(out, expected, tol=1e-6, what="swish")
    for got, name in ((out, "out"), (dx, "dx"), (dbeta, "dbeta")):
        assert got.dtype == np.float32, f"{name} has dtype {got.dtype}"


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
def test_swiglu(exercises, shape):
    """Values by the definition; three gradients by central differences; two paths into x."""
    x, V, W = rng(2).standard_normal(shape), rng(3).standard_normal((3, 6)), rng(4).standard_normal((3, 6))
    out, _ = exercises.swiglu(x, V, W)
    assert_close(out, (x @ V) * silu(x @ W)[0], tol=1e-10, what="swiglu")
    check_gradients(exercises.swiglu, exercises.swiglu_backward, [x, V, W])
    assert_repeatable(exercises.swiglu, (x, V, W), exercises.swiglu_backward)
    assert_layouts(exercises.swiglu, (x, V, W), exercises.swiglu_backward, names=("x", "V", "W"))


def test_swiglu_keeps_float32(exercises):
    """float32 in, float32 out, gradients too."""
    x, V, W = (rng(k).standard_normal((4, 4)).astype(np.float32) for k in range(3))
    out, cache = exercises.swiglu(x, V, W)
    for got in (out, *exercises.swiglu_backward(out, cache)):
        assert got.dtype == np.float32, f"dtype {got.dtype}"
    assert_close(out, (x @ V) * silu(x @ W)[0], tol=1e-5, what="swiglu")
