# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:0d204b041cfef361
"""Chapter 30: generation, evaluation, training, tuning, and the program."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.t03_optimizers import AdamW, clip_by_global_norm, cosine_decay
from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.t06_backpropagation import CrossEntropyLoss, Linear, Parameter
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t30_mini_gpt import GPT, Groups, decay_groups, evaluate, generate
from tangled.t30_mini_gpt.train_gpt import main
from tangled.t30_mini_gpt.training import (
    BETAS,
    CURVE,
    FINAL,
    SETTINGS,
    Numpy,
    draw_batches,
    first_state,
    prepare,
    sample,
    train,
)
from tangled.testing import assert_close, expect_value_error, rng

TEXT = "the quick brown fox jumps over the lazy dog. " * 30
SMALL = SETTINGS | {"width": 8, "heads": 2, "layers": 2, "context": 6, "batch": 5, "warmup": 3, "lr": 0.02,
                    "threads": 1}


def small(seed=0, make=GPT, **options):
    """A GPT with lively weights: 7 tokens, a context of 5."""
    model = make(7, 5, 6, 3, 2, rng=rng(seed), **options)
    for parameter in model.parameters():
        parameter.data += rng(seed + 1).standard_normal(parameter.data.shape).astype(np.float32) / 2
    return model


@pytest.mark.levels(2)
@pytest.mark.value
def test_temperature_zero_is_the_argmax(level):
    """Greedy text, token by token, beyond the context, of which the last five tokens are read."""
    model, text = small(0, level.GPT), [1, 4]
    for _ in range(9):
        text.append(int(model(np.array([text[-5:]]))[0, -1].argmax()))
    assert len(set(text)) > 2
    assert level.generate(model, np.array([1, 4]), 9, temperature=0).tolist() == text
    both = level.generate(model, np.array([[1, 4], [3, 3]]), 9, temperature=0)
    assert both.shape == (2, 11) and both[0].tolist() == text
    assert level.generate(model, np.array([2]), 0).tolist() == [2]


@pytest.mark.levels(2)
@pytest.mark.value
def test_generated_as_drawn(level):
    """By the same generator: filtered logits of the last place, one draw a token; a penalty for what is in sight."""
    from tangled.t18_rnn import sample_categorical
    model, text, draws = small(2, level.GPT), [[0], [5]], rng(3)
    text = np.array(text)
    for _ in range(8):
        logits = level.repetition_penalty(model(text[:, -5:])[:, -1], text[:, -5:], 1.3)
        drawn = sample_categorical(level.filter_logits(logits, 1.4, 5, 0.9, 0.01), 1.0, draws)
        text = np.concatenate([text, drawn[:, None]], axis=1)
    found = level.generate(model, np.array([[0], [5]]), 8, 1.4, 5, 0.9, 0.01, 1.3, rng(3))
    assert_close(found, text, tol=0, what="tokens")


@pytest.mark.levels(2)
@pytest.mark.value
def test_what_the_model_is_shown(level):
    """All of the text while it fits, then the last `context` tokens of it, no fewer and no more."""
    shown = []

    class Spy:
        context = 5

        def __call__(self, ids):
            shown.append(ids.copy())
            return rng(int(ids.sum())).standard_normal((*ids.shape, 7))

    text = level.generate(Spy(), np.array([[3, 1], [0, 6]]), 9, rng=rng(4))
    for t, window in enumerate(shown, 2):
        assert_close(window, text[:, max(0, t - 5):t], tol=0, what=f"window before token {t}")
    assert len(shown) == 9


@pytest.mark.levels(2)
@pytest.mark.value
def test_a_penalty_is_forgotten_with_the_text(level):
    """What has left the context is not penalised, what stands in it is, and neither token of the other row."""
    class Fixed:
        context = 2

        def __call__(self, ids):
            return np.broadcast_to(np.array([4.0, 3, 2, 1]), (*ids.shape, 4))

    found = level.generate(Fixed(), np.array([[3], [0]]), 6, temperature=0, penalty=100.0)
    assert_close(found, np.array([[3, 0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2, 0]]), tol=0, what="tokens")


@pytest.mark.levels(2)
@pytest.mark.value
def test_generated_shapes_and_seeds(level):
    """One row stays a row; the seed is 0 unless a generator is given, which goes on; what was given stays as it was."""
    model, ids = small(2, level.GPT), np.array([[3, 1]], np.uint8)
    found = level.generate(model, ids, 20, 3.0)
    assert found.shape == (1, 22) and (found[:, :2] == ids).all() and ids.tolist() == [[3, 1]]
    assert level.generate(model, [3, 1], 20).shape == (22,)
    assert_close(level.generate(model, ids, 20, 3.0, rng=rng(0)), found, tol=0, what="tokens by the seed 0")
    draws = rng(1)
    one, two = (level.generate(model, ids, 20, 3.0, rng=draws) for _ in range(2))
    assert (one != found).any() and (one != two).any()
    greedy = level.generate(model, ids, 20, temperature=0)
    for options in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
        found = level.generate(model, ids, 20, 3.0, rng=draws, **options)
        assert_close(found, greedy, tol=0, what=f"tokens, {options}")


@pytest.mark.levels(2)
@pytest.mark.value
def test_weights_by_seed(level):
    """A model's weights are those of the seed 0 unless a generator is given."""
    first, same, other = (level.GPT(5, 3, 4, 2, 1, rng=draws) for draws in (None, rng(0), rng(1)))
    for (name, p), q, r in zip(first.named_parameters(), same.parameters(), other.parameters()):
        assert_close(q.data, p.data, tol=0, what=name)
        assert p.data.ndim == 1 or (p.data != r.data).any(), name


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_applied_once(level, temperature):
    """20,000 rows, one token each, by chi-square."""
    p = np.array([0.4, 0.3, 0.2, 0.1])

    class Fixed:
        context = 3

        def __call__(self, ids):
            return np.broadcast_to(np.log(p), (*ids.shape, 4))

    drawn = level.generate(Fixed(), np.zeros((20_000, 1), int), 1, temperature, rng=rng(5))[:, 1]
    q = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    assert (((np.bincount(drawn, minlength=4) - 20_000 * q) ** 2) / (20_000 * q)).sum() < 16.3


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 1e-300])
def test_nearly_greedy(level, temperature):
    """A temperature below what float16 or float32 can divide by, and two logits that would be infinite."""
    class Fixed:
        context = 3

        def __call__(self, ids):
            return np.broadcast_to(np.array([1.0, 4.5, 5, -2], np.float16), (*ids.shape, 4))

    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert (level.generate(Fixed(), np.zeros((9, 1), int), 4, temperature)[:, 1:] == 2).all()


