# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:6d7db3a8610b8e3b
"""Chapter 13: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import conv2d, conv2d_backward
from tangled.t13_pooling import level1_naive as loops
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

MAX = ("max-plain", "max-overlap", "max-padding", "max-ceil", "max-ceil-dropped", "max-everything")
AVERAGE = ("avg-plain", "avg-overlap", "avg-padding", "avg-not-counted", "avg-ceil", "avg-divisor")
ADAPTIVE = ("adaptive-divides", "adaptive-overlap", "adaptive-more", "adaptive-none")
OTHERS = ("global", "unpool", "unpool-size")
OPS = {"max": "max_pool2d", "avg": "avg_pool2d", "adaptive": "adaptive_avg_pool2d", "global": "global_avg_pool2d",
       "unpool": "max_unpool2d"}


def op_of(level, name):
    """The op of a golden case and its backward pass."""
    kind = OPS[name.split("-")[0]]
    return getattr(level, kind), getattr(level, kind + "_backward")


def with_arguments(level, op, args):
    """The op of a level as a function of x alone."""
    return lambda x: getattr(level, op)(x, *args)


@pytest.mark.value
@pytest.mark.parametrize("name", MAX + AVERAGE + ADAPTIVE + OTHERS)
def test_golden_values(level, golden, name):
    """Values by PyTorch, each knob alone and all together; for maxima also their places."""
    case = golden(name)
    out, cache = op_of(level, name)[0](**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    if name in MAX:
        indices = level.max_pool2d_indices(cache)
        assert indices.dtype == np.int64
        assert_close(indices, case.outputs["indices"], tol=0, what="indices")


@pytest.mark.gradient
@pytest.mark.parametrize("name", MAX + AVERAGE + ADAPTIVE + OTHERS)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights; many ties in the inputs of max pooling."""
    case = golden(name)
    op, backward = op_of(level, name)
    assert_close(backward(case.upstream["out"], op(**case.inputs)[1]), case.grads["x"], what="dx")


TRACE = np.array([[1.0, 3, 2], [4, 6, 6], [0, 5, 7]])[None, None]


@pytest.mark.value
def test_worked_trace(level):
    """The picture of the chapter's trace: a tie, and a pixel that wins three windows."""
    dout = np.array([[1.0, 2], [3, 4]])[None, None]
    out, cache = level.max_pool2d(TRACE, 2, stride=1)
    assert_close(out[0, 0], np.array([[6.0, 6], [6, 7]]), what="y")
    assert_close(level.max_pool2d_indices(cache)[0, 0], np.array([[4, 4], [4, 8]]), tol=0, what="indices")
    assert_close(level.max_pool2d_backward(dout, cache)[0, 0], np.array([[0.0, 0, 0], [0, 6, 0], [0, 0, 4]]), what="dx")
    mean, cache = level.avg_pool2d(TRACE, 2, stride=1)
    assert_close(mean[0, 0], np.array([[14.0, 17], [15, 24]]) / 4, what="means")
    expected = np.array([[1.0, 3, 2], [4, 10, 6], [3, 7, 4]]) / 4
    assert_close(level.avg_pool2d_backward(dout, cache)[0, 0], expected, what="dx of the means")


@pytest.mark.value
@pytest.mark.parametrize("window, place", [([[1, 2], [2, 1]], 1), ([[2, 2], [2, 2]], 0), ([[0, 1], [3, 3]], 2),
                                           ([[1, 0], [0, 1]], 0), ([[0, 0], [1, 1]], 2)])
def test_first_of_equals(level, window, place):
    """In the order of memory: the upper row first, then the left column."""
    x = np.array(window, float)[None, None]
    out, cache = level.max_pool2d(x, 2)
    assert_close(level.max_pool2d_indices(cache).ravel(), np.array([place]), tol=0, what="index")
    dx = level.max_pool2d_backward(np.full(out.shape, 5.0), cache)
    assert_close(dx.ravel(), 5.0 * (np.arange(4) == place), what="dx")


