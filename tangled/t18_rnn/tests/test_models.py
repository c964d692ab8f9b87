# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:be9f66c1b6f0e29f
"""Chapter 18: language models, tokens, and the programs."""

import numpy as np
import pytest

from tangled.t18_rnn.experiments import names_data, train_bigram, train_mlp, train_plays
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
