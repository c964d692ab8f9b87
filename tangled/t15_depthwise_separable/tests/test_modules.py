# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:be9aadd7dbb1096f
"""Chapter 15: modules, blocks, counters, the character model and its program."""

import numpy as np
import pytest

from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.t06_backpropagation import CrossEntropyLoss, Linear, Module, ReLU, Sequential
from tangled.t09_batch_norm import BatchNorm2d, batch_norm
from tangled.t11_conv2d_naive import conv2d
from tangled.t12_im2col import Conv2d, ConvTranspose2d
from tangled.t15_depthwise_separable import train_names
from tangled.t15_depthwise_separable.mobilenet import GlobalMean, mobilenet
from tangled.testing import assert_close, check_module_gradients, expect_value_error, rng

pytestmark = pytest.mark.levels(2, 3)

SIZES = [("DepthwiseConv2d", (4, (3, 2)), {"multiplier": 2, "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
          (2, 4, 5, 6), (8, 1, 3, 2)),
         ("PointwiseConv2d", (4, 6), {}, (2, 4, 3, 5), (6, 4)),
         ("CausalConv1d", (4, 6, 3), {"dilation": 2}, (2, 4, 7), (6, 4, 3))]


@pytest.mark.gradient
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name, sizes, options, shape, weight", SIZES)
def test_module_gradients(level, name, sizes, options, shape, weight, bias):
    """Central differences for x, weight and bias."""
    module = getattr(level, name)(*sizes, bias=bias, **options)
    check_module_gradients(module, [rng(0).standard_normal(shape)])
    assert [key for key, _ in module.named_parameters()] == ["weight", "bias"][:1 + bias]


@pytest.mark.value
@pytest.mark.parametrize("name, sizes, options, shape, weight", SIZES)
def test_modules_equal_their_ops(level, name, sizes, options, shape, weight):
    """Every argument reaches the op; gradients add up; the weights come from the generator."""
    op = {"DepthwiseConv2d": "depthwise_conv2d", "PointwiseConv2d": "pointwise_conv2d",
          "CausalConv1d": "causal_conv1d"}[name]
    module = getattr(level, name)(*sizes, rng=rng(1), **options)
    x = rng(2).standard_normal(shape).astype(np.float32)
    given = {key: value for key, value in options.items() if key != "multiplier"}
    expected, cache = getattr(level, op)(x, module.weight.data, module.bias.data, **given)
    assert_close(module(x), expected, tol=1e-6, what="out")
    module.backward(expected)
    module.backward(expected)
    grads = getattr(level, op + "_backward")(expected, cache)
    assert_close(module.weight.grad, 2 * grads[1], tol=1e-5, what="weight.grad, twice")
    assert_close(module.bias.grad, 2 * grads[2], tol=1e-5, what="bias.grad, twice")
    assert module.weight.data.shape == weight and module.weight.data.dtype == np.float32
    bound = np.prod(weight[1:]) ** -0.5
    assert 0.7 * bound < np.abs(module.weight.data).max() <= bound
    again, other = (getattr(level, name)(*sizes, rng=rng(seed), **options) for seed in (1, 3))
    assert_close(again.weight.data, module.weight.data, tol=0, what="the same seed")
    assert np.abs(other.weight.data - module.weight.data).max() > 0.1 * bound


@pytest.mark.gradient
def test_squeeze_excite_module(level):
    """The op on the weights of two linear layers; every parameter gets its own gradient."""
    module, x = level.SqueezeExcite(5, 3, rng(4)), rng(5).standard_normal((2, 5, 3, 4)).astype(np.float32)
    for parameter in module.parameters():
        parameter.data[...] = rng(6).uniform(0.1, 1, parameter.data.shape)
    assert [(key, p.data.shape) for key, p in module.named_parameters()] == [
        ("fc1.weight", (5, 3)), ("fc1.bias", (3,)), ("fc2.weight", (3, 5)), ("fc2.bias", (5,))]
    expected, _ = level.squeeze_excite(x, *(p.data for p in module.parameters()))
    assert_close(module(x), expected, tol=1e-6, what="out")
    check_module_gradients(module, [x])
    module.zero_grad()
    module(x)
    module.backward(expected)
    once = [p.grad.copy() for p in module.parameters()]
    module.backward(expected)
    for parameter, grad in zip(module.parameters(), once):
        assert np.abs(grad).max() > 0
        assert_close(parameter.grad, 2 * grad, tol=1e-6, what="gradient, twice")
    kept = module.state_dict()
    assert np.abs(level.SqueezeExcite(5, 3, rng(7)).fc1.weight.data - level.SqueezeExcite(
        5, 3, rng(4)).fc1.weight.data).max() > 0.01
    other = level.SqueezeExcite(5, 3, rng(7))
    other.load_state_dict(kept)
    assert_close(other(x), expected, tol=1e-6, what="after load_state_dict")


@pytest.mark.value
def test_relu6(level):
    """Cut at 0 and 6, open only between; the dtype stays."""
    module, x = level.ReLU6(), np.array([-1.0, 0, 0.5, 5.5, 6, 7], np.float32)
    out = module(x)
    assert_close(out, np.array([0, 0, 0.5, 5.5, 6, 6], np.float32), what="out")
    dx = module.backward(np.arange(1, 7, dtype=np.float32))
    assert_close(dx, np.array([0, 0, 3, 4, 0, 0], np.float32), what="dx")
    assert out.dtype == dx.dtype == np.float32 and not np.shares_memory(out, x)


@pytest.mark.levels(3)
@pytest.mark.value
def test_level3_modules_use_level3(level):
    """The modules of this level call its own ops, and the blocks its own modules."""
    for module, op in ((level.DepthwiseConv2d, "depthwise_conv2d"), (level.PointwiseConv2d, "pointwise_conv2d"),
                       (level.CausalConv1d, "causal_conv1d")):
        assert (module.op, module.op_backward) == (getattr(level, op), getattr(level, op + "_backward"))
    block = level.InvertedResidual
    assert (block.depthwise, block.pointwise) == (level.DepthwiseConv2d, level.PointwiseConv2d)
    assert level.CausalCharModel.convolution is level.CausalConv1d


@pytest.mark.value
def test_relu6_of_no_number(level):
    """Infinities are cut, NaN stays one; no gradient gets through."""
    module = level.ReLU6()
    assert_close(module(np.array([-np.inf, np.inf, np.nan])), np.array([0.0, 6, np.nan]), tol=0, what="out")
    assert_close(module.backward(np.ones(3)), np.zeros(3), tol=0, what="dx")
    for dout in (np.ones(1), np.ones((2, 3)), np.ones(3, int)):
        expect_value_error("dout", module.backward, dout)
    module(np.ones(3, np.float16))
    assert module.backward(np.ones(3)).dtype == np.float16


@pytest.mark.value
def test_arguments_of_modules_in_their_order(level):
    """By place they mean what they mean by name."""
    x = rng(2).standard_normal((2, 4, 7, 8)).astype(np.float32)
    for module, size, options, array in (
            (level.DepthwiseConv2d, (4, (2, 3)), {"multiplier": 2, "stride": (1, 2), "padding": (2, 1),
                                                  "dilation": (3, 2), "bias": False, "rng": 5}, x),
            (level.PointwiseConv2d, (4, 6), {"bias": False, "rng": 5}, x),
            (level.CausalConv1d, (4, 6, 3), {"dilation": 2, "bias": False, "rng": 5}, x[:, :, 0]),
            (level.InvertedResidual, (4, 6), {"stride": 2, "expansion": 3, "kernel_size": 5, "squeeze": 2, "rng": 5},
             x)):
        by_name, by_place = (module(*size, *places, **names) for places, names in (
            ((), options | {"rng": rng(5)}), ([*options.values()][:-1] + [rng(5)], {})))
        assert_close(by_place(array), by_name(array), tol=0, what=module.__name__)


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{"expansion": 2}, {"expansion": 3, "stride": 2}, {"expansion": 1},
                                     {"expansion": 2, "squeeze": 2, "kernel_size": 5}])
