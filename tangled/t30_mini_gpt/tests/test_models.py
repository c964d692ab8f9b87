# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:36f9762fb5c0041f
"""Chapter 30: generation, evaluation, training, tuning, and the program."""

import sys
from itertools import count, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from tangled.t03_optimizers import AdamW, clip_by_global_norm, cosine_decay
from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.t06_backpropagation import CrossEntropyLoss, Linear, Parameter
from tangled.t10_mnist import load_checkpoint
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t30_mini_gpt import GPT, Groups, decay_groups, evaluate, generate, train_gpt
from tangled.t30_mini_gpt.bpe import BytePairEncoding
from tangled.t30_mini_gpt.train_gpt import main
from tangled.t30_mini_gpt.training import (
    CURVE,
    FINAL,
    SETTINGS,
    Numpy,
    Run,
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


def wide(state):
    """Weights in float64."""
    return {name: array.astype(np.float64) for name, array in state.items()}


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
    assert (((np.bincount(drawn.astype(np.intp), minlength=4) - 20_000 * q) ** 2) / (20_000 * q)).sum() < 16.3


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
def test_each_module_keeps_its_mode(level):
    """In evaluation while it writes and judges, whatever each was in; in that again, also after an interruption."""
    class Watched(level.GPT):
        stopped, seen = False, []

        def forward(self, ids):
            self.seen.append({m.training for m in self.modules()})
            if self.stopped:
                raise KeyboardInterrupt
            return super().forward(ids)

    model, ids = small(4, Watched, dropout=0.5), rng(5).integers(0, 7, 12)
    for top in (True, False):
        model.train(top)
        model.blocks[1].ffn.train(not top)
        modes = [m.training for m in model.modules()]
        for model.stopped in (False, True):
            for call in (lambda: level.generate(model, ids[:3], 2), lambda: level.evaluate(model, ids)):
                try:
                    call()
                except KeyboardInterrupt:
                    assert model.stopped
                assert [m.training for m in model.modules()] == modes
    assert len(model.seen) > 8 and all(each == {False} for each in model.seen)


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
    for ids in (np.ones(0, int), np.ones((2, 0), int), np.ones(3), np.ones(3, bool), np.int64(1),
                np.ones((1, 2, 3), int)):
        expect_value_error("ids", level.generate, model, ids, 0)


@pytest.mark.levels(2)
@pytest.mark.edge
def test_a_prompt_of_any_integers(level):
    """Ids without a sign or of one byte go on as others do, none at all stay none; what comes back is a copy."""
    model, ids = small(0, level.GPT), np.array([[1, 2, 0]])
    want = level.generate(model, ids, 4, 0)
    for kind in (np.uint64, np.uint8, np.int32):
        assert_close(level.generate(model, ids.astype(kind), 4, 0), want, tol=0, what=f"text from {kind.__name__}")
    assert not np.shares_memory(level.generate(model, ids, 0), ids)
    assert not np.shares_memory(level.generate(model, ids[0], 0), ids)
    assert level.generate(model, ids[:0], 4).shape == (0, 7)


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
    assert (flat(ids[:0]).shape, flat(ids[:0]).dtype) == ((0, 3, 7), np.float32)            # no text, no logits
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
    assert [(x.shape, y.shape) for x, y in batches] == 3 * [((5, 6), (5, 6))]
    assert (batches[0][0] != batches[1][0]).any()
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
    tokens = BytePairEncoding.train(TEXT, 5)
    model = GPT(tokens.vocab_size, 6, 8, 2, 2, rng=rng(4))
    model.wte.weight.data *= 50
    found, other = (tokens.decode(generate(model, tokens.encode(start), 9, 0)[1:]) for start in ("\n", " "))
    assert sample(model, tokens, 9, temperature=0) == found != other


@pytest.mark.edge
def test_a_loss_that_is_no_number(tmp_path):
    """Training ends with the step that went wrong, which is not saved; a text too short for a window is refused."""
    class Lost(Numpy):
        def update(self, batches, lr):
            rates.append(lr)
            return 1.0 if len(rates) < 3 else float(kind)

    for kind in ("nan", "inf"):
        rates, path = [], tmp_path / f"{kind}.npz"
        with pytest.raises(FloatingPointError, match=f"{kind} after 3 steps"):
            train(TEXT, SMALL, steps=5, make=Lost, path=path, every=1)
        assert load_checkpoint(path).record["done"] == 2
    with pytest.raises(ValueError, match="text has 7 symbols to hold out; expected at least 8"):
        train("ab cdef" * 10, SMALL, steps=1)
    assert train("ab cdefg" * 10, SMALL, steps=1).curves["step"] == [1]


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
def test_training_step_by_step(monkeypatch):
    """The loop, written out in float64 with the module, AdamW in two groups, clipping, warm-up and cosine."""
    monkeypatch.setattr("tangled.t30_mini_gpt.training.CURVE", 20)
    monkeypatch.setattr("tangled.t30_mini_gpt.training.EARLY", (2,))
    settings = SMALL | {"seed": 3, "accumulate": 2, "clip": 0.05}
    text = TEXT[5:]                                             # the last tenth begins otherwise than the first nine
    found = train(text, settings, steps=7, every=2, make=lambda state, given: Numpy(wide(state), given))
    tokens, ids, held = prepare(text, 0)
    model, draws, loss = GPT(tokens.vocab_size, 6, 8, 2, 2, rng=rng(3)).astype(np.float64), rng(3), CrossEntropyLoss()
    betas, (decayed, others) = (0.9, 0.99), decay_groups(model.parameters())
    optimizer = Groups(AdamW(decayed, 0.02, betas, weight_decay=0.1), AdamW(others, 0.02, betas, weight_decay=0.0))
    losses, watched = [0.0] * 7, []
    for step in range(7):
        model.zero_grad()
        for x, y in draw_batches(ids, settings, draws):
            losses[step] += loss(model(x), y) / 2
            model.backward(loss.backward() / 2)
        assert clip_by_global_norm(model.parameters(), 0.05) > 0.05
        optimizer.lr = float(cosine_decay(step, 0.02, 7, 3, 0.02 * FINAL))
        optimizer.step()
        watched.append(evaluate(model, held[:20]))
    state = found.runner.model.state_dict()
    for name, value in model.state_dict().items():
        assert_close(state[name] + 1, value + 1, tol=1e-8, what=name)
    assert found.curves["step"] == [2, 4, 6, 7] and found.steps == 7
    means = [np.mean(losses[a:b]) for a, b in pairwise((0, 2, 4, 6, 7))]
    assert_close(np.array(found.curves["loss"]), np.array(means), tol=1e-8, what="mean losses")
    assert_close(np.array(found.curves["held"]), np.array(watched)[[1, 3, 5, 6]], tol=1e-8, what="held")


@pytest.mark.value
def test_resumed_bit_for_bit(tmp_path, monkeypatch):
    """Nine steps in one go and in two pieces, by two threads: one file; what was done is not done again."""
    monkeypatch.setattr("tangled.t30_mini_gpt.training.EARLY", (2, 8))
    monkeypatch.setattr("tangled.t30_mini_gpt.training.time.perf_counter", count().__next__)
    made, settings = [], SMALL | {"threads": 2}

    class Counted(Numpy):
        def update(self, batches, lr):
            made.append(lr)
            return super().update(batches, lr)

    def nine(path, stop=None):
        found = train(TEXT, settings, 9, make=Counted, path=path and tmp_path / path, stop=stop, every=3)
        return found, len(made)
    (whole, one), (_, two), (pieces, three), (again, four) = nine("a"), nine("b", 7), nine("b"), nine("b")
    assert (one, two, three, four) == (9, 16, 19, 19)           # it was saved after six steps, and after nine
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for found in (pieces, again):
        assert (found.curves, found.samples) == (whole.curves, whole.samples)
        assert found.seconds == whole.seconds == 9 and found.steps == 9
        for name, value in whole.runner.model.state_dict().items():
            assert_close(found.runner.model.state_dict()[name], value, tol=0, what=name)
    early, _ = nine(None, stop=2)
    assert early.samples == {"2": sample(early.runner, early.tokens, 160)} and list(whole.samples) == ["2", "8"]


@pytest.mark.value
def test_pytorch_in_the_same_loop(tmp_path):
    """Steps with decay, clipping and accumulation are ours, in float64; nine of them, resumed, to rounding."""
    torch = pytest.importorskip("torch")
    from tangled.t30_mini_gpt.contestant import Torch
    from tangled.t30_mini_gpt.level4_pytorch_reference import torch_state
    settings, state, draws = SMALL | {"clip": 0.05, "weight_decay": 0.5, "threads": 2}, first_state(7, SMALL), rng(31)
    runners = Numpy(wide(state), settings), Torch(state, settings)
    assert torch.get_num_threads() == 2
    runners[1].net.double()
    for lr in (0.02, 0.05, 0.01):
        batches = draw_batches(draws.integers(0, 7, 80), settings | {"accumulate": 2}, draws)
        losses = [runner.update(batches, lr) for runner in runners]
        assert_close(np.array(losses[1]), np.array(losses[0]), tol=1e-6, what="loss")
    for name, value in torch_state(runners[0].model.state_dict()).items():
        assert_close(runners[1].net.state_dict()[name].numpy() + 1, value + 1, tol=1e-5, what=name)
    options = {"steps": 9, "every": 3}
    whole = train(TEXT, SMALL, make=Torch, **options)
    train(TEXT, SMALL, make=Torch, path=tmp_path / "c.npz", stop=7, **options)
    again = train(TEXT, SMALL, make=Torch, path=tmp_path / "c.npz", **options)
    for part, kept in whole.runner.parts().items():
        for name, value in kept.state_dict().items():
            got = again.runner.parts()[part].state_dict()[name]
            assert_close(got + 1, value + 1, tol=1e-5, what=f"{part} {name}")
    ours = train(TEXT, SMALL, **options)
    assert_close(np.array(whole.curves["held"]), np.array(ours.curves["held"]), tol=2e-3, what="PyTorch against ours")


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
    clock, rates, trained = [0.0], [], []

    class Paced(Numpy):
        def update(self, batches, lr):
            trained.append(1 if len(rates) < 200 else later)    # seconds
            clock[0] += trained[-1]
            rates.append(lr)
            return 1.0

        def __call__(self, ids):
            clock[0] += 50                                      # to judge, and to write, is not to train
            return super().__call__(ids)

    monkeypatch.setattr("tangled.t30_mini_gpt.training.time.perf_counter", lambda: clock[0])
    found = train(TEXT, SMALL | {"warmup": 20}, minutes=15, make=Paced)
    assert abs(found.seconds - 900) <= 30 and found.seconds == sum(trained) and found.steps == len(rates)
    assert abs(found.steps - (200 + 700 / later)) < 0.04 * found.steps
    assert max(rates) == rates[19] == 0.02 and rates[-1] < 0.021 * (FINAL + 0.01)
    assert later < 1 or (np.diff(rates[20:]) <= 0).all()


@pytest.mark.value
def test_the_minutes_that_are_left(tmp_path, monkeypatch):
    """A resumed run has what is left, at its own pace; where the warm-up takes them all, a single step is made."""
    clock, pace = [0.0], [1]

    class Paced(Numpy):
        def update(self, batches, lr):
            clock[0] += pace[0]
            return 1.0

    def run(minutes, **options):
        return train(TEXT, SMALL | {"warmup": 20}, minutes=minutes, make=Paced, **options)
    monkeypatch.setattr("tangled.t30_mini_gpt.training.time.perf_counter", lambda: clock[0])
    assert run(0.1).curves["step"][-1] == 21
    assert run(2, steps=33).curves["step"][-1] == 33            # so many steps instead of minutes
    path = tmp_path / "a.npz"
    run(2, path=path, stop=70)
    done = load_checkpoint(path).record["done"]
    assert 60 < done <= 70
    pace[0], clock[0] = 2, 0.0
    found = run(2, path=path)
    assert abs(found.seconds - 120) <= 2 and found.seconds == done + clock[0]
    assert found.steps == found.curves["step"][-1] == done + clock[0] / 2


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
            "--warmup", "2", "--folder", str(tmp_path), "--only", "numpy",
            "--out", str(tmp_path / "a new folder" / "a.png")]
    for _ in range(2):
        assert main(argv) == 0
        assert "nats a symbol" in capsys.readouterr().out
    assert (tmp_path / "a new folder" / "a.png").exists()
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
    assert main([*argv, "--context", "1"]) == 0                 # the shortest there is: half of it is still a step
    capsys.readouterr()
    for short, more, said in (
            (b"too short", ["--fresh"], "text has 1 symbols to hold out; expected at least 10"),
            (b"ab" * 240 + b"cdefghijklmnopqrstuvwxyz" * 2, ["--merges", "20"], "symbols to train on; expected at"),
            (b"na\xefve", [], f"{text}: byte 2 is invalid continuation byte; expected text in UTF-8")):
        text.write_bytes(short)
        assert main([*argv, *more]) == 1
        assert said in capsys.readouterr().err


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """The command without training, judging and drawing: what it asks for, and a call of it with its options."""
    asked, text = SimpleNamespace(trained=[], judged=[], drawn=[]), tmp_path / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    values = {"held": 1.25, "bits a byte": 2.5, "held, half a context": 0.75,
              "samples": {"greedy": "the the", "top-p 0.9": "To be"}}

    def noted(*args, progress):
        asked.trained.append(args)
        k, settings = len(asked.trained), args[1]
        runner = Numpy(first_state(4, settings | {"seed": k}), settings)
        curves = {"step": [k, 4 + k], "loss": [1.5 / k, 1.25 / k], "held": [1.5 * k, 1.75 * k]}
        held, samples = np.zeros(20_000, int), {"50": f"sample {k}"}
        return Run(runner, CharTokenizer("\nabπ"), held, 4 + k, 7.0 + k, curves, samples)

    def command(*flags, **options):
        given = {"data": text, "folder": tmp_path, "out": tmp_path / "a.png", "width": 6, "heads": 3, "layers": 1,
                 "context": 4, "batch": 2, "accumulate": 3, "lr": 0.25, "warmup": 5, "weight_decay": 0.5, "clip": 2.0,
                 "merges": 7, "seed": 9, "threads": 1, "steps": 8, "minutes": 0.5} | options
        return main([*flags, *(f"--{name.replace('_', '-')}={value}" for name, value in given.items()
                               if value is not None)])
    monkeypatch.setattr("tangled.recording.FOLDER", tmp_path / "golden" / "records")
    monkeypatch.setattr(train_gpt, "train", noted)
    monkeypatch.setattr(train_gpt, "judged", lambda *args: asked.judged.append(args) or dict(values))
    monkeypatch.setattr(train_gpt, "draw", lambda *args: asked.drawn.append(args))
    monkeypatch.setattr(train_gpt, "torch_available", lambda: True)
    monkeypatch.setitem(sys.modules, "tangled.t30_mini_gpt.contestant", SimpleNamespace(Torch="PyTorch"))
    return asked, command


