# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:99214f0328053200
"""Chapter 13: what is empty, single, laid out otherwise, special, or invalid."""

import numpy as np
import pytest

from tangled.t13_pooling import level1_naive as loops
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
NAN, LOW = np.nan, -np.inf


def with_arguments(level, op, args):
    """The op of a level as a function of x alone."""
    return lambda x: getattr(level, op)(x, *args)


@pytest.mark.parametrize("window, place", [
    ([[1, NAN], [2, 3]], 1), ([[NAN, 1], [2, NAN]], 3), ([[NAN, NAN], [1, 2]], 1), ([[1, 2], [NAN, 5]], 2),
    ([[NAN, 1], [1, 1]], 0), ([[np.inf, NAN], [np.inf, 0]], 1)])
def test_nan_wins(level, window, place):
    """NaN is handed on, and of several the last one receives the gradient, as in PyTorch."""
    x = np.concatenate([np.array(window, float)[None, None], TWO[None, None]], axis=3)      # and a window of numbers
    out, cache = level.max_pool2d(x, 2)
    assert_close(out.ravel(), np.array([NAN, 8.0]), what="out")
    expected = np.array([place // 2 * 4 + place % 2, 6])
    assert_close(level.max_pool2d_indices(cache).ravel(), expected, tol=0, what="indices")
    dx = level.max_pool2d_backward(np.array([5.0, 7]).reshape(out.shape), cache)
    assert_close(dx.ravel(), np.array([5.0, 7]) @ (np.arange(8) == expected[:, None]), what="dx")


TWO = np.array([[6.0, 7], [8, 3]])


def test_nan_anywhere(level):
    """NaN in one channel of one picture among several, the first or another: each window as the loops have it."""
    for place in ((0, 0, 1, 2), (1, 2, 3, 3), (2, 1, 0, 5), (2, 2, 4, 0)):
        x = rng(8).integers(-2, 3, (3, 3, 5, 6)).astype(float)
        x[place] = NAN
        x[(*place[:3], place[3] // 2)] = NAN                    # and perhaps a second one in its row
        (out, cache), (expected, of_loops) = (m.max_pool2d(x, (2, 3), 1, 1) for m in (level, loops))
        assert_close(out, expected, tol=0, what="out")
        indices = loops.max_pool2d_indices(of_loops)
        assert_close(level.max_pool2d_indices(cache), indices, tol=0, what="indices")


def test_minus_infinity_has_a_place(level):
    """A window of nothing but -inf: its first entry inside wins, never the padding."""
    x = np.full((1, 1, 3, 4), LOW)
    out, cache = level.max_pool2d(x, (2, 3), (2, 2), 1)
    assert_close(out, np.full((1, 1, 2, 2), LOW), what="out")
    assert_close(level.max_pool2d_indices(cache).ravel(), np.array([0, 1, 4, 5]), tol=0, what="indices")
    assert_close(level.max_pool2d_backward(np.array([1.0, 2, 3, 4]).reshape(1, 1, 2, 2), cache).ravel()[:6],
                 np.array([1.0, 2, 0, 0, 3, 4]), what="dx")
    out, cache = level.max_pool2d(x, 2, 2, 1, dilation=2)
    assert_close(level.max_pool2d_indices(cache).ravel(), np.full(4, 5), tol=0, what="dilated")
    _, cache = level.max_pool2d(np.full((1, 1, 4, 3), LOW), (4, 1), 1, (2, 0), dilation=(2, 1))
    assert_close(level.max_pool2d_indices(cache).ravel(), np.arange(6), tol=0, what="dilated, more padding")


def test_negative_pictures(level):
    """All entries below zero: neither the padding nor what a window of ceil_mode lacks is a zero."""
    x = -1 - rng(0).random((2, 3, 5, 7))
    for options in ({"padding": 1}, {"stride": (2, 3), "padding": (1, 0), "ceil_mode": True}):
        out, cache = level.max_pool2d(x, (2, 3), **options)
        assert out.max() < -1
        dx = level.max_pool2d_backward(ones(out.shape), cache)
        assert_close(dx.sum(), float(out.size), what="sum of dx")


@pytest.mark.parametrize("value", [np.inf, NAN])
def test_infinite_upstream(level, value):
    """Only the winner sees it: at the others 0 times infinity is not formed."""
    x = rng(1).permutation(60).reshape(1, 2, 5, 6).astype(float)
    for options in ({"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 1}):
        out, cache = level.max_pool2d(x, **options)
        dout = ones(out.shape)
        dout[0, 0, 0, 0] = value
        dx = level.max_pool2d_backward(dout, cache)
        place = int(level.max_pool2d_indices(cache)[0, 0, 0, 0])
        expected = level.max_pool2d_backward(ones(out.shape), cache)
        expected[0, 0].flat[place] = value
        assert_close(dx, expected, what="dx")


@pytest.mark.parametrize("value", [np.inf, NAN])
def test_means_of_the_infinite(level, value):
    """It reaches the windows that hold it, no others."""
    x = rng(2).standard_normal((2, 2, 6, 8))
    x[0, 1, 2, 3] = value
    for out, place in ((level.avg_pool2d(x, 2)[0], (1, 1)), (level.adaptive_avg_pool2d(x, (2, 4))[0], (0, 1))):
        expected = np.zeros(out.shape)
        expected[(0, 1, *place)] = 1
        assert_close((~np.isfinite(out)).astype(float), expected, what="where it is not finite")


REFUSED = [("x", value) for value in (ones((4, 5, 6)), ones((2, 4, 5, 6), int), ones((2, 0, 5, 6)), ones((2, 4, 0, 6)))]
REFUSED += [("kernel_size", value) for value in (0, 1.5, (1, 2, 3), None, (2, 0))]
REFUSED += [("stride", value) for value in (0, 1.5, (1, 2, 3), (2, -1))]
REFUSED += [("padding", value) for value in (-1, 2, (0, 2), (0, 0, 1, 1), "same", None, 0.5)]
REFUSED += [("ceil_mode", value) for value in (1, None, "no")]


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("argument, value", REFUSED)
def test_pooling_refuses(level, op, argument, value):
    """Wrong shapes and dtypes, numbers out of range, more padding than half of the kernel."""
    good = {"x": ones((2, 4, 5, 6)), "kernel_size": (2, 3)}
    expect_value_error(argument, getattr(level, op), **{**good, argument: value})


def test_others_refuse(level):
    """Arguments of the other ops."""
    x, indices = ones((2, 3, 2, 2)), np.zeros((2, 3, 2, 2), int)
    for value in (0, 1.5, (1, 2, 3)):
        expect_value_error("dilation", level.max_pool2d, x, 1, dilation=value)
        expect_value_error("output_size", level.adaptive_avg_pool2d, x, value)
    for value in (0, 1.5, True):
        expect_value_error("divisor_override", level.avg_pool2d, x, 2, divisor_override=value)
    expect_value_error("count_include_pad", level.avg_pool2d, x, 2, count_include_pad=1)
    for ceil_mode in (True, False):
        level.max_pool2d(x, 1, 1, ceil_mode=ceil_mode)          # a geometry that is kept: 1 == True, but is none
        expect_value_error("ceil_mode", level.max_pool2d, x, 1, 1, ceil_mode=int(ceil_mode))
        expect_value_error("stride", level.max_pool2d, x, 1, True, ceil_mode=ceil_mode)
    expect_value_error("x", level.global_avg_pool2d, ones((2, 3, 4)))
    for value in (indices.astype(float), indices[:1], indices + 16, indices - 1):
        expect_value_error("indices", level.max_unpool2d, x, value, 2)
    for value in ((2, 4), (6, 4), 0, (4, 4, 4)):
        expect_value_error("output_size", level.max_unpool2d, x, indices, 2, output_size=value)
    for value in (4, -5, 1.0):
        expect_value_error("start_dim", level.flatten, x, value)
    expect_value_error("x", level.flatten, ones((2, 3), int))
    for args, name in (((0, 2, 1), "size"), ((5, 0, 1), "kernel"), ((5, 2, 0), "stride"), ((5, 2, 1, 2), "padding"),
                       ((5, 2, 1, 0, 0), "dilation"), ((5, 2, 1, 0, 1, 2), "ceil_mode"), ((2, 3, 1), "kernel")):
        expect_value_error(name, level.pool_output_size, *args)


@pytest.mark.parametrize("f, args, text", [
    ("max_pool2d", (ones((1, 1, 4, 4)), 3, 1, 2), "padding = 2; expected at most 1, half of the kernel's 3"),
    ("max_pool2d", (ones((1, 1, 2, 9)), 3), "kernel covers 3 entries, dilation included; expected at most 2, the 2 "
                                            "there are and the padding"),
    ("max_pool2d", (ones((1, 1, 1, 4)), (2, 1), 2, (1, 0), (3, 1), True),
     "dilation = 3 lets a window miss the height of 1; expected one entry in each"),
    ("max_unpool2d", (ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 4), 2), "indices run from 4 to 4; expected 0 to 3")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


@pytest.mark.parametrize("op, args", [("max_pool2d", (2,)), ("avg_pool2d", (2,)), ("adaptive_avg_pool2d", (3,)),
                                      ("global_avg_pool2d", ()), ("flatten", ())])
def test_backward_refuses(level, op, args):
    """A dout that would broadcast, and one of integers."""
    out, cache = getattr(level, op)(ones((2, 3, 4, 6)), *args)
    for dout in (out[:1], out[:, :1], out[..., :1], out.astype(int)):
        expect_value_error("dout", getattr(level, op + "_backward"), dout, cache)
    up, cache = level.max_unpool2d(ones((2, 3, 2, 2)), np.zeros((2, 3, 2, 2), int), 2)
    expect_value_error("dout", level.max_unpool2d_backward, up[:1], cache)


@pytest.mark.parametrize("shape, kernel", [((0, 3, 5, 4), 2), ((1, 1, 1, 1), 1), ((2, 1, 1, 6), (1, 4)),
                                           ((1, 2, 3, 2), (3, 2))])
def test_small(level, shape, kernel):
    """No pictures, one pixel, one row, a window as large as the picture: there and back."""
    x = rng(3).standard_normal(shape)
    for op, args in (("max_pool2d", (kernel,)), ("avg_pool2d", (kernel,)), ("adaptive_avg_pool2d", (2,)),
                     ("global_avg_pool2d", ()), ("flatten", ())):
        out, cache = getattr(level, op)(x, *args)
        dx = getattr(level, op + "_backward")(out, cache)
        assert len(out) == shape[0] and dx.shape == shape
        if op != "max_pool2d":
            assert_close(np.vdot(dx, x), np.vdot(out, out), tol=1e-10, what=f"<x, dx> of {op}")
    out, cache = level.max_pool2d(x, kernel)
    assert_close(out, loops.max_pool2d(x, kernel)[0], tol=0, what="maxima")
    indices = level.max_pool2d_indices(cache)
    assert indices.shape == out.shape and indices.dtype == np.int64
    up, cache = level.max_unpool2d(out, indices, kernel)
    assert_close(level.max_unpool2d_backward(up, cache), out, tol=0, what="unpooled, and back")


def test_a_window_larger_than_the_picture(level):
    """With ceil_mode a window may begin inside and end outside; without it there is no window."""
    x = rng(4).standard_normal((2, 3, 2, 5))
    out, cache = level.max_pool2d(x, (3, 2), (3, 2), ceil_mode=True)
    assert_close(out[..., 2], x[..., 4].max(axis=2, keepdims=True), tol=0, what="the last column alone")
    mean, _ = level.avg_pool2d(x, (3, 2), (3, 2), ceil_mode=True)
    assert_close(mean[..., 2], x[..., 4].mean(axis=2, keepdims=True), tol=1e-10, what="its mean")
    assert level.max_pool2d_backward(out, cache).shape == x.shape
    expect_value_error("kernel", level.max_pool2d, x, (3, 2), (3, 2))


def test_entries_in_no_window(level):
    """Behind the last window, between windows, and in the holes of a dilation: their gradient is 0."""
    x = 1 + rng(6).random((1, 2, 4, 6))
    for options, read in (({"kernel_size": 2, "dilation": 2, "ceil_mode": True}, (slice(0, 3, 2), slice(0, 5, 2))),
                          ({"kernel_size": (2, 1), "stride": (3, 2)}, (slice(0, 2), slice(0, 5, 2))),
                          ({"kernel_size": (2, 3), "stride": (3, 2)}, (slice(0, 2), slice(0, 5)))):   # some twice
        unread = np.ones(x.shape, bool)
        unread[(..., *read)] = False
        for _ in range(3):
            out, cache = level.max_pool2d(x, **options)
            np.full(x.shape, NAN), np.full((1, 2, 4, out.shape[3]), NAN)    # what an empty array may find
            dx = level.max_pool2d_backward(ones(out.shape), cache)
            assert_close(dx[unread], np.zeros(unread.sum()), what="dx of what no window has")
            assert_close(dx.sum(), float(out.size), what="sum of dx")


def test_unpool_repeated(level):
    """Two entries with one index: written, not added; both receive the gradient of that place."""
    x, indices = np.array([[[[2.0, 2.0, 5.0]]]]), np.array([[[[1, 1, 4]]]])
    up, cache = level.max_unpool2d(x, indices, (1, 2), (1, 2))
    assert_close(up.ravel(), np.array([0.0, 2, 0, 0, 5, 0]), what="out")
    dx = level.max_unpool2d_backward(np.arange(6.0).reshape(up.shape), cache)
    assert_close(dx.ravel(), np.array([1.0, 1, 4]), what="dx")
    indices[...] = 0
    assert_close(level.max_unpool2d_backward(np.arange(6.0).reshape(up.shape), cache), dx, what="after a change")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    x = rng(5).standard_normal((2, 4, 5, 6))
    for op, args in (("max_pool2d", (2,)), ("max_pool2d", ((3, 2), 1, 1)), ("avg_pool2d", ((2, 3), 2, 1)),
                     ("adaptive_avg_pool2d", ((2, 4),)), ("global_avg_pool2d", ()), ("flatten", (2,))):
        assert_layouts(with_arguments(level, op, args), [x], f_backward=getattr(level, op + "_backward"))
    indices = level.max_pool2d_indices(level.max_pool2d(x, 2)[1])
    assert_layouts(lambda v: level.max_unpool2d(v, indices, 2, output_size=(5, 6)), [x[:, :, :2, :3].copy()],
                   f_backward=level.max_unpool2d_backward)


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """A kernel that is none."""
    for value in (0, 1.5, (1, 2, 3), None):
        expect_value_error("kernel_size", level.MaxPool2d, value)
        expect_value_error("kernel_size", level.AvgPool2d, value)
