# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:6904fd970117993d
"""Chapter 16: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t02_autograd import Tensor
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

NORMS = {"layer": "layer_norm", "rms": "rms_norm", "group": "group_norm", "instance": "instance_norm"}
CASES = ("layer", "layer-eps", "layer-vector", "rms", "rms-eps", "group", "group-eps", "group-one", "group-flat",
         "instance", "instance-eps")


def op_of(level, name):
    """The op of a golden case and its backward pass."""
    kind = NORMS[name.partition("-")[0]]
    return getattr(level, kind), getattr(level, kind + "_backward")


def ops(level):
    """(name, op, backward, x, K): each op with what it takes beside gamma and beta."""
    groups = lambda x, *rest, **options: level.group_norm(x, 2, *rest, **options)
    pictures, tokens = rng(0).standard_normal((3, 4, 2, 5)) + 1, rng(1).standard_normal((3, 2, 5)) + 1
    return [("layer", level.layer_norm, level.layer_norm_backward, tokens, 5),
            ("rms", level.rms_norm, level.rms_norm_backward, tokens, 5),
            ("group", groups, level.group_norm_backward, pictures, 4),
            ("instance", level.instance_norm, level.instance_norm_backward, pictures, 4)]


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Biased variance over the right axes, eps under the root, scale and shift per feature."""
    case = golden(name)
    assert_close(op_of(level, name)[0](**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """All gradients, random upstream weights."""
    case = golden(name)
    op, backward = op_of(level, name)
    grads = backward(case.upstream["out"], op(**case.inputs)[1])
    for got, wrt in zip(grads, [k for k in ("x", "gamma", "beta") if k in case.grads], strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
@pytest.mark.parametrize("name", ["weight", "weight-last"])
def test_golden_weight_norm(level, golden, name):
    """Lengths along the first axis and along the last, forward and backward."""
    case = golden(name)
    w, cache = level.weight_norm(**case.inputs)
    assert_close(w, case.outputs["w"], what="w")
    for got, wrt in zip(level.weight_norm_backward(case.upstream["w"], cache), "vg", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_golden_add_layer_norm(level, golden):
    """Both outputs, and the gradients of all four inputs for two upstream gradients."""
    case = golden("add")
    (out, total), cache = level.add_layer_norm(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    assert_close(total, case.outputs["total"], what="total")
    grads = level.add_layer_norm_backward(case.upstream["out"], case.upstream["total"], cache)
    for got, wrt in zip(grads, ("x", "residual", "gamma", "beta"), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale, shift", [(True, True), (True, False), (False, True), (False, False)])
def test_shapes_and_types(level, dtype, scale, shift):
    """Shapes and dtypes of the inputs; gradients for what was given, and no others."""
    for name, op, backward, x, K in ops(level):
        given = {k: np.ones(K, dtype) for k, want in (("gamma", scale), ("beta", shift and name != "rms")) if want}
        out, cache = op(x.astype(dtype), **given)
        grads = backward(out, cache)
        assert [g.shape for g in (out, *grads)] == [x.shape, x.shape, *[(K,)] * len(given)], name
        assert {g.dtype for g in (out, *grads)} == {np.dtype(dtype)}, name


@pytest.mark.value
def test_left_out_is_one_and_zero(level):
    """gamma None is ones, beta None is zeros, forward and backward."""
    for name, op, backward, x, K in ops(level):
        neutral = {"gamma": np.ones(K), "beta": np.zeros(K)}
        if name == "rms":
            del neutral["beta"]
        (out, cache), (expected, other) = op(x), op(x, **neutral)
        assert_close(out, expected, tol=1e-12, what=name)
        dout = rng(2).standard_normal(x.shape)
        assert_close(backward(dout, cache)[0], backward(dout, other)[0], tol=1e-12, what="dx of " + name)


@pytest.mark.value
def test_worked_trace(level):
    """The row of the chapter's trace."""
    x, root = np.array([[2.0, 4, 6, 8]]), 5 ** 0.5
    out, cache = level.layer_norm(x, np.ones(4), np.zeros(4), eps=1e-15)
    assert_close(out * root, np.array([[-3.0, -1, 1, 3]]), tol=1e-9, what="y * sqrt 5")
    dx, dgamma, dbeta = level.layer_norm_backward(np.array([[5.0, 0, 0, 0]]), cache)
    assert_close(dx * root, np.array([[1.5, -2, -0.5, 1]]), tol=1e-9, what="dx * sqrt 5")
    assert_close(dgamma * root, np.array([-15.0, 0, 0, 0]), tol=1e-9, what="dgamma * sqrt 5")
    assert_close(dbeta, np.array([5.0, 0, 0, 0]), tol=1e-9, what="dbeta")


@pytest.mark.value
def test_invariances(level):
    """Layer norm ignores a row's shift and scale, RMS norm its scale alone."""
    x, gamma = rng(3).standard_normal((4, 6)), rng(4).standard_normal(6)
    shift, scale = rng(5).standard_normal((4, 1)), rng(6).uniform(0.5, 2, (4, 1))
    out = level.layer_norm(x, gamma, eps=1e-12)[0]
    assert_close(level.layer_norm(scale * x + shift, gamma, eps=1e-12)[0], out, tol=1e-9, what="layer norm")
    out = level.rms_norm(x, gamma, eps=1e-12)[0]
    assert_close(level.rms_norm(scale * x, gamma, eps=1e-12)[0], out, tol=1e-9, what="RMS norm")
    assert np.abs(level.rms_norm(x + shift, gamma)[0] - out).max() > 0.1


@pytest.mark.value
def test_samples_are_independent(level):
    """On arrays whose axes are all of one size: one sample changes, the others' outputs do not."""
    for name, op, *_ in ops(level):
        x = rng(7).standard_normal((4, 4, 4, 4))
        out, _ = op(x)
        x[2] += rng(8).standard_normal((4, 4, 4))
        other, _ = op(x)
        assert_close(np.delete(other, 2, 0), np.delete(out, 2, 0), tol=1e-12, what=name)
        alone, _ = op(x[2:3])
        assert_close(alone, other[2:3], tol=1e-12, what=name + " of a batch of one")


@pytest.mark.value
def test_groups_between_layer_and_instance(level):
    """One group is the layer norm of all channels and pixels, C groups are instance norm."""
    x, gamma, beta = rng(9).standard_normal((2, 4, 3, 5)), *rng(10).standard_normal((2, 4))
    one, _ = level.group_norm(x, 1)
    assert_close(one, level.layer_norm(x.reshape(2, 60))[0].reshape(x.shape), tol=1e-10, what="one group")
    each, _ = level.group_norm(x, 4, gamma, beta)
    assert_close(each, level.instance_norm(x, gamma, beta)[0], tol=1e-12, what="C groups")
    assert_close(level.instance_norm(x)[0].mean((2, 3)), np.zeros((2, 4)), tol=1e-10, what="means of instance norm")
    halves = np.concatenate([level.group_norm(x[:, k:k + 2], 1)[0] for k in (0, 2)], axis=1)
    assert_close(level.group_norm(x, 2)[0], halves, tol=1e-10, what="two groups, neighbouring channels")


@pytest.mark.gradient
def test_central_differences(level):
    """Every entry of dx, dgamma and dbeta of each."""
    for name, op, backward, x, K in ops(level):
        inputs = [x, rng(11).standard_normal(K)] + ([] if name == "rms" else [rng(12).standard_normal(K)])
        check_gradients(lambda *arrays, op=op: op(*arrays, eps=0.1), backward, inputs)


@pytest.mark.gradient
def test_central_differences_of_the_others(level):
    """Weight norm along each axis; the fused addition, through both of its outputs."""
    for axis in (0, 1, -1):
        v = rng(13).standard_normal((3, 4, 2))
        check_gradients(lambda v, g, axis=axis: level.weight_norm(v, g, axis), level.weight_norm_backward,
                        [v, rng(14).standard_normal(v.shape[axis])])
    inputs = [rng(15).standard_normal((2, 3, 4)), rng(16).standard_normal((2, 3, 4)), *rng(17).standard_normal((2, 4))]
    check_gradients(level.add_layer_norm, lambda dout, cache: level.add_layer_norm_backward(*dout, cache), inputs)


@pytest.mark.value
def test_vectors(level):
    """x of one axis is a row by itself, on both ways; weight norm of a square goes along its axis."""
    x, dout, gamma = rng(58).standard_normal((3, 5)) + [[1], [0], [0]]
    for op, op_backward in ((level.layer_norm, level.layer_norm_backward), (level.rms_norm, level.rms_norm_backward)):
        (out, cache), (rows, other) = op(x, gamma), op(x[None], gamma)
        assert_close(out, rows[0], tol=1e-12, what=op.__name__)
        for got, want in zip(op_backward(dout, cache), op_backward(dout[None], other), strict=True):
            assert_close(got, want.reshape(5), tol=1e-12, what="a gradient of " + op.__name__)
    v, g, dw = rng(59).standard_normal((4, 4)), np.array([2.0, -0.5, 1.0, 3.0]), rng(60).standard_normal((4, 4))
    for axis, turn in ((0, lambda a: a), (1, np.transpose)):
        w, cache = level.weight_norm(turn(v), g, axis)
        length = np.linalg.norm(v, axis=1)
        assert_close(turn(w), v * (g / length)[:, None], tol=1e-12, what="w")
        dv, dg = level.weight_norm_backward(turn(dw), cache)
        assert_close(dg, (dw * v).sum(1) / length, tol=1e-12, what="dg")
        along = v * ((dw * v).sum(1) / length ** 2)[:, None]
        assert_close(turn(dv), (dw - along) * (g / length)[:, None], tol=1e-12, what="dv")


@pytest.mark.value
def test_shift_in_float16(level):
    """It is added to the product before that is rounded: 999.9 is 1000 in float16."""
    x, gamma = np.array([[-1, 1], [1, -1]], np.float16), np.full(2, 1000, np.float16)
    want = np.array([-1999.9, -0.09998])
    for out in (level.layer_norm(x, gamma, -gamma, 2e-4)[0],
                level.group_norm(x[:, None].repeat(2, axis=1), 2, gamma, -gamma, 2e-4)[0][:, 1],
                level.add_layer_norm(0 * x, x, gamma, -gamma, 2e-4)[0][0]):
        assert_close(np.sort(out.astype(float), axis=1), np.array([want, want]), tol=2e-3, what="out")
        assert_close(out.max(axis=1).astype(float), np.full(2, want[1]), tol=2e-3, what="what is left of 1000 - 1000")


@pytest.mark.value
def test_a_sum_beside_a_norm_of_zeros(level):
    """Where gamma is zero, the gradient of the sum itself is all that there is."""
    x, residual, dout, dtotal = rng(61).standard_normal((4, 3, 5))
    _, cache = level.add_layer_norm(x, residual, np.zeros(5), np.zeros(5))
    for got in level.add_layer_norm_backward(dout, dtotal, cache)[:2]:
        assert_close(got, dtotal, tol=1e-12, what="dx, dresidual")


@pytest.mark.value
def test_arguments_in_their_order(level):
    """By place they mean what they mean by name; what is not said of eps is 1e-5, which small numbers feel."""
    x, other, (gamma, beta) = *1e-3 * rng(55).standard_normal((2, 3, 4)), rng(56).standard_normal((2, 4))
    for op, first, options in (
            (level.layer_norm, [x], {"gamma": gamma, "beta": beta, "eps": 1e-4}),
            (level.rms_norm, [x], {"gamma": gamma, "eps": 1e-4}),
            (level.group_norm, [x], {"groups": 2, "gamma": gamma, "beta": beta, "eps": 1e-4}),
            (level.instance_norm, [x[..., None] * np.arange(3)], {"gamma": gamma, "beta": beta, "eps": 1e-4}),
            (level.add_layer_norm, [x], {"residual": other, "gamma": gamma, "beta": beta, "eps": 1e-4})):
        want = np.array(op(*first, **options)[0])
        assert_close(np.array(op(*first, *options.values())[0]), want, tol=0, what=op.__name__)
        by_default, said = (np.array(op(*first, **options)[0]) for options in (
            {k: v for k, v in options.items() if k != "eps"}, options | {"eps": 1e-5}))
        assert_close(by_default, said, tol=0, what=op.__name__ + " by default")
        assert np.abs(by_default - want).max() > 1e-3


@pytest.mark.levels(2)
@pytest.mark.value
def test_arguments_of_modules_in_their_order(level):
    """The same of the modules, in PyTorch's order."""
    x = 1e-3 * rng(57).standard_normal((3, 4, 2, 5)).astype(np.float32)
    for module, size, options in ((level.LayerNorm, (5,), {"eps": 1e-4, "elementwise_affine": True, "bias": False}),
                                  (level.RMSNorm, (5,), {"eps": 1e-4, "elementwise_affine": False}),
                                  (level.GroupNorm, (2, 4), {"eps": 1e-4, "affine": False}),
                                  (level.InstanceNorm2d, (4,), {"eps": 1e-4, "affine": True})):
        modules = module(*size, **options), module(*size, *options.values())
        for part in modules:
            assert_close(part(x), modules[0](x), tol=0, what=module.__name__)
        kept = [[name for name, _ in part.named_parameters()] for part in modules]
        assert kept[0] == kept[1]
        del options["eps"]
        by_default, said = module(*size, **options)(x), module(*size, 1e-5, **options)(x)
        assert_close(by_default, said, tol=0, what=module.__name__ + " by default")
        assert np.abs(by_default - modules[0](x)).max() > 1e-3


@pytest.mark.gradient
def test_chapter_02s_engine(level):
    """The engine of chapter 02 differentiates the elementary steps of layer norm: the same gradients."""
    x, gamma, dout = rng(18).standard_normal((3, 5)), rng(19).standard_normal(5), rng(20).standard_normal((3, 5))
    tensor, scale = Tensor(x), Tensor(gamma)
    deviation = tensor - tensor.mean(axis=1, keepdims=True)
    y = deviation * ((deviation * deviation).mean(axis=1, keepdims=True) + 1e-5) ** -0.5 * scale
    y.backward(dout)
    out, cache = level.layer_norm(x, gamma)
    assert_close(out, y.data, tol=1e-10, what="out")
    for got, want, name in zip(level.layer_norm_backward(dout, cache), (tensor, scale), ("dx", "dgamma"), strict=True):
        assert_close(got, want.grad, tol=1e-9, what=name)


@pytest.mark.gradient
def test_gradients_stand_at_right_angles(level):
    """dx to what nothing changes with: 1 and x_hat for layer norm, x for RMS norm, v for weight norm."""
    x, dout = rng(21).standard_normal((2, 3, 6))
    _, cache = level.layer_norm(x, eps=1e-12)
    (dx,) = level.layer_norm_backward(dout, cache)
    assert_close(dx.sum(1), np.zeros(3), tol=1e-9, what="sum of dx")
    assert_close((dx * x).sum(1), np.zeros(3), tol=1e-9, what="dx . x")
    _, cache = level.rms_norm(x, eps=1e-12)
    assert_close((level.rms_norm_backward(dout, cache)[0] * x).sum(1), np.zeros(3), tol=1e-9, what="dx . x")
    w, cache = level.weight_norm(x, np.array([2.0, 0.5, 1.0]))
    assert_close(np.linalg.norm(w, axis=1), np.array([2.0, 0.5, 1.0]), tol=1e-12, what="lengths")
    assert_close((level.weight_norm_backward(dout, cache)[0] * x).sum(1), np.zeros(3), tol=1e-9, what="dv . v")


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    for _, op, backward, x, K in ops(level):
        assert_repeatable(op, [x, rng(22).standard_normal(K)], f_backward=backward)
    assert_repeatable(level.weight_norm, [rng(23).standard_normal((3, 4)), np.ones(3)],
                      f_backward=level.weight_norm_backward)
    assert_repeatable(level.add_layer_norm, [*rng(24).standard_normal((2, 3, 4))],
                      f_backward=lambda dout, cache: level.add_layer_norm_backward(*dout, cache))


@pytest.mark.value
def test_dtypes(level):
    """Squares of float16 beyond its range are formed in float32; so are the sums."""
    for _, op, backward, x, K in ops(level):
        assert_dtypes(op, [x, rng(25).standard_normal(K)], f_backward=backward)
    v, g = rng(28).standard_normal((3, 4)), rng(29).standard_normal(3)
    assert_dtypes(level.weight_norm, [v, g], f_backward=level.weight_norm_backward)
    assert_dtypes(level.add_layer_norm, [*rng(30).standard_normal((2, 3, 4))],
                  f_backward=lambda dout, cache: level.add_layer_norm_backward(*dout, cache), tol={2: 6e-3})


@pytest.mark.value
def test_sums_in_float32(level):
    """float16: 2048 + 1 is 2048; the ones must not be lost where gradients are summed over rows or pixels."""
    x = rng(31).standard_normal((3, 2, 1)).astype(np.float16)
    dout = np.array([1, 2048, 1], np.float16).reshape(3, 1, 1).repeat(2, axis=1)
    beta = np.zeros(2, np.float16)
    for name, dbeta in (
            ("layer", level.layer_norm_backward(dout[..., 0], level.layer_norm(x[..., 0], None, beta)[1])[-1]),
            ("group", level.group_norm_backward(dout, level.group_norm(x, 1, None, beta)[1])[-1])):
        assert_close(dbeta, np.full(2, 2050, np.float16), tol=0, what="dbeta of " + name)


@pytest.mark.gradient
@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 4, 4), (4, 4, 4, 4), (2, 4, 3, 2, 5), (3, 4)])
def test_shapes_that_hide_an_axis(level, shape):
    """A batch of one, axes of one size, three axes of pixels, none: all gradients against level 1."""
    from tangled.t16_normalizations import level1_naive as loops
    x, dout, (gamma, beta) = *rng(32).standard_normal((2, *shape)), rng(33).standard_normal((2, 4))
    gamma[1] = beta[2] = 0                                      # some of them zero
    for op, args in (("group_norm", (2,)), ("instance_norm", ()), ("layer_norm", ()), ("rms_norm", ())):
        if op in ("layer_norm", "rms_norm") and shape[-1] != 4:
            continue
        given = args + ((gamma,) if op == "rms_norm" else (gamma, beta))
        (out, cache), (expected, of_loops) = (getattr(m, op)(x, *given) for m in (level, loops))
        assert_close(out, expected, tol=1e-10, what=op)
        wanted = getattr(loops, op + "_backward")(dout, of_loops)
        for got, want in zip(getattr(level, op + "_backward")(dout, cache), wanted, strict=True):
            assert_close(got, want, tol=1e-9, what="a gradient of " + op)


@pytest.mark.gradient
def test_parameters_of_zeros(level):
    """A gamma of zeros (that of a branch that starts as nothing) is still one: out is beta, dgamma is there."""
    for name, op, backward, x, K in ops(level):
        given = {"gamma": np.zeros(K), **({} if name == "rms" else {"beta": np.zeros(K)})}
        out, cache = op(x, **given)
        assert_close(out, np.zeros(x.shape), what=name)
        ones_instead = op(x, **{**given, "gamma": np.ones(K)})[1]
        dout = rng(34).standard_normal(x.shape)
        grads, others = backward(dout, cache), backward(dout, ones_instead)
        assert_close(grads[0], np.zeros(x.shape), what="dx of " + name)
        for got, want in zip(grads[1:], others[1:], strict=True):
            assert_close(got, want, tol=1e-12, what="dgamma or dbeta of " + name)


@pytest.mark.levels(2)
@pytest.mark.gradient
@pytest.mark.parametrize("make, shape", [
    (lambda level: level.LayerNorm(5, eps=0.1), (3, 2, 5)), (lambda level: level.LayerNorm(5, bias=False), (3, 5)),
    (lambda level: level.RMSNorm(5, eps=0.1), (3, 5)), (lambda level: level.GroupNorm(2, 4, eps=0.1), (3, 4, 2)),
    (lambda level: level.InstanceNorm2d(3, eps=0.1, affine=True), (2, 3, 2, 4)),
    (lambda level: level.LayerNorm(5, elementwise_affine=False), (3, 5)),
    (lambda level: level.InstanceNorm2d(3), (2, 3, 2, 4))])
def test_module_gradients(level, make, shape):
    """Central differences for x, weight and bias of each module."""
    module = make(level)
    for k, parameter in enumerate(module.parameters()):
        parameter.data[...] = rng(k).standard_normal(parameter.data.shape)
    check_module_gradients(module, [rng(26).standard_normal(shape)])


@pytest.mark.levels(2)
@pytest.mark.value
def test_modules_hand_their_options_on(level):
    """eps, groups, and which parameters there are; initial values; gradients add up."""
    x = rng(27).standard_normal((3, 4, 2, 5)).astype(np.float32)
    for module, expected, names in (
            (level.LayerNorm(5, eps=0.7), level.layer_norm(x, eps=0.7)[0], ["weight", "bias"]),
            (level.LayerNorm(5, bias=False), level.layer_norm(x)[0], ["weight"]),
            (level.RMSNorm(5, eps=0.7), level.rms_norm(x, eps=0.7)[0], ["weight"]),
            (level.RMSNorm(5, elementwise_affine=False), level.rms_norm(x)[0], []),
            (level.GroupNorm(2, 4, eps=0.7), level.group_norm(x, 2, eps=0.7)[0], ["weight", "bias"]),
            (level.GroupNorm(2, 4, affine=False), level.group_norm(x, 2)[0], []),
            (level.LayerNorm(5, elementwise_affine=False), level.layer_norm(x)[0], []),
            (level.InstanceNorm2d(4, affine=True), level.instance_norm(x)[0], ["weight", "bias"]),
            (level.InstanceNorm2d(4, eps=0.7), level.instance_norm(x, eps=0.7)[0], [])):
        assert [name for name, _ in module.named_parameters()] == names
        assert_close(module(x), expected, tol=1e-6, what=type(module).__name__)
        assert_close(module.eval()(x), expected, tol=1e-6, what="in evaluation")
        module.backward(x)
        once = [p.grad.copy() for p in module.parameters()]
        module.backward(x)
        for parameter, grad in zip(module.parameters(), once):
            assert np.abs(grad).max() > 0.1
            assert_close(parameter.grad, 2 * grad, tol=1e-5, what="gradient, twice")
        if module.weight is not None:
            module.weight.data = -module.weight.data
            assert_close(module(x), -expected, tol=1e-6, what="after a step")
