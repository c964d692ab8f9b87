# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:f59c0788f11d4017
"""Chapter 09: what is empty, single, constant, far from zero, or invalid."""

import warnings

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones
READ_ONLY = np.broadcast_to(1.0, 3)


def valid(**changes):
    """Arguments that are right, but for the changes."""
    return {"x": rng(0).standard_normal((4, 3)), "gamma": ones(3), "beta": ones(3),
            "running_mean": ones(3), "running_var": ones(3), "training": True, **changes}


REFUSED = [("x", value) for value in (ones(3), ones((2, 3, 4)), ones((4, 3), int))]
REFUSED += [(name, value) for name in ("gamma", "beta")
            for value in (ones(4), ones((1, 3)), ones(3, int), ones(3, np.float32), 1.0)]
REFUSED += [(name, value) for name in ("running_mean", "running_var")
            for value in (ones(2), ones((3, 1)), ones(3, int), [1.0, 1.0, 1.0], None, READ_ONLY)]
REFUSED += [("training", 1), ("training", None), ("momentum", -0.1), ("momentum", 1.5),
            ("momentum", "0.1"), ("momentum", np.nan), ("eps", 0.0), ("eps", -1e-5),
            ("eps", np.inf), ("eps", None)]


@pytest.mark.parametrize("argument, value", REFUSED)
def test_refuses(level, argument, value):
    """Wrong shapes that NumPy would broadcast, wrong dtypes, numbers out of range."""
    expect_value_error(argument, level.batch_norm, **valid(**{argument: value}))


@pytest.mark.parametrize("changes, text", [
    ({"x": ones((1, 3))},
     "x has shape (1, 3), one number per channel; expected more than one when training is True"),
    ({"x": ones(3)}, "x has shape (3,); expected (N, C) or (N, C, H, W)"),
    ({"gamma": ones(4)}, "gamma has shape (4,); expected (3,)"),
    ({"running_var": None, "training": False},
     "running_var is None; expected an array of shape (3,) when training is False"),
    ({"momentum": 2}, "momentum = 2; expected a number from 0 to 1"),
    ({"training": 1}, "training = 1; expected True or False")])
def test_messages(level, changes, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.batch_norm(**valid(**changes))
    assert str(caught.value) == text


def test_backward_and_fold_refuse(level):
    """A dout that would broadcast, weights of other widths."""
    out, cache = level.batch_norm(**valid())
    for dout in (out[:1], out[:, :1], out.astype(int)):
        expect_value_error("dout", level.batch_norm_backward, dout, cache)
    good = {"W": ones((2, 3)), "b": ones(3), "gamma": ones(3), "beta": ones(3),
            "running_mean": ones(3), "running_var": ones(3)}
    for name, value in (("W", ones(3)), ("W", ones((2, 3), int)), ("b", ones(2)),
                        ("gamma", ones((3, 1))), ("running_var", None), ("eps", 0)):
        expect_value_error(name, level.fold_batch_norm, **{**good, name: value})


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1, 3, 1, 2), (2, 3, 1, 1), (0, 3),
                                   (0, 3, 2, 2), (2, 3, 0, 2)])
def test_batch_of_one_exactly_where_pytorch(level, shape):
    """Refused if a channel has one number, and only then; always fine in evaluation."""
    one_number = shape in ((1, 3), (1, 3, 1, 1))
    if one_number:
        expect_value_error("x", level.batch_norm, **valid(x=ones(shape)))
    else:
        assert level.batch_norm(**valid(x=ones(shape)))[0].shape == shape
    out, _ = level.batch_norm(**valid(x=ones(shape), training=False))
    assert_close(out, ones(shape), tol=1e-12, what="out in evaluation")


