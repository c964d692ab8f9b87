# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:beab4c22998e9490
"""Chapter 11: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_repeatable, check_gradients, rng

CASES = ("plain", "stride", "floor", "padding", "four-sides", "same-odd", "same-even", "dilation",
         "groups", "depthwise", "everything", "pointwise")


def forward(level, case, **changes):
    """out, cache of a golden case."""
    return level.conv2d(**{**case.inputs, **changes})


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_shapes_and_types(level, dtype, bias):
    """Shapes of the outputs, dtypes of the inputs; no db where there was no b."""
    x, w, b = (rng(0).standard_normal(s).astype(dtype) for s in ((2, 4, 5, 7), (6, 2, 3, 2), 6))
    out, cache = level.conv2d(x, w, b if bias else None, (2, 1), (1, 0), groups=2)
    grads = level.conv2d_backward(out, cache)
    assert out.shape == (2, 6, 3, 6) and len(grads) == 2 + bias
    assert [g.shape for g in grads] == [(2, 4, 5, 7), (6, 2, 3, 2), (6,)][:2 + bias]
    assert {a.dtype for a in (out, *grads)} == {np.dtype(dtype)}


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Values by PyTorch, each knob alone and all together."""
    case = golden(name)
    assert_close(forward(level, case)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights."""
    case = golden(name)
    grads = level.conv2d_backward(case.upstream["out"], forward(level, case)[1])
    for got, wrt in zip(grads, "xwb", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_without_bias(level, golden):
    """b = None is b = 0."""
    case = golden("everything")
    out, _ = forward(level, case, b=None)
    assert_close(out, case.outputs["out"] - case.inputs["b"][:, None, None], what="out")


@pytest.mark.value
def test_worked_trace(level):
    """The row of the chapter's trace, forward and backward."""
    x, w = np.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 4), np.array([1.0, 0, -1]).reshape(1, 1, 1, 3)
    out, cache = level.conv2d(x, w, padding=(0, 1))
    assert_close(out.ravel(), np.array([-2.0, -2, -2, 3]), what="y")
    dx, dw = level.conv2d_backward(np.array([1.0, 0, 0, 0]).reshape(1, 1, 1, 4), cache)
    assert_close(dx.ravel(), np.array([0.0, -1, 0, 0]), what="dx")
    assert_close(dw.ravel(), np.array([0.0, 1, 2]), what="dw")


@pytest.mark.value
def test_identity_kernel(level):
    """A one in the middle of the kernel, each channel to itself: the picture comes back."""
    x = rng(1).standard_normal((2, 3, 5, 6))
    w = np.zeros((3, 3, 3, 5))
    w[np.arange(3), np.arange(3), 1, 2] = 1.0
    assert_close(level.conv2d(x, w, padding="same")[0], x, what="out")


@pytest.mark.value
def test_groups_do_not_see_each_other(level):
    """Two groups are two convolutions, side by side: channels and filters in blocks."""
    x, w, b = (rng(k).standard_normal(s) for k, s in enumerate([(2, 6, 5, 4), (4, 3, 2, 3), 4]))
    out, _ = level.conv2d(x, w, b, groups=2)
    halves = [level.conv2d(x[:, 3 * g:3 * g + 3], w[2 * g:2 * g + 2], b[2 * g:2 * g + 2])[0] for g in (0, 1)]
    assert_close(out, np.concatenate(halves, axis=1), what="out")


@pytest.mark.value
@pytest.mark.parametrize("stride", [1, 2])
def test_equivariance(level, stride):
    """A picture moved by stride rows and twice stride columns: the output moves by one and two."""
    x, w = np.zeros((1, 2, 12, 14)), rng(2).standard_normal((3, 2, 3, 3))
    x[:, :, 3:6, 3:6] = rng(3).standard_normal((1, 2, 3, 3))
    moved = np.roll(x, (stride, 2 * stride), axis=(2, 3))
    out, _ = level.conv2d(x, w, stride=stride, padding=1)
    assert_close(level.conv2d(moved, w, stride=stride, padding=1)[0], np.roll(out, (1, 2), axis=(2, 3)), what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [
    {}, {"stride": (2, 1), "padding": (0, 2, 1, 0)}, {"dilation": (1, 2), "padding": "same"},
    {"groups": 2, "padding": (1, 2), "stride": 2, "dilation": (2, 1)}])
