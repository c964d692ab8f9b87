# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:e134cc0ba1f7af4a
"""Chapter 09: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t02_autograd import Tensor
from tangled.t06_backpropagation import ReLU, Sequential
from tangled.testing import assert_close, check_gradients, check_module_gradients, rng

TRAIN = ("train-1d", "train-2d", "train-two", "train-pixels", "train-momentum", "train-eps",
         "train-constant")
ALL = (*TRAIN, "eval-1d", "eval-2d", "eval-one", "eval-eps")
SHAPES = ((6, 3), (3, 2, 2, 3))


def layer(channels, seed=1, dtype=np.float64):
    """gamma, beta, running_mean, running_var, (C,) each."""
    generator = rng(seed)
    arrays = (*generator.standard_normal((3, channels)), generator.uniform(0.3, 2, channels))
    return [array.astype(dtype) for array in arrays]


def own(inputs):
    """Keyword arguments with running arrays that may be written to."""
    return {k: v.copy() if k.startswith("running") else v for k, v in inputs.items()}


def flat(x):
    """x (N, C) or (N, C, H, W) as (C, M)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


@pytest.mark.shape
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_types(level, shape, training, dtype):
    """Shapes of the inputs; float32 is not promoted, forward or backward."""
    x = rng(0).standard_normal(shape).astype(dtype)
    out, cache = level.batch_norm(x, *layer(shape[1], dtype=dtype), training)
    grads = level.batch_norm_backward(out, cache)
    for got, want in zip((out, *grads), (shape, shape, shape[1:2], shape[1:2]), strict=True):
        assert got.shape == want and got.dtype == dtype


@pytest.mark.shape
@pytest.mark.parametrize("one, other", [(np.float32, np.float64), (np.float64, np.float32)])
def test_statistics_of_another_type(level, one, other):
    """x decides about the dtype of the results, W about that of the folded layer."""
    x, (gamma, beta, *_), (*_, mean, var) = np.ones((4, 3), one), layer(3, dtype=one), layer(3, dtype=other)
    for training in (True, False):
        out, cache = level.batch_norm(x, gamma, beta, mean, var, training)
        assert {out.dtype, *(g.dtype for g in level.batch_norm_backward(out, cache))} == {np.dtype(one)}
    W, b = level.fold_batch_norm(np.ones((2, 3), one), None, *layer(3, dtype=other))
    assert W.dtype == b.dtype == one and W.shape == (2, 3) and mean.dtype == other


@pytest.mark.value
@pytest.mark.parametrize("name", ALL)
def test_golden_values(level, golden, name):
    """Biased variance over the right axes, eps under the root, the past in evaluation."""
    case = golden(name)
    out, _ = level.batch_norm(**own(case.inputs))
    assert_close(out, case.outputs["out"], what="out")


@pytest.mark.value
@pytest.mark.parametrize("name", ALL)
def test_golden_running_statistics(level, golden, name):
    """Unbiased variance, the weight of the new; untouched in evaluation; updated in place."""
    case = golden(name)
    inputs = own(case.inputs)
    level.batch_norm(**inputs)
    for key in ("running_mean", "running_var"):
        assert_close(inputs[key], case.outputs[key], what=key)


