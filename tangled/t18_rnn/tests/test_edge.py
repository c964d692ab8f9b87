# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:9ee5f41433a9ece8
"""Chapter 18: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of rnn that are right, but for the changes."""
    return {"x": ones((2, 5, 3)), "h0": ones((2, 4)), "w_ih": ones((3, 4)), "w_hh": ones((4, 4)), "b_ih": ones(4),
            "b_hh": ones(4), **changes}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((5, 3))), ("x", ones((2, 5, 3), int)), ("h0", ones((1, 4))), ("h0", ones((2, 3))), ("h0", ones(4)),
    ("h0", ones((2, 4), np.float32)), ("w_ih", ones((4, 4))), ("w_ih", ones(3)), ("w_hh", ones((3, 4))),
    ("w_hh", ones((4, 4), int)), ("b_ih", ones(3)), ("b_ih", ones((1, 4))), ("b_hh", ones((4, 1))),
    ("b_hh", ones(4, np.float32)), ("nonlinearity", "sigmoid"), ("nonlinearity", None)])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, dtypes, words."""
    expect_value_error(argument, level.rnn, **valid(**{argument: value}))


@pytest.mark.parametrize("f, args, text", [
    ("rnn", (ones((2, 5, 3)), ones((3, 4)), ones((3, 4)), ones((4, 4))), "h0 has shape (3, 4); expected (2, 4)"),
    ("rnn", (ones((2, 5, 0)), ones((2, 4)), ones((0, 4)), ones((4, 4))),
     "x has shape (2, 5, 0); expected (B, T, D) with D at least 1"),
    ("rnn_step", (ones((2, 3)), ones((2, 0)), ones((3, 0)), ones((0, 0))),
     "w_ih has shape (3, 0); expected (3, H) with H at least 1"),
    ("embedding", (np.array([0, 1]), ones((5, 0))), "table has shape (5, 0); expected (V, D) with D at least 1"),
    ("rnn_step", (ones((2, 3)), ones((2, 4)), ones((3, 4)), ones((4, 4)), ones(3)),
     "b_ih has shape (3,); expected (4,)"),
    ("embedding", (np.array([0, 5]), ones((5, 2))), "ids has values from 0 to 5; expected 0 to 4"),
    ("embedding", (ones(2), ones((5, 2))), "ids has dtype float64; expected integers"),
    ("bigram_counts", (np.array([0, -1]), 3), "ids has values from -1 to 0; expected 0 to 2"),
    ("bigram_counts", (np.array([0, 3]), 3), "ids has values from 0 to 3; expected 0 to 2"),
    ("bigram_counts", (np.array([0, 1]), 2.5), "V = 2.5; expected an integer, at least 1"),
    ("bigram_counts", (np.array([0, 1])[:0], 0), "V = 0; expected an integer, at least 1"),
    ("sample_categorical", (ones(3), -1.0, np.random.default_rng(0)),
     "temperature = -1.0; expected a finite number, at least 0"),
    ("sample_categorical", (ones((2, 0)), 1.0, np.random.default_rng(0)),
     "logits is float64 (2, 0); expected floats (..., V)"),
    ("sample_categorical", (ones(3), 1.0, 0), "rng is a int; expected a numpy.random.Generator")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_backward_refuses(level):
    """Gradients that would broadcast."""
    (out, h_T), cache = level.rnn(**valid())
    expect_value_error("dout", level.rnn_backward, out[:1], None, cache)
    expect_value_error("dout", level.rnn_backward, out[:, :1], None, cache)
    expect_value_error("dh_T", level.rnn_backward, out, h_T[:1], cache)
    new, of_step = level.rnn_step(ones((2, 3)), h_T, ones((3, 4)), ones((4, 4)))
    expect_value_error("dh_new", level.rnn_step_backward, new[:1], of_step)
    rows, of_rows = level.embedding(np.array([0, 1]), ones((5, 2)))
    expect_value_error("dout", level.embedding_backward, rows[:1], of_rows)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3), (1, 1, 3)])
def test_small(level, shape):
    """No steps: the state comes back, and so does its gradient. No samples. One of each."""
    h0 = rng(0).standard_normal((shape[0], 4))
    (out, h_T), cache = level.rnn(ones(shape), h0, *(0.1 * ones(s) for s in ((3, 4), (4, 4), 4, 4)))
    dh_T = rng(1).standard_normal(h_T.shape)
    dx, dh0, *grads = level.rnn_backward(np.zeros(out.shape), dh_T, cache)
    assert out.shape == (*shape[:2], 4) and dx.shape == shape
    if not shape[1]:
        assert_close(h_T, h0, tol=0, what="h_T")
        assert_close(dh0, dh_T, tol=0, what="dh0")
        assert not np.shares_memory(h_T, h0) and not np.shares_memory(dh0, dh_T)
    if 0 in shape:
        for grad in grads:
            assert_close(grad, np.zeros(grad.shape), what="a sum over nothing")


@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
def test_small_embeddings(level, shape):
    """No ids, and a single one."""
    table = np.arange(12.0).reshape(4, 3)
    out, cache = level.embedding(np.full(shape, 2), table)
    assert not np.shares_memory(out, table)
    dtable = level.embedding_backward(np.ones(out.shape), cache)
    assert out.shape == (*shape, 3)
    want = np.zeros((4, 3))
    want[2] = float(not shape)
    assert_close(dtable, want, tol=0, what="dtable")


def test_saturated(level):
    """tanh at 1 exactly has the slope 0, the positive part at 0 and below too: nothing comes back, not NaN."""
    big = 1e3 * ones((1, 2, 1))
    (out, _), cache = level.rnn(big, np.zeros((1, 1)), ones((1, 1)), ones((1, 1)))
    assert_close(level.rnn_backward(ones(out.shape), None, cache)[0], np.zeros((1, 2, 1)), what="dx of tanh")
    (out, _), cache = level.rnn(-big, np.zeros((1, 1)), ones((1, 1)), ones((1, 1)), nonlinearity="relu")
    dx = level.rnn_backward(np.full(out.shape, np.inf), None, cache)[0]
    assert_close(dx, np.zeros((1, 2, 1)), what="dx of relu, for an infinite upstream")
    for kind, x, want in (("tanh", np.inf, 1), ("tanh", -np.inf, -1), ("relu", -np.inf, 0)):
        (out, _), _ = level.rnn(x * big, np.zeros((1, 1)), ones((1, 1)), ones((1, 1)), nonlinearity=kind)
        assert_close(out, want * ones(out.shape), tol=0, what=f"{kind} of {x}")


@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_not_a_number_goes_forward_only(level, kind):
    """It spoils the outputs from its step on, of its own sample."""
    x = rng(2).standard_normal((2, 4, 3))
    x[1, 2, 0] = np.nan
    (out, _), _ = level.rnn(x, np.zeros((2, 4)), 0.3 * ones((3, 4)), 0.3 * ones((4, 4)), nonlinearity=kind)
    bad = np.zeros((2, 4), bool)
    bad[1, 2:] = True
    assert_close(np.isnan(out).any(-1).astype(float), bad.astype(float), what="steps with a NaN")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    arrays = [rng(3).standard_normal(s) for s in ((2, 5, 3), (2, 4), (3, 4), (4, 4))]
    assert_layouts(level.rnn, arrays, f_backward=lambda d, cache: level.rnn_backward(*d, cache))
    assert_layouts(lambda table: level.embedding(np.array([1, 0, 1]), table), [arrays[2]],
                   f_backward=level.embedding_backward)
    ids = np.array([1, 0, 2, 1])
    high = np.array([30, 29, 30, 0], np.uint8)                  # 30 * 31 is beyond 255
    want = level.bigram_counts(high.astype(int), 31)
    assert_close(level.bigram_counts(high, 31), want, tol=0, what="counts of bytes")
    for view in (ids[::-1].copy()[::-1], ids.astype(np.uint8), np.repeat(ids, 2)[::2]):
        assert_close(level.bigram_counts(view, 3), level.bigram_counts(ids, 3), tol=0, what="counts")


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes and states that are none."""
    expect_value_error("input_size", level.RNN, 0, 4)
    expect_value_error("hidden_size", level.RNN, 3, 2.5)
    expect_value_error("num_layers", level.RNN, 3, 4, 0)
    expect_value_error("nonlinearity", level.RNN(3, 4, nonlinearity="sin"), ones((2, 5, 3), np.float32))
    expect_value_error("state", level.RNN(3, 4), ones((2, 5, 3), np.float32), ones((2, 2, 4), np.float32))
    expect_value_error("state", level.RNN(3, 4), ones((2, 5, 3), np.float32), ones((1, 2, 4)))
    expect_value_error("num_embeddings", level.Embedding, 0, 3)
    expect_value_error("embedding_dim", level.Embedding, 3, 0)
