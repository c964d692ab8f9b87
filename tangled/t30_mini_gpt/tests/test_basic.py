# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:1ad53e7a7caadf22
"""Chapter 30: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t06_backpropagation import Parameter
from tangled.t30_mini_gpt import checks
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, check_module_gradients, rng

FILTERS = ("warm", "cold", "zero", "top-k", "top-p", "min-p", "all")


def weights(seed=0, V=7, context=5, D=6, L=2, dtype=np.float64):
    """Random weights by the names of GPT.state_dict; norms near 1."""
    draw, found = rng(seed).standard_normal, {}
    for name, shape in checks.shapes(V, context, D, 4 * D, L).items():
        norm = "norm" in name and name.endswith("weight")
        found[name] = (float(norm) + draw(shape) / (4 if norm else 2)).astype(dtype)
    return found


def named(given):
    """Weights of a golden case: a dot stands for a line there."""
    flat = {name.replace(".", "_"): name for name in checks.shapes(7, 5, 6, 24, 2)}
    return {flat[name]: array for name, array in given.items()}


@pytest.mark.value
@pytest.mark.parametrize("name", ["gpt", "gpt-whole-context", "gpt-one-token"])
def test_golden_model(level, golden, name):
    """Logits and the gradients of all weights."""
    case = golden(name)
    logits, cache = level.gpt(case.inputs["ids"], named(case.inputs["weights"]), 3)
    assert_close(logits, case.outputs["logits"], what="logits")
    grads = level.gpt_backward(case.upstream["logits"], cache)
    expected = named(case.grads)
    assert sorted(grads) == sorted(expected)
    for key, want in expected.items():
        assert_close(grads[key] + ("k_proj.bias" in key), want + ("k_proj.bias" in key), what="d" + key)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_central_differences(level):
    """Every entry of the table and of some vectors; `check_module_gradients` looks at all below."""
    given, ids = weights(1, L=1), rng(2).integers(0, 7, (2, 3))
    names = ["wte.weight", "norm.weight", "blocks.0.norm1.weight", "blocks.0.attention.q_proj.bias",
             "blocks.0.ffn.linear2.bias"]

    def forward(*arrays):
        return level.gpt(ids, given | dict(zip(names, arrays)), 3)

    def backward(dlogits, cache):
        grads = level.gpt_backward(dlogits, cache)
        return [grads[name] for name in names]
    check_gradients(forward, backward, [given[name] for name in names], names=names)


@pytest.mark.value
def test_no_token_sees_a_later_one(level):
    """Another last token changes no logits but those at its own place."""
    given, ids = weights(3), rng(4).integers(0, 6, (2, 4))
    logits, _ = level.gpt(ids, given, 2)
    other = ids.copy()
    other[:, -1] = 6
    changed, _ = level.gpt(other, given, 2)
    assert_close(changed[:, :3], logits[:, :3], tol=1e-12, what="earlier places")
    assert np.abs(changed[:, 3] - logits[:, 3]).max() > 1e-3


@pytest.mark.gradient
def test_the_table_has_two_gradients(level):
    """That of the columns alone for tokens that were not read; with the rows' part added for those that were."""
    given, ids = weights(5), np.array([[2, 2, 4]])
    logits, cache = level.gpt(ids, given, 3)
    dlogits = rng(6).standard_normal(logits.shape)
    dtable = level.gpt_backward(dlogits, cache)["wte.weight"]
    step, base = 1e-6, float((level.gpt(ids, given, 3)[0] * dlogits).sum())
    for token in (2, 3):
        moved = given["wte.weight"].copy()
        moved[token, 1] += step
        above = float((level.gpt(ids, given | {"wte.weight": moved}, 3)[0] * dlogits).sum())
        assert_close(np.array((above - base) / step), dtable[token, 1], tol=1e-3, what=f"row {token}")
    dead = dlogits.copy()
    dead[...] = 0
    dead[0, 0, 5] = 1.0
    alone = level.gpt_backward(dead, cache)["wte.weight"]
    assert np.abs(alone[2]).max() > 1e-6, "a token that was read gets nothing from the first layer"
    assert np.abs(alone[5]).max() > 1e-6, "a token that was predicted gets nothing from the last layer"
    assert_close(alone[[0, 1, 3, 6]], np.zeros((4, 6)), tol=0, what="tokens that were neither")