SIZES = [  # size, kernel, stride, padding, dilation: rounded down, rounded up
    ((7, 3, 2, 0, 1), 3, 3), ((8, 3, 2, 0, 1), 3, 4), ((5, 2, 2, 1, 1), 3, 3), ((6, 2, 2, 1, 1), 4, 4),
    ((6, 1, 2, 0, 1), 3, 3), ((9, 3, 4, 1, 2), 2, 3), ((4, 3, 5, 0, 1), 1, 1), ((10, 2, 3, 0, 4), 2, 3),
    ((7, 4, 5, 2, 1), 2, 2), ((8, 4, 5, 2, 1), 2, 2), ((9, 4, 5, 2, 1), 2, 3)]


@pytest.mark.value
@pytest.mark.parametrize("axis, floor, ceil", SIZES)
def test_output_size(level, axis, floor, ceil):
    """By hand; a window that would begin behind the picture is left out. The ops agree."""
    got = [level.pool_output_size(*axis), level.pool_output_size(*axis, ceil_mode=True)]
    assert_close(np.array(got), np.array([floor, ceil]), tol=0, what="sizes")
    size, kernel, stride, padding, dilation = axis
    x = rng(0).standard_normal((2, 3, size, 2))
    for ceil_mode, expected in ((False, floor), (True, ceil)):
        out, _ = level.max_pool2d(x, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1), ceil_mode)
        assert out.shape == (2, 3, expected, 2)
        if dilation == 1:
            assert level.avg_pool2d(x, (kernel, 1), (stride, 1), (padding, 0), ceil_mode)[0].shape == out.shape


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes as the table has them; every result has the dtype of x; the stride is the kernel by default."""
    x = rng(1).standard_normal((2, 3, 6, 9)).astype(dtype)
    for op, args, shape in (("max_pool2d", ((3, 2),), (2, 3, 2, 4)), ("avg_pool2d", ((2, 4),), (2, 3, 3, 2)),
                            ("adaptive_avg_pool2d", ((4, 5),), (2, 3, 4, 5)),
                            ("adaptive_avg_pool2d", (4,), (2, 3, 4, 4)), ("global_avg_pool2d", (), (2, 3)),
                            ("flatten", (), (2, 162)), ("flatten", (2,), (2, 3, 54))):
        out, cache = getattr(level, op)(x, *args)
        dx = getattr(level, op + "_backward")(out, cache)
        assert (out.shape, dx.shape, out.dtype, dx.dtype) == (shape, x.shape, dtype, dtype), op
        kept = dx[1].copy()
        dx[0] = 7                                               # an array of its own, to be written
        assert_close(dx[1], kept, tol=0, what=f"{op}, dx of the other picture")
    out, cache = level.max_pool2d(x[..., :8], (3, 2))
    up, cache = level.max_unpool2d(out, level.max_pool2d_indices(cache), (3, 2))
    assert (up.shape, up.dtype, level.max_unpool2d_backward(up, cache).shape) == ((2, 3, 6, 8), dtype, out.shape)


def drawn(draw, dilated):
    """Random options of a pooling; the padding is at most half of the kernel."""
    kernel = tuple(draw.integers(1, 5, 2).tolist())
    options = {"kernel_size": kernel, "stride": tuple(draw.integers(1, 5, 2).tolist()),
               "padding": tuple(int(draw.integers(0, k // 2 + 1)) for k in kernel), "ceil_mode": bool(draw.integers(2))}
    return {**options, "dilation": tuple(draw.integers(1, 3, 2).tolist())} if dilated else options


@pytest.mark.value
@pytest.mark.parametrize("seed", range(24))
def test_random_geometries(level, seed):
    """All knobs drawn at random, ties everywhere: values, indices and gradients equal those of the loops."""
    draw = rng(300 + seed)
    x = np.round(2 * draw.standard_normal((2, 3, *draw.integers(7, 11, 2))))
    if seed % 4 == 3:
        x[draw.random(x.shape) < 0.6] = -np.inf
    options = drawn(draw, dilated=True)
    (out, cache), (expected, of_loops) = (m.max_pool2d(x, **options) for m in (level, loops))
    assert_close(out, expected, tol=0, what="out")
    indices = level.max_pool2d_indices(cache)
    assert_close(indices, loops.max_pool2d_indices(of_loops), tol=0, what="indices")
    dout = draw.standard_normal(out.shape)
    assert_close(level.max_pool2d_backward(dout, cache), loops.max_pool2d_backward(dout, of_loops), what="dx")
    x, options = draw.standard_normal(x.shape), drawn(draw, dilated=False)
    options |= {"count_include_pad": bool(draw.integers(2)), "divisor_override": [None, None, 3, -2][seed % 4]}
    (out, cache), (expected, of_loops) = (m.avg_pool2d(x, **options) for m in (level, loops))
    assert_close(out, expected, tol=1e-10, what="means")
    dout = draw.standard_normal(out.shape)
    expected = loops.avg_pool2d_backward(dout, of_loops)
    assert_close(level.avg_pool2d_backward(dout, cache), expected, tol=1e-10, what="dx of the means")


@pytest.mark.value
def test_far_apart(level):
    """An offset of 270 rows or columns, more than a byte holds: number times dilation does not wrap around."""
    draw = rng(390)
    for shape, kernel, dilation in (((1, 2, 290, 3), (4, 1), (90, 1)), ((1, 2, 3, 290), (1, 4), (1, 90))):
        x = draw.permutation(2 * 290 * 3).reshape(shape).astype(float)
        (out, cache), (expected, of_loops) = (m.max_pool2d(x, kernel, 1, 0, dilation) for m in (level, loops))
        assert_close(out, expected, tol=0, what="out")
        indices = loops.max_pool2d_indices(of_loops)
        assert_close(level.max_pool2d_indices(cache), indices, tol=0, what="indices")
        expected = loops.max_pool2d_backward(out, of_loops)
        assert_close(level.max_pool2d_backward(out, cache), expected, tol=0, what="dx")


@pytest.mark.value
@pytest.mark.parametrize("seed", range(6))
def test_random_bins(level, seed):
    """Adaptive sizes drawn at random, smaller and larger than the picture."""
    draw = rng(400 + seed)
    x, size = draw.standard_normal((2, 3, *draw.integers(2, 12, 2))), tuple(draw.integers(1, 14, 2).tolist())
    (out, cache), (expected, of_loops) = (m.adaptive_avg_pool2d(x, size) for m in (level, loops))
    assert_close(out, expected, tol=1e-10, what="out")
    dout = draw.standard_normal(out.shape)
    expected = loops.adaptive_avg_pool2d_backward(dout, of_loops)
    assert_close(level.adaptive_avg_pool2d_backward(dout, cache), expected, tol=1e-10, what="dx")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
                                     {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}])
def test_central_differences(level, options):
    """Every entry of dx, at distinct numbers: no tie within reach of a small step."""
    x = rng(2).permutation(2 * 2 * 5 * 7).reshape(2, 2, 5, 7) / 10
    check_gradients(lambda x: level.max_pool2d(x, **options), level.max_pool2d_backward, [x])
    check_gradients(lambda x: level.max_pool2d(x, dilation=(1, 2), **options), level.max_pool2d_backward, [x])
    check_gradients(lambda x: level.avg_pool2d(x, count_include_pad=False, **options), level.avg_pool2d_backward, [x])
    check_gradients(lambda x: level.adaptive_avg_pool2d(x, (3, 4)), level.adaptive_avg_pool2d_backward, [x])
    check_gradients(level.global_avg_pool2d, level.global_avg_pool2d_backward, [x])
    check_gradients(lambda x: level.flatten(x, 2), level.flatten_backward, [x])


@pytest.mark.value
@pytest.mark.parametrize("stride, padding", [(1, 0), ((2, 3), (1, 0)), ((3, 1), 1)])
def test_average_is_a_depthwise_convolution(level, stride, padding):
    """Equal weights, every channel a group: chapter 11's convolution, forward and backward."""
    x, w = rng(3).standard_normal((2, 3, 8, 7)), np.full((3, 1, 3, 2), 1 / 6)
    (out, cache), (expected, of_conv) = (level.avg_pool2d(x, (3, 2), stride, padding),
                                         conv2d(x, w, stride=stride, padding=padding, groups=3))
    assert_close(out, expected, tol=1e-10, what="out")
    dout = rng(4).standard_normal(out.shape)
    assert_close(level.avg_pool2d_backward(dout, cache), conv2d_backward(dout, of_conv)[0], tol=1e-10, what="dx")


