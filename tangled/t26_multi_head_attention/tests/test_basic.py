# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:5e42f734676f5dc2
"""Chapter 26: shapes, values and gradients."""

import copy

import numpy as np
import pytest

from tangled.t25_self_attention import attention, causal_mask, window_mask
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

CASES = ("self", "one-head", "no-bias", "causal", "grouped", "multi-query", "cross", "cross-grouped", "mask",
         "mask-of-samples", "mask-of-keys", "mask-of-heads")
NAMES = ("x", "w_q", "w_k", "w_v", "w_o", "b_q", "b_k", "b_v", "b_o", "context")


def problem(seed, B=2, T=3, S=None, D=12, C=None, H=6, kv=3, bias=True, dtype=np.float64):
    """The arrays of multi_head_attention by name; sizes all differ."""
    draw, width = rng(seed).standard_normal, D // H * kv
    C = D if C is None else C
    given = {"x": draw((B, T, D)), "w_q": draw((D, D)) / 2, "w_k": draw((C, width)) / 2, "w_v": draw((C, width)),
             "w_o": draw((D, D))}
    if bias:
        given |= {"b_q": draw(D), "b_k": draw(width), "b_v": draw(width), "b_o": draw(D)}
    if S is not None:
        given["context"] = draw((B, S, C))
    return {name: a.astype(dtype) for name, a in given.items()}


def run(level, dout, **given):
    """{name: out and gradients}."""
    out, cache = level.multi_head_attention(**given)
    grads = level.multi_head_attention_backward(dout, cache)
    return {"out": out} | dict(zip([n for n in NAMES if given.get(n) is not None], grads, strict=True))


def off_zero(name, array):
    """db_k is 0, up to rounding: plus 1, so that rounding is compared with 1."""
    return array + 1 if "b_k" in name else array


def assert_all(got, expected, tol=1e-10):
    """Two of `run`, by name."""
    for name in expected:
        assert_close(off_zero(name, got[name]), off_zero(name, expected[name]), tol=tol,
                     what=name if name == "out" else "d" + name)


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Values by PyTorch: heads, groups, contexts, masks of each kind."""
    case = golden(name)
    assert_close(level.multi_head_attention(**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Gradients of all arrays, random upstream weights."""
    case = golden(name)
    grads = level.multi_head_attention_backward(case.upstream["out"], level.multi_head_attention(**case.inputs)[1])
    for got, wrt in zip(grads, [n for n in NAMES if n in case.grads], strict=True):
        assert_close(off_zero(wrt, got), off_zero(wrt, case.grads[wrt]), what="d" + wrt)


