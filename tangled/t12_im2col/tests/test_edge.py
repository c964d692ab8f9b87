# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:8aea4f2c74491305
"""Chapter 12: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import level1_naive as loops
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of conv_transpose2d that are right, but for the changes."""
    return {"x": ones((2, 4, 5, 6)), "w": ones((4, 3, 3, 2)), "b": ones(6), "groups": 2, **changes}


REFUSED = [("x", value) for value in (ones((4, 5, 6)), ones((2, 4, 5, 6), int))]
REFUSED += [("w", value) for value in (ones((4, 3, 3)), ones((3, 3, 3, 2)), ones((4, 3, 0, 2)), ones((4, 3, 3, 2), int),
                                       ones((4, 3, 3, 2), np.float32))]
REFUSED += [("b", value) for value in (ones(3), ones((6, 1)), ones(6, int), ones(6, np.float32))]
REFUSED += [("groups", value) for value in (0, 3, 1.0)]
REFUSED += [(name, value) for name in ("stride", "dilation") for value in (0, 1.5, (1, 2, 3), None)]
REFUSED += [("padding", value) for value in (-1, (1, 2, 3), "same", 4, (0, 0, 4, 4))]
REFUSED += [("output_padding", value) for value in (-1, 1, (0, 1), 0.5)]


@pytest.mark.parametrize("argument, value", REFUSED)
def test_transposed_refuses(level, argument, value):
    """Wrong shapes and dtypes, numbers out of range, padding that leaves nothing."""
    expect_value_error(argument, level.conv_transpose2d, **valid(**{argument: value}))


@pytest.mark.parametrize("argument, value", [
    ("x", ones((3, 4))), ("w", ones((6, 4, 3, 2))), ("b", ones(5)), ("stride", 0), ("padding", "valid"),
    ("dilation", 0), ("groups", 3), ("w", ones((6, 2, 3, 2), np.float32))])
def test_convolution_refuses(level, argument, value):
    """The checks are those of chapter 11."""
    good = {"x": ones((2, 4, 5, 6)), "w": ones((6, 2, 3, 2)), "b": ones(6), "groups": 2}
    expect_value_error(argument, level.conv2d, **{**good, argument: value})