@pytest.mark.parametrize("filters", [3, 4])
def test_block_gradients(level, options, filters):
    """Central differences for x and all parameters, with a shortcut and without."""
    block = level.InvertedResidual(3, filters, rng=rng(8), **options)
    assert block.shortcut == (filters == 3 and "stride" not in options)
    check_module_gradients(block, [rng(9).standard_normal((3, 3, 4, 5))])


def by_hand(block, x, groups, stride=1):
    """An InvertedResidual with expansion and no squeeze, by chapters 9 and 11."""
    state = block.state_dict()
    weights = [state[key] for key in state if state[key].ndim > 1]
    scales = [state[key] for key in state if state[key].ndim == 1 and "running" not in key]

    def normed(h, k):
        mean, var = np.zeros(h.shape[1]), np.ones(h.shape[1])
        return batch_norm(h, scales[2 * k], scales[2 * k + 1], mean, var, True)[0]
    h = np.clip(normed(conv2d(x, weights[0][:, :, None, None])[0], 0), 0, 6)
    pad = weights[1].shape[2] // 2
    h = np.clip(normed(conv2d(h, weights[1], None, stride, pad, groups=groups)[0], 1), 0, 6)
    return normed(conv2d(h, weights[2][:, :, None, None])[0], 2)


@pytest.mark.value
@pytest.mark.parametrize("filters, stride, kernel_size", [(3, 1, 3), (5, 1, 5), (2, 1, 3), (3, 2, 3), (4, 2, 5)])
def test_block_by_hand(level, filters, stride, kernel_size):
    """Widen, filter, narrow, no activation at the end; x is added where shapes allow it."""
    block = level.InvertedResidual(3, filters, stride, 4, kernel_size, rng=rng(10)).astype(np.float64)
    for k, parameter in enumerate(block.parameters()):
        if parameter.data.ndim == 1:
            parameter.data[...] = rng(11 + k).uniform(0.5, 3, parameter.data.shape)
    x = rng(12).standard_normal((4, 3, 7, 6))
    expected = by_hand(block, x, 12, stride) + (x if filters == 3 and stride == 1 else 0)
    assert_close(block(x), expected, tol=1e-6, what="out")