@pytest.mark.value
@pytest.mark.parametrize("name", ["window", "window-sinks"])
def test_golden_window(level, golden, name):
    """A window without sinks and with two, forward and backward."""
    case = golden(name)
    out, cache = level.window_attention(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    for got, wrt in zip(level.window_attention_backward(case.upstream["out"], cache), "qkv", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_split_and_merge(level):
    """Feature h d + i of token t is feature i of token t in head h; a merge undoes a split."""
    x = np.arange(2 * 3 * 20.0).reshape(2, 3, 20)
    heads = level.split_heads(x, 4)
    assert_close(heads, np.stack([x[:, :, 5 * h:5 * h + 5] for h in range(4)], axis=1), tol=0, what="heads")
    assert_close(level.merge_heads(heads), x, tol=0, what="merged")
    assert_close(level.merge_heads(np.ones((2, 4, 3, 5)) * np.arange(4.0)[:, None, None]),
                 np.ones((2, 3, 1)) * np.repeat(np.arange(4.0), 5), tol=0, what="the numbers of heads, merged")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_a_split_is_a_view(level):
    """Nothing is copied, also where x is a part of a wider array; a merge and a repetition are copies."""
    wide = rng(0).standard_normal((2, 3, 20))
    for x in (wide, wide[:, :, 4:16]):
        assert np.shares_memory(level.split_heads(x, 4), x), "split_heads copies x, expected a view"
    heads = level.split_heads(wide, 4).copy()
    assert not np.shares_memory(level.merge_heads(heads), heads)
    assert not np.shares_memory(level.repeat_kv(heads, 1), heads)


@pytest.mark.value
def test_repeat_kv(level):
    """0 0 1 1 2 2, not 0 1 2 0 1 2; the gradient is the sum over neighbours."""
    k = rng(1).standard_normal((2, 3, 4, 5))
    repeated = level.repeat_kv(k, 2)
    assert_close(repeated, np.stack([k[:, h // 2] for h in range(6)], axis=1), tol=0, what="repeated")
    dk = rng(2).standard_normal(repeated.shape)
    assert_close(level.repeat_kv_backward(dk, 2), np.stack([dk[:, 2 * m] + dk[:, 2 * m + 1] for m in range(3)], axis=1),
                 tol=1e-12, what="dk")
    assert_close(level.repeat_kv_backward(dk, 3), np.stack([dk[:, :3].sum(1), dk[:, 3:].sum(1)], axis=1),
                 tol=1e-12, what="dk of groups of three")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_a_group_of_float16(level):
    """60000 + 60000 - 60000: the sum over a group is formed in float32."""
    dk = np.array([6e4, 6e4, -6e4], np.float16)[:, None, None] * np.ones((1, 1, 2, 4), np.float16)
    total = level.repeat_kv_backward(dk, 3).astype(float)
    assert_close(total, dk[:, :1].astype(float), tol=0, what="dk")


@pytest.mark.value
def test_worked_trace(level):
    """The two tokens of the chapter: two heads of width 1, all weights the identity."""
    eye, s = np.eye(2), 1 / (1 + np.exp(-1.0))
    out, cache = level.multi_head_attention(eye[None], eye, eye, eye, eye, num_heads=2)
    assert_close(out[0], np.array([[s, 0.5], [0.5, s]]), tol=1e-12, what="out")
    a = s * (1 - s)
    dx, *_ = level.multi_head_attention_backward(np.array([[[1.0, 0], [0, 0]]]), cache)
    assert_close(dx[0], np.array([[s + 2 * a, 0], [1 - s - a, 0]]), tol=1e-12, what="dx")


@pytest.mark.value
@pytest.mark.parametrize("S, C", [(None, None), (5, 7), (3, 12)])
def test_a_layer_is_a_sum_of_heads(level, S, C):
    """Each head alone, by attention of chapter 25 on its columns, mixed by its rows of w_o, and summed.

    Also with a context (B, S, C) of the shape of x.
    """
    given = problem(3, S=S, C=C)
    allowed = rng(4).random((2, 6, 3, S or 3)) < 0.7
    total = given["b_o"] + np.zeros((2, 3, 12))
    source = given.get("context", given["x"])
    for h in range(6):
        rows, shared = slice(2 * h, 2 * h + 2), slice(2 * (h // 2), 2 * (h // 2) + 2)
        q = given["x"] @ given["w_q"][:, rows] + given["b_q"][rows]
        k, v = (source @ given["w_" + n][:, shared] + given["b_" + n][shared] for n in "kv")
        total = total + attention(q, k, v, allowed[:, h])[0] @ given["w_o"][rows]
    out, _ = level.multi_head_attention(**given, num_heads=6, num_kv_heads=3, mask=allowed)
    assert_close(out, total, tol=1e-10, what="out")


@pytest.mark.value
def test_heads_are_not_mixed_up(level):
    """The values of head h are the number of its key head, at every token; the output carries them in place."""
    x = rng(5).standard_normal((2, 3, 12))
    none, eye, w = np.zeros((12, 6)), np.eye(12), rng(6).standard_normal((12, 12))
    out, _ = level.multi_head_attention(x, w, w[:, :6], none, eye, None, None, np.repeat(np.arange(3.0), 2), None,
                                        num_heads=6, num_kv_heads=3)
    assert_close(out, np.zeros((2, 3, 1)) + np.repeat(np.arange(3.0), 4), tol=1e-12, what="out")


@pytest.mark.value
def test_one_sample_at_a_time(level):
    """As many samples as heads, and a mask of three axes: each sample has its own mask, in every head."""
    given = problem(7, B=3, T=4, D=12, H=3, kv=3)
    allowed = rng(8).random((3, 4, 4)) < 0.6
    out, _ = level.multi_head_attention(**given, num_heads=3, mask=allowed)
    for n in range(3):
        alone, _ = level.multi_head_attention(**{**given, "x": given["x"][n:n + 1]}, num_heads=3, mask=allowed[n])
        assert_close(alone[0], out[n], tol=1e-12, what=f"sample {n} by itself")


@pytest.mark.value
@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (3, 1), (2, 3, 5), (1, 3, 5), (2, 1, 5), (2, 6, 3, 5), (1, 6, 3, 5),
                                   (2, 1, 3, 5), (1, 1, 1, 5), (2, 6, 1, 5)])
def test_masks_broadcast(level, shape):
    """An axis of length 1 is for all: the same as the mask written out, forward and backward."""
    given, mask, dout = problem(9, S=5, C=7), rng(10).random(shape) < 0.6, rng(11).standard_normal((2, 3, 12))
    full = np.broadcast_to(mask[:, None] if mask.ndim == 3 else mask, (2, 6, 3, 5)).copy()
    assert_all(run(level, dout, **given, num_heads=6, num_kv_heads=3, mask=mask),
               run(level, dout, **given, num_heads=6, num_kv_heads=3, mask=full))


@pytest.mark.value
@pytest.mark.parametrize("S", [None, 2, 5])
def test_causal(level, S):
    """The last query at the last key, with and without a mask, in cross-attention too; who sees nothing gets b_o."""
    given, dout = problem(12, S=S), rng(13).standard_normal((2, 3, 12))
    mask, ahead = rng(14).random((2, 1, 3, S or 3)) < 0.7, causal_mask(3, S or 3)
    options = {"num_heads": 6, "num_kv_heads": 3}
    assert_all(run(level, dout, **given, causal=True, **options), run(level, dout, **given, mask=ahead, **options))
    assert_all(run(level, dout, **given, causal=True, mask=mask, **options),
               run(level, dout, **given, mask=mask & ahead, **options))
    if S == 2:
        out = level.multi_head_attention(**given, causal=True, **options)[0]
        assert_close(out[:, 0], np.zeros((2, 1)) + given["b_o"], tol=1e-12, what="a query that sees nothing")


@pytest.mark.gradient
@pytest.mark.parametrize("kv", [1, 2, 3, 6])
@pytest.mark.parametrize("crossed", [False, True])
def test_groups_equal_repeated_heads(level, kv, crossed):
    """The full layer with tied weights: the same output; its gradients, added up over the group, are ours."""
    given = problem(15, D=12, H=6, kv=kv, S=5 if crossed else None, C=7 if crossed else None)
    dout, g = rng(16).standard_normal((2, 3, 12)), 6 // kv
    tie = lambda a: np.repeat(a.reshape(*a.shape[:-1], kv, 2), g, axis=-2).reshape(*a.shape[:-1], 12)
    full = given | {n: tie(given[n]) for n in ("w_k", "w_v", "b_k", "b_v")}
    got = run(level, dout, **given, num_heads=6, num_kv_heads=kv, causal=True)
    expected = run(level, dout, **full, num_heads=6, causal=True)
    for name in ("w_k", "w_v", "b_k", "b_v"):
        a = expected[name]
        expected[name] = a.reshape(*a.shape[:-1], kv, g, 2).sum(axis=-2).reshape(*a.shape[:-1], 2 * kv)
    assert_all(got, expected)


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"S": 5, "C": 7}, {"bias": False, "kv": 6}, {"kv": 1}])
def test_central_differences(level, options):
    """Every entry of every gradient."""
    more = {"causal": options.get("causal", False)}
    sizes = {"D": 6, "H": 3, "kv": 3 if options.get("kv") == 6 else 1}
    given = problem(17, **sizes, **{k: v for k, v in options.items() if k not in ("causal", "kv")})
    names = list(given)

    def forward(*arrays):
        return level.multi_head_attention(**dict(zip(names, arrays)), num_heads=3, num_kv_heads=sizes["kv"], **more)

    check_gradients(forward, level.multi_head_attention_backward, list(given.values()), names=names)


@pytest.mark.gradient
def test_central_differences_of_a_window(level):
    """Every entry of dq, dk and dv."""
    inputs = [rng(k).standard_normal((2, 3, 6, e)) for k, e in enumerate((4, 4, 2))]
    check_gradients(lambda q, k, v: level.window_attention(q, k, v, 2, 1), level.window_attention_backward, inputs)


@pytest.mark.gradient
def test_biases_one_by_one(level):
    """Any of the four may be missing: a bias of zeros, without its gradient."""
    dout = rng(18).standard_normal((2, 3, 12))
    for missing in (("b_q",), ("b_k", "b_o"), ("b_v",), ("b_q", "b_k", "b_v")):
        given = problem(19)
        for name in missing:
            given[name] = np.zeros_like(given[name])
        expected = run(level, dout, **given, num_heads=6, num_kv_heads=3)
        got = run(level, dout, **{k: a for k, a in given.items() if k not in missing}, num_heads=6, num_kv_heads=3)
        assert not set(missing) & set(got)
        assert_all(got, {k: a for k, a in expected.items() if k not in missing})


@pytest.mark.gradient
def test_a_context_equal_to_x(level):
    """x as its own context: the same output, and the two gradients add up to that of self-attention."""
    given, dout = problem(20), rng(21).standard_normal((2, 3, 12))
    own = run(level, dout, **given, num_heads=6, num_kv_heads=3)
    crossed = run(level, dout, **given, context=given["x"], num_heads=6, num_kv_heads=3)
    assert np.abs(crossed["context"]).max() > 0.1
    assert_close(crossed["x"] + crossed["context"], own["x"], tol=1e-10, what="dx + dcontext")
    rest = {k: a for k, a in crossed.items() if k not in ("x", "context")}
    assert_all({k: a for k, a in own.items() if k != "x"}, rest)


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes and dtypes of what was handed in."""
    given = problem(22, S=5, C=7, dtype=dtype)
    dout = np.ones((2, 3, 12), dtype)
    got = run(level, dout, **given, num_heads=6, num_kv_heads=3)
    for name, array in got.items():
        assert (array.shape, array.dtype) == (given["x" if name == "out" else name].shape, np.dtype(dtype)), name
    x, q = dout, np.ones((2, 3, 6, 4), dtype)
    for array, shape in ((level.split_heads(x, 4), (2, 4, 3, 3)), (level.merge_heads(q), (2, 6, 12)),
                         (level.repeat_kv(q, 2), (2, 6, 6, 4)), (level.repeat_kv_backward(q, 3), (2, 1, 6, 4))):
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    out, cache = level.window_attention(q, q, q[..., :3], 2)
    grads = level.window_attention_backward(out, cache)
    assert [(a.shape, a.dtype) for a in (out, *grads)] == [((2, 3, 6, e), np.dtype(dtype)) for e in (3, 4, 4, 3)]


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    for crossed in (False, True):
        given = problem(23, S=5 if crossed else None, C=7 if crossed else None)
        names = list(given)
        assert_repeatable(lambda *a, names=names: level.multi_head_attention(
            **dict(zip(names, a)), num_heads=6, num_kv_heads=3, causal=True), list(given.values()),
            f_backward=level.multi_head_attention_backward)
    q, k, v = rng(24).standard_normal((3, 2, 3, 5, 4))
    assert_repeatable(lambda *a: level.window_attention(*a, 2, 1), [q, k, v],
                      f_backward=level.window_attention_backward)


@pytest.mark.value
def test_dtypes(level):
    """Sums of float16 are formed in float32."""
    given = problem(25, D=6, H=3, kv=1)
    del given["b_k"]                                            # whose gradient is rounding
    names = list(given)
    assert_dtypes(lambda *a: level.multi_head_attention(**dict(zip(names, a)), num_heads=3, num_kv_heads=1),
                  list(given.values()), f_backward=level.multi_head_attention_backward, scales=(1.0,))
    q, k, v = rng(26).standard_normal((3, 2, 3, 5, 4))
    assert_dtypes(lambda *a: level.window_attention(*a, 2, 1), [q, k, v], f_backward=level.window_attention_backward,
                  scales=(1.0, 1e-3))


def state_of(case):
    """PyTorch's names and arrays of a golden module."""
    names = "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"
    return {name: case.inputs[name.replace(".", "_")] for name in names if name.replace(".", "_") in case.inputs}


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("name", ["module", "module-masked", "module-cross"])
def test_golden_module(level, golden, name):
    """A torch.nn.MultiheadAttention, its packed weights taken over: output, and gradients packed again."""
    case = golden(name)
    state, x = state_of(case), case.inputs["x"]
    module = level.MultiHeadAttention(x.shape[2], case.inputs["num_heads"], bias="in_proj_bias" in state)
    module = level.from_pytorch(module.astype(np.float64), state)
    options = {k: case.inputs[k] for k in ("context", "mask") if k in case.inputs}
    assert_close(module(x, **options), case.outputs["out"], what="out")
    dx = module.backward(case.upstream["out"])
    for got, wrt in zip(dx if "context" in options else (dx,), ("x", "context")):
        assert_close(got, case.grads[wrt], what="d" + wrt)
    for parameter in module.parameters():
        parameter.data[...] = parameter.grad                    # gradients are packed as weights are
    for key, packed in level.to_pytorch(module).items():
        expected = case.grads[key.replace(".", "_")]
        assert packed.shape == expected.shape, key
        assert_close(packed, expected, tol=1e-9, what="gradient of " + key)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_state_there_and_back(level, golden):
    """Packed, and packed again, is the same; copies; grouped heads are written out, and refused on the way back."""
    state = state_of(golden("module"))
    module = level.from_pytorch(level.MultiHeadAttention(6, 3).astype(np.float64), state)
    again = level.to_pytorch(module)
    assert sorted(again) == sorted(state)
    for key in state:
        assert_close(again[key], state[key], tol=0, what=key)
        again[key][...] = 7.0
    for key, array in level.to_pytorch(module).items():
        assert_close(array, state[key], tol=0, what=key + " after a change of what was packed")
    grouped, x = level.MultiHeadAttention(12, 6, 2, rng=rng(26)), rng(27).standard_normal((2, 3, 12), np.float32)
    for bias in (grouped.k_proj.bias, grouped.v_proj.bias):
        bias.data[...] = rng(28).standard_normal(4)
    full = level.from_pytorch(level.MultiHeadAttention(12, 6), level.to_pytorch(grouped))
    assert_close(full(x), grouped(x), tol=1e-5, what="grouped heads, written out")
    with pytest.raises(ValueError, match="key heads"):
        level.from_pytorch(grouped, state)


@pytest.mark.levels(4)
@pytest.mark.value
@pytest.mark.parametrize("kv, bias", [(6, True), (2, True), (1, False)])
def test_pytorch_takes_our_weights(level, kv, bias):
    """torch.nn.MultiheadAttention loads what level 2 packs, and computes the same; its initial bounds are ours."""
    import torch

    from tangled.t26_multi_head_attention import MultiHeadAttention, to_pytorch
    ours = MultiHeadAttention(12, 6, kv, bias=bias, rng=rng(29)).astype(np.float64)
    for parameter in ours.parameters():
        parameter.data += 0.1 * rng(30).standard_normal(parameter.data.shape)
    theirs = level.module(12, 6, bias)
    theirs.load_state_dict({k: torch.from_numpy(a) for k, a in to_pytorch(ours).items()})
    x = rng(31).standard_normal((2, 3, 12))
    assert_close(theirs(*[torch.from_numpy(x)] * 3)[0].detach().numpy(), ours(x), tol=1e-10, what="out")
    new = level.module(64, 4)
    assert 0.9 < float(new.in_proj_weight.detach().abs().max()) / (6 / 256) ** 0.5 <= 1
    assert 0.9 < float(new.out_proj.weight.detach().abs().max()) * 8 <= 1


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"num_kv_heads": 1, "causal": True}, {"bias": False}])
@pytest.mark.parametrize("crossed", [False, True])
def test_module_gradients(level, options, crossed):
    """Central differences for x, the context and every parameter."""
    module = level.MultiHeadAttention(6, 3, **options, rng=rng(32))
    inputs = [rng(33).standard_normal((2, 3, 6))] + [rng(34).standard_normal((2, 4, 6))] * crossed
    check_module_gradients(module, inputs)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_module_hands_its_options_on(level):
    """Heads, groups, causal, bias, the mask and the context; names; gradients add up."""
    x, context = rng(35).standard_normal((2, 3, 12), np.float32), rng(36).standard_normal((2, 5, 12), np.float32)
    mask = rng(37).random((2, 1, 3, 5)) < 0.7
    for options in ({"num_kv_heads": 3}, {"causal": True}, {"bias": False}, {"dropout": 0.5}, {}):
        module = level.MultiHeadAttention(12, 6, **options, rng=rng(38)).eval()
        layers = module.q_proj, module.k_proj, module.v_proj, module.out_proj
        arrays = [p.weight.data for p in layers] + [None if p.bias is None else p.bias.data for p in layers]
        more = {"num_heads": 6, "num_kv_heads": options.get("num_kv_heads"), "causal": options.get("causal", False)}
        expected = level.multi_head_attention(x, *arrays, context=context, mask=mask, **more)[0]
        assert_close(module(x, context, mask), expected, tol=1e-6, what=f"{options}")
        parts = ("weight", "bias") if options.get("bias", True) else ("weight",)
        assert [n for n, _ in module.named_parameters()] == [
            f"{p}_proj.{k}" for p in ("q", "k", "v", "out") for k in parts]
        dx, dcontext = module.backward(x)
        assert (dx.shape, dcontext.shape) == (x.shape, context.shape)
        once = [p.grad.copy() for p in module.parameters()]
        module.backward(x)
        for (name, parameter), grad in zip(module.named_parameters(), once):
            assert np.abs(grad).max() > (-1 if name == "k_proj.bias" else 0.01), name
            assert_close(parameter.grad, 2 * grad, tol=1e-4, what="gradient, twice")
        assert module(x).shape == x.shape and module.backward(x).shape == x.shape


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_initial_weights(level):
    """Xavier's bound for the packed projections, 1 / sqrt(D) for the last, biases zero; the rng decides."""
    for kv, bound in ((8, (6 / 256) ** 0.5), (2, (6 / 160) ** 0.5)):
        module = level.MultiHeadAttention(64, 8, kv, rng=rng(39))
        for layer, limit in zip(module.projections(), (bound, bound, bound, 64 ** -0.5)):
            assert 0.9 * limit < np.abs(layer.weight.data).max() <= limit
            assert layer.weight.data.dtype == np.float32
            assert_close(layer.bias.data, np.zeros_like(layer.bias.data), tol=0, what="bias")
    draw = lambda *seed: level.MultiHeadAttention(12, 3, rng=rng(*seed) if seed else None).k_proj.weight.data
    assert_close(draw(1), draw(1), tol=0, what="the same seed")
    assert_close(draw(), draw(), tol=0, what="the default generator")
    assert np.abs(draw(1) - draw(2)).max() > 0.1


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_dropout(level):
    """In training weights are dropped and the rest scaled: right on average, off in evaluation."""
    x = rng(40).standard_normal((2, 4, 12))
    module = level.MultiHeadAttention(12, 3, dropout=0.4, causal=True, rng=rng(41)).astype(np.float64)
    plain = module.eval()(x)
    outs = np.array([module.train()(x) for _ in range(1500)])
    assert np.abs(outs[0] - outs[1]).max() > 0.05
    assert_close(outs.mean(0), plain, tol=0.05, what="mean of the noisy outputs")
    v = level.split_heads(x @ module.v_proj.weight.data, 3)[:, :, 0]            # the first token sees itself alone
    keep = outs[:, :, 0] @ np.linalg.inv(module.out_proj.weight.data)           # (1500, B, D): 0 or v / 0.6
    shares = keep.reshape(1500, 2, 3, 4) / v
    assert_close(np.unique(np.round(shares, 6)), np.array([0.0, 1 / 0.6]).round(6), tol=1e-5, what="factors")
    assert_close((shares[..., 0] == 0).mean((0, 1)) < 0.5, np.ones(3, bool), tol=0, what="less than half are dropped")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_dropout_and_masks(level):
    """The same holes: causal and a mask, in training, are the two masks as one, of two, three and four axes."""
    x = rng(50).standard_normal((2, 4, 12)).astype(np.float32)
    for shape in ((4, 4), (2, 4, 4), (2, 3, 4, 4)):
        mask = rng(51).random(shape) < 0.7
        outs = [level.MultiHeadAttention(12, 3, causal=causal, dropout=0.4, rng=rng(52))(x, mask=m)
                for causal, m in ((True, mask), (False, mask & causal_mask(4, 4)))]
        assert_close(outs[0], outs[1], tol=1e-6, what=f"a mask of shape {shape}")


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("kv, crossed", [(3, False), (1, True)])
def test_dropout_gradients(level, kv, crossed):
    """With the same holes at every call: central differences."""
    module = level.MultiHeadAttention(6, 3, kv, dropout=0.3, rng=rng(42))
    start, forward = copy.deepcopy(module.rng), module.forward

    def again(*inputs):
        module.rng = copy.deepcopy(start)
        return forward(*inputs)

    module.forward = again
    inputs = [rng(43).standard_normal((2, 3, 6))] + [rng(44).standard_normal((2, 4, 6))] * crossed
    check_module_gradients(module, inputs)