@pytest.mark.value
def test_worked_trace(level):
    """The four tokens of the chapter: what the options keep, and with what probability."""
    logits = np.log(np.array([0.5, 0.35, 0.1, 0.05]))
    for options, kept in (({}, 4), ({"top_k": 2}, 2), ({"top_p": 0.9}, 3), ({"top_p": 0.45}, 1), ({"top_p": 0.84}, 2),
                          ({"min_p": 0.15}, 3), ({"min_p": 0.25}, 2), ({"top_k": 3, "top_p": 0.5}, 1),
                          ({"top_k": 3, "top_p": 0.6}, 2), ({"temperature": 0}, 1)):
        found = np.isfinite(level.filter_logits(logits, **options))
        assert found.tolist() == [k < kept for k in range(4)], f"{options}: {found.tolist()}"
    warm = level.filter_logits(logits, temperature=0.5)
    p = np.exp(warm) / np.exp(warm).sum()
    square = np.array([0.5, 0.35, 0.1, 0.05]) ** 2
    assert_close(p, square / square.sum(), tol=1e-12, what="p at temperature 1/2")


@pytest.mark.value
@pytest.mark.parametrize("name", FILTERS)
def test_golden_filters(level, golden, name):
    """Which tokens stay, and the distribution over them."""
    case = golden("filter-" + name)
    out = level.filter_logits(**case.inputs)
    assert_close(np.isfinite(out).astype(float), case.outputs["kept"], tol=0, what="kept")
    p = np.exp(out - out.max(-1, keepdims=True))
    assert_close(p / p.sum(-1, keepdims=True), case.outputs["p"], what="p")


@pytest.mark.value
@pytest.mark.parametrize("options", [{"temperature": 0.6}, {"temperature": 1.8}, {"top_k": 3}, {"top_p": 0.8},
                                     {"min_p": 0.3}, {"temperature": 1.5, "top_k": 5, "top_p": 0.9, "min_p": 0.05}])


def test_draws_follow_the_distribution(level, options):
    """Chi-square of 20,000 draws against the definition, written out here; what is filtered never comes."""
    from tangled.t18_rnn import sample_categorical
    p = np.array([0.30, 0.02, 0.22, 0.14, 0.01, 0.25, 0.06])
    q = p ** (1 / options.get("temperature", 1.0))
    order = np.argsort(-q)
    keep = np.zeros(7, bool)
    keep[order[:options.get("top_k", 7)]] = True
    mass, target = 0.0, options.get("top_p", 1.0) * q[keep].sum()
    for token in order[keep[order]]:
        keep[token] = mass < target                             # the token that crosses is in
        mass += q[token]
    keep &= q >= options.get("min_p", 0.0) * q.max()
    q = np.where(keep, q, 0) / q[keep].sum()
    n = 20_000
    kept = level.filter_logits(np.log(p), **options)
    found = np.bincount(sample_categorical(np.broadcast_to(kept, (n, 7)), 1.0, rng(7)), minlength=7)
    assert not found[~keep].any(), f"{found} drawn, expected none of {np.flatnonzero(~keep)}"
    chi = float((((found - n * q) ** 2)[keep] / (n * q[keep])).sum())
    assert chi < 22.5, f"chi-square {chi:.1f} with {keep.sum() - 1} degrees of freedom"