@pytest.mark.levels(4)
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1, 3, 1, 2), (2, 3), (0, 3), (1, 0)])
def test_pytorch_refuses_the_same(level, shape):
    """PyTorch itself, asked without our checks: an error for the same shapes."""
    import torch
    import torch.nn.functional as F
    C = shape[1]
    call = lambda: F.batch_norm(torch.ones(shape), torch.zeros(C), torch.ones(C), training=True)
    ours = lambda: level.batch_norm(ones(shape), *ones((4, C)), True)
    if shape in ((1, 3), (1, 3, 1, 1), (1, 0)):
        for f in (call, ours):
            with pytest.raises(ValueError):
                f()
    else:
        assert call().shape == ours()[0].shape == shape


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (4, 3, 0, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_empty(level, shape, training):
    """No warnings, no NaN: empty gradients of x, sums over nothing, statistics untouched."""
    past = [np.full(3, 2.0), np.full(3, 5.0)]
    with np.errstate(all="raise"):
        out, cache = level.batch_norm(ones(shape), ones(3), ones(3), *past, training)
        dx, dgamma, dbeta = level.batch_norm_backward(out, cache)
    assert out.shape == dx.shape == shape
    assert_close(np.array([dgamma, dbeta]), np.zeros((2, 3)), what="dgamma, dbeta")
    assert_close(np.array(past), np.array([[2.0] * 3, [5.0] * 3]), tol=0, what="running")


def test_constant_channel(level):
    """Output beta; the gradient is not 0 but centred, and large: 1 / sqrt(eps)."""
    x, dout = np.full((4, 2), 3.0), rng(1).standard_normal((4, 2))
    out, cache = level.batch_norm(x, ones(2), np.array([5.0, -5.0]), None, None, True)
    assert_close(out, np.broadcast_to([5.0, -5.0], (4, 2)), what="out")
    dx, dgamma, _ = level.batch_norm_backward(dout, cache)
    assert_close(dx, (dout - dout.mean(0)) / np.sqrt(1e-5), what="dx")
    assert_close(dgamma, np.zeros(2), what="dgamma")


def test_batch_of_two_has_only_signs(level):
    """Two samples become -1 and 1 whatever they are, and no gradient gets through."""
    x = np.array([[3.0, -7.0], [3.5, -900.0]])
    out, cache = level.batch_norm(x, ones(2), np.zeros(2), None, None, True, eps=1e-12)
    assert_close(out, np.array([[-1.0, 1.0], [1.0, -1.0]]), what="out")
    dx, _, _ = level.batch_norm_backward(rng(2).standard_normal((2, 2)), cache)
    assert_close(dx, np.zeros((2, 2)), what="dx")


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 4, 4)])
@pytest.mark.parametrize("mean", [1e3, 1e4])
def test_large_mean_in_float32(level, shape, mean):
    """Mean 10,000, deviation 1: the variance survives; E[x^2] - m^2 loses all of it."""
    x = (mean + rng(3).standard_normal(shape)).astype(np.float32)
    axes = (0, 2, 3)[:len(shape) - 1]
    past = np.zeros(3), np.ones(3)
    with np.errstate(all="ignore"):
        out, cache = level.batch_norm(x, ones(3, np.float32), np.zeros(3, np.float32), *past, True,
                                      momentum=1.0)
    exact = x.astype(np.float64)
    expected = exact - exact.mean(axis=axes, keepdims=True)
    expected /= exact.std(axis=axes, keepdims=True)
    assert_close(past[1], exact.var(axis=axes, ddof=1), tol=1e-4, what="running_var")
    assert_close(out.astype(np.float64), expected, tol=5e-3, what="out")
    dout = rng(4).standard_normal(shape).astype(np.float32)
    dgamma = level.batch_norm_backward(dout, cache)[1]
    assert_close(dgamma.astype(float), (dout * expected).sum(axis=axes), tol=0.05, what="dgamma")


def test_first_sample_is_an_outlier(level):
    """A first sample a million off spoils no variance: it is part of it."""
    x = rng(5).standard_normal((50, 2)).astype(np.float32)
    x[0] += 1e6
    past = np.zeros(2), np.ones(2)
    level.batch_norm(x, ones(2, np.float32), ones(2, np.float32), *past, True, momentum=1.0)
    exact = x.astype(np.float64).var(axis=0, ddof=1)
    assert_close(past[1] / exact, np.ones(2), tol=1e-4, what="running_var over the exact one")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_stays_in_its_channel(level, value):
    """One NaN or infinity spoils its own channel, output and statistics, and no other."""
    x, past = rng(6).standard_normal((4, 3, 2, 2)), (np.zeros(3), np.ones(3))
    x[2, 1, 0, 1] = value
    clean, reference = np.nan_to_num(x, posinf=0, neginf=0), (np.zeros(3), np.ones(3))
    expected, _ = level.batch_norm(clean, ones(3), ones(3), *reference, True)
    with np.errstate(invalid="ignore"):
        out, _ = level.batch_norm(x, ones(3), ones(3), *past, True)
    assert_close(out[:, ::2], expected[:, ::2], tol=1e-12, what="the other channels")
    assert_close(past[1][::2], reference[1][::2], tol=1e-12, what="their running_var")
    assert_close(out[:, 1], np.full((4, 2, 2), np.nan), what="the channel itself")
    assert not np.isfinite(past[1][1])