@pytest.mark.value
@pytest.mark.parametrize("T, window, sinks", [(7, 3, 0), (7, 3, 2), (7, 1, 0), (7, 1, 1), (7, 7, 0), (7, 20, 3),
                                              (7, 2, 20), (1, 1, 0)])
def test_window_equals_the_mask(level, T, window, sinks):
    """The full version under window_mask, at windows and sinks from one token to more than there are."""
    q, k, v, dout = rng(45).standard_normal((4, 2, 3, T, 4))
    out, cache = level.window_attention(q, k, v, window, sinks)
    expected, kept = attention(q, k, v, window_mask(T, T, window, sinks))
    assert_close(out, expected, tol=1e-10, what="out")
    from tangled.t25_self_attention import attention_backward
    for got, want, name in zip(level.window_attention_backward(dout, cache), attention_backward(dout, kept), "qkv"):
        assert_close(got, want, tol=1e-10, what="d" + name)


@pytest.mark.shape
def test_dtype_of_the_inputs(level):
    """A dout of float64 does not change the dtype of what belongs to float32."""
    q, x = np.ones((2, 3, 5, 4), np.float32), np.ones((2, 3, 12), np.float32)
    out, cache = level.window_attention(q, q, q[..., :2], 2, 1)
    grads = level.window_attention_backward(out.astype(float), cache)
    given = problem(47, dtype=np.float32)
    cache = level.multi_head_attention(**given, num_heads=6, num_kv_heads=3)[1]
    grads += tuple(level.multi_head_attention_backward(x.astype(float), cache))
    assert {a.dtype for a in grads} == {np.dtype(np.float32)}


@pytest.mark.value
def test_a_window_in_a_layer(level):
    """The mask of a window in multi_head_attention, and a change outside of it that nobody notices."""
    given = problem(46, T=6, kv=6)
    mask = window_mask(6, 6, 2, 1)
    out, _ = level.multi_head_attention(**given, num_heads=6, mask=mask)
    given["x"] = given["x"].copy()
    given["x"][:, 2] += 5.0
    other, _ = level.multi_head_attention(**given, num_heads=6, mask=mask)
    moved = np.abs(other - out).max((0, 2)) > 1e-9
    assert_close(moved.astype(float), np.array([0.0, 0, 1, 1, 0, 0]), tol=0, what="tokens that notice")
