# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:0403e0ec9c0524aa
"""Chapter 24: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
Q, K, X = ones((2, 3, 4)), ones((2, 5, 6)), ones((2, 5, 7))
OWN = (ones((4, 8)), ones(8), ones((6, 8)))


@pytest.mark.parametrize("argument, place, value", [
    ("query", 0, ones((2, 4))), ("query", 0, ones((2, 3, 4), int)), ("keys", 1, ones((3, 5, 6))),
    ("keys", 1, K.astype(np.float32)), ("w_query", 2, ones((5, 8))), ("v", 3, ones(7)), ("v", 3, ones((8, 1))),
    ("w_key", 4, ones((5, 8))), ("w_key", 4, ones((6, 7)))])
def test_additive_refuses(level, argument, place, value):
    """A ValueError that names the argument."""
    given = [Q, K, *OWN]
    given[place] = value
    expect_value_error(argument, level.additive_score, *given)


def test_refuses(level):
    """Keys of another width, unknown scores, wrong masks, gradients that would broadcast."""
    expect_value_error("keys", level.dot_score, Q, K)
    expect_value_error("query", level.dot_score, Q[:, :, :0], Q[:, :, :0])
    expect_value_error("keys", level.additive_score, Q, K, *OWN[:2])
    expect_value_error("w", level.general_score, Q, K, ones((6, 4)))
    expect_value_error("score", level.attend, Q, K, X, None, "cosine")
    expect_value_error("weights", level.attend, Q, K, X, None, "additive", OWN[:1])
    expect_value_error("keys", level.attend, Q, K, X)
    for values in (X[:, :4], X.astype(np.float32), X.astype(int)):
        expect_value_error("values", level.attend, Q, K, values, None, "additive", OWN)
    for mask in (ones((2, 5)), ones((2, 3), bool), ones((1, 5), bool), ones((2, 3, 5), bool)):
        expect_value_error("mask", level.attend, Q, K, X, mask, "additive", OWN)
    _, cache = level.additive_score(Q, K, *OWN)
    expect_value_error("dscores", level.additive_score_backward, ones((2, 1, 5)), cache)
    (_, p), cache = level.attend(Q, K, X, None, "additive", OWN)
    expect_value_error("dcontext", level.attend_backward, ones((2, 1, 7)), None, cache)
    expect_value_error("dp", level.attend_backward, ones((2, 3, 7)), p[:, :1], cache)


@pytest.mark.levels(2, 3, 4)
def test_decoder_refuses(level):
    """Shapes that do not fit."""
    names = ("x", "h0", "annotations", "mask", "w_query", "w_key", "v", "w_ih", "w_hh", "b_ih", "b_hh")
    shapes = ((2, 3, 4), (2, 5), (2, 6, 7), (2, 6), (5, 8), (7, 8), (8,), (11, 15), (5, 15), (15,), (15,))
    good = {name: ones(shape, bool if name == "mask" else float) for name, shape in zip(names, shapes)}
    (out, contexts, _), cache = level.attention_decoder(**good)
    for name in ("x", "h0"):                                    # of no width
        expect_value_error(name, level.attention_decoder, **(good | {name: good[name][..., :0]}))
    for name in names:
        bad = good[name][:, 0] if name == "x" else good[name][:1]
        expect_value_error(name, level.attention_decoder, **(good | {name: bad}))
        if name not in ("x", "mask"):
            expect_value_error(name, level.attention_decoder, **(good | {name: good[name].astype(np.float32)}))
    expect_value_error("dout", level.attention_decoder_backward, out[:1], contexts, cache)
    expect_value_error("dcontexts", level.attention_decoder_backward, out, contexts[:, :1], cache)


@pytest.mark.parametrize("B, T, S", [(0, 3, 5), (2, 0, 5), (2, 3, 0), (1, 1, 1)])
@pytest.mark.parametrize("name", ["additive", "dot", "general"])
def test_small(level, name, B, T, S):
    """No samples, no queries, no source; one of each."""
    query, keys, values = ones((B, T, 4)), ones((B, S, 4)), rng(0).standard_normal((B, S, 3))
    own = {"additive": (ones((4, 2)), ones(2), ones((4, 2))), "dot": (), "general": (ones((4, 4)),)}[name]
    (context, p), cache = level.attend(query, keys, values, None, name, own)
    grads = level.attend_backward(ones((B, T, 3)), ones((B, T, S)), cache)
    assert context.shape == (B, T, 3) and p.shape == (B, T, S)
    assert [g.shape for g in grads] == [a.shape for a in (query, keys, values, *own)]
    if S == 1:
        assert_close(context, values, tol=1e-12, what="context of one place")
    if not S:
        assert not context.any()
    if hasattr(level, "attention_decoder"):
        outs, cache = level.attention_decoder(ones((B, T, 3)), ones((B, 2)), ones((B, S, 4)), None, ones((2, 5)),
                                              ones((4, 5)), ones(5), ones((7, 6)), ones((2, 6)), ones(6), ones(6))
        grads = level.attention_decoder_backward(*outs[:2], cache)
        assert [o.shape for o in outs] == [(B, T, 2), (B, T, 4), (B, T, S)]
        assert all(np.isfinite(g).all() for g in grads) and grads[2].shape == (B, S, 4)


def test_without_features(level, D=4, A=0):
    """A score that is a sum over nothing is the same for every place, and so is the weight."""
    values = rng(0).standard_normal((2, 5, 3))
    own = ones((D, A)), ones(A), ones((D, A))
    (context, p), cache = level.attend(ones((2, 3, D)), ones((2, 5, D)), values, None, "additive", own)
    assert_close(p, np.full((2, 3, 5), 0.2), tol=1e-12, what="p")
    assert_close(context, np.repeat(values.mean(1, keepdims=True), 3, 1), tol=1e-12, what="context")
    grads = level.attend_backward(context, p, cache)
    assert [g.shape for g in grads[:2]] == [(2, 3, D), (2, 5, D)]
    assert all(np.abs(g).max(initial=0) < 1e-12 for g in grads[3:])
    if hasattr(level, "attention_decoder"):
        given = [ones(s) for s in ((2, 3, D), (2, 4), (2, 5, 2), (4, A), (2, A), (A,), (D + 2, 12), (4, 12), 12, 12)]
        (out, contexts, p), cache = level.attention_decoder(*given[:3], None, *given[3:])
        grads = level.attention_decoder_backward(out, contexts, cache)
        assert [g.shape for g in grads] == [a.shape for a in given] and np.isfinite(out).all()


@pytest.mark.parametrize("name", ["additive", "dot", "general"])
def test_nothing_is_real(level, name):
    """A source of nothing but padding: zeros, and zero gradients; its neighbour is as without it."""
    own = {"additive": (ones((4, 2)), ones(2), ones((4, 2))), "dot": (), "general": (ones((4, 4)),)}[name]
    query, keys, values = (rng(n).standard_normal((2, T, 4)) for n, T in ((1, 3), (2, 5), (3, 5)))
    mask = np.array([[False] * 5, [True] * 5])
    (context, p), cache = level.attend(query, keys, values, mask, name, own)
    grads = level.attend_backward(ones((2, 3, 4)), ones((2, 3, 5)), cache)
    assert not context[0].any() and not p[0].any() and not any(g[0].any() for g in grads[:3])
    (alone, _), _ = level.attend(query[1:], keys[1:], values[1:], None, name, own)
    assert_close(context[1:], alone, tol=1e-12, what="context")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    draw = [rng(n).standard_normal(s) for n, s in enumerate(((2, 3, 4), (2, 5, 6), (4, 7), (7,), (6, 7), (2, 5, 3)))]
    query, keys, w_query, v, w_key, values = draw
    assert_layouts(level.additive_score, [query, keys, w_query, v, w_key], f_backward=level.additive_score_backward)
    assert_layouts(level.general_score, [query, keys, w_query[:, :6]], f_backward=level.general_score_backward)
    assert_layouts(level.dot_score, [query, keys[..., :4]], f_backward=level.dot_score_backward)
    mask = np.array([[True, False, True, True, True], [True] * 3 + [False] * 2])
    assert_layouts(lambda *a: level.attend(*a, mask), [query, keys[..., :4], values],
                   f_backward=lambda d, cache: level.attend_backward(*d, cache))
    want, _ = level.attend(query, keys[..., :4], values, mask)
    for view in (np.asfortranarray(mask), mask[::-1].copy()[::-1], np.repeat(mask, 2, 1)[:, ::2]):
        got, _ = level.attend(query, keys[..., :4], values, view)
        assert_close(got[0], want[0], tol=1e-14, what="context")


@pytest.mark.levels(2, 3)
def test_decoder_layouts(level):
    """The same of the decoder."""
    shapes = ((2, 3, 4), (2, 5), (2, 6, 7), (5, 8), (7, 8), (8,), (11, 15), (5, 15), (15,), (15,))
    given, mask = [0.5 * rng(n).standard_normal(s) for n, s in enumerate(shapes)], np.arange(6) < np.array([[6], [4]])
    assert_layouts(lambda *a: (lambda outs, cache: (outs[:2], cache))(*level.attention_decoder(*a[:3], mask, *a[3:])),
                   given, f_backward=lambda d, cache: level.attention_decoder_backward(*d, cache))
