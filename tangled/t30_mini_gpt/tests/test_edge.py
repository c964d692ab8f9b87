# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:eb38d6c632a25335
"""Chapter 30: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.t30_mini_gpt import checks
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def weights(V=7, context=5, D=6, L=2, seed=0):
    """Random weights of a small GPT."""
    return {k: rng(seed).standard_normal(s) / 2 for k, s in checks.shapes(V, context, D, 4 * D, L).items()}


@pytest.mark.parametrize("argument, ids, heads", [
    ("ids", ones((2, 3)), 3), ("ids", ones(3, int), 3), ("ids", ones((2, 6), int), 3), ("ids", ones((2, 0), int), 3),
    ("ids", np.full((2, 3), 7), 3), ("ids", np.full((2, 3), -1), 3), ("num_heads", ones((2, 3), int), 4),
    ("num_heads", ones((2, 3), int), 0), ("num_heads", ones((2, 3), int), 2.0)])


def test_refuses(level, argument, ids, heads):
    """More tokens than the context, ids out of range, heads that do not divide."""
    expect_value_error(argument, level.gpt, ids, weights(), heads)


def test_refuses_weights(level):
    """Other names, shapes and dtypes."""
    given, ids = weights(), ones((2, 3), int)
    name = "blocks.1.ffn.linear1.bias"
    expect_value_error("weights", level.gpt, ids, {k: a for k, a in given.items() if k != name}, 3)
    expect_value_error("weights", level.gpt, ids, given | {"head.weight": ones((7, 6))}, 3)
    expect_value_error("weights", level.gpt, ids, {}, 3)
    expect_value_error(name, level.gpt, ids, given | {name: ones(25)}, 3)
    expect_value_error(name, level.gpt, ids, given | {name: ones(24, np.float32)}, 3)
    _, cache = level.gpt(ids, given, 3)
    for dlogits in (ones((2, 3, 6)), ones((1, 3, 7)), ones((2, 3, 7), int)):
        expect_value_error("dlogits", level.gpt_backward, dlogits, cache)


@pytest.mark.parametrize("argument, options", [
    ("temperature", {"temperature": -0.1}), ("temperature", {"temperature": np.inf}),
    ("temperature", {"temperature": None}), ("top_k", {"top_k": 0}), ("top_k", {"top_k": 2.0}),
    ("top_p", {"top_p": 0.0}), ("top_p", {"top_p": 1.1}),
    ("min_p", {"min_p": -0.1}), ("min_p", {"min_p": 1.5}), ("min_p", {"min_p": True})])


def test_filter_refuses(level, argument, options):
    """Options out of range."""
    expect_value_error(argument, level.filter_logits, ones((2, 3)), **options)


def test_logits_refused(level):
    """Nothing to choose from; NaN and inf, which would win or spoil every draw; what was seen out of range."""
    for bad in (ones((2, 0)), ones(3, int), np.array([0.0, np.nan]), np.array([0.0, np.inf]), np.full(3, -np.inf)):
        expect_value_error("logits", level.filter_logits, bad)
        expect_value_error("logits", level.repetition_penalty, bad, np.array([0]), 1.5)
    for seen in (np.array([3]), np.array([-1]), np.array([[0]]), np.array([0.0])):
        expect_value_error("seen", level.repetition_penalty, ones(3), seen, 1.5)
    for penalty in (0.9, np.inf, None):
        expect_value_error("penalty", level.repetition_penalty, ones(3), np.array([0]), penalty)


@pytest.mark.levels(2, 4)
def test_tuning_refuses(level):
    """Shapes that do not belong together, two dtypes, a mask of numbers, targets out of range, no pair, no beta."""
    x, w, a, b, bias = ones((3, 5)), ones((5, 4)), ones((5, 2)), ones((2, 4)), ones(4)
    for argument, given in (("x", (ones((3, 4)), w, a, b)), ("w", (x, ones(5), a, b)), ("a", (x, w, ones((4, 2)), b)),
                            ("b", (x, w, a, ones((3, 4)))), ("bias", (x, w, a, b, ones(1))),
                            ("x", (ones(5, int), w, a, b)), ("a", (x, w, a.astype(np.float32), b)),
                            ("scale", (x, w, a, b, bias, np.nan))):
        expect_value_error(argument, level.low_rank_linear, *given)
    _, cache = level.low_rank_linear(x, w, a, b)
    for dout in (ones((1, 4)), ones(4), ones((3, 4), int)):
        expect_value_error("dout", level.low_rank_linear_backward, dout, cache)
    z, targets, mask = ones((2, 3, 5)), ones((2, 3), int), ones((2, 3), bool)
    for argument, given in (("logits", (z[0], targets, mask)), ("targets", (z, 5 * targets, mask)),
                            ("targets", (z, -targets, mask)), ("targets", (z, targets[:, :1], mask)),
                            ("mask", (z, targets, 1 * mask)), ("mask", (z, targets, mask[:1]))):
        expect_value_error(argument, level.sequence_log_probs, *given)
    _, cache = level.sequence_log_probs(z, targets, mask)
    expect_value_error("dlog_probs", level.sequence_log_probs_backward, ones(1), cache)
    two = ones(2)
    for argument, given in (("policy_chosen", (ones((2, 1)), two, two, two)),
                            ("policy_rejected", (two, ones(1), two, two)),
                            ("reference_chosen", (two, two, np.float32(two), two)),
                            ("reference_rejected", (two, two, two, ones(3))), ("policy_chosen", 4 * (ones(0),)),
                            ("beta", (two, two, two, two, 0.0)), ("beta", (two, two, two, two, -1))):
        expect_value_error(argument, level.dpo_loss, *given)


def test_messages(level):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.gpt(ones((2, 6), int), weights(), 3)
    assert str(caught.value) == "ids has 6 tokens; expected 1 to the context of 5"
    with pytest.raises(ValueError) as caught:
        level.filter_logits(ones(3), top_p=0)
    assert str(caught.value) == "top_p = 0; expected a finite number above 0, at most 1"


def test_no_samples(level):
    """An empty batch: no logits, gradients of 0; no rows to filter."""
    logits, cache = level.gpt(ones((0, 3), int), weights(), 3)
    assert logits.shape == (0, 3, 7)
    for name, grad in level.gpt_backward(logits, cache).items():
        assert_close(grad, np.zeros(weights()[name].shape), tol=0, what=name)
    assert level.filter_logits(ones((0, 4)), top_p=0.5).shape == (0, 4)


def test_one_of_each(level):
    """One token of one sample, one block, one head, a vocabulary of one."""
    given = weights(V=1, context=1, D=2, L=1)
    logits, cache = level.gpt(np.zeros((1, 1), int), given, 1)
    grads = level.gpt_backward(ones((1, 1, 1)), cache)
    assert logits.shape == (1, 1, 1)
    assert_close(grads["blocks.0.attention.q_proj.weight"], np.zeros((2, 2)), tol=1e-12, what="dq of a single key")
    assert level.filter_logits(ones(1), 0.3, 1, 0.1, 1.0).shape == (1,)


def test_extremes(level):
    """Logits far apart: the largest alone, no overflow; a temperature near 0 is the argmax."""
    z = np.array([1e30, -1e30, 0.0, 5e29])
    for options in ({"temperature": 1e-6}, {"top_p": 0.9}, {"min_p": 0.5}, {"top_k": 1}):
        assert np.isfinite(level.filter_logits(z, **options)).tolist() == [True, False, False, False] or options == {
            "temperature": 1e-6}
    assert int(np.argmax(level.filter_logits(z, temperature=1e-6))) == 0
    for seed in range(5):
        flat = rng(seed).standard_normal((1, 400))
        assert np.isfinite(level.filter_logits(flat, top_p=np.nextafter(1, 0))).mean() > 0.99
    masked = np.array([-np.inf, 1.0, -np.inf, 0.0])
    assert np.isfinite(level.filter_logits(masked, top_k=3)).tolist() == [False, True, False, True]
    assert np.isfinite(level.filter_logits(masked, top_p=1.0, min_p=0.0)).tolist() == [False, True, False, True]
    assert level.repetition_penalty(masked, np.arange(3), 2.0).tolist() == [-np.inf, 0.5, -np.inf, 0]


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    given, ids = weights(D=2, L=1), rng(1).integers(0, 7, (2, 3))
    names = ["wte.weight", "blocks.0.attention.k_proj.weight"]

    def backward(dlogits, cache):
        grads = level.gpt_backward(dlogits, cache)
        return tuple(grads[name] for name in names)
    assert_layouts(lambda *a: level.gpt(ids, given | dict(zip(names, a)), 1), [given[name] for name in names],
                   f_backward=backward, names=names)
    expected, _ = level.gpt(ids, given, 1)
    for view in (np.asfortranarray(ids), ids[::-1].copy()[::-1], ids.astype(np.int8)):
        assert_close(level.gpt(view, given, 1)[0], expected, tol=1e-12, what="logits")
    logits = rng(2).standard_normal((2, 5))
    assert_layouts(lambda z: level.filter_logits(z, 0.8, 4, 0.9), [logits])
    assert_layouts(lambda z: level.repetition_penalty(z, np.array([[1, 2], [0, 4]]), 1.3), [logits])


def test_a_nan_stays_in_its_sample(level):
    """A token whose row has a NaN spoils its own sample, and of others only its own logit."""
    given, ids = weights(), np.array([[6, 1, 2], [1, 2, 3], [5, 0, 4]])
    expected, _ = level.gpt(ids[1:], given, 3)
    given["wte.weight"][6, 1] = np.nan
    logits, _ = level.gpt(ids, given, 3)
    assert np.isnan(logits[0]).all() and np.isnan(logits[..., 6]).all()
    assert_close(logits[1:, :, :6], expected[..., :6], tol=1e-9, what="logits of other samples")


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("factor", [4, 6, 8, 10, 12, 14])
def test_weights_near_the_smallest_float(level, factor):
    """In float32, rows whose scores lie some hundred powers of two below another's: as in float64."""
    given, ids = weights(L=1), rng(5).integers(0, 7, (3, 5))
    for part in "qk":
        given[f"blocks.0.attention.{part}_proj.weight"] *= factor
    small = {name: a.astype(np.float32) for name, a in given.items()}
    wide = {name: a.astype(np.float64) for name, a in small.items()}
    assert_close(level.gpt(ids, small, 3)[0], level.gpt(ids, wide, 3)[0].astype(np.float32), tol=3e-4, what="logits")


