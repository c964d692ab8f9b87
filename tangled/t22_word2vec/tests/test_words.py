# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:7229f85831fe682b
"""Chapter 22: vocabulary, bags, questions, and the program."""

import numpy as np
import pytest

from tangled.t22_word2vec import level2_vectorized as plain
from tangled.t22_word2vec.experiments import FAMILIES, analogies, by_gensim, train
from tangled.t22_word2vec.train_words import main
from tangled.t22_word2vec.words import TEN, Vocabulary, cbow_bags, nearest, principal_axes, unit_rows
from tangled.testing import assert_close, rng

TEXT = ["a man a plan", "the plan of a canal", "panama the canal", "", "of of a plan", "the man"] * 6


@pytest.mark.value
def test_vocabulary():
    """The most frequent first, ties by the alphabet; rare words are left out before windows are laid."""
    words = Vocabulary(["d a b c", "a b d", "", "d b"], least=2)
    assert words.words == ["b", "d", "a"] and words.counts.tolist() == [3, 3, 2]
    ids, sentence = words.encode(["a c b", "", "x", "d"])
    assert ids.tolist() == [2, 0, 1] and sentence.tolist() == [0, 0, 3] and ids.dtype == np.int64
    assert [len(part) for part in words.encode([""])] == [0, 0]


@pytest.mark.value
def test_bags_hold_the_pairs():
    """Bag by bag the pairs of skip_gram_pairs with the same draws."""
    ids, sentence = rng(0).integers(0, 9, 20), np.repeat([0, 1, 2], [12, 1, 7])
    context, mask, centre = cbow_bags(ids, sentence, 3, rng(1))
    assert context.shape == mask.shape == (19, 6) and len(centre) == 19 and mask.any(1).all()
    found = sorted((int(centre[n]), int(k)) for n in range(19) for k in context[n][mask[n]])
    assert found == sorted(zip(*(part.tolist() for part in plain.skip_gram_pairs(ids, sentence, 3, rng(1)))))


@pytest.mark.value
def test_nearest_and_axes():
    """Cosines, not products; rows of length 1, in an array of their own; the axes of an ellipse."""
    table = np.array([[1.0, 0], [9, 9], [2, 0.1], [-1, 0], [0, 0]])
    before = table.copy()
    assert nearest(table, 0, 3).tolist() == [2, 1, 4]
    assert_close(np.linalg.norm(unit_rows(table), axis=1), np.array([1.0, 1, 1, 1, 0]), tol=1e-12, what="lengths")
    assert (table == before).all(), "the vectors are changed"
    x = rng(2).standard_normal((500, 3)) * np.array([0.1, 5, 1])
    found = principal_axes(x)
    assert [principal_axes(x, count).shape for count in (1, 3)] == [(500, 1), (500, 3)]
    for k, column in ((0, 1), (1, 2)):
        assert abs(np.corrcoef(found[:, k], x[:, column])[0, 1]) > 0.99
    assert_close(found.mean(0), np.zeros(2), tol=1e-10, what="centre")


@pytest.mark.value
def test_analogies():
    """Vectors in which every family is a difference: all right; random ones: hardly any; all words are known."""
    pairs = {f: list(zip(t.split()[::2], t.split()[1::2])) for f, t in FAMILIES.items()}
    names = sorted({word for both in pairs.values() for pair in both for word in pair})
    numbers = {word: k for k, word in enumerate(names)}
    table, steps = rng(3).standard_normal((len(names), 200)), rng(4).standard_normal((4, 200))
    for step, both in zip(steps, pairs.values()):
        for a, b in both:
            table[numbers[b]] = table[numbers[a]] + 2 * step
    found = analogies(table, numbers)
    assert sum(asked for _, asked, _ in found.values()) == 410
    assert all(right > 0.9 * asked and rank == 1 for right, asked, rank in found.values())
    by_chance = analogies(rng(5).standard_normal(table.shape), numbers)
    assert sum(right for right, *_ in by_chance.values()) < 30