@pytest.mark.edge
def test_the_command_hands_on(stage, tmp_path, capsys):
    """Text, settings, steps and minutes, to ours or to PyTorch; for each other option another checkpoint."""
    asked, command = stage
    assert command() == command() == 0
    text, settings, steps, minutes, make, path = asked.trained[0]
    assert asked.trained[1][-1] == path and path.parent == tmp_path
    assert (text, steps, minutes, make) == (TEXT, 8, 0.5, Numpy) and list(settings) == list(SETTINGS)
    assert list(settings.values()) == [6, 3, 1, 4, 2, 3, 0.25, 5, 0.5, 2.0, 7, 9, 1]
    said = capsys.readouterr().out
    assert "numpy: 5 steps of training in 8 s; held out, first 16,384 symbols: 1.7500 nats a symbol\n" in said
    assert CURVE == 16_384                                      # which the line above speaks of
    assert "all of it: 1.2500 nats a symbol, 2.500 bits a byte; with at least half a context: 0.7500\n" in said
    assert "--- top-p 0.9\nTo be\n" in said
    asked.trained.clear()
    for name in (*SETTINGS, "steps", "minutes"):
        assert command(**{name: 12 if name == "width" else 2 if name in ("heads", "threads") else 4.0 if name in (
            "lr", "weight_decay", "clip", "minutes") else 11}) == 0
    capsys.readouterr()
    assert command(only="torch") == 0 and asked.trained[-1][:5] == (TEXT, settings, 8, 0.5, "PyTorch")
    assert "bits a byte" not in capsys.readouterr().out
    (tmp_path / "text.txt").write_text(TEXT[:-1] + "é", encoding="utf-8")
    assert command() == 0 and asked.trained[-1][0] == TEXT[:-1] + "é"
    paths = {path, *(args[-1] for args in asked.trained)}
    assert len(paths) == 1 + len(asked.trained) == len(SETTINGS) + 5