@pytest.mark.value
def test_relations(level):
    """Bins that divide are windows; one bin is the global mean; max of -x is -min; a stride's shift commutes."""
    x = rng(5).standard_normal((2, 3, 6, 8))
    assert_close(level.adaptive_avg_pool2d(x, (3, 2))[0], level.avg_pool2d(x, (2, 4))[0], tol=1e-10, what="bins")
    mean = level.adaptive_avg_pool2d(x, 1)[0][:, :, 0, 0]
    assert_close(level.global_avg_pool2d(x)[0], mean, tol=1e-10, what="global")
    moved = np.roll(x, 4, axis=3)
    for pool in (level.max_pool2d, level.avg_pool2d):
        assert_close(pool(moved, 2)[0], np.roll(pool(x, 2)[0], 2, axis=3), tol=1e-10, what="of the shifted")
    out, cache = level.max_pool2d(x, (2, 4))
    picked = np.take_along_axis(x.reshape(2, 3, 48), level.max_pool2d_indices(cache).reshape(2, 3, 6), 2)
    assert_close(picked.reshape(out.shape), out, tol=0, what="x at the indices")
    up, kept = level.max_unpool2d(out, level.max_pool2d_indices(cache), (2, 4))
    assert_close(level.max_pool2d(np.where(up == 0, -np.inf, up), (2, 4))[0], out, tol=0, what="pooled again")
    assert_close(level.max_unpool2d_backward(up, kept), out, tol=0, what="unpool, there and back")