@pytest.mark.gradient
@pytest.mark.parametrize("name", ALL)
def test_golden_gradients(level, golden, name):
    """All three gradients, random upstream weights; a constant channel is included."""
    case = golden(name)
    _, cache = level.batch_norm(**own(case.inputs))
    grads = level.batch_norm_backward(case.upstream["out"], cache)
    for got, wrt in zip(grads, ("x", "gamma", "beta"), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
@pytest.mark.parametrize("name", ["fold", "fold-eps", "fold-without-bias"])
def test_golden_fold(level, golden, name):
    """Weights and bias of the merged layer, as PyTorch merges them."""
    case = golden(name)
    W, b = level.fold_batch_norm(**{"b": None, **case.inputs})
    assert_close(W, case.outputs["W"], what="W")
    assert_close(b, case.outputs["b"], what="b")


@pytest.mark.value
@pytest.mark.parametrize("rows, channels", [(4, 3), (3, 4), (2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fold_is_exact(level, rows, channels, bias, dtype):
    """Linear and evaluation in a row equal the folded layer, whatever eps is; the inputs stay as they were."""
    u, W = rng(2).standard_normal((9, rows)).astype(dtype), rng(3).standard_normal((rows, channels)).astype(dtype)
    past, b = layer(channels, dtype=dtype), rng(4).uniform(1, 2, channels).astype(dtype) if bias else None
    given = [array for array in (W, b, *past) if array is not None]
    for eps in (0.7, 1e-3):
        expected, _ = level.batch_norm(u @ W + b if bias else u @ W, *past, False, eps=eps)
        kept = [a.copy() for a in given]
        new_W, new_b = level.fold_batch_norm(W, b, *past, eps)
        tol = 1e-12 if dtype == np.float64 else 2e-5
        assert_close(u @ new_W + new_b, expected, tol=tol, what=f"folded, eps {eps}")
        new_W += 1.0
        new_b += 1.0
        for now, before in zip(given, kept):
            assert_close(now, before, tol=0, what="an argument afterwards")


@pytest.mark.value
def test_an_eps_of_float32(level):
    """NumPy's number of 32 bits is a number: what is computed in float64 stays in float64."""
    x, past, eps = rng(2).standard_normal((9, 3)), layer(3), np.float32(0.1)
    found, want = (level.batch_norm(x, *past, False, eps=e)[0] for e in (eps, float(eps)))
    assert_close(found, want, tol=1e-13, what="y")
    found, want = (level.fold_batch_norm(x.T, None, *(a.repeat(3) for a in past), e)[0] for e in (eps, float(eps)))
    assert_close(found, want, tol=1e-13, what="W")


@pytest.mark.value
def test_worked_trace(level):
    """The eight numbers of the chapter's trace, forward, backward and running."""
    x, past = np.array([2.0, 4, 4, 4, 5, 5, 7, 9])[:, None], (np.zeros(1), np.ones(1))
    out, cache = level.batch_norm(x, np.array([2.0]), np.array([1.0]), *past, True, eps=1e-12)
    assert_close(out[:, 0], np.array([-2.0, 0, 0, 0, 1, 1, 3, 5]), tol=1e-9, what="y")
    dx, dgamma, dbeta = level.batch_norm_backward(np.eye(8)[:, 7:], cache)
    assert_close(dx[:, 0], np.array([2, 0, 0, 0, -1, -1, -3, 3]) / 8, tol=1e-9, what="dx")
    assert_close(np.array([dgamma[0], dbeta[0]]), np.array([2.0, 1.0]), tol=1e-9, what="dgamma, dbeta")
    assert_close(np.array([*past]), np.array([[0.5], [0.9 + 3.2 / 7]]), tol=1e-9, what="running")


@pytest.mark.value
@pytest.mark.parametrize("shape", SHAPES)
def test_output_has_the_moments_asked_for(level, shape):
    """Mean beta and mean square gamma^2 var / (var + eps), channel by channel."""
    x, (gamma, beta, *_) = 5 * rng(4).standard_normal(shape) + 2, layer(shape[1])
    out, _ = level.batch_norm(x, gamma, beta, None, None, True, eps=0.1)
    assert_close(flat(out).mean(1), beta, tol=1e-10, what="mean")
    var = flat(x).var(1)
    assert_close(flat(out).var(1), gamma ** 2 * var / (var + 0.1), tol=1e-10, what="variance")


@pytest.mark.value
def test_running_statistics_are_a_weighted_sum(level):
    """Five batches, against the closed form, with the start's weight (1 - m)^5."""
    batches, (gamma, beta, *past) = rng(5).standard_normal((5, 8, 2)) * 3, layer(2)
    start = [r.copy() for r in past]
    for x in batches:
        level.batch_norm(x, gamma, beta, *past, True, momentum=0.2)
    weights = 0.2 * 0.8 ** np.arange(4, -1, -1)
    for got, new, first in zip(past, (batches.mean(1), batches.var(1, ddof=1)), start):
        assert_close(got, 0.8 ** 5 * first + weights @ new, tol=1e-10, what="running")


@pytest.mark.value
def test_evaluation_is_blind_to_the_batch(level):
    """One sample gives what it gives among others; the running statistics stay."""
    x, past = rng(6).standard_normal((5, 3, 2, 2)), layer(3)
    kept = [array.copy() for array in past]
    out, _ = level.batch_norm(x, *past, False)
    for n in range(5):
        alone, _ = level.batch_norm(x[n:n + 1], *past, False)
        assert_close(alone, out[n:n + 1], tol=1e-12, what="alone")
    for now, before in zip(past, kept):
        assert_close(now, before, tol=0, what="an argument afterwards")


@pytest.mark.gradient
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_central_differences(level, shape, training):
    """Every entry of dx, dgamma, dbeta, through mean and variance in training."""
    gamma, beta, *past = layer(shape[1])
    check_gradients(lambda x, gamma, beta: level.batch_norm(x, gamma, beta, *past, training),
                    level.batch_norm_backward, [rng(7).standard_normal(shape), gamma, beta])


@pytest.mark.gradient
@pytest.mark.parametrize("shape", SHAPES)
def test_chapter_02s_engine(level, shape):
    """The engine of chapter 02 differentiates the elementary steps: the same gradients."""
    x, (gamma, beta, *_) = rng(8).standard_normal(shape), layer(shape[1])
    axes, wide = (0, 2, 3)[:len(shape) - 1], (-1, 1, 1)[:len(shape) - 1]
    tensors = [Tensor(a) for a in (x, gamma, beta)]
    deviation = tensors[0] - tensors[0].mean(axis=axes, keepdims=True)
    var = (deviation * deviation).mean(axis=axes, keepdims=True)
    y = deviation * (var + 1e-5) ** -0.5 * tensors[1].reshape(*wide) + tensors[2].reshape(*wide)
    dout = rng(9).standard_normal(shape)
    y.backward(dout)
    out, cache = level.batch_norm(x, gamma, beta, None, None, True)
    assert_close(out, y.data, tol=1e-10, what="out")
    for got, tensor, name in zip(level.batch_norm_backward(dout, cache), tensors,
                                 ("dx", "dgamma", "dbeta"), strict=True):
        assert_close(got, tensor.grad, tol=1e-9, what=name)


@pytest.mark.gradient
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_stands_at_right_angles(level, shape):
    """dx sums to 0 with the weights 1 and x_hat: it is projected."""
    x, dout = rng(10).standard_normal((2, *shape))
    ones, zeros = np.ones(shape[1]), np.zeros(shape[1])
    x_hat, cache = level.batch_norm(x, ones, zeros, None, None, True, eps=1e-12)
    dx = flat(level.batch_norm_backward(dout, cache)[0])
    assert np.abs(dx).max() > 0.1
    assert_close(dx.sum(1), zeros, tol=1e-9, what="sum of dx")
    assert_close((dx * flat(x_hat)).sum(1), zeros, tol=1e-9, what="sum of dx * x_hat")


@pytest.mark.gradient
def test_weights_of_any_length(level):
    """Ten times the weights: the same output, a tenth of the gradient, at right angles to W."""
    u, W, dout = rng(11).standard_normal((8, 4)), rng(12).standard_normal((4, 3)), rng(13)
    dout, ones, zeros = dout.standard_normal((8, 3)), np.ones(3), np.zeros(3)
    outs, grads = [], []
    for scaled in (W, 10 * W):
        out, cache = level.batch_norm(u @ scaled, ones, zeros, None, None, True, eps=1e-12)
        outs.append(out)
        grads.append(u.T @ level.batch_norm_backward(dout, cache)[0])
    assert_close(outs[1], outs[0], tol=1e-9, what="output")
    assert_close(10 * grads[1], grads[0], tol=1e-9, what="gradient")
    assert_close((W * grads[0]).sum(0), zeros, tol=1e-9, what="W . dW")


@pytest.mark.gradient
@pytest.mark.parametrize("training", [True, False])
def test_everything_twice(level, training):
    """A second call, forward or backward, gives the same; nothing handed in is changed or shared."""
    x, dout, other = rng(14).standard_normal((3, 4, 3, 2, 2))
    gamma, beta, *past = layer(3)
    kept = [a.copy() for a in (x, dout, gamma, beta)]
    run = lambda x: level.batch_norm(x, gamma, beta, *(r.copy() for r in past), training)
    first, cache = run(x)
    expected = first.copy()
    grads = [g.copy() for g in level.batch_norm_backward(dout, cache)]
    _, unrelated = run(other)
    for array in (first, *level.batch_norm_backward(dout, unrelated)):
        array[...] = 7.0                                        # results belong to the caller
    assert_close(run(x)[0], expected, tol=0, what="out, second call")
    for _ in range(2):
        for got, want, name in zip(level.batch_norm_backward(dout, cache), grads, "xgb"):
            assert_close(got, want, tol=0, what="gradient, again: " + name)
            got[...] = 7.0
    for now, before in zip((x, dout, gamma, beta), kept):
        assert_close(now, before, tol=0, what="an argument afterwards")


@pytest.mark.gradient
def test_statistics_move_on(level):
    """The cache of an evaluation holds the statistics of its time: a training step before backward changes none."""
    x, (gamma, beta, *past) = rng(14).standard_normal((5, 3)), layer(3)
    _, cache = level.batch_norm(x, gamma, beta, *past, False)
    expected = [g.copy() for g in level.batch_norm_backward(x, cache)]
    level.batch_norm(9 * x, gamma, beta, *past, True)
    for got, want, name in zip(level.batch_norm_backward(x, cache), expected, ("dx", "dgamma", "dbeta")):
        assert_close(got, want, tol=0, what=f"{name}, after a training step")


@pytest.mark.levels(2)
@pytest.mark.gradient
@pytest.mark.parametrize("name, shape", [("BatchNorm1d", (5, 3)), ("BatchNorm2d", (2, 3, 2, 2))])
@pytest.mark.parametrize("training", [True, False])
def test_module_gradients(level, name, shape, training):
    """Central differences for x, weight and bias of the modules, in both modes."""
    module = getattr(level, name)(3).train(training)
    module.weight.data[:] = 0.5, -1.0, 2.0
    check_module_gradients(module, [rng(15).standard_normal(shape)])


@pytest.mark.levels(2)
@pytest.mark.value
def test_module_state(level):
    """Parameters and buffers are saved and restored; evaluation after loading is the same."""
    first, second = level.BatchNorm1d(3), level.BatchNorm1d(3)
    x = (4 * rng(16).standard_normal((20, 3)) + 1).astype(np.float32)
    first(x)
    first.bias.data[:] = 7.0
    state = first.state_dict()
    assert set(state) == {"weight", "bias", "running_mean", "running_var"}
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    assert_close(state["running_mean"], 0.1 * x.mean(0), what="running_mean")
    assert_close(state["running_var"], 0.9 + 0.1 * x.var(0, ddof=1), what="running_var")
    second.load_state_dict(state)
    assert_close(second.eval()(x), first.eval()(x), tol=0, what="after loading")
    assert [name for name, _ in first.named_parameters()] == ["weight", "bias"]


@pytest.mark.levels(2)
@pytest.mark.value
def test_module_modes_and_accumulation(level):
    """train() follows the batch, eval() the past; a second backward adds to the gradients."""
    module = level.BatchNorm2d(2)
    x = rng(17).standard_normal((3, 2, 4, 4)).astype(np.float32) + 5
    assert_close(flat(module(x)).mean(1), np.zeros(2), what="mean in training")
    past = module.running_mean.copy(), module.running_var.copy()
    a = 1 / np.sqrt(past[1] + 1e-5)
    expected = (x - past[0][:, None, None]) * a[:, None, None]
    assert_close(module.eval()(x), expected, what="out in evaluation")
    assert_close(module.running_mean, past[0], tol=0, what="running_mean after evaluation")
    assert_close(module.backward(x), x * a[:, None, None], what="dx in evaluation")
    once = module.weight.grad.copy(), module.bias.grad.copy()
    module.backward(x)
    assert_close(module.weight.grad, 2 * once[0], what="weight.grad")
    assert_close(module.bias.grad, 2 * once[1], what="bias.grad")


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("name, shape", [("BatchNorm1d", (5, 3)), ("BatchNorm2d", (2, 3, 2, 2))])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.35}, {"eps": 0.6}, {"momentum": 0.7, "eps": 0.2}])
def test_module_hands_its_options_on(level, name, shape, options):
    """The module is the op with its own momentum and eps, in both modes."""
    module, x = getattr(level, name)(3, **options), rng(18).standard_normal(shape).astype(np.float32)
    gamma, beta, mean, var = np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)
    for mode in (True, False):
        expected, _ = level.batch_norm(x.astype(float), gamma, beta, mean, var, mode, **options)
        assert_close(module.train(mode)(x), expected.astype(np.float32), tol=1e-5, what="out")
        assert_close(module.running_mean, mean.astype(np.float32), tol=1e-6, what="running_mean")
        assert_close(module.running_var, var.astype(np.float32), tol=1e-6, what="running_var")


