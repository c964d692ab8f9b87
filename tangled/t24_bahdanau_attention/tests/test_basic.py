# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:4dbba95586511f26
"""Chapter 24: shapes, values and gradients of scores, attention and decoder."""

import itertools

import numpy as np
import pytest

from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_repeatable,
    check_gradients,
    check_module_gradients,
    rng,
)

NAMES = ("additive", "dot", "general")
DECODER = ("x", "h0", "annotations", "w_query", "w_key", "v", "w_ih", "w_hh", "b_ih", "b_hh")
ORDER = {"additive": ("query", "keys", "w_query", "v", "w_key"), "dot": ("query", "keys"),
         "general": ("query", "keys", "w")}
MASK = np.array([[True] * 5, [True, True, False, True, False]])


def draw(seed, *shapes, dtype=np.float64):
    """Arrays of those shapes."""
    source = rng(seed)
    return [(0.8 * source.standard_normal(shape)).astype(dtype) for shape in shapes]


def scored(level, name):
    """The op and its backward."""
    return getattr(level, name + "_score"), getattr(level, name + "_score_backward")


def arrays(name, B=2, T=3, S=5, D=4, K=6, A=7, seed=0, dtype=np.float64):
    """query, keys and the arrays of a score."""
    query, keys, same, w_query, v, w_key, w = draw(
        seed, (B, T, D), (B, S, K), (B, S, D), (D, A), (A,), (K, A), (D, K), dtype=dtype)
    return {"additive": (query, keys, w_query, v, w_key), "dot": (query, same), "general": (query, keys, w)}[name]


def decoder(B=2, T=3, S=5, E=3, H=4, C=6, A=7, seed=1, dtype=np.float64):
    """The ten arrays of `attention_decoder`."""
    G = 3 * H
    return draw(seed, (B, T, E), (B, H), (B, S, C), (H, A), (C, A), (A,), (E + C, G), (H, G), (G,), (G,), dtype=dtype)


def decode(level, given, mask):
    """out, contexts, p and the cache."""
    return level.attention_decoder(*given[:3], mask, *given[3:])