@pytest.mark.value
def test_flatten(level):
    """Order of memory: the last axis runs fastest; axes can be counted from the end; a copy."""
    x = rng(6).standard_normal((2, 3, 4, 5))
    for start, shape in ((1, (2, 60)), (0, (120,)), (2, (2, 3, 20)), (3, x.shape), (-2, (2, 3, 20)), (-4, (120,))):
        out, cache = level.flatten(x, start)
        assert_close(out, x.reshape(shape), tol=0, what=f"flatten from {start}")
        assert not np.shares_memory(out, x)
        dout = rng(7).standard_normal(shape)
        assert_close(level.flatten_backward(dout, cache), dout.reshape(x.shape), tol=0, what="dx")
    assert_close(level.flatten(x)[0], x.reshape(2, 60), tol=0, what="by default from 1")
    assert_close(level.flatten(x[0, 0, 0], 0)[0], x[0, 0, 0], tol=0, what="of one axis")


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    x = rng(8).permutation(2 * 3 * 5 * 6).reshape(2, 3, 5, 6) / 10
    for op, args in (("max_pool2d", (2, 1)), ("max_pool2d", (1,)), ("max_pool2d", (2, 2, 1)), ("avg_pool2d", (2,)),
                     ("avg_pool2d", (1,)), ("adaptive_avg_pool2d", (None,)), ("adaptive_avg_pool2d", ((2, 4),)),
                     ("global_avg_pool2d", ()), ("flatten", ()), ("flatten", (3,))):
        assert_repeatable(with_arguments(level, op, args), [x], f_backward=getattr(level, op + "_backward"))
    indices = level.max_pool2d_indices(level.max_pool2d(x, 2)[1])
    assert_repeatable(lambda v: level.max_unpool2d(v, indices, 2, output_size=(5, 6)), [x[:, :, :2, :3].copy()],
                      f_backward=level.max_unpool2d_backward)
    _, cache = level.max_pool2d(x, 2)
    level.max_pool2d_indices(cache)[...] = 0
    assert_close(level.max_pool2d_indices(cache), indices, tol=0, what="indices, after the first were changed")


