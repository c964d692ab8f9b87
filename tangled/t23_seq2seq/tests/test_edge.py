# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:724eb4468c37a119
"""Chapter 23: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
ORDER = ("h0", "tokens", "lengths", "table", "w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")


def valid(**changes):
    """Arguments of teacher_forced_loss that are right, but for the changes; B 2, T 5, E 3, H 4, V 6."""
    return {"h0": ones((2, 4)), "tokens": ones((2, 6), int), "lengths": np.array([5, 2]), "table": ones((6, 3)),
            "w_ih": ones((3, 12)), "w_hh": ones((4, 12)), "b_ih": ones(12), "b_hh": ones(12), "w_out": ones((4, 6)),
            "b_out": ones(6), **changes}


@pytest.mark.parametrize("argument, value", [
    ("h0", ones(4)), ("h0", ones((2, 4), int)), ("tokens", ones((2, 6))),
    ("tokens", ones((1, 6), int)), ("tokens", ones((2, 0), int)), ("tokens", np.full((2, 6), 6)),
    ("tokens", np.full((2, 6), -1)), ("tokens", ones(6, int)),
    ("lengths", np.array([6, 2])), ("lengths", np.array([5])),
    ("lengths", np.array([5.0, 2.0])), ("lengths", np.array([-1, 2])),
    ("table", ones((6, 3), np.float32)), ("table", ones(6)), ("w_ih", ones((3, 4))), ("w_hh", ones((12, 4))),
    ("b_ih", ones(4)), ("b_hh", ones((1, 12))), ("b_hh", None), ("w_out", ones((6, 4))), ("w_out", ones((4, 5))),
    ("b_out", ones(1)), ("b_out", ones((1, 6))), ("inputs", ones((2, 6), int)), ("inputs", ones((2, 5))),
    ("inputs", np.full((2, 5), 6))])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, dtypes, symbols that are none."""
    expect_value_error(argument, level.teacher_forced_loss, **valid(**{argument: value}))


def test_sizes_that_disagree(level):
    """A state or a table of another width: the weights do not fit it."""
    expect_value_error("w_ih", level.teacher_forced_loss, **valid(h0=ones((2, 3))))
    expect_value_error("w_ih", level.teacher_forced_loss, **valid(table=ones((6, 2))))


def good(state, tokens):
    """A step of three equal symbols."""
    return np.full((len(tokens), 3), -np.log(3)), state


