# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:a44087e253e8363e
"""Chapter 12: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import level1_naive as loops
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

CASES = ("plain", "stride", "four-sides", "same-even", "groups", "everything", "pointwise")
TRANSPOSED = ("t-plain", "t-stride", "t-four-sides", "t-everything", "t-beyond-the-stride")


def op_of(level, name):
    """The op of a golden case and its backward pass."""
    kind = "conv_transpose2d" if name.startswith("t-") else "conv2d"
    return getattr(level, kind), getattr(level, kind + "_backward")


@pytest.mark.value
@pytest.mark.parametrize("name", CASES + TRANSPOSED)
def test_golden_values(level, golden, name):
    """Values by PyTorch, each knob alone and all together; with and without b."""
    case = golden(name)
    op, _ = op_of(level, name)
    assert_close(op(**case.inputs)[0], case.outputs["out"], what="out")
    without = case.outputs["out"] - case.inputs["b"][:, None, None]
    assert_close(op(**{**case.inputs, "b": None})[0], without, what="out without b")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES + TRANSPOSED)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights; two without b."""
    case = golden(name)
    op, backward = op_of(level, name)
    grads = backward(case.upstream["out"], op(**case.inputs)[1])
    for got, wrt in zip(grads, "xwb", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)
    without = backward(case.upstream["out"], op(**{**case.inputs, "b": None})[1])
    for got, wrt in zip(without, "xw", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt + " without b")


@pytest.mark.value
@pytest.mark.parametrize("name", ["unfold", "unfold-knobs"])
def test_golden_columns(level, golden, name):
    """Columns in PyTorch's order, and the sums of given columns."""
    case = golden(name)
    inputs = dict(case.inputs)
    given = inputs.pop("columns")
    assert_close(level.im2col(**inputs), case.outputs["columns"], what="columns")
    x = inputs.pop("x")
    assert_close(level.col2im(given, x.shape[2:], **inputs), case.outputs["x"], what="x")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes as the table has them; every result has the dtype of x."""
    x, w, b = (rng(0).standard_normal(s).astype(dtype) for s in ((2, 4, 5, 7), (6, 2, 3, 2), 6))
    out, cache = level.conv2d(x, w, b, (2, 1), (1, 0), groups=2)
    grads = level.conv2d_backward(out, cache)
    assert out.shape == (2, 6, 3, 6) and [g.shape for g in grads] == [(2, 4, 5, 7), (6, 2, 3, 2), (6,)]
    up, of_up = level.conv_transpose2d(out, w, None, (2, 1), (1, 0), groups=2)
    back = level.conv_transpose2d_backward(up, of_up)
    assert up.shape == (2, 4, 5, 7) and [g.shape for g in back] == [out.shape, w.shape]
    columns = level.im2col(x, (3, 2), (2, 1), (1, 0))
    assert columns.shape == (2, 24, 18)
    summed = level.col2im(columns, (5, 7), (3, 2), (2, 1), (1, 0))
    assert summed.shape == x.shape
    assert {a.dtype for a in (out, *grads, up, *back, columns, summed)} == {np.dtype(dtype)}


@pytest.mark.value
def test_worked_trace(level):
    """The row of the chapter's trace, forward and backward."""
    x, w = np.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4), np.array([10.0, 1]).reshape(1, 1, 1, 2)
    assert_close(level.im2col(x, (1, 2))[0], np.array([[1.0, 2, 3], [2, 3, 4]]), what="columns")
    out, cache = level.conv2d(x, w)
    assert_close(out.ravel(), np.array([12.0, 23, 34]), what="y")
    dx, dw = level.conv2d_backward(np.array([1.0, 0, 2]).reshape(1, 1, 1, 3), cache)
    assert_close(dx.ravel(), np.array([10.0, 1, 20, 2]), what="dx")
    assert_close(dw.ravel(), np.array([7.0, 10]), what="dw")