@pytest.mark.levels(2, 3)
def test_ids_that_are_written_over(level):
    """The gradient is that of the ids that were read, whatever stands in their array afterwards."""
    given, ids = weights(), rng(6).integers(0, 7, (2, 5))
    logits, cache = level.gpt(ids, given, 3)
    want = level.gpt_backward(logits, cache)["wte.weight"]
    logits, cache = level.gpt(ids, given, 3)
    ids[...] = 0
    assert_close(level.gpt_backward(logits, cache)["wte.weight"], want, tol=1e-12, what="dwte")


def test_scores_far_apart(level):
    """Queries so large that a row's scores lie far below another's: as level 2 in float64, without a NaN."""
    from tangled.t30_mini_gpt import level2_vectorized as plain
    given, ids = weights(L=1), rng(3).integers(0, 7, (2, 5))
    for part in "qk":
        given[f"blocks.0.attention.{part}_proj.weight"] = 40 * given[f"blocks.0.attention.{part}_proj.weight"]
    logits, cache = level.gpt(ids, given, 3)
    expected, kept = plain.gpt(ids, given, 3)
    assert_close(logits, expected, tol=1e-8, what="logits")
    dlogits = rng(4).standard_normal(logits.shape)
    want = plain.gpt_backward(dlogits, kept)
    for name, grad in level.gpt_backward(dlogits, cache).items():
        assert_close(grad + 100, want[name] + 100, tol=1e-8, what=name)
