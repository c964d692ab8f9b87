# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:da5cb535c45805b4
"""Chapter 14: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.t14_resnet.tests.test_basic import call, parts
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def valid(**changes):
    """Arguments of basic_block that are right, but for the changes: a projection of stride 2."""
    return {"x": ones((2, 3, 5, 4)), **parts(3, 4, True), "stride": 2, **changes}


REFUSED = [("x", value) for value in (ones((3, 5, 4)), ones((2, 3, 5, 4), int), ones((1, 3, 2, 2)), ones((1, 3, 1, 2)),
                                       ones((2, 3, 0, 4)), ones((2, 3, 5, 0)))]
REFUSED += [("w1", value) for value in (ones((4, 2, 3, 3)), ones((4, 3, 1, 1)), ones((4, 3, 3)),
                                       ones((4, 3, 3, 3), "f"))]
REFUSED += [("w2", value) for value in (ones((4, 3, 3, 3)), ones((5, 4, 3, 3)), ones((4, 4, 3, 3), int))]
REFUSED += [(name, value) for name in ("gamma1", "beta1", "gamma2", "beta2", "gamma_s", "beta_s")
            for value in (ones(3), ones(1), ones((4, 1)), ones(4, int), ones(4, "f"), None)]
REFUSED += [("w_shortcut", value) for value in (None, ones((4, 3, 3, 3)), ones((3, 4, 1, 1)), ones((4, 3, 1, 1), "f"))]
REFUSED += [("stride", value) for value in (0, 1.5, (2, 2), None)]
REFUSED += [("eps", value) for value in (0, -1e-5, np.nan, np.inf, "small", None, True)]
REFUSED += [("preactivation", value) for value in (1, None, "True")]


@pytest.mark.parametrize("argument, value", REFUSED)
def test_refuses(level, argument, value):
    """Wrong shapes and dtypes, a missing part of the projection, one number per channel."""
    expect_value_error(argument, level.basic_block, **valid(**{argument: value}))


@pytest.mark.parametrize("change, text", [
    ({"w_shortcut": None}, "w_shortcut is None; expected an array of shape (4, 3, 1, 1), for the block changes the "
                           "shape"),
    ({"gamma_s": None}, "gamma_s is None; expected an array of shape (4,), beside w_shortcut"),
    ({"preactivation": True, "gamma1": ones(3), "beta1": ones(3)},
     "gamma_s is an array; expected None, there is no normalisation on this shortcut"),
    ({"gamma1": ones(3)}, "gamma1 has shape (3,); expected (4,)")])
def test_messages(level, change, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.basic_block(**valid(**change))
    assert str(caught.value) == text


@pytest.mark.parametrize("stride, F", [(2, 3), (1, 4)])
def test_the_identity_must_fit(level, stride, F):
    """Each change of the shape alone needs a projection."""
    expect_value_error("w_shortcut", level.basic_block, ones((2, 3, 5, 4)), **parts(3, F), stride=stride)


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("name", ["gamma_s", "beta_s"])
def test_a_scale_without_its_normalisation(level, preactivation, name):
    """An identity has none, and with preactivation a projection has none."""
    for projected in {False, preactivation}:
        given = parts(3, 3, projected, preactivation)
        expect_value_error(name, level.basic_block, ones((2, 3, 5, 4)), **given, preactivation=preactivation,
                           **{name: ones(3)})


def test_no_channels_and_no_filters(level):
    """Nothing can be normalised; refused by name."""
    expect_value_error("w1", level.basic_block, ones((2, 0, 5, 4)), **parts(0, 4, True))
    expect_value_error("w1", level.basic_block, ones((2, 3, 5, 4)), **parts(3, 0, True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("preactivation", [False, True])
def test_upstream_of_another_dtype(level, preactivation, dtype):
    """Gradients have the dtype of x, whatever that of dout."""
    given = {name: array.astype("f") for name, array in parts(3, 4, True, preactivation).items()}
    x = rng(5).standard_normal((2, 3, 4, 5)).astype("f")
    out, cache = level.basic_block(x, **given, preactivation=preactivation)
    dout = np.round(4 * rng(6).standard_normal(out.shape)).astype("f")
    wanted = level.basic_block_backward(dout, cache)
    grads = level.basic_block_backward(dout.astype(dtype), cache)
    for got, want, name in zip(grads, wanted, ("x", *given), strict=True):
        assert_close(got, want, tol=1e-5, what="d" + name, dtype=np.float32)


def test_numbers_of_numpy(level):
    """Sizes, truths and eps that NumPy computed are as good as Python's; a whole eps too."""
    x, given = rng(7).standard_normal((2, 3, 5, 4)), parts(3, 4, True)
    two, no = np.array([2])[0], np.array([False])[0]
    wanted, _ = level.basic_block(x, **given, stride=2, eps=1.0)
    for eps in (np.float64(1), np.int64(1), 1):
        out, _ = level.basic_block(x, **given, stride=two, preactivation=no, eps=eps)
        assert_close(out, wanted, tol=1e-12, what="out")