@pytest.mark.levels(2)
@pytest.mark.value
def test_evaluated_without_dropout(level):
    """The same loss as of the model in evaluation, whatever its mode; which it is in again afterwards."""
    model, ids = small(4, level.GPT, dropout=0.5), rng(5).integers(0, 7, 40)
    want = level.evaluate(model.eval(), ids)
    assert model.training is False
    assert_close(np.array(level.evaluate(model.train(), ids)), np.array(want), tol=0, what="loss in training mode")
    assert model.training and model.blocks[0].training
    greedy = level.generate(model, ids[:3], 6, 0)
    assert model.training and model.blocks[0].training
    with pytest.raises(ValueError):
        level.generate(model, np.array([7]), 1)
    assert model.training, "the mode after an error"
    model.blocks[0].eval()
    with pytest.raises(ValueError):
        level.evaluate(model, np.array([7, 1]))
    level.generate(model, ids[:3], 1), level.evaluate(model, ids)
    assert model.training and not model.blocks[0].training, "a block that was in evaluation"
    assert_close(greedy, level.generate(model.eval(), ids[:3], 6, 0), tol=0, what="greedy text")
    assert not model.training and not model.blocks[0].training


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("n, stride", [(17, 5), (17, 1), (17, 3), (16, 5), (6, 2), (5, 5), (2, 1)])
def test_every_token_once(level, n, stride):
    """The mean over all tokens but the first, each from the window that the definition gives it."""
    model, ids = small(6, level.GPT), rng(7).integers(0, 7, n)
    T, losses = min(5, n - 1), {}
    starts = [*range(0, n - 1 - T, stride), n - 1 - T]
    for start in starts:
        z = model(ids[None, start:start + T])[0].astype(float)
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        for t in range(T):
            losses.setdefault(start + t + 1, -log_p[t, ids[start + t + 1]])
    assert sorted(losses) == list(range(1, n))
    want = np.mean(list(losses.values()))
    assert_close(np.array(level.evaluate(model, ids, stride, batch=2)), np.array(want), tol=1e-5, what="loss")