@pytest.mark.value
def test_block_parameters(level):
    """No bias in front of a norm; expansion 1 has no first convolution; squeeze adds its layers."""
    count = level.count_parameters
    assert_close(count(level.InvertedResidual(8, 12)), 8 * 48 + 48 * 9 + 48 * 12 + 2 * (48 + 48 + 12), what="6 times")
    assert_close(count(level.InvertedResidual(8, 12, 2, 1, 5)), 8 * 25 + 8 * 12 + 2 * (8 + 12), what="expansion 1")
    more = count(level.InvertedResidual(8, 12, squeeze=5)) - count(level.InvertedResidual(8, 12))
    assert_close(more, 48 * 5 + 5 + 5 * 48 + 48, what="squeeze")
    kinds = [type(layer).__name__ for layer in level.InvertedResidual(8, 12, squeeze=5).body]
    assert kinds[3:7] == ["DepthwiseConv2d", "BatchNorm2d", "ReLU6", "SqueezeExcite"]
    block = level.InvertedResidual(8, 8, expansion=2).eval()
    assert not any(m.training for m in block.modules())
    base, other = (level.InvertedResidual(4, 6, squeeze=3, rng=rng(s)).state_dict() for s in (0, 1))
    assert all(np.abs(base[key] - other[key]).max() > 0.01 for key in base if base[key].ndim > 1)