@pytest.mark.value
def test_ties_stay_and_order_does_not_matter(level):
    """A token as likely as one that stays, stays; permuted logits give the permuted answer."""
    logits = np.array([[1.0, 3, 2, 2, 2, 0], [0.0, 0, 0, 0, 0, 0]])
    assert np.isfinite(level.filter_logits(logits, top_k=2)).sum(-1).tolist() == [4, 6]
    assert np.isfinite(level.filter_logits(logits, top_p=0.3)).sum(-1).tolist() == [1, 6]
    exact = np.log(np.array([0.25, 0.5, 0.125, 0.125]))         # reached by the first alone, or by two
    for top_p, kept in ((0.5, 1), (0.75, 2), (0.76, 4)):
        assert np.isfinite(level.filter_logits(exact, top_p=top_p)).sum() == kept, f"top_p = {top_p}"
    assert level.filter_logits(np.array([1.0, 1 + 1e-9]), top_k=1).tolist() == [-np.inf, 1 + 1e-9]
    row, order = rng(8).standard_normal(30), rng(9).permutation(30)
    for options in ({"top_k": 4}, {"top_p": 0.6}, {"min_p": 0.2}):
        assert_close(level.filter_logits(row[order], **options), level.filter_logits(row, **options)[order], tol=0,
                     what=f"permuted, {options}")
    assert level.filter_logits(np.array([1.0, 3, 3]), 0).tolist() == [-np.inf, 3, -np.inf]


@pytest.mark.value
def test_golden_penalty(level, golden):
    """Positive logits divided, negative ones multiplied, however often a token was seen."""
    case = golden("penalty")
    assert_close(level.repetition_penalty(**case.inputs), case.outputs["out"], tol=1e-12, what="logits")
    out = level.repetition_penalty(np.array([2.0, -2, 2, -2]), np.array([0, 1, 0]), 2.0)
    assert_close(out, np.array([1.0, -4, 2, -2]), tol=1e-12, what="by hand")
    row = rng(10).standard_normal(5)
    assert_close(level.repetition_penalty(row, np.array([], int), 1.5), row, tol=0, what="nothing seen")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_many_rows_at_random(level):
    """Random shapes and options against level 1: 60 cases, with entries of -inf, in both dtypes."""
    from tangled.t30_mini_gpt import level1_naive as loops
    draw = rng(11)
    for k in range(60):
        V = int(draw.integers(2, 40))
        logits = (3 * draw.standard_normal((2, V))).astype((np.float64, np.float32)[k % 2])
        logits[:, draw.random(V) < 0.2] = -np.inf
        logits[:, 0] = 0.5
        options = {"temperature": float(draw.choice([0.3, 1.0, 2.5]))}
        options |= {"top_k": int(draw.integers(1, V + 3))} if k % 3 else {}
        options |= {"top_p": float(draw.uniform(0.05, 1))} if k % 4 else {}
        options |= {"min_p": float(draw.uniform(0, 1))} if k % 5 else {}
        assert_close(level.filter_logits(logits, **options), loops.filter_logits(logits, **options), tol=1e-6,
                     what=f"{options}, V = {V}")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_a_large_vocabulary_in_float16(level):
    """Sums over 3,000 tokens and quotients, in more than float16 has: what is kept of the same logits in float64."""
    z = (2 * rng(30).standard_normal(3000)).astype(np.float16)
    for options in ({"top_p": 0.9}, {"temperature": 1.7, "top_p": 0.99}, {"temperature": 0.3, "min_p": 0.02}):
        got, want = (np.isfinite(level.filter_logits(a, **options)) for a in (z, z.astype(np.float64)))
        assert_close(got.astype(float), want.astype(float), tol=0, what=f"kept, {options}")


