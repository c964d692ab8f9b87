# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:63e53313df881212
"""Chapter 11: what is empty, single, large, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments that are right, but for the changes."""
    return {"x": ones((2, 4, 5, 6)), "w": ones((6, 2, 3, 2)), "b": ones(6), "groups": 2, **changes}


REFUSED = [("x", value) for value in (ones((4, 5, 6)), ones((2, 4, 5, 6), int), ones((2, 4, 5, 6), np.float32),
                                       1.0)]
REFUSED += [("w", value) for value in (ones((6, 2, 3)), ones((6, 4, 3, 2)), ones((6, 3, 3, 2)), ones((6, 2, 0, 2)),
                                       ones((6, 2, 3, 0)), ones((6, 2, 3, 2), int), ones((6, 2, 3, 2), np.float32))]
REFUSED += [("b", value) for value in (ones(5), ones(7), ones(1), ones((6, 1)), ones(6, int),
                                       ones(6, np.float32), 1.0)]
REFUSED += [("groups", value) for value in (0, -1, 3, 4, 1.0, True)]
REFUSED += [(name, value) for name in ("stride", "dilation")
            for value in (0, -1, 1.5, (1,), (1, 2, 3), (1, 0), (0, 1), None, "2", True)]
REFUSED += [("padding", value) for value in (-1, (1, -1), (1, 2, 3), (1, 2, 3, -4), 0.5, "valid", "SAME", None, (1,))]


@pytest.mark.parametrize("argument, value", REFUSED)
def test_refuses(level, argument, value):
    """Wrong shapes, wrong dtypes, numbers out of range, words that are unknown."""
    expect_value_error(argument, level.conv2d, **valid(**{argument: value}))


@pytest.mark.parametrize("changes, text", [
    ({"x": ones((4, 5, 6))}, "x has shape (4, 5, 6); expected (N, C, H, W)"),
    *[({name: array.astype(dtype) for name, array in valid().items() if name != "groups"},
       f"x has dtype {np.dtype(dtype)}; expected floating point") for dtype in (bool, int, complex)],
    ({"w": ones((6, 4, 3, 2))},
     "w has shape (6, 4, 3, 2); expected (F, 2, KH, KW), a 2th of the channels of x"),
    ({"groups": 3}, "groups = 3; expected a divisor of the 4 channels and the 6 filters"),
    ({"w": ones((6, 2, 3, 7))}, "kernel covers 7 entries of the width, dilation included; expected at most 6, "
                                "the 6 there are and the padding"),
    ({"w": ones((6, 2, 3, 7)), "padding": (1, 0)}, "kernel covers 7 entries of the width, dilation included; "
                                                   "expected at most 6, the 6 there are and the padding"),
    ({"dilation": (4, 1), "padding": (1, 0)}, "kernel covers 9 entries of the height, dilation included; "
                                              "expected at most 7, the 5 there are and the padding"),
    ({"padding": "same", "stride": 2}, 'padding = "same" with stride = (2, 2); expected stride 1')])
