# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:1d3cbff1a578dcf5
"""Chapter 29: what is trained on what, the program, its checkpoints."""

import numpy as np
import pytest

from tangled.t23_seq2seq.phrases import BOS, PAD, UNKNOWN, Split, Vocabulary, batch_of, load_phrases, split
from tangled.t28_transformer_encoder import smoothed_cross_entropy
from tangled.t29_transformer_decoder import experiments, train_recurrent, train_translation
from tangled.t29_transformer_decoder.units import Units, learn
from tangled.testing import assert_close

SMALL = {"epochs": 3, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 8, "batch": 16}
PAIRS = split(load_phrases()).train[:40]


class Reader:
    """Stands in for a model: remembers what it read, and gives chosen logits."""

    def __init__(self, size):
        self.size = size

    def __call__(self, source, lengths, inputs):
        self.source, self.inputs = source, inputs
        self.logits = np.random.default_rng(0).standard_normal((*inputs.shape, self.size))
        return self.logits


@pytest.mark.value
def test_the_teacher_is_one_step_behind():
    """What is read begins with BOS and never holds the symbol to be predicted at the same place."""
    found, _ = experiments.build(PAIRS, experiments.SETTINGS | SMALL)
    batch, model = batch_of(PAIRS[:5], found.english, found.french), Reader(len(found.french))
    loss, dlogits = experiments.loss_of(model, batch, 0.1)
    assert (model.inputs[:, 0] == BOS).all()
    assert_close(model.inputs[:, 1:], batch.tokens[:, 1:-1], tol=0, what="inputs behind BOS")
    want, _ = smoothed_cross_entropy(model.logits, batch.tokens[:, 1:], 0.1, PAD)
    assert_close(loss, float(want), tol=1e-12, what="loss")
    assert not dlogits[batch.tokens[:, 1:] == PAD].any(), "padding has a gradient"
    assert (dlogits[batch.tokens[:, 1:] != PAD][:, PAD] > 0).all(), "padding is asked for"
    hidden = batch.source * 0 + 3, batch.tokens[:, :-1] * 0 + 3
    experiments.loss_of(model, batch, 0.1, *hidden)
    assert (model.source == 3).all() and (model.inputs == 3).all(), "what was hidden is read"


@pytest.mark.value
def test_what_is_said_is_the_model_s(monkeypatch):
    """Training leaves the model in evaluation: the same translation twice, and a loss without noise."""
    found = experiments.train(PAIRS, PAIRS[:4], SMALL)
    assert not found.model.training
    texts = [e for e, _ in PAIRS[:4]]
    assert found.translate(texts) == found.translate(texts)
    assert found.curves["loss"][-1] < found.curves["loss"][0]
    assert all(len(curve) == 3 for curve in found.curves.values())


@pytest.mark.value
def test_joined_phrases():
    """Every phrase once, its translation at the same place; as many in twos as asked for; other twos every time."""
    pairs, noise = [(f"e{k}", f"f{k}") for k in range(11)], np.random.default_rng(0)
    for share, twos in ((0.0, 0), (0.5, 2), (0.99, 5)):
        found = experiments.joined(pairs, share, noise)
        assert len(found) == 11 - twos and sum(" " in english for english, _ in found) == twos
        for english, french in found:
            assert french == english.replace("e", "f")
        assert sorted(word for english, _ in found for word in english.split()) == sorted(e for e, _ in pairs)
    assert experiments.joined(pairs, 0.5, noise) != experiments.joined(pairs, 0.5, noise)