@pytest.mark.value
@pytest.mark.parametrize("seed", range(16))
def test_random_geometries(level, seed):
    """All knobs drawn at random: values and gradients equal those of chapter 11's loops."""
    draw = rng(200 + seed)
    groups, (kh, kw) = int(draw.integers(1, 4)), draw.integers(1, 4, 2)
    same = seed % 4 == 0
    options = {"stride": 1 if same else tuple(draw.integers(1, 4, 2).tolist()), "groups": groups,
               "dilation": tuple(draw.integers(1, 4, 2).tolist()),
               "padding": "same" if same else tuple(draw.integers(0, 4, 4).tolist())}
    c, f = draw.integers(1, 3, 2)
    x = draw.standard_normal((2, groups * c, *draw.integers(7, 9, 2)))
    w, b = draw.standard_normal((groups * f, c, kh, kw)), draw.standard_normal(groups * f)
    (out, cache), (expected, of_loops) = (m.conv2d(x, w, b, **options) for m in (level, loops))
    assert_close(out, expected, tol=1e-10, what="out")
    dout = draw.standard_normal(out.shape)
    for got, want, name in zip(level.conv2d_backward(dout, cache), loops.conv2d_backward(dout, of_loops), "xwb"):
        assert_close(got, want, tol=1e-10, what="d" + name)


@pytest.mark.value
def test_one_geometry_after_another(level):
    """Gaps between windows; and the same padded picture, kernel and stride with another dilation, padding, dtype."""
    w = rng(40).standard_normal((2, 1, 2, 3))
    for size, options in (((9, 11), {"stride": (4, 5)}), ((9, 11), {"stride": (5, 4), "padding": 1}),
                          ((9, 11), {"stride": (4, 5), "dilation": 2}), ((7, 9), {"stride": (4, 5), "padding": 1}),
                          ((7, 9), {"stride": (4, 5), "padding": (0, 2, 2, 0)}), ((9, 11), {"stride": (4, 5)})):
        for dtype in (np.float32, np.float64):
            x = rng(41).standard_normal((2, 1, *size)).astype(dtype)
            results = []
            for module in (loops, level):
                out, cache = module.conv2d(x, w.astype(dtype), **options)
                results.append((out, *module.conv2d_backward(np.cos(out), cache)))
            for want, got, name in zip(*results, ("out", "dx", "dw"), strict=True):
                assert_close(got, want, tol=1e-5 if dtype == np.float32 else 1e-10, what=f"{name}, {options}")
            out, dx = results[0][:2]
            extra = tuple(int(n) for n in np.subtract(x.shape, level.conv_transpose2d(out, w.astype(dtype),
                                                                                     **options)[0].shape)[2:])
            up, _ = level.conv_transpose2d(np.cos(out), w.astype(dtype), output_padding=extra, **options)
            assert_close(up, dx, tol=1e-4 if dtype == np.float32 else 1e-10, what=f"transposed, {options}")


@pytest.mark.value
def test_arguments_in_their_order(level):
    """By place they mean what they mean by name."""
    x, w, b = (rng(k).standard_normal(s) for k, s in enumerate([(2, 4, 7, 6), (4, 2, 2, 3), 4]))
    options = {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1), "groups": 2}
    out = level.conv2d(x, w, b, **options)[0]
    assert_close(level.conv2d(x, w, b, *options.values())[0], out, tol=0, what="conv2d")
    options = {"stride": (2, 3), "padding": (1, 2), "output_padding": (1, 0), "dilation": 3, "groups": 2}
    up = level.conv_transpose2d(x, w, b, **options)[0]
    assert_close(level.conv_transpose2d(x, w, b, *options.values())[0], up, tol=0, what="conv_transpose2d")
    columns = level.im2col(x, kernel=(2, 3), stride=2, padding=1, dilation=(3, 1))
    assert_close(level.im2col(x, (2, 3), 2, 1, (3, 1)), columns, tol=0, what="im2col")
    back = level.col2im(columns, size=(7, 6), kernel=(2, 3), stride=2, padding=1, dilation=(3, 1))
    assert_close(level.col2im(columns, (7, 6), (2, 3), 2, 1, (3, 1)), back, tol=0, what="col2im")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_arguments_of_modules_in_their_order(level):
    """The same of the modules: Conv2d has them as its op has; ConvTranspose2d, as PyTorch's, dilation last."""
    x = rng(0).standard_normal((2, 4, 7, 6)).astype(np.float32)
    for module, options in (
            (level.Conv2d, {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1), "groups": 2, "bias": False}),
            (level.ConvTranspose2d, {"stride": (2, 3), "padding": (1, 2), "output_padding": (1, 0), "groups": 2,
                                     "bias": False, "dilation": 3})):
        by_name, by_place = module(4, 6, (2, 3), **options), module(4, 6, (2, 3), *options.values())
        assert_close(by_place(x), by_name(x), tol=0, what=module.__name__)
        assert by_place.bias is None