@pytest.mark.value
def test_block_is_linear_at_its_end(level):
    """Doubling the last norm's scale doubles the output: nothing follows it."""
    block, x = level.InvertedResidual(3, 5, rng=rng(13)), rng(14).standard_normal((4, 3, 5, 6)).astype(np.float32)
    base = block(x)
    block.body[len(block.body) - 1].weight.data *= -2
    assert_close(block(x), -2 * base, tol=1e-5, what="out")


# -- the counters

TABLE = ((112, 3 * 9, 32), *((side, channels, filters) for side, channels, filters in (
    (112, 32, 64), (56, 64, 128), (56, 128, 128), (28, 128, 256), (28, 256, 256), (14, 256, 512),
    *[(14, 512, 512)] * 5, (7, 512, 1024), (7, 1024, 1024))))


def published():
    """Multiply-adds and parameters of MobileNet (1.0, 224), a line of its table at a time."""
    (side, reads, filters), *blocks = TABLE
    adds, parameters = side ** 2 * reads * filters, reads * filters + 2 * filters
    for side, channels, filters in blocks:
        adds += side ** 2 * (9 * channels + channels * filters)
        parameters += 9 * channels + channels * filters + 2 * (channels + filters)
    return adds + 1024 * 1000, parameters + 1024 * 1000 + 1000


@pytest.mark.value
def test_mobilenet_as_published(level):
    """569 million multiply-adds, 4.2 million parameters, and a hand count of every line."""
    network = mobilenet(level)
    adds, parameters = published()
    assert_close(level.count_flops(network, (1, 3, 224, 224)), adds, tol=0, what="multiply-adds")
    assert_close(level.count_parameters(network), parameters, tol=0, what="parameters")
    assert round(adds / 1e6) == 569 and round(parameters / 1e6, 1) == 4.2


@pytest.mark.value
@pytest.mark.parametrize("width, side, adds, parameters", [(0.5, 224, 149, 1.3), (0.75, 224, 325, 2.6),
                                                           (0.25, 224, 41, 0.5), (1.0, 192, 418, 4.2),
                                                           (1.0, 128, 186, 4.2)])
def test_narrower_and_smaller_as_published(level, width, side, adds, parameters):
    """Tables 6 and 7: other widths, another resolution."""
    network = mobilenet(level, width)
    assert round(level.count_flops(network, (1, 3, side, side)) / 1e6) == adds
    assert round(level.count_parameters(network) / 1e6, 1) == parameters


@pytest.mark.value
def test_each_rule(level):
    """One layer at a time, with all its knobs, for a batch of two."""
    for module, shape, expected in [
            (Linear(5, 7, rng(0)), (2, 3, 5), 2 * 3 * 5 * 7),
            (Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2), (2, 4, 7, 8), 2 * 6 * 4 * 5 * 2 * 6),
            (ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 3), 2 * 4 * 15 * 3 * 9),
            (level.DepthwiseConv2d(4, (3, 2), 3, 1, 1), (2, 4, 5, 6), 2 * 12 * 5 * 7 * 6),
            (level.PointwiseConv2d(4, 6), (2, 4, 5, 3), 2 * 6 * 15 * 4),
            (level.CausalConv1d(4, 6, 3, 2), (2, 4, 7), 2 * 6 * 7 * 4 * 3),
            (level.SqueezeExcite(6, 4), (2, 6, 5, 3), 2 * 2 * 24),
            (BatchNorm2d(3), (2, 3, 4, 5), 0), (Sequential(ReLU(), GlobalMean()), (2, 3, 4, 5), 0)]:
        assert_close(level.count_flops(module, shape), expected, tol=0, what=type(module).__name__)
    model = level.CausalCharModel(7, 5, 3, 2)
    assert_close(level.count_flops(model, (2, 6), int), 2 * 6 * (3 * 5 * 5 * 2 + 5 * 7), tol=0, what="char model")