@pytest.mark.levels(2)
@pytest.mark.value
def test_evaluated_in_batches(level):
    """At most `batch` windows at a time; large logits do not overflow and are not changed; the sum is in float64."""
    class Spy:
        context, sizes, kept = 4, [], []

        def __call__(self, ids):
            self.sizes.append(len(ids))
            self.kept.append(np.array([0, 200, 0], np.float32) + np.zeros((*ids.shape, 1), np.float32))
            return self.kept[-1]

    model, ids = Spy(), [1, 1, 0, 1] * 5 + [1]
    found = level.evaluate(model, ids, batch=3)
    assert type(found) is float and model.sizes == [3, 2]
    assert_close(np.array(found), np.array(50.0), tol=1e-12, what="loss of a quarter of tokens at 200 each")
    assert all(z.max() == 200 for z in model.kept)
    model.sizes.clear()
    level.evaluate(model, np.ones(4 * 40 + 1, int))
    assert model.sizes == [32, 8]
    rare = lambda ids: np.array([0, -10.1], np.float32) + np.zeros((*ids.shape, 1), np.float32)
    rare.context, want = 10, 10.1 + np.log1p(np.exp(-10.1))
    found = level.evaluate(rare, np.ones(40_001, int), batch=1)
    assert_close(np.array(found), np.array(want), tol=1e-6, what="loss of 40,000 tokens")


@pytest.mark.levels(2)
@pytest.mark.edge
def test_writing_refuses(level):
    """What the model, the writer and the judge cannot take: named, before or in the first call of the model."""
    model, one = small(0, level.GPT), np.array([1])
    for argument, ids in (("ids", np.ones((1, 6), int)), ("ids", np.full((1, 2), 7)), ("ids", np.ones(3, int)),
                          ("ids", np.ones((1, 2)))):
        expect_value_error(argument, model, ids)
    expect_value_error("rng", level.GPT, 5, 3, 4, 2, 1, rng=3)
    expect_value_error("rng", level.generate, model, one, 1, rng=3)
    for n in (-1, 2.0):
        expect_value_error("n", level.generate, model, one, n)
    for penalty in (0.5, 0.0, np.nan):
        expect_value_error("penalty", level.generate, model, one, 0, penalty=penalty)
    for stride, n in ((0, 9), (6, 9), (2.0, 9), (1, 1)):
        expect_value_error("stride", level.evaluate, model, np.ones(n, int), stride)
    for batch in (0, -1, 2.0):
        expect_value_error("batch", level.evaluate, model, np.ones(9, int), batch=batch)
    for last in (7, -1):
        expect_value_error("targets", level.evaluate, model, np.array([1, last]))
    for ids in (np.ones(0, int), np.ones((2, 0), int), np.ones(3), np.int64(1), np.ones((1, 2, 3), int)):
        expect_value_error("ids", level.generate, model, ids, 0)


@pytest.mark.levels(2)
@pytest.mark.edge
def test_a_prompt_of_any_integers(level):
    """Ids without a sign or of one byte go on as others do; what comes back is a copy, also of nothing written."""
    model, ids = small(0, level.GPT), np.array([[1, 2, 0]])
    want = level.generate(model, ids, 4, 0)
    for kind in (np.uint64, np.uint8, np.int32):
        assert_close(level.generate(model, ids.astype(kind), 4, 0), want, tol=0, what=f"text from {kind.__name__}")
    assert not np.shares_memory(level.generate(model, ids, 0), ids)
    assert not np.shares_memory(level.generate(model, ids[0], 0), ids)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_flat_model_equals_the_module(level, threads):
    """Loss, gradients and logits of the module, for batches that threads divide and that they do not."""
    ids, targets = rng(9).integers(0, 7, (5, 4)), rng(10).integers(0, 7, (5, 4))
    module, loss = small(8), CrossEntropyLoss()
    flat = level.FlatGPT(module.state_dict(), 3, threads)
    sizes = [sum(p.data.size for p in group) for group in decay_groups(module.parameters())]
    assert [p.data.shape for p in flat.parameters] == [(n,) for n in sizes]
    assert (flat.context, flat.vocab_size) == (5, 7)
    assert_close(flat(ids), module(ids), tol=1e-5, what="logits")
    want = loss(module(ids), targets)
    module.backward(loss.backward())
    for share in (1.0, 0.25):                                   # gradients are added, a share of them
        found = flat.loss_and_gradients(ids, targets, share)
        assert type(found) is float
        assert_close(np.array(found), np.array(want), tol=1e-5, what="loss")
    for parameter in flat.parameters:                           # a state dict of gradients
        parameter.data = parameter.grad / 1.25
    grads = flat.state_dict()
    for name, parameter in module.named_parameters():
        assert_close(grads[name] + 1, parameter.grad + 1, tol=2e-6, what="d" + name)
    for parameter in flat.parameters:                           # as an optimiser may
        parameter.data += np.float32(0.1)
    moved = flat(ids)
    assert_close(moved, GPT.from_state(flat.state_dict(), 3)(ids), tol=1e-5, what="logits of moved weights")
    held = flat.parameters                                      # as an optimiser holds them
    flat.load_state_dict(module.state_dict())
    for name, array in flat.state_dict().items():
        assert_close(array, module.state_dict()[name], tol=0, what=name)
    assert_close(flat(ids), module(ids), tol=1e-5, what="logits of weights loaded")
    for parameter in held:
        parameter.data[...] = 0
    assert_close(flat(ids), np.zeros((5, 4, 7)), tol=0, what="logits of an optimiser's zeros")


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_flat_model_at_extremes(level):
    """Logits that lie hundreds apart, in float32; a state in float64 stays there."""
    module, loss, ids = small(8), CrossEntropyLoss(), rng(9).integers(0, 7, (3, 4))
    module.norm.weight.data *= np.float32(150)
    logits = module(ids)
    assert np.ptp(logits.max(axis=-1)) > 150 and logits.max() > 150
    found = level.FlatGPT(module.state_dict(), 3).loss_and_gradients(ids, ids)
    assert_close(np.array(found), np.array(loss(logits, ids)), tol=1e-5, what="loss")
    module.astype(np.float64)
    logits = level.FlatGPT(module.state_dict(), 3)(ids)
    assert logits.dtype == np.float64
    assert_close(logits, module(ids), tol=1e-9, what="logits in float64")


