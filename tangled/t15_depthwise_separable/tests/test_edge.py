# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:fedd815d6b56a202
"""Chapter 15: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
GOOD = {"depthwise_conv2d": {"x": ones((2, 3, 5, 6)), "w": ones((6, 1, 3, 2)), "b": ones(6)},
        "pointwise_conv2d": {"x": ones((2, 3, 5, 6)), "w": ones((4, 3)), "b": ones(4)},
        "causal_conv1d": {"x": ones((2, 3, 7)), "w": ones((4, 3, 2)), "b": ones(4)},
        "squeeze_excite": {"x": ones((2, 3, 5, 6)), "w1": ones((3, 4)), "b1": ones(4), "w2": ones((4, 3)),
                           "b2": ones(3)}}
REFUSED = [(kind, "x", value) for kind in GOOD for value in (ones((2, 5)), ones(GOOD[kind]["x"].shape, int))]
REFUSED += [(kind, name, GOOD[kind][name].astype(wrong)) for kind in GOOD for name in GOOD[kind] if name != "x"
            for wrong in (int, np.float32)]
REFUSED += [(kind, "b", value) for kind in list(GOOD)[:3] for value in (ones(3), ones((4, 1)))]
REFUSED += [("depthwise_conv2d", "w", value) for value in (ones((4, 1, 3, 2)), ones((6, 3, 3, 2)), ones((6, 1, 0, 2)),
                                                           ones((0, 1, 3, 2)), ones((6, 3, 2)))]
REFUSED += [("depthwise_conv2d", name, value) for name in ("stride", "dilation") for value in (0, 1.5, (1, 2, 3))]
REFUSED += [("depthwise_conv2d", "padding", value) for value in (-1, "valid", (1, 2, 3))]
REFUSED += [("pointwise_conv2d", "w", value) for value in (ones((4, 2)), ones((4, 3, 1)), ones((0, 3)))]
REFUSED += [("causal_conv1d", "w", value) for value in (ones((4, 2, 2)), ones((4, 3)), ones((4, 3, 0)))]
REFUSED += [("causal_conv1d", "dilation", value) for value in (0, 1.0, (1, 2))]
REFUSED += [("squeeze_excite", name, value) for name, value in (
    ("w1", ones((4, 3))), ("b1", ones(3)), ("w2", ones((3, 4))), ("b2", ones(4)), ("w1", ones((3, 0))),
    ("x", ones((2, 3, 0, 6))))]


@pytest.mark.parametrize("kind, argument, value", REFUSED)
def test_refuses(level, kind, argument, value):
    """Wrong shapes and dtypes, numbers out of range."""
    expect_value_error(argument, getattr(level, kind), **{**GOOD[kind], argument: value})


@pytest.mark.parametrize("kind, changes, text", [
    ("depthwise_conv2d", {"w": ones((4, 1, 3, 2))},
     "w has shape (4, 1, 3, 2); expected (C * M, 1, KH, KW) with C = 3, the channels of x"),
    ("depthwise_conv2d", {"dilation": 3}, "kernel covers 7 entries of the height, dilation included; expected at most "
                                          "5, the 5 there are and the padding"),
    ("pointwise_conv2d", {"w": ones((4, 2))}, "w has shape (4, 2); expected (F, 3), the channels of x"),
    ("causal_conv1d", {"b": ones(3)}, "b has shape (3,); expected (4,)"),
    ("squeeze_excite", {"w2": ones((3, 4))}, "w2 has shape (3, 4); expected (4, 3)")])
def test_messages(level, kind, changes, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, kind)(**{**GOOD[kind], **changes})
    assert str(caught.value) == text


@pytest.mark.parametrize("kind", GOOD)
def test_backward_refuses(level, kind):
    """A dout that would broadcast, and one of integers."""
    out, cache = getattr(level, kind)(**GOOD[kind])
    for dout in (out[:1], out[:, :1], out[..., :1], out.astype(int)):
        expect_value_error("dout", getattr(level, kind + "_backward"), dout, cache)


@pytest.mark.parametrize("kind, shapes", [
    ("depthwise_conv2d", ((0, 3, 5, 6), (6, 1, 3, 2), 6)), ("depthwise_conv2d", ((1, 1, 1, 1), (1, 1, 1, 1), 1)),
    ("depthwise_conv2d", ((2, 3, 3, 2), (3, 1, 3, 2), 3)), ("pointwise_conv2d", ((0, 3, 4, 5), (2, 3), 2)),
    ("pointwise_conv2d", ((1, 1, 1, 1), (1, 1), 1)), ("causal_conv1d", ((0, 3, 4), (2, 3, 2), 2)),
    ("causal_conv1d", ((1, 1, 1), (1, 1, 1), 1)), ("causal_conv1d", ((2, 3, 1), (2, 3, 4), 2)),
    ("causal_conv1d", ((2, 3, 0), (2, 3, 4), 2)),
    ("squeeze_excite", ((0, 3, 4, 5), (3, 2), 2, (2, 3), 3)), ("squeeze_excite", ((1, 1, 1, 1), (1, 1), 1, (1, 1), 1))])
def test_small(level, kind, shapes):
    """No pictures, one pixel, a series shorter than the kernel: there and back."""
    inputs = [rng(k).standard_normal(shape) for k, shape in enumerate(shapes)]
    out, cache = getattr(level, kind)(*inputs)
    grads = getattr(level, kind + "_backward")(out, cache)
    assert [g.shape for g in grads] == [a.shape for a in inputs]
    if kind != "squeeze_excite":
        assert_close(grads[2], out.sum(axis=(0, *range(2, out.ndim))), what="db")
    if not out.size:
        assert_close(grads[1], np.zeros(shapes[1]), what="dw of nothing")


def test_no_channels(level):
    """Channels that are none have no multiplier."""
    expect_value_error("x", level.depthwise_conv2d, ones((2, 0, 4, 4)), ones((6, 1, 3, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_stays_in_its_channel(level, value):
    """Depthwise: in the outputs of its channel, in its windows; causal: at its time and later, in its series."""
    x = rng(4).standard_normal((2, 3, 6, 7))
    x[0, 1, 2, 3] = value
    out, _ = level.depthwise_conv2d(x, rng(5).uniform(0.5, 1, (6, 1, 3, 3)))
    reached = np.zeros((2, 6, 4, 5))
    reached[0, 2:4, 0:3, 1:4] = 1
    assert_close((~np.isfinite(out)).astype(float), reached, what="where it is not finite")
    series = rng(6).standard_normal((2, 3, 9))
    series[1, 2, 4] = value
    out, _ = level.causal_conv1d(series, rng(7).uniform(0.5, 1, (4, 3, 2)), None, 3)
    reached = np.zeros((2, 4, 9))
    reached[1, :, [4, 7]] = 1
    assert_close((~np.isfinite(out)).astype(float), reached, what="where the series is not finite")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_on_the_way_back(level, value):
    """Of x it reaches the weights that met it, of dout what it was computed from; nothing else, and nothing less."""
    where = lambda a: (~np.isfinite(a)).astype(float)
    x, w = rng(30).uniform(0.5, 1, (1, 2, 5, 6)), rng(31).uniform(0.5, 1, (4, 1, 3, 3))
    spoilt, dout = x.copy(), rng(32).uniform(0.5, 1, (1, 4, 5, 6))
    spoilt[0, 1, 0, 0] = value                                  # a corner: no window holds it at offset 2
    _, dw = level.depthwise_conv2d_backward(dout, level.depthwise_conv2d(spoilt, w, None, 1, 1)[1])
    expected = np.zeros(w.shape)
    expected[2:, :, :2, :2] = 1
    assert_close(where(dw), expected, what="depthwise dw, for x")
    dout[0, 1, 1, 2] = value
    dx, dw = level.depthwise_conv2d_backward(dout, level.depthwise_conv2d(x, w, None, 1, 1)[1])
    reached = np.zeros(x.shape)
    reached[0, 0, 0:3, 1:4] = 1
    assert_close(where(dx), reached, what="depthwise dx")
    assert_close(where(dw[:, 0, 0, 0]), np.array([0.0, 1, 0, 0]), what="depthwise dw, for dout")
    w, dout = rng(33).uniform(0.5, 1, (3, 2)), rng(34).uniform(0.5, 1, (1, 3, 5, 6))
    dw = level.pointwise_conv2d_backward(dout, level.pointwise_conv2d(spoilt, w)[1])[1]
    assert_close(where(dw), np.array([[0.0, 1]] * 3), what="pointwise dw, for x")
    dout[0, 2, 4, 1] = value
    dx, dw = level.pointwise_conv2d_backward(dout, level.pointwise_conv2d(x, w)[1])
    reached = np.zeros(x.shape)
    reached[0, :, 4, 1] = 1
    assert_close(where(dx), reached, what="pointwise dx")
    assert_close(where(dw), np.array([[0.0, 0], [0, 0], [1, 1]]), what="pointwise dw, for dout")
    x, w = rng(35).uniform(0.5, 1, (2, 2, 9)), rng(36).uniform(0.5, 1, (3, 2, 2))
    spoilt, dout = x.copy(), rng(37).uniform(0.5, 1, (2, 3, 9))
    spoilt[1, 0, 2] = value
    dw = level.causal_conv1d_backward(dout, level.causal_conv1d(spoilt, w, None, 3)[1])[1]
    assert_close(where(dw), np.array([[[1.0, 1], [0, 0]]] * 3), what="causal dw, for x")
    spoilt = x.copy()
    spoilt[0, 1, 8] = value                                     # the last time: only the last weight reads it
    dw = level.causal_conv1d_backward(dout, level.causal_conv1d(spoilt, w, None, 3)[1])[1]
    assert_close(where(dw), np.array([[[0.0, 0], [0, 1]]] * 3), what="causal dw, for the last x")
    dout[0, 1, 5] = value
    dx, dw = level.causal_conv1d_backward(dout, level.causal_conv1d(x, w, None, 3)[1])
    reached = np.zeros(x.shape)
    reached[0, :, [2, 5]] = 1
    assert_close(where(dx), reached, what="causal dx")
    assert_close(where(dw[:, 0, 0]), np.array([0.0, 1, 0]), what="causal dw, for dout")


@pytest.mark.parametrize("kind", GOOD)
def test_memory_layouts(level, kind):
    """What counts is the array, not how it lies in memory."""
    options = {"depthwise_conv2d": {"stride": (1, 2), "padding": (1, 0, 0, 1)}, "causal_conv1d": {"dilation": 2}}
    x, *inputs = [rng(k).standard_normal(array.shape) for k, array in enumerate(GOOD[kind].values())]
    op, backward = lambda *inputs: getattr(level, kind)(*inputs, **options.get(kind, {})), f"{kind}_backward"
    assert_layouts(op, [x, *inputs], f_backward=getattr(level, backward))
    results = []
    for one in (x[:1], np.asfortranarray(x[:1])):               # of a single picture each slice is Fortran's, too
        out, cache = op(one, *inputs)
        results.append((out, *getattr(level, backward)(np.cos(out), cache)))
    for want, got in zip(*results, strict=True):
        assert_close(got, want, tol=1e-12, what="of one picture")