class Twice(Module):
    """One layer in two places."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        """x (N, D) through the layer, twice."""
        return self.layer(self.layer(x))


class Unknown(Module):
    """Has a parameter that no rule knows."""

    def __init__(self):
        self.inner = Linear(3, 3, rng(0))
        self.scale = Linear(3, 3, rng(0)).weight

    def forward(self, x):
        """x (N, 3), scaled."""
        return self.inner(x) @ self.scale.data


@pytest.mark.value
def test_counting_leaves_the_module_alone(level):
    """Statistics, modes, caches and methods are as before, after an error too; calls add up."""
    network = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), ReLU())
    network[2].training = False
    x = rng(1).standard_normal((2, 3, 5, 6)).astype(np.float32)
    out = network(x)
    kept, modes = network.state_dict(), [m.training for m in network.modules()]
    first = level.count_flops(network, (4, 3, 6, 7))
    assert_close(first, 4 * 4 * 4 * 5 * 27, tol=0, what="multiply-adds")
    assert_close(level.count_flops(network, (4, 3, 6, 7)), first, tol=0, what="again")
    with pytest.raises(ValueError):
        level.count_flops(network, (4, 2, 6, 7))
    assert [m.training for m in network.modules()] == modes
    assert not any("forward" in vars(m) for m in network.modules())
    for key, array in network.state_dict().items():
        assert_close(array, kept[key], tol=0, what=key)
    assert network.backward(out).shape == x.shape
    assert_close(level.count_flops(Twice(Linear(5, 5, rng(0))), (3, 5)), 2 * 3 * 25, tol=0, what="twice")
    assert_close(level.count_parameters(Twice(Linear(5, 5, rng(0)))), 30, tol=0, what="shared")
    layer = Linear(5, 5, rng(0))
    assert_close(level.count_parameters(Sequential(layer, layer)), 30, tol=0, what="under two names")
    assert_close(level.count_parameters(network), 4 * 27 + 4 + 8, tol=0, what="no buffers")
    assert_close(level.count_flops(network.astype(np.float64), (4, 3, 6, 7)), first, tol=0, what="float64")


@pytest.mark.edge
def test_refuses(level):
    """Parameters that nothing counts, shapes that are none, sizes of modules out of range."""
    expect_value_error("module", level.count_flops, Unknown(), (2, 3))
    expect_value_error("input_shape", level.count_flops, Linear(3, 3, rng(0)), 3)
    expect_value_error("input_shape", level.count_flops, Linear(3, 3, rng(0)), (2, 1.5))
    block = level.InvertedResidual
    for name, value in (("in_channels", 0), ("stride", 0), ("expansion", 0.5), ("kernel_size", 2), ("squeeze", -1)):
        expect_value_error(name, block, **{"in_channels": 3, "out_channels": 3, name: value})
    for expansion in (6, 1):
        for channels in (4, 1):                                 # of one channel, three would be a multiplier
            expect_value_error("x", block(3, 4, expansion=expansion),
                               np.ones((2, channels, 5, 5), np.float32))
    expect_value_error("channels", level.DepthwiseConv2d, 0, 3)
    expect_value_error("multiplier", level.DepthwiseConv2d, 3, 3, 1.5)
    expect_value_error("dilation", level.CausalConv1d, 3, 3, 2, 0)
    expect_value_error("kernel_size", level.CausalConv1d, 3, 3, 0)
    expect_value_error("reduced", level.SqueezeExcite, 3, 0)
    for name in ("symbols", "width", "depth", "kernel_size"):
        expect_value_error(name, level.CausalCharModel, **{name: 0})
    model = level.CausalCharModel(5, 3, 2)
    for ids in (np.zeros((2, 3)), np.zeros(3, int), np.array([[5]]), np.array([[-1]])):
        expect_value_error("ids", model, ids)


# -- the character model

@pytest.mark.gradient
@pytest.mark.parametrize("depth, kernel_size", [(1, 2), (3, 2), (2, 3)])
def test_model_gradients(level, depth, kernel_size):
    """Central differences for every parameter, symbols that occur twice included."""
    model = level.CausalCharModel(5, 4, depth, kernel_size, rng(15))
    check_module_gradients(model, [rng(16).integers(0, 5, (2, 7))])


@pytest.mark.value
@pytest.mark.parametrize("depth, kernel_size, field", [(1, 2, 2), (2, 2, 4), (4, 2, 16), (3, 3, 15), (2, 1, 1)])
def test_field_of_the_model(level, depth, kernel_size, field):
    """The gradient of one position's logits reaches the field, and nothing beyond it or ahead."""
    model = level.CausalCharModel(6, 5, depth, kernel_size, rng(17)).astype(np.float64)
    assert_close(model.field, field, tol=0, what="field")
    for layer in model.layers:
        layer.weight.data[...], layer.bias.data[...] = np.abs(layer.weight.data), 1.0
    model.table.weight.data[...] = np.abs(model.table.weight.data)
    ids, T = rng(18).integers(0, 6, (1, 20)), 20
    base, reached = model(ids), np.zeros(T)
    for t in range(T):
        other = ids.copy()
        other[0, t] = (other[0, t] + 1) % 6
        change = np.abs(model(other) - base).max(axis=(0, 2))
        assert_close(change[:t], np.zeros(t), tol=0, what="the past")
        reached[t] = change[17] > 0
    expected = np.zeros(T)
    expected[max(0, 18 - field):18] = 1
    assert_close(reached, expected, tol=0, what="what position 17 sees")