@pytest.mark.value
def test_units():
    """The commonest neighbours first, no unit across a word, a text by its first joins, and all of it back again."""
    texts = ["low lower", "lower", "new newer", "slow"]
    assert learn(texts, 4) == [("o", "w"), ("l", "ow"), ("e", "r"), ("n", "e")]
    found = Units(texts, 100)
    assert all(" " not in unit[1:] for unit in found.characters), "a unit with a space inside"
    for text in (*texts, "", " ", "new  slow ", "ww ol"):
        assert found.decode(found.encode(text)) == text == "".join(found.pieces(text))
    assert found.pieces("lower") == ["lower"] and len(found.encode("lower")) == 2
    assert (found.encode("x lower") == [UNKNOWN, *found.encode(" lower")]).all()
    letters, plain = Units(texts, 0), Vocabulary(texts)
    assert len(letters) == len(plain) and (letters.encode("slow") == plain.encode("slow")).all()


@pytest.mark.value
def test_joins_are_skipped():
    """By a share of 0 never, near 1 nearly always; the text stays, and the units themselves are left alone."""
    found, noise = Units(["flower tower"] * 3, 20), np.random.default_rng(0)
    never, often = found.skipping(0.0, noise), found.skipping(0.99, noise)
    assert never.pieces("flower") == found.pieces("flower") == ["flower"]
    assert len([unit for _ in range(50) for unit in often.pieces("flower")]) > 280
    several = {tuple(found.skipping(0.3, noise).pieces("flower")) for _ in range(200)}
    assert len(several) > 5 and all("".join(units) == "flower" for units in several)
    assert often.decode(often.encode("tower")) == "tower" and found.share == 0


@pytest.mark.value
def test_trains_again():
    """Each change alone, on the training pairs, judged by the test pairs."""
    parts = Split(PAIRS, PAIRS[:3], PAIRS[3:6])
    first, second = experiments.again(parts, SMALL, [{"seed": 1}, {"merges": 0}], say=lambda _: None)
    assert first["changed"] == {"seed": 1} and second["changed"] == {"merges": 0}
    assert first["held"] == experiments.train(PAIRS, PAIRS[:3], SMALL | {"seed": 1}).curves["held"][-1]
    assert set(first["test"]) == {"greedy", "beam", "beam, penalty"}


@pytest.mark.value
def test_every_setting_counts():
    """Each of them changed alone: another network, or other weights after an epoch."""
    def weights(**changed):
        found = experiments.train(PAIRS, PAIRS[:2], SMALL | {"epochs": 1} | changed)
        return np.concatenate([p.data.ravel() for p in found.model.parameters()])
    plain, changes = weights(), {"epochs": 2, "d_model": 12, "num_heads": 1, "num_layers": 2, "d_ff": 9, "dropout": 0.4,
                                 "batch": 7, "lr": 0.01, "weight_decay": 3.0, "smoothing": 0.3, "unknown": 0.5,
                                 "joined": 0.9, "merges": 9, "skipped": 0.5, "seed": 1}
    assert set(changes) == set(experiments.SETTINGS)
    for name, value in changes.items():
        other = weights(**{name: value})
        assert other.shape != plain.shape or np.abs(other - plain).max() > 1e-6, f"{name} changes nothing"


@pytest.mark.value
def test_recurrent_on_units(monkeypatch, capsys):
    """Chapter 24's network reads this chapter's units, noisy in training alone; each change counts; the command."""
    tiny = {"embedding": 4, "hidden": 6, "align": 5, "batch": 16, "epochs": 3, "joined": 0.0}
    found, spellings = train_recurrent.train(PAIRS, tiny), Units((t for p in PAIRS for t in p), 300)
    assert found.english.characters == spellings.characters and found.english.share == found.french.share == 0
    assert found.curves["loss"][-1] < found.curves["loss"][0] and len(found.curves["loss"]) == 3
    for changed in ({"joined": 0.5}, {"skipped": 0.5}, {"unknown": 0.5}, {"merges": 0}):
        assert train_recurrent.train(PAIRS, tiny | changed).curves["loss"] != found.curves["loss"], f"{changed}"
    parts = split(load_phrases())
    monkeypatch.setattr(train_recurrent, "split", lambda _: parts._replace(test=parts.test[:6]))
    monkeypatch.setattr("tangled.t23_seq2seq.experiments.MOST", 6)
    assert train_recurrent.main(["--first=20", "--epochs=1"]) == 0
    assert capsys.readouterr().out.count("chrF") == 3 * len(train_recurrent.CHANGES) == 9
    for name, value in (("first", 0), ("epochs", 0), ("epochs", -2)):
        assert train_recurrent.main([f"--{name}={value}"]) == 1
        assert capsys.readouterr().err == f"{name} = {value}; expected at least 1\n"


