# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:22adbf398d4bb7c3
"""Chapter 28: shapes, values and gradients."""

import copy

import numpy as np
import pytest

from tangled.t28_transformer_encoder import checks
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

BLOCKS = ("pre", "post", "tanh", "relu-post", "no-bias", "eps", "grouped-causal", "masked", "padded", "padded-post")
EXPERTS = ("experts", "two-experts", "capacity", "two-experts-capacity")


def weights(seed, D=12, F=7, width=12, bias=True, dtype=np.float64):
    """A dict for encoder_block; sizes all differ."""
    draw, shapes = rng(seed).standard_normal, dict.fromkeys(checks.NAMES, (D,))
    shapes |= {"w_q": (D, D), "w_k": (D, width), "w_v": (D, width), "w_o": (D, D), "w1": (D, F), "w2": (F, D),
               "b_k": (width,), "b_v": (width,), "b1": (F,)}
    return {name: (draw(shapes[name]) / (1 if len(shapes[name]) == 1 else 3)).astype(dtype)
            for name in checks.NAMES if bias or name not in checks.OPTIONAL}


def off_zero(name, array):
    """The gradient of b_k is 0, up to rounding: plus 1, so that rounding is compared with 1."""
    return array + 1 if name == "b_k" else array


def compare(got, want, tol=1e-10):
    """(out, dx, dweights) of two levels."""
    for name, a, b in zip(("out", "dx"), got, want):
        assert_close(a, b, tol=tol, what=name)
    assert list(got[2]) == list(want[2])
    for name in want[2]:
        assert_close(off_zero(name, got[2][name]), off_zero(name, want[2][name]), tol=tol, what="d" + name)


def steps(level, x, w, dout, **options):
    """out, dx, dweights."""
    out, cache = level.encoder_block(x, w, **options)
    return out, *level.encoder_block_backward(dout, cache)