@pytest.mark.value
@pytest.mark.parametrize("name", NAMES)
def test_golden_scores(level, golden, name):
    """A score, and the gradients of all of its arrays."""
    case = golden(name)
    op, op_backward = scored(level, name)
    scores, cache = op(**case.inputs)
    assert_close(scores, case.outputs["scores"], what="scores")
    for got, wrt in zip(op_backward(case.upstream["scores"], cache), ORDER[name], strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
@pytest.mark.parametrize("name", NAMES)
def test_golden_attend(level, golden, name):
    """Contexts, weights and gradients, of a batch with padding."""
    case = golden("attend_" + name)
    given = [case.inputs[k] for k in ("query", "keys", "values", "mask")]
    own = [case.inputs["weights"][k] for k in ORDER[name][2:]]
    (context, p), cache = level.attend(*given, name, own)
    assert_close(context, case.outputs["context"], what="context")
    assert_close(p, case.outputs["p"], what="p")
    grads = level.attend_backward(case.upstream["context"], case.upstream["p"], cache)
    for got, wrt in zip(grads, ("query", "keys", "values", *ORDER[name][2:]), strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_golden_decoder(level, golden):
    """States, contexts, weights, and ten gradients."""
    case = golden("decoder")
    (out, contexts, p), cache = decode(level, [case.inputs[k] for k in DECODER], case.inputs["mask"])
    for got, name in ((out, "out"), (contexts, "contexts"), (p, "p")):
        assert_close(got, case.outputs[name], what=name)
    grads = level.attention_decoder_backward(case.upstream["out"], case.upstream["contexts"], cache)
    for got, wrt in zip(grads, DECODER, strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes of the inputs' gradients, and one dtype."""
    for name in NAMES:
        given, (op, op_backward) = arrays(name, dtype=dtype), scored(level, name)
        scores, cache = op(*given)
        grads = op_backward(scores, cache)
        assert scores.shape == (2, 3, 5) and [g.shape for g in grads] == [a.shape for a in given]
        values, = draw(3, (2, 5, 8), dtype=dtype)
        (context, p), cache = level.attend(*given[:2], values, MASK, name, given[2:])
        more = level.attend_backward(context, None, cache)
        assert context.shape == (2, 3, 8) and p.shape == (2, 3, 5)
        assert [g.shape for g in more] == [a.shape for a in (*given[:2], values, *given[2:])]
        assert {a.dtype for a in (scores, *grads, context, p, *more)} == {np.dtype(dtype)}
    if hasattr(level, "attention_decoder"):
        given = decoder(dtype=dtype)
        outs, cache = decode(level, given, MASK)
        grads = level.attention_decoder_backward(*outs[:2], cache)
        assert [o.shape for o in outs] == [(2, 3, 4), (2, 3, 6), (2, 3, 5)]
        assert [g.shape for g in grads] == [a.shape for a in given]
        assert {a.dtype for a in (*outs, *grads)} == {np.dtype(dtype)}


@pytest.mark.gradient
@pytest.mark.parametrize("name", NAMES)
def test_central_differences(level, name):
    """Every entry of every gradient, of the score and of attention with padding."""
    given, values = arrays(name, T=2, S=3, D=2, K=4, A=5), draw(4, (2, 3, 2))[0]
    check_gradients(*scored(level, name), given)
    mask = np.array([[True, True, True], [True, False, True]])
    check_gradients(lambda q, k, x, *w: level.attend(q, k, x, mask, name, w),
                    lambda d, cache: level.attend_backward(*d, cache), (*given[:2], values, *given[2:]))


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_decoder_differences(level):
    """Every entry of the decoder's ten gradients."""
    mask = np.array([[True, True, True], [True, True, False]])

    def run(*given):
        (out, contexts, _), cache = decode(level, given, mask)
        return (out, contexts), cache
    check_gradients(run, lambda d, cache: level.attention_decoder_backward(*d, cache),
                    decoder(T=2, S=3, E=2, H=2, C=3, A=4))


@pytest.mark.value
def test_worked_trace(level):
    """The chapter's three keys, of which one is padding."""
    query, keys, values = (np.array(a, float)[None, :, None] for a in ([1], [0, np.log(3), 7], [4, 8, 100]))
    (context, p), cache = level.attend(query, keys, values, np.array([[True, True, False]]))
    assert_close(p, np.array([[[0.25, 0.75, 0]]]), what="p")
    assert_close(context, np.array([[[7.0]]]), what="context")
    dquery, dkeys, dvalues = level.attend_backward(np.array([[[2.0]]]), None, cache)
    assert_close(dquery, np.array([[[1.5 * np.log(3)]]]), what="dquery")
    assert_close(dkeys, np.array([[[-1.5], [1.5], [0]]]), what="dkeys")
    assert_close(dvalues, np.array([[[0.5], [1.5], [0]]]), what="dvalues")


@pytest.mark.value
def test_keys_projected_before(level):
    """Keys that are projected already give the same scores; their gradient is that of the projection."""
    query, keys, w_query, v, w_key = arrays("additive")
    want, cache = level.additive_score(query, keys, w_query, v, w_key)
    full = level.additive_score_backward(want, cache)
    got, cache = level.additive_score(query, keys @ w_key, w_query, v)
    grads = level.additive_score_backward(want, cache)
    assert_close(got, want, tol=1e-10, what="scores")
    assert len(grads) == 4
    assert_close(grads[1] @ w_key.T, full[1], tol=1e-10, what="dkeys")


@pytest.mark.value
@pytest.mark.parametrize("name", NAMES)
def test_a_query_alone(level, name):
    """Weights add up to 1 over the source; a query gets what it would get alone, a sample too."""
    given, values = arrays(name), draw(5, (2, 5, 8))[0]
    (context, p), _ = level.attend(*given[:2], values, MASK, name, given[2:])
    assert_close(p.sum(2), np.ones((2, 3)), tol=1e-12, what="sums over the source")
    for b in range(2):
        for t in range(3):
            one = slice(b, b + 1)
            (alone, _), _ = level.attend(given[0][one, t:t + 1], given[1][one], values[one], MASK[one], name, given[2:])
            assert_close(alone[0, 0], context[b, t], tol=1e-12, what="context")


@pytest.mark.value
@pytest.mark.parametrize("name", NAMES)
def test_padding_is_nothing(level, name):
    """Other padding, NaN in it, and more of it: the same results, and gradients of exactly 0 there."""
    given, values = arrays(name), draw(6, (2, 5, 8))[0]
    mask = np.arange(5) < np.array([[5], [2]])
    up = draw(7, (2, 3, 8))[0]
    (context, p), cache = level.attend(*given[:2], values, mask, name, given[2:])
    want = level.attend_backward(up, None, cache)
    keys, more, wide = (np.concatenate([a, a[:, :2]], axis=1) for a in (given[1], values, mask))
    wide[:, 5:] = False
    for junk in (1e6, np.inf, np.nan):
        keys[~wide], more[~wide] = junk, junk
        (got, q), cache = level.attend(given[0], keys, more, wide, name, given[2:])
        grads = level.attend_backward(up, None, cache)
        assert_close(got, context, tol=1e-12, what="context")
        assert_close(q[..., :5], p, tol=1e-12, what="p")
        assert not q[..., 5:].any() and not p[1, :, 2:].any()
        assert not grads[1][~wide].any() and not grads[2][~wide].any()
        for n, (a, b) in enumerate(zip(grads, want)):
            assert_close(a[:, :5] if n in (1, 2) else a, b, tol=1e-12, what=f"gradient {n}")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_decoder_padding_is_nothing(level):
    """The same for a decoder: annotations of padding are never looked at."""
    given, mask = decoder(), np.arange(5) < np.array([[5], [2]])
    want, cache = decode(level, given, mask)
    grads = level.attention_decoder_backward(*want[:2], cache)
    given[2] = given[2].copy()
    given[2][~mask] = np.nan
    got, cache = decode(level, given, mask)
    for a, b in zip((*got, *level.attention_decoder_backward(*want[:2], cache)), (*want, *grads)):
        assert_close(a, b, tol=1e-12, what="with NaN in the padding")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_the_old_state_asks(level):
    """The first context depends on h0 alone, not on what is read; the second one on what was read first."""
    given = decoder()
    (_, contexts, p), _ = decode(level, given, MASK)
    scores, _ = level.additive_score(given[1][:, None], given[2], given[3], given[5], given[4])
    e = np.exp(scores[:, 0]) * MASK
    assert_close(p[:, 0], e / e.sum(1, keepdims=True), tol=1e-10, what="weights of the first step")
    changed = [given[0] + np.arange(1, 4)[:, None] * 0.3, *given[1:]]
    (_, other, _), _ = decode(level, changed, MASK)
    assert_close(other[:, 0], contexts[:, 0], tol=1e-12, what="first context")
    assert np.abs(other[:, 1] - contexts[:, 1]).max() > 1e-4


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_keys_are_projected_once(level, monkeypatch):
    """However many steps."""
    calls, project = [], level.project_keys
    monkeypatch.setattr(level, "project_keys", lambda *given: calls.append(1) or project(*given))
    counts = []
    for steps in (2, 3, 5, 6):
        calls.clear()
        decode(level, decoder(T=steps), MASK)
        counts.append(len(calls))
    assert_close(np.array(counts), np.ones(4, int), tol=0, what="projections of the keys in 2, 3, 5 and 6 steps")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_a_step_is_the_decoder(level):
    """Step by step, the same states, contexts and weights; and gradients of a step."""
    x, h, annotations, w_query, w_key, v, *gru = decoder()
    (out, contexts, p), _ = decode(level, [x, h, annotations, w_query, w_key, v, *gru], MASK)
    keys = level.project_keys(annotations, w_key)
    assert_close(keys, annotations @ w_key, tol=1e-12, what="keys")
    for t in range(3):
        (h, context, row), _ = level.attention_step(x[:, t], h, annotations, keys, MASK, w_query, v, *gru)
        for got, want in ((h, out[:, t]), (context, contexts[:, t]), (row, p[:, t])):
            assert_close(got, want, tol=1e-10, what=f"step {t}")

    def run(x, h, annotations, keys, *rest):
        (h, context, _), cache = level.attention_step(x, h, annotations, keys, MASK[:, :3], *rest)
        return (h, context), cache
    x, h, annotations, w_query, w_key, v, *gru = decoder(T=1, S=3, E=2, H=2, C=3, A=4)
    check_gradients(run, lambda d, cache: level.attention_step_backward(*d, cache),
                    [x[:, 0], h, annotations, annotations @ w_key, w_query, v, *gru])


@pytest.mark.value
def test_far_states(level):
    """Queries and keys so large that exponentials overflow: tanh is still right, and so are gradients."""
    far = np.array([[[60.0], [-500], [1]]]), np.array([[[-60.5], [499.5], [0.25], [900]]])
    near = np.array([[[31.0], [-25], [1]]]), np.array([[[30.0], [-31], [0.25], [2]]])
    small = np.array([[[15.0], [-12], [0.25], [2]]])
    cases = far, near, (far[0], small), (small, far[0]), (near[0], far[1])
    for (query, keys), dtype in itertools.product(cases, (np.float32, np.float64)):
        args = [a.astype(dtype) for a in (query, keys, np.ones((1, 1)), np.full(1, 2.0))]
        with np.errstate(over="raise", invalid="raise"):
            scores, cache = level.additive_score(*args)
        u = query + keys.swapaxes(1, 2)
        assert_close(scores, (2 * np.tanh(u)).astype(dtype), tol=1e-5, what="scores", dtype=dtype)
        dquery, dkeys, _, _ = level.additive_score_backward(np.ones(u.shape, dtype), cache)
        slope = 2 * (1 - np.tanh(u) ** 2)
        assert_close(dquery[0, :, 0], slope[0].sum(1).astype(dtype), tol=1e-5, what="dquery", dtype=dtype)
        assert_close(dkeys[0, :, 0], slope[0].sum(0).astype(dtype), tol=1e-5, what="dkeys", dtype=dtype)


@pytest.mark.value
def test_far_scores(level):
    """Scores of thousands, all large, all small, and mixed: nothing overflows, and none is cut off."""
    query = np.array([[[1.0, 0], [-1, 0], [1, 1]]])
    keys = np.array([[[3000.0, 0], [3000 + np.log(2), 0], [3000, -5000]]])
    values = np.array([[[1.0], [4], [7]]])
    with np.errstate(over="raise", invalid="raise"):
        (context, p), cache = level.attend(query, keys, values)
        grads = level.attend_backward(np.ones((1, 3, 1)), None, cache)
    want = np.array([[[0.25, 0.5, 0.25], [0.4, 0.2, 0.4], [1 / 3, 2 / 3, 0]]])
    assert_close(p, want, tol=1e-9, what="p")
    assert_close(context, want @ values, tol=1e-9, what="context")
    assert_close(grads[2][0, :, 0], want[0].sum(0), tol=1e-9, what="dvalues")


@pytest.mark.levels(3)
@pytest.mark.value
def test_ragged_blocks(level, monkeypatch):
    """Samples in blocks of three, the last of two: each as it would be alone."""
    given, (up,) = arrays("additive", B=5, T=3, S=2, A=7), draw(17, (5, 3, 2))
    mask, of_decoder = rng(18).random((5, 2)) < 0.8, decoder(B=5, S=2)
    monkeypatch.setattr(level, "ENTRIES", 3 * 2 * 7 + 5)
    scores, cache = level.additive_score(*given)
    grads = level.additive_score_backward(up, cache)
    outs, cache = decode(level, of_decoder, mask)
    more = level.attention_decoder_backward(*outs[:2], cache)
    for n in range(5):
        one = slice(n, n + 1)
        alone, cache = level.additive_score(given[0][one], given[1][one], *given[2:])
        assert_close(scores[one], alone, tol=1e-12, what=f"scores of sample {n}")
        for got, want in zip(grads[:2], level.additive_score_backward(up[one], cache)):
            assert_close(got[one], want, tol=1e-12, what=f"gradient of sample {n}")
        alone, cache = decode(level, [a[one] for a in of_decoder[:3]] + of_decoder[3:], mask[one])
        for got, want in zip((*outs, *more[:3]), (*alone, *level.attention_decoder_backward(*alone[:2], cache)[:3])):
            assert_close(got[one], want, tol=1e-12, what=f"decoder, sample {n}")
    total = [sum(grad) for grad in zip(*(level.additive_score_backward(up[n:n + 1], level.additive_score(
        given[0][n:n + 1], given[1][n:n + 1], *given[2:])[1])[2:] for n in range(5)))]
    for got, want in zip(grads[2:], total, strict=True):
        assert_close(got, want, tol=1e-12, what="gradient of a weight")


@pytest.mark.gradient
@pytest.mark.parametrize("name", NAMES)
def test_called_twice(level, name):
    """The cache survives, and what was handed in is neither changed nor kept."""
    given, values = arrays(name), draw(8, (2, 5, 8))[0]
    op, op_backward = scored(level, name)
    assert_repeatable(op, given, f_backward=op_backward)
    assert_repeatable(lambda q, k, x, *w: level.attend(q, k, x, MASK, name, w), (*given[:2], values, *given[2:]),
                      f_backward=lambda d, cache: level.attend_backward(*d, cache))


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32; every dtype is right for large and for small queries."""
    for name in ("additive", "general"):
        op, op_backward = scored(level, name)
        assert_dtypes(op, arrays(name), f_backward=op_backward, scales=(1.0, 1e-2))


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_module_gradients(level):
    """Central differences through decoder, attention and encoder."""
    tokens, lengths = np.array([[1, 3, 4, 2], [1, 5, 2, 0]]), np.array([3, 2])
    source, sizes = rng(9).integers(0, 5, (2, 3)), np.array([3, 2])
    check_module_gradients(level.AttentionSeq2Seq(5, 6, 2, 3, 4, rng(10)), [source, sizes, tokens, lengths])


def phrases():
    """source (3, 4), its lengths, tokens (3, 6), their lengths."""
    lengths = np.array([3, 5, 2])
    tokens = rng(11).integers(3, 7, (3, 6))
    tokens[:, 0] = 1
    tokens[:, 1:][np.arange(5) >= lengths[:, None]] = 0
    tokens[np.arange(3), lengths] = 2
    return rng(12).integers(0, 5, (3, 4)), np.array([2, 4, 3]), tokens, lengths


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_parity_with_pytorch(level):
    """PyTorch's Embedding, GRU, GRUCell and Linear with our weights: the loss, the weights, all gradients."""
    torch = pytest.importorskip("torch")
    from tangled.t24_bahdanau_attention.level4_pytorch_reference import Translator
    ours, given = level.AttentionSeq2Seq(5, 7, 2, 3, 4, rng(13)).astype(np.float64), phrases()
    ours.decoder.out.weight.data *= 10
    theirs = Translator(ours)
    loss, p = theirs(*(torch.from_numpy(a) for a in given[:3]))
    loss.backward()
    assert_close(np.asarray(ours(*given)), loss.detach().numpy(), tol=1e-9, what="loss")
    assert_close(ours.decoder.p, p.detach().numpy(), tol=1e-9, what="p")
    ours.backward()
    for weight, parameter in theirs.beside(ours):
        want = weight.grad.numpy()
        table = weight is theirs.read.weight or weight is theirs.written.weight
        assert_close(parameter.grad, want if table else want.T.reshape(parameter.grad.shape), tol=1e-7, what="gradient")


@pytest.mark.levels(2, 3)
@pytest.mark.value
@pytest.mark.parametrize("taught", [True, False])
def test_steps_are_the_sequence(level, taught):
    """Step by step, the log-probabilities of a target sum to what the loss says, also for chosen rows,
    and where something else is read than the target."""
    from tangled.t23_seq2seq.base import select
    model, (source, sizes, tokens, lengths) = level.AttentionSeq2Seq(5, 7, 2, 3, 4, rng(14)), phrases()
    model.decoder.out.weight.data *= np.float32(20)
    rows, inputs = np.array([2, 0, 1]), None if taught else rng(15).integers(0, 7, (3, 5))
    state, total = select(model.start(source, sizes), rows), 0.0
    for t in range(5):
        log_p, state = model.step(state, (tokens if taught else inputs)[rows, t])
        assert_close(np.exp(log_p).sum(1), np.ones(3, np.float32), tol=1e-5, what="sum of probabilities")
        total -= (log_p[np.arange(3), tokens[rows, t + 1]] * (t < lengths[rows])).sum()
    loss = model(source, sizes, tokens, lengths, inputs)
    assert_close(np.asarray(loss), np.asarray(total / lengths.sum(), np.float32), tol=1e-5, what="loss")
    model.backward()
    once = [p.grad.copy() for p in model.parameters()]
    model.backward()
    for parameter, grad in zip(model.parameters(), once):
        assert np.abs(grad).max() > 0
        assert_close(parameter.grad, 2 * grad, tol=1e-5, what="gradient, twice")
    assert_close(model.alignments(source, sizes, tokens, lengths), model.decoder.p, tol=0, what="alignments")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_initial_weights(level):
    """All are drawn from the generator that is handed in, on their scale; a new model knows nothing."""
    make = lambda seed: level.AttentionSeq2Seq(11, 7, 2, 30, 20, rng(seed))
    one, same, other = (make(seed).state_dict() for seed in (17, 17, 18))
    for name, value in one.items():
        assert_close(same[name], value, tol=0, what=name)
        assert value.ndim == 1 or np.abs(other[name] - value).max() > 1e-3, f"{name} is not drawn from rng"
    model = make(17)
    for array, size in ((model.decoder.w_query, 30), (model.decoder.w_key, 30), (model.decoder.v, 20)):
        assert 0.8 < np.abs(array.data).max() * np.sqrt(size) <= 1
        assert np.abs(array.data.mean()) * np.sqrt(3 * size * array.data.size) < 4
    assert abs(model(*phrases()) - np.log(7)) < 0.1
    default = [level.AttentionSeq2Seq(11, 7, 2, 30, 20, *given).state_dict()
               for given in ((), (np.random.default_rng(0),))]
    for name, value in default[0].items():
        assert_close(default[1][name], value, tol=0, what=name)


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_a_step_far_out(level):
    """Logits that are thousands apart, within a row and between rows: probabilities still sum to 1."""
    model, (source, sizes, *_) = level.AttentionSeq2Seq(5, 7, 2, 3, 4, rng(16)), phrases()
    model.decoder.out.weight.data *= np.float32(1e5)
    log_p, _ = model.step(model.start(source, sizes), np.array([3, 4, 5]))
    assert log_p.min() < -1e3 and log_p.max() <= 0
    assert_close(np.exp(log_p).sum(1), np.ones(3, np.float32), tol=1e-5, what="sum of probabilities")
