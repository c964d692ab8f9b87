# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:034359b9b45608a4
"""Chapter 22: word vectors trained, asked, and compared with gensim's."""

import importlib.util
import time
from itertools import permutations
from pathlib import Path

import numpy as np

from tangled.t06_backpropagation import Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t22_word2vec import level3_memory_efficient as level
from tangled.t22_word2vec.words import cbow_bags, unit_rows


class Tables:
    """Two tables, a part of a checkpoint, and what was measured on the way."""

    def __init__(self, w_in, w_out):
        self.w_in, self.w_out, self.curves, self.pairs = w_in, w_out, {"loss": []}, 0

    def state_dict(self):
        """Both tables, (V, D) each."""
        return {"w_in": self.w_in, "w_out": self.w_out}

    def load_state_dict(self, entries):
        """Take back what `state_dict` gave."""
        self.w_in, self.w_out = entries["w_in"], entries["w_out"]


def train(ids, sentence, counts, model="skip-gram", epochs=12, D=64, batch=512, window=5,
          threshold=1e-3, K=5, lr=None, seed=0, path=None, stop=None, progress=False):
    """Word vectors of a text ids (n,), its sentences (n,), words' counts (V,): Tables.

    lr is 0.025 for skip-gram, 0.15 for CBOW, whose steps are shared by the words of a bag.
    Goes on where the file `path` ends; `stop` ends the run after an epoch.
    """
    lr = {"skip-gram": 0.025, "cbow": 0.15}[model] if lr is None else lr
    noise, keep = (level.AliasTable(level.noise_weights(counts)),
                   level.keep_probability(counts, threshold))
    tables, done = Tables(*level.init_tables(len(counts), D,
                                             np.random.default_rng([seed, 0]))), 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore({"tables": tables})
        done, tables.curves, tables.pairs = (
            checkpoint.record[name] for name in ("done", "curves", "pairs"))
    for epoch in range(done, epochs if stop is None else min(stop, epochs)):
        rng = np.random.default_rng([seed, epoch + 1])
        kept = level.subsample(ids, keep, rng)
        examples = (level.skip_gram_pairs if model == "skip-gram" else cbow_bags)(
            ids[kept], sentence[kept], window, rng)
        order, losses = rng.permutation(len(examples[0])), []
        if not len(order):
            raise ValueError(f"ids has {len(ids)} words and no two of them near each other; "
                             "expected a text with pairs, or nothing would be trained")
        bar = Progress(-(-len(order) // batch), progress)
        for first in range(0, len(order), batch):
            rows = order[first:first + batch]
            words = [part[rows] for part in examples]
            negatives = noise.draw((len(rows), K), rng)
            step = level.skip_gram_step if model == "skip-gram" else level.cbow_step
            loss, d_in, d_out = step(*words, negatives, tables.w_in, tables.w_out)
            rate = lr * len(rows) * max(1 - (epoch + first / len(order)) / epochs, 1e-3)
            level.update_rows(tables.w_in, d_in, rate)
            level.update_rows(tables.w_out, d_out, rate)
            losses.append(loss)
            bar.advance(f"epoch {epoch + 1}/{epochs}  loss {loss:.3f}")
        bar.close()
        tables.curves["loss"].append(float(np.mean(losses)))
        tables.pairs += len(order)
        if path is not None:
            save_checkpoint(path, {"tables": tables}, done=epoch + 1, curves=tables.curves,
                            pairs=tables.pairs)
    return tables


FAMILIES = {
    "plural": "nation nations program programs year years worker workers job jobs school schools business "
              "businesses family families country countries state states farm farms child children",
    "past": "provide provided create created increase increased work worked need needed help helped ask asked "
            "build built make made give gave begin began pass passed",
    "comparative": "great greater high higher large larger low lower small smaller strong stronger big bigger "
                   "good better",
    "people": "america american europe european germany german japan japanese britain british iraq iraqi "
              "china chinese vietnam vietnamese korea korean france french"}


def analogies(table, numbers):
    """{family: [right, asked, median rank]} of table (V, D), numbers {word: id}."""
    rows, found = unit_rows(np.asarray(table, np.float64)), {}
    for family, text in FAMILIES.items():
        words, ranks = text.split(), []
        pairs = [(a, b) for a, b in zip(words[::2], words[1::2])
                 if a in numbers and b in numbers]
        for (a, b), (c, d) in permutations(pairs, 2):
            a, b, c, d = (numbers[word] for word in (a, b, c, d))
            cosines = rows @ (rows[b] - rows[a] + rows[c])
            cosines[[a, b, c]] = -np.inf
            ranks.append(int((cosines > cosines[d]).sum()) + 1)
        found[family] = [sum(rank == 1 for rank in ranks), len(ranks),
                         float(np.median(ranks or [0]))]
    return found


def by_gensim(sentences, vocabulary, epochs, pairs_a_word, D=64, window=5, threshold=1e-3, K=5):
    """The same by gensim on one thread, where it is installed: its values, or {}."""
    if importlib.util.find_spec("gensim") is None:
        return {}
    import gensim
    texts = [[word for word in sentence.split() if word in vocabulary.numbers] for sentence in sentences]
    model = gensim.models.Word2Vec(vector_size=D, window=window, min_count=1, sg=1, negative=K, sample=threshold,
                                   workers=1, seed=1, alpha=0.025, min_alpha=0.000025)
    model.build_vocab(texts)
    start = time.perf_counter()
    words, _ = model.train(texts, total_examples=len(texts), epochs=epochs)
    seconds = time.perf_counter() - start
    return {"version": gensim.__version__, "seconds": seconds, "words": int(words),
            "pairs_a_second": words * pairs_a_word / seconds,
            "analogies": analogies(model.wv.vectors, model.wv.key_to_index)}


def optimum(steps=500, lr=1.0):
    """Scores (4, 4) after training on expected counts, and eq. 22.7's."""
    counts, noise = np.array([[3, 1, 2, 4], [1, 4, 2, 1], [2, 2, 5, 3], [1, 3, 1, 2]]), np.array([1, 2, 3, 2])
    pairs = np.repeat(np.arange(16), counts.reshape(-1))
    centre, context = pairs // 4, pairs % 4
    negatives = np.tile(np.repeat(np.arange(4), noise), (len(pairs), 1))
    rng = np.random.default_rng(0)
    w_in, w_out = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
    for _ in range(steps):
        _, d_in, d_out = level.skip_gram_step(centre, context, negatives, w_in, w_out)
        level.update_rows(w_in, d_in, lr)
        level.update_rows(w_out, d_out, lr)
    total = counts.sum(axis=1, keepdims=True)
    return w_in @ w_out.T, np.log(counts / (noise * (total - counts)))
