# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:60c7098b8438c111
"""Chapter 09: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.performance


def step(level, shape, training=True, into=False):
    """A function that runs forward and backward in float32; into: with arrays to write to."""
    x, dout = rng(0).standard_normal((2, *shape)).astype(np.float32)
    gamma, beta, mean, var = np.ones((4, shape[1]), np.float32)
    options = {"out": np.empty_like(x)} if into else {}

    def call():
        _, cache = level.batch_norm(x, gamma, beta, mean, var, training, **options)
        return level.batch_norm_backward(dout, cache, **options)
    return call


@pytest.mark.parametrize("training", [True, False])
def test_time_is_linear(level, level_number, training):
    """O(size of x): an exponent near 1, far from the 2 of a Jacobian with M x M entries."""
    start = 16 if level_number == 1 else 1024
    exponent = growth_exponent(lambda n: step(level, (n, 8, 4, 4), training),
                               [start, 2 * start, 4 * start])
    assert exponent < 1.6, f"time grows as N^{exponent:.2f}"


def test_memory_is_linear(level):
    """No M x M matrix anywhere: memory grows as N."""
    exponent = growth_exponent(lambda n: step(level, (n, 4)), [500, 1000, 2000],
                               measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Levels 2 and 3 are many times as fast as the loops, on 16,384 numbers."""
    from tangled.t09_batch_norm import level1_naive
    shape = (16, 16, 8, 8)
    ratio = time_ratio(step(level1_naive, shape), step(level, shape), rounds=3)
    assert ratio > 8, f"only {ratio:.1f} times as fast as level 1"


@pytest.mark.levels(3)
def test_level3_needs_a_fraction_of_the_memory(level):
    """Given arrays to write to, the peak is one block; level 2 holds x_hat, output, dx."""
    from tangled.t09_batch_norm import level2_vectorized as plain
    shape = (64, 32, 32, 32)
    ratio = peak_memory(step(level, shape, into=True)) / peak_memory(step(plain, shape))
    assert ratio < 0.15, f"{ratio:.2f} of level 2's memory"


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape", [(5, 3), (7, 3, 2, 2), (300, 64, 4, 8)])
def test_level3_writes_where_told(level, shape):
    """out=, several blocks, dout overwritten by dx, x overwritten in evaluation only."""
    x, dout = rng(1).standard_normal((2, *shape)).astype(np.float32)
    arrays = [a.astype(np.float32) for a in rng(2).uniform(0.5, 2, (4, shape[1]))]
    expected, cache = level.batch_norm(x, *arrays, True)
    out = np.empty_like(x)
    assert level.batch_norm(x, *arrays, True, out=out)[0] is out
    assert_close(out, expected, what="out")
    grads, buffer = level.batch_norm_backward(dout, cache), dout.copy()
    assert level.batch_norm_backward(buffer, cache, out=buffer)[0] is buffer
    assert_close(buffer, grads[0], what="dx in the place of dout")
    expect_value_error("out", level.batch_norm, x, *arrays, True, out=x)
    expect_value_error("out", level.batch_norm, x, *arrays, True, out=out.astype(float))
    expected, _ = level.batch_norm(x, *arrays, False)
    out, cache = level.batch_norm(x, *arrays, False, out=x)
    assert out is x and cache is None and np.array_equal(x, expected)
    expect_value_error("cache", level.batch_norm_backward, dout, cache)
    assert level.batch_norm(x, *arrays, False, out=x[:])[1] is None     # another view of the same memory