@pytest.mark.levels(2)
@pytest.mark.value
def test_nested_modules(level):
    """Two levels down in a network: modes, parameters, buffers, a state that is restored."""
    def network():
        inner = Sequential(level.BatchNorm1d(3, momentum=1.0), ReLU())
        return Sequential(Sequential(inner), level.BatchNorm1d(3, momentum=0.5))

    first, second = network(), network()
    x = (2 * rng(19).standard_normal((20, 3)) + 4).astype(np.float32)
    first(x)
    assert_close(first[0][0][0].running_mean, x.mean(0), what="running_mean two levels down")
    state = first.state_dict()
    assert len(state) == 8 and len(first.parameters()) == 4
    second.load_state_dict(state)
    hidden = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0, ddof=1) + 1e-5), 0)
    mean, var = 0.5 * hidden.mean(0), 0.5 + 0.5 * hidden.var(0, ddof=1)
    for model in (first.eval(), second.eval()):                 # not exactly: mean of the batch
        start = np.maximum((x[:1] - x.mean(0)) / np.sqrt(x.var(0, ddof=1) + 1e-5), 0)
        assert model[0][0][0].training is False
        got = model(x[:1])
        loose = np.abs(got - (start - mean) / np.sqrt(var + 1e-5)).max()
        assert loose < 0.1, f"one sample in evaluation is off by {loose:.2g}"
    assert_close(second(x[:1]), first(x[:1]), tol=0, what="after loading")
    assert first.train()[0][0][0].training is True