@pytest.mark.value
@pytest.mark.parametrize("model", ["skip-gram", "cbow"])
def test_resume(tmp_path, model):
    """Five epochs in one go, and in two pieces: the same tables, bit for bit; and something was learned."""
    words = Vocabulary(TEXT)
    options = {"model": model, "epochs": 5, "D": 6, "batch": 16, "K": 2, "threshold": 1.0, "lr": 0.5}
    text = *words.encode(TEXT), words.counts
    whole = train(*text, path=tmp_path / "a.npz", **options)
    train(*text, path=tmp_path / "b.npz", stop=3, **options)
    pieces = train(*text, path=tmp_path / "b.npz", **options)
    for name, value in whole.state_dict().items():
        assert_close(pieces.state_dict()[name], value, tol=0, what=name)
    assert pieces.curves == whole.curves and pieces.pairs == whole.pairs
    assert whole.curves["loss"][-1] < whole.curves["loss"][0] - 0.05
    begin, _ = plain.init_tables(len(words.words), 6, np.random.default_rng([0, 0]))
    assert np.abs(whole.w_in - begin).max() > 0.05 and np.abs(whole.w_out).max() > 0.05


@pytest.mark.value
def test_an_epoch_step_by_step():
    """The loop, written out: the draws, the shuffle, the falling rate, the sum over the pairs of a step."""
    words = Vocabulary(TEXT)
    ids, sentence = words.encode(TEXT)
    found = train(ids, sentence, words.counts, epochs=1, D=3, batch=30, window=2, threshold=0.05, K=2, lr=0.3, seed=4)
    w_in, w_out = plain.init_tables(len(words.words), 3, rng([4, 0]))
    draw, noise = rng([4, 1]), plain.noise_weights(words.counts)
    kept = plain.subsample(ids, plain.keep_probability(words.counts, 0.05), draw)
    centre, context = plain.skip_gram_pairs(ids[kept], sentence[kept], 2, draw)
    order = draw.permutation(len(centre))
    from tangled.t22_word2vec.level3_memory_efficient import AliasTable
    for first in range(0, len(order), 30):
        rows = order[first:first + 30]
        negatives = AliasTable(noise).draw((len(rows), 2), draw)
        _, d_in, d_out = plain.skip_gram_step(centre[rows], context[rows], negatives, w_in, w_out)
        for table, (some, grad) in ((w_in, d_in), (w_out, d_out)):
            table[some] -= np.float32(0.3 * len(rows) * max(1 - first / len(order), 1e-3)) * grad
    assert found.pairs == len(order) > 80
    assert_close(found.w_in, w_in, tol=1e-5, what="w_in")
    assert_close(found.w_out, w_out, tol=1e-5, what="w_out")


@pytest.mark.edge
def test_a_text_without_pairs():
    """Training that would do nothing says so."""
    with pytest.raises(ValueError, match="nothing would be trained"):
        train(np.array([0, 1]), np.array([0, 1]), np.array([1, 1]), epochs=1)


@pytest.mark.value
def test_gensim():
    """Where it is installed: it trains on the same words."""
    pytest.importorskip("gensim")
    words = Vocabulary(TEXT)
    found = by_gensim(TEXT, words, 1, 4.0, D=4)
    assert found["words"] > 0 and found["pairs_a_second"] > 0


@pytest.mark.edge
def test_the_command(tmp_path, capsys):
    """A short run prints neighbours; a bad option is one line; the second run has nothing left to do."""
    argv = ["--epochs", "1", "--dimensions", "8", "--sentences", "400", "--folder", str(tmp_path)]
    assert main(argv) == 0 and main(argv) == 0 and main([*argv, "--model", "cbow", "--fresh"]) == 0
    assert f"{TEN[0]}:" in capsys.readouterr().out and len(list(tmp_path.glob("words-*.npz"))) == 2
    assert main(["--epochs", "0"]) == 1
    assert "epochs = 0; expected at least 1" in capsys.readouterr().err
