# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:ca488be69a67b613
"""Chapter 33: layers and a network of integers, keys and values, a step at quantised weights."""

import numpy as np
import pytest

from tangled.t06_backpropagation import CrossEntropyLoss, Linear
from tangled.t25_self_attention import attention
from tangled.t26_multi_head_attention import merge_heads, split_heads
from tangled.t28_transformer_encoder import ACTIVATIONS
from tangled.t30_mini_gpt import GPT, evaluate
from tangled.testing import assert_close, rng

pytestmark = [pytest.mark.levels(2), pytest.mark.value]


def layer(n=12, m=7, bias=True):
    """A Linear whose outputs are of very different sizes."""
    linear = Linear(n, m, rng(0), bias)
    linear.weight.data *= 10.0 ** -np.arange(m, dtype=np.float32)
    if bias:
        linear.bias.data[...] = rng(1).standard_normal(m)
    return linear


def network(seed=0):
    """A GPT with weights large enough to matter."""
    model, draw = GPT(11, 8, 12, 3, 2, rng=rng(seed)).eval(), rng(9)
    for p in model.parameters():
        p.data += 0.3 * draw.standard_normal(p.data.shape).astype(np.float32)
    return model


def by_hand(level, model, ids, cache_bits=None, **options):
    """Logits of a GPT, matrix by matrix, and the bytes of all that is stored."""
    (wte, wpe), stored = (level.quantize(t.weight.data, block=(1, None))[:2] for t in (model.wte, model.wpe)), []
    stored += [wte[0], wte[1], wpe[0], wpe[1]]
    wte, wpe = level.dequantize(*wte), level.dequantize(*wpe)

    def through(linear, x):
        layer_ = level.QuantizedLinear(linear, **options)
        stored.append(layer_)
        return layer_(x)
    x = wte[ids] + wpe[:ids.shape[1]]
    for b in model.blocks:
        a, f = b.attention, b.norm1(x)
        q, k, v = (split_heads(through(layer_, f), model.num_heads) for layer_ in (a.q_proj, a.k_proj, a.v_proj))
        if cache_bits:
            k, v = (level.dequantize(*level.quantize(heads, block=(1, 1, 1, None))) for heads in (k, v))
        x = x + through(a.out_proj, merge_heads(attention(q, k, v, causal=True)[0]))
        x = x + through(b.ffn.linear2, ACTIVATIONS["gelu_tanh"][0](through(b.ffn.linear1, b.norm2(x)))[0])
        stored += [p.data for norm in (b.norm1, b.norm2) for p in norm.parameters()]
    stored += [p.data for p in model.norm.parameters()]
    return model.norm(x) @ wte.T, sum(part.nbytes for part in stored)


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("block", [None, (None, 1), (4, 1)])
def test_linear(level, bits, block):
    """The product with the dequantised weight, which is half a step away at most; its bytes counted."""
    linear, x = layer(), rng(2).standard_normal((2, 5, 12)).astype(np.float32)
    layer_ = level.QuantizedLinear(linear, bits, block)
    w = level.dequantize(layer_.integers(), layer_.scale)
    step = level.dequantize(np.ones_like(layer_.integers()), layer_.scale)
    assert (np.abs(w - linear.weight.data) <= 0.5001 * step).all()
    assert_close(layer_(x), x @ w + linear.bias.data, tol=1e-5, what="out")
    scales = {None: 1, (None, 1): 7, (4, 1): 21}[block]
    assert layer_.nbytes == (12 * 7 if bits == 8 else 12 * 4) + 4 * scales + 4 * 7
    assert {name: a.nbytes for name, a in layer_.state_dict().items()}.keys() == {"codes", "scale", "offset"}
    assert not layer_.parameters()
    before = layer_(x)
    for p in linear.parameters():
        p.data *= 2
    assert_close(layer_(x), before, tol=0, what="out, after the Linear has changed")


@pytest.mark.parametrize("bits", [8, 4])
def test_channels_of_different_sizes(level, bits):
    """By default each output has its own scale: the smallest is as exact as the largest."""
    linear = layer()
    q = level.QuantizedLinear(linear, bits)
    w = level.dequantize(q.integers(), q.scale)
    size = np.abs(linear.weight.data).max(axis=0)
    error = np.abs(w - linear.weight.data).max(axis=0) / size
    assert (error <= 0.51 / (2 ** (bits - 1) - 1)).all(), f"errors {error} of the largest weight of an output"
    whole = level.QuantizedLinear(linear, bits, block=None)
    assert np.abs(level.dequantize(whole.integers(), whole.scale)).max(axis=0)[-1] == 0


def test_square_channels(level):
    """Inputs and outputs as many: a scale along the wrong axis has no wrong shape."""
    linear = layer(7, 7, bias=False)
    x = rng(3).standard_normal((4, 7)).astype(np.float32)
    for activations in (None, 8):
        out = level.QuantizedLinear(linear, activations=activations)(x)
        exact = x @ linear.weight.data
        assert (np.abs(out - exact) <= 0.03 * np.abs(exact).max(axis=0)).all()


