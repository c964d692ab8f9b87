# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:16be27213a031d41
"""Chapter 19: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of lstm that are right, but for the changes."""
    return {"x": ones((2, 5, 3)), "h0": ones((2, 4)), "c0": ones((2, 4)), "w_ih": ones((3, 16)),
            "w_hh": ones((4, 16)), "b_ih": ones(16), "b_hh": ones(16), **changes}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((5, 3))), ("x", ones((2, 5, 3), int)), ("h0", ones((1, 4))), ("h0", ones((2, 3))), ("h0", ones(4)),
    ("h0", ones((2, 4), np.float32)), ("c0", ones((1, 4))), ("c0", ones((2, 3))), ("c0", ones((2, 4), int)),
    ("w_ih", ones((4, 16))), ("w_ih", ones((3, 12))), ("w_ih", ones((3, 1))), ("w_hh", ones((4, 4))),
    ("w_hh", ones((16, 4))), ("w_hh", ones((4, 16), np.float32)), ("b_ih", ones(4)), ("b_ih", ones((1, 16))),
    ("b_hh", ones((16, 1))), ("b_hh", ones(1)), ("b_hh", ones(16, np.float32))])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, weights of one gate, dtypes."""
    expect_value_error(argument, level.lstm, **valid(**{argument: value}))


def test_messages(level):
    """A message names the argument, what was found and what was expected; in a step the states have no 0."""
    step = [ones((2, 3)), ones((2, 4)), ones((2, 3)), ones((3, 16)), ones((4, 16))]
    for f, args, text in ((level.lstm_step, step, "c has shape (2, 3); expected (2, 4)"),
                          (level.lstm, [ones((2, 5, 3)), *step[1:]], "c0 has shape (2, 3); expected (2, 4)"),
                          (level.lstm, [ones((2, 5, 0)), step[1], step[1], ones((0, 16)), step[4]],
                           "x has shape (2, 5, 0); expected (B, T, D) with D at least 1"),
                          (level.lstm_step, [step[0], *[ones((2, 0))] * 2, ones((3, 0)), ones((0, 0))],
                           "w_hh has shape (0, 0); expected (H, 4H) with H at least 1"),
                          (level.lstm_step, [*step[:2], step[1], step[3], ones((4, 12))],
                           "w_hh has shape (4, 12); expected (4, 16)")):
        with pytest.raises(ValueError) as caught:
            f(*args)
        assert str(caught.value) == text


def test_backward_refuses(level):
    """Gradients that would broadcast."""
    (out, (h, c)), cache = level.lstm(**valid())
    expect_value_error("dout", level.lstm_backward, out[:1], None, None, cache)
    expect_value_error("dout", level.lstm_backward, out[:, :1], None, None, cache)
    expect_value_error("dh_T", level.lstm_backward, out, h[:1], None, cache)
    expect_value_error("dc_T", level.lstm_backward, out, None, c[:, :1], cache)
    (h, c), cache = level.lstm_step(ones((2, 3)), h, c, ones((3, 16)), ones((4, 16)))
    expect_value_error("dh", level.lstm_step_backward, h[:1], None, cache)
    expect_value_error("dc", level.lstm_step_backward, None, c[:1], cache)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3), (1, 1, 3), (1, 1, 1)])
def test_small(level, shape):
    """No steps: the states come back, and so do their gradients. No samples. One of each."""
    states = rng(0).standard_normal((2, shape[0], 4))
    parameters = [0.1 * ones(s) for s in ((shape[2], 16), (4, 16), 16, 16)]
    (out, ends), cache = level.lstm(ones(shape), *states, *parameters)
    dends = rng(1).standard_normal(states.shape)
    dx, *dstates = level.lstm_backward(np.zeros(out.shape), *dends, cache)[:3]
    grads = level.lstm_backward(np.zeros(out.shape), *dends, cache)[3:]
    assert out.shape == (*shape[:2], 4) and dx.shape == shape
    assert [g.shape for g in grads] == [p.shape for p in parameters]
    if not shape[1]:
        for a, b in ((ends, states), (dstates, dends)):
            for got, want in zip(a, b):
                assert_close(got, want, tol=0, what="states of no steps")
                assert not np.shares_memory(got, want)
    if 0 in shape[:2]:
        for grad in grads:
            assert_close(grad, np.zeros(grad.shape), what="a sum over nothing")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [90.0, 1e4])
def test_saturated(level, dtype, size):
    """Gates at 0 and 1 without overflow or NaN; a closed one lets nothing through, an open one everything."""
    zero, w = np.zeros((1, 1), dtype), np.zeros((1, 4), dtype)
    old = np.full((1, 1), 3, dtype)
    for i, f, o in np.ndindex(2, 2, 2):
        b = (np.array([i, f, 1, o], dtype) * 2 - 1) * dtype(size)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            (out, (_, c)), cache = level.lstm(zero[None], zero, old, w, w, b)
            grads = level.lstm_backward(out * 0 + 1, None, zero + 1, cache)
        assert_close(c, np.full((1, 1), i + 3.0 * f), tol=1e-6, what="c")
        assert_close(out.ravel(), o * np.tanh(c.ravel()), tol=1e-6, what="out")
        assert_close(grads[2], f * (1 + o * (1 - np.tanh(c) ** 2)), tol=1e-5, what="dc0")
        assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("a", [30.0, 130.0])
def test_a_gate_near_zero(level, a):
    """What i or f lets through is right to a rounding of itself, and not of 1."""
    w = np.zeros((1, 4))
    for c0, b, want in ((0, [-a, 0, 1, 0], np.tanh(1)), (1, [0, -a, 0, 0], 1.0)):
        (_, (_, c)), _ = level.lstm(np.zeros((1, 1, 1)), w[:, :1], w[:, :1] + c0, w, w, np.array(b, float))
        assert_close(c * np.exp(a), np.full((1, 1), want), tol=1e-9, what="what is let through")


def test_not_a_number_goes_forward_only(level):
    """It spoils the outputs from its step on, of its own sample."""
    x, zero = rng(2).standard_normal((2, 4, 3)), np.zeros((2, 4))
    x[1, 2, 0] = np.nan
    (out, _), _ = level.lstm(x, zero, zero, 0.3 * ones((3, 16)), 0.3 * ones((4, 16)))
    bad = np.zeros((2, 4), bool)
    bad[1, 2:] = True
    assert_close(np.isnan(out).any(-1).astype(float), bad.astype(float), what="steps with a NaN")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    arrays = [rng(3).standard_normal(s) for s in ((2, 5, 3), (2, 4), (2, 4), (3, 16), (4, 16), (16,))]

    def sequence(*given):
        (out, (h, c)), cache = level.lstm(*given)
        return (out, h, c), cache
    assert_layouts(sequence, arrays, f_backward=lambda d, cache: level.lstm_backward(*d, cache))
    assert_layouts(level.lstm_step, [arrays[0][:, 0].copy(), *arrays[1:]],
                   f_backward=lambda d, cache: level.lstm_step_backward(*d, cache))


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes, states and weights that are none."""
    expect_value_error("input_size", level.LSTM, 0, 4)
    expect_value_error("hidden_size", level.LSTM, 3, 2.5)
    expect_value_error("num_layers", level.LSTM, 3, 4, 0)
    expect_value_error("forget_bias", level.LSTM, 3, 4, forget_bias=np.nan)
    expect_value_error("forget_bias", level.LSTM, 3, 4, forget_bias=True)
    expect_value_error("rng", level.LSTM, 3, 4, rng=0)
    x, good, bad = ones((2, 5, 3), np.float32), ones((1, 2, 4), np.float32), ones((2, 2, 4), np.float32)
    expect_value_error("h", level.LSTM(3, 4), x, (bad, good))
    expect_value_error("c", level.LSTM(3, 4), x, (good, bad))
    module = level.LSTM(3, 4)
    state = level.to_pytorch(module)
    expect_value_error("state", level.from_pytorch, module, {k: v for k, v in state.items() if k != "bias_hh_l0"})
    expect_value_error("state", level.from_pytorch, module, state | {"weight_hr_l0": ones((4, 4))})
    expect_value_error("weight_hh_l0", level.from_pytorch, module, state | {"weight_hh_l0": ones((4, 16))})
    for name, value in level.to_pytorch(module).items():
        assert_close(value, state[name], tol=0, what="weights after a refusal")