@pytest.mark.levels(3)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 3), (5, 3, 2, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_level3_blocks_of_any_size(level, shape, dtype, training, monkeypatch):
    """A sample larger than a block, one or several to a block, a smaller last block: what one block gives."""
    x, dout = rng(12).standard_normal((2, *shape)).astype(dtype)
    gamma, beta = rng(13).uniform(0.5, 2, (2, 3)).astype(dtype)
    results = []
    for block in (level.BLOCK, 1, x[0].size, 3 * x[0].size):
        monkeypatch.setattr(level, "BLOCK", block)
        past = np.full(3, 0.1), np.full(3, 1.5)
        out, cache = level.batch_norm(x, gamma, beta, *past, training)
        grads = level.batch_norm_backward(dout, cache)
        room = dout.copy()
        again = level.batch_norm_backward(room, cache, out=room)[0]
        results.append((out, *past, *grads, again, level.batch_norm(x.copy(), gamma, beta, *past, training)[0]))
    for got in results[1:]:
        assert_close(got, results[0], tol={2: 4e-3, 4: 1e-5, 8: 1e-11}[x.itemsize], what="results")


@pytest.mark.levels(3)
def test_level3_adds_its_blocks_in_float64(level, monkeypatch):
    """Forty blocks of one sample: 2^24 and 39 ones, of which float32, adding one by one, loses the ones."""
    monkeypatch.setattr(level, "BLOCK", 1)
    x, past = np.ones((40, 2), np.float32), (np.zeros(2), np.ones(2))
    x[0], x[1] = 0, (2 ** 24, 4096)                             # for the mean, and for the variance
    level.batch_norm(x, *np.ones((2, 2), np.float32), *past, True, momentum=1.0)
    assert_close(past[0][:1], x[:, :1].astype(float).mean(axis=0), tol=5e-7, what="running_mean")
    assert_close(past[1], x.astype(float).var(axis=0, ddof=1), tol=5e-7, what="running_var")
    ones, signs = np.ones((2, 40, 2), np.float32)
    signs[::2] = -1
    _, cache = level.batch_norm(signs, ones[0], ones[0], None, None, True, eps=1e-12)
    for dout, which in ((signs, 1), (ones, 2)):
        dout = dout.copy()
        dout[0] *= 2 ** 24
        got = level.batch_norm_backward(dout, cache)[which]
        assert_close(got, np.full(2, 2 ** 24 + 39, np.float32), tol=5e-7, what=("dx", "dgamma", "dbeta")[which])


@pytest.mark.levels(3)
def test_level3_corrects_for_the_rounded_mean(level):
    """Mean 10,000 in float32 is off by up to 0.0005; times the sum of dout that would be seen."""
    x = (1e4 + rng(4).standard_normal((1000, 5))).astype(np.float32)
    dout = (1 + 0.1 * rng(5).standard_normal(x.shape)).astype(np.float32)
    _, cache = level.batch_norm(x, *np.ones((2, 5), np.float32), None, None, True)
    dgamma = level.batch_norm_backward(dout, cache)[1]
    exact = x.astype(np.float64)
    x_hat = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    assert np.abs(dgamma - (dout * x_hat).sum(0)).max() < 0.01


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape", [(4096, 8), (50_000, 3), (24, 16, 32, 32)])
@pytest.mark.parametrize("mean", [100, 1e4])
def test_level3_variance_far_out(level, shape, mean):
    """Relative error of the variance below 2e-5 whatever the mean is: the shift is a block's mean."""
    x = (mean + rng(6).standard_normal(shape)).astype(np.float32)
    C, axes = shape[1], (0, 2, 3)[:len(shape) - 1]
    past = np.zeros(C), np.ones(C)
    level.batch_norm(x, *np.ones((2, C), np.float32), *past, True, momentum=1.0)
    exact = x.astype(np.float64)
    assert_close(past[1] / exact.var(axis=axes, ddof=1), np.ones(C), tol=2e-5, what="running_var, relative")
    assert_close(past[0], exact.mean(axis=axes), tol=1e-9 * mean, what="running_mean")


@pytest.mark.levels(3)
def test_level3_first_block_is_an_outlier(level):
    """The worst case: a first block a thousand deviations off, among eight blocks."""
    n = 8 * level.BLOCK // 4
    x = rng(7).standard_normal((n, 4)).astype(np.float32)
    x[:n // 8] += 1000
    past = np.zeros(4), np.ones(4)
    level.batch_norm(x, *np.ones((2, 4), np.float32), *past, True, momentum=1.0)
    exact = x.astype(np.float64).var(axis=0, ddof=1)
    assert_close(past[1] / exact, np.ones(4), tol=1e-4, what="running_var, relative")


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_level3_out_of_any_layout(level, training, shape):
    """out= shifted, unaligned, read-only, over an input: right, or a ValueError."""
    past = (None, None) if training else rng(9).uniform(0.5, 2, (2, 3))
    f = lambda x, gamma, beta, out=None: level.batch_norm(x, gamma, beta, *past, training, out=out)
    refused = [f"out={name}" for name in ("Fortran order", "transposed", "negative strides",
                                          "every second entry", "offset")]
    assert_layouts(f, (rng(10).standard_normal(shape), *rng(11).uniform(0.5, 2, (2, 3))),
                   level.batch_norm_backward, out=True, backward_out=True, leave_out=refused, tol=1e-9)


@pytest.mark.levels(3)
def test_level3_refuses_to_destroy_what_it_reads(level):
    """out over x's memory, over half of dout's, over gamma's, or read-only."""
    room = rng(8).standard_normal((2, 5, 3)).astype(np.float32)
    x, gamma = room[0], np.ones(3, np.float32)
    out, cache = level.batch_norm(x, gamma, gamma, None, None, True)
    expect_value_error("out", level.batch_norm_backward, out, cache, out=x)
    wide = np.zeros((10, 3), np.float32)
    expect_value_error("out", level.batch_norm_backward, wide[:5], cache, out=wide[1:6])
    past = np.ones((2, 3))
    expect_value_error("out", level.batch_norm, wide[:5], gamma, gamma, *past, False, out=wide[2:7])
    frozen = np.empty((5, 3), np.float32)
    frozen.flags.writeable = False
    expect_value_error("out", level.batch_norm, x, gamma, gamma, None, None, True, out=frozen)
    for training in (True, False):
        expect_value_error("out", level.batch_norm, x, wide[2], gamma, *np.ones((2, 3)), training, out=wide[:5])
    W, b = np.ones((2, 3)), np.ones(3)
    expect_value_error("out[0]", level.fold_batch_norm, W, b, *np.ones((4, 3)), out=(W.T, b))
    expect_value_error("out[1]", level.fold_batch_norm, W, b, *np.ones((4, 3)), out=(W, W[0]))


@pytest.mark.levels(3)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_level3_folds_in_place(level, rows, bias):
    """out=(W, b): a checkpoint is folded without a copy, with its own eps."""
    W, b, *layer = rng(3).uniform(0.5, 2, (rows, 3)), *rng(4).uniform(0.5, 2, (5, 3))
    for eps in ({}, {"eps": 0.3}):
        expected = level.fold_batch_norm(W, b if bias else None, *layer, **eps)
        got = level.fold_batch_norm(W, b if bias else None, *layer, out=(W, b), **eps)
        assert got[0] is W and got[1] is b
        for a, want in zip(got, expected):
            assert_close(a, want, tol=1e-12, what="folded in place")