@pytest.mark.edge
def test_fresh_keeps_what_was_there(stage, tmp_path, capsys):
    """Each old checkpoint under a name of its own, which is said; without the option it stays."""
    asked, command = stage
    command()
    path = asked.trained[0][-1]
    for k in range(3):
        path.write_text(str(k))
        assert command() == 0 and path.read_text() == str(k)
        assert command("--fresh") == 0 and not path.exists() and "set aside" in capsys.readouterr().out
    assert sorted(file.read_text() for file in tmp_path.glob("*.npz")) == ["0", "1", "2"]


@pytest.mark.edge
def test_the_command_refuses(stage, tmp_path, capsys, monkeypatch):
    """One line and status 1 before a training: counts, minutes, steps, no such file, what no record is of."""
    asked, command = stage
    plain = {"data": None, "merges": 0}
    wrong = [({name: 0}, f"{name} = 0; expected at least 1") for name in (
        "width", "heads", "layers", "context", "batch", "accumulate", "warmup", "threads")]
    wrong += [({"minutes": value}, f"minutes = {float(value)}") for value in (0, -1, "nan", "inf", 10_000)]
    wrong += [({"steps": 0}, "steps = 0"), ({"data": tmp_path / "nowhere.txt"}, "nowhere.txt")]
    for options, said in wrong:
        assert command(**options) == 1, options
        out, err = capsys.readouterr()
        assert said in err and err.count("\n") == 1 and not out
    for options in ({"merges": 0}, {"data": None}, plain | {"only": "numpy"}, plain | {"only": "torch"}):
        assert command("--record", **options) == 1 and "record with data, merges or only" in capsys.readouterr().err
    monkeypatch.setattr(train_gpt, "torch_available", lambda: False)
    for flags, options in ((["--record"], plain), ([], {"only": "torch"})):
        assert command(*flags, **options) == 1 and "torch is not installed" in capsys.readouterr().err
    assert not asked.trained and command() == 0


