# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:344e58fad12d608f
"""Chapter 25: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of attention that are right, but for the changes."""
    return {"q": ones((2, 3, 5, 4)), "k": ones((2, 3, 7, 4)), "v": ones((2, 3, 7, 6)), **changes}


REFUSED = [("q", ones(4)), ("q", ones((2, 3, 5, 4), int)), ("q", ones((2, 3, 5, 0)))]
REFUSED += [("k", x) for x in (ones((2, 3, 7, 5)), ones((3, 7, 4)), ones((2, 1, 7, 4)), ones((2, 3, 7, 4), int),
                               ones(4), ones((2, 3, 7, 4), np.float32))]
REFUSED += [("v", x) for x in (ones((2, 3, 6, 6)), ones((3, 7, 6)), ones((1, 3, 7, 6)), ones((2, 3, 7, 6), int),
                               ones(7), ones((2, 3, 7, 6), np.float16))]
REFUSED += [("mask", x) for x in (ones((5, 6), bool), ones((5, 7)), ones((5, 7), int), ones((3, 1, 5, 7), bool),
                                  ones((1, 2, 3, 5, 7), bool), ones((2, 5, 7), bool), np.zeros((5, 7)))]
REFUSED += [("causal", x) for x in (1, "yes", None)]
REFUSED += [("scale", x) for x in ("sqrt", np.nan, np.inf, True, 1j, ones(2))]


@pytest.mark.parametrize("argument, value", REFUSED)
def test_refuses(level, argument, value):
    """Wrong shapes and dtypes, masks of numbers, scales that are none."""
    expect_value_error(argument, level.attention, **valid(**{argument: value}))