@pytest.mark.parametrize("momentum", [0, 1, 0.0, 1.0])
def test_momentum_at_its_ends(level, momentum):
    """0 keeps the past, 1 forgets it; without running arrays nothing is tracked."""
    x, past = rng(7).standard_normal((5, 2)), (np.full(2, 3.0), np.full(2, 4.0))
    out, _ = level.batch_norm(x, ones(2), ones(2), *past, True, momentum)
    mean, var = (x.mean(0), x.var(0, ddof=1)) if momentum else (np.full(2, 3.0), np.full(2, 4.0))
    assert_close(past[0], mean, what="running_mean")
    assert_close(past[1], var, what="running_var")
    assert_close(level.batch_norm(x, ones(2), ones(2), None, None, True)[0], out, what="untracked")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 6)])
@pytest.mark.parametrize("training", [True, False])
def test_any_layout(level, training, shape):
    """Each input and the upstream gradient in ten layouts: transposed, with gaps, read-only, ..."""
    layer = rng(20).uniform(0.5, 2, (4, 3))
    past = (None, None) if training else layer[2:]
    f = lambda x, gamma, beta: level.batch_norm(x, gamma, beta, *past, training, eps=0.2)
    assert_layouts(f, (rng(21).standard_normal(shape), *layer[:2]), level.batch_norm_backward,
                   names=("x", "gamma", "beta"), tol=1e-9)
    if not training:
        fold = lambda *arrays: level.fold_batch_norm(*arrays, 0.2)
        assert_layouts(fold, (rng(22).standard_normal((4, 3)), layer[3], *layer))


@pytest.mark.parametrize("shape", [(40, 3), (6, 3, 5, 7)])
@pytest.mark.parametrize("training", [True, False])
def test_any_dtype(level, training, shape):
    """float16, float32, float64, small and large, against plain float64; integers are refused."""
    past = (None, None) if training else (np.full(3, 0.5), np.array([0.3, 2, 9]))

    def plain(x, gamma, beta):
        return (exactly(x, x, gamma, beta, *past)[0], (x, gamma, beta))
    back = lambda dout, cache: exactly(cache[0], dout, *cache[1:], *past)[1:]
    f = lambda x, gamma, beta: level.batch_norm(x, gamma, beta, *past, training)
    layer = rng(23).uniform(0.5, 2, (2, 3))
    assert_dtypes(f, (rng(24).standard_normal(shape), *layer), f_backward=level.batch_norm_backward,
                  reference=(plain, back), refuses=(np.int64,), tol={2: 4e-3, 4: 1e-4, 8: 1e-9})