@pytest.mark.levels(2, 3)
@pytest.mark.edge
def test_flat_model_refuses(level):
    """Threads below 1, ids and targets out of range or of other shapes."""
    state, ids = small(8).state_dict(), np.ones((2, 3), int)
    for threads in (0, 1.5):
        expect_value_error("threads", level.FlatGPT, state, 3, threads)
    flat = level.FlatGPT(state, 3)
    assert flat(ids[:0]).shape == (0, 3, 7)                     # no text, no logits
    for bad in (np.full((2, 3), 7), -ids, ids[:, :2], ids.astype(float)):
        expect_value_error("targets", flat.loss_and_gradients, ids, bad)
    for bad in (np.full((2, 3), 7), np.ones((2, 6), int)):
        expect_value_error("ids", flat, bad)
    for bad in (np.full((2, 3), 7), np.ones((2, 6), int), ids[:0]):
        expect_value_error("ids", flat.loss_and_gradients, bad, bad)
    for bad in ({k: a for k, a in state.items() if k != "norm.bias"}, state | {"norm.bias": np.ones(1, np.float32)}):
        expect_value_error("norm.bias", flat.load_state_dict, bad)


@pytest.mark.levels(2, 3)
@pytest.mark.gradient
def test_flat_model_of_changing_batches(level):
    """Batches and lengths that change from step to step, and what was returned before stays as it was."""
    module, loss, draw = small(8), CrossEntropyLoss(), rng(32)
    flat = level.FlatGPT(module.state_dict(), 3, 2)
    kept = []
    for shape in ((3, 5), (1, 1), (4, 5), (3, 5), (3, 5)):
        ids, targets = draw.integers(0, 7, (2, *shape))
        kept.append((flat(ids), module(ids)))
        assert_close(np.array(flat.loss_and_gradients(ids, targets)), np.array(loss(kept[-1][1], targets)), tol=1e-5,
                     what=f"loss of {shape}")
        module.backward(loss.backward())                        # gradients are added up, by both
    for got, want in kept:
        assert_close(got, want, tol=1e-5, what=f"logits {got.shape}")
    for parameter in flat.parameters:
        parameter.data = parameter.grad
    grads = flat.state_dict()
    for name, parameter in module.named_parameters():
        assert_close(grads[name] + 1, parameter.grad + 1, tol=5e-6, what="d" + name)