def test_integer_activations(level):
    """Rows are quantised one by one, and the product is one of integers."""
    linear, x = layer(), rng(4).standard_normal((3, 2, 12)).astype(np.float32)
    x *= 10.0 ** np.arange(-3, 3).reshape(3, 2, 1)
    layer_ = level.QuantizedLinear(linear, activations=8)
    q, rows, _ = level.quantize(x, block=(1, 1, None))
    y = q.astype(np.int64) @ layer_.integers().astype(np.int64)
    assert_close(layer_(x), (rows * layer_.scale * y + linear.bias.data).astype(np.float32), tol=1e-5, what="out")
    plain = x @ linear.weight.data
    got = layer_(x) - linear.bias.data
    assert (np.abs(got - plain)[..., 0] <= 0.03 * np.abs(plain).max(axis=-1) + 1e-6).all()
    even = layer(12, 6)
    for block in ((4, 1), (None, 2), (12, 3)):
        with pytest.raises(ValueError, match="block"):
            level.QuantizedLinear(even, block=block, activations=8)
    for block in (None, (None, None), (12, 6)):                 # one scale for all
        assert_close(level.QuantizedLinear(even, block=block, activations=8)(x),
                     level.QuantizedLinear(even, block=None, activations=8)(x), tol=1e-6, what="out")
    for wrong in ({"activations": 4}, {"bits": 9}, {"block": (5, 1)}, {"method": "best"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            level.QuantizedLinear(linear, **wrong)


def test_network_with_floats(level):
    """Without quantisation it is chapter 30's, at once and token by token."""
    model, ids = network(), rng(1).integers(0, 11, (3, 7))
    copy = level.QuantizedGPT(model, bits=None)
    assert_close(copy(ids), model(ids), tol=1e-5, what="logits")
    assert copy.nbytes == sum(p.data.nbytes for p in model.parameters())
    caches = copy.start()
    steps = [copy(ids[:, t:t + 1], caches) for t in range(7)]
    assert_close(np.concatenate(steps, axis=1), model(ids), tol=1e-5, what="logits, token by token")


@pytest.mark.parametrize("cache_bits", [None, 8])
@pytest.mark.parametrize("options", [{}, {"activations": 8}, {"bits": 4, "block": (4, 1)}, {"bits": 3, "block": None},
                                     {"bits": 4, "method": "mse"}, {"bits": 6, "method": "mse", "activations": 8}])
def test_network_by_hand(level, options, cache_bits):
    """Every matrix, both tables, keys and values as the options say; all bytes counted."""
    model, ids = network(), rng(7).integers(0, 11, (3, 8))
    q = level.QuantizedGPT(model, **options, cache_bits=cache_bits)
    expected, nbytes = by_hand(level, model, ids, cache_bits, **options)
    away = np.abs(q(ids) - expected).mean() / np.abs(expected).mean()
    decided = cache_bits or options.get("activations")          # integers that the last bit may decide
    assert away < (1e-3 if decided else 1e-5), f"logits are off by {away:.1e} of their size"
    assert q.nbytes == nbytes
    caches = q.start()
    q(ids, caches)
    for cache in caches:
        assert cache.nbytes == 2 * 3 * 3 * 8 * (4 + 4 if cache_bits else 16)


@pytest.mark.parametrize("cache_bits", [None, 8])
@pytest.mark.parametrize("options", [{}, {"activations": 8}, {"bits": 4, "block": (4, 1)}, {"bits": None}])
def test_cached_decoding(level, options, cache_bits):
    """Token by token, in pieces and at once: the same logits, keys and values quantised or not."""
    model, ids = network(), rng(2).integers(0, 11, (2, 8))
    q = level.QuantizedGPT(model, **options, cache_bits=cache_bits)
    caches, whole = q.start(), q(ids)
    pieces = [q(ids[:, a:b], caches) for a, b in ((0, 3), (3, 4), (4, 8))]
    if options.get("activations") is None:                      # where an integer is not decided by the last bit
        assert_close(np.concatenate(pieces, axis=1), whole, tol=1e-3 if cache_bits else 1e-5, what="logits")
    assert caches[0].length == 8
    with pytest.raises(ValueError, match="ids has 1 tokens"):
        q(ids[:, :1], caches)
    near = np.abs(whole - model(ids)).mean() / np.abs(model(ids)).mean()
    assert near < (0.2 if options.get("bits") == 4 else 0.03), f"logits are off by {near:.3f} of their size"
    nothing = {"bits", "cache_bits"} == {k for k, v in {**options, "cache_bits": cache_bits}.items() if v is None}
    assert near < 1e-5 if nothing else near > 1e-5


def test_bytes_of_a_cache(level):
    """d + 4 bytes for a token and head, of both keys and values; float32 has 4 d. Old entries stay as they are."""
    k, v = rng(3).standard_normal((2, 2, 3, 5, 16)).astype(np.float32)
    for bits, size in ((8, 16 + 4), (None, 64)):
        cache = level.KVCache(9, bits)
        assert cache.nbytes == 0
        first = cache.append(k, v)
        assert cache.nbytes == 2 * 2 * 3 * 9 * size
        second = cache.append(100 * k[:, :, :2], 0 * v[:, :, :2])
        assert [a.shape for a in second] == [(2, 3, 7, 16)] * 2
        for a, b, given in zip(first, second, (k, v)):
            assert_close(b[:, :, :5], a, tol=0, what="what was there before")
            step = np.abs(given).max(axis=-1, keepdims=True) / 127
            assert (np.abs(a - given) <= (0.5001 * step if bits else 0)).all()
    with pytest.raises(ValueError, match="bits"):
        level.KVCache(9, 4)


@pytest.mark.parametrize("bits", [8, None])
def test_a_refusal_changes_nothing(level, bits):
    """Too many tokens, other texts or heads, NaN: the cache is as it was, and goes on; what it gives is a copy."""
    k, v = rng(6).standard_normal((2, 2, 3, 5, 16)).astype(np.float32)
    cache = level.KVCache(7, bits)
    kept = [a.copy() for a in cache.append(k, v)]
    for wrong, match in ((k, "k has 5 tokens"), (k[:1, :, :1], "k has shape"), (k[:, :1, :1], "k has shape"),
                         (k[:, :, :1, :8], "k has shape"), (k[:, :, :2] * np.nan, "NaN")):
        if bits or match != "NaN":
            with pytest.raises(ValueError, match=match):
                cache.append(wrong, wrong)
            assert cache.length == 5
    for a in cache.append(k[:, :, :1], v[:, :, :1]):
        a[...] = 99
    for a, b in zip(cache.append(k[:, :, :1], v[:, :, :1]), kept):
        assert_close(a[:, :, :5], b, tol=0, what="what was there before")
    with pytest.raises(ValueError, match="k has 1 tokens; expected at most 0 more"):
        cache.append(k[:, :, :1], v[:, :, :1])


def test_evaluated(level):
    """chapter 30's `evaluate` takes it; INT8 loses less than INT4, and changes nothing of the model."""
    model, ids = network(), rng(4).integers(0, 11, 200)
    before = {k: a.copy() for k, a in model.state_dict().items()}
    loss = evaluate(model, ids)
    losses = [evaluate(level.QuantizedGPT(model, **options), ids) for options in (
        {"bits": None}, {"bits": 8}, {"bits": 8, "activations": 8, "cache_bits": 8}, {"bits": 2})]
    away = np.abs(np.array(losses) - loss)
    assert away[0] < 1e-5 and away[1] < 0.02 and away[2] < 0.05 and away[3] > 3 * away[1]
    for name, a in model.state_dict().items():
        assert_close(a, before[name], tol=0, what=name)


def test_step_at_quantised_weights(level):
    """The loss is that of the quantised network; gradients are its own inside the clip; the floats come back."""
    model, ids = network(), rng(5).integers(0, 11, (4, 8))
    loss, parameters = CrossEntropyLoss(), [p for p in model.parameters() if p.data.ndim == 2]
    kept = [p.data.copy() for p in parameters]
    grids = [level.calibrate(0.5 * p.data, 3, True, (None, 1)) for p in parameters]     # some are cut

    def run():
        found = loss(model(ids[:, :-1]), ids[:, 1:])
        model.backward(loss.backward())
        return found
    model.zero_grad()
    found = level.at_quantized_weights(parameters, grids, 3, run)
    grads = [p.grad.copy() for p in parameters]
    for p, data in zip(parameters, kept):
        assert_close(p.data, data, tol=0, what="the floats behind")
    cut = []
    for p, (scale, zero) in zip(parameters, grids):
        cut.append(np.abs(np.rint(p.data / scale)) > 3)
        p.data = level.dequantize(*level.quantize(p.data, scale, zero, 3))
    model.zero_grad()
    assert abs(run() - found) < 1e-6
    for p, grad, outside in zip(parameters, grads, cut):
        assert 0 < outside.mean() < 0.6
        assert_close(grad, np.where(outside, 0, p.grad), tol=1e-6, what="gradient")
    for p, data in zip(parameters, kept):
        p.data = data.copy()
    with pytest.raises(ZeroDivisionError):
        level.at_quantized_weights(parameters, grids, 3, lambda: 1 / 0)
    for p, data in zip(parameters, kept):
        assert_close(p.data, data, tol=0, what="the floats behind, after an error")
    with pytest.raises(ValueError, match="grids"):
        level.at_quantized_weights(parameters, grids[:-1], 3, run)
