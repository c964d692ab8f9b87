# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:8fdd9e61909f7967
"""Chapter 28: one of each, none of each, other layouts, what is invalid."""

import numpy as np
import pytest

from tangled.t28_transformer_encoder import checks
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def block_of(D=12, F=7, width=6, fill=ones):
    """A dict of weights for encoder_block."""
    shapes = dict.fromkeys(checks.NAMES, (D,)) | {"b_k": (width,), "b_v": (width,), "b1": (F,)}
    shapes |= {"w_q": (D, D), "w_k": (D, width), "w_v": (D, width), "w_o": (D, D), "w1": (D, F), "w2": (F, D)}
    return {name: fill(shapes[name]) for name in checks.NAMES}


@pytest.mark.parametrize("argument, value", [
    ("x", ones((3, 12))), ("x", ones((2, 3, 12), int)), ("num_heads", 5), ("num_heads", 0), ("num_heads", 6.0),
    ("num_kv_heads", 4), ("mask", ones((3, 3))), ("mask", ones((4, 3), bool)), ("causal", 1), ("norm_first", 1),
    ("norm_first", None), ("activation", "silu"), ("activation", None), ("eps", 0), ("eps", -1e-5), ("eps", None)])
def test_refuses(level, argument, value):
    """Options of a block that are not as they should be."""
    given = {"x": ones((2, 3, 12)), "weights": block_of(), "num_heads": 6, "num_kv_heads": 3}
    expect_value_error(argument, level.encoder_block, **given | {argument: value})


@pytest.mark.parametrize("name", checks.NAMES)
def test_refuses_weights(level, name):
    """Each weight in another shape or dtype, missing, or None; unknown names."""
    call = lambda w: level.encoder_block(ones((2, 3, 12)), w, num_heads=6, num_kv_heads=3)
    good = block_of()
    for bad in (ones((5, *good[name].shape[1:])), good[name].astype(np.float32), good[name][None]):
        others = {"w1": ("w1", "b1", "w2")}.get(name, (name,))
        with pytest.raises(ValueError, match=r" has shape | has dtype ") as caught:
            call(good | {name: bad})
        assert str(caught.value).split()[0] in others
    without = {k: a for k, a in good.items() if k != name}
    if name in checks.OPTIONAL:
        assert call(without)[0].shape == call(good | {name: None})[0].shape == (2, 3, 12)
    else:
        expect_value_error("weights", call, without)
        expect_value_error("weights", call, good | {name: None})
    expect_value_error("weights", call, good | {"gamma": ones(12)})


def test_networks_refuse(level):
    """Networks, patches and upstream gradients that do not fit."""
    x, w1, w2 = ones((2, 3, 4)), ones((4, 5)), ones((5, 4))
    for name, f, *args in (("x", level.feed_forward, ones(4), w1, None, w2, None),
                           ("x", level.feed_forward, ones((2, 0)), w1, None, w2, None),
                           ("w1", level.feed_forward, x, w2, None, w2, None),
                           ("b1", level.feed_forward, x, w1, ones(4), w2, None),
                           ("w2", level.feed_forward, x, w1, None, w1, None),
                           ("b2", level.feed_forward, x, w1, None, w2, ones(5)),
                           ("b2", level.feed_forward, x, w1, None, w2, ones(4, np.float32)),
                           ("activation", level.feed_forward, x, w1, None, w2, None, "silu"),
                           ("w_gate", level.swiglu, x, w2, w1, w2), ("w_up", level.swiglu, x, w1, ones((4, 4)), w2),
                           ("w_down", level.swiglu, x, w1, w1, w1),
                           ("patch", level.patchify, ones((2, 3, 4, 6)), 3),
                           ("patch", level.patchify, ones((2, 3, 4, 6)), 0),
                           ("x", level.patchify, x, 1), ("x", level.unpatchify, x, (1, 2, 2), 1),
                           ("x", level.unpatchify, ones((2, 4, 3)), (3, 2, 3), 1)):
        expect_value_error(name, f, *args)
    for f, backward, args in ((level.feed_forward, level.feed_forward_backward, (x, w1, None, w2, None)),
                              (level.swiglu, level.swiglu_backward, (x, w1, w1, w2))):
        cache = f(*args)[1]
        for dout in (x[:1], x[..., :1], x.astype(int)):
            expect_value_error("dout", backward, dout, cache)
    cache = level.encoder_block(ones((2, 3, 12)), block_of(), num_heads=6, num_kv_heads=3)[1]
    expect_value_error("dout", level.encoder_block_backward, ones((2, 1, 12)), cache)


