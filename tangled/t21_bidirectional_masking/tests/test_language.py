# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:a6e7d5f94ceba24e
"""Chapter 21: the task, the classifier, the program."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.t21_bidirectional_masking.experiments import (
    accuracy,
    bigram_right,
    by_length,
    load,
    logits_of,
    padding_proof,
    padding_share,
    train,
)
from tangled.t21_bidirectional_masking.models import Classifier
from tangled.t21_bidirectional_masking.train_language import main
from tangled.testing import assert_close, check_module_gradients, rng


def few(count=60, seed=0):
    """The task with some short phrases only."""
    phrases = load()
    for name in ("train", "test"):
        rows = getattr(phrases, name)
        rows = rows[phrases.lengths[rows] < 12]
        setattr(phrases, name, rng(seed).permutation(rows)[:count])
    return phrases


@pytest.mark.value
def test_the_split():
    """No phrase is in both parts, or in both languages; nothing is lost; both languages in both parts."""
    phrases = load()
    texts = [phrases.tokens.decode(ids) for ids in phrases.ids]
    assert len(set(texts)) == len(texts) and not set(phrases.train) & set(phrases.test)
    assert len(phrases.train) + len(phrases.test) == len(texts) and len(phrases.test) == len(texts) // 5
    for rows in (phrases.train, phrases.test):
        assert 0.4 < phrases.labels[rows].mean() < 0.6
    assert "Angola" not in texts and phrases.labels[texts.index("Germany")] == 0


@pytest.mark.gradient
@pytest.mark.parametrize("cell, summary", [("rnn", "mean"), ("lstm", "final"), ("gru", "mean")])
def test_classifier_gradients(cell, summary):
    """Central differences of all parameters."""
    model = Classifier(5, 3, 4, 2, cell, summary, rng(0))
    check_module_gradients(model, [rng(1).integers(0, 5, (3, 4)), np.array([4, 2, 0])])


@pytest.mark.value
@pytest.mark.parametrize("summary", ["mean", "final"])
def test_company_does_not_matter(summary):
    """Alone or in a batch, with any letter in the padding: the same logits."""
    phrases = few()
    model = Classifier(phrases.tokens.vocab_size, 8, 8, 2, summary=summary, rng=rng(2)).astype(np.float64)
    ids = [phrases.ids[k] for k in phrases.test]
    together = logits_of(model, ids)
    for one, want in zip(ids, together, strict=True):
        assert_close(model(one[None], np.array([len(one)]))[0], want, tol=1e-10, what="logits")
    if summary == "mean":
        found = padding_proof(model, phrases)
        assert found["phrases"] == 60 and found["apart"] < 1e-10 and found["changed"] == 0


@pytest.mark.value
def test_learns_and_resumes(tmp_path):
    """Three epochs in one go, and in two pieces: the same weights bit for bit; the loss falls."""
    phrases, options = few(), {"epochs": 3, "hidden": 8, "embedding": 8, "batch": 16, "pool": 2}
    whole = train(phrases, path=tmp_path / "a.npz", **options)
    train(phrases, path=tmp_path / "b.npz", stop=1, **options)
    pieces = train(phrases, path=tmp_path / "b.npz", **options)
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves and whole.curves["loss"][-1] < whole.curves["loss"][0]
    assert whole.curves["accuracy"][-1] == accuracy(whole.model, phrases)


@pytest.mark.value
def test_the_rival():
    """Bigrams do far better than guessing; shares by length average to the whole."""
    phrases = load()
    good, lengths = bigram_right(phrases), phrases.lengths[phrases.test]
    assert good.mean() > 0.85
    shares, edges = by_length(good, lengths), (1, 6, 11, 21, 99)
    counts = [((lengths >= a) & (lengths < b)).sum() for a, b in pairwise(edges)]
    assert_close(np.dot(list(shares.values()), counts) / len(good), good.mean(), tol=1e-12, what="mean of shares")


@pytest.mark.value
def test_padding_share():
    """By hand: (2, 4) padded to 4 and (3,) alone: 9 real steps of 11."""
    share = padding_share(np.array([2, 3, 4]), [np.array([0, 2]), np.array([1])])
    assert_close(np.asarray(share), np.asarray(2 / 11), tol=1e-12, what="share")


@pytest.mark.value
def test_the_command(tmp_path, capsys):
    """It resumes, sets aside, draws, and says what is wrong in one line."""
    words = ["--epochs", "1", "--hidden", "4", "--folder", str(tmp_path), "--out", str(tmp_path / "a" / "x.png")]
    assert main(words) == 0 and "% of" in capsys.readouterr().out and (tmp_path / "a" / "x.png").is_file()
    assert main([*words, "--fresh"]) == 0 and "set aside as" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.npz"))) == 2
    assert main(["--epochs", "0"]) == 1 and capsys.readouterr().err == "epochs = 0; expected at least 1\n"