@pytest.mark.levels(2, 4)
@pytest.mark.gradient
def test_golden_tuning(level, golden):
    """LoRA, log-probabilities of sequences, and the DPO loss: values and gradients."""
    case = golden("lora")
    out, cache = level.low_rank_linear(**case.inputs)
    assert_close(out, case.outputs["out"], what="out")
    for got, wrt in zip(level.low_rank_linear_backward(case.upstream["out"], cache), "xab", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)
    case = golden("log-probs")
    out, cache = level.sequence_log_probs(**case.inputs)
    assert_close(out, case.outputs["out"], what="log_probs")
    grad = level.sequence_log_probs_backward(case.upstream["out"], cache)
    assert_close(grad, case.grads["logits"], what="dlogits")
    case = golden("dpo")
    loss, cache = level.dpo_loss(**case.inputs)
    assert_close(np.array(loss), case.outputs["loss"], what="loss")
    grads = level.dpo_loss_backward(case.upstream["loss"], cache)
    for got, wrt in zip(grads, ("policy_chosen", "policy_rejected"), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.levels(2, 4)
@pytest.mark.gradient
def test_tuning_of_all_shapes_and_types(level):
    """x with any axes before the last; float32 stays float32; no bias, a scale of 1, a beta of 0.1."""
    draw = rng(35).standard_normal
    w, a, b, bias = (draw(shape, np.float32) for shape in ((5, 4), (5, 2), (2, 4), 4))
    x, merged = draw((2, 3, 2, 5), np.float32), w + 2 * a @ b
    for part in (x, x[0], x[0, 0], x[0, 0, 0]):
        out, cache = level.low_rank_linear(part, w, a, b, bias, 2.0)
        assert_close(out, part @ merged + bias, tol=1e-5, what=f"out of x {part.shape}")
        grads = level.low_rank_linear_backward(np.ones_like(out), cache)
        want = np.ones_like(out) @ merged.T, np.outer(part.reshape(-1, 5).sum(0), 2 * b.sum(1)), 2 * np.outer(
            (part @ a).reshape(-1, 2).sum(0), np.ones(4, np.float32))
        for got, expected, wrt in zip(grads, want, "xab", strict=True):
            assert_close(got, expected.astype(np.float32), tol=1e-5, what=f"d{wrt}, x {part.shape}")
    assert_close(level.low_rank_linear(x, w, a, b)[0], x @ (w + a @ b), tol=1e-5, what="out, scale not given")
    z, targets, mask = draw((3, 4, 5), np.float32), rng(36).integers(0, 5, (3, 4)), rng(37).random((3, 4)) < 0.6
    out, cache = level.sequence_log_probs(z, targets, mask)
    assert out.dtype == level.sequence_log_probs_backward(np.ones(3, np.float32), cache).dtype == np.float32
    four = [-draw(3, np.float32) for _ in range(4)]
    loss, cache = level.dpo_loss(*four)
    assert type(loss) is float
    assert_close(np.array(loss), np.array(level.dpo_loss(*four, beta=0.1)[0]), tol=1e-7, what="loss, beta not given")
    assert [grad.dtype for grad in level.dpo_loss_backward(1.0, cache)] == [np.float32, np.float32]


@pytest.mark.levels(2, 4)
@pytest.mark.gradient
def test_tuning_called_twice(level):
    """The caches survive, nothing is shared, nothing that was handed in changes."""
    draw = rng(38).standard_normal
    w, bias = draw((5, 4)), draw(4)
    assert_repeatable(lambda x, a, b: level.low_rank_linear(x, w, a, b, bias, 0.7),
                      [draw((2, 3, 5)), draw((5, 2)), draw((2, 4))], f_backward=level.low_rank_linear_backward)
    targets, mask = rng(39).integers(0, 5, (2, 3)), np.array([[True, True, False], [False, True, True]])
    assert_repeatable(lambda z: level.sequence_log_probs(z, targets, mask), [draw((2, 3, 5))],
                      f_backward=level.sequence_log_probs_backward)


@pytest.mark.levels(2, 4)
@pytest.mark.value
def test_log_probs_far_out(level):
    """Logits of 1000 without an overflow, and tokens whose probability is 0 in any float without a log of 0."""
    z = np.array([[[1000.0, 0, -1000], [0, 1000, 1000]]])
    out, cache = level.sequence_log_probs(z, np.array([[1, 2]]), np.ones((1, 2), bool))
    assert_close(out, np.array([-1000 - np.log(2.0)]), tol=1e-12, what="log_probs")
    grad = level.sequence_log_probs_backward(np.ones(1), cache)
    assert_close(grad, np.array([[[-1.0, 1, 0], [0, -0.5, 0.5]]]), tol=1e-12, what="dlogits")


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_central_differences_of_tuning(level):
    """Every entry; a DPO loss of equal models is log 2, and of huge margins 0 or the margin, without overflow."""
    draw = rng(12).standard_normal
    x, a, b, w, bias = draw((2, 3, 5)), draw((5, 2)), draw((2, 4)), draw((5, 4)), draw(4)
    check_gradients(lambda x, a, b: level.low_rank_linear(x, w, a, b, bias, 0.7), level.low_rank_linear_backward,
                    [x, a, b])
    targets, mask = rng(13).integers(0, 5, (2, 3)), np.array([[True, True, False], [False, True, True]])
    z = draw((2, 3, 5))
    check_gradients(lambda z: level.sequence_log_probs(z, targets, mask), level.sequence_log_probs_backward, [z])
    out, _ = level.sequence_log_probs(z, targets, mask)
    z[0, 2, targets[0, 2]] = -np.inf                            # a prompt's token that could not be
    assert_close(level.sequence_log_probs(z, targets, mask)[0], out, tol=1e-12, what="beside the mask")
    four = [-3 * rng(k).random(5) for k in range(4)]
    check_gradients(lambda c, r: level.dpo_loss(c, r, *four[2:], beta=0.6), level.dpo_loss_backward, four[:2])
    same, _ = level.dpo_loss(four[0], four[1], four[0], four[1])
    assert_close(np.array(same), np.log(np.array(2.0)), tol=1e-12, what="loss of equal models")
    zero = np.zeros(1)
    for margin, want in ((1e4, 0.0), (-1e4, 1e4)):
        loss, cache = level.dpo_loss(zero + margin, zero, zero, zero, beta=1.0)
        assert_close(np.array(loss), np.array(want), tol=1e-9, what=f"loss at {margin}")
        with np.errstate(over="raise"):
            assert_close(level.dpo_loss_backward(1.0, cache)[0], zero - (margin < 0), tol=1e-12, what=f"at {margin}")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Logits and gradients have the dtype of the weights."""
    given, ids = weights(14, dtype=dtype), np.array([[1, 2, 0], [3, 3, 6]], np.uint8)
    logits, cache = level.gpt(ids, given, 3)
    assert (logits.shape, logits.dtype) == ((2, 3, 7), np.dtype(dtype))
    for name, grad in level.gpt_backward(np.ones_like(logits), cache).items():
        assert (grad.shape, grad.dtype) == (given[name].shape, np.dtype(dtype)), name
    out = level.filter_logits(logits, top_k=2)
    assert (out.shape, out.dtype) == (logits.shape, np.dtype(dtype))
    assert level.repetition_penalty(logits[:, 0], ids, 1.2).dtype == dtype


@pytest.mark.gradient
def test_called_twice(level):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    given, ids = weights(15), rng(16).integers(0, 7, (2, 3))
    names = list(given)
    assert_repeatable(lambda *a: level.gpt(ids, dict(zip(names, a)), 3), list(given.values()),
                      f_backward=lambda d, cache: tuple(level.gpt_backward(d, cache).values()))
    logits = rng(17).standard_normal((2, 6))
    assert_repeatable(lambda z: level.filter_logits(z, 0.7, 3, 0.9, 0.1), [logits])
    assert_repeatable(lambda z: level.repetition_penalty(z, np.array([[1, 2], [0, 0]]), 1.3), [logits])


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32."""
    given, ids = weights(18, L=1), rng(19).integers(0, 7, (2, 3))
    given = {name: a for name, a in given.items() if "k_proj.bias" not in name}
    zero = {"blocks.0.attention.k_proj.bias": np.zeros(6)}
    names = list(given)

    def forward(*arrays):
        return level.gpt(ids, dict(zip(names, arrays)) | {k: a.astype(arrays[0].dtype) for k, a in zero.items()}, 3)

    def backward(dlogits, cache):
        grads = level.gpt_backward(dlogits, cache)
        return [grads[name] for name in names]
    assert_dtypes(forward, list(given.values()), f_backward=backward, scales=(1.0,))


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_module(level):
    """Central differences; the names of the state; tied ends; the scale of the first weights."""
    check_module_gradients(level.GPT(5, 3, 4, 2, 1, rng=rng(20)), [rng(21).integers(0, 5, (2, 3))])
    model = level.GPT(64, 32, 48, 3, 2, rng=rng(22))
    state = model.state_dict()
    assert {k: a.shape for k, a in state.items()} == checks.shapes(64, 32, 48, 192, 2)
    assert 0.018 < state["blocks.1.ffn.linear1.weight"].std() < 0.022
    assert 0.008 < state["blocks.1.ffn.linear2.weight"].std() < 0.012
    assert 0.008 < state["blocks.0.attention.out_proj.weight"].std() < 0.012
    assert 0.018 < state["wpe.weight"].std() < 0.022 and 0.018 < state["wte.weight"].std() < 0.022
    deep = level.GPT(8, 4, 48, 3, 8, rng=rng(31)).state_dict()
    assert 0.004 < deep["blocks.7.ffn.linear2.weight"].std() < 0.006, "0.02 by the root of twice as many blocks"
    for name, array in state.items():
        if array.ndim == 1:
            assert_close(array, np.full(array.shape, float("norm" in name and "weight" in name), np.float32), tol=0,
                         what=name)
    again = level.GPT.from_state(state, 3)
    ids = rng(23).integers(0, 64, (2, 5))
    assert_close(again(ids), model(ids), tol=0, what="logits of the same weights")
    assert type(type("Mine", (level.GPT,), {}).from_state(state, 3)).__name__ == "Mine"
    loss = -np.log(np.exp(model(ids)) / np.exp(model(ids)).sum(-1, keepdims=True)).mean()
    assert abs(loss - np.log(64)) < 0.1


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_gradients_are_added(level):
    """A second backward pass without zero_grad doubles every gradient, that of the table too."""
    model, ids = level.GPT(5, 3, 4, 2, 1, rng=rng(24)), rng(25).integers(0, 5, (2, 3))
    dlogits = rng(26).random((2, 3, 5), np.float32)
    model(ids)
    model.backward(dlogits)
    once = {name: p.grad.copy() for name, p in model.named_parameters()}
    model(ids)
    model.backward(dlogits)
    for name, p in model.named_parameters():
        assert_close(p.grad, 2 * once[name], tol=1e-5, what="d" + name)


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_dropout_in_both_directions(level):
    """Of the embeddings and inside the blocks, each alone; gradients by differences, the masks drawn anew the same."""
    draws, ids, dlogits = rng(27), rng(28).integers(0, 5, (2, 3)), rng(29).standard_normal((2, 3, 5))
    model = level.GPT(5, 3, 4, 2, 1, dropout=0.4, rng=draws).astype(np.float64)
    for silent in (model.blocks[0], model.drop):
        model.train()
        silent.eval()
        assert np.abs(model(ids) - model(ids)).max() > 1e-6, "no dropout but in one place"
    model.train()
    kept = draws.bit_generator.state

    def value():
        draws.bit_generator.state = kept
        return float((model(ids) * dlogits).sum())
    value()
    model.backward(dlogits)
    for name in ("wpe", "wte"):
        weight, step = getattr(model, name).weight, 1e-6
        for place in np.ndindex(2, 3):
            before, found = weight.data[place], []
            for moved in (before + step, before - step):
                weight.data[place] = moved
                found.append(value())
            weight.data[place] = before
            slope = np.array((found[0] - found[1]) / (2 * step))
            assert_close(slope, weight.grad[place], tol=1e-6, what=f"d{name}{place}")


@pytest.mark.levels(2)
@pytest.mark.value
def test_decay_groups(level):
    """Matrices and tables decay; biases, scales and shifts do not; every parameter is in one of the two."""
    model = level.GPT(5, 3, 4, 2, 1)
    decayed, others = level.decay_groups(model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    size = lambda axes: [p.data.size for p in model.parameters() if p.data.ndim == axes]
    got = [count for group in (decayed, others) for count in (len(group), sum(p.data.size for p in group))]
    want = [count for sizes in (size(2), size(1)) for count in (len(sizes), sum(sizes))]
    assert_close(np.array(got), np.array(want), tol=0, what="arrays and entries that decay, and that do not")
    assert {names[id(p)].split(".")[-1] for p in decayed} == {"weight"}
    assert all(p.data.ndim == 2 for p in decayed) and all(p.data.ndim == 1 for p in others)
    assert sorted(names[id(p)] for p in decayed + others) == sorted(names.values())
    kernel = Parameter(np.ones((2, 3, 4)))
    assert level.decay_groups(iter([kernel])) == ([kernel], [])