@pytest.mark.edge
@pytest.mark.parametrize("error, status", [(KeyboardInterrupt, 130), (OSError("no room"), 1),
                                           (ValueError("no sum"), 1), (FloatingPointError("no number"), 1)])
def test_how_the_command_ends(stage, monkeypatch, capsys, error, status):
    """Interrupted, without room or without a loss: said in a line, and told by the status."""
    def fails(*_, **__):
        raise error
    monkeypatch.setattr(train_gpt, "train", fails)
    assert stage[1]() == status
    out, err = capsys.readouterr()
    assert ("interrupted" in out) == (status == 130) and (status == 130 or err == f"{error}\n")


@pytest.mark.value
def test_recorded_and_read_back(stage, tmp_path, monkeypatch):
    """Both of the same plays: curves, steps and seconds of each, and our network, which `load_pretrained` gives."""
    from tangled.records import record
    from tangled.t30_mini_gpt.pretrained import load_pretrained
    asked, command = stage
    (tmp_path / "golden").mkdir()
    monkeypatch.setattr(train_gpt, "load_shakespeare", lambda: "plays")
    plain = {"data": None, "merges": 0}
    assert command(**plain) == 0 and not (tmp_path / "golden" / "records").exists()
    asked.trained.clear()
    assert command("--record", **plain) == 0
    ours, theirs = asked.trained
    assert (ours[4], theirs[4]) == (Numpy, "PyTorch") and ours[:4] == theirs[:4] and ours[5] != theirs[5]
    assert ours[0] == "plays"
    run = record(30).run("train_gpt")
    curves = {"numpy": {"step": [1, 5], "loss": [1.5, 1.25], "held": [1.5, 1.75]},
              "torch": {"step": [2, 6], "loss": [0.75, 0.625], "held": [3.0, 3.5]}}
    assert run.curves == {f"{name} {key}": values for name in curves for key, values in curves[name].items()}
    assert asked.drawn[-1] == (str(tmp_path / "a.png"), curves) and run.seconds == 8 + 9
    state = first_state(4, ours[1] | {"seed": 1})
    assert run.values["settings"] == ours[1] and run.values["early"] == {"50": "sample 1"}
    assert run.values["steps"] == {"numpy": 5, "torch": 6} and run.values["seconds"] == {"numpy": 8, "torch": 9}
    assert run.values["curve, last"] == {"numpy": 1.75, "torch": 3.5} and run.values["held"] == 1.25
    assert run.values["parameters"] == sum(array.size for array in state.values())
    model, tokens = load_pretrained()
    assert tokens.symbols == "\nabπ" and not model.training and model.num_heads == 3
    judged, _, text = asked.judged[-1]
    assert text == "plays"
    for name, array in model.state_dict().items():
        assert_close(array, state[name].astype(np.float16).astype(np.float32), tol=0, what=name, dtype=np.float32)
        assert_close(judged.state_dict()[name], array, tol=0, what=f"{name}, as it was judged")