@pytest.mark.parametrize("f, args, text", [
    ("attention", (ones((5, 4)), ones((7, 3)), ones((7, 6))), "k has shape (7, 3); expected (Tk, 4)"),
    ("attention", (ones((2, 5, 4)), ones((2, 7, 4)), ones((2, 5, 6))), "v has shape (2, 5, 6); expected (2, 7, Dv)"),
    ("attention", (ones((5, 4)), ones((7, 4)), ones((7, 6)), ones((5, 5), bool)),
     "mask has shape (5, 5); expected one that broadcasts to (5, 7)"),
    ("attention", (ones((5, 4)), ones((7, 4)), ones((7, 6)), ones((5, 7))),
     "mask has dtype float64; expected bool, True where a query may attend"),
    ("window_mask", (3, 4, 0), "window = 0; expected an integer, at least 1"),
    ("padding_mask", (np.array([1, 5]), 4), "lengths has 1 to 5; expected 0 to 4"),
    ("softmax_backward", (ones((2, 3)), ones((3, 3))), "dp has shape (2, 3); expected (3, 3), that of p")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


@pytest.mark.parametrize("argument, f, args", [
    ("Tq", "causal_mask", (-1, 3)), ("Tk", "causal_mask", (3, 2.0)), ("Tq", "causal_mask", (True, 3)),
    ("Tq", "window_mask", (1.5, 3, 2)), ("Tk", "window_mask", (3, -1, 2)), ("window", "window_mask", (3, 3, 1.5)),
    ("sinks", "window_mask", (3, 3, 2, -1)), ("lengths", "padding_mask", (np.array([-1]), 3)),
    ("lengths", "padding_mask", (np.array([1.0]), 3)), ("lengths", "padding_mask", (np.array([[1]]), 3)),
    ("Tk", "padding_mask", (np.array([1]), -1)), ("scores", "masked_softmax", (ones(3, int),)),
    ("scores", "masked_softmax", (np.float64(1.0),)), ("mask", "masked_softmax", (ones(3), ones(3))),
    ("mask", "masked_softmax", (ones(3), ones((2, 3), bool))), ("p", "softmax_backward", (ones(3), ones(3, int))),
    ("dp", "softmax_backward", (ones(3, int), ones(3))), ("dp", "softmax_backward", (ones(3, np.float32), ones(3)))])
def test_others_refuse(level, argument, f, args):
    """Masks of impossible sizes, scores that are not floats."""
    expect_value_error(argument, getattr(level, f), *args)


def test_backward_refuses(level):
    """A dout that would broadcast, and one of integers."""
    out, cache = level.attention(**valid())
    for dout in (out[:1], out[..., :1], out[:, :, :1], out.astype(int)):
        expect_value_error("dout", level.attention_backward, dout, cache)


@pytest.mark.parametrize("batch, Tq, Tk, D, Dv", [
    ((0, 3), 5, 7, 4, 6), ((2, 0), 5, 7, 4, 6), ((2, 3), 0, 7, 4, 6), ((2, 3), 5, 0, 4, 6), ((2, 3), 0, 0, 4, 6),
    ((2, 3), 5, 7, 4, 0), ((), 1, 1, 1, 1), ((1, 1), 1, 7, 1, 6), ((2,), 5, 1, 4, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_small(level, batch, Tq, Tk, D, Dv, causal):
    """Nothing, or one of it: no samples, queries, keys or values; zeros where there is no key."""
    q, k, v = (rng(n).standard_normal((*batch, *s)) for n, s in enumerate([(Tq, D), (Tk, D), (Tk, Dv)]))
    out, cache = level.attention(q, k, v, causal=causal)
    dq, dk, dv = level.attention_backward(out, cache)
    assert [x.shape for x in (out, dq, dk, dv)] == [(*batch, Tq, Dv), q.shape, k.shape, v.shape]
    assert not any(np.shares_memory(one, other) for one in (out, dq, dk, dv) for other in (q, k, v))
    if Tk == 1 and not causal:
        assert_close(out, np.broadcast_to(v, out.shape), tol=1e-12, what="out of one key")
        assert_close(dv, out.sum(-2, keepdims=True), tol=1e-12, what="dv of one key")
    if Tk < 2:
        assert_close(dq, np.zeros(q.shape), what="dq")
        assert_close(dk, np.zeros(k.shape), tol=1e-12, what="dk")
    if Tk == 0:
        assert_close(out, np.zeros(out.shape), tol=0, what="out of no keys")


def test_small_softmax(level):
    """No scores, no rows, one score."""
    assert level.masked_softmax(ones((3, 0))).shape == (3, 0)
    assert level.masked_softmax(ones((0, 3))).shape == (0, 3)
    assert level.softmax_backward(ones((0, 3)), ones((0, 3))).shape == (0, 3)
    assert_close(level.masked_softmax(np.array([7.0])), np.array([1.0]), what="p")
    assert level.causal_mask(0, 3).shape == (0, 3) and level.causal_mask(3, 0).shape == (3, 0)
    assert level.window_mask(0, 0, 1).shape == (0, 0) and level.padding_mask(np.zeros(0, int), 3).shape == (0, 1, 1, 3)
    assert level.padding_mask([2, 3], 3).shape == (2, 1, 1, 3)


@pytest.mark.parametrize("options", [{}, {"causal": True, "scale": 0.7}])
def test_memory_layouts(level, options):
    """What counts is the array, not how it lies in memory; masks too."""
    arrays = [rng(k).standard_normal((2, 3, *s)) for k, s in enumerate([(5, 4), (7, 4), (7, 6)])]
    mask = rng(3).random((2, 3, 5, 7)) < 0.7
    assert_layouts(lambda q, k, v: level.attention(q, k, v, mask, **options), arrays, level.attention_backward)
    for way in (np.asfortranarray, lambda x: np.flip(np.flip(x).copy()), lambda x: x.T.copy().T):
        assert_close(level.attention(*arrays, way(mask), **options)[0], level.attention(*arrays, mask, **options)[0],
                     tol=1e-12, what="out with another layout of the mask")
    scores = rng(4).standard_normal((3, 4, 5))
    assert_layouts(lambda s: level.masked_softmax(s, mask[0, 0, 0, :5]), [scores])
    assert_layouts(level.softmax_backward, [scores, np.abs(scores) / 9])


def test_mask_shapes(level):
    """A mask of fewer axes, or with axes of length 1, is the mask that it broadcasts to."""
    q, k, v = (rng(k).standard_normal((2, 3, *s)) for k, s in enumerate([(5, 4), (7, 4), (7, 6)]))
    for shape in ((7,), (1,), (), (5, 1), (1, 7), (3, 1, 1), (2, 1, 1, 7), (2, 1, 5, 1), (1, 3, 5, 7)):
        mask = rng(sum(shape)).random(shape) < 0.6
        whole = np.broadcast_to(mask, (2, 3, 5, 7)).copy()
        assert_close(level.attention(q, k, v, mask)[0], level.attention(q, k, v, whole)[0], tol=1e-12,
                     what=f"out with a mask of shape {shape}")
