# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:03bdfb357b9e1e07
"""Chapter 18: language models, tokens, and the programs."""

import numpy as np
import pytest

from tangled.t03_optimizers import Adam, CosineDecay
from tangled.t06_backpropagation import CrossEntropyLoss
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


@pytest.mark.value
def test_windows_and_streams():
    """The MLP's contexts; streams in which a row goes on where it ended."""
    contexts, targets = mlp_windows(np.array([0, 3, 1, 0, 2, 0]), 2, boundary=0)
    assert contexts.tolist() == [[0, 0], [0, 3], [3, 1], [0, 0], [0, 2]] and targets.tolist() == [3, 1, 0, 2, 0]
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


@pytest.mark.value
def test_plays_step_by_step():
    """The loop, written out: state carried, and set back where the text ends; one norm for all gradients; the order."""
    text = "the quick brown fox jumps over the lazy dog. " * 5
    options = {"steps": 17, "hidden": 8, "embedding": 4, "batch": 3, "window": 6, "every": 5, "lr": 0.02, "clip": 0.05}
    found = train_plays(text, seed=3, **options)
    tokens = CharTokenizer(text)
    ids, cut = tokens.encode(text), len(text) * 9 // 10
    model, loss, losses = CharRNN(tokens.vocab_size, 4, 8, np.random.default_rng(3)), CrossEntropyLoss(), []
    optimizer = Adam(model.parameters(), 0.02)
    schedule, batches = CosineDecay(optimizer, 17, warmup=0), list(streams(ids[:cut], 3, 6))
    assert len(batches) == 11                                   # so the text begins anew before the run ends
    state = None
    for k in range(17):
        x, y = batches[k % 11]
        losses.append(loss(model(x, None if k in (0, 11) else state), y))
        state = model.state
        optimizer.zero_grad()
        model.backward(loss.backward())
        norm = np.sqrt(sum(float((p.grad.astype(float) ** 2).sum()) for p in model.parameters()))
        assert norm > 0.05
        for parameter in model.parameters():
            parameter.grad *= np.float32(0.05 / norm)
        optimizer.step()
        schedule.step()
    assert found.curves["step"] == [5, 10, 15, 17]
    means = [np.mean(losses[a:b]) for a, b in ((0, 5), (5, 10), (10, 15), (15, 17))]
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