@pytest.mark.parametrize("preactivation", [False, True])
def test_backward_refuses(level, preactivation):
    """A dout that would broadcast, and one of integers."""
    out, cache = level.basic_block(ones((2, 3, 5, 4)), **parts(3, 3, False, preactivation), preactivation=preactivation)
    for dout in (out[:1], out[:, :1], out[..., :1], out.astype(int)):
        expect_value_error("dout", level.basic_block_backward, dout, cache)


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("shape, stride", [((0, 2, 5, 4), 2), ((3, 2, 1, 1), 1), ((2, 2, 1, 3), 2), ((1, 2, 2, 1), 1),
                                           ((2, 2, 3, 5), 4), ((1, 2, 2, 3), 2)])
def test_small(level, preactivation, shape, stride):
    """No pictures, one pixel, one row, one picture, a stride beyond the kernel; against the sum of the parts."""
    given = parts(2, 3, True, preactivation)
    x = rng(0).standard_normal(shape)
    out, cache = level.basic_block(x, **given, stride=stride, preactivation=preactivation)
    grads = level.basic_block_backward(out, cache)
    assert out.shape == (shape[0], 3, *(-(-size // stride) for size in shape[2:]))
    assert [g.shape for g in grads] == [a.shape for a in (x, *given.values())]
    if not len(x):
        for grad in grads[1:]:
            assert_close(grad, np.zeros(grad.shape), tol=0, what="gradient of no pictures")
    elif preactivation:                     # the last op is a sum: dbeta of nothing, but dw_shortcut of h1
        assert np.isfinite(np.concatenate([g.ravel() for g in grads])).all()
    else:
        assert_close(grads[6], grads[9], tol=1e-10, what="dbeta2 and dbeta_s, both the sum of d")
        assert_close(grads[6], out.sum(axis=(0, 2, 3)), tol=1e-10, what="dbeta2")


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_memory_layouts(level, preactivation, projected):
    """What counts is the array, not how it lies in memory."""
    given = parts(2, 3 if projected else 2, projected, preactivation)
    assert_layouts(call(level, {"stride": 2 if projected else 1, "preactivation": preactivation}),
                   [rng(1).standard_normal((2, 2, 3, 4)), *given.values()], f_backward=level.basic_block_backward,
                   tol=1e-9)


def test_not_a_number_reaches_its_channels(level):
    """Normalised by its batch, a NaN is everywhere behind the first convolution; nothing raises."""
    x = rng(2).standard_normal((2, 3, 4, 5))
    x[0, 1, 2, 3] = np.nan
    out, _ = level.basic_block(x, **parts(3, 3))
    assert_close(np.isnan(out).astype(float), np.ones(out.shape), tol=0, what="where it is NaN")


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_networks_on_small_batches(level, preactivation, stem):
    """One picture, and none, in evaluation; odd sizes; the batch has no say."""
    net = level.ResNet((1, 1), (3, 4), 5, 2, stem=stem, preactivation=preactivation, zero_init=False).eval()
    x = rng(3).standard_normal((3, 2, 9, 7)).astype(np.float32)
    whole = net(x)
    assert_close(net(x[1:2]), whole[1:2], tol=1e-5, what="one picture")
    assert net(x[:0]).shape == (0, 5) and net.backward(np.zeros((0, 5), "f")).shape == (0, 2, 9, 7)
    assert whole.dtype == np.float32


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("options", [{}, {"preactivation": True}])
def test_networks_in_narrow_types(level, options, dtype):
    """All results have the dtype of the weights and are near float64's; in float16 a ReLU may fall the other way."""
    x, dout, found = rng(4).standard_normal((3, 2, 9, 8)), rng(5).standard_normal((3, 5)), []
    for kind in (np.float64, dtype):
        net = level.ResNet((1, 1), (3, 4), 5, 2, zero_init=False, **options).astype(kind)
        out = net(x.astype(kind))
        found.append([out, net.backward(dout.astype(kind)), *(p.grad for p in net.parameters())])
    for k, (want, got) in enumerate(zip(*found, strict=True)):
        assert got.dtype == dtype and np.isfinite(got).all()
        if k == 0 or dtype == np.float32:
            off = np.abs(got - want).max() / np.abs(want).max()
            assert off < (0.1 if dtype == np.float16 else 1e-3), f"result {k} is {off:.2g} of the largest entry off"


@pytest.mark.levels(3)
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_add_up_halves_in_float32(level, kernel):
    """2048 + 1 is 2048 in float16, and the ones must not be lost."""
    module = level.Conv2d(1, 2, kernel, padding=kernel // 2, bias=False).astype(np.float16)
    dout = np.zeros(module(ones((3, 1, 2, 2), np.float16)).shape, np.float16)
    dout[:, :, 0, 0] = np.array([1, 2048, 1]).reshape(3, 1)
    module.backward(dout)
    middle = module.weight.grad[:, 0, kernel // 2, kernel // 2]
    assert_close(middle, np.full(2, 2050, np.float16), tol=0, what="dw")


@pytest.mark.levels(2, 3)
def test_networks_in_half(level):
    """Evaluation and training switch for every layer, and gradients stop where they are told to."""
    net = level.ResNet((1, 1), (3, 4), 5, 2)
    net.eval()
    assert not any(module.training for module in net.modules())
    net.train()
    before = net.state_dict()
    net(rng(4).standard_normal((2, 2, 6, 5)).astype(np.float32))
    moved = {key for key, a in net.state_dict().items() if np.abs(a - before[key]).max() > 0}
    assert moved == {key for key in before if "running" in key}


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("name, changes", [
    ("blocks", {"blocks": ()}), ("blocks", {"blocks": (), "widths": ()}), ("blocks", {"blocks": 2}),
    ("blocks", {"blocks": (1, 0)}), ("blocks", {"blocks": (1, True)}), ("widths", {"widths": (3,)}),
    ("widths", {"widths": (3, 4, 5)}), ("widths", {"widths": 3}), ("widths", {"widths": (3, 2.5)}),
    ("widths", {"widths": (3, 0)}), ("stem", {"stem": "large"}), ("stem", {"stem": "Small"}), ("stem", {"stem": None}),
    ("in_channels", {"in_channels": 0})])
def test_networks_refuse(level, name, changes):
    """Sizes that are none, stages without a width, an unknown stem."""
    expect_value_error(name, level.ResNet, **{"blocks": (1, 1), "widths": (3, 4), **changes})


@pytest.mark.levels(2, 3)
def test_blocks_refuse(level):
    """Sizes that are none."""
    for args, name in (((0, 4), "in_channels"), ((4, 1.5), "channels"), ((4, 0), "channels"), ((4, 4, 0), "stride"),
                       ((4, 4, (2, 2)), "stride")):
        expect_value_error(name, level.BasicBlock, *args)
        expect_value_error(name, level.Bottleneck, *args)
