# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:4a45af4c5cdc0199
"""Chapter 18: language models, tokens, and the programs."""

import numpy as np
import pytest

from tangled.data import load_first_names, load_shakespeare
from tangled.t03_optimizers import Adam, CosineDecay
from tangled.t06_backpropagation import CrossEntropyLoss
from tangled.t18_rnn import sample_categorical, train_names
from tangled.t18_rnn import train_plays as plays
from tangled.t18_rnn.experiments import (
    generate,
    held_out_loss,
    lag_norms,
    names_data,
    train_bigram,
    train_mlp,
    train_plays,
)
from tangled.t18_rnn.models import MLP, CharRNN, bigram_loss, mlp_windows, streams
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t18_rnn.train_plays import main
from tangled.testing import assert_close, check_module_gradients, rng


@pytest.mark.value
def test_tokenizer():
    """There and back, sorted symbols, unknown ones refused."""
    tokens = CharTokenizer("banana bread")
    assert tokens.symbols == " abdenr" and tokens.vocab_size == 7
    ids = tokens.encode("bread and bean")
    assert ids.dtype == np.int64 and tokens.decode(ids) == "bread and bean"
    with pytest.raises(ValueError, match="'x'"):
        tokens.encode("bax")


@pytest.mark.value
def test_names_are_split():
    """Each name in one of the two texts, nine tenths in the first, by the seed."""
    parts, names = names_data()[:2], load_first_names()
    texts = [train_names.TOKENS.decode(part) for part in parts]
    assert all(text[0] == text[-1] == "." for text in texts)
    found = [text.strip(".").split(".") for text in texts]
    assert sorted(found[0] + found[1]) == sorted(names) and len(found[0]) == len(names) * 9 // 10
    other = names_data(1)[1]
    assert other.shape != parts[1].shape or (other != parts[1]).any()


@pytest.mark.value
def test_bigrams_by_hand():
    """Four pairs of three symbols: a step of gradient descent, and the mean over the pairs, at large logits too."""
    counts, logits = train_bigram(np.array([0, 1, 0, 1, 2]), 3, steps=1, lr=2.0)
    want = np.array([[0, 2, 0], [1, 0, 1], [0, 0, 0]])
    assert_close(counts, want, tol=0, what="counts")
    assert_close(logits, 2.0 * (want - np.array([[2], [2], [0]]) / 3) / 4, tol=1e-12, what="logits")
    table = np.array([[1e3, 0, 0], [0, 0, 0], [0, 0, 0]])
    loss = bigram_loss(table, np.array([0, 1, 0, 1, 2]), 3)
    assert_close(np.asarray(loss), np.asarray((2e3 + 2 * np.log(3)) / 4), tol=1e-12, what="loss")


@pytest.mark.value
def test_two_bigrams():
    """By counts and by gradient descent: one loss, to 1e-3."""
    train, held, V = names_data()
    counts, logits = train_bigram(train, V)
    by_counts = bigram_loss(np.log(np.maximum(counts, 1e-12) / np.maximum(counts.sum(1, keepdims=True), 1)), train, V)
    assert abs(bigram_loss(logits, train, V) - by_counts) < 1e-3
    assert abs(bigram_loss(np.log(counts + 1.0), held, V) - bigram_loss(logits, held, V)) < 0.02


@pytest.mark.gradient
def test_models_gradients():
    """Central differences through embedding, hidden layers and logits; the state of the recurrent one."""
    ids = rng(0).integers(0, 5, (2, 3))
    check_module_gradients(MLP(5, 3, 4, 6, rng(1)), [ids])
    check_module_gradients(CharRNN(5, 3, 4, rng(2)), [ids])
    for build in (lambda draw: MLP(5, 3, 4, 6, draw), lambda draw: CharRNN(5, 3, 4, draw)):
        for a, b in zip(build(rng(1)).parameters(), build(rng(2)).parameters()):
            assert (a.data != b.data).any() or not a.data.any()     # drawn from the generator, or zeros