@pytest.mark.value
@pytest.mark.parametrize("kernel, options", [((2, 3), {}), ((3, 1), {"stride": (1, 2), "padding": (1, 0, 2, 1)}),
                                             ((2, 2), {"dilation": (3, 2), "padding": 2})])
def test_im2col_and_col2im_are_adjoint(level, kernel, options):
    """<im2col(x), Y> = <x, col2im(Y)>, and col2im(im2col(x)) counts the windows of a pixel."""
    x = rng(1).standard_normal((2, 3, 6, 7))
    columns = level.im2col(x, kernel, **options)
    Y = rng(2).standard_normal(columns.shape)
    back = level.col2im(Y, (6, 7), kernel, **options)
    assert_close(np.vdot(x, back), np.vdot(columns, Y), tol=1e-10, what="<x, col2im(Y)>")
    count = level.col2im(level.im2col(np.ones(x.shape), kernel, **options), (6, 7), kernel, **options)
    assert_close(level.col2im(columns, (6, 7), kernel, **options), count * x, tol=1e-10, what="counted")


@pytest.mark.value
@pytest.mark.parametrize("options", [{}, {"stride": (2, 3), "padding": (1, 0, 0, 2), "dilation": (1, 2)},
                                     {"groups": 2, "stride": 2, "padding": 1}])
def test_transposed_is_the_adjoint(level, options):
    """<conv2d(x), y> = <x, conv_transpose2d(y)>, with output_padding for what the floor left out."""
    x, w = rng(3).standard_normal((2, 4, 8, 9)), rng(4).standard_normal((6, 4 // options.get("groups", 1), 3, 2))
    out, _ = level.conv2d(x, w, **options)
    y = rng(5).standard_normal(out.shape)
    small, _ = level.conv_transpose2d(y, w, **options)
    extra = tuple(have - got for have, got in zip(x.shape[2:], small.shape[2:]))
    back, cache = level.conv_transpose2d(y, w, output_padding=extra, **options)
    assert back.shape == x.shape
    assert_close(np.vdot(x, back), np.vdot(out, y), tol=1e-10, what="<x, conv_transpose2d(y)>")
    assert_close(level.conv_transpose2d_backward(x, cache)[0], out, tol=1e-10, what="its backward")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"stride": (2, 1), "padding": (0, 2, 1, 0), "dilation": (1, 2)},
                                     {"groups": 2, "padding": (1, 2), "stride": 2}])
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_central_differences(level, kind, options):
    """Every entry of dx, dw and db."""
    groups = options.get("groups", 1)
    w = (2, 4 // groups, 2, 3) if kind == "conv_transpose2d" else (4, 2 // groups, 2, 3)
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(2, 2, 4, 5), w, 4])]
    op = getattr(level, kind)
    check_gradients(lambda x, w, b: op(x, w, b, **options), getattr(level, kind + "_backward"), inputs)


@pytest.mark.gradient
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_called_twice(level, kind):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(2, 4, 3, 5), (4, 4, 1, 1), 4])]
    assert_repeatable(getattr(level, kind), inputs, f_backward=getattr(level, kind + "_backward"))