def test_strided_input_of_any_order(level):
    """Channels-last pictures seen as (N, C, H, W), and rows taken backwards: as copies."""
    x = rng(8).standard_normal((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    dout = rng(9).standard_normal((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    for view, grad in ((x, dout), (x[::-1], dout[::-1]), (x[:, :, 0, 0], dout[:, :, 0, 0])):
        kept = view.copy()
        results = []
        for a, g in ((view, grad), (view.copy(), grad.copy())):
            out, cache = level.batch_norm(a, ones(3), ones(3), None, None, True)
            results.append((out, *level.batch_norm_backward(g, cache)))
        for got, want in zip(*results):
            assert_close(got, want, tol=1e-10, what="strided")
        assert_close(view, kept, tol=0, what="x afterwards")


def exactly(x, dout, gamma, beta, mean=None, var=None):
    """out, dx, dgamma, dbeta in float64, for any x (N, C) or (N, C, H, W), eps 1e-5."""
    x, dout, gamma, beta = (np.asarray(a, np.float64) for a in (x, dout, gamma, beta))
    axes, wide = (0, 2, 3)[:x.ndim - 1], (-1, 1, 1)[:x.ndim - 1]
    training = mean is None
    mean, var = (x.mean(axes), x.var(axes)) if training else (mean, var)
    s = (1 / np.sqrt(var + 1e-5)).reshape(wide)
    x_hat = (x - mean.reshape(wide)) * s
    dgamma, dbeta = (dout * x_hat).sum(axes), dout.sum(axes)
    projected = dout
    if training:
        projected = dout - dout.mean(axes, keepdims=True) - x_hat * (dout * x_hat).mean(axes, keepdims=True)
    return (x_hat * gamma.reshape(wide) + beta.reshape(wide), gamma.reshape(wide) * s * projected,
            dgamma, dbeta)


@pytest.mark.parametrize("shape", [(40, 3), (6, 3, 16, 12)])
@pytest.mark.parametrize("mean, deviation", [(0, 1), (30_000, 9_000), (600, 2), (0, 1e-3), (-5, 5)])
def test_half_precision(level, shape, mean, deviation):
    """float16 comes back as float16, and is computed in float32: squares would overflow."""
    x = (mean + deviation * rng(11).standard_normal(shape)).astype(np.float16)
    dout = (rng(12).standard_normal(shape) / 8).astype(np.float16)
    gamma, beta = np.array([0.5, -1, 2], np.float16), np.array([1, 0, -3], np.float16)
    past = np.zeros(3, np.float32), np.ones(3, np.float32)
    out, cache = level.batch_norm(x, gamma, beta, *past, True, momentum=1.0)
    grads = level.batch_norm_backward(dout, cache)
    wide, axes = x.astype(np.float64), (0, 2, 3)[:x.ndim - 1]
    assert_close(past[0], wide.mean(axis=axes), what="running_mean, not rounded to float16")
    assert_close(past[1] / wide.var(axis=axes, ddof=1), np.ones(3), tol=1e-4, what="running_var over the exact one")
    for got, want, what in zip((out, *grads), exactly(x, dout, gamma, beta),
                               ("out", "dx", "dgamma", "dbeta"), strict=True):
        assert got.dtype == np.float16, f"{what} has dtype {got.dtype}"
        scale = np.abs(want).max()
        assert_close(got / scale, want / scale, tol=2e-3, what=what)


@pytest.mark.parametrize("shape", [(2000, 3), (20, 3, 10, 8)])
def test_sums_too_large_for_float16(level, shape):
    """dgamma and dbeta beyond 65,504 are infinite, without a warning; dx was made from the sums before that."""
    x = rng(15).standard_normal(shape).astype(np.float16)
    dout = (100 + 90 * x + rng(16).standard_normal(shape)).astype(np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, cache = level.batch_norm(x, np.full(3, 8, np.float16), np.zeros(3, np.float16), None, None, True)
        dx, *sums = level.batch_norm_backward(dout, cache)
        out, cache = level.batch_norm(x, *np.full((2, 3), 6e4, np.float16), None, None, True)
        far = level.batch_norm_backward(dout, cache)[0]
    want = exactly(x, dout, np.full(3, 8), np.zeros(3))[1]
    assert_close(dx.astype(float), want, tol=4e-3, what="dx")
    assert_close(np.array(sums), np.full((2, 3), np.inf, np.float16), what="dgamma, dbeta")
    assert np.isinf(out).any() and np.isinf(far).any() and not np.isnan(out).any()


def test_statistics_of_float16(level):
    """Running statistics in float16 take in a variance that float16 does not hold, if a tenth of it fits."""
    x = (300 * rng(17).standard_normal((40, 3))).astype(np.float32)
    past = np.zeros(3, np.float16), np.ones(3, np.float16)
    level.batch_norm(x, *ones((2, 3), np.float32), *past, True)
    assert_close(past[1].astype(float), 0.9 + 0.1 * x.var(axis=0, ddof=1).astype(float), tol=2e-3, what="running_var")


def test_constant_channel_of_large_numbers(level):
    """A variance is never below 0, however the sums were rounded: the output is finite."""
    for value in (1e6 + 0.3, 1e7):
        x, past = np.full((3000, 3), value, np.float32), (np.zeros(3), np.ones(3))
        out, _ = level.batch_norm(x, *ones((2, 3), np.float32), *past, True, momentum=1.0)
        assert np.isfinite(out).all() and past[1].min() >= 0


def test_half_precision_in_evaluation(level):
    """A large slope and a large shift that cancel: 300 x - 90,000, neither fits in float16."""
    x, past = np.array([[300.0], [301.0], [310.0]], np.float16), (np.full(1, 300.0), np.ones(1))
    gamma, beta = np.full(1, 300, np.float16), np.zeros(1, np.float16)
    out, cache = level.batch_norm(x, gamma, beta, *past, False, eps=1e-9)
    assert_close(out.astype(float), np.array([[0.0], [300], [3000]]), tol=1e-6, what="out")
    out, _ = level.batch_norm(x, gamma, beta, np.full(1, 300.05), np.full(1, 1e5), False, eps=1e-9)
    wide = np.array([[-0.05], [0.95], [9.95]]) * 300 / 1e5 ** 0.5
    assert_close(out.astype(float), wide, tol=2e-3, what="out, by statistics that float16 does not hold")
    dx, *_ = level.batch_norm_backward(ones((3, 1), np.float16), cache)
    assert_close(dx.astype(float), np.full((3, 1), 300.0), tol=1e-6, what="dx")
    fold = lambda gamma: level.fold_batch_norm(ones((2, 1), np.float16), None, gamma, beta,
                                               np.full(1, 100, np.float16), np.full(1, 1e-4, np.float16), 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (W, b), (high, _) = fold(gamma), fold(100 * gamma)
    assert_close(W.astype(float), np.full((2, 1), 300 / 0.0101 ** 0.5), tol=1e-3, what="W")
    assert_close(b.astype(float), np.full(1, -np.inf), what="b, beyond float16")
    assert_close(high.astype(float), np.full((2, 1), np.inf), what="W, beyond float16")


@pytest.mark.parametrize("dtype", [np.longdouble, ">f4", complex, int, bool, object])
def test_refuses_other_types(level, dtype):
    """What is neither float16, float32 nor float64 in the machine's order is refused."""
    expect_value_error("x", level.batch_norm, **valid(x=ones((4, 3)).astype(dtype)))
    expect_value_error("W", level.fold_batch_norm, ones((2, 3)).astype(dtype), *ones((5, 3)))


@pytest.mark.parametrize("name, other", [("running_mean", "gamma"), ("running_mean", "beta"),
                                         ("running_var", "gamma"), ("running_var", "beta"),
                                         ("running_var", "running_mean")])
def test_refuses_statistics_that_are_shared(level, name, other):
    """One array in two roles would be overwritten in the middle; views of it too."""
    array = ones(3)
    expect_value_error(name, level.batch_norm, **valid(**{name: array, other: array[::-1][::-1]}))
    columns = ones((3, 4))                                      # interleaved, and apart
    level.batch_norm(valid()["x"], *columns.T, True)


@pytest.mark.parametrize("mean, tolerance", [(0, 2e-5), (100, 1e-4)])
def test_tall_batch(level, mean, tolerance):
    """4,096 samples and more in float32: a variance to four digits, whoever comes first."""
    for n in (4096, 50_000):
        x = (mean + rng(13).standard_normal((n, 3))).astype(np.float32)
        x[0, 1] += 100.0                                        # one channel begins far out
        past = np.zeros(3), np.ones(3)
        level.batch_norm(x, *ones((2, 3), np.float32), *past, True, momentum=1.0)
        exact = x.astype(np.float64).var(axis=0, ddof=1)
        assert_close(past[1] / exact, ones(3), tol=tolerance, what="running_var over the exact one")


@pytest.mark.levels(2)
def test_modules_refuse(level):
    """A number of channels that is none, pictures for 1-D, rows for 2-D, other widths."""
    for value in (0, -1, 2.0, True, None, "3"):
        expect_value_error("num_features", level.BatchNorm1d, value)
    expect_value_error("x", level.BatchNorm1d(3), ones((2, 3, 4, 4), np.float32))
    expect_value_error("x", level.BatchNorm2d(3), ones((2, 3), np.float32))
    expect_value_error("x", level.BatchNorm1d(3), ones((2, 4), np.float32))
    with pytest.raises(RuntimeError, match="before forward"):
        level.BatchNorm1d(3).backward(ones((2, 3)))
