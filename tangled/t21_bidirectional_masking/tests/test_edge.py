# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:580c5886a6c04f18
"""Chapter 21: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.t18_rnn import RNN
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of masked_rnn that are right, but for the changes."""
    return {"x": ones((2, 5, 3)), "lengths": np.array([2, 5]), "h0": ones((2, 4)), "w_ih": ones((3, 4)),
            "w_hh": ones((4, 4)), "b_ih": ones(4), "b_hh": ones(4), **changes}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((5, 3))), ("x", ones((2, 5, 3), int)), ("lengths", np.array([2])), ("lengths", np.array([2, 6])),
    ("lengths", np.array([-1, 2])), ("lengths", np.array([2.0, 5.0])), ("lengths", np.array([[2], [5]])),
    ("lengths", np.array([True, False])), ("h0", ones((1, 4))), ("w_hh", ones((3, 4))), ("b_ih", ones(3)),
    ("nonlinearity", "sigmoid")])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, lengths that do not fit."""
    expect_value_error(argument, level.masked_rnn, **valid(**{argument: value}))


@pytest.mark.parametrize("f, args, text", [
    ("masked_rnn", tuple(valid(lengths=np.array([2, 6])).values()), "lengths has values from 2 to 6; expected 0 to 5"),
    ("masked_rnn", tuple(valid(x=ones((2, 5, 0)), w_ih=ones((0, 4))).values()),
     "x has shape (2, 5, 0); expected (B, T, D) with D at least 1"),
    ("masked_rnn", tuple(valid(h0=ones((2, 0)), w_ih=ones((3, 0)), w_hh=ones((0, 0))).values()),
     "w_ih has shape (3, 0); expected (3, H) with H at least 1"),
    ("reverse_sequences", (ones((2, 5)), np.array([1, 2, 3])), "lengths has 3 entries; expected 2, one a row"),
    ("lengths_to_mask", (np.array([2, 4]), 3), "T = 3; expected at least 4, the longest sequence"),
    ("pad", ([],), "sequences is empty; expected at least one"),
    ("masked_mean", (ones((2, 5, 3)), ones((2, 5))), "mask is float64 (2, 5); expected bool (2, 5)"),
    ("masked_mean", (ones((2, 5, 3)), ones((2, 5, 1), bool)), "mask is bool (2, 5, 1); expected bool (2, 5)"),
    ("masked_cross_entropy", (ones((2, 5, 3)), np.full((2, 5), 3), ones((2, 5), bool)),
     "targets has values from 3 to 3; expected 0 to 2"),
    ("unpack", (ones((3, 2)), np.array([1, 2]), np.array([0, 1])),
     "sizes is [1, 2]; expected positive integers that never grow"),
    ("unpack", (ones((3, 2)), np.array([2, 1]), np.array([0, 0])), "order is [0, 0]; expected each of 0 to 1 once")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_more_refused(level):
    """Sequences that do not go together, packed data of another length, gradients that would broadcast."""
    expect_value_error("sequences[1]", level.pad, [ones((2, 3)), ones((2, 4))])
    expect_value_error("sequences[1]", level.pad, [ones(2), ones(2, np.float32)])
    expect_value_error("sequences[0]", level.pad, [np.float64(3)])
    expect_value_error("data", level.unpack, ones((4, 2)), np.array([2, 1]), np.array([1, 0]))
    expect_value_error("x", level.pack, ones(3), np.array([1, 1, 1]))
    expect_value_error("targets", level.masked_cross_entropy, ones((2, 5, 3)), np.zeros((2, 4), int),
                       ones((2, 5), bool))
    (out, h_T), cache = level.masked_rnn(**valid())
    expect_value_error("dout", level.masked_rnn_backward, out[:1], None, cache)
    expect_value_error("dh_T", level.masked_rnn_backward, out, h_T[:1], cache)
    last, cache = level.last_outputs(out, np.array([2, 5]))
    expect_value_error("dlast", level.last_outputs_backward, last[:1], cache)
    loss, cache = level.masked_cross_entropy(out, np.zeros((2, 5), int), ones((2, 5), bool))
    expect_value_error("dloss", level.masked_cross_entropy_backward, np.array([loss]), cache)


@pytest.mark.parametrize("B, T", [(0, 5), (2, 0), (1, 1), (3, 4)])
def test_nothing_real(level, B, T):
    """No rows, no steps, or only padding: states come back, means and losses are 0, gradients are 0."""
    lengths, h0 = np.zeros(B, int), rng(0).standard_normal((B, 4))
    x, weights = np.full((B, T, 3), np.nan), [0.1 * ones(s) for s in ((3, 4), (4, 4), 4, 4)]
    (out, h_T), cache = level.masked_rnn(x, lengths, h0, *weights)
    dh_T = rng(1).standard_normal(h_T.shape)
    dx, dh0, *grads = level.masked_rnn_backward(np.full(out.shape, np.nan), dh_T, cache)
    assert_close(h_T, h0, tol=0, what="h_T")
    assert_close(dh0, dh_T, tol=0, what="dh0")
    assert not np.shares_memory(h_T, h0) and not np.shares_memory(dh0, dh_T)
    for array in (out, dx, *grads):
        assert_close(array, np.zeros(array.shape), tol=0, what="nothing")
    mask = np.zeros((B, T), bool)
    loss, of_loss = level.masked_cross_entropy(x, np.full((B, T), -1), mask)
    mean, of_mean = level.masked_mean(x, mask)
    last, of_last = level.last_outputs(x, lengths)
    assert loss == 0
    ones_of = ones((B, 3))
    for array in (mean, last, level.masked_cross_entropy_backward(1.0, of_loss),
                  level.masked_mean_backward(ones_of, of_mean), level.last_outputs_backward(ones_of, of_last)):
        assert_close(array, np.zeros(array.shape), tol=0, what="nothing")
    data, sizes, order = level.pack(x, lengths)
    assert data.shape == (0, 3) and len(sizes) == 0 and order.tolist() == list(range(B))
    assert level.unpack(data, sizes, order, T).shape == (B, T, 3)
    assert level.reverse_sequences(x, lengths).shape == (B, T, 3) and level.lengths_to_mask(lengths, T).shape == (B, T)


def test_one_alone_keeps_its_dtype(level):
    """One sequence is padded as many are; float32 and whole numbers stay what they are, there and back."""
    for dtype in (np.float32, np.int64):
        given = np.arange(6, dtype=dtype).reshape(3, 2)
        x, lengths = level.pad([given], 7, T=5)
        assert (x.shape, x.dtype, lengths.dtype, lengths.tolist()) == ((1, 5, 2), dtype, np.int64, [3])
        back = level.unpack(*level.pack(x, lengths), T=4)
        assert back.shape == (1, 4, 2) and back.dtype == dtype and (back[0, :3] == given).all()


@pytest.mark.levels(1, 2, 4)
def test_unpadded_are_copies(level):
    """What is unpadded outlives the batch (level 3 gives views, and says so)."""
    given = [rng(7).standard_normal((n, 2)) for n in (3, 5)]
    x, lengths = level.pad(given)
    parts = level.unpad(x, lengths)
    x[...] = 0
    for part, want in zip(parts, given, strict=True):
        assert_close(part, want, tol=0, what="a sequence")


def test_the_mask_is_the_callers(level):
    """Masks, lengths and targets that are overwritten after forward: backward does not see it."""
    x, lengths, mask = rng(3).standard_normal((3, 5, 4)), np.array([2, 5, 0]), rng(4).random((3, 5)) < 0.6
    targets, dout = rng(5).integers(0, 4, (3, 5)), rng(6).standard_normal((3, 4))
    for f, arrays, upstream in (("masked_mean", [mask], dout), ("masked_cross_entropy", [targets, mask], 2.0),
                                ("last_outputs", [lengths], dout)):
        backward = getattr(level, f + "_backward")
        want = backward(upstream, getattr(level, f)(x, *arrays)[1])
        own = [a.copy() for a in arrays]
        _, cache = getattr(level, f)(x, *own)
        for a in own:
            a[...] = 1 - a if a.dtype != bool else ~a
        assert_close(backward(upstream, cache), want, tol=0, what="the gradient of " + f)


def test_all_real(level):
    """Without padding a mean is a mean, a reversal turns everything, a mask may have holes."""
    x, full = rng(2).standard_normal((2, 4, 3)), np.array([4, 4])
    assert_close(level.masked_mean(x, ones((2, 4), bool))[0], x.mean(1), tol=1e-12, what="mean")
    assert_close(level.reverse_sequences(x, full), x[:, ::-1], tol=0, what="reversed")
    holes = np.array([[True, False, True, False], [False, True, True, True]])
    assert_close(level.masked_mean(x, holes)[0][0], (x[0, 0] + x[0, 2]) / 2, tol=1e-12, what="with holes")


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_large_logits(level, scale):
    """No overflow, no log of 0 where the target has the largest logit."""
    logits = scale * np.array([[[1.0, 0.5, 0]], [[0, 0, 1]]])
    loss, cache = level.masked_cross_entropy(logits, logits.argmax(-1), ones((2, 1), bool))
    want = 0.0 if scale > 0 else np.log(2) / 2
    assert_close(np.asarray(loss), np.asarray(want), tol=1e-9, what="loss")
    assert np.isfinite(level.masked_cross_entropy_backward(1.0, cache)).all()


def test_a_bad_row_stays_alone(level):
    """A NaN in a real step spoils its own sequence from there on, and no other."""
    args = valid(x=rng(3).standard_normal((2, 5, 3)), lengths=np.array([4, 5]))
    args["x"][0, 2, 1] = np.nan
    (out, h_T), _ = level.masked_rnn(**args)
    bad = np.zeros((2, 5), bool)
    bad[0, 2:4] = True
    assert_close(np.isnan(out).any(-1).astype(float), bad.astype(float), tol=0, what="steps with a NaN")
    assert np.isnan(h_T[0]).all() and np.isfinite(h_T[1]).all()


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    lengths, mask = np.array([3, 5]), np.arange(5) < np.array([[3], [5]])
    arrays = [rng(4).standard_normal(s) for s in ((2, 5, 3), (2, 4), (3, 4), (4, 4))]
    assert_layouts(lambda x, *a: level.masked_rnn(x, lengths, *a), arrays,
                   f_backward=lambda d, cache: level.masked_rnn_backward(*d, cache))
    assert_layouts(lambda x: level.masked_mean(x, mask), arrays[:1], f_backward=level.masked_mean_backward)
    assert_layouts(lambda x: level.last_outputs(x, lengths), arrays[:1], f_backward=level.last_outputs_backward)
    assert_layouts(lambda x: level.masked_cross_entropy(x, np.ones((2, 5), int), mask), arrays[:1],
                   f_backward=level.masked_cross_entropy_backward)
    for view in (arrays[0][::-1, ::-1, ::-1], arrays[0].swapaxes(0, 1)[:2], np.broadcast_to(arrays[0][:1], (2, 5, 3))):
        want = level.pack(view.copy(), lengths[:len(view)] % (view.shape[1] + 1))
        got = level.pack(view, lengths[:len(view)] % (view.shape[1] + 1))
        assert_close(got[0], want[0], tol=0, what="packed")
        back = level.reverse_sequences(view, lengths % (view.shape[1] + 1))
        assert_close(back, level.reverse_sequences(view.copy(), lengths % (view.shape[1] + 1)), tol=0, what="reversed")
    every_other = np.repeat(lengths, 2)[::2]
    assert_close(level.lengths_to_mask(every_other), mask, tol=0, what="mask of a view")
    targets, x = np.array([[1, 0, 2, 0, 0], [0, 1, 1, 2, 0]]), arrays[0]
    want, mean = level.masked_cross_entropy(x, targets, mask)[0], level.masked_mean(x, mask)[0]
    for way in (np.asfortranarray, lambda a: np.flip(np.flip(a).copy()), lambda a: np.repeat(a, 2, 1)[:, ::2]):
        got, _ = level.masked_cross_entropy(x, way(targets), way(mask))
        assert_close(np.asarray(got), np.asarray(want), tol=1e-14, what="loss, its targets and mask laid out otherwise")
        assert_close(level.masked_mean(x, way(mask))[0], mean, tol=1e-14, what="mean, its mask laid out otherwise")


@pytest.mark.levels(2, 3)
def test_module_refuses(level):
    """Networks with time first; lengths that do not fit."""
    expect_value_error("backward_rnn", level.Bidirectional, RNN(3, 4), RNN(3, 4, batch_first=False))
    module = level.Bidirectional(RNN(3, 4), RNN(3, 4))
    expect_value_error("lengths", module, ones((2, 5, 3), np.float32), np.array([2, 6]))
    expect_value_error("x", module, ones((2, 5), np.float32), np.array([2, 5]))
    out, final = module(np.full((2, 5, 3), np.nan, np.float32), np.array([0, 0]))
    assert not out.any() and not final.any() and final.shape == (2, 8)
    assert module.backward((out, final)).shape == (2, 5, 3)


@pytest.mark.levels(2)
def test_buckets_refuse(level):
    """Sizes that are none, a seed in place of a generator."""
    expect_value_error("batch", level.bucket_batches, np.array([1, 2]), 0, rng(0))
    expect_value_error("pool", level.bucket_batches, np.array([1, 2]), 1, rng(0), 0)
    expect_value_error("rng", level.bucket_batches, np.array([1, 2]), 1, 0)