@pytest.mark.levels(3)
@pytest.mark.value
@pytest.mark.parametrize("columns, product", [(1, 0), (60, 200), (200, 2500), (5000, 1)])
def test_level3_by_several_pictures(level, monkeypatch, columns, product):
    """One picture at a time, or several, with a last block that is smaller; whole and small products."""
    monkeypatch.setattr(level, "COLUMNS", columns)
    monkeypatch.setattr("tangled.t12_im2col.columns.PRODUCT", product)
    monkeypatch.setattr("tangled.t12_im2col.columns.FEWEST", 2)
    for options in ({"padding": 1}, {"stride": (3, 2), "dilation": (2, 1), "padding": (2, 1, 0, 3)}):
        x, w = rng(6).standard_normal((5, 3, 7, 6)), rng(7).standard_normal((4, 3, 3, 2))
        (out, cache), (expected, of_loops) = (m.conv2d(x, w, **options) for m in (level, loops))
        assert_close(out, expected, tol=1e-10, what="out")
        dout = rng(8).standard_normal(out.shape)
        for got, want in zip(level.conv2d_backward(dout, cache), loops.conv2d_backward(dout, of_loops)):
            assert_close(got, want, tol=1e-10, what="gradient")


@pytest.mark.levels(3)
@pytest.mark.value
def test_level3_modules_use_level3(level):
    """The modules of this level call its own ops."""
    for module, op in ((level.Conv2d, "conv2d"), (level.ConvTranspose2d, "conv_transpose2d")):
        assert (module.op, module.op_backward) == (getattr(level, op), getattr(level, op + "_backward"))


@pytest.mark.levels(3)
@pytest.mark.value
def test_level3_adds_blocks_in_float32(level, monkeypatch):
    """float16, a picture a block: what is added from block to block is wider."""
    monkeypatch.setattr(level, "COLUMNS", 1)
    monkeypatch.setattr("tangled.t12_im2col.columns.PRODUCT", 0)
    dout = np.array([1, 2048, 1], np.float16).reshape(3, 1, 1, 1)
    _, cache = level.conv2d(np.ones((3, 2, 2, 2), np.float16), np.ones((1, 2, 2, 2), np.float16))
    dw = level.conv2d_backward(dout, cache)[1]
    assert_close(dw, np.full(dw.shape, 2050, np.float16), tol=0, what="dw")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("bias", [True, False])
def test_module_gradients(level, name, bias):
    """Central differences for x, weight and bias; every option is handed on."""
    module = getattr(level, name)(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, dilation=(1, 2), bias=bias)
    check_module_gradients(module, [rng(9).standard_normal((2, 4, 5, 6))])


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_bias_in_float16(level):
    """It is added to the sum of the products before that is rounded."""
    x, (w, b) = np.array([[2048, 1]], np.float16)[..., None, None], (np.ones(s, np.float16) for s in ((1, 2, 1, 1), 1))
    assert level.conv2d(x, w, b)[0].item() == 2050
    assert level.conv_transpose2d(x, w.swapaxes(0, 1), b)[0].item() == 2050
    x, centre = np.tile(x, (26, 1, 1, 8)), np.pad(w, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for stride in (1, 2):                                       # the same by a common kernel, 3 x 3
        assert (level.conv2d(x, centre, b, stride, 1)[0] == 2050).all()
        assert (level.conv_transpose2d(x, centre.swapaxes(0, 1), b, stride, 1)[0][..., ::stride] == 2050).all()


@pytest.mark.levels(3)
@pytest.mark.gradient
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kernel, stride, groups", [(3, 1, 1), (3, 2, 1), (3, 1, 2), ((3, 2), (2, 1), 1), (1, 1, 1)])
def test_convolutions_without_dx(level, kernel, stride, groups, dtype):
    """Each way to convolve can leave dx out; the other gradients are the same, add up, and dout is looked at."""
    module = level.Conv2d(4, 6, kernel, stride, 1, groups=groups, rng=rng(14)).astype(dtype)
    x = rng(15).standard_normal((8, 4, 6, 5)).astype(dtype)
    dout = np.cos(module(x))
    assert module.backward(dout).shape == x.shape
    wanted = [p.grad.copy() for p in module.parameters()]
    module.input_grad = False
    module.zero_grad()
    for times in (1, 2):
        assert module.backward(dout) is None
        for parameter, grad in zip(module.parameters(), wanted):
            assert_close(parameter.grad, times * grad, tol=2e-3 if dtype is np.float16 else 1e-5, what="gradient")
            assert parameter.grad.dtype == dtype
    with pytest.raises(ValueError, match="dout"):
        module.backward(dout[:1])


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_modules_equal_their_ops(level):
    """Arguments reach the op, each at a value unlike its default; gradients add up."""
    options = {"stride": (1, 2), "padding": (2, 1), "dilation": (2, 1), "groups": 2}
    x = rng(10).standard_normal((2, 4, 6, 7)).astype(np.float32)
    for name, op, extra in (("Conv2d", level.conv2d, {}),
                            ("ConvTranspose2d", level.conv_transpose2d, {"output_padding": (1, 0)})):
        module = getattr(level, name)(4, 6, (2, 3), rng=rng(11), **options, **extra)
        expected, cache = op(x, module.weight.data, module.bias.data, **options, **extra)
        assert_close(module(x), expected, tol=1e-6, what=name)
        module.backward(expected)
        module.backward(expected)
        grads = getattr(level, op.__name__ + "_backward")(expected, cache)
        assert_close(module.weight.grad, 2 * grads[1], tol=1e-5, what="weight.grad, twice")
        assert_close(module.bias.grad, 2 * grads[2], tol=1e-5, what="bias.grad, twice")
        assert [key for key, _ in module.named_parameters()] == ["weight", "bias"]
        module.weight.data, module.bias.data = -module.weight.data, -module.bias.data
        assert_close(module(x), -expected, tol=1e-6, what=name + " after a step")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name, shape, fan_in", [("Conv2d", (64, 8, 3, 2), 48),
                                                 ("ConvTranspose2d", (16, 32, 3, 2), 192)])