@pytest.mark.levels(2)
@pytest.mark.value
def test_groups_are_one_optimizer(level):
    """Eleven optimisers: one rate, one step, gradients forgotten by all; a state that is taken back by each."""
    def make():
        parameters = [Parameter(rng(k).standard_normal(2)) for k in range(11)]
        return parameters, level.Groups(*(AdamW([p], 0.1, weight_decay=k / 9) for k, p in enumerate(parameters)))

    def step(parameters, groups, seed):
        for p in parameters:
            p.grad = rng(seed).standard_normal(2) * p.data
        groups.step()
    parameters, groups = make()
    first = [p.data.copy() for p in parameters]
    step(parameters, groups, 40)
    assert all(np.abs(p.data - before).min() > 1e-3 for p, before in zip(parameters, first))
    groups.zero_grad()
    assert not any(np.any(p.grad) for p in parameters)
    groups.lr = 0.03
    assert groups.lr == 0.03 and all(each.lr == 0.03 for each in groups.optimizers)
    state = {name: np.copy(value) for name, value in groups.state_dict().items()}
    assert {name.split(".")[0] for name in state} == {str(k) for k in range(11)} and state["10.lr"] == 0.03
    others, again = make()
    for p, q in zip(parameters, others):
        q.data[...] = p.data
    again.load_state_dict(state)
    for pair in ((parameters, groups), (others, again)):
        step(*pair, 41)
    for k, (p, q) in enumerate(zip(parameters, others)):
        assert_close(q.data, p.data, tol=0, what=f"parameter {k} after a step of the state taken back")


@pytest.mark.value
@pytest.mark.parametrize("merges", [0, 9])
def test_what_is_held_out(merges):
    """The last tenth, of which neither training nor merges see anything; windows begin at every place that fits."""
    text = TEXT[:900] + "zqX " * 25
    tokens, ids, held = prepare(text, merges)
    assert tokens.decode(ids) == text[:900] and tokens.decode(held) == text[900:]
    assert not merges or not any(b"zq" in token for token in tokens.tokens)
    (x, y), = draw_batches(np.arange(8), SMALL | {"batch": 99}, rng(30))
    assert set(x[:, 0].tolist()) == {0, 1} and (y == x + 1).all()


@pytest.mark.value
def test_settings_are_followed():
    """Seed, threads, clipping, batches accumulated: each counts; their order of draws is that of the generator."""
    state = first_state(7, SMALL | {"seed": 3})
    for name, array in GPT(7, 6, 8, 2, 2, rng=rng(3)).state_dict().items():
        assert_close(state[name], array, tol=0, what=name)
    runner = Numpy(state, SMALL | {"threads": 2, "clip": 0.01})
    assert runner.model.threads == 2
    batches = draw_batches(np.arange(7).repeat(9), SMALL | {"accumulate": 3}, rng(1))
    assert len(batches) == 3 and (batches[0][0] != batches[1][0]).any()
    runner.update(batches, 0.01)
    norm = np.sqrt(sum((p.grad ** 2).sum() for p in runner.model.parameters))
    assert_close(np.array(norm), np.array(0.01), tol=1e-4, what="norm of the clipped gradient")
    assert draw_batches(np.arange(99), SMALL, rng(2))[0][0][:, 0].tolist() == rng(2).integers(0, 93, 5).tolist()


@pytest.mark.value
def test_sample_as_text():
    """So many symbols behind the first one, which is not shown; a seed of 1 and what options say."""
    for first, symbols in (("\n", "\nab"), (" ", " ab")):
        known = CharTokenizer(symbols + TEXT)
        model = GPT(known.vocab_size, 6, 8, 2, 2, rng=rng(4))
        start = known.encode(first if first == "\n" else known.symbols[0])
        for seed, options in ((1, {}), (7, {"temperature": 0.5})):
            want = known.decode(generate(model, start, 30, rng=rng(seed), **options)[1:])
            got = sample(model, known, 30, **options, **({} if seed == 1 else {"seed": seed}))
            assert got == want and len(got) == 30


@pytest.mark.edge
def test_a_loss_that_is_no_number():
    """Training ends with the step that went wrong, and a text too short for a window is refused."""
    class Lost(Numpy):
        def update(self, batches, lr):
            return float("nan")

    with pytest.raises(FloatingPointError, match="nan after 1 steps"):
        train(TEXT, SMALL, steps=3, make=Lost)
    with pytest.raises(ValueError, match="text has 7 symbols to hold out"):
        train("ab cdef" * 10, SMALL, steps=1)


@pytest.mark.value
def test_accumulation():
    """Two batches of half the size make the step of the whole."""
    settings, state = SMALL | {"clip": 1e9}, GPT(7, 6, 8, 2, 2, rng=rng(11)).state_dict()
    x, y = rng(12).integers(0, 7, (2, 6, 6))
    whole, halves = Numpy(state, settings), Numpy(state, settings)
    losses = whole.update([(x, y)], 0.01), halves.update([(x[:3], y[:3]), (x[3:], y[3:])], 0.01)
    assert_close(np.array(losses[1]), np.array(losses[0]), tol=1e-5, what="loss")
    for a, b in zip(whole.model.parameters, halves.model.parameters):
        assert_close(b.grad, a.grad, tol=1e-5, what="gradient")