@pytest.mark.parametrize("f, args, text", [
    ("im2col", (ones((1, 1, 2, 5)), 3), "kernel covers 3 entries of the height, dilation included; expected at most "
                                        "2, the 2 there are and the padding"),
    ("col2im", (ones((1, 5, 4)), (3, 3), 2), "columns has shape (1, 5, 4); expected a multiple of 4, the size of the "
                                             "kernel, as its second axis"),
    ("col2im", (ones((1, 8, 5)), (3, 3), 2), "columns has shape (1, 8, 5); expected 4 columns, 2 x 2 windows in 3 x 3"),
    ("conv_transpose2d", (ones((1, 1, 2, 2)), ones((1, 1, 2, 2)), None, 2, 0, 2),
     "output_padding = 2; expected less than the stride or the dilation"),
    ("conv_transpose2d", (ones((1, 1, 2, 2)), ones((1, 1, 2, 2)), None, 1, 2),
     "padding = 2; expected less, the output would be -1 x -1")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_columns_refuse(level):
    """Columns and sizes that are none."""
    expect_value_error("columns", level.col2im, ones((4, 4)), (3, 3), 2)
    expect_value_error("columns", level.col2im, ones((1, 4, 4), int), (3, 3), 2)
    expect_value_error("size", level.col2im, ones((1, 4, 4)), (0, 3), 2)
    expect_value_error("kernel", level.im2col, ones((1, 1, 3, 3)), 0)


def test_backward_refuses(level):
    """A dout that would broadcast, and one of integers."""
    for f in ("conv_transpose2d", "conv2d"):
        w = ones((4, 3, 3, 2)) if f == "conv_transpose2d" else ones((6, 2, 3, 2))
        out, cache = getattr(level, f)(**valid(w=w))
        for dout in (out[:1], out[:, :1], out[..., :1], out.astype(int)):
            expect_value_error("dout", getattr(level, f + "_backward"), dout, cache)


@pytest.mark.parametrize("shape, kernel, padding", [((0, 2, 5, 4), (3, 2), 0), ((1, 2, 1, 1), (1, 1), 0),
                                                    ((2, 2, 3, 2), (3, 2), 0), ((1, 2, 1, 6), (2, 3), (1, 0))])
def test_small(level, shape, kernel, padding):
    """No pictures, one pixel, a kernel as large as the picture, a single row: there and back."""
    x, w = rng(0).standard_normal(shape), rng(1).standard_normal((3, 2, *kernel))
    out, cache = level.conv2d(x, w, ones(3), padding=padding)
    dx, dw, db = level.conv2d_backward(out, cache)
    assert dx.shape == shape and dw.shape == w.shape
    assert_close(db, out.sum((0, 2, 3)), what="db")
    up, cache = level.conv_transpose2d(out, w, padding=padding)
    assert up.shape == shape
    assert_close(up, dx, tol=1e-10, what="transposed")
    if not len(x):
        assert_close(dw, np.zeros(w.shape), what="dw of no pictures")
        assert_close(level.conv_transpose2d_backward(up, cache)[1], np.zeros(w.shape), what="dw of no pictures")
        assert level.im2col(x, kernel).shape == (0, 12, 9)
        assert level.col2im(level.im2col(x, kernel), (5, 4), kernel).shape == shape


def test_columns_are_a_copy(level):
    """Even those of a 1 x 1 kernel, which could be a view of the picture."""
    x = rng(2).standard_normal((2, 3, 4, 5))
    columns = level.im2col(x, 1)
    assert_close(columns, x.reshape(2, 3, 20), what="columns")
    assert not np.shares_memory(columns, x)
    back = level.col2im(columns, (4, 5), 1)
    assert not np.shares_memory(back, columns)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_stays_in_its_windows(level, value):
    """It reaches the outputs whose window holds it, all filters, no other picture."""
    x = rng(4).standard_normal((2, 2, 6, 7))
    x[0, 1, 2, 3] = value
    out, _ = level.conv2d(x, rng(5).uniform(0.5, 1, (3, 2, 3, 3)))
    reached = np.zeros((2, 3, 4, 5), bool)
    reached[0, :, 0:3, 1:4] = True
    assert_close((~np.isfinite(out)).astype(float), reached.astype(float), what="where it is not finite")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("stride", [1, 2])
def test_not_a_number_on_the_way_back(level, value, stride):
    """Of x it reaches the weights that met it, of dout its window and its filter; nothing else, and nothing less."""
    w, options = rng(30).uniform(0.5, 1, (3, 2, 3, 3)), {"stride": stride, "padding": 1}
    x = rng(31).uniform(0.5, 1, (2, 2, 5, 6))
    out, _ = level.conv2d(x, w, **options)
    spoilt, dout = x.copy(), rng(32).uniform(0.5, 1, out.shape)
    spoilt[1, 0, 0, 0] = value                                  # a corner: no window holds it at offset 2
    _, dw = level.conv2d_backward(dout, level.conv2d(spoilt, w, **options)[1])
    expected = np.zeros(w.shape)
    expected[:, 0, :2, :2] = 1 if stride == 1 else [[0, 0], [0, 1]]
    assert_close((~np.isfinite(dw)).astype(float), expected, what="where dw is not finite, for x")
    dout[1, 2, 1, 2] = value
    dx, dw = level.conv2d_backward(dout, level.conv2d(x, w, **options)[1])
    reached, a, e = np.zeros(x.shape), stride - 1, 2 * stride - 1
    reached[1, :, a:a + 3, e:e + 3] = 1
    assert_close((~np.isfinite(dx)).astype(float), reached, what="where dx is not finite")
    expected = np.zeros(w.shape)
    expected[2] = 1
    assert_close((~np.isfinite(dw)).astype(float), expected, what="where dw is not finite, for dout")
    with np.errstate(invalid="ignore"):
        up, _ = level.conv_transpose2d(dout, w, stride=stride, padding=1, output_padding=(0, stride - 1))
    assert_close((~np.isfinite(up)).astype(float), reached, what="where the transposed one is not finite")


@pytest.mark.parametrize("options", [{}, {"stride": (1, 2), "padding": (1, 0, 0, 1)}, {"stride": 2, "padding": 1}])
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (4, 5)])
def test_an_infinity_meets_the_weights_it_met(level, options, place):
    """Kernels of other sizes, two groups, three pictures: dw is infinite where that of the loops is."""
    x, w = rng(33).uniform(0.5, 1, (3, 4, 5, 6)), rng(34).uniform(0.5, 1, (4, 2, 2, 3))
    x[1, 1][place] = np.inf
    found = []
    for module in (loops, level):
        out, cache = module.conv2d(x, w, groups=2, **options)
        dw = module.conv2d_backward(np.ones(out.shape), cache)[1]
        found.append([(~np.isfinite(a)).astype(float) for a in (out, dw)])
    for want, got, what in zip(*found, ("out", "dw")):
        assert_close(got, want, tol=0, what=f"where {what} is not finite")


@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_memory_layouts(level, kind):
    """What counts is the array, not how it lies in memory."""
    shape = (4, 3, 3, 2) if kind == "conv_transpose2d" else (6, 2, 3, 2)
    options = {"stride": (1, 2), "padding": (1, 0, 0, 1), "groups": 2}
    assert_layouts(lambda x, w: getattr(level, kind)(x, w, None, **options),
                   [rng(6).standard_normal((2, 4, 5, 6)), rng(7).standard_normal(shape)],
                   f_backward=getattr(level, kind + "_backward"))
    x = rng(8).standard_normal((2, 3, 5, 6))
    assert_layouts(lambda x: level.im2col(x, (2, 3), 2, 1), [x])
    columns = level.im2col(x, (2, 3), 2, 1)
    assert_layouts(lambda columns: level.col2im(columns, (5, 6), (2, 3), 2, 1), [columns])


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes that are none, groups that do not divide."""
    for args, name in (((0, 4, 3), "in_channels"), ((4, 1.5, 3), "out_channels"), ((4, 4, 0), "kernel_size")):
        expect_value_error(name, level.Conv2d, *args)
        expect_value_error(name, level.ConvTranspose2d, *args)
    expect_value_error("groups", level.Conv2d, 4, 6, 3, groups=3)