def test_messages(level, changes, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.conv2d(**valid(**changes))
    assert str(caught.value) == text


def test_small_functions_refuse(level):
    """Sizes, paddings and stacks that are none."""
    for args in ((-1, 1), (5, 0), (5, 3, 0), (5, 3, 1, -1), (5, 3, 1, 0, 0), (4, 5), (5.0, 3), (6, 3, 1, 0, 3),
                 (4, 7, 1, (2, 0)), (4, 7, 1, (0, 2)), (5, 3, 1, (1, -1))):
        with pytest.raises(ValueError):
            level.conv_output_size(*args)
    for stride in (2, (1, 2), (2, 1)):
        expect_value_error("padding", level.explicit_padding, "same", 3, stride)
    for kernel, dilation, name in (((3, 0), 1, "kernel"), ((0, 3), 1, "kernel"), (3, (1, 0), "dilation"),
                                   (3, (0, 1), "dilation")):
        expect_value_error(name, level.explicit_padding, "same", kernel, 1, dilation)
    for padding in (-1, (0, -1), (0, 1, 0, -1), (0, 1.5, 0, 1), (1, 2, 3), "Same"):
        expect_value_error("padding", level.explicit_padding, padding, 3)
    for layer in ((3, 1), (3, 1, 1, 1), (3, 0, 1), (3, 1, 0), (0, 1, 1), (3, 1, 1.5), 3):
        expect_value_error("layers", level.receptive_field, [(3, 1, 1), layer])


def test_numpys_integers(level):
    """Sizes computed by NumPy are integers like Python's, and lists are pairs; what comes back is an int."""
    three, two, one = np.array([3, 2, 1])
    args = valid()
    options = {"stride": [two, one], "padding": [one, two], "dilation": [one, one], "groups": np.uint8(2)}
    out, _ = level.conv2d(args["x"], args["w"], args["b"], **options)
    assert_close(out, level.conv2d(args["x"], args["w"], args["b"], (2, 1), (1, 2), 1, 2)[0], tol=0, what="out")
    sizes = [level.conv_output_size(np.int32(7), three, two, (one, two)),
             *level.receptive_field([[three, two, one], (two, one, one)]),
             *sum(level.explicit_padding([one, two], three), ())]
    assert sizes == [4, 5, 2, 1, 1, 2, 2] and {type(size) for size in sizes} == {int}
    for stride in (one, [one, one], (1, one)):
        assert level.explicit_padding("same", 3, stride) == ((1, 1), (1, 1))


def test_no_filters(level):
    """Nothing can be made of a stack of no filters, in one group or two."""
    for groups in (1, 2):
        expect_value_error("groups", level.conv2d, ones((2, 4, 5, 6)), ones((0, 4 // groups, 3, 2)), groups=groups)


@pytest.mark.parametrize("shape", [(2, 1, 0, 3), (2, 1, 3, 0), (1, 1, 0, 0)])
def test_nothing_but_padding(level, shape):
    """A picture without rows or columns, padded, gives the bias everywhere; its weights have the gradient 0."""
    x, w, b = ones(shape), ones((2, 1, 2, 3)), np.array([3.0, 5])
    out, cache = level.conv2d(x, w, b, stride=(2, 1), padding=(2, 1, 1, 3))
    assert_close(out, np.broadcast_to(b[:, None, None], out.shape), tol=0, what="out")
    assert out.shape == (shape[0], 2, (shape[2] + 1) // 2 + 1, shape[3] + 2)
    dx, dw, db = level.conv2d_backward(out, cache)
    assert dx.shape == shape
    assert_close(dw, np.zeros(w.shape), tol=0, what="dw")
    assert_close(db, out.sum(axis=(0, 2, 3)), what="db")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_upstream_of_another_dtype(level, dtype):
    """Gradients have the dtype of x, whatever that of dout."""
    x, w, b = (a.astype(np.float32) for a in valid().values() if isinstance(a, np.ndarray))
    out, cache = level.conv2d(x, w, b, groups=2)
    wanted = level.conv2d_backward(out, cache)
    for got, want, name in zip(level.conv2d_backward(out.astype(dtype), cache), wanted, "xwb", strict=True):
        assert_close(got, want, tol=1e-6, what="d" + name, dtype=np.float32)


def test_backward_refuses(level):
    """A dout that would broadcast, one turned round, and one of integers or of complex numbers."""
    out, cache = level.conv2d(**valid())
    wrong = out[:1], out[:, :1], out[:, :, :1], out[..., :1], out.swapaxes(2, 3)
    for dout in (*wrong, out.astype(int), out.astype(complex)):
        expect_value_error("dout", level.conv2d_backward, dout, cache)


@pytest.mark.parametrize("shape, kernel", [((0, 2, 5, 4), (3, 2)), ((1, 2, 1, 1), (1, 1)), ((2, 2, 3, 2), (3, 2)),
                                           ((1, 2, 1, 6), (1, 3))])
def test_small(level, shape, kernel):
    """No pictures, one pixel, a kernel as large as the picture, a single row: shapes and sums."""
    x, w, b = rng(0).standard_normal(shape), rng(1).standard_normal((3, 2, *kernel)), ones(3)
    out, cache = level.conv2d(x, w, b)
    assert out.shape == (shape[0], 3, shape[2] - kernel[0] + 1, shape[3] - kernel[1] + 1)
    if out.shape[2:] == (1, 1):
        assert_close(out[:, :, 0, 0], np.tensordot(x, w, ((1, 2, 3), (1, 2, 3))) + 1, what="out")
    dx, dw, db = level.conv2d_backward(ones(out.shape), cache)
    assert dx.shape == shape and dw.shape == w.shape
    assert_close(db, np.full(3, out[:, 0].size, float), what="db")
    if not len(x):
        assert_close(dw, np.zeros(w.shape), what="dw of no pictures")


def test_only_padding(level):
    """A window that lies in the padding alone gives the bias, and no gradient."""
    x, w = ones((1, 1, 2, 2)), ones((1, 1, 2, 2))
    out, cache = level.conv2d(x, w, ones(1), padding=3)
    assert_close(out[0, 0, :2, :2], ones((2, 2)), what="corner")
    dout = np.zeros(out.shape)
    dout[0, 0, :2] = 1.0
    dx, dw, db = level.conv2d_backward(dout, cache)
    assert_close(dx, np.zeros(x.shape), what="dx")
    assert_close(dw, np.zeros(w.shape), what="dw")
    assert_close(db, np.full(1, 2.0 * out.shape[3]), what="db")


def test_what_the_floor_leaves_out(level):
    """Rows that no output reads have the gradient 0, and may hold anything."""
    x, w = rng(2).standard_normal((1, 1, 6, 6)), rng(3).standard_normal((1, 1, 3, 3))
    out, cache = level.conv2d(x, w, stride=2)
    dx, _ = level.conv2d_backward(ones(out.shape), cache)
    assert_close(dx[..., 5, :], np.zeros((1, 1, 6)), what="dx of the last row")
    x[..., 5, :] = np.nan
    assert_close(level.conv2d(x, w, stride=2)[0], out, what="out")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_stays_in_its_windows(level, value):
    """It reaches the outputs whose window holds it, by a weight of 0 too, all filters, no other picture."""
    x, w = rng(4).standard_normal((2, 2, 6, 7)), rng(5).uniform(0.5, 1, (3, 2, 3, 3))
    x[0, 1, 2, 3], w[:, :, 2, 0] = value, 0
    with np.errstate(invalid="ignore"):
        out, _ = level.conv2d(x, w)
    reached = np.zeros((2, 3, 4, 5), bool)
    reached[0, :, 0:3, 1:4] = True
    assert_close(~np.isfinite(out), reached, what="where it is not finite")


def test_sums_in_float32(level):
    """float16 in and out: 2048 + 1 is 2048 in float16, and the ones must not be lost in any of the sums."""
    ones_around = ones((1, 1, 1, 64), np.float16)               # 32 ones, 2048, 31 ones: 2112 when rounded once
    ones_around[..., 32] = 2048
    row = ones(ones_around.shape, np.float16)
    assert level.conv2d(ones_around, row)[0].item() == 2112
    _, cache = level.conv2d(ones((1, 1, 1, 127), np.float16), row)
    assert level.conv2d_backward(ones_around, cache)[0][0, 0, 0, 63] == 2112
    x, w = ones((3, 1, 2, 2), np.float16), ones((2, 1, 2, 2), np.float16)
    _, cache = level.conv2d(x, w, ones(2, np.float16))
    dout = np.array([1, 2048, 1], np.float16).reshape(3, 1, 1, 1).repeat(2, axis=1)
    _, dw, db = level.conv2d_backward(dout, cache)
    assert_close(dw, np.full(w.shape, 2050, np.float16), tol=0, what="dw")
    assert_close(db, np.full(2, 2050, np.float16), tol=0, what="db")


OPTIONS = {"stride": (1, 2), "padding": (1, 0, 2, 1), "dilation": (2, 1), "groups": 2}


def arguments():
    """x, w and b for OPTIONS."""
    return [rng(k).standard_normal(s) for k, s in enumerate([(2, 4, 5, 6), (6, 2, 3, 2), 6])]


@pytest.mark.parametrize("b", [[0, 0, 0], [0, 2, 0]])
def test_bias_of_zeros(level, b):
    """A bias that is zero, or partly zero, is still one: it is added, and has a gradient."""
    x, w, b = rng(6).standard_normal((2, 1, 3, 4)), rng(7).standard_normal((3, 1, 2, 2)), np.array(b, float)
    out, cache = level.conv2d(x, w, b)
    assert_close(out - level.conv2d(x, w)[0], np.broadcast_to(b[:, None, None], out.shape), what="what b adds")
    assert_close(level.conv2d_backward(ones(out.shape), cache)[2], np.full(3, 12.0), what="db")


@pytest.mark.levels(1, 2, 3)
def test_bias_in_float16(level):
    """It is added to the sum of the products before that is rounded."""
    x, w = np.array([[2048, 1]], np.float16)[..., None, None], np.ones((1, 2, 1, 1), np.float16)
    assert level.conv2d(x, w, np.ones(1, np.float16))[0].item() == 2050


@pytest.mark.levels(3)
def test_bias_in_the_room(level):
    """`out` may not lie on b either."""
    room = np.ones((2, 2, 3, 3))
    with pytest.raises(ValueError, match="shares memory"):
        level.conv2d(np.ones((2, 1, 3, 3)), np.ones((2, 1, 1, 1)), room[0, :, 0, 0], out=room)


def test_a_dark_picture_has_a_gradient(level):
    """The loss depends on a picture of zeros as on any other: dx knows w alone."""
    x, w = rng(8).standard_normal((3, 2, 4, 5)), rng(9).standard_normal((4, 2, 3, 2))
    _, cache = level.conv2d(x, w)
    x = x * np.array([1.0, 0, 1]).reshape(3, 1, 1, 1)
    out, of_dark = level.conv2d(x, w)
    dout = rng(10).standard_normal(out.shape)
    assert_close(level.conv2d_backward(dout, of_dark)[0], level.conv2d_backward(dout, cache)[0], tol=1e-12, what="dx")
    assert_close(out[1], np.zeros(out[1].shape), what="out of a dark picture")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_types_of_an_empty_batch(level, dtype):
    """Results keep the dtype without a single number in them."""
    x, w, b = ones((0, 2, 4, 5), dtype), ones((3, 2, 2, 2), dtype), ones(3, dtype)
    out, cache = level.conv2d(x, w, b, padding=1)
    assert {a.dtype for a in (out, *level.conv2d_backward(out, cache))} == {np.dtype(dtype)}


@pytest.mark.levels(3)
def test_out_of_an_empty_batch(level):
    """Room for no numbers is room enough."""
    x, w = ones((0, 2, 4, 5)), ones((3, 2, 2, 2))
    for room in (np.empty((0, 3, 3, 4)), np.empty((0, 3, 3, 4), order="F"), ones((1, 3, 3, 4))[:0]):
        out, cache = level.conv2d(x, w, out=room)
        assert out is room
        back = np.empty(x.shape, order="F")
        assert level.conv2d_backward(out, cache, out=back)[0] is back


@pytest.mark.levels(3)
def test_out_with_an_axis_of_one(level):
    """How far apart the pictures lie says nothing where there is one."""
    x, w = rng(11).standard_normal((1, 2, 4, 5)), rng(12).standard_normal((3, 2, 2, 2))
    room, back = np.empty((3, 3, 4))[None], np.empty((2, 4, 5))[None]       # a stride of 0
    out, cache = level.conv2d(x, w, out=room)
    dx, _ = level.conv2d_backward(out, cache, out=back)
    assert out is room and dx is back
    assert_close(out, level.conv2d(x, w)[0], tol=0, what="out")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    assert_layouts(lambda *args: level.conv2d(*args, **OPTIONS), arguments(), f_backward=level.conv2d_backward)


def test_dtypes(level):
    """Large and small numbers in every dtype; integers are refused."""
    assert_dtypes(lambda *args: level.conv2d(*args, **OPTIONS), arguments(), f_backward=level.conv2d_backward)


@pytest.mark.levels(3)
@pytest.mark.parametrize("which", ["out", "backward_out"])
def test_out(level, which):
    """Results go where they were asked for, in any memory order, and never over what is still read."""
    run = lambda *args, **more: level.conv2d(*args, **OPTIONS, **more)
    assert_layouts(run, arguments(), f_backward=level.conv2d_backward, **{which: True})
    square = [rng(k).standard_normal(s) for k, s in enumerate([(2, 3, 5, 6), (3, 3, 3, 3), 3])]     # out as x
    run = lambda *args, **more: level.conv2d(*args, padding=1, **more)
    assert_layouts(run, square, f_backward=level.conv2d_backward, **{which: True})
    out, cache = run(*square)
    for wrong in (square[0], out[:1], out.swapaxes(2, 3).copy(), out.astype(np.float32), [1.0]):
        expect_value_error("out", run, *square, out=wrong)
        expect_value_error("out", level.conv2d_backward, out, cache, out=wrong)
    expect_value_error("out", level.conv2d_backward, out, cache, out=out)
    x, w = (rng(k).standard_normal(s) for k, s in enumerate([(3, 3, 5, 5), (3, 3, 3, 3)]))
    expect_value_error("out", level.conv2d, x, w, out=w)        # out as w
    x = rng(2).standard_normal(w.shape)
    out, cache = level.conv2d(x, w)
    for wrong in (x, w):                                        # both are still read
        expect_value_error("out", level.conv2d_backward, out, cache, out=wrong)