@pytest.mark.parametrize("f, args, text", [
    ("masked_cross_entropy", (ones((2, 3)), np.array([0, 3]), np.array([True, True])),
     "targets has values from 0 to 3; expected 0 to 2"),
    ("masked_cross_entropy", (ones((2, 3)), np.array([0, 1]), ones(2)), "mask is float64 (2,); expected bool (2,)"),
    ("masked_cross_entropy", (ones((2, 3)), np.array([0]), ones(2, bool)),
     "targets is int64 (1,); expected integers (2,)"),
    ("masked_cross_entropy", (ones((2, 0)), np.array([0, 0]), ones(2, bool)),
     "logits is float64 (2, 0); expected floats (..., V)"),
    ("last_outputs", (ones((2, 3, 4)), np.array([3, 0])), "lengths has values from 0 to 3; expected 1 to 3"),
    ("last_outputs", (ones((2, 3, 4)), np.array([3])), "lengths is int64 (1,); expected integers (2,)"),
    ("lengths_to_mask", (np.array([1, 4]), 3), "lengths has values from 1 to 4; expected 0 to 3"),
    ("teacher_forced_loss", tuple(valid(table=ones((6, 0))).values()),
     "table has shape (6, 0); expected (V, D) with D at least 1"),
    ("teacher_forced_loss", tuple(valid(h0=ones((2, 0))).values()),
     "h0 has shape (2, 0); expected (B, H) with H at least 1"),
    ("beam_search", (good, ones((1, 1)), 0, 1, 0, 5), "beam = 0; expected an integer, at least 1"),
    ("beam_search", (good, ones((1, 1)), 0, 1, 2, 0), "max_len = 0; expected an integer, at least 1"),
    ("beam_search", (good, ones((1, 1)), 0, 1, 2, 5, -0.5),
     "length_penalty = -0.5; expected a finite number, at least 0"),
    ("beam_search", (good, ones((1, 1)), 0, 1, 2, 5, np.nan),
     "length_penalty = nan; expected a finite number, at least 0"),
    ("beam_search", (good, ones((1, 1)), 0, 3, 2, 5),
     "log_probs is float64 (1, 3); expected floats (1, V) with V above 3"),
    ("beam_search", (lambda s, t: (ones((len(t), 3)), s), ones((1, 1)), 0, 1),
     "log_probs has values up to 1; expected at most 0"),
    ("beam_search", (lambda s, t: (np.full((len(t), 3), np.nan), s), ones((1, 1)), 0, 1),
     "log_probs has values up to nan; expected at most 0"),
    ("beam_search", (lambda s, t: (-ones(3), s), ones((1, 1)), 0, 1),
     "log_probs is float64 (3,); expected floats (1, V) with V above 1")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


@pytest.mark.levels(2, 3, 4)
@pytest.mark.parametrize("f, args, text", [
    ("greedy_decode", (good, ones((1, 1)), 0, -1, 5), "eos = -1; expected an integer, at least 0"),
    ("exact_match", (["a"], []), "hypotheses has 1 texts; expected 0, as references"),
    ("exact_match", ([1], ["a"]), "hypotheses has entries that are no text; expected str"),
    ("scheduled_inputs", (good, ones((2, 1)), ones((2, 3), int), 1.5, np.random.default_rng(0)),
     "rate = 1.5; expected 0 to 1"),
    ("scheduled_inputs", (good, ones((2, 1)), ones((2, 3), int), 0.5, 0),
     "rng is a int; expected a numpy.random.Generator")])
def test_messages_of_extensions(level, f, args, text):
    """The same for what has no level 1."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_backward_refuses(level):
    """Gradients that would broadcast."""
    _, cache = level.teacher_forced_loss(**valid())
    expect_value_error("dloss", level.teacher_forced_loss_backward, ones(2), cache)
    last, cache = level.last_outputs(ones((2, 3, 4)), np.array([3, 1]))
    expect_value_error("dlast", level.last_outputs_backward, last[:1], cache)
    _, cache = level.masked_cross_entropy(ones((2, 3)), np.array([0, 1]), ones(2, bool))
    expect_value_error("dloss", level.masked_cross_entropy_backward, "1", cache)


@pytest.mark.parametrize("B, T, lengths", [(0, 5, []), (2, 0, [0, 0]), (2, 5, [0, 0]), (1, 1, [1])])
def test_small(level, B, T, lengths):
    """No pairs, no steps, nothing to predict: the loss is 0 and so are the gradients; one of each."""
    given = valid(h0=rng(0).standard_normal((B, 4)), tokens=ones((B, T + 1), int), lengths=np.array(lengths, int))
    loss, cache = level.teacher_forced_loss(**given)
    grads = level.teacher_forced_loss_backward(1.0, cache)
    assert [g.shape for g in grads] == [given[name].shape for name in ORDER if name not in ("tokens", "lengths")]
    if not sum(lengths):
        assert loss == 0 and not any(g.any() for g in grads)
    else:
        assert_close(np.asarray(loss), np.asarray(np.log(6)), what="loss of equal logits")


def test_nothing_counts(level):
    """An empty mask, an empty batch, one place."""
    for shape, mask in (((2, 3), [False, False]), ((0, 3), []), ((2, 0, 3), np.zeros((2, 0)))):
        logits, mask = ones(shape), np.array(mask, bool)
        loss, cache = level.masked_cross_entropy(logits, np.zeros(mask.shape, int), mask)
        assert loss == 0
        assert_close(level.masked_cross_entropy_backward(1.0, cache), 0 * logits, tol=0, what="dlogits")
    loss, cache = level.masked_cross_entropy(np.array([0.0, 0.0]), np.array(1), np.array(True))
    assert_close(np.asarray(loss), np.asarray(np.log(2)), what="loss of a single place")
    assert_close(level.masked_cross_entropy_backward(1.0, cache), np.array([0.5, -0.5]), what="dlogits")


def test_padding_may_be_anything(level):
    """NaN, infinity and impossible symbols under a false mask leave loss and gradients alone."""
    logits, targets = rng(1).standard_normal((2, 3, 4)), np.array([[1, 2, 0], [3, 0, 0]])
    mask = np.array([[True, True, False], [True, False, False]])
    loss, cache = level.masked_cross_entropy(logits, targets, mask)
    want = level.masked_cross_entropy_backward(1.0, cache)
    spoiled, wild = logits.copy(), targets.copy()
    spoiled[0, 2], spoiled[1, 1], wild[~mask] = np.nan, np.inf, -100
    again, cache = level.masked_cross_entropy(spoiled, wild, mask)
    assert_close(np.asarray(again), np.asarray(loss), tol=0, what="loss")
    assert_close(level.masked_cross_entropy_backward(1.0, cache), want, tol=0, what="dlogits")
    spoiled[0, 0, 0] = np.nan
    assert np.isnan(level.masked_cross_entropy(spoiled, wild, mask)[0])


def test_nothing_to_search(level):
    """No sentences; and a model for which no symbol is possible."""
    assert level.beam_search(good, ones((0, 2)), 0, 1)[0] == []
    tokens, scores = level.beam_search(lambda s, t: (np.full((len(t), 3), -np.inf), s), ones((2, 1)), 0, 1)
    assert [t.tolist() for t in tokens] == [[], []] and (scores == -np.inf).all()
    if hasattr(level, "greedy_decode"):
        assert level.greedy_decode(good, ones((0, 2)), 0, 1, 3) == []


def test_steps_in_half_precision(level):
    """Log-probabilities of float16 are summed in float64; a little above 0 is rounding."""
    def step(state, tokens):
        return np.tile(np.array([-0.0101, -1e9, -20.0], np.float32), (len(tokens), 1)), state
    tokens, scores = level.beam_search(step, ones((1, 1)), 0, 1, 2, 60)
    assert_close(scores, np.array([60 * float(np.float32(-0.0101))]), tol=1e-12, what="score")
    assert len(tokens[0]) == 60
    tokens, scores = level.beam_search(lambda s, t: (np.full((len(t), 2), 1e-4), s), ones((1, 1)), 0, 1, 1, 3)
    assert_close(scores, np.zeros(1), tol=0, what="score")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    tokens, lengths = rng(2).integers(0, 6, (2, 6)), np.array([5, 2])
    arrays = [0.5 * rng(k).standard_normal(np.shape(valid()[name])) for k, name in enumerate(ORDER)
              if name not in ("tokens", "lengths")]
    assert_layouts(lambda h0, *rest: level.teacher_forced_loss(h0, tokens, lengths, *rest), arrays,
                   f_backward=level.teacher_forced_loss_backward)
    want, _ = level.teacher_forced_loss(arrays[0], tokens, lengths, *arrays[1:])
    for view in (np.asfortranarray(tokens), tokens[::-1].copy()[::-1], tokens.astype(np.uint8),
                 np.repeat(tokens, 2, 1)[:, ::2]):
        got, _ = level.teacher_forced_loss(arrays[0], view, lengths.astype(np.int32), *arrays[1:])
        assert_close(np.asarray(got), np.asarray(want), tol=1e-14, what="loss")
    mask = np.array([[True, False, True], [True, True, False]])
    assert_layouts(lambda z: level.masked_cross_entropy(z, np.array([[0, 1, 2], [3, 3, 0]]), mask),
                   [rng(3).standard_normal((2, 3, 4))], f_backward=level.masked_cross_entropy_backward)
    assert_layouts(lambda x: level.last_outputs(x, np.array([3, 1])), [rng(4).standard_normal((2, 3, 4))],
                   f_backward=level.last_outputs_backward)