@pytest.mark.value
def test_rates_clipping_and_means(monkeypatch):
    """The rate warms up for a tenth of all steps and falls to nothing; each step is clipped; losses are by symbol."""
    clipped, rates = [], []
    clip, step = experiments.clip_by_global_norm, experiments.AdamW.step
    monkeypatch.setattr(experiments, "clip_by_global_norm", lambda p, most: clipped.append(most) or clip(p, most))
    monkeypatch.setattr(experiments.AdamW, "step", lambda self: rates.append(self.lr) or step(self))
    experiments.train(PAIRS, PAIRS[:2], SMALL | {"epochs": 10, "lr": 0.01, "joined": 0.5})
    assert clipped == [1.0] * 20 and len(rates) == 20           # 10 joined and 20 alone: two batches of 16
    assert np.argmax(rates) in (1, 2) and max(rates) <= 0.01 and rates[0] < 0.006 and rates[-1] < 5e-4
    still = experiments.train(PAIRS, PAIRS[:3], SMALL | {"epochs": 1, "lr": 1e-12, "dropout": 0.0, "unknown": 0.0,
                                                         "smoothing": 0.2, "joined": 0.0, "skipped": 0.0})
    for curve, pairs, smoothing in (("loss", PAIRS, 0.2), ("held", PAIRS[:3], 0.0)):
        want, _ = experiments.loss_of(still.model, batch_of(pairs, still.english, still.french), smoothing)
        assert_close(still.curves[curve][0], want, tol=1e-5, what=curve)


@pytest.mark.value
def test_resumes_bit_for_bit(tmp_path):
    """Stopped after an epoch and gone on with: the same weights and curves as in one go."""
    whole = experiments.train(PAIRS, PAIRS[:4], SMALL)
    experiments.train(PAIRS, PAIRS[:4], SMALL, tmp_path / "a.npz", stop=1)
    parts = experiments.train(PAIRS, PAIRS[:4], SMALL, tmp_path / "a.npz")
    assert parts.curves == whole.curves
    for a, b in zip(whole.model.parameters(), parts.model.parameters()):
        assert_close(a.data, b.data, tol=0, what="weights")


@pytest.mark.value
def test_program(tmp_path, capsys, monkeypatch):
    """It trains, scores, draws; goes on from its checkpoint; sets it aside; refuses nonsense."""
    parts = split(load_phrases())
    monkeypatch.setattr(train_translation, "split", lambda _: parts._replace(validation=parts.validation[:3],
                                                                              test=parts.test[:6]))
    monkeypatch.setattr("tangled.t23_seq2seq.experiments.MOST", 6)
    given = [f"--{name.replace('_', '-')}={value}" for name, value in (SMALL | {"epochs": 1}).items()]
    given += ["--first=20", f"--folder={tmp_path}", f"--out={tmp_path / 'x.png'}"]
    assert train_translation.main(given) == 0
    assert (tmp_path / "x.png").exists() and len(list(tmp_path.glob("translation-*.npz"))) == 1
    assert "chrF" in capsys.readouterr().out
    assert train_translation.main([*given, "--fresh"]) == 0
    assert len(list(tmp_path.glob("translation-*.npz"))) == 2 and "set aside" in capsys.readouterr().out
    for bad in ("--epochs=0", "--smoothing=1", "--dropout=-1", "--merges=-1", "--skipped=1"):
        assert train_translation.main([*given, bad]) == 1
        assert "expected" in capsys.readouterr().err
