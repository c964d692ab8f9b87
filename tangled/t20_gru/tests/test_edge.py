# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:bc93778684256f9d
"""Chapter 20: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
both = pytest.mark.parametrize("kind", ["pytorch", "cho"])


def valid(**changes):
    """Arguments of gru that are right, but for the changes."""
    return {"x": ones((2, 5, 3)), "h0": ones((2, 4)), "w_ih": ones((3, 12)), "w_hh": ones((4, 12)),
            "b_ih": ones(12), "b_hh": ones(12), **changes}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((5, 3))), ("x", ones((2, 5, 3), int)), ("h0", ones((1, 4))), ("h0", ones((2, 3))), ("h0", ones(4)),
    ("h0", ones((2, 4), np.float32)), ("w_ih", ones((4, 12))), ("w_ih", ones((3, 13))), ("w_ih", ones(3)),
    ("w_hh", ones((4, 16))), ("w_hh", ones((3, 12))), ("w_hh", ones((4, 12), int)), ("b_ih", ones(4)),
    ("b_ih", ones((1, 12))), ("b_hh", ones((12, 1))), ("b_hh", ones(12, np.float32)), ("variant", "keras"),
    ("variant", None)])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, dtypes, words."""
    expect_value_error(argument, level.gru, **valid(**{argument: value}))


@pytest.mark.parametrize("f, args, text", [
    ("gru", (ones((2, 5, 3)), ones((3, 4)), ones((3, 12)), ones((4, 12))), "h0 has shape (3, 4); expected (2, 4)"),
    ("gru", (ones((2, 5, 0)), ones((2, 4)), ones((0, 12)), ones((4, 12))),
     "x has shape (2, 5, 0); expected (B, T, D) with D at least 1"),
    ("gru_step", (ones((2, 3)), ones((2, 0)), ones((3, 0)), ones((0, 0))),
     "w_ih has shape (3, 0); expected (3, 3H) with H at least 1"),
    ("gru", (ones((2, 5, 3)), ones((2, 4)), ones((3, 13)), ones((4, 12))),
     "w_ih has shape (3, 13); expected (3, 3H), a multiple of 3"),
    ("gru_step", (ones((2, 3)), ones((2, 4)), ones((3, 12)), ones((4, 12)), ones(4)),
     "b_ih has shape (4,); expected (12,)"),
    ("gru_step", (ones((2, 3)), ones((2, 4)), ones((3, 12)), ones((4, 12)), None, None, "after"),
     "variant = 'after'; expected 'pytorch' or 'cho'")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_backward_refuses(level):
    """Gradients that would broadcast."""
    (out, h_T), cache = level.gru(**valid())
    expect_value_error("dout", level.gru_backward, out[:1], None, cache)
    expect_value_error("dout", level.gru_backward, out[:, :1], None, cache)
    expect_value_error("dh_T", level.gru_backward, out, h_T[:1], cache)
    new, of_step = level.gru_step(ones((2, 3)), h_T, ones((3, 12)), ones((4, 12)))
    expect_value_error("dh_new", level.gru_step_backward, new[:1], of_step)


@both
@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3), (1, 1, 3), (0, 0, 3)])
def test_small(level, kind, shape):
    """No steps: the state comes back, and so does its gradient. No samples. One of each."""
    h0 = rng(0).standard_normal((shape[0], 4))
    (out, h_T), cache = level.gru(ones(shape), h0, *(0.1 * ones(s) for s in ((3, 12), (4, 12), 12, 12)), kind)
    dh_T = rng(1).standard_normal(h_T.shape)
    dx, dh0, *grads = level.gru_backward(np.zeros(out.shape), dh_T, cache)
    assert out.shape == (*shape[:2], 4) and dx.shape == shape and [g.shape for g in grads] == [
        (3, 12), (4, 12), (12,), (12,)]
    if not shape[1]:
        assert_close(h_T, h0, tol=0, what="h_T")
        assert_close(dh0, dh_T, tol=0, what="dh0")
        assert not np.shares_memory(h_T, h0) and not np.shares_memory(dh0, dh_T)
    if 0 in shape:
        for grad in grads:
            assert_close(grad, np.zeros(grad.shape), what="a sum over nothing")


@both
def test_saturated(level, kind):
    """Far out the gates are 0 or 1 and their slopes 0: no overflow, no NaN, and the state's path stays open."""
    for sign in (1, -1):
        x, h0 = np.full((1, 2, 1), 1e3 * sign), np.full((1, 1), 0.5)
        with np.errstate(all="raise", under="ignore"):
            (out, _), cache = level.gru(x, h0, ones((1, 3)), ones((1, 3)), variant=kind)
            dx, dh0, *_ = level.gru_backward(ones(out.shape), None, cache)
        assert_close(out, np.full((1, 2, 1), 0.5 if sign > 0 else -1.0), tol=1e-12, what="out")
        assert_close(dx, np.zeros(x.shape), tol=1e-12, what="dx")
        assert_close(dh0, np.array([[2.0 if sign > 0 else 0.0]]), tol=1e-12, what="dh0")


@both
def test_not_a_number_goes_forward_only(level, kind):
    """It spoils the outputs from its step on, of its own sample."""
    x = rng(2).standard_normal((2, 4, 3))
    x[1, 2, 0] = np.nan
    (out, _), _ = level.gru(x, np.zeros((2, 4)), 0.3 * ones((3, 12)), 0.3 * ones((4, 12)), variant=kind)
    bad = np.zeros((2, 4), bool)
    bad[1, 2:] = True
    assert_close(np.isnan(out).any(-1).astype(float), bad.astype(float), what="steps with a NaN")


@both
def test_memory_layouts(level, kind):
    """What counts is the array, not how it lies in memory."""
    arrays = [rng(3).standard_normal(s) for s in ((2, 3, 3), (2, 4), (3, 12), (4, 12), (12,), (12,))]
    assert_layouts(lambda *a: level.gru(*a, kind), arrays, f_backward=lambda d, cache: level.gru_backward(*d, cache))
    arrays[0] = arrays[0][:, 0].copy()
    assert_layouts(lambda *a: level.gru_step(*a, kind), arrays, f_backward=level.gru_step_backward)


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes, states and variants that are none; weights that PyTorch would take and read otherwise."""
    expect_value_error("input_size", level.GRU, 0, 4)
    expect_value_error("hidden_size", level.GRU, 3, 2.5)
    expect_value_error("num_layers", level.GRU, 3, 4, 0)
    expect_value_error("variant", level.GRU, 3, 4, variant="relu")
    expect_value_error("rng", level.GRU, 3, 4, rng=0)
    expect_value_error("h0", level.GRU(3, 4), ones((2, 5, 3), np.float32), ones((2, 2, 4), np.float32))
    cho, module = level.GRU(3, 4, variant="cho"), level.GRU(3, 4)
    expect_value_error("variant", level.to_pytorch, cho)
    expect_value_error("variant", level.from_pytorch, cho, level.to_pytorch(module))
    expect_value_error("state", level.from_pytorch, module, level.to_pytorch(level.GRU(3, 4, 2)))
    expect_value_error("state", level.from_pytorch, module, level.to_pytorch(level.GRU(3, 5)))