def test_central_differences(level, options):
    """Every entry of dx, dw and db."""
    groups = options.get("groups", 1)
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(2, 2, 5, 6), (4, 2 // groups, 2, 3), 4])]
    check_gradients(lambda x, w, b: level.conv2d(x, w, b, **options), level.conv2d_backward, inputs)


@pytest.mark.gradient
def test_adjoint(level):
    """<conv(x), u> = <x, dx(u)> = <w, dw(u)>: linear in x and in w."""
    x, w = rng(4).standard_normal((2, 4, 7, 8)), rng(5).standard_normal((6, 2, 3, 2))
    out, cache = level.conv2d(x, w, None, (2, 3), (1, 0, 2, 1), (1, 2), 2)
    u = rng(6).standard_normal(out.shape)
    dx, dw = level.conv2d_backward(u, cache)
    assert_close(np.vdot(x, dx), np.vdot(out, u), tol=1e-10, what="<x, dx>")
    assert_close(np.vdot(w, dw), np.vdot(out, u), tol=1e-10, what="<w, dw>")


@pytest.mark.gradient
def test_gradients_are_convolutions(level):
    """Both gradients by the forward pass: stride and dilation exchanged; the kernel turned around."""
    swap = lambda a: a.swapaxes(0, 1)
    x, w = rng(7).standard_normal((2, 3, 8, 9)), rng(8).standard_normal((4, 3, 2, 3))
    out, cache = level.conv2d(x, w, dilation=(2, 1))
    dout = rng(9).standard_normal(out.shape)
    dx, dw = level.conv2d_backward(dout, cache)
    assert_close(swap(level.conv2d(swap(x), swap(dout), stride=(2, 1))[0]), dw, tol=1e-10, what="dw")
    turned = swap(w[:, :, ::-1, ::-1])
    assert_close(level.conv2d(dout, turned, padding=(2, 2), dilation=(2, 1))[0], dx, tol=1e-10, what="dx")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": (2, 1), "groups": 1}])
def test_called_twice(level, options):
    """The cache survives; calls share nothing with each other or with what was handed in, and change nothing."""
    inputs = [rng(k).standard_normal(s) for k, s in enumerate([(2, 3, 5, 4), (4, 3, 3, 2), 4])]
    assert_repeatable(lambda *args: level.conv2d(*args, **options), inputs, f_backward=level.conv2d_backward)


@pytest.mark.value
@pytest.mark.parametrize("args, expected", [
    ((7, 3), 5), ((7, 3, 2), 3), ((8, 3, 2), 3), ((8, 3, 2, 1), 4), ((8, 3, 2, (0, 1)), 4), ((9, 3, 2, 0, 3), 2),
    ((5, 5), 1), ((0, 2, 1, 1), 1), ((1, 1, 4), 1), ((10, 2, 3, (2, 0), 4), 3)])
def test_output_size(level, args, expected):
    """The floor, the extent of a dilated kernel, padding on one side."""
    assert level.conv_output_size(*args) == expected


@pytest.mark.value
@pytest.mark.parametrize("args, expected", [
    ((2, 3), ((2, 2), (2, 2))), (((2, 1), 3), ((2, 2), (1, 1))), (((1, 2, 3, 0), 3), ((1, 2), (3, 0))),
    (([2, 1], 3), ((2, 2), (1, 1))), (([1, 2, 3, 0], [3, 2]), ((1, 2), (3, 0))),
    (("same", 3), ((1, 1), (1, 1))), (("same", (2, 5)), ((0, 1), (2, 2))),
    (("same", (4, 2), 1, (1, 3)), ((1, 2), (1, 2))), (("same", (3, 4), (1, 1), (2, 3)), ((2, 2), (4, 5)))])
def test_explicit_padding(level, args, expected):
    """Four forms of padding; an even kernel's odd zero goes to the end."""
    assert level.explicit_padding(*args) == expected


@pytest.mark.value
@pytest.mark.parametrize("layers, expected", [
    ([], (1, 1)), ([(3, 1, 1)], (3, 1)), ([(3, 1, 1), (2, 2, 1), (3, 1, 1)], (8, 2)),
    ([(3, 2, 3), (4, 1, 2), (2, 3, 1)], (21, 6)), ([(2, 1, 2 ** k) for k in range(5)], (32, 1)),
    ([(1, 2, 5), (3, 1, 1)], (5, 2))])
def test_receptive_field(level, layers, expected):
    """A layer's stride counts for the layers behind it, not for itself."""
    assert tuple(level.receptive_field(layers)) == expected


@pytest.mark.value
@pytest.mark.parametrize("seed", range(24))
def test_random_geometries(level, seed):
    """All knobs drawn at random: values and gradients equal those of the loops."""
    from tangled.t11_conv2d_naive import level1_naive as loops
    draw = rng(100 + seed)
    groups, (kh, kw) = int(draw.integers(1, 4)), draw.integers(1, 4, 2)
    same = seed % 4 == 0
    options = {"stride": 1 if same else tuple(draw.integers(1, 5, 2).tolist()), "groups": groups,
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