@pytest.mark.value
def test_windows_and_streams():
    """The MLP's contexts; streams in which a row goes on where it ended."""
    contexts, targets = mlp_windows(np.array([0, 3, 1, 0, 2, 0]), 2, boundary=0)
    assert contexts.tolist() == [[0, 0], [0, 3], [3, 1], [0, 0], [0, 2]] and targets.tolist() == [3, 1, 0, 2, 0]
    contexts, _ = mlp_windows(np.array([3, 0, 2, 1, 2]), 2, boundary=2)
    assert contexts.tolist() == [[2, 3], [3, 0], [2, 2], [2, 1]]
    batches = list(streams(np.arange(21), 2, 3))
    assert [x.tolist() for x, _ in batches] == [[[0, 1, 2], [10, 11, 12]], [[3, 4, 5], [13, 14, 15]],
                                               [[6, 7, 8], [16, 17, 18]]]
    for x, y in batches:
        assert_close(y, x + 1, tol=0, what="targets are the next symbols")


@pytest.mark.value
def test_plays_resume(tmp_path):
    """Twelve steps in one go, and in two pieces: the same weights, bit for bit; the state is carried."""
    text = "the quick brown fox jumps over the lazy dog. " * 40
    options = {"steps": 12, "hidden": 8, "embedding": 4, "batch": 4, "window": 5, "every": 4}
    whole = train_plays(text, path=tmp_path / "a.npz", **options)
    train_plays(text, path=tmp_path / "b.npz", stop=7, **options)
    pieces = train_plays(text, path=tmp_path / "b.npz", **options)
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves and whole.curves["loss"][-1] < whole.curves["loss"][0]
    assert train_plays(text, stop=16, **options).curves == whole.curves             # the end is the end


@pytest.mark.value
def test_plays_step_by_step():
    """The loop, written out: state carried, and set back where the text ends; one norm for all gradients; the order."""
    text = "the quick brown fox jumps over the lazy dog. " * 5
    options = {"steps": 43, "hidden": 8, "embedding": 4, "batch": 3, "window": 6, "every": 5, "lr": 0.02, "clip": 0.05}
    found = train_plays(text, seed=3, **options)
    tokens = CharTokenizer(text)
    ids, cut = tokens.encode(text), len(text) * 9 // 10
    model, loss, losses = CharRNN(tokens.vocab_size, 4, 8, np.random.default_rng(3)), CrossEntropyLoss(), []
    optimizer = Adam(model.parameters(), 0.02)
    schedule, batches = CosineDecay(optimizer, 43, warmup=2), list(streams(ids[:cut], 3, 6))
    assert len(batches) == 11                                   # so the text begins anew before the run ends
    state = None
    for k in range(43):
        x, y = batches[k % 11]
        losses.append(loss(model(x, None if k % 11 == 0 else state), y))
        state = model.state
        optimizer.zero_grad()
        model.backward(loss.backward())
        norm = np.sqrt(sum(float((p.grad.astype(float) ** 2).sum()) for p in model.parameters()))
        assert norm > 0.05
        for parameter in model.parameters():
            parameter.grad *= np.float32(0.05 / norm)
        optimizer.step()
        schedule.step()
    assert found.curves["step"] == [5, 10, 15, 20, 25, 30, 35, 40, 43]
    means = [np.mean(losses[a:a + 5]) for a in range(0, 43, 5)]
    assert_close(np.array(found.curves["loss"]), np.array(means), tol=1e-5, what="loss")
    for name, value in model.state_dict().items():
        assert_close(found.model.state_dict()[name], value, tol=1e-5, what=name)


@pytest.mark.value
def test_held_out_loss():
    """The mean over all windows of 2 streams, the state carried: as one pass over each stream."""
    ids = rng(4).integers(0, 5, 2 * 12 + 1)
    model = CharRNN(5, 3, 4, rng(5))
    rows = np.stack([ids[:12], ids[12:24]]), np.stack([ids[1:13], ids[13:25]])
    want = CrossEntropyLoss()(model(rows[0]), rows[1])
    assert_close(np.asarray(held_out_loss(model, ids, 4, 2)), np.asarray(want), tol=1e-6, what="loss")
    want = CrossEntropyLoss()(model(ids[None, :6]), ids[None, 1:7])                 # too short for a window of 128
    assert_close(np.asarray(held_out_loss(model, ids[:7])), np.asarray(want), tol=1e-6, what="of a short text")
    with pytest.raises(ValueError, match="ids has 1 symbols"):
        held_out_loss(model, ids[:1])