@pytest.mark.value
def test_training_step_by_step():
    """The loop, written out with the module, AdamW in two groups, clipping, warm-up and cosine."""
    found = train(TEXT, SMALL, steps=7, every=2)
    tokens, ids, held = prepare(TEXT, 0)
    model, draws, loss = GPT(tokens.vocab_size, 6, 8, 2, 2, rng=rng(0)), rng(0), CrossEntropyLoss()
    decayed, others = decay_groups(model.parameters())
    optimizer = Groups(AdamW(decayed, 0.02, BETAS, weight_decay=0.1), AdamW(others, 0.02, BETAS, weight_decay=0.0))
    losses = []
    for step in range(7):
        (x, y), = draw_batches(ids, SMALL, draws)
        assert (x[:, 1:] == y[:, :-1]).all() and x.shape == (5, 6)
        model.zero_grad()
        losses.append(loss(model(x), y))
        model.backward(loss.backward())
        clip_by_global_norm(model.parameters(), 1.0)
        optimizer.lr = float(cosine_decay(step, 0.02, 7, 3, 0.02 * FINAL))
        optimizer.step()
    state = found.runner.model.state_dict()
    for name, value in model.state_dict().items():
        if "k_proj.bias" not in name:                           # whose gradient is rounding
            assert_close(state[name], value, tol=2e-3, what=name)
    assert found.curves["step"] == [2, 4, 6, 7] and found.steps == 7
    means = [np.mean(losses[a:b]) for a, b in pairwise((0, 2, 4, 6, 7))]
    assert_close(np.array(found.curves["loss"]), np.array(means, float), tol=1e-3, what="mean losses")
    assert_close(np.array(found.curves["held"][-1]), np.array(evaluate(model, held)), tol=1e-3, what="held")


@pytest.mark.value
def test_resumed_bit_for_bit(tmp_path):
    """Nine steps in one go and in two pieces, by two threads; ours, and PyTorch's to rounding."""
    settings = SMALL | {"threads": 2}
    whole = train(TEXT, settings, steps=9, every=3, path=tmp_path / "a.npz")
    train(TEXT, settings, steps=9, every=3, path=tmp_path / "b.npz", stop=7)
    pieces = train(TEXT, settings, steps=9, every=3, path=tmp_path / "b.npz")
    assert pieces.curves["held"] == whole.curves["held"]
    for name, value in whole.runner.model.state_dict().items():
        assert_close(pieces.runner.model.state_dict()[name], value, tol=0, what=name)
    pytest.importorskip("torch")
    from tangled.t30_mini_gpt.contestant import Torch
    options = {"steps": 9, "every": 3, "make": Torch}
    theirs = train(TEXT, SMALL, **options)
    train(TEXT, SMALL, path=tmp_path / "c.npz", stop=7, **options)
    again = train(TEXT, SMALL, path=tmp_path / "c.npz", **options)
    assert_close(np.array(again.curves["held"]), np.array(theirs.curves["held"]), tol=1e-5, what="PyTorch, resumed")
    ours = train(TEXT, SMALL, steps=9, every=3)
    assert_close(np.array(theirs.curves["held"]), np.array(ours.curves["held"]), tol=2e-3, what="PyTorch against ours")


@pytest.mark.value
def test_minutes_become_steps():
    """The number of steps is fixed when the warm-up is over; the model learns."""
    found = train(TEXT, SMALL | {"warmup": 10}, minutes=0.005)
    assert found.steps > 10 and found.curves["step"][-1] == found.steps
    longer = train(TEXT, SMALL, steps=120, every=60)
    assert longer.curves["loss"][-1] < longer.curves["loss"][0] - 0.2
    assert {done: len(text) for done, text in longer.samples.items()} == {"50": 160}


@pytest.mark.value
@pytest.mark.parametrize("later", [0.5, 1, 3])
def test_the_schedule_ends_with_the_minutes(monkeypatch, later):
    """A machine that becomes faster or slower on the way: the time is kept, and the rate reaches its end in it."""
    clock, rates = [0.0], []

    class Paced(Numpy):
        def update(self, batches, lr):
            clock[0] += 1 if len(rates) < 200 else later        # seconds
            rates.append(lr)
            return 1.0

    monkeypatch.setattr("tangled.t30_mini_gpt.training.time.perf_counter", lambda: clock[0])
    found = train(TEXT, SMALL | {"warmup": 20}, minutes=15, make=Paced)
    assert abs(found.seconds - 900) <= 30 and found.seconds == clock[0] and found.steps == len(rates)
    assert abs(found.steps - (200 + 700 / later)) < 0.04 * found.steps
    assert max(rates) == rates[19] == 0.02 and rates[-1] < 0.021 * (FINAL + 0.01)
    assert later < 1 or (np.diff(rates[20:]) <= 0).all()


