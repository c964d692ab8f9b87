# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:5523b3517474463c
"""Chapter 24: training, what is looked at, the program."""

import numpy as np
import pytest

from tangled.t23_seq2seq import chrf
from tangled.t23_seq2seq.experiments import scores
from tangled.t23_seq2seq.phrases import batch_of, load_phrases
from tangled.t24_bahdanau_attention import train_attention
from tangled.t24_bahdanau_attention.experiments import SETTINGS, best_aligned, build, looking, train, weights_of
from tangled.testing import assert_close, rng

SMALL = {"epochs": 3, "hidden": 6, "embedding": 5, "align": 4, "batch": 7}


@pytest.mark.value
def test_training_resumes(tmp_path):
    """Three epochs in one go, and in two pieces: the same weights, bit for bit; the loss falls."""
    pairs = load_phrases()[:28]
    whole = train(pairs, pairs[:3], SMALL)
    train(pairs, pairs[:3], SMALL, path=tmp_path / "a.npz", stop=2)
    pieces = train(pairs, pairs[:3], SMALL, path=tmp_path / "a.npz")
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves and whole.curves["loss"][-1] < whole.curves["loss"][0]
    held = float(whole.model(*batch_of(pairs[:3], whole.english, whole.french)))
    assert abs(whole.curves["held"][-1] - held) < 1e-6
    for side, vocabulary in ((0, whole.english), (1, whole.french)):
        assert vocabulary.characters == "".join(sorted({c for pair in pairs for c in pair[side]}))


@pytest.mark.value
def test_settings_count():
    """Another seed, another rate, another decay, other sizes: other weights."""
    pairs, short = load_phrases()[:14], SMALL | {"epochs": 1}
    want = train(pairs, pairs[:2], short).model.state_dict()
    for change in ({"seed": 1}, {"lr": 1e-3}, {"weight_decay": 2.0}, {"unknown": 0.5}, {"batch": 5}):
        got = train(pairs, pairs[:2], short | change).model.state_dict()
        assert max(np.abs(got[name] - value).max() for name, value in want.items()) > 1e-5, change
    found, _ = build(pairs, SETTINGS | SMALL)
    sizes = {name: found.model.state_dict()[name].shape for name in ("decoder.w_query", "decoder.table.weight")}
    assert sizes == {"decoder.w_query": (6, 4), "decoder.table.weight": (len(found.french), 5)}


@pytest.mark.value
def test_it_learns_to_look():
    """Letters copied in order: it says them, and looks at them one after the other."""
    draw = rng(0)
    pairs = [(text, text) for text in ("".join(draw.choice(list("abcde"), draw.integers(2, 5))) for _ in range(120))]
    settings = {"epochs": 10, "hidden": 24, "embedding": 8, "align": 12, "batch": 12, "unknown": 0.0, "lr": 2e-2}
    found = train(pairs, pairs[:2], settings)
    assert scores(found, pairs[:20])["test"]["greedy"]["chrf"] > 60
    p = weights_of(found, "abcd", "abcd")
    assert p.shape == (5, 5) and np.abs(p.sum(1) - 1).max() < 1e-5
    seen = looking(found, pairs[:20])
    assert 1 <= seen["letters"] < seen["of"] and seen["order"] > 0.3


@pytest.mark.value
def test_what_is_shown(monkeypatch):
    """The nearest translations first, each once, with weights of their letters and EOS."""
    pairs = load_phrases()[:20]
    found = train(pairs, pairs[:2], SMALL | {"epochs": 1})
    answers = {english: french[:len(french) - k % 5] for k, (english, french) in enumerate(pairs)}
    monkeypatch.setattr(found, "translate", lambda texts: [answers[t] for t in texts])
    samples, weights = best_aligned(found, [*pairs, pairs[0]], 4)
    assert len({s["said"] for s in samples}) == len(samples) == 4 and all(9 <= len(s["said"]) <= 24 for s in samples)
    near = [chrf([s["said"]], [s["french"]]) for s in samples]
    fits = {said: chrf([said], [dict(pairs)[e]]) for e, said in answers.items() if 9 <= len(said) <= 24}
    assert near == sorted(fits.values(), reverse=True)[:4]
    for n, sample in enumerate(samples):
        assert weights[str(n)].shape == (len(sample["said"]) + 1, len(sample["english"]) + 1)


@pytest.mark.value
def test_program(tmp_path, capsys, monkeypatch):
    """It trains, goes on, draws, sets aside, and refuses."""
    monkeypatch.setattr(train_attention, "load_phrases", lambda: load_phrases()[:150])
    out = tmp_path / "figure.png"
    argv = ["--epochs", "1", "--hidden", "5", "--embedding", "4", "--align", "3", "--first", "14", "--batch", "7",
            "--folder", str(tmp_path), "--out", str(out)]
    assert train_attention.main(argv) == 0 and out.stat().st_size > 1000
    assert "chrF" in capsys.readouterr().out
    assert train_attention.main([*argv, "--fresh"]) == 0
    assert "set aside" in capsys.readouterr().out and len(list(tmp_path.glob("attention-*.npz"))) == 2
    for bad, text in ((["--epochs", "0"], "epochs = 0"), (["--own", "2"], "own = 2.0")):
        assert train_attention.main(bad) == 1
        assert text in capsys.readouterr().err
