# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:040d968b086fd82a
"""Chapter 15: shapes, values and gradients of the ops."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import level1_naive as loops
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, rng

KINDS = {"plain": "depthwise_conv2d", "multiplier": "depthwise_conv2d", "knobs": "depthwise_conv2d",
         "same": "depthwise_conv2d", "pointwise": "pointwise_conv2d", "causal": "causal_conv1d",
         "dilated": "causal_conv1d", "longer-than-the-past": "causal_conv1d", "excite": "squeeze_excite"}
SHAPES = {"depthwise_conv2d": ((2, 3, 5, 6), (6, 1, 2, 3), 6), "pointwise_conv2d": ((2, 3, 4, 5), (6, 3), 6),
          "causal_conv1d": ((2, 3, 7), (4, 3, 2), 4), "squeeze_excite": ((2, 5, 3, 4), (5, 3), 3, (3, 5), 5)}


def draws(kind, dtype=float):
    """Inputs of an op, standard normal."""
    return [rng(k).standard_normal(shape).astype(dtype) for k, shape in enumerate(SHAPES[kind])]


@pytest.mark.value
@pytest.mark.parametrize("name", KINDS)
def test_golden_values(level, golden, name):
    """Values by PyTorch; with and without b."""
    case = golden(name)
    op = getattr(level, KINDS[name])
    assert_close(op(**case.inputs)[0], case.outputs["out"], what="out")
    if name != "excite":
        b = case.inputs["b"].reshape(-1, *(1,) * (case.outputs["out"].ndim - 2))
        assert_close(op(**{**case.inputs, "b": None})[0], case.outputs["out"] - b, what="out without b")


@pytest.mark.gradient
@pytest.mark.parametrize("name", KINDS)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights; with and without b."""
    case = golden(name)
    op, backward = getattr(level, KINDS[name]), getattr(level, KINDS[name] + "_backward")
    grads = backward(case.upstream["out"], op(**case.inputs)[1])
    for got, wrt in zip(grads, ("x", "w1", "b1", "w2", "b2") if name == "excite" else "xwb", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)
    if name != "excite":
        without = backward(case.upstream["out"], op(**{**case.inputs, "b": None})[1])
        for got, wrt in zip(without, "xw", strict=True):
            assert_close(got, case.grads[wrt], what="d" + wrt + " without b")


@pytest.mark.gradient
@pytest.mark.parametrize("kind, options", [
    ("depthwise_conv2d", {}), ("depthwise_conv2d", {"stride": (2, 1), "padding": (1, 0, 2, 1), "dilation": (1, 2)}),
    ("pointwise_conv2d", {}), ("causal_conv1d", {"dilation": 3}), ("squeeze_excite", {})])
def test_central_differences(level, kind, options):
    """Every entry of every gradient."""
    op = getattr(level, kind)
    check_gradients(lambda *inputs: op(*inputs, **options), getattr(level, kind + "_backward"), draws(kind))


@pytest.mark.value
@pytest.mark.parametrize("seed", range(12))
def test_random_geometries(level, seed):
    """All knobs at random: a convolution with as many groups as channels, by chapter 11's loops."""
    draw = rng(300 + seed)
    (c, m), (kh, kw) = draw.integers(1, 4, 2), draw.integers(1, 4, 2)
    same = seed % 4 == 0
    options = {"stride": 1 if same else tuple(draw.integers(1, 4, 2).tolist()),
               "dilation": tuple(draw.integers(1, 4, 2).tolist()),
               "padding": "same" if same else tuple(draw.integers(0, 4, 4).tolist())}
    x, w = draw.standard_normal((2, c, *draw.integers(7, 9, 2))), draw.standard_normal((c * m, 1, kh, kw))
    b = draw.standard_normal(c * m)
    out, cache = level.depthwise_conv2d(x, w, b, **options)
    expected, of_loops = loops.conv2d(x, w, b, groups=int(c), **options)
    assert_close(out, expected, tol=1e-10, what="out")
    dout = draw.standard_normal(out.shape)
    grads = level.depthwise_conv2d_backward(dout, cache)
    for got, want, name in zip(grads, loops.conv2d_backward(dout, of_loops), "xwb", strict=True):
        assert_close(got, want, tol=1e-10, what="d" + name)