def test_initial_weights(level, name, shape, fan_in):
    """PyTorch's shapes and bounds: uniform within 1 / sqrt(fan-in), weights and biases."""
    module = getattr(level, name)(16, 64, (3, 2), groups=2, rng=rng(12))
    bound = fan_in ** -0.5
    assert module.weight.data.shape == shape and module.bias.data.shape == (64,)
    for data in (module.weight.data, module.bias.data):
        assert data.dtype == np.float32 and 0.9 * bound < np.abs(data).max() <= bound
    assert_close(module.weight.data.std(), bound / 3 ** 0.5, tol=0.05, what="deviation")
    again, other = (getattr(level, name)(16, 64, (3, 2), groups=2, rng=rng(seed)) for seed in (12, 13))
    assert_close(again.weight.data, module.weight.data, tol=0, what="the same seed")
    assert np.abs(other.weight.data - module.weight.data).max() > 0.1 * bound
    drawn = rng(12)
    for data in (module.weight.data, module.bias.data):
        assert_close(data, drawn.uniform(-bound, bound, data.shape).astype(np.float32), what="drawn in order")
    by_default = [getattr(level, name)(16, 64, (3, 2), groups=2, rng=r) for r in (None, rng(0))]
    assert_close(by_default[0].weight.data, by_default[1].weight.data, tol=0, what="by default, seed 0")
    assert getattr(level, name)(16, 64, 3, bias=False).bias is None


@pytest.mark.levels(4)
@pytest.mark.value
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_pytorch_draws_within_the_same_bounds(level, name):
    """The bounds of test_initial_weights are PyTorch's."""
    module = getattr(level, name)(16, 64, (3, 2), groups=2)
    bound = (48 if name == "Conv2d" else 192) ** -0.5
    for data in (module.weight, module.bias):
        assert 0.9 * bound < float(data.detach().abs().max()) <= bound


@pytest.mark.value
def test_dtypes(level):
    """Large and small numbers in every dtype."""
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(1, 3, 4, 5), (2, 3, 2, 2)])]
    assert_dtypes(level.conv2d, inputs, f_backward=level.conv2d_backward)
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(1, 3, 4, 5), (3, 2, 2, 2), 2])]
    assert_dtypes(lambda x, w, b: level.conv_transpose2d(x, w, b, 2, 1), inputs,
                  f_backward=level.conv_transpose2d_backward)
    columns = level.im2col(inputs[0], 2)
    assert_dtypes(lambda columns: level.col2im(columns, (4, 5), 2), [columns])