@pytest.mark.value
def test_model_by_hand(level):
    """A vector a symbol, residual causal layers with a ReLU, a linear head."""
    model = level.CausalCharModel(6, 5, 2, 3, rng(19)).astype(np.float64)
    state, ids = model.state_dict(), rng(20).integers(0, 6, (3, 8))
    h = state["table.weight"][ids].swapaxes(1, 2)
    for k, dilation in enumerate((1, 2)):
        w, b = state[f"layers.{k}.weight"], state[f"layers.{k}.bias"]
        padding = (0, 0, 2 * dilation, 0)
        y = conv2d(h[:, :, None], w[:, :, None], b, padding=padding, dilation=(1, dilation))[0][:, :, 0]
        h = h + np.maximum(y, 0)
    expected = h.swapaxes(1, 2) @ state["head.weight"] + state["head.bias"]
    assert_close(model(ids), expected, tol=1e-8, what="logits")
    default = level.CausalCharModel()
    assert (default.field, default(np.zeros((2, 3), int)).shape) == (16, (2, 3, 27))
    other = level.CausalCharModel(rng=rng(21))
    assert all(np.abs(a.data - b.data).max() > 0 for a, b in zip(
        default.parameters(), other.parameters()) if a.data.ndim > 1)


@pytest.mark.value
def test_model_learns(level):
    """Thirty steps on one series: every parameter moves, and the loss falls by half."""
    model = level.CausalCharModel(5, 8, 2, rng=rng(22))
    ids = np.array([[0, 1, 2, 3, 4, 1, 3, 0, 2, 4, 0, 1]])
    before, loss = model.state_dict(), CrossEntropyLoss()
    losses = []
    for _ in range(30):
        model.zero_grad()
        losses.append(loss(model(ids[:, :-1]), ids[:, 1:]))
        model.backward(loss.backward())
        for parameter in model.parameters():
            parameter.data -= 0.1 * parameter.grad
    assert losses[-1] < losses[0] / 2
    assert all(np.abs(array - before[key]).max() > 0 for key, array in model.state_dict().items())


# -- the program

NAMES = ["ada", "bo", "cleo", "dana", "abe", "cora", "eli", "bea", "ned", "odo"]