@pytest.mark.value
def test_trained_on_tokens_of_bytes():
    """A vocabulary of merges in place of characters."""
    found = train(TEXT, SMALL | {"merges": 12}, steps=3)
    assert found.runner.model.vocab_size == 268 and found.tokens.vocab_size == 268


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_lora(level):
    """At first nothing changes; then only a and b do, merged equals unmerged, and the base is untouched."""
    model, ids, loss = small(13, level.GPT), rng(14).integers(0, 7, (3, 5)), CrossEntropyLoss()
    before, base = model(ids), model.state_dict()
    learned = level.add_lora(model, 2, alpha=3.0, names=("q_proj", "v_proj", "linear1"), rng=rng(15))
    assert len(learned) == 2 * 3 * 2 and all(p in model.parameters() for p in learned)
    assert_close(model(ids), before, tol=1e-6, what="logits at first")
    optimizer, losses = AdamW(learned, 0.02, weight_decay=0.0), []
    for _ in range(6):
        model.zero_grad()
        losses.append(loss(model(ids), ids))
        model.backward(loss.backward())
        optimizer.step()
    assert losses[-1] < losses[0] - 0.02
    for p in learned:
        assert np.abs(p.grad).max() > 0
    state, merged = model.state_dict(), dict(base)
    for name, array in base.items():
        holder, kind = name.rsplit(".", 1)
        frozen = {"weight": holder + ".frozen", "bias": holder + ".frozen_bias"}[kind]
        assert_close(state.get(frozen, state.get(name)), array, tol=0, what=name)
        if holder + ".a" in state and kind == "weight":
            change = 1.5 * state[holder + ".a"] @ state[holder + ".b"]
            assert np.linalg.matrix_rank(change.astype(float), tol=1e-6) <= 2 and np.abs(change).max() > 1e-4
            merged[name] = array + change
    assert_close(level.GPT.from_state(merged, 3)(ids), model(ids), tol=1e-4, what="merged against unmerged")


@pytest.mark.levels(2)
@pytest.mark.gradient
def test_lora_by_either_way(level):
    """A gradient of the merged matrix, sent on, is the gradient of the correction itself."""
    x, dout = rng(16).standard_normal((2, 4, 5), np.float32), rng(17).standard_normal((2, 4, 3), np.float32)
    one, two = (level.LoRA(Linear(5, 3, rng(18)), 2, 3.0, rng(19)) for _ in range(2))
    for lora in (one, two):
        lora.b.data[...] = rng(20).standard_normal((2, 3))
        lora.frozen_bias += np.float32(0.5)
    assert_close(one(x), x @ one.merged() + one.bias.data, tol=1e-5, what="out")
    dx = one.backward(dout)
    assert_close(dx, dout @ one.merged().T, tol=1e-5, what="dx")
    two.weight.accumulate(np.einsum("btn,btm->nm", x, dout))
    for name in "ab":
        assert_close(getattr(two, name).grad, getattr(one, name).grad, tol=1e-5, what="d" + name)
    once = one.a.grad.copy(), one.b.grad.copy()
    one(x)
    one.backward(dout)
    for name, grad in zip("ab", once):
        assert_close(getattr(one, name).grad, 2 * grad, tol=1e-5, what=f"d{name} of two passes")
    one.bias.accumulate(np.ones(3, np.float32))
    one.b.data[...] = 0
    assert_close(one.weight.data, one.frozen, tol=0, what="merged, b of 0")
    assert_close(one.bias.data, np.full(3, 0.5, np.float32), tol=0, what="bias, which does not learn")
    linear = Linear(5, 3, rng(21))
    lora = level.LoRA(linear, 2)
    before = lora(x)
    for p in (linear.weight, linear.bias):                      # its arrays are copies
        p.data += 1
    assert_close(lora(x), before, tol=0, what="out after the Linear has changed")