@pytest.mark.value
def test_what_is_said_of_a_network(monkeypatch):
    """Its weights in float16, run in float32; nats, perplexity and bits of all that is held out; each sampler."""
    text, asked, settings = "añb, " * 90, [], SMALL
    tokens, _, held = prepare(text, 0)
    state = {name: 9 * array for name, array in first_state(7, settings).items()}
    network = train_gpt.rounded(state, settings)
    for name, array in network.state_dict().items():
        assert_close(array, state[name].astype(np.float16).astype(np.float32), tol=0, what=name, dtype=np.float32)
    plain = GPT.from_state(network.state_dict(), 2)
    assert_close(network(held[None, :5]), plain(held[None, :5]), tol=1e-3, what="logits")
    monkeypatch.setattr(train_gpt, "sample", lambda *args, **how: asked.append(args) or how)
    values = train_gpt.judged(network, Run(None, tokens, held, 0, 0.0), text)
    whole, half, size = evaluate(plain, held), evaluate(plain, held, 3), len("añb, ".encode()) * 9
    assert abs(whole - half) > 1e-3
    bits = len(held) / (size * np.log(2))
    for name, want in {"held": whole, "held, half a context": half, "perplexity": np.exp(whole), "symbols": 45.0,
                       "bits a byte": whole * bits, "bits a byte, half a context": half * bits,
                       "vocabulary": 7.0}.items():
        assert_close(np.array(float(values[name])), np.array(float(want)), tol=1e-5, what=name)
    assert values["samples"] == {
        "greedy": {"temperature": 0}, "temperature 1": {}, "top-p 0.9": {"top_p": 0.9},
        "temperature 1.5": {"temperature": 1.5}, "temperature 1.5, min-p 0.1": {"temperature": 1.5, "min_p": 0.1}}
    assert len(asked) == 5 and all(args[0] is network and args[1] is tokens for args in asked)
    sizes = []
    monkeypatch.setattr(train_gpt, "evaluate", lambda model, ids, stride=None: sizes.append(len(ids)) or 1.0)
    train_gpt.judged(network, Run(None, tokens, np.resize(held, 20_000), 0, 0.0), text)
    assert sizes == [20_000] * 2, "all of what is held out, not the beginning"


@pytest.mark.value
def test_curves_drawn():
    """By step, of each: black what was held out, grey the batches; a line more where a level is given."""
    import matplotlib.pyplot as plt

    from tangled.t30_mini_gpt.visualization import draw_curves
    curves = {name: {"step": [k, 4], "loss": [3.0, k], "held": [2.5, 2 + k]}
              for k, name in ((1, "numpy"), (2, "torch"))}
    for level in (None, 2.25):
        figure = draw_curves(curves, level)
        found = [(line.get_color(), [list(axis) for axis in line.get_data()]) for line in figure.axes[0].lines]
        plt.close(figure)
        for curve in curves.values():
            for color, key in (("black", "held"), ("0.6", "loss")):
                assert (color, [curve["step"], curve[key]]) in found
        assert len(found) == 4 + (level is not None)
        assert level is None or found[-1][1][1] == [2.25, 2.25]


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
