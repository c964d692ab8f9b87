# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:fae93b15be20f063
"""Chapter 26: one head, one token, no sample, other layouts, what is invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


def good(**changes):
    """Arguments that are accepted, some of them changed."""
    given = {"x": ones((2, 3, 12)), "w_q": ones((12, 12)), "w_k": ones((7, 6)), "w_v": ones((7, 6)),
             "w_o": ones((12, 12)), "b_q": ones(12), "b_k": ones(6), "b_v": ones(6), "b_o": ones(12), "num_heads": 6,
             "num_kv_heads": 3, "context": ones((2, 5, 7))}
    return given | changes


@pytest.mark.parametrize("argument, value", [
    ("x", ones((2, 12))), ("x", ones((2, 3, 12), int)), ("x", ones((2, 0, 12))), ("num_heads", 5), ("num_heads", 0),
    ("num_heads", 6.0), ("num_heads", True), ("num_heads", None), ("num_kv_heads", 4), ("num_kv_heads", 0),
    ("num_kv_heads", 2.0), ("num_kv_heads", 12), ("w_q", ones((12, 6))), ("w_q", ones((12, 12), np.float32)),
    ("w_k", ones((12, 6))), ("w_k", ones((7, 12))), ("w_v", ones((6, 7))), ("w_v", ones(7)), ("w_o", ones((6, 12))),
    ("b_q", ones(6)), ("b_k", ones(12)), ("b_v", ones((1, 6))), ("b_o", 1.0), ("context", ones((3, 5, 7))),
    ("context", ones((5, 7))), ("context", ones((2, 5, 7), np.float32)), ("context", ones((2, 0, 7))),
    ("mask", ones((3, 5))), ("mask", ones((5, 3), bool)), ("mask", ones(5, bool)), ("mask", ones((6, 3, 5), bool)),
    ("mask", ones((2, 3, 3, 5), bool)), ("mask", ones((1, 2, 6, 3, 5), bool)), ("causal", 1), ("causal", None)])
def test_refuses(level, argument, value):
    """Heads that do not divide, shapes that NumPy would broadcast, other dtypes."""
    expect_value_error(argument, level.multi_head_attention, **good(**{argument: value}))


@pytest.mark.parametrize("changes, text", [
    ({"num_heads": 5}, "num_heads = 5; expected a divisor of the model's width 12"),
    ({"num_kv_heads": 4}, "num_kv_heads = 4; expected a divisor of num_heads = 6"),
    ({"w_k": ones((7, 12))}, "w_k has shape (7, 12); expected (7, 6)"),
    ({"mask": ones((6, 3, 5), bool)},
     "mask has shape (6, 3, 5); expected (3, 5), (2, 3, 5) or (2, 6, 3, 5), or 1 for an axis")])
def test_messages(level, changes, text):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.multi_head_attention(**good(**changes))
    assert str(caught.value) == text


def test_the_others_refuse(level):
    """Axes, groups, windows and upstream gradients that do not fit."""
    x, q, window = ones((2, 3, 12)), ones((2, 6, 3, 4)), level.window_attention
    for name, f, *args in (("num_heads", level.split_heads, x, 5), ("x", level.split_heads, q, 2),
                           ("num_heads", level.split_heads, x, 2.0), ("x", level.merge_heads, x),
                           ("groups", level.repeat_kv, q, 0), ("k", level.repeat_kv, x, 2),
                           ("groups", level.repeat_kv_backward, q, 4), ("dk", level.repeat_kv_backward, x, 3),
                           ("window", window, q, q, q, 0), ("sinks", window, q, q, q, 2, -1),
                           ("window", window, q, q, q, 2.0), ("q", window, x, q, q, 2),
                           ("k", window, q, q[:, :, :2], q, 2), ("v", window, q, q, q[:1], 2),
                           ("k", window, q, q[:, :2], q, 2)):
        expect_value_error(name, f, *args)
    _, cache = level.multi_head_attention(**good())
    for dout in (x[:1], x[..., :1], x.astype(int), ones((2, 3))):
        expect_value_error("dout", level.multi_head_attention_backward, dout, cache)
    _, cache = level.window_attention(q, q, q, 2)
    for dout in (q[:1], q[:, :, :1], q.astype(int)):
        expect_value_error("dout", level.window_attention_backward, dout, cache)


@pytest.mark.levels(2, 3)
def test_modules_refuse(level):
    """Sizes that do not divide, rates out of range, states of other layers; backward before forward."""
    for name, args, options in (("d_model", (0, 1), {}), ("num_heads", (12, 5), {}), ("num_kv_heads", (12, 6, 4), {}),
                                ("dropout", (12, 6), {"dropout": 1.0}), ("dropout", (12, 6), {"dropout": -0.1}),
                                ("dropout", (12, 6), {"dropout": None}), ("bias", (12, 6), {"bias": 1}),
                                ("causal", (12, 6), {"causal": 0})):
        expect_value_error(name, level.MultiHeadAttention, *args, **options)
    module = level.MultiHeadAttention(12, 6)
    with pytest.raises(RuntimeError):
        module.backward(ones((2, 3, 12)))
    state = level.to_pytorch(module)
    expect_value_error("state", level.from_pytorch, module, {k: a for k, a in state.items() if "bias" not in k})
    expect_value_error("in_proj_weight", level.from_pytorch, module, state | {"in_proj_weight": ones((12, 36))})
    expect_value_error("state", level.from_pytorch, level.MultiHeadAttention(12, 6, bias=False), state)


@pytest.mark.parametrize("H, kv", [(1, 1), (4, 4), (4, 1)])
def test_one_of_each(level, H, kv):
    """One token of one sample: the softmax of one score is 1, so the value comes out; heads of width 1."""
    x, w = rng(0).standard_normal((1, 1, 4)), rng(1).standard_normal((4, 4, 4))
    w_k, w_v = w[1][:, :4 // H * kv], w[2][:, :4 // H * kv]
    out, cache = level.multi_head_attention(x, w[0], w_k, w_v, w[3], num_heads=H, num_kv_heads=kv)
    v = np.repeat((x @ w_v).reshape(kv, -1), H // kv, axis=0).reshape(1, 1, 4)
    assert_close(out, v @ w[3], tol=1e-12, what="out")
    _, dw_q, dw_k, _, dw_o = level.multi_head_attention_backward(ones((1, 1, 4)), cache)
    assert_close(np.abs(dw_q).max() + np.abs(dw_k).max(), np.zeros(()), tol=1e-12, what="dw_q and dw_k")
    assert_close(dw_o, np.repeat(v.reshape(4, 1), 4, axis=1), tol=1e-12, what="dw_o")


def test_no_samples(level):
    """An empty batch: empty results, zero gradients of the weights."""
    given = good(x=ones((0, 3, 12)), context=ones((0, 5, 7)))
    out, cache = level.multi_head_attention(**given)
    dx, *grads, dcontext = level.multi_head_attention_backward(out, cache)
    assert (out.shape, dx.shape, dcontext.shape) == ((0, 3, 12), (0, 3, 12), (0, 5, 7))
    for grad in grads:
        assert_close(grad, np.zeros(grad.shape), tol=0, what="a sum over nothing")
    assert level.split_heads(ones((0, 3, 12)), 4).shape == (0, 4, 3, 3)
    assert level.merge_heads(ones((0, 4, 3, 3))).shape == (0, 3, 12)
    assert level.repeat_kv(ones((0, 4, 3, 3)), 2).shape == (0, 8, 3, 3)
    out, cache = level.window_attention(*[ones((0, 2, 5, 4))] * 3, 2)
    assert [a.shape for a in (out, *level.window_attention_backward(out, cache))] == [(0, 2, 5, 4)] * 4


def test_a_query_that_sees_nothing(level):
    """It gets b_o, and sends nothing back to q, k and v."""
    given = {k: rng(2 + i).standard_normal(np.shape(a)) if isinstance(a, np.ndarray) else a
             for i, (k, a) in enumerate(good().items())}
    out, cache = level.multi_head_attention(**given, mask=np.zeros((3, 5), bool))
    assert_close(out, np.zeros((2, 3, 1)) + given["b_o"], tol=1e-12, what="out")
    dx, dw_q, dw_k, dw_v, dw_o, *_, dcontext = level.multi_head_attention_backward(out, cache)
    for name, grad in {"dx": dx, "dw_q": dw_q, "dw_k": dw_k, "dw_v": dw_v, "dw_o": dw_o, "dcontext": dcontext}.items():
        assert_close(grad, np.zeros(grad.shape), tol=0, what=name)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.levels(1, 2, 3)
def test_padding_is_not_seen(level):
    """Other contents of masked tokens of the context change no output and no gradient but their own."""
    given = {k: rng(12 + i).standard_normal(np.shape(a)) if isinstance(a, np.ndarray) else a
             for i, (k, a) in enumerate(good().items())}
    mask = np.arange(5) < np.array([3, 5])[:, None, None, None]                 # (B, 1, 1, S)
    out, cache = level.multi_head_attention(**given, mask=mask)
    dout, context = rng(40).standard_normal(out.shape), given["context"]
    expected = level.multi_head_attention_backward(dout, cache)
    for junk in (100.0, np.nan, np.inf):
        given["context"] = context.copy()
        given["context"][0, 3:] = junk
        other, kept = level.multi_head_attention(**given, mask=mask)
        assert_close(other, out, tol=1e-12, what="out")
        grads = level.multi_head_attention_backward(dout, kept)
        for got, want in list(zip(grads, expected))[::1 if junk == 100.0 else len(grads) - 1]:      # dx, dcontext
            assert_close(got, want, tol=1e-10, what=f"gradient, where padding holds {junk}")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    given = good()
    given = {k: a for k, a in given.items() if isinstance(a, np.ndarray)}
    arrays = {k: rng(20 + i).standard_normal(a.shape) for i, (k, a) in enumerate(given.items())}
    names = list(arrays)
    assert_layouts(lambda *a: level.multi_head_attention(**dict(zip(names, a)), num_heads=6, num_kv_heads=3),
                   list(arrays.values()), f_backward=level.multi_head_attention_backward, names=names)
    inputs = [rng(50 + i).standard_normal((2, 3, 5, e)) for i, e in enumerate((4, 4, 2))]
    assert_layouts(lambda *a: level.window_attention(*a, 2, 1), inputs, f_backward=level.window_attention_backward)
    x = rng(60).standard_normal((2, 3, 12))
    assert_layouts(lambda x: level.split_heads(x, 4), [x], views=True)
    assert_layouts(level.merge_heads, [rng(61).standard_normal((2, 4, 3, 5))], views=True)
    assert_layouts(lambda k: level.repeat_kv(k, 2), [rng(62).standard_normal((2, 4, 3, 5))])
    assert_layouts(lambda k: level.repeat_kv_backward(k, 2), [rng(63).standard_normal((2, 4, 3, 5))])


def test_masks_in_any_layout(level):
    """A transposed, a stretched and a read-only mask are read alike, and stay as they are."""
    given = {k: rng(70 + i).standard_normal(np.shape(a)) if isinstance(a, np.ndarray) else a
             for i, (k, a) in enumerate(good().items())}
    mask = rng(90).random((2, 6, 3, 5)) < 0.6
    expected, _ = level.multi_head_attention(**given, mask=mask)
    for other in (np.asfortranarray(mask), np.flip(np.flip(mask).copy()), np.broadcast_to(mask, mask.shape)):
        assert_close(level.multi_head_attention(**given, mask=other)[0], expected, tol=1e-12, what="out")
    kept = mask.copy()
    level.multi_head_attention(**given, mask=mask, causal=True)
    assert_close(mask, kept, tol=0, what="mask")