@pytest.mark.value
@pytest.mark.parametrize("activation", checks.ACTIVATIONS)
def test_golden_network(level, golden, activation):
    """Each activation, forward and backward."""
    case = golden(f"network-{activation}")
    out, cache = level.feed_forward(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    grads = level.feed_forward_backward(case.upstream["out"], cache)
    for name, got in zip(("x", "w1", "b1", "w2", "b2"), grads, strict=True):
        assert_close(got, case.grads[name], what="d" + name)


@pytest.mark.value
def test_golden_swiglu(level, golden):
    """The gate, forward and backward."""
    case = golden("swiglu")
    out, cache = level.swiglu(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    for name, got in zip(("x", "w_gate", "w_up", "w_down"), level.swiglu_backward(case.upstream["out"], cache)):
        assert_close(got, case.grads[name], what="d" + name)


@pytest.mark.value
@pytest.mark.parametrize("name", BLOCKS)
def test_golden_values(level, golden, name):
    """Blocks by PyTorch: norms first and last, activations, heads, masks."""
    case = golden(name)
    assert_close(level.encoder_block(**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", BLOCKS)
def test_golden_gradients(level, golden, name):
    """Gradients of x and of all weights, by name."""
    case = golden(name)
    dx, dweights = level.encoder_block_backward(case.upstream["out"], level.encoder_block(**case.inputs)[1])
    assert_close(dx, case.grads["x"], what="dx")
    assert set(dweights) == set(case.grads) - {"x"}
    for key, got in dweights.items():
        assert_close(off_zero(key, got), off_zero(key, case.grads[key]), what="d" + key)


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
@pytest.mark.parametrize("name", EXPERTS)
def test_golden_experts(level, golden, name):
    """Experts: one or two for a token, with and without a capacity; balance loss; gradients of both outputs."""
    case = golden(name)
    (out, balance), cache = level.mixture_of_experts(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    assert_close(balance, case.outputs["balance"], what="balance")
    grads = level.mixture_of_experts_backward((case.upstream["out"], case.upstream["balance"]), cache)
    for key, got in zip(("x", "w_router", "w1", "b1", "w2", "b2"), grads, strict=True):
        assert_close(got, case.grads[key], what="d" + key)


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
@pytest.mark.parametrize("name", ["smoothed", "smoothed-all", "not-smoothed"])
def test_golden_smoothed(level, golden, name):
    """Smoothed targets with padding and without."""
    case = golden(name)
    loss, cache = level.smoothed_cross_entropy(**case.inputs)
    assert_close(loss, case.outputs["out"], what="loss")
    dlogits = level.smoothed_cross_entropy_backward(case.upstream["out"], cache)
    assert_close(dlogits, case.grads["logits"], what="dlogits")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("name", ["layer-pre", "layer-post", "layer-tanh", "layer-relu"])
def test_golden_layer(level, golden, name):
    """A torch.nn.TransformerEncoderLayer: its state taken, its output and its gradients, by its names."""
    given = dict(golden(name).inputs)
    x, H, padded = given.pop("x"), given.pop("num_heads"), given.pop("padded")
    options = {"activation": given.pop("activation"), "norm_first": given.pop("norm_first")}
    block = level.EncoderBlock(6, H, 5, **options).astype(np.float64)
    level.from_pytorch(block, {k.replace("__", "."): a for k, a in given.items()})
    mask = np.arange(4) < np.array([4, 2, 3])[:, None, None, None] if padded else None
    assert_close(block(x, mask), golden(name).outputs["out"], what="out")
    assert_close(block.backward(golden(name).upstream["out"]), golden(name).grads["x"], what="dx")
    for parameter in block.parameters():
        parameter.data = parameter.grad
    for key, got in level.to_pytorch(block).items():
        want = golden(name).grads[key.replace(".", "__")]
        shift = 1.0 * key.endswith("in_proj_bias")              # its middle third is 0
        assert_close(got + shift, want + shift, what="d" + key)


@pytest.mark.value
def test_worked_trace(level):
    """The token of the chapter, forward and backward."""
    w = {name: np.zeros((3,) if name[0] in "gb" else (3, 3)) for name in checks.NAMES}
    w |= {"gamma1": np.ones(3), "gamma2": np.ones(3), "w1": np.eye(3)}
    w["w2"][0, 1] = 1
    out, cache = level.encoder_block(np.array([[[2.0, 0, -2]]]), w, num_heads=1, activation="relu", eps=1e-12)
    assert_close(out, np.array([[[2, 1.5 ** 0.5, -2]]]), tol=1e-10, what="out")
    dx, _ = level.encoder_block_backward(np.array([[[0, 1.0, 0]]]), cache)
    s = (3 / 8) ** 0.5
    assert_close(dx, np.array([[[s / 6, 1 - s / 3, s / 6]]]), tol=1e-10, what="dx")


@pytest.mark.value
@pytest.mark.parametrize("name", checks.OPTIONAL)
def test_one_bias_that_is_missing(level, name):
    """It counts as zeros, and only its gradient is left out; in the network alone too."""
    w, (x, dout) = weights(32, 4, 3, 4), rng(33).standard_normal((2, 1, 2, 4))
    without = {key: a for key, a in w.items() if key != name}
    out, dx, grads = steps(level, x, w | {name: np.zeros_like(w[name])}, dout, num_heads=2)
    del grads[name]
    compare(steps(level, x, without, dout, num_heads=2), (out, dx, grads))
    if name in ("b1", "b2"):
        arrays = [without.get(key) for key in ("w1", "b1", "w2", "b2")]
        out, cache = level.feed_forward(x, *arrays)
        want, kept = level.feed_forward(x, *(np.zeros_like(w[name]) if a is None else a for a in arrays))
        assert_close(out, want, tol=1e-12, what="out")
        others = list(level.feed_forward_backward(dout, kept))
        del others[{"b1": 2, "b2": 4}[name]]
        for got, one in zip(level.feed_forward_backward(dout, cache), others, strict=True):
            assert_close(got, one, tol=1e-12, what="gradient")


@pytest.mark.gradient
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_central_differences(level, norm_first, activation):
    """Every entry of every gradient of a causal block with shared keys."""
    w = weights(0, 4, 3, 2, bias=norm_first)
    mask = rng(1).random((2, 3, 3)) < 0.7
    options = {"num_heads": 2, "num_kv_heads": 1, "norm_first": norm_first, "activation": activation, "causal": True}

    def forward(x, *arrays):
        return level.encoder_block(x, dict(zip(w, arrays)), mask, **options)

    def backward(dout, cache):
        dx, dweights = level.encoder_block_backward(dout, cache)
        return dx, *dweights.values()

    check_gradients(forward, backward, [rng(2).standard_normal((2, 3, 4)), *w.values()], names=["x", *w])


@pytest.mark.gradient
def test_central_differences_of_networks(level):
    """Both networks, with and without biases."""
    draw = rng(3).standard_normal
    arrays = [draw(s) for s in ((2, 3, 4), (4, 5), (5,), (5, 4), (4,))]
    check_gradients(level.feed_forward, level.feed_forward_backward, arrays)
    x, w1, _, w2, _ = arrays
    check_gradients(lambda x, w1, w2: level.feed_forward(x, w1, None, w2, None, "gelu_tanh"),
                    level.feed_forward_backward, [x, w1, w2])
    check_gradients(level.swiglu, level.swiglu_backward, [x, w1, draw((4, 5)), w2])


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_gradients_of_modules(level):
    """Blocks and networks, an encoder that is padded, a vision transformer."""
    from tangled.t16_normalizations import RMSNorm
    x = rng(4).standard_normal((2, 3, 4))
    for module in (level.FeedForward(4, 3, "relu"), level.SwiGLU(4, 3),
                   level.EncoderBlock(4, 2, 3, norm_first=False, bias=False, num_kv_heads=1, causal=True),
                   level.EncoderBlock(4, 2, 3, ffn=level.SwiGLU, norm=RMSNorm, bias=False)):
        check_module_gradients(module, [x])
    encoder, mask = level.TransformerEncoder(2, 4, 2, 3, bias=False), rng(5).random((2, 3, 3)) < 0.7
    check_module_gradients(encoder, [x], call=lambda x: encoder.forward(x, mask, np.array([2, 3])))
    check_module_gradients(level.ViT(4, 2, 2, 3, 1, 4, 2, 3, bias=False), [rng(6).standard_normal((2, 2, 4, 4))])
    check_module_gradients(level.PatchEmbedding(2, 3, 5), [rng(7).standard_normal((2, 3, 4, 6))])


@pytest.mark.levels(2, 3, 4)
@pytest.mark.gradient
@pytest.mark.parametrize("k, factor", [(1, None), (2, 0.7)])
def test_central_differences_of_experts(level, k, factor):
    """Both outputs; the shares f are constants, and so are the choices near these inputs."""
    draw = rng(8).standard_normal
    arrays = [draw(s) for s in ((2, 3, 4), (4, 3), (3, 4, 2), (3, 2), (3, 2, 4), (3, 4))]
    check_gradients(lambda *a: level.mixture_of_experts(*a, top_k=k, capacity_factor=factor),
                    level.mixture_of_experts_backward, arrays)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("norm_first", [True, False])
def test_module_is_the_op(level, norm_first):
    """A block computes what the op does with its arrays, forward and backward, and adds to gradients."""
    block = level.EncoderBlock(12, 6, 7, num_kv_heads=3, causal=True, norm_first=norm_first,
                               activation="gelu_tanh").astype(np.float64)
    for k, p in enumerate(block.parameters()):
        p.data += rng(k).standard_normal(p.data.shape) / 3
    heads = block.attention.projections()
    modules = [block.norm1, *heads, block.norm2, block.ffn.linear1, block.ffn.linear2]
    arrays = [block.norm1.weight, block.norm1.bias, *(p.weight for p in heads), *(p.bias for p in heads)]
    arrays += [p for m in modules[5:] for p in (m.weight, m.bias)]
    x, dout = rng(20).standard_normal((2, 2, 5, 12))
    w, mask = {n: p.data for n, p in zip(checks.NAMES, arrays, strict=True)}, rng(21).random((2, 5, 5)) < 0.7
    want = steps(level, x, w, dout, mask=mask, num_heads=6, num_kv_heads=3, causal=True, norm_first=norm_first,
                 activation="gelu_tanh")
    for times in (1, 2):
        got = block(x, mask), block.backward(dout)
        grads = {n: p.grad / times for n, p in zip(checks.NAMES, arrays)}
        compare((*got, grads), want)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("norm_first", [True, False])
def test_block_is_its_parts(level, norm_first):
    """With other norms and networks too, whatever the eps of each norm, and with a mask."""
    from tangled.t16_normalizations import RMSNorm
    x, mask = rng(23).standard_normal((2, 5, 12)), rng(24).random((2, 5, 5)) < 0.7
    for options, *eps in (({}, 0.3, 0.3), ({}, 0.3, 1e-5), ({"norm": RMSNorm}, 0.3, 0.3),
                          ({"ffn": level.SwiGLU}, 1e-5, 1e-5)):
        block = level.EncoderBlock(12, 3, 7, norm_first=norm_first, **options).astype(np.float64)
        block.norm1.eps, block.norm2.eps = eps
        one, two, network = block.norm1, block.norm2, block.ffn
        attend = lambda a, heads=block.attention: heads(a, mask=mask)
        middle = x + attend(one(x)) if norm_first else one(x + attend(x))
        want = middle + network(two(middle)) if norm_first else two(middle + network(middle))
        assert_close(block(x, mask), want, tol=1e-10, what=f"out with {options} and eps {eps}")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_the_mode_after_forward(level):
    """Noise that was there in forward is there in backward, though `eval()` came between."""
    x, dout = rng(25).standard_normal((2, 2, 5, 12))
    for module in (level.FeedForward(12, 7, dropout=0.4), level.EncoderBlock(12, 3, 7, dropout=0.4)):
        module.astype(np.float64)(x)
        want = module.backward(dout)
        assert_close(module.eval().backward(dout), want, tol=0, what="dx after eval()")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("bad", [7.0, 1e30, np.inf, np.nan])
@pytest.mark.parametrize("norm_first", [True, False])
def test_padding_changes_nothing(level, bad, norm_first):
    """Outputs and all gradients, bit for bit, whatever stands in the padding, also in front of a causal mask."""
    lengths = np.array([3, 5, 0, 1])
    real = np.arange(5) < lengths[:, None]
    x, dout = rng(9).standard_normal((2, 4, 5, 12)).astype(np.float32)
    results = []
    for content in (0.0, bad):
        encoder = level.TransformerEncoder(2, 12, 3, 7, norm_first=norm_first, causal=norm_first)
        filled = np.where(real[..., None], x, np.float32(content))
        out = encoder(filled, lengths=lengths)
        dx = encoder.backward(np.where(real[..., None], dout, np.float32(content)))
        results.append([out, dx, *(p.grad for p in encoder.parameters())])
    names = ["out", "dx", *(f"d{name}" for name, _ in encoder.named_parameters())]
    for name, want, got in zip(names, *results, strict=True):
        assert_close(got, want, tol=0, what=f"{name} with something in the padding")
    assert not results[0][0][~real].any() and not results[0][1][~real].any(), "padding is not zero"


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_padding_is_as_if_it_were_cut(level):
    """Each sample alone, without its padding; and the op leaves real tokens alone when only its keys are masked."""
    lengths, x = np.array([3, 5, 2]), rng(10).standard_normal((3, 5, 12))
    encoder = level.TransformerEncoder(2, 12, 3, 7).astype(np.float64)
    out = encoder(x, lengths=lengths)
    for n, length in enumerate(lengths):
        assert_close(out[n, :length], encoder(x[n:n + 1, :length])[0], tol=1e-10, what="out")
    assert_close(encoder(x, np.tri(5, dtype=bool), lengths)[1], encoder(x[1:2], np.tri(5, dtype=bool))[0],
                 tol=1e-10, what="out, both masks")
    both = rng(11).random((3, 5, 5)) < 0.6
    assert_close(encoder(x, both, lengths), encoder(x, both[:, None], lengths), tol=1e-12, what="masks of samples")
    for n, length in enumerate(lengths):
        alone = encoder(x[n:n + 1, :length], both[n, :length, :length])[0]
        assert_close(encoder(x, both, lengths)[n, :length], alone, tol=1e-10, what="out, a mask for each sample")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_lengths_are_of_one_call(level):
    """Lengths of an earlier batch cut nothing from a batch without, forward or backward; x stays as it was."""
    used, fresh = (level.TransformerEncoder(1, 12, 3, 7).astype(np.float64) for _ in range(2))
    x, dout = rng(32).standard_normal((2, 2, 5, 12))
    given = x.copy()
    used.backward(used(x, lengths=np.array([3, 1])))
    assert (x == given).all(), "x is changed"
    assert_close(used(x), fresh(x), tol=1e-12, what="out")
    assert_close(used.backward(dout), fresh.backward(dout), tol=1e-12, what="dx")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_the_op_and_padding(level):
    """Masked as keys, padding of any content leaves the outputs of real tokens as they are."""
    w, x, mask = weights(11), rng(12).standard_normal((2, 5, 12)), np.arange(5) < np.array([3, 4])[:, None, None, None]
    out, _ = level.encoder_block(x, w, mask, num_heads=3)
    for bad in (50.0, np.nan):
        other = np.where(mask[:, 0, 0, :, None], x, bad)
        with np.errstate(all="ignore"):
            changed, _ = level.encoder_block(other, w, mask, num_heads=3)
        for n, length in enumerate((3, 4)):
            assert_close(changed[n, :length], out[n, :length], tol=1e-12, what=f"out of real tokens, padding {bad}")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("norm_first", [True, False])
def test_evaluation_is_training_without_dropout(level, norm_first):
    """The same bits, padded too; and in training the noise is there, and gone again in evaluation."""
    x, lengths = rng(13).standard_normal((2, 5, 12)).astype(np.float32), np.array([5, 3])
    quiet, noisy = (level.TransformerEncoder(2, 12, 3, 7, dropout=p, norm_first=norm_first) for p in (0.0, 0.4))
    noisy.load_state_dict(quiet.state_dict())
    want = quiet(x, lengths=lengths)
    assert np.array_equal(quiet.eval()(x, lengths=lengths), want)
    assert np.array_equal(noisy.eval()(x, lengths=lengths), want)
    assert not np.allclose(noisy.train()(x, lengths=lengths), want)
    assert np.array_equal(noisy.eval()(x, lengths=lengths), want)
    assert np.array_equal(noisy.backward(x), quiet.backward(x)), "noise of an earlier call is in the gradient"


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_dropout_spares_the_stream(level):
    """Sublayers that say nothing: out is x. Sublayers that say 1: 0, 2 or 4 is added, at p = 0.5."""
    block = level.EncoderBlock(6, 3, 4, dropout=0.5)
    for layer in (block.attention.out_proj, block.ffn.linear2):
        layer.weight.data[...] = 0
    x = rng(14).standard_normal((3, 50, 6)).astype(np.float32)
    assert_close(block(x), x, tol=1e-6, what="out of silent sublayers")
    for layer in (block.attention.out_proj, block.ffn.linear2):
        layer.bias.data[...] = 1
    added = block(x) - x
    shares = [float(np.mean(np.abs(added - k) < 1e-3)) for k in (0, 2, 4)]
    assert np.allclose(shares, [0.25, 0.5, 0.25], atol=0.06), f"0, 2, 4 are added in shares of {shares}"
    network = level.FeedForward(6, 4, dropout=0.5)
    assert not np.allclose(network(x), network.eval()(x)), "a network drops nothing in training"
    assert type(level.TransformerEncoder(1, 6, 3, 4).blocks[0]) is level.EncoderBlock


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("noisy", ["attention", "ffn"])
def test_dropout_inside_the_sublayers(level, noisy):
    """Fifty equal tokens: dropped only after a sublayer, its sum would be 0 or one number in each feature."""
    block = level.EncoderBlock(6, 3, 4, dropout=0.5)
    silent = block.ffn.linear2 if noisy == "attention" else block.attention.out_proj
    silent.weight.data[...] = 0
    x = np.tile(rng(33).standard_normal((1, 1, 6)).astype(np.float32), (1, 50, 1))
    found = [len(np.unique((block(x) - x)[..., d].round(4))) for d in range(6)]
    assert max(found) > 2, f"nothing is dropped inside {noisy}"


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("norm_first", [True, False])
def test_gradients_under_dropout(level, norm_first):
    """With the same noise at every call, central differences hold in all four places."""
    block = level.EncoderBlock(4, 2, 3, dropout=0.3, norm_first=norm_first, bias=False)

    def forward(x):
        state = rng(15).bit_generator.state
        for module in block.modules():
            if hasattr(module, "rng"):
                module.rng.bit_generator.state = state
        return block.forward(x)
    check_module_gradients(block, [rng(16).standard_normal((2, 3, 4))], call=forward)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_final_norm(level):
    """What leaves a pre-norm stack is normalised, and its parameters are there; post-norm needs none more."""
    x = 5 * rng(17).standard_normal((2, 3, 12)).astype(np.float32)
    first, last = (level.TransformerEncoder(3, 12, 3, 7, norm_first=n) for n in (True, False))
    for encoder in (first, last):
        out = encoder(x)
        assert_close(out.mean(-1), np.zeros((2, 3)), tol=1e-4, what="mean", dtype=np.float32)
        assert_close(out.var(-1), np.ones((2, 3)), tol=1e-3, what="variance", dtype=np.float32)
    assert len(first.parameters()) == len(last.parameters()) + 2
    assert level.TransformerEncoder(1, 12, 3, 7).norm is not None


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("option", ["activation", "causal", "num_kv_heads", "bias", "dropout", "ffn", "norm"])
def test_options_reach_every_block(level, option):
    """A stack, also inside a vision transformer, is its blocks with the options given, and a norm of that kind."""
    from tangled.t16_normalizations import LayerNorm, RMSNorm
    options = {"activation": "relu", "causal": True, "num_kv_heads": 1, "bias": False, "dropout": 0.4,
               "ffn": level.SwiGLU, "norm": RMSNorm}
    given, x = {option: options[option]}, rng(34).standard_normal((2, 5, 6)).astype(np.float32)
    for encoder in (level.TransformerEncoder(2, 6, 3, 4, **given),
                    level.ViT(4, 2, 1, 3, 2, 6, 3, 4, **given).encoder):
        want = x
        for block in encoder.blocks:
            alone = level.EncoderBlock(6, 3, 4, **given)
            alone.load_state_dict(block.state_dict())
            want = alone.eval()(want)
        kinds = {type(norm) for norm in (encoder.norm, alone.norm1, alone.norm2)}
        assert kinds == {RMSNorm if option == "norm" else LayerNorm}
        assert_close(encoder.eval()(x), encoder.norm(want), tol=1e-5, what=f"out with {option}", dtype=np.float32)
        assert np.allclose(encoder.train()(x), encoder.eval()(x)) == (option != "dropout")


@pytest.mark.value
def test_patches(level):
    """Patch (i, j) is token i W / p + j, with channels first; unpatchify undoes it."""
    x = rng(18).standard_normal((2, 3, 4, 6))
    patches = level.patchify(x, 2)
    want = [x[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2].reshape(2, -1) for i in range(2) for j in range(3)]
    assert_close(patches, np.stack(want, axis=1), tol=0, what="patches")
    assert_close(level.unpatchify(patches, (3, 4, 6), 2), x, tol=0, what="pictures")
    assert_close(level.patchify(x, 1), x.reshape(2, 3, 24).swapaxes(1, 2), tol=0, what="patches of one pixel")
    for p in (1, 2):
        assert not np.shares_memory(level.patchify(x[:, :, :2, :2], p), x), "patches are a view of pictures"
    pixels = rng(18).standard_normal((2, 6, 1))
    assert not np.shares_memory(level.unpatchify(pixels, (1, 2, 3), 1), pixels), "pictures are a view of patches"


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_vit_knows_where(level):
    """Without positions the order of the patches is nothing to it; with them it is."""
    x = rng(19).standard_normal((2, 3, 4, 4)).astype(np.float32)
    moved = level.unpatchify(level.patchify(x, 2)[:, [2, 0, 3, 1]], (3, 4, 4), 2)
    for positions in (True, False):
        model = level.ViT(4, 2, 3, 5, 2, 6, 2, 4, positions=positions)
        model.head.weight.data *= 100
        if positions:
            model.positions.data *= 20
        assert model(x).shape == (2, 5)
        assert np.allclose(model(x), model(moved), atol=1e-4) != positions


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("positions", [True, False])
def test_vit_is_its_parts(level, positions):
    """The class token in front of the patches, a position for each, and logits of what becomes of the token."""
    model = level.ViT(4, 2, 3, 5, 1, 6, 2, 4, positions=positions)
    for k, p in enumerate(model.parameters()):
        p.data = rng(k).standard_normal(p.data.shape)
    given = {name: a.copy() for name, a in model.state_dict().items()}
    assert type(model.encoder) is level.TransformerEncoder and len(model.encoder.blocks) == 1
    assert (model.positions is not None) == positions
    layer = model.embedding.projection
    for batch in (2, 1, 1, 3):                                  # one after the other, of different sizes
        x = rng(batch).standard_normal((batch, 3, 4, 4))
        patches = level.patchify(x, 2) @ layer.weight.data + layer.bias.data
        tokens = np.concatenate([np.repeat(model.token.data, batch, axis=0), patches], axis=1)
        tokens = tokens + model.positions.data if positions else tokens
        want = model.head(model.encoder(tokens)[:, 0])
        got = model(x)
        assert_close(got, want, tol=1e-10, what="logits")
        assert model.backward(got).shape == x.shape
    for name, array in model.state_dict().items():
        assert_close(array, given[name], tol=0, what=name + " after forward")
    for x in (rng(1).standard_normal((2, 3, 4, 6)), rng(2).standard_normal((1, 3, 2, 4))):
        assert model.embedding.backward(model.embedding(x)).shape == x.shape


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_pictures_that_want_no_gradient(level):
    """None for dx where `input_grad` is False, the same gradients of parameters, and dx again where it is True."""
    x = rng(36).standard_normal((2, 3, 4, 4)).astype(np.float32)
    for module in (level.ViT(4, 2, 3, 5, 1, 6, 2, 4), level.PatchEmbedding(2, 3, 6)):
        dout, grads = rng(37).standard_normal(module(x).shape).astype(np.float32), []
        for wanted in (True, False, True):
            module.input_grad = wanted
            module.zero_grad()
            module(x)
            dx = module.backward(dout)
            assert (dx is not None) == wanted and (dx is None or dx.dtype == np.float32)
            grads.append([p.grad.copy() for p in module.parameters()])
        for a, b in zip(*grads[:2]):
            assert_close(b, a, tol=1e-6, what="gradients without dx")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_experts_that_are_one(level):
    """One expert is a network; equal experts, all of them used, are one; a router of zeros is in balance."""
    draw = rng(20).standard_normal
    x, w1, b1, w2, b2 = (draw(s) for s in ((2, 3, 4), (4, 5), (5,), (5, 4), (4,)))
    want, _ = level.feed_forward(x, w1, b1, w2, b2)
    for E in (1, 3):
        experts = [np.stack([a] * E) for a in (w1, b1, w2, b2)]
        (out, _), _ = level.mixture_of_experts(x, draw((4, E)), *experts, top_k=E)
        assert_close(out, want, tol=1e-10, what=f"out of {E} experts")
        (out, balance), _ = level.mixture_of_experts(x, np.zeros((4, E)), *experts)
        assert_close(out, want / E, tol=1e-10, what="out with p = 1 / E")
        assert_close(balance, np.array(1.0), tol=1e-12, what="balance of a router of zeros")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_capacity(level):
    """Six tokens want expert 0, which takes two: the first two; the others add nothing and get no gradient."""
    x = np.ones((1, 6, 2)) * np.arange(1.0, 7)[:, None]
    router, w1, w2 = np.array([[9.0, 0, 0], [0, 0, 0]]), np.ones((3, 2, 4)), np.ones((3, 4, 2))
    b1, b2 = np.zeros((3, 4)), np.zeros((3, 2))
    (out, balance), cache = level.mixture_of_experts(x, router, w1, b1, w2, b2, 1, 1.0, "relu")
    assert_close(out[0, :2], np.array([[8.0, 8], [16, 16]]), tol=2e-3, what="out of the tokens served")
    assert_close(out[0, 2:], np.zeros((4, 2)), tol=0, what="out of those beyond the capacity")
    assert_close(balance, np.array(3.0), tol=1e-3, what="balance of one expert for all")
    dx, _, dw1, *_ = level.mixture_of_experts_backward((np.ones(out.shape), np.array(0.0)), cache)
    assert_close(dx[0, 2:], np.zeros((4, 2)), tol=0, what="dx of those beyond the capacity")
    assert_close(dw1[1:], np.zeros((2, 2, 4)), tol=0, what="dw1 of experts without tokens")
    (out, _), _ = level.mixture_of_experts(x, router, w1, b1, w2, b2, 2, 0.5, "relu")           # room for two
    assert_close((out[0, :, 0] > 1).astype(float), np.array([1.0, 1, 0, 0, 0, 0]), tol=0, what="served by expert 0")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_first_choices_come_first(level):
    """A token whose second choice is the expert waits for tokens whose first choice it is, though it comes earlier."""
    x = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    args = [np.eye(2), np.ones((2, 2, 1)), np.zeros((2, 1)), np.ones((2, 1, 2)), np.zeros((2, 2))]
    (out, _), _ = level.mixture_of_experts(x, *args, 2, 0.6, "relu")            # room for two of six
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    served = np.array([p[0, 0], p[1].sum(), p[2, 1]])
    assert_close(out[:, 0], 3 * served, tol=1e-10, what="out")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_block_of_experts(level):
    """A block hands the balance loss on: its gradient is there, weighted, and its value can be read."""
    make = lambda D, F, rng: level.MixtureOfExperts(D, F, 3, 2, rng=rng)
    encoder = level.TransformerEncoder(2, 6, 3, 4, ffn=make).astype(np.float64)
    x = rng(21).standard_normal((2, 3, 6))
    out = encoder(x)
    assert_close(encoder.balance, sum(b.balance for b in encoder.blocks), tol=1e-12, what="balance")
    grads = []
    for weight in (0.0, 0.5):
        for block in encoder.blocks:
            block.balance_weight = weight
        encoder.zero_grad()
        encoder(x)
        encoder.backward(np.zeros_like(out))
        grads.append([np.abs(b.ffn.router.grad).max() for b in encoder.blocks])
    assert max(grads[0]) == 0 and min(grads[1]) > 0
    encoder(x, lengths=np.array([2, 3]))
    assert not encoder.backward(np.ones_like(out))[0, 2].any(), "the balance loss reaches padding"
    usual = level.TransformerEncoder(2, 6, 3, 4).astype(np.float64)
    assert usual.balance == level.EncoderBlock(6, 3, 4).balance == 0.0
    usual(x)
    assert usual.balance == 0.0, "blocks without experts have no balance loss"


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("norm_first", [True, False])
def test_weight_of_the_balance_loss(level, norm_first):
    """A network that returns (out, balance) is sent (dout, balance_weight): 0.01, or what it was set to."""
    from tangled.t06_backpropagation import Module

    class Network(Module):
        def forward(self, x):
            return 2 * x, x.dtype.type(0.7)

        def backward(self, dout):
            self.seen = dout
            return 2 * dout[0]

    block = level.EncoderBlock(6, 3, 4, norm_first=norm_first, ffn=lambda d_model, d_ff, rng: Network())
    x = rng(38).standard_normal((2, 3, 6)).astype(np.float32)
    for weight in (0.01, 0.4):
        block.balance_weight = block.balance_weight if weight == 0.01 else weight
        block.backward(np.ones_like(block(x)))
        assert abs(block.balance - 0.7) < 1e-6 and block.ffn.seen[0].shape == x.shape
        assert float(block.ffn.seen[1]) == weight


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_modules_of_networks_are_the_ops(level):
    """Networks, experts and the gate compute what their ops do, with all options, and add to gradients."""
    x, dout = rng(21).standard_normal((2, 2, 3, 6))
    experts = level.MixtureOfExperts(6, 4, 3, 2, 0.5, "relu", rng(1)).astype(np.float64)
    gate = level.SwiGLU(6, 4, rng(2)).astype(np.float64)
    plain, bare = (level.FeedForward(6, 4, "relu", bias=b, rng=rng(3)).astype(np.float64) for b in (True, False))
    inside = lambda f: [f.linear1.weight, f.linear1.bias, f.linear2.weight, f.linear2.bias]
    for module, arrays, op, op_backward, options, above in (
            (experts, experts.arrays(), level.mixture_of_experts, level.mixture_of_experts_backward,
             (2, 0.5, "relu"), (dout, np.array(0.3))),
            (gate, [gate.w_gate, gate.w_up, gate.w_down], level.swiglu, level.swiglu_backward, (), dout),
            (plain, inside(plain), level.feed_forward, level.feed_forward_backward, ("relu",), dout),
            (bare, inside(bare), level.feed_forward, level.feed_forward_backward, ("relu",), dout)):
        want, cache = op(x, *(p if p is None else p.data for p in arrays), *options)
        dx, *grads = op_backward(above, cache)
        for times in (1, 2):
            for got, one in zip(*((a if isinstance(a, tuple) else (a,)) for a in (module(x), want)), strict=True):
                assert_close(got, one, tol=1e-12, what="out")
            assert_close(module.backward(above), dx, tol=1e-12, what="dx")
            for parameter, grad in zip([p for p in arrays if p is not None], grads, strict=True):
                assert_close(parameter.grad / times, grad, tol=1e-12, what="gradient")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_padding_gets_no_mass(level):
    """Impossible padding costs nothing; its gradient is not negative; tokens of padding do not count."""
    logits = rng(22).standard_normal((3, 4, 6))
    targets = np.array([[1, 2, 0, 0], [5, 0, 0, 0], [3, 4, 1, 2]])
    loss, cache = level.smoothed_cross_entropy(logits, targets, 0.3, 0)
    dlogits = level.smoothed_cross_entropy_backward(1.0, cache)
    assert_close(dlogits[targets == 0], np.zeros((5, 6)), tol=0, what="dlogits of padding")
    assert (dlogits[targets != 0][:, 0] > 0).all(), "the class of padding gets mass"
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    q = np.array([0] + [0.3 / 5] * 5) + 0.7 * np.eye(6)[targets]
    assert_close(loss, -(q * np.log(p)).sum(-1)[targets != 0].mean(), tol=1e-10, what="loss")
    other = logits.copy()
    other[targets == 0] = 99.0
    assert_close(level.smoothed_cross_entropy(other, targets, 0.3, 0)[0], loss, tol=1e-12, what="loss")
    impossible = logits.copy()
    impossible[..., 0] = -np.inf
    assert np.isfinite(level.smoothed_cross_entropy(impossible, targets, 0.3, 0)[0])
    other[targets == 0] = np.nan
    with np.errstate(all="ignore"):
        got, cache = level.smoothed_cross_entropy(other, targets, 0.3, 0)
        assert_close(got, loss, tol=1e-12, what="loss with NaN in the padding")
        assert_close(level.smoothed_cross_entropy_backward(1.0, cache), dlogits, tol=1e-12, what="dlogits")
    far, _ = level.smoothed_cross_entropy(np.array([[0.0, 2000, 0]]), np.array([0]), 0.3)
    assert_close(far, np.array(0.9 * 2000), tol=1e-12, what="loss of far logits")
    last, _ = level.smoothed_cross_entropy(logits[..., ::-1], 5 - targets, 0.3, 5)
    assert_close(last, loss, tol=1e-12, what="loss with the last class as padding")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_dtypes_of_experts_and_losses(level):
    """float16, float32 and float64; far logits; called again the same, and nothing changed that was handed in."""
    draw = rng(39).standard_normal
    arrays = [draw(s) for s in ((2, 5, 4), (4, 3), (3, 4, 2), (3, 2), (3, 2, 4), (3, 4))]
    experts = lambda *a: level.mixture_of_experts(*a, 2, 0.7)
    assert_dtypes(experts, arrays, f_backward=level.mixture_of_experts_backward, scales=(1.0,), refuses=(np.int64,),
                  tol={2: 1e-2, 4: 5e-5})
    assert_repeatable(experts, arrays, f_backward=level.mixture_of_experts_backward)
    logits, targets = draw((3, 4, 6)), np.array([[1, 2, 0, 0], [5, 0, 0, 0], [3, 4, 1, 2]])
    loss = lambda z: level.smoothed_cross_entropy(z, targets, 0.3, 0)
    assert_dtypes(loss, [logits], f_backward=level.smoothed_cross_entropy_backward, refuses=(np.int64,))
    assert_repeatable(loss, [logits], f_backward=level.smoothed_cross_entropy_backward)


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_kv_heads": 1}])
def test_state_there_and_back(level, options):
    """All arrays go over, by PyTorch's names; a block comes back the same; copies, not views."""
    block = level.EncoderBlock(6, 3, 4, **options)
    for k, p in enumerate(block.parameters()):
        p.data += rng(k).standard_normal(p.data.shape).astype(np.float32)
    state = level.to_pytorch(block)
    assert state["linear1.weight"].shape == (4, 6)
    if not options.get("bias", True):
        assert {name for name in state if name.endswith("bias")} == {"norm1.bias", "norm2.bias"}
    if "num_kv_heads" not in options:
        other = level.from_pytorch(level.EncoderBlock(6, 3, 4, **options, rng=rng(5)), state)
        for name, array in block.state_dict().items():
            assert_close(other.state_dict()[name], array, tol=0, what=name)
        wide = {name: a.astype(np.float64) for name, a in state.items()}
        assert level.from_pytorch(other, wide) is other
        assert all(p.data.dtype == np.float32 for p in other.parameters()), "a state changes the dtype of a block"
        level.from_pytorch(other, state)
    else:
        other = block
    want = {name: a.copy() for name, a in block.state_dict().items()}
    for array in state.values():
        array[...] = 0
    for owner in (block, other):
        for name, array in owner.state_dict().items():
            assert_close(array, want[name], tol=0, what=name)


@pytest.mark.levels(4)
@pytest.mark.value
@pytest.mark.parametrize("norm_first", [True, False])
def test_pytorch_takes_our_weights(level, norm_first):
    """A TransformerEncoderLayer with our state computes our output, in training and in evaluation."""
    import torch

    from tangled.t28_transformer_encoder import EncoderBlock, to_pytorch
    block = EncoderBlock(6, 3, 4, norm_first=norm_first, rng=rng(3)).astype(np.float64)
    torch_layer = level.layer(6, 3, 4, norm_first=norm_first)
    torch_layer.load_state_dict({k: torch.from_numpy(a) for k, a in to_pytorch(block).items()})
    x = rng(4).standard_normal((2, 5, 6))
    for mode in (True, False):
        with torch.no_grad():
            assert_close(torch_layer.train(mode)(torch.from_numpy(x)).numpy(), block(x), tol=1e-10, what="out")


@pytest.mark.levels(2, 3)
@pytest.mark.shape
def test_initial_weights(level):
    """Xavier's bounds, zero biases; the same seed, the same block; another dtype by astype."""
    one, two = (level.EncoderBlock(60, 3, 40, rng=rng(1)) for _ in range(2))
    for name, array in one.state_dict().items():
        assert_close(two.state_dict()[name], array, tol=0, what=name)
    bound = (6 / 100) ** 0.5
    for layer in (one.ffn.linear1, one.ffn.linear2):
        assert 0.95 * bound < np.abs(layer.weight.data).max() <= bound and not layer.bias.data.any()
    gate = level.SwiGLU(60, 40, rng(1))
    for weight in (one.ffn.linear1.weight, one.ffn.linear2.weight, gate.w_gate, gate.w_up, gate.w_down):
        low, high = weight.data.min() / bound, weight.data.max() / bound
        assert -1 <= low < -0.95 and 0.95 < high <= 1, f"from {low:.2f} to {high:.2f} of Xavier's bound"
    x = rng(2).standard_normal((2, 3, 60))
    assert one(x.astype(np.float32)).dtype == np.float32
    assert copy.deepcopy(one).astype(np.float64)(x).dtype == np.float64


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_seeds(level):
    """A generator is for all parts: another seed, other weights in each; no two alike; the seed 0 by default."""
    for make in (lambda **r: level.FeedForward(6, 4, **r), lambda **r: level.SwiGLU(6, 4, **r),
                 lambda **r: level.MixtureOfExperts(6, 4, 3, **r), lambda **r: level.PatchEmbedding(2, 3, 6, **r),
                 lambda **r: level.EncoderBlock(6, 3, 4, **r), lambda **r: level.ViT(4, 2, 3, 5, 2, 6, 3, 4, **r),
                 lambda **r: level.TransformerEncoder(2, 6, 3, 4, ffn=level.SwiGLU, **r)):
        one, same, other, zero, usual = (make(**r).state_dict() for r in (
            {"rng": rng(1)}, {"rng": rng(1)}, {"rng": rng(2)}, {"rng": np.random.default_rng(0)}, {}))
        drawn = {name: a for name, a in one.items() if np.ptp(a)}
        for name, a in one.items():
            assert a.dtype == np.float32 and (same[name] == a).all() and (usual[name] == zero[name]).all(), name
        for name, a in drawn.items():
            assert (a != other[name]).any(), f"{name} is the same for another seed"
            assert len(a) == 1 or (a[0] != a[1]).any(), f"{name} is the same all along its first axis"
            assert not any(n < name and np.array_equal(a, b) for n, b in drawn.items()), f"{name} is like another"


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_seeds_of_noise(level):
    """The same seed drops the same, another seed something else."""
    x = rng(40).standard_normal((2, 5, 6)).astype(np.float32)
    outs = []
    for seed in (1, 1, 2):
        network = level.FeedForward(6, 4, dropout=0.5, rng=rng(seed))
        network.load_state_dict(level.FeedForward(6, 4).state_dict())
        outs.append(network(x))
    assert (outs[0] == outs[1]).all() and (outs[0] != outs[2]).any()


@pytest.mark.value
def test_dtypes(level):
    """float16, float32 and float64, also at the extremes."""
    w = {name: a for name, a in weights(30, 6, 5, 6).items() if name != "b_k"}  # its gradient is 0 up to rounding

    def forward(x, *arrays):
        return level.encoder_block(x, dict(zip(w, arrays)), num_heads=3)

    def backward(dout, cache):
        dx, dweights = level.encoder_block_backward(dout, cache)
        return dx, *dweights.values()
    x = rng(31).standard_normal((2, 3, 6))
    assert_dtypes(forward, [x, *w.values()], f_backward=backward, scales=(1.0, 30.0), refuses=(np.int64,),
                  tol={2: 2e-2, 4: 1e-4})
    assert_repeatable(forward, [x, *w.values()], f_backward=backward)
    arrays = [x, w["w1"], w["b1"], w["w2"], w["b2"]]
    for f, f_backward, given in ((level.feed_forward, level.feed_forward_backward, arrays),
                                 (level.swiglu, level.swiglu_backward, [x, w["w1"], w["w1"] + 1, w["w2"]])):
        assert_dtypes(f, given, f_backward=f_backward, refuses=(np.int64,), tol={2: 5e-3, 4: 5e-5})
        assert_repeatable(f, given, f_backward=f_backward)