@pytest.mark.value
def test_dtypes(level):
    """Means of float16 are formed in float32, overlapping gradients are added there."""
    x = rng(9).standard_normal((2, 3, 7, 8))
    for op, args in (("max_pool2d", (3, 1, 1)), ("avg_pool2d", (3, 1, 1)), ("adaptive_avg_pool2d", ((3, 5),)),
                     ("global_avg_pool2d", ()), ("flatten", ())):
        extremes = [[np.where(x > 0, 6e4, -6e4)]] if op != "max_pool2d" else []
        assert_dtypes(with_arguments(level, op, args), [x], f_backward=getattr(level, op + "_backward"),
                      extremes=extremes, refuses=(np.int64,))
    peak = np.zeros((1, 1, 5, 6), np.float16)
    peak[0, 0, 2, 2] = 1
    out, cache = level.max_pool2d(peak, 3, 1)
    dout = np.ones(out.shape, np.float16)
    dout[0, 0, 1, 1] = 2048                                     # and 2048 + 1 is 2048 in float16
    assert_close(level.max_pool2d_backward(dout, cache)[0, 0, 2, 2], np.float16(2056), tol=1e-4, what="dx of the peak")
    high = np.full((1, 2, 8, 7), 6e4, np.float16)               # a sum would be infinite
    for op, args in (("avg_pool2d", (4,)), ("adaptive_avg_pool2d", (2,)), ("global_avg_pool2d", ())):
        out, _ = getattr(level, op)(high, *args)
        assert_close(out, np.full(out.shape, 6e4, np.float16), tol=1e-3, what=op)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_modules_equal_their_ops(level):
    """Every argument reaches the op, each at a value unlike its default."""
    x = rng(10).standard_normal((2, 3, 9, 8))
    for name, op, options in (
            ("MaxPool2d", "max_pool2d", {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0),
                                         "dilation": (2, 3), "ceil_mode": True}),
            ("AvgPool2d", "avg_pool2d", {"kernel_size": (3, 2), "stride": (2, 3), "padding": 1, "ceil_mode": True,
                                         "count_include_pad": False}),
            ("AvgPool2d", "avg_pool2d", {"kernel_size": 2, "divisor_override": 3}),
            ("AdaptiveAvgPool2d", "adaptive_avg_pool2d", {"output_size": (None, 3)}),
            ("Flatten", "flatten", {"start_dim": 2})):
        module = getattr(level, name)(*options.values()) if len(options) > 2 and name == "MaxPool2d" else \
            getattr(level, name)(**options)
        out, cache = getattr(level, op)(x, **options)
        module(1 - x)
        assert_close(module(x), out, tol=0, what=name)
        dout = rng(11).standard_normal(out.shape)
        expected = getattr(level, op + "_backward")(dout, cache)
        assert_close(module.backward(dout), expected, tol=0, what=f"{name}, dx")
        assert module.parameters() == [] and module.state_dict() == {}
    assert level.Flatten()(x).shape == (2, 216)
    assert level.MaxPool2d(2)(x).shape == level.AvgPool2d(2)(x).shape == (2, 3, 4, 4)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_module_gradients(level):
    """In a network of chapter 6, with layers of chapter 12: all gradients by central differences."""
    from tangled.t06_backpropagation import Linear, ReLU, Sequential
    from tangled.t12_im2col import Conv2d
    network = Sequential(Conv2d(2, 3, 3, rng=rng(12)), level.MaxPool2d(2), ReLU(), Conv2d(3, 4, 2, rng=rng(13)),
                         level.AvgPool2d((1, 2), 1), level.Flatten(), Linear(4, 5, rng(14)))
    check_module_gradients(network, [rng(15).standard_normal((2, 2, 7, 8))])
    assert network.eval().training is False and all(not m.training for m in network.modules())
    with pytest.raises(RuntimeError, match=r"MaxPool2d\.backward"):
        level.MaxPool2d(2).backward(np.ones((1, 1, 1, 1)))