@pytest.mark.value
def test_sums_in_float32(level):
    """float16: 2048 + 1 is 2048, and the ones must not be lost in any of the sums."""
    half = lambda *shape: np.ones(shape, np.float16)
    for turn in (lambda a: a, lambda a: a.swapaxes(2, 3)):      # along a row, along a column
        row, peak = turn(half(1, 1, 1, 64)), half(1, 1, 1, 64)
        peak[..., 32] = 2048                                    # the sum of peak is 2111, rounded once 2112
        assert level.conv2d(turn(peak), row)[0].item() == 2112
        _, cache = level.conv2d(turn(half(1, 1, 1, 127)), row)
        assert level.conv2d_backward(turn(peak), cache)[0].ravel()[63] == 2112
        assert level.conv_transpose2d(turn(peak), row)[0].ravel()[63] == 2112
        size = turn(half(1, 1, 1, 127)).shape[2:]
        assert level.col2im(peak[0].repeat(64, axis=1), size, row.shape[2:]).ravel()[63] == 2112
    dout = np.array([1, 2048, 1], np.float16).reshape(3, 1, 1, 1).repeat(2, axis=1)
    _, cache = level.conv2d(half(3, 1, 2, 2), half(2, 1, 2, 2), half(2))
    grads = level.conv2d_backward(dout, cache)[1:]
    _, cache = level.conv_transpose2d(half(3, 1, 1, 1), half(1, 2, 1, 1), half(2))
    for grad in grads + level.conv_transpose2d_backward(dout, cache)[1:]:
        assert_close(grad, np.full(grad.shape, 2050, np.float16), tol=0, what="a sum over pictures")


@pytest.mark.value
@pytest.mark.parametrize("b", [[0, 0, 0], [0, 2, 0]])
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_bias_of_zeros(level, kind, b):
    """A bias that is zero, or partly zero, is still one: it is added, and has a gradient."""
    x, w = rng(13).standard_normal((2, 1, 3, 4)), rng(14).standard_normal((3, 1, 2, 2))
    w, b = w if kind == "conv2d" else w.swapaxes(0, 1), np.array(b, float)
    out, cache = getattr(level, kind)(x, w, b)
    added = out - getattr(level, kind)(x, w)[0]
    assert_close(added, np.broadcast_to(b[:, None, None], out.shape), what="what b adds")
    db = getattr(level, kind + "_backward")(np.ones(out.shape), cache)[2]
    assert_close(db, np.full(3, out[:, 0].size, float), what="db")


@pytest.mark.value
def test_square_and_tall_weights(level):
    """A square weight matrix, which a forgotten transpose would fit, and kernels of more than three rows."""
    for w_shape, options in (((4, 1, 2, 2), {}), ((2, 1, 5, 4), {"padding": (3, 2)}),
                             ((2, 1, 6, 2), {"stride": (2, 3), "padding": (5, 1)})):
        x, w = rng(15).standard_normal((2, 1, 6, 5)), rng(16).standard_normal(w_shape)
        (out, cache), (expected, of_loops) = (m.conv2d(x, w, **options) for m in (level, loops))
        assert_close(out, expected, tol=1e-10, what="out")
        dout = rng(17).standard_normal(out.shape)
        grads = loops.conv2d_backward(dout, of_loops)
        for got, want in zip(level.conv2d_backward(dout, cache), grads):
            assert_close(got, want, tol=1e-10, what="gradient")
        extra = {"output_padding": (0, 2)} if "stride" in options else {}       # what the floor left out
        up, cache = level.conv_transpose2d(dout, w, **options, **extra)
        assert_close(up, grads[0], tol=1e-10, what="transposed")
        assert_close(level.conv_transpose2d_backward(x, cache)[0], expected, tol=1e-10, what="its dx")
        assert_close(level.conv_transpose2d_backward(x, cache)[1], grads[1], tol=1e-10, what="its dw")
