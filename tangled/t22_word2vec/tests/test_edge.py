# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:e2dc8f43ff1b121a
"""Chapter 22: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones, some = np.ones, np.array([0, 1])


def valid(**changes):
    """Arguments of skip_gram_step that are right, but for the changes."""
    return {"centre": some, "context": some, "negatives": np.zeros((2, 3), int), "w_in": ones((4, 5)),
            "w_out": ones((4, 5)), **changes}


@pytest.mark.parametrize("argument, value", [
    ("centre", ones(2)), ("centre", some[None]), ("centre", np.array([0, 4])), ("context", np.array([0])),
    ("context", np.array([-1, 0])), ("context", some[:, None]), ("negatives", some), ("negatives", ones((2, 3))),
    ("negatives", np.zeros((1, 3), int)), ("negatives", np.full((2, 3), 4)), ("w_in", ones(5)),
    ("w_in", ones((4, 5), int)), ("w_out", ones((4, 4))), ("w_out", ones((4, 5), np.float32)),
    ("w_out", ones((3, 5)))])
def test_refuses(level, argument, value):
    """Shapes that NumPy would broadcast, dtypes, ids beyond the vocabulary (-1 would be its last word)."""
    expect_value_error(argument, level.skip_gram_step, **valid(**{argument: value}))


@pytest.mark.parametrize("argument, value", [("context", ones((2, 4))), ("mask", ones((2, 4))), ("h", some),
                                             ("mask", ones((2, 3), bool)), ("centre", some[:1])])
def test_others_refuse(level, argument, value):
    """CBOW and the common part."""
    bag = {"context": np.zeros((2, 4), int), "mask": ones((2, 4), bool), **valid()}
    bag |= {"context": np.zeros((2, 4), int)}
    if argument == "h":
        expect_value_error("h", level.negative_sampling, value, some, some[:, None], ones((3, 2)))
    else:
        expect_value_error(argument, level.cbow_step, **{**bag, argument: value})


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("f, args, text", [
    ("skip_gram_step", (np.array([7]), some[:1], np.zeros((1, 2), int), ones((4, 5)), ones((4, 5))),
     "centre has values from 7 to 7; expected 0 to 3"),
    ("noise_weights", (np.array([1, -1]),), "counts has entries that are negative or not finite, or only zeros; "
     "expected weights"),
    ("keep_probability", (np.array([1, 2]), 0), "threshold = 0; expected a finite number above 0"),
    ("skip_gram_pairs", (some, some, 0, rng(0)), "window = 0; expected an integer, at least 1"),
    ("AliasTable", (np.zeros(3),), "weights has entries that are negative or not finite, or only zeros; "
     "expected weights"),
    ("AliasTable", (np.array([1, np.nan]),), "weights has entries that are negative or not finite, or only zeros; "
     "expected weights"),
    ("info_nce", (ones((3, 2)), ones((2, 2))), "keys has shape (2, 2); expected at least as many rows as queries, "
     "3, and at least 1"),
    ("info_nce", (ones((2, 2)), ones((2, 2)), -1), "temperature = -1; expected a finite number above 0"),
    ("update_rows", (ones((3, 2)), (some, ones((2, 2))), 0), "lr = 0; expected a finite number above 0"),
    ("init_tables", (0, 3, rng(0)), "V = 0; expected an integer, at least 1")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


@pytest.mark.levels(2, 3)
def test_texts_and_sums_refuse(level):
    """Ids below 0 and beyond the words, numbers that are no ids, lengths that differ."""
    for name, f, *args in (("ids", level.subsample, np.array([-1]), ones(2), rng(0)),
                           ("ids", level.subsample, np.array([2]), ones(2), rng(0)),
                           ("keep", level.subsample, some, ones(2, int), rng(0)),
                           ("keep", level.subsample, some, ones((2, 1)), rng(0)),
                           ("ids", level.skip_gram_pairs, ones(2), some, 2, rng(0)),
                           ("sentence", level.skip_gram_pairs, some, some[:1], 2, rng(0)),
                           ("ids", level.sum_rows, np.array([0, -1]), ones((2, 3))),
                           ("ids", level.sum_rows, some, ones((3, 3))),
                           ("rows", level.sum_rows, some, ones((2, 3), int)),
                           ("power", level.noise_weights, ones(2), 0),
                           ("queries", level.info_nce, ones(2), ones((2, 2))),
                           ("keys", level.info_nce, ones((2, 2)), ones((2, 2), np.float32))):
        expect_value_error(name, f, *args)


@pytest.mark.parametrize("B, K", [(0, 3), (2, 0), (1, 1), (0, 0)])
def test_small(level, B, K):
    """No pairs: a loss of 0 and no rows. No negatives: the positive alone. One of each."""
    ids, negatives = np.full(B, 2), np.full((B, K), 1)
    loss, (found, d_in), (others, d_out) = level.skip_gram_step(ids, ids, negatives, ones((4, 5)), ones((4, 5)))
    assert d_in.shape == (min(B, 1), 5) and found.tolist() == [2][:B]
    assert others.tolist() == sorted({*ids.tolist(), *negatives.reshape(-1).tolist()}) and len(d_out) == len(others)
    want = (np.logaddexp(0, -5) + K * np.logaddexp(0, 5)) * (B > 0)
    assert_close(np.asarray(loss), np.asarray(want), tol=1e-12, what="loss")


@pytest.mark.parametrize("B, C", [(0, 4), (3, 0), (1, 1)])
def test_small_bags(level, B, C):
    """No bags; bags without a word predict from zeros, at log 2 a score."""
    arguments = np.zeros((B, C), int), ones((B, C), bool), np.full(B, 2), np.full((B, 2), 1), ones((4, 5)), ones((4, 5))
    loss, (found, d_in), (_, d_out) = level.cbow_step(*arguments)
    assert found.tolist() == [0] * (B * C > 0) and d_in.shape == (len(found), 5)
    if not C:
        assert_close(np.asarray(loss), np.asarray(3 * np.log(2)), tol=1e-12, what="loss")
        assert_close(d_out, np.zeros((2, 5)), tol=0, what="d_out")


def test_masked_words_do_not_count(level):
    """What stands where the mask is False changes nothing, and has no gradient; NaN there neither."""
    context, mask = np.array([[1, 2, 3], [2, 0, 0]]), np.array([[True, True, False], [True, False, False]])
    w_in, w_out = rng(0).standard_normal((5, 4)), rng(1).standard_normal((5, 4))
    rest = some, np.array([[4], [3]])
    want = level.cbow_step(context, mask, *rest, w_in, w_out)
    other, spoilt = np.where(mask, context, 4), w_in.copy()
    spoilt[4] = np.nan
    got = level.cbow_step(other, mask, *rest, spoilt, w_out)
    assert got[0] == want[0] and got[1][0].tolist() == [1, 2] == want[1][0].tolist()
    assert_close(got[1][1], want[1][1], tol=0, what="d_in")


def test_one_word_bag_is_a_skip_gram(level):
    """A bag of one word is a pair, read the other way."""
    w_in, w_out = rng(2).standard_normal((6, 4)), rng(3).standard_normal((6, 4))
    ids, target, negatives = np.array([1, 5, 1]), np.array([0, 2, 0]), rng(4).integers(0, 6, (3, 2))
    a = level.cbow_step(ids[:, None], ones((3, 1), bool), target, negatives, w_in, w_out)
    b = level.skip_gram_step(ids, target, negatives, w_in, w_out)
    assert_close(np.asarray(a[0]), np.asarray(b[0]), tol=1e-12, what="loss")
    for x, y in zip(a[1:], b[1:]):
        assert_close(x[1], y[1], tol=1e-12, what="rows")


@pytest.mark.parametrize("size", [30.0, 1e4, 1e150])
def test_huge_scores(level, size):
    """The loss is the score itself where it is far on the wrong side, and 0 on the right one; never NaN."""
    w_in, w_out = np.array([[size]]), np.array([[1.0], [-1.0]])
    w_in = np.concatenate([w_in, w_in])
    with np.errstate(all="raise", under="ignore"):
        good = level.skip_gram_step(np.array([0]), np.array([0]), np.array([[1]]), w_in, w_out)
        bad = level.skip_gram_step(np.array([0]), np.array([1]), np.array([[0]]), w_in, w_out)
    assert_close(np.asarray(good[0]), np.asarray(2 * np.log1p(np.exp(-size))), tol=1e-9, what="right")
    assert_close(np.asarray(bad[0] / size), np.asarray(2.0), tol=1e-9, what="wrong")
    assert_close(good[2][1] / size, np.array([[-1.0], [1]]) * np.exp(-size), tol=1e-9, what="small slopes")
    assert_close(bad[2][1] / size, np.array([[1.0], [-1]]), tol=1e-9, what="slopes of 1")


def test_small_slopes_are_exact(level):
    """A slope of 1e-13 is no 0: 1 - sigmoid loses it."""
    w_in, w_out = np.array([[30.0], [30.0]]), np.array([[1.0], [-1.0]])
    grad = level.skip_gram_step(np.array([0]), np.array([0]), np.array([[1]]), w_in, w_out)[2][1] / 30
    assert np.abs(grad / (np.array([[-1.0], [1.0]]) * np.exp(-30.0)) - 1).max() < 1e-6


def test_not_a_number_stays_with_its_pair(level):
    """Only rows of the pair that has it."""
    w_in, w_out = rng(5).standard_normal((6, 3)), rng(6).standard_normal((6, 3))
    w_in[1, 0] = np.nan
    loss, (ids, d_in), (found, d_out) = level.skip_gram_step(some, np.array([2, 3]), np.array([[4], [5]]), w_in, w_out)
    assert np.isnan(loss) and ids.tolist() == [0, 1] and found.tolist() == [2, 3, 4, 5]
    assert np.isfinite(d_in[0]).all() and np.isnan(d_in[1]).all()
    assert np.isfinite(d_out[[0, 2]]).all() and np.isnan(d_out[[1, 3]]).all()


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    w_in, w_out = rng(7).standard_normal((6, 4)), rng(8).standard_normal((6, 4))
    centre, context, negatives = np.array([1, 0, 1]), np.array([2, 2, 5]), np.array([[1, 2], [3, 3], [0, 5]])
    assert_layouts(lambda a, b: level.skip_gram_step(centre, context, negatives, a, b), [w_in, w_out])
    bag, mask = np.array([[1, 0, 4], [2, 2, 3], [5, 0, 1]]), np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    assert_layouts(lambda a, b: level.cbow_step(bag, mask, context, negatives, a, b), [w_in, w_out])
    assert_layouts(lambda rows: level.sum_rows(np.array([3, 1, 3, 0, 1, 3]), rows), [w_in])
    want = level.skip_gram_step(centre, context, negatives, w_in, w_out)
    for dtype in (np.uint8, np.int16, np.uint64):
        got = level.skip_gram_step(centre[::-1].astype(dtype)[::-1], np.repeat(context, 2)[::2].astype(dtype),
                                   np.asfortranarray(negatives).astype(dtype), w_in, w_out)
        assert got[0] == want[0] and got[1][0].tolist() == want[1][0].tolist()
        assert_close(got[2][1], want[2][1], tol=0, what="rows")