@pytest.mark.value
def test_names_as_numbers(level, monkeypatch):
    """Ends, letters, and targets one symbol later; the loss leaves padding out."""
    monkeypatch.setattr(train_names, "CausalCharModel", level.CausalCharModel)
    ids, targets = train_names.encode(["ab", "zoe"])
    assert_close(ids[:, :5], np.array([[0, 1, 2, 0, 0], [0, 26, 15, 5, 0]]), what="ids")
    assert_close(targets[:, :5], np.array([[1, 2, 0, -1, -1], [26, 15, 5, 0, -1]]), what="targets")
    parts = train_names.split(NAMES)
    assert [len(part) for part in parts] == [8, 1, 1]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    model = train_names.prepare(0, 10, train_names.SETTINGS)[0]
    logits = model(ids)
    loss, dlogits = train_names.loss_and_gradient(logits, targets)
    seven = np.concatenate([logits[0, :3], logits[1, :4]])
    assert_close(loss, softmax_cross_entropy(seven, np.array([1, 2, 0, 26, 15, 5, 0]))[0], tol=1e-6, what="loss")
    assert_close(dlogits[targets < 0], np.zeros((25, 27), np.float32), tol=0, what="dlogits of padding")
    names = train_names.sample(model, rng(23), 50)
    assert len(names) == 50 and all(len(name) < train_names.LENGTH for name in names) and len(set(names)) > 30
    spelled = lambda ids: 100 * np.eye(27)[np.array([[1, 2, 0, 3] + [4] * 12] * len(ids))][:, :ids.shape[1]]
    assert train_names.sample(spelled, rng(24), 3) == ["ab"] * 3        # nothing after the end
    weighed = lambda ids: np.broadcast_to(np.eye(27)[5] * 2, (len(ids), ids.shape[1], 27))
    assert train_names.sample(weighed, rng(25), 4, temperature=0.05) == ["e" * 15] * 4
    assert len(set(train_names.sample(weighed, rng(26), 4))) == 4


@pytest.mark.value
def test_bigram_by_hand(level):
    """After "a" twice: pairs 0a and a0 have (2 + 1) / (2 + 27), 0b 1 / 29, b0 1 / 27; equal logits give ln 27."""
    found = train_names.bigram_loss(["a", "a"], ["a", "b"])
    assert_close(found, -(2 * np.log(3 / 29) + np.log(1 / 29) + np.log(1 / 27)) / 4, what="nats")
    model = level.CausalCharModel()
    model.head.weight.data[...] = 0
    assert_close(train_names.model_loss(model, NAMES), np.log(27), tol=1e-6, what="equal logits")


@pytest.mark.value
def test_stopped_and_resumed(level, monkeypatch, tmp_path):
    """A run that ends half-way and goes on gives the same weights and history, bit for bit."""
    monkeypatch.setattr(train_names, "CausalCharModel", level.CausalCharModel)
    monkeypatch.setattr(train_names, "EVERY", 4)
    options = {"seed": 3, "steps": 12, "progress": False, "width": 6, "depth": 2, "batch": 4}
    whole, history = train_names.train(NAMES, NAMES[:3], **options)
    path = tmp_path / "names.npz"
    train_names.train(NAMES, NAMES[:3], path=path, stop=6, **options)
    model, again = train_names.train(NAMES, NAMES[:3], path=path, resume=True, **options)
    assert again == history and history["step"] == [4, 8, 12]
    for key, array in model.state_dict().items():
        assert_close(array, whole.state_dict()[key], tol=0, what=key)
    with pytest.raises(ValueError, match="expected"):
        train_names.train(NAMES, NAMES[:3], path=path, resume=True, **{**options, "seed": 4})


@pytest.mark.edge
def test_command(level, monkeypatch, tmp_path, capsys):
    """A small run from end to end; options out of range in one line."""
    monkeypatch.setattr(train_names, "CausalCharModel", level.CausalCharModel)
    monkeypatch.setattr(train_names, "load_first_names", lambda: NAMES)
    assert train_names.main(["--steps", "3", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "validation" in said and "pairs" in said
    assert train_names.main(["--steps", "3", "--folder", str(tmp_path), "--resume"]) == 0
    assert train_names.main(["--steps", "0"]) == 1
    assert "steps = 0" in capsys.readouterr().err
