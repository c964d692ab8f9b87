# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:1299e3682c3fa991
"""Chapter 16: what is empty, single, constant, far from zero, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


@pytest.mark.parametrize("argument, changes", [
    ("x", {"x": ones((3, 0))}), ("x", {"x": ones((3, 4), int)}), ("x", {"x": 1.0}), ("gamma", {"gamma": ones(3)}),
    ("gamma", {"gamma": ones((1, 4))}), ("gamma", {"gamma": ones(4, np.float32)}), ("gamma", {"gamma": ones(4, int)}),
    ("beta", {"beta": ones(5)}), ("beta", {"beta": 1.0}), ("eps", {"eps": 0.0}), ("eps", {"eps": -1.0}),
    ("eps", {"eps": np.nan}), ("eps", {"eps": "small"}), ("eps", {"eps": None})])
def test_features_refuse(level, argument, changes):
    """Wrong shapes that NumPy would broadcast, wrong dtypes, numbers out of range."""
    good = {"x": ones((3, 4)), "gamma": ones(4), "beta": ones(4)}
    expect_value_error(argument, level.layer_norm, **{**good, **changes})
    if argument != "beta":
        expect_value_error(argument, level.rms_norm, **{k: v for k, v in {**good, **changes}.items() if k != "beta"})
    expect_value_error(argument, level.add_layer_norm, **{**good, "residual": ones((3, 4)), **changes})


@pytest.mark.parametrize("argument, changes", [
    ("x", {"x": ones(4)}), ("x", {"x": ones((2, 0, 3))}), ("x", {"x": ones((2, 4, 0))}), ("groups", {"groups": 3}),
    ("groups", {"groups": 0}), ("groups", {"groups": 2.0}), ("groups", {"groups": True}), ("gamma", {"gamma": ones(3)}),
    ("beta", {"beta": ones((4, 1))}), ("eps", {"eps": 0})])
def test_groups_refuse(level, argument, changes):
    """Channels that groups do not divide, and the like."""
    good = {"x": ones((2, 4, 3)), "groups": 2, "gamma": ones(4), "beta": ones(4)}
    expect_value_error(argument, level.group_norm, **{**good, **changes})
    if argument != "groups":
        del good["groups"]
        expect_value_error(argument, level.instance_norm, **{**good, **changes})


@pytest.mark.parametrize("f, args, text", [
    ("layer_norm", (ones((2, 0)),), "x has shape (2, 0); expected (..., D) with at least one feature"),
    ("layer_norm", (ones((2, 3)), ones(2)), "gamma has shape (2,); expected (3,)"),
    ("group_norm", (ones((2, 6, 3)), 4), "groups = 4; expected a divisor of the 6 channels"),
    ("weight_norm", (np.zeros((2, 3)), ones(2)),
     "v has a row of zeros along axis 0; expected a direction, and zero has none"),
    ("weight_norm", (ones((2, 3)), ones(3), 2), "axis = 2; expected one of the 2 axes of v"),
    ("add_layer_norm", (ones((2, 3)), ones((1, 3))), "residual has shape (1, 3); expected (2, 3), as x")])
def test_messages(level, f, args, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        getattr(level, f)(*args)
    assert str(caught.value) == text


def test_weights_refuse(level):
    """Directions, lengths and axes that are none."""
    for name, args in (("v", (ones((2, 3), int), ones(2))), ("g", (ones((2, 3)), ones(3))), ("g", (ones((2, 3)), 1.0)),
                       ("g", (ones((2, 3)), ones(2, np.float32))), ("axis", (ones((2, 3)), ones(2), 0.0))):
        expect_value_error(name, level.weight_norm, *args)


def test_backward_refuses(level):
    """A dout that would broadcast, and one of integers."""
    x = ones((2, 4, 3))
    for f, cache in ((level.layer_norm_backward, level.layer_norm(x)[1]),
                     (level.rms_norm_backward, level.rms_norm(x)[1]),
                     (level.group_norm_backward, level.group_norm(x, 2)[1])):
        for dout in (x[:1], x[..., :1], x.astype(int)):
            expect_value_error("dout", f, dout, cache)
    _, cache = level.add_layer_norm(x, x)
    expect_value_error("dtotal", level.add_layer_norm_backward, x, x[:1], cache)
    expect_value_error("dw", level.weight_norm_backward, ones((1, 3)), level.weight_norm(ones((2, 3)), ones(2))[1])


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows(level, shape):
    """An empty batch: empty results, sums over nothing."""
    x, gamma = ones(shape), ones(4)
    for out, cache, backward in ((*level.layer_norm(x, gamma, gamma), level.layer_norm_backward),
                                 (*level.rms_norm(x, gamma), level.rms_norm_backward)):
        grads = backward(out, cache)
        assert out.shape == grads[0].shape == shape
        for grad in grads[1:]:
            assert_close(grad, np.zeros(4), what="a sum over nothing")
    out, cache = level.group_norm(ones((0, 4, 3)), 2, gamma, gamma)
    dx, dgamma, dbeta = level.group_norm_backward(out, cache)
    assert out.shape == dx.shape == (0, 4, 3)
    assert_close(np.array([dgamma, dbeta]), np.zeros((2, 4)), what="dgamma, dbeta")


def test_a_row_of_one(level):
    """One number is its own mean: the output is beta, and no gradient gets through. RMS norm keeps its sign."""
    x, beta = np.array([[3.0], [-70.0]]), np.array([5.0])
    out, cache = level.layer_norm(x, ones(1), beta)
    assert_close(out, np.full((2, 1), 5.0), what="out")
    assert_close(level.layer_norm_backward(ones((2, 1)), cache)[0], np.zeros((2, 1)), what="dx")
    assert_close(level.rms_norm(x, eps=1e-12)[0], np.array([[1.0], [-1.0]]), what="RMS norm")
    assert_close(level.instance_norm(np.ones((1, 2, 1, 1)), beta=np.array([1.0, 2.0]))[0].ravel(),
                 np.array([1.0, 2.0]), what="instance norm")


def test_constant_and_zero_rows(level):
    """A constant row gives beta, a row of zeros 0; the gradient is finite and as large as 1 / sqrt(eps)."""
    x, dout = np.array([[3.0] * 4, [0.0] * 4]), rng(0).standard_normal((2, 4))
    out, cache = level.layer_norm(x, None, np.full(4, 7.0))
    assert_close(out, np.full((2, 4), 7.0), what="out")
    dx = level.layer_norm_backward(dout, cache)[0]
    assert_close(dx, (dout - dout.mean(1, keepdims=True)) / np.sqrt(1e-5), what="dx")
    out, cache = level.rms_norm(x[1:])
    assert_close(out, np.zeros((1, 4)), what="RMS norm of zeros")
    assert_close(level.rms_norm_backward(dout[1:], cache)[0], dout[1:] / np.sqrt(1e-5), what="its dx")


@pytest.mark.parametrize("mean", [0, -5, 50])
def test_eps_far_from_zero(level, mean):
    """It counts as much, wherever the mean is: values by the definition."""
    x, eps = mean + rng(62).standard_normal((3, 8)), 0.5
    want = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
    for out in (level.layer_norm(x, eps=eps)[0], level.add_layer_norm(x, 0 * x, eps=eps)[0][0],
                level.group_norm(x.reshape(3, 4, 2), 1, eps=eps)[0].reshape(3, 8),
                level.instance_norm(x[:, None], eps=eps)[0][:, 0]):
        assert_close(out, want, tol=1e-10, what="out")
    assert_close(level.rms_norm(x, eps=eps)[0], x / np.sqrt(np.square(x).mean(1, keepdims=True) + eps), tol=1e-10,
                 what="RMS norm")


def test_constant_rows_raise_nothing(level):
    """Rounding may leave a variance below 0; no root is taken of it, and out is beta, or nearly so."""
    x = np.repeat(np.array([[1000.1], [0.3], [-77.7]], np.float32), 4, axis=1)
    with np.errstate(invalid="raise", divide="raise"):
        for out in (level.layer_norm(x)[0], level.group_norm(x[:, :, None], 1)[0], level.add_layer_norm(x, x)[0][0]):
            assert np.abs(out).max() < 0.1


def test_large_mean_in_float32(level):
    """Mean 10,000, deviation 1: the variance survives; E[x^2] - m^2 loses all of it."""
    x = (1e4 + rng(1).standard_normal((5, 64))).astype(np.float32)
    exact = x.astype(float) - x.astype(float).mean(1, keepdims=True)
    exact /= exact.std(1, keepdims=True)
    assert_close(level.layer_norm(x)[0].astype(float), exact, tol=5e-3, what="layer norm")
    out = level.group_norm(x.reshape(5, 4, 16), 1)[0].reshape(5, 64).astype(float)
    assert_close(out, exact, tol=5e-3, what="group norm")


def test_an_infinite_shift_stays_with_its_feature(level):
    """One infinite beta: that feature is infinite, the others are as without it."""
    x, gamma, beta = rng(40).standard_normal((3, 4)), np.ones(4), np.array([0, np.inf, 0, 0])
    out, plain = (level.layer_norm(x, gamma, b)[0] for b in (beta, np.zeros(4)))
    assert np.isposinf(out[:, 1]).all()
    assert_close(out[:, [0, 2, 3]], plain[:, [0, 2, 3]], tol=1e-12, what="the other features")


@pytest.mark.parametrize("mean", [0, 5])
def test_an_infinite_scale_stays_with_its_feature(level, mean):
    """Two infinite gamma: the sign of x_hat tells which infinity; the other features, dgamma and dbeta as without."""
    x, dout, gamma, beta = mean + rng(41).standard_normal((3, 4)), np.ones((3, 4)), np.ones(4), np.arange(4.0)
    scale = np.array([1, np.inf, 1, -np.inf])
    for op, op_backward, rest in ((level.layer_norm, level.layer_norm_backward, [beta]),
                                  (level.rms_norm, level.rms_norm_backward, [])):
        (out, cache), (plain, other) = (op(x, g, *rest) for g in (scale, gamma))
        assert_close(out[:, ::2], plain[:, ::2], tol=1e-9, what="the other features")
        bare = plain - rest[0] if rest else plain
        assert (out[:, 1::2] == bare[:, 1::2] * scale[1::2]).all(), out
        with np.errstate(all="ignore"):
            for got, want in zip(op_backward(dout, cache)[1:], op_backward(dout, other)[1:], strict=True):
                assert_close(got, want, tol=1e-9, what="dgamma or dbeta")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("mean", [0, 5])
def test_an_infinite_scale_stays_with_its_channel(level, mean):
    """The same of group norm, where PyTorch gives NaN."""
    x, scale, beta = mean + rng(42).standard_normal((3, 4, 5)), np.array([1, 1, 1, -np.inf]), np.arange(4.0)
    (out, cache), (plain, other) = (level.group_norm(x, 2, g, beta) for g in (scale, np.ones(4)))
    assert_close(out[:, :3], plain[:, :3], tol=1e-9, what="the other channels")
    assert (out[:, 3] == (plain[:, 3] - 3) * -np.inf).all(), out
    with np.errstate(all="ignore"):
        for got, want in zip(level.group_norm_backward(np.ones(x.shape), cache)[1:],
                             level.group_norm_backward(np.ones(x.shape), other)[1:], strict=True):
            assert_close(got, want, tol=1e-9, what="dgamma or dbeta")


@pytest.mark.parametrize("far", [0, 1, 3, 100, 1e3, -1e3])
def test_gradients_far_from_zero(level, far):
    """One row with that mean among others around 0: float32 against float64."""
    x, dout = rng(2).standard_normal((2, 6, 4, 12))
    x[2] += far
    x, gamma = x.astype(np.float32), (2 + rng(3).random(12)).astype(np.float32)
    for name, op, op_backward, arguments in (("layer norm", level.layer_norm, level.layer_norm_backward, [gamma]),
                                             ("group norm", level.group_norm, level.group_norm_backward,
                                              [2, gamma[:4]])):
        narrow, exact = (op_backward(dout.astype(dtype), op(x.astype(dtype), *(
            a.astype(dtype) if isinstance(a, np.ndarray) else a for a in arguments))[1])
            for dtype in (np.float32, np.float64))
        for what, got, want in zip(("dx", "dgamma"), narrow, exact):
            assert_close(got.astype(float), want, tol=max(1e-5, 1e-6 * abs(far)), what=f"{what} of {name}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_stays_in_its_row(level, value):
    """It spoils its own row, and no other."""
    x = rng(2).standard_normal((3, 4, 5))
    x[1, 2, 3] = value
    with np.errstate(all="ignore"):
        for out in (level.layer_norm(x)[0], level.rms_norm(x)[0]):
            bad = np.zeros((3, 4), bool)
            bad[1, 2] = True
            assert_close(np.isnan(out).any(-1).astype(float), bad.astype(float), what="rows with a NaN")
        out, _ = level.group_norm(x, 2)
        assert_close(np.isnan(out).any(-1).astype(float), np.isin(np.arange(12), [6, 7]).reshape(3, 4).astype(float),
                     what="channels with a NaN")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_on_the_way_back(level, value):
    """Of dout it reaches its row or group, its dgamma and its dbeta; of x its row: nothing else, and nothing less."""
    where, gamma = lambda a: (~np.isfinite(a)).astype(float), rng(50).uniform(0.5, 1, 4)
    x, dout = rng(51).standard_normal((2, 3, 4, 5))
    for mean in (0, 5):
        rows = x[:, 0] + mean                                   # (3, 5)
        for op, op_backward, rest in ((level.layer_norm, level.layer_norm_backward, [np.zeros(5)]),
                                      (level.rms_norm, level.rms_norm_backward, [])):
            spoilt = dout[:, 0].copy()
            spoilt[1, 3] = value
            with np.errstate(all="ignore"):
                dx, *grads = op_backward(spoilt, op(rows, np.ones(5), *rest)[1])
            assert_close(where(dx), np.array([[0.0] * 5, [1] * 5, [0] * 5]), what="rows of dx")
            for grad in grads:
                assert_close(where(grad), np.array([0.0, 0, 0, 1, 0]), what="dgamma or dbeta")
            other = rows.copy()
            other[1, 3] = value
            with np.errstate(all="ignore"):
                dx, dgamma, *dbeta = op_backward(dout[:, 0], op(other, np.ones(5), *rest)[1])
            assert_close(where(dx).all(1).astype(float), np.array([0.0, 1, 0]), what="rows of dx, for x")
            assert where(dgamma).any() and np.isfinite(dbeta).all()
        spoilt = dout.copy()
        spoilt[2, 1, 3] = value
        with np.errstate(all="ignore"):
            dx, dgamma, dbeta = level.group_norm_backward(spoilt, level.group_norm(x + mean, 2, gamma, gamma)[1])
        reached = np.zeros(x.shape)
        reached[2, :2] = 1
        assert_close(where(dx), reached, what="groups of dx")
        for grad in (dgamma, dbeta):
            assert_close(where(grad), np.array([0.0, 1, 0, 0]), what="dgamma or dbeta of channels")
    v = rng(52).standard_normal((3, 4))
    spoilt = np.ones(v.shape)
    spoilt[1, 2] = value
    with np.errstate(all="ignore"):
        dv, dg = level.weight_norm_backward(spoilt, level.weight_norm(v, np.ones(3))[1])
    assert_close(where(dv), np.array([[0.0] * 4, [1] * 4, [0] * 4]), what="rows of dv")
    assert_close(where(dg), np.array([0.0, 1, 0]), what="dg")


def test_short_directions_are_directions(level):
    """Nothing is added to a length: v a billionth as long gives the same w, and a gradient as many times larger."""
    v, g, dw = rng(53).standard_normal((3, 4)), np.array([2.0, -0.5, 1.0]), rng(54).standard_normal((3, 4))
    (w, cache), (small, other) = (level.weight_norm(scale * v, g) for scale in (1, 1e-9))
    assert_close(small, w, tol=1e-12, what="w")
    (dv, dg), (large, same) = (level.weight_norm_backward(dw, kept) for kept in (cache, other))
    assert_close(1e-9 * large, dv, tol=1e-12, what="dv")
    assert_close(same, dg, tol=1e-12, what="dg")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    x, vector = rng(3).standard_normal((3, 4, 2, 5)), rng(4).standard_normal(4)
    assert_layouts(lambda x, g: level.layer_norm(x, g), [rng(5).standard_normal((3, 2, 4)), vector],
                   f_backward=level.layer_norm_backward)
    assert_layouts(lambda x, g: level.rms_norm(x, g), [rng(5).standard_normal((3, 2, 4)), vector],
                   f_backward=level.rms_norm_backward)
    assert_layouts(lambda x, g: level.group_norm(x, 2, g), [x, vector], f_backward=level.group_norm_backward)
    assert_layouts(lambda v, g: level.weight_norm(v, g, 1), [x, vector], f_backward=level.weight_norm_backward)
    assert_layouts(level.add_layer_norm, [*rng(6).standard_normal((2, 3, 4))],
                   f_backward=lambda dout, cache: level.add_layer_norm_backward(*dout, cache))


@pytest.mark.levels(2)
def test_modules_refuse(level):
    """Sizes that are none, groups that do not divide."""
    for call in (lambda: level.LayerNorm(0), lambda: level.RMSNorm(2.5), lambda: level.LayerNorm(3, eps=0),
                 lambda: level.GroupNorm(0, 4)):
        with pytest.raises(ValueError):
            call()
    expect_value_error("num_groups", level.GroupNorm, 3, 4)