@pytest.mark.levels(2)
@pytest.mark.value
def test_lora_begins(level):
    """a by the seed, with the variance 1 / n; alpha / r; no bias where there was none; the state has what is frozen."""
    linear, x = Linear(200, 3, rng(33), bias=False), rng(34).standard_normal((4, 200), np.float32)
    first, same, other = (level.LoRA(linear, 8, rng=draws) for draws in (None, rng(0), rng(1)))
    assert first.bias is None and first.a.data.dtype == first.b.data.dtype == np.float32 and not first.b.data.any()
    assert_close(first(x), x @ linear.weight.data, tol=1e-5, what="out at first, without a bias")
    assert_close(same.a.data, first.a.data, tol=0, what="a by the seed 0")
    assert (other.a.data != first.a.data).any()
    assert 0.9 < first.a.data.std() * np.sqrt(200) < 1.1
    assert [level.LoRA(linear, 8, alpha).scale for alpha in (None, 4, 0)] == [1.0, 0.5, 0.0]
    assert set(first.state_dict()) == {"a", "b", "frozen", "frozen_bias"}
    other.b.data[...] = 1
    first.load_state_dict(other.state_dict())
    assert_close(first(x), other(x), tol=0, what="out of the state taken over")
    for argument, rank, value in (("rank", 0, 1), ("alpha", 1, -1)):
        expect_value_error(argument, level.LoRA, linear, rank, value)
    expect_value_error("rng", level.LoRA, linear, 1, rng=3)


@pytest.mark.levels(2)
@pytest.mark.value
def test_where_lora_goes(level):
    """Every block's queries and values unless told otherwise; all of the names given, each with an a of its own."""
    for names, want in ((None, ["q_proj", "v_proj"]), (["k_proj", "linear2"], ["k_proj", "linear2"])):
        model = small(13, level.GPT).astype(np.float64)
        learned = level.add_lora(model, 3, 6.0, **({} if names is None else {"names": names}), rng=rng(0))
        held = [(name, part) for block in model.blocks for holder in (block.attention, block.ffn)
                for name, part in vars(holder).items() if isinstance(part, level.LoRA)]
        assert [name for name, _ in held] == want * 2
        assert all(part.a.data.shape[1] == 3 and part.scale == 2 and part.a.data.dtype == float for _, part in held)
        assert {id(p) for p in learned} == {id(p) for _, part in held for p in (part.a, part.b)}
        assert np.abs(held[0][1].a.data - held[2][1].a.data).max() > 0.1
    seeded = [level.add_lora(small(13, level.GPT), 2, rng=draws)[0].data for draws in (None, rng(0))]
    assert_close(seeded[0], seeded[1], tol=0, what="the first a, by the seed 0")


@pytest.mark.edge
def test_the_command(tmp_path, capsys):
    """A short run on a file, and again without a step left; a bad option is one line."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 2, encoding="utf-8")
    argv = ["--data", str(text), "--steps", "3", "--width", "8", "--heads", "2", "--layers", "1", "--context", "8",
            "--warmup", "2", "--folder", str(tmp_path), "--out", str(tmp_path / "a.png"), "--only", "numpy"]
    for _ in range(2):
        assert main(argv) == 0
        assert "nats a symbol" in capsys.readouterr().out
    assert (tmp_path / "a.png").exists()
    assert main([*argv, "--batch", "0"]) == 1
    assert "batch = 0; expected at least 1" in capsys.readouterr().err
    assert main([*argv, "--record"]) == 1                       # said before the training, not after it
    assert "record with data, merges or only" in capsys.readouterr().err
    text.write_text("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n" * 12,
                    encoding="utf-8")                           # as TinyShakespeare is laid out
    for more in ([], ["--merges", "20"]):
        assert main([*argv, *more]) == 0
        said = capsys.readouterr().out
        assert "numpy: 3 steps of training" in said and "bits a byte" in said and "--- top-p 0.9\n" in said
    text.write_text("too short", encoding="utf-8")
    assert main([*argv, "--fresh"]) == 1
    assert "text has 1 symbols to hold out; expected at least 10" in capsys.readouterr().err


@pytest.mark.value
def test_pretrained():
    """The network of the record: its loss where the curve ends is the recorded one, and it writes text."""
    from tangled.data import load_shakespeare
    from tangled.records import record
    from tangled.t30_mini_gpt.pretrained import load_pretrained
    model, tokens = load_pretrained()
    assert not model.training and tokens.vocab_size == model.vocab_size
    text = load_shakespeare()
    held = tokens.encode(text[len(text) * 9 // 10:])[:CURVE]
    recorded = record(30).run("train_gpt").values["curve, last"]["numpy"]
    assert abs(evaluate(model, held) - float(recorded)) < 0.01        # the weights were stored in float16
    assert tokens.decode(generate(model, tokens.encode("KING"), 3, 0)).startswith("KING")
    logits = model(held[None, :4])
    assert_close(np.array(softmax_cross_entropy(logits, held[None, 1:5])[0]).astype(float),
                 np.array(evaluate(model, held[:5])), tol=1e-4, what="loss of four tokens")