@pytest.mark.value
def test_judged_by_the_last_tenth():
    """The text that is held out is not the text that was trained on."""
    text = "ab" * 10_000 + "cab" * 800
    found = train_plays(text, steps=2, hidden=4, embedding=3, batch=3, window=5, every=1)
    ids = found.tokens.encode(text)[len(text) * 9 // 10:]
    want = np.asarray(held_out_loss(found.model, ids))
    assert_close(np.asarray(found.curves["held"][-1]), want, tol=1e-6, what="held")


@pytest.mark.value
def test_generated():
    """At temperature 0: the argmax after all that went before, not after the last symbol alone."""
    tokens = CharTokenizer("abcde")
    model = CharRNN(5, 3, 16, rng(6))
    model.out.weight.data *= np.float32(5)
    for parameter in model.rnn.parameters():
        parameter.data *= np.float32(3)
    text = "bad"
    for _ in range(12):
        text += tokens.symbols[int(model(tokens.encode(text)[None])[0, -1].argmax())]
    assert len(set(text[3:])) > 1
    assert generate(model, tokens, "bad", 12, 0, rng(7)) == text[3:]
    text, draws = "bad", rng(7)
    for _ in range(12):                                         # at another, by the generator's draws
        text += tokens.symbols[int(sample_categorical(model(tokens.encode(text)[None])[0, -1], 3.0, draws))]
    assert generate(model, tokens, "bad", 12, 3.0, rng(7)) == text[3:]


@pytest.mark.value
def test_truncated_backward():
    """The model drops the gradient of the state that it was given; all else is as without a state of zeros."""
    model, ids = CharRNN(5, 3, 4, rng(8), layers=2), rng(9).integers(0, 5, (2, 3))
    dout = rng(10).standard_normal((2, 3, 5)).astype(np.float32)
    grads = []
    for state in (None, np.zeros((2, 2, 4), np.float32)):
        for parameter in model.parameters():
            parameter.grad = None
        model(ids, state)
        model.backward(dout)
        grads.append([p.grad.copy() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert_close(a, b, tol=0, what="gradients")


@pytest.mark.value
def test_lag_norms():
    """Relative to lag 0, and never above the bound."""
    norms = lag_norms(0.8, T=12, H=6, B=3, nonlinearity="relu")
    assert norms.shape == (13,) and norms[0] == 1
    assert lag_norms(0.8, T=12, H=6, B=3, nonlinearity="relu", seed=1)[1] != norms[1]
    assert (norms <= 0.8 ** np.arange(13) + 1e-12).all() and norms[1] > 0.05
    ends = {(kind, scale): lag_norms(scale, nonlinearity=kind)[-1]
            for kind in ("tanh", "relu") for scale in (0.8, 2, 4)}
    for kind in ("tanh", "relu"):                               # what the chapter says of its figure
        assert ends[kind, 0.8] < 1e-3 * 0.8 ** 40 and ends[kind, 2] < 1e-4 and ends[kind, 4] > 100
    assert ends["relu", 4] > 100 * ends["tanh", 4]


@pytest.mark.value
def test_mlp_learns():
    """A few steps bring the loss of a small model below that of guessing."""
    train, _, V = names_data()
    run = train_mlp(train[:4000], train[:4000], V, steps=150, hidden=16, batch=64)
    assert run["loss"][-1] < np.log(V) - 0.5


@pytest.mark.value
def test_mlp_step_by_step():
    """The loop, written out: windows drawn by the seed, the schedule, the loss on what is held out."""
    train, held, V = names_data()
    train, held = train[:300], held[:200]
    options = {"steps": 45, "context": 2, "embedding": 4, "hidden": 8, "batch": 16, "lr": 0.02, "seed": 3}
    run = train_mlp(train, held, V, **options)
    draw, loss, losses = np.random.default_rng(3), CrossEntropyLoss(), []
    model = MLP(V, 2, 4, 8, draw)
    optimizer = Adam(model.parameters(), 0.02)
    schedule, (x, y) = CosineDecay(optimizer, 45, warmup=2), mlp_windows(train, 2, 0)
    for _ in range(45):
        rows = draw.integers(0, len(x), 16)
        losses.append(loss(model(x[rows]), y[rows]))
        optimizer.zero_grad()
        model.backward(loss.backward())
        optimizer.step()
        schedule.step()
    assert_close(np.array(run["loss"]), np.array(losses), tol=1e-5, what="loss")
    x, y = mlp_windows(held, 2, 0)
    assert_close(np.asarray(run["held"]), np.asarray(loss(model(x), y)), tol=1e-5, what="held")


@pytest.mark.value
def test_names_drawn():
    """A window moves on with the letters and begins anew with a name; a name ends at the point, or at 20."""
    def after(contexts):                                        # a for a window of points, then 3 old + new + 1
        old, new = contexts[0]
        return 60.0 * np.eye(27)[[0 if new > 10 else 3 * old + new + 1]]
    assert train_names.names_of(after, 2, 3, rng(12)) == ["abfm"] * 3
    assert train_names.names_of(lambda _: 60.0 * np.eye(27)[[1]], 2, 2, rng(12)) == ["a" * 20] * 2
    flat = train_names.names_of(lambda _: np.zeros((1, 27)), 2, 4, rng(13))
    assert len(set(flat)) == 4


@pytest.mark.edge
def test_the_command_of_names(capsys, monkeypatch):
    """The three losses are those on the names held out; steps and seed are the command's."""
    data = train_names.names_data()
    train, held, V = data[0][:400], data[1][:300], data[2]
    monkeypatch.setattr(train_names, "names_data", lambda: (train, held, V))
    monkeypatch.setattr(train_names, "train_bigram", lambda ids, V: train_bigram(ids, V, steps=50))
    assert train_names.main(["--steps", "4", "--seed", "2"]) == 0
    counts, logits = train_bigram(train, V, steps=50)
    run = train_mlp(train, held, V, steps=4, seed=2)
    losses = [bigram_loss(np.log(counts + 1.0), held, V), bigram_loss(logits, held, V), run["held"]]
    names = train_names.names_of(run["model"], 3, 12, np.random.default_rng(2))
    said = capsys.readouterr().out
    assert [f"{loss:.4f}" in said for loss in losses] == [True] * 3 and " ".join(names) in said
    assert train_names.main(["--steps", "0"]) == 1
    assert "steps = 0; expected at least 1" in capsys.readouterr().err


@pytest.mark.edge
def test_options_of_the_plays(tmp_path, capsys, monkeypatch):
    """The samples are those of the run that was asked for, not of another's checkpoint in the folder."""
    def signature(model, tokens, start, count, temperature, rng):
        return f"{count} at {temperature}: {sum(p.data.astype(float).sum() for p in model.parameters())}"
    monkeypatch.setattr(plays, "generate", signature)
    text, tail = load_shakespeare()[:2400], ["--characters", "2400", "--folder", str(tmp_path)]
    for options in ({"steps": 3, "hidden": 8, "seed": 0}, {"steps": 4, "hidden": 8, "seed": 0},
                    {"steps": 4, "hidden": 6, "seed": 0}, {"steps": 4, "hidden": 6, "seed": 1}):
        assert main([*tail, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]) == 0
        said, found = capsys.readouterr().out, train_plays(text, **options)
        for temperature in plays.TEMPERATURES:
            drawn = signature(found.model, found.tokens, "\n", 320, temperature, None)
            assert f"--- temperature {temperature}\n{drawn}\n" in said
    assert plays.sample(found, 2.0, 7).startswith("7 at 2.0: ")
    for name in ("hidden", "characters"):
        assert main([f"--{name}", "0"]) == 1
        assert f"{name} = 0; expected at least 1" in capsys.readouterr().err

    def interrupted(_):
        raise KeyboardInterrupt
    monkeypatch.setattr(plays, "perform", interrupted)
    assert main([]) == 130


@pytest.mark.edge
def test_the_command(tmp_path, capsys):
    """A short run prints a sample; a bad option is one line."""
    argv = ["--steps", "3", "--hidden", "8", "--folder", str(tmp_path), "--characters", "20000"]
    assert main(argv) == 0
    assert "temperature" in capsys.readouterr().out
    assert main(["--steps", "0"]) == 1
    assert "steps" in capsys.readouterr().err
    assert main(["--steps", "3", "--characters", "2000", "--folder", str(tmp_path)]) == 1
    assert "text has 1800 symbols to train on; expected at least 2049" in capsys.readouterr().err