@pytest.mark.value
def test_one_geometry_after_another(level):
    """Gaps between windows; and the same padded picture, kernel and stride with another dilation, padding, dtype."""
    w = rng(40).standard_normal((4, 1, 2, 3))
    for size, options in (((9, 11), {"stride": (4, 5)}), ((9, 11), {"stride": (5, 4), "padding": 1}),
                          ((9, 11), {"stride": (4, 5), "dilation": 2}), ((7, 9), {"stride": (4, 5), "padding": 1}),
                          ((7, 9), {"stride": (4, 5), "padding": (0, 2, 2, 0)}), ((9, 11), {"stride": (4, 5)})):
        for dtype in (np.float32, np.float64):
            x = rng(41).standard_normal((2, 2, *size)).astype(dtype)
            out, cache = level.depthwise_conv2d(x, w.astype(dtype), **options)
            expected, of_loops = loops.conv2d(x, w.astype(dtype), groups=2, **options)
            grads = level.depthwise_conv2d_backward(np.cos(out), cache)
            wanted = loops.conv2d_backward(np.cos(out), of_loops)
            for got, want, name in zip((out, *grads), (expected, *wanted), ("out", "dx", "dw"), strict=True):
                assert_close(got, want, tol=1e-5 if dtype == np.float32 else 1e-10, what=f"{name}, {options}")


@pytest.mark.value
@pytest.mark.parametrize("kind, shapes", [("depthwise_conv2d", ((2, 3, 3, 4), (3, 1, 2, 2))), (
    "pointwise_conv2d", ((2, 3, 3, 4), (3, 3))), ("causal_conv1d", ((2, 3, 3), (3, 3, 2)))])
def test_bias_of_zeros(level, kind, shapes):
    """Zero or partly zero, it is still one: added to its channel on sizes that hide the axis, with a gradient."""
    x, w = (rng(k).standard_normal(shape) for k, shape in enumerate(shapes))
    op, backward = getattr(level, kind), getattr(level, kind + "_backward")
    bare, _ = op(x, w)
    for b in (np.zeros(3), np.array([0.0, 2, 0])):
        out, cache = op(x, w, b)
        assert_close(out, bare + b.reshape(3, *[1] * (x.ndim - 2)), tol=1e-12, what="out")
        *_, db = backward(out, cache)
        assert_close(db, out.sum(axis=(0, *range(2, x.ndim))), tol=1e-12, what="db")


@pytest.mark.value
def test_sums_in_float32(level):
    """float16: 2048 + 1 is 2048, and the ones must not be lost in any of the sums, nor the bias."""
    half = lambda *shape: np.ones(shape, np.float16)
    peak, one = np.array([2048, 1], np.float16), half(1)
    for kind, x, w in (("depthwise_conv2d", peak.reshape(1, 1, 1, 2), half(1, 1, 1, 2)),
                       ("pointwise_conv2d", peak.reshape(1, 2, 1, 1), half(1, 2)),
                       ("causal_conv1d", peak.reshape(1, 1, 2), half(1, 1, 2)),
                       ("causal_conv1d", peak.reshape(1, 2, 1), half(1, 2, 1))):
        assert getattr(level, kind)(x, w, one)[0].ravel()[-1] == 2050, kind
    dout = np.array([1, 2048, 1], np.float16)
    for kind, w, *size in (("depthwise_conv2d", half(2, 1, 1, 1), 1, 1), ("pointwise_conv2d", half(2, 2), 1, 1),
                           ("causal_conv1d", half(2, 2, 1), 1)):
        op, backward = getattr(level, kind), getattr(level, kind + "_backward")
        _, cache = op(half(3, 2, *size), w, half(2))
        for grad in backward(dout.reshape(3, 1, *size).repeat(2, axis=1), cache)[1:]:
            assert_close(grad, np.full(grad.shape, 2050, np.float16), tol=0, what=f"{kind}: a sum over the batch")
        dx, *_ = backward(dout.reshape(1, 3, *size), op(half(1, 1, *size), w[:1, :1].repeat(3, axis=0))[1])
        assert dx.item() == 2050, f"{kind}: a sum over the filters"


