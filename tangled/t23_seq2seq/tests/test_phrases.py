# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:6aac95b695222367
"""Chapter 23: the split, the symbols, the scores, training and the program."""

import numpy as np
import pytest

from tangled.t23_seq2seq import chrf, experiments, train_phrases
from tangled.t23_seq2seq.experiments import MOST, OWN, SETTINGS, Translator, build, hide, scores, train
from tangled.t23_seq2seq.phrases import (
    BOS,
    EOS,
    PAD,
    UNKNOWN,
    Vocabulary,
    batch_of,
    batches,
    bucket_batches,
    folded,
    load_phrases,
    pad,
    split,
)
from tangled.testing import assert_close, rng

SMALL = {"epochs": 3, "hidden": 6, "embedding": 5, "batch": 7, "own": 0.5}


@pytest.mark.value
def test_nothing_leaks():
    """No phrase of a part occurs in another, in either language, whatever its case and punctuation."""
    pairs = load_phrases()
    parts = split(pairs)
    assert sorted([*parts.train, *parts.validation, *parts.test]) == sorted(pairs) and len(pairs) == 3913
    assert [len(part) for part in parts] == [3281, 203, 429]    # the same on every machine
    for side in (0, 1):
        seen = [{folded(pair[side]) for pair in part} for part in parts]
        assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert split(pairs[::-1]).test == parts.test[::-1]          # not of the order of the file


@pytest.mark.value
def test_groups_are_connected():
    """Pairs that share English or French, or a third that shares with both, stay together."""
    chain = [(f"e{k // 2}", f"f{(k + 1) // 2}") for k in range(40)]
    assert sorted(map(len, split(chain))) == [0, 0, 40]
    assert folded("Add, a Tag!") == folded("add a tag") != folded("add a tags") and folded("?!") == "?!"
    sizes = [len(part) for part in split([(f"e{k}", f"f{k}") for k in range(4000)])]
    assert 3300 < sizes[0] < 3500 and 150 < sizes[1] < 250 and 340 < sizes[2] < 460


@pytest.mark.value
def test_vocabulary():
    """There and back; EOS ends; unknown characters; what stands behind EOS."""
    words = Vocabulary(["été", "tas"])
    assert words.characters == "astéé"[:3] + "é" and len(words) == 8
    ids = words.encode("tasse")
    assert ids.dtype == np.int64 and ids.tolist() == [6, 4, 5, 5, UNKNOWN, EOS]
    assert words.decode(ids) == "tass\N{REPLACEMENT CHARACTER}" and words.encode("").tolist() == [EOS]
    assert words.decode([BOS, 6, PAD, 7, EOS, 4, 4]) == "té" and words.decode([]) == ""


@pytest.mark.value
def test_batches():
    """BOS in front, EOS behind, padding after that; lengths; every pair once; like lengths together."""
    pairs = [("ab", "xyz"), ("b", "z")]
    english, french = (Vocabulary(pair[side] for pair in pairs) for side in (0, 1))
    batch = batch_of(pairs, english, french)
    assert batch.source.tolist() == [[4, 5, EOS], [5, EOS, PAD]] and batch.source_lengths.tolist() == [3, 2]
    assert batch.tokens.tolist() == [[BOS, 4, 5, 6, EOS], [BOS, 6, EOS, PAD, PAD]] and batch.lengths.tolist() == [4, 2]
    assert (batch.tokens[[0, 1], batch.lengths] == EOS).all()
    assert pad([]).shape == (0, 0) and pad([[1], []], 9).tolist() == [[1], [9]]
    many = [("e" * (k % 7), "f" * (k * 5 % 11)) for k in range(50)]
    english, french = Vocabulary(["e"]), Vocabulary(["f"])
    got = list(batches(many, english, french, 8, rng(0)))
    texts = [(english.decode(s), french.decode(t)) for b in got for s, t in zip(b.source, b.tokens)]
    assert sorted(texts) == sorted(many) and [len(b.source) for b in got].count(8) == 6
    assert max(np.ptp(b.lengths) for b in got) <= 2 and len({b.lengths.max() for b in got}) > 3
    assert [b.lengths.tolist() for b in got] != [b.lengths.tolist() for b in batches(many, english, french, 8, rng(1))]
    assert [len(b.source) for b in batches(many, english, french, 20)] == [20, 20, 10]
    assert sorted(np.concatenate(bucket_batches(np.arange(9) % 4, 2, rng(2))).tolist()) == list(range(9))


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_chrf_is_sacrebleus(level, golden):
    """200 pairs, one by one and as a corpus, to 1e-6 of sacrebleu 2.6."""
    case = golden("chrf")
    said, right = (case.inputs[name].split("\n") for name in ("hypotheses", "references"))
    found = np.array([level.chrf([h], [r]) for h, r in zip(said, right)])
    assert len(found) == 200 and np.ptp(found) > 90
    assert np.abs(found - case.outputs["sentence"]).max() < 1e-6
    assert abs(level.chrf(said, right) - case.outputs["corpus"]) < 1e-6


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_chrf_beside_sacrebleu(level):
    """Where sacrebleu is installed: texts shorter than six letters, empty ones, spaces, repetitions."""
    metric = pytest.importorskip("sacrebleu.metrics").CHRF()
    draw = rng(3)
    for _ in range(60):
        said, right = (["".join(draw.choice(list("ab é"), draw.integers(0, 12))) for _ in range(4)] for _ in range(2))
        assert abs(metric.corpus_score(said, [right]).score - level.chrf(said, right)) < 1e-6