@pytest.mark.levels(2, 3, 4)
def test_experts_and_losses_refuse(level):
    """Experts that do not fit each other, more of them than there are, targets that are no classes."""
    good = {"x": ones((2, 3, 4)), "w_router": ones((4, 3)), "w1": ones((3, 4, 5)), "b1": ones((3, 5)),
            "w2": ones((3, 5, 4)), "b2": ones((3, 4))}
    for name, value in (("x", ones((0, 4))), ("x", ones(4)), ("w_router", ones((3, 3))), ("w1", ones((4, 4, 5))),
                        ("b1", ones((3, 4))), ("w2", ones((3, 4, 5))), ("b2", ones(4)), ("top_k", 4), ("top_k", 0),
                        ("capacity_factor", 0.0), ("capacity_factor", np.inf), ("activation", "tanh")):
        expect_value_error(name, level.mixture_of_experts, **good | {name: value})
    logits, targets = ones((2, 3, 4)), np.array([[0, 1, 2], [3, 0, 0]])
    for name, args in (("targets", (targets[:1], 0.1)), ("targets", (targets + 1, 0.1)),
                       ("targets", (targets * 1.0, 0.1)), ("targets", (targets * 0, 0.1, 0)),
                       ("smoothing", (targets, 1.0)), ("smoothing", (targets, -0.1)),
                       ("padding", (targets, 0.1, 4)), ("padding", (targets, 0.1, -1))):
        expect_value_error(name, level.smoothed_cross_entropy, logits, *args)


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes, rates, lengths and states that do not fit; backward before forward."""
    from tangled.t16_normalizations import RMSNorm
    for name, args, options in (("num_heads", (12, 5, 7), {}), ("d_ff", (12, 6, 0), {}),
                                ("dropout", (12, 6, 7), {"dropout": 1.0}),
                                ("activation", (12, 6, 7), {"activation": "x"}),
                                ("norm_first", (12, 6, 7), {"norm_first": 1}), ("bias", (12, 6, 7), {"bias": 0})):
        expect_value_error(name, level.EncoderBlock, *args, **options)
    encoder, x = level.TransformerEncoder(1, 12, 6, 7), ones((2, 3, 12), np.float32)
    for lengths in (np.array([1]), np.array([1, 4]), np.array([-1, 1]), np.array([1.0, 2.0])):
        expect_value_error("lengths", encoder, x, lengths=lengths)
    for mask in (ones((3, 3)), ones((2, 4, 3), bool), ones((4, 2, 3, 3), bool)):
        expect_value_error("mask", encoder, x, mask, np.array([1, 2]))
    expect_value_error("num_layers", level.TransformerEncoder, 0, 12, 6, 7)
    expect_value_error("patch", level.ViT, 28, 5, 1, 10, 1, 12, 3, 7)
    block = level.EncoderBlock(12, 6, 7)
    for module in (block, encoder, level.FeedForward(12, 7), level.SwiGLU(12, 7), level.PatchEmbedding(2, 3, 12)):
        with pytest.raises(RuntimeError):
            module.backward(x)
    state = level.to_pytorch(block)
    expect_value_error("state", level.from_pytorch, block, {k: a for k, a in state.items() if k != "norm1.bias"})
    expect_value_error("linear1.weight", level.from_pytorch, block, state | {"linear1.weight": ones((12, 7))})
    expect_value_error("positions", level.ViT, 4, 2, 1, 10, 1, 12, 3, 7, positions=1)
    expect_value_error("classes", level.ViT, 4, 2, 1, 2.5, 1, 12, 3, 7)
    expect_value_error("activation", level.MixtureOfExperts, 6, 4, 3, activation="x")
    for other in ({"ffn": level.SwiGLU}, {"norm": RMSNorm}):
        expect_value_error("block", level.to_pytorch, level.EncoderBlock(12, 6, 7, **other))


@pytest.mark.parametrize("norm_first", [True, False])
def test_one_of_each(level, norm_first):
    """One token of one sample with one hidden number, and an eps that counts: heads pass the value on."""
    w = block_of(4, 1, 4, lambda s: rng(sum(s)).standard_normal(s))
    x = rng(0).standard_normal((1, 1, 4))
    out, cache = level.encoder_block(x, w, num_heads=1, norm_first=norm_first, activation="relu", eps=0.3)
    norm = lambda a, k: (a - a.mean()) / np.sqrt(a.var() + 0.3) * w[f"gamma{k}"] + w[f"beta{k}"]
    heads = lambda a: (a @ w["w_v"] + w["b_v"]) @ w["w_o"] + w["b_o"]
    network = lambda a: np.maximum(a @ w["w1"] + w["b1"], 0) @ w["w2"] + w["b2"]
    if norm_first:
        middle = x + heads(norm(x, 1))
        want = middle + network(norm(middle, 2))
    else:
        middle = norm(x + heads(x), 1)
        want = norm(middle + network(middle), 2)
    assert_close(out, want, tol=1e-10, what="out")
    dx, grads = level.encoder_block_backward(ones((1, 1, 4)), cache)
    assert dx.shape == x.shape and all(grads[k].shape == a.shape for k, a in w.items())


def test_no_samples(level):
    """An empty batch: empty results, zero gradients of the weights."""
    out, cache = level.encoder_block(ones((0, 3, 12)), block_of(), num_heads=6, num_kv_heads=3)
    dx, grads = level.encoder_block_backward(out, cache)
    assert out.shape == dx.shape == (0, 3, 12)
    for name, grad in grads.items():
        assert_close(grad, np.zeros(block_of()[name].shape), tol=0, what="d" + name)
    out, cache = level.swiglu(ones((0, 4)), ones((4, 5)), ones((4, 5)), ones((5, 4)))
    assert [a.shape for a in (out, *level.swiglu_backward(out, cache))] == [(0, 4), (0, 4), (4, 5), (4, 5), (5, 4)]
    assert level.patchify(ones((0, 3, 4, 6)), 2).shape == (0, 6, 12)


@pytest.mark.levels(2, 3)
def test_a_sample_that_is_broken(level):
    """NaN in one sample stays in that sample; infinities too."""
    w = block_of(fill=lambda s: rng(sum(s)).standard_normal(s))
    x = rng(1).standard_normal((3, 4, 12))
    want, _ = level.encoder_block(x, w, num_heads=6, num_kv_heads=3)
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[1, 2, 3] = bad
        with np.errstate(all="ignore"):
            out, _ = level.encoder_block(broken, w, num_heads=6, num_kv_heads=3)
        assert_close(out[[0, 2]], want[[0, 2]], tol=1e-12, what="out of the others")
        assert np.isnan(out[1]).all()


def test_extreme_inputs(level):
    """Far numbers in the network: no overflow, no NaN, in float32."""
    x = np.array([[1e4, -1e4], [3e4, 1e-30]], np.float32)
    eye = np.eye(2, dtype=np.float32)
    for activation in ("gelu", "gelu_tanh", "relu"):
        out, cache = level.feed_forward(x, eye, None, eye, None, activation)
        assert_close(out, np.maximum(x, 0), tol=1e-6, what=activation, dtype=np.float32)
        assert all(np.isfinite(g).all() for g in level.feed_forward_backward(x, cache))
    out, _ = level.swiglu(x, eye, eye, eye)
    assert_close(out[0, 0], np.float32(1e8), tol=1e-6, what="the square of 1e4", dtype=np.float32)
    assert abs(out[0, 1]) < 1e-20


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    draw = rng(2).standard_normal
    w = {name: a for name, a in block_of(3, 2, 3, draw).items() if name != "b_k"}        # its gradient is rounding
    names, x = list(w), draw((2, 2, 3))

    def backward(dout, cache):
        dx, dweights = level.encoder_block_backward(dout, cache)
        return dx, *dweights.values()
    assert_layouts(lambda x, *a: level.encoder_block(x, dict(zip(names, a)), num_heads=1),
                   [x, *w.values()], f_backward=backward, names=["x", *names], tol=1e-9)
    arrays = [draw((2, 3, 6)), draw((6, 5)), draw(5), draw((5, 6)), draw(6)]
    assert_layouts(level.feed_forward, arrays, f_backward=level.feed_forward_backward)
    assert_layouts(level.swiglu, [*arrays[:2], draw((6, 5)), arrays[3]], f_backward=level.swiglu_backward)
    assert_layouts(lambda x: level.patchify(x, 2), [draw((2, 3, 4, 6))])
    assert_layouts(lambda x: level.unpatchify(x, (3, 4, 6), 2), [draw((2, 6, 12))])