@pytest.mark.gradient
@pytest.mark.parametrize("kind", SHAPES)
def test_seven_samples(level, kind):
    """A batch is its samples side by side; what they share has the sum of their gradients."""
    x, *weights = draws(kind)
    x = rng(50).standard_normal((7, *x.shape[1:]))
    op, backward = getattr(level, kind), getattr(level, kind + "_backward")
    out, cache = op(x, *weights)
    dout = rng(51).standard_normal(out.shape)
    dx, *shared = backward(dout, cache)
    alone = [op(x[n:n + 1], *weights) for n in range(7)]
    grads = [backward(dout[n:n + 1], kept) for n, (_, kept) in enumerate(alone)]
    assert_close(out, np.concatenate([o for o, _ in alone]), tol=1e-10, what="out")
    assert_close(dx, np.concatenate([g[0] for g in grads]), tol=1e-10, what="dx")
    for got, *parts in zip(shared, *(g[1:] for g in grads), strict=True):
        assert_close(got, sum(parts), tol=1e-10, what="a gradient of weights")


@pytest.mark.value
def test_means_of_large_sums_in_float16(level):
    """A hundred pixels of 1,000: their sum is beyond float16, their mean is not, and shuts the channel."""
    x = np.full((1, 1, 10, 10), 1000, np.float16)
    w1, b1, w2, b2 = (np.full((1,) * ndim, value, np.float16) for ndim, value in ((2, 1), (1, -998), (2, -1), (1, 0)))
    out, _ = level.squeeze_excite(x, w1, b1, w2, b2)
    assert_close(out.astype(float), np.full(x.shape, 1000 / (1 + np.exp(2))), tol=1e-3, what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("kind, shapes", [
    ("depthwise_conv2d", ((3, 3, 3, 3), (3, 1, 3, 3), 3)), ("pointwise_conv2d", ((3, 3, 3, 3), (3, 3), 3)),
    ("causal_conv1d", ((3, 3, 3), (3, 3, 3), 3)), ("squeeze_excite", ((3, 3, 3, 3), (3, 3), 3, (3, 3), 3)),
    ("depthwise_conv2d", ((2, 2, 6, 7), (4, 1, 4, 5), 4)), ("causal_conv1d", ((2, 3, 9), (4, 3, 5), 4))])
def test_sizes_that_hide_an_axis(level, kind, shapes):
    """Every size is three; and kernels of four and five: values and gradients as by level 1."""
    from tangled.t15_depthwise_separable import level1_naive
    inputs = [rng(52 + k).standard_normal(shape) for k, shape in enumerate(shapes)]
    results = []
    for module in (level1_naive, level):
        out, cache = getattr(module, kind)(*inputs)
        results.append((out, *getattr(module, kind + "_backward")(np.cos(out), cache)))
    for want, got in zip(*results, strict=True):
        assert_close(got, want, tol=1e-10, what="values or a gradient")


@pytest.mark.value
def test_arguments_in_their_order(level):
    """By place they mean what they mean by name."""
    x, w, b = (rng(k).standard_normal(s) for k, s in enumerate([(2, 2, 7, 8), (4, 1, 2, 3), 4]))
    options = {"stride": (1, 2), "padding": (2, 1), "dilation": (3, 2)}
    out = level.depthwise_conv2d(x, w, b, **options)[0]
    assert_close(level.depthwise_conv2d(x, w, b, *options.values())[0], out, tol=0, what="depthwise")
    series, w = x[:, :, 0], w[:, 0]
    assert_close(level.causal_conv1d(series, w, b, 2)[0], level.causal_conv1d(series, w, b, dilation=2)[0], tol=0,
                 what="causal")
    assert np.abs(level.causal_conv1d(series, w, b)[0] - level.causal_conv1d(series, w, b, 2)[0]).max() > 0.1


@pytest.mark.value
def test_worked_trace(level):
    """The row of the chapter's trace, forward and backward."""
    x, w = np.array([1.0, 2, 3]).reshape(1, 1, 1, 3), np.array([[1.0, 10], [0, -1]]).reshape(2, 1, 1, 2)
    out, cache = level.depthwise_conv2d(x, w)
    assert_close(out[0, :, 0], np.array([[21.0, 32], [-2, -3]]), what="y")
    dx, dw = level.depthwise_conv2d_backward(np.array([[1.0, 0], [0, 2]]).reshape(1, 2, 1, 2), cache)
    assert_close(dw[:, 0, 0], np.array([[1.0, 2], [4, 6]]), what="dw")
    assert_close(dx.ravel(), np.array([1.0, 10, -2]), what="dx")


@pytest.mark.value
def test_multiplier_by_hand(level):
    """Kernels of one weight: output c * M + m is channel c times weight c * M + m."""
    x = rng(3).standard_normal((2, 3, 2, 4))
    scale = np.array([1.0, 2, 3, 4, 5, 6])
    out, _ = level.depthwise_conv2d(x, scale.reshape(6, 1, 1, 1))
    expected = np.stack([x[:, 0], 2 * x[:, 0], 3 * x[:, 1], 4 * x[:, 1], 5 * x[:, 2], 6 * x[:, 2]], axis=1)
    assert_close(out, expected, what="out")


@pytest.mark.value
def test_causality(level):
    """A change at time s changes nothing before s, and something at s and (K - 1) d later."""
    x, w = rng(4).standard_normal((2, 3, 12)), rng(5).uniform(0.5, 1, (4, 3, 3))
    base, _ = level.causal_conv1d(x, w, None, 2)
    for s in (0, 4, 11):
        moved = x.copy()
        moved[:, :, s] += 1
        change = np.abs(level.causal_conv1d(moved, w, None, 2)[0] - base).sum(axis=(0, 1))
        expected = np.zeros(12)
        for k in range(3):
            if s + 2 * k < 12:
                expected[s + 2 * k] = 2 * w[:, :, 2 - k].sum()  # two series
        assert_close(change, expected, tol=1e-10, what=f"change after one at {s}")


@pytest.mark.value
def test_excite_of_zeros(level):
    """Zero weights weigh every channel by one half; the bias alone by its sigmoid, far out too."""
    x, b2 = rng(6).standard_normal((2, 3, 4, 5)), np.array([-800.0, 0.5, 800.0])
    nothing = np.zeros((3, 2)), np.zeros(2), np.zeros((2, 3))
    assert_close(level.squeeze_excite(x, *nothing, np.zeros(3))[0], x / 2, what="out")
    with np.errstate(over="raise", invalid="raise"):
        out, cache = level.squeeze_excite(x, *nothing, b2)
    assert_close(out, x * np.array([0.0, 1 / (1 + np.exp(-0.5)), 1.0])[:, None, None], what="out")
    assert np.isfinite(level.squeeze_excite_backward(out, cache)[0]).all()


@pytest.mark.gradient
@pytest.mark.parametrize("kind", SHAPES)
def test_called_twice(level, kind):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    assert_repeatable(getattr(level, kind), draws(kind), f_backward=getattr(level, kind + "_backward"))


@pytest.mark.value
@pytest.mark.parametrize("kind", SHAPES)
def test_dtypes(level, kind):
    """Sums of float16 are formed in float32; large and small numbers in every dtype."""
    inputs = [array / 4 for array in draws(kind)]
    assert_dtypes(getattr(level, kind), inputs, (np.float16, np.float32, np.float64),
                  f_backward=getattr(level, kind + "_backward"), scales=(1.0, 1e-3, 1e2))


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind, shape", [("depthwise_conv2d", (2, 6, 4, 4)), ("pointwise_conv2d", (2, 6, 4, 5)),
                                         ("causal_conv1d", (2, 4, 7)), ("squeeze_excite", (2, 5, 3, 4))])
def test_shapes_and_types(level, kind, shape, dtype):
    """Shapes as the table has them; every result has the dtype of x."""
    inputs = draws(kind, dtype)
    out, cache = getattr(level, kind)(*inputs)
    grads = getattr(level, kind + "_backward")(out, cache)
    assert out.shape == shape and [g.shape for g in grads] == [a.shape for a in inputs]
    assert {a.dtype for a in (out, *grads)} == {np.dtype(dtype)}
    assert all(a.flags.c_contiguous for a in (out, *grads))
