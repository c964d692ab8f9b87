# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:39b610a938284ce0
"""Chapter 32: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of flash_attention that are right, but for the changes."""
    return {"q": ones((2, 3, 5, 4)), "k": ones((2, 3, 7, 4)), "v": ones((2, 3, 7, 6)), **changes}


@pytest.mark.parametrize("argument, value", [
    ("q", ones(4)), ("q", ones((2, 3, 5, 4), int)), ("q", ones((2, 3, 5, 0))), ("k", ones((2, 3, 7, 5))),
    ("k", ones((2, 1, 7, 4))), ("k", ones((2, 3, 7, 4), np.float32)), ("v", ones((2, 3, 6, 6))),
    ("v", ones((1, 3, 7, 6))), ("mask", ones((5, 6), bool)), ("mask", ones((5, 7))), ("mask", ones((2, 5, 7), bool)),
    ("causal", 1), ("causal", None), ("scale", np.nan), ("scale", "sqrt"), ("scale", True), ("block_q", 0),
    ("block_q", 2.0), ("block_q", None), ("block_q", True), ("block_k", 0), ("block_k", -3), ("block_k", "all")])
def test_refuses(level, argument, value):
    """Wrong shapes and dtypes, masks of numbers, tiles of nothing."""
    expect_value_error(argument, level.flash_attention, **valid(**{argument: value}))


@pytest.mark.parametrize("place, value", [(0, -1), (1, 2.5), (2, -1), (3, True), (4, 0), (5, 0), (5, 1.0)])
def test_traffic_refuses(level, place, value):
    """Sizes that are none."""
    sizes = [5, 7, 4, 6, 2, 3]
    sizes[place] = value
    expect_value_error(("Tq", "Tk", "D", "Dv", "block_q", "block_k")[place], level.traffic, *sizes)


def test_messages(level):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.flash_attention(**valid(block_k=0))
    assert str(caught.value) == "block_k = 0; expected an integer, at least 1"


def test_backward_refuses(level):
    """A dout that would broadcast, and one of integers."""
    out, cache = level.flash_attention(**valid())
    for dout in (out[:1], out[..., :1], out[:, :, :1], out.astype(int)):
        expect_value_error("dout", level.flash_attention_backward, dout, cache)


@pytest.mark.parametrize("batch, Tq, Tk, D, Dv", [
    ((0, 3), 5, 7, 4, 6), ((2, 3), 0, 7, 4, 6), ((2, 3), 5, 0, 4, 6), ((2, 3), 0, 0, 4, 6), ((2, 3), 5, 7, 4, 0),
    ((), 1, 1, 1, 1), ((1, 1), 1, 7, 1, 6), ((2,), 5, 1, 4, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_small(level, batch, Tq, Tk, D, Dv, causal):
    """Nothing, or one of it: no samples, queries, keys or values; zeros where there is no key."""
    q, k, v = (rng(n).standard_normal((*batch, *s)) for n, s in enumerate([(Tq, D), (Tk, D), (Tk, Dv)]))
    out, cache = level.flash_attention(q, k, v, causal=causal, block_q=2, block_k=3)
    dq, dk, dv = level.flash_attention_backward(out, cache)
    assert [x.shape for x in (out, dq, dk, dv)] == [(*batch, Tq, Dv), q.shape, k.shape, v.shape]
    if Tk == 1 and not causal:
        assert_close(out, np.broadcast_to(v, out.shape), tol=1e-12, what="out of one key")
    if Tk == 0:
        assert_close(out, np.zeros(out.shape), tol=0, what="out of no keys")
        assert_close(dq, np.zeros(q.shape), tol=0, what="dq")


@pytest.mark.parametrize("options", [{}, {"causal": True, "scale": 0.7}])
def test_memory_layouts(level, options):
    """What counts is the array, not how it lies in memory; masks too."""
    arrays = [rng(k).standard_normal((2, 3, *s)) for k, s in enumerate([(5, 4), (7, 4), (7, 6)])]
    mask = rng(3).random((2, 3, 5, 7)) < 0.7
    call = lambda q, k, v, mask=mask: level.flash_attention(q, k, v, block_q=2, block_k=3, mask=mask, **options)
    assert_layouts(call, arrays, level.flash_attention_backward)
    for way in (np.asfortranarray, lambda x: np.flip(np.flip(x).copy()), lambda x: x.T.copy().T):
        assert_close(call(*arrays, way(mask))[0], call(*arrays)[0], tol=1e-12, what="out, the mask laid out otherwise")


def test_mask_shapes(level):
    """A mask of fewer axes, or with axes of length 1, is the mask that it broadcasts to."""
    q, k, v = (rng(k).standard_normal((2, 3, *s)) for k, s in enumerate([(5, 4), (7, 4), (7, 6)]))
    for shape in ((7,), (), (5, 1), (1, 7), (3, 1, 1), (2, 1, 1, 7), (1, 3, 5, 7)):
        mask = rng(sum(shape)).random(shape) < 0.6
        whole = np.broadcast_to(mask, (2, 3, 5, 7)).copy()
        outs = [level.flash_attention(q, k, v, block_q=2, block_k=3, mask=m)[0] for m in (mask, whole)]
        assert_close(outs[0], outs[1], tol=1e-12, what=f"out with a mask of shape {shape}")