@pytest.mark.levels(2, 3)
@pytest.mark.value
def test_scores_by_hand(level):
    """Counts of "abab" against "abc": clipped, up to order 2; spaces do not count; recall counts more."""
    precision, recall = (2 / 4 + 1 / 3) / 2, (2 / 3 + 1 / 2) / 2
    want = 100 * 5 * precision * recall / (4 * precision + recall)
    assert_close(np.asarray(level.chrf(["ab ab"], ["a b c"], order=2)), np.asarray(want), tol=1e-10, what="chrF")
    assert_close(np.asarray(level.chrf(["abab"], ["abc"], order=2, beta=1.0)), np.asarray(
        200 * precision * recall / (precision + recall)), tol=1e-10, what="chrF of beta 1")
    assert level.chrf(["a\u00a0b\tc\n"], ["abc"]) == 100
    assert level.chrf(["abc"], ["abc"]) == 100 and level.chrf(["x"], ["y"]) == 0 == level.chrf([], [])
    assert level.chrf(["abcdef"], ["abc"]) > level.chrf(["abc"], ["abcdef"])
    assert level.exact_match(["a", "b", "c "], ["a", "B", "c"]) == 1 / 3 and level.exact_match([], []) == 0


@pytest.mark.value
def test_training_resumes(tmp_path):
    """Three epochs in one go, and in two pieces: the same weights, bit for bit; the loss falls."""
    pairs = load_phrases()[:40]
    whole = train(pairs, pairs[:6], SMALL)
    train(pairs, pairs[:6], SMALL, path=tmp_path / "a.npz", stop=2)
    pieces = train(pairs, pairs[:6], SMALL, path=tmp_path / "a.npz")
    for name, value in whole.model.state_dict().items():
        assert_close(pieces.model.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves and whole.curves["loss"][-1] < whole.curves["loss"][0]
    assert len(whole.curves["held"]) == 3 and pieces.seconds > 0


@pytest.mark.value
@pytest.mark.parametrize("unknown", [0.0, 1.0])
def test_an_epoch_without_learning(unknown):
    """At a rate of nothing the loss of an epoch is the mean over all symbols, whatever the batches; of
    what is read, in the source and in the target, the share that was asked for is hidden."""
    pairs = load_phrases()[:12]
    found = train(pairs, pairs[:2], SMALL | {"epochs": 1, "batch": 5, "lr": 1e-12, "unknown": unknown, "own": 0.0})
    source, sizes, tokens, lengths = batch_of(pairs, found.english, found.french)
    hidden = [np.where((ids > EOS) & (unknown > 0), UNKNOWN, ids) for ids in (source, tokens[:, :-1])]
    want = float(found.model(hidden[0], sizes, tokens, lengths, hidden[1]))
    assert abs(found.curves["loss"][0] - want) < 1e-5
    assert abs(found.curves["held"][0] - float(found.model(*batch_of(pairs[:2], found.english, found.french)))) < 1e-6
    for side, vocabulary in ((0, found.english), (1, found.french)):
        assert vocabulary.characters == "".join(sorted({c for pair in pairs for c in pair[side]}))


@pytest.mark.value
def test_settings_count(monkeypatch):
    """Another seed, rate, decay, batch: other weights. The share of the decoder's own rises; norms are clipped to 1."""
    pairs, short = load_phrases()[:14], SMALL | {"epochs": 2, "own": 0.0}
    want = train(pairs, pairs[:2], short).model.state_dict()
    for change in ({"seed": 1}, {"lr": 1e-3}, {"weight_decay": 2.0}, {"unknown": 0.5}, {"batch": 5}, {"own": 1.0}):
        got = train(pairs, pairs[:2], short | change).model.state_dict()
        assert max(np.abs(got[name] - value).max() for name, value in want.items()) > 1e-5, change
    rates, norms = [], []
    own, clip = experiments.scheduled_inputs, experiments.clip_by_global_norm
    monkeypatch.setattr(experiments, "scheduled_inputs", lambda *given: rates.append(given[3]) or own(*given))
    monkeypatch.setattr(experiments, "clip_by_global_norm", lambda *given: norms.append(given[1]) or clip(*given))
    train(pairs, pairs[:2], short | {"own": 0.8})
    assert_close(np.array(rates), 0.8 * np.arange(4) / 4, tol=1e-12, what="rates")
    assert norms == [1.0] * 4


@pytest.mark.value
def test_a_translation_is_asked_for(monkeypatch):
    """Beam, longest and penalty are those of the call; greedy for a beam of 1."""
    found, asked = build([("ab", "cd"), ("b", "d")], SETTINGS | SMALL)[0], []
    monkeypatch.setattr(experiments, "beam_search", lambda step, state, *rest: asked.append(rest) or ([[4, 5]], None))
    monkeypatch.setattr(experiments, "greedy_decode", lambda step, state, *rest: asked.append(rest) or [[5]])
    assert found.translate(["ab"], 3, 0.7) == ["cd"] and found.translate(["ab"]) == ["d"]
    assert asked == [(BOS, EOS, 3, MOST, 0.7), (BOS, EOS, MOST)]


@pytest.mark.value
def test_scores_of_searches():
    """Each search by its own beam and penalty; by length the greedy one, samples of the last."""
    asked = []

    class Fake:
        def translate(self, texts, beam=1, length_penalty=0.0):
            asked.append((beam, length_penalty))
            return [text[:-beam] + "x" * int(10 * length_penalty) for text in texts]
    pairs = [(text, text) for text in ("abcdefghijk", "abcdefghijklmnopqrst", "a" * 40)]
    got = scores(Fake(), pairs)
    assert asked == [(1, 0.0), (8, 0.0), (8, 1.0)]
    assert [round(71 * got["test"][name]["length"]) for name in ("greedy", "beam", "beam, penalty")] == [68, 47, 77]
    assert got["counts"] == [0, 1, 1, 0, 1] and got["distinct"] == 3
    assert got["by_length"][1] == chrf(["abcdefghij"], ["abcdefghijk"]) and got["by_length"][0] == 0
    assert got["samples"][0] == {"english": "abcdefghijk", "french": "abcdefghijk", "said": "abc" + 10 * "x"}


@pytest.mark.value
def test_it_learns_by_heart():
    """Seven phrases, overfitted, come back to the letter, greedily and by beams; other inputs do not."""
    pairs = split(load_phrases()).train[::500]
    settings = {"epochs": 20, "hidden": 32, "embedding": 12, "batch": 7, "unknown": 0.0, "lr": 2e-2}
    found = train(20 * pairs, pairs[:2], settings)
    got = scores(found, pairs)
    assert min(score["exact"] for score in got["test"].values()) > 0.8 and found.curves["loss"][-1] < 0.2
    assert got["distinct"] >= 6 and sum(got["counts"]) == len(pairs) == len(got["samples"]) == 7
    alone = [found.translate([english])[0] for english, _ in pairs]
    assert alone == found.translate([english for english, _ in pairs])          # whatever it is padded with


@pytest.mark.value
def test_hidden_characters():
    """A share becomes UNKNOWN; BOS, EOS and padding never do."""
    ids = np.tile(np.array([BOS, 5, 6, 7, EOS, PAD]), (500, 1))
    found = hide(ids, 0.3, rng(4))
    changed = found != ids
    assert (found[changed] == UNKNOWN).all() and not changed[:, [0, 4, 5]].any()
    assert 0.27 < changed[:, 1:4].mean() < 0.33
    assert set(SETTINGS) >= set(SMALL) and 0 < OWN <= 1 and Translator.__dataclass_fields__


@pytest.mark.edge
def test_the_command(tmp_path, capsys, monkeypatch):
    """A short run prints scores and saves a figure; --fresh sets the old file aside; bad options are one line."""
    out = tmp_path / "a.png"
    monkeypatch.setattr(train_phrases, "load_phrases", lambda: load_phrases()[:150])
    argv = ["--epochs", "1", "--hidden", "4", "--embedding", "3", "--first", "30", "--folder", str(tmp_path),
            "--out", str(out)]
    assert train_phrases.main(argv) == 0 and out.stat().st_size > 1000
    assert "chrF" in capsys.readouterr().out
    assert train_phrases.main([*argv, "--fresh"]) == 0
    assert "set aside" in capsys.readouterr().out and len(list(tmp_path.glob("phrases-*.npz"))) == 2
    for bad, text in ((["--epochs", "0"], "epochs = 0"), (["--own", "2"], "own = 2.0")):
        assert train_phrases.main(bad) == 1
        assert text in capsys.readouterr().err
