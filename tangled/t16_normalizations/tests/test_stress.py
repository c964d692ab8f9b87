# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:b0ba4722d3d97132
"""Chapter 16: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, rows, features):
    """A function that runs layer norm forward and backward in float32."""
    x, gamma = rng(0).standard_normal((rows, features)).astype(np.float32), np.ones(features, np.float32)

    def call():
        out, cache = level.layer_norm(x, gamma, gamma)
        return level.layer_norm_backward(out, cache)
    return call


def test_memory_is_linear(level):
    """No D x D Jacobian anywhere: memory grows as D."""
    exponent = growth_exponent(lambda n: step(level, 4, n), [400, 800, 1600], measure="memory")
    assert exponent < 1.3, f"memory grows as D^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_keeps_no_normalised_copy(level):
    """Beyond out and dx a few blocks; level 2 holds x_hat and temporaries."""
    from tangled.t16_normalizations import level2_vectorized as plain
    lean, other = (peak_memory(step(m, 8192, 256)) for m in (level, plain))
    results = 2 * 4 * 8192 * 256                                # out and dx, float32
    assert lean < 1.2 * results, f"{lean / results:.2f} times out and dx"
    assert lean < 0.6 * other, f"{lean / other:.2f} of level 2's memory"


@pytest.mark.levels(3)
@pytest.mark.parametrize("far", [0, 5])
@pytest.mark.parametrize("rows, D", [(1, 4), (255, 4), (256, 4), (257, 4), (600, 4), (100, 20)])
def test_level3_blocks(level, monkeypatch, rows, D, far):
    """Blocks that divide the rows and blocks that do not, each op against level 1; some means far from 0."""
    from tangled.t16_normalizations import level1_naive as loops
    monkeypatch.setattr(level, "BLOCK", 1024)                   # 256 rows of 4
    (x, other, dout, dtotal), (gamma, beta) = rng(1).standard_normal((4, rows, D)), rng(2).standard_normal((2, D))
    x += far * rng(3).random((rows, 1))
    for op, args, upstream in (("layer_norm", (x, gamma, beta), [dout]), ("rms_norm", (x, gamma), [dout]),
                               ("group_norm", (x, 2, gamma, beta), [dout]),
                               ("add_layer_norm", (x, other, gamma, beta), [dout, dtotal])):
        (out, cache), (expected, of_loops) = (getattr(m, op)(*args) for m in (level, loops))
        assert_close(np.array(out), np.array(expected), tol=1e-10, what=op)
        grads = getattr(level, op + "_backward")(*upstream, cache)
        for got, want in zip(grads, getattr(loops, op + "_backward")(*upstream, of_loops), strict=True):
            assert_close(got, want, tol=1e-9, what="a gradient of " + op)


@pytest.mark.levels(3)
def test_level3_leaves_buffers_as_they_were(level):
    """NumPy's buffers are set for some products; whoever calls has the size that was there."""
    x, before = rng(9).standard_normal((3, 4, 5)), np.getbufsize()
    with np.errstate():
        np.setbufsize(before // 2)
        level.group_norm_backward(x, level.group_norm(x, 2)[1])
        assert np.getbufsize() == before // 2
    assert np.getbufsize() == before


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("kind, args", [("layer_norm", ()), ("rms_norm", ()), ("group_norm", (4,))])
def test_float32_takes_half_of_the_memory(level, kind, args):
    """Nothing is computed in a wider type behind the caller's back."""
    def step_in(dtype):
        x, gamma = np.ones((64, 128), dtype), np.ones(128, dtype)
        return lambda: getattr(level, kind + "_backward")(x, getattr(level, kind)(x, *args, gamma)[1])
    ratio = peak_memory(step_in(np.float32)) / peak_memory(step_in(np.float64))
    assert ratio < 0.65, f"{ratio:.2f} of the memory that float64 takes"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("kind", ["weight_norm", "add_layer_norm"])
def test_the_others_take_half_of_the_memory_in_float32(level, kind):
    """The same of directions, and of the norm with a sum."""
    def step_in(dtype):
        x = np.ones((64, 128), dtype)
        if kind == "weight_norm":
            return lambda: level.weight_norm_backward(x, level.weight_norm(x, np.ones(64, dtype))[1])
        return lambda: level.add_layer_norm_backward(x, x, level.add_layer_norm(x, x)[1])
    ratio = peak_memory(step_in(np.float32)) / peak_memory(step_in(np.float64))
    assert ratio < 0.65, f"{ratio:.2f} of the memory that float64 takes"


@pytest.mark.levels(3)
def test_sums_over_blocks_in_float16(level, monkeypatch):
    """2048 + 1 is 2048 in float16: what is added from block to block is wider."""
    monkeypatch.setattr(level, "BLOCK", 2)                      # a row a block
    x, beta = rng(6).standard_normal((3, 2)).astype(np.float16), np.zeros(2, np.float16)
    dout = np.array([[1], [2048], [1]], np.float16).repeat(2, axis=1)
    for name, dbeta in (("layer", level.layer_norm_backward(dout, level.layer_norm(x, None, beta)[1])[1]),
                        ("group", level.group_norm_backward(dout, level.group_norm(x, 1, None, beta)[1])[1])):
        assert_close(dbeta, np.full(2, 2050, np.float16), tol=0, what="dbeta of " + name)


@pytest.mark.levels(2, 3)
def test_group_of_many_in_float32(level):
    """A group of 2^20 numbers whose mean is not 0: its sums are long."""
    x = 1.5 + rng(8).standard_normal((1, 16, 1 << 16))
    out, _ = level.group_norm(x.astype(np.float32), 1)
    assert_close(out.astype(float), level.group_norm(x, 1)[0], tol=1e-5, what="out")


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """8,192 rows of 64 in float32, against float64: parameters' gradients are long sums."""
    x, dout = rng(4).standard_normal((2, 8192, 64)).astype(np.float32)
    gamma = rng(5).standard_normal(64).astype(np.float32)
    _, cache = level.layer_norm(x, gamma, gamma)
    _, exact = level.layer_norm(x.astype(float), gamma.astype(float), gamma.astype(float))
    for got, want in zip(level.layer_norm_backward(dout, cache), level.layer_norm_backward(dout.astype(float), exact)):
        assert_close(got.astype(float), want, tol=1e-4, what="gradient")
