# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:83c0cc67c92ee320
"""Chapter 21: phrases of two languages, told apart."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np

from tangled.data import load_en_fr
from tangled.t03_optimizers import Adam, clip_by_global_norm
from tangled.t06_backpropagation import CrossEntropyLoss, Progress
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.t18_rnn import bigram_counts
from tangled.t18_rnn.tokens import CharTokenizer
from tangled.t21_bidirectional_masking import bucket_batches, pad
from tangled.t21_bidirectional_masking.models import Classifier

LANGUAGES = ("English", "French")


@dataclass
class Phrases:
    """Phrases as arrays of symbols, their languages (0 English, 1 French), and the split."""

    tokens: CharTokenizer
    ids: list
    labels: np.ndarray
    train: np.ndarray
    test: np.ndarray

    @property
    def lengths(self):
        """Lengths (n,) of all phrases."""
        return np.array([len(i) for i in self.ids])


def load(seed=0):
    """Phrases of one language only, each once; a fifth of them, by a shuffle, is the test set: Phrases."""
    pairs = load_en_fr()
    english, french = (sorted({pair[k] for pair in pairs}) for k in range(2))
    both = set(english) & set(french)
    rows = [(text, k) for k, texts in enumerate((english, french)) for text in texts if text not in both]
    tokens = CharTokenizer("".join(text for text, _ in rows))
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = len(rows) // 5
    return Phrases(tokens, [tokens.encode(text) for text, _ in rows], np.array([k for _, k in rows]),
                   np.sort(order[cut:]), np.sort(order[:cut]))


def padding_share(lengths, batches):
    """The share of padded steps that are not real, over batches of row numbers."""
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - sum(int(lengths[rows].sum()) for rows in batches) / padded


def logits_of(model, ids, batch=256):
    """Logits (n, classes) of a list of sequences, in padded batches in the order of the list."""
    parts = [model(*pad(ids[k:k + batch])) for k in range(0, len(ids), batch)]
    return np.concatenate(parts)


@dataclass
class Found:
    """A trained classifier and its curves by epoch."""

    model: Classifier
    curves: dict = field(default_factory=dict)


def train(phrases, cell="gru", summary="mean", epochs=12, hidden=64, embedding=32, batch=64, lr=3e-3, clip=1.0,
          pool=16, seed=0, path=None, stop=None, progress=False):
    """Train a classifier on the training phrases, goes on where the file `path` ends: Found.

    `stop` ends the run after an epoch, as an interruption would.
    """
    rng = np.random.default_rng(seed)
    model = Classifier(phrases.tokens.vocab_size, embedding, hidden, len(LANGUAGES), cell, summary, rng)
    optimizer, loss = Adam(model.parameters(), lr), CrossEntropyLoss()
    parts, generators = {"model": model, "optimizer": optimizer}, {"batches": rng}
    curves, done = {"loss": [], "accuracy": []}, 0
    if path is not None and Path(path).exists():
        checkpoint = load_checkpoint(path)
        checkpoint.restore(parts, generators)
        done, curves = checkpoint.record["done"], checkpoint.record["curves"]
    lengths, bar = phrases.lengths, Progress((epochs - done) * -(-len(phrases.train) // batch), progress)
    for epoch in range(done, epochs if stop is None else min(stop, epochs)):
        losses = []
        for rows in bucket_batches(lengths[phrases.train], batch, rng, pool):
            rows = phrases.train[rows]
            losses.append(loss(model(*pad([phrases.ids[k] for k in rows])), phrases.labels[rows]))
            optimizer.zero_grad()
            model.backward(loss.backward())
            clip_by_global_norm(model.parameters(), clip)
            optimizer.step()
            bar.advance(f"loss {losses[-1]:.3f}")
        curves["loss"].append(float(np.mean(losses)))
        curves["accuracy"].append(accuracy(model, phrases))
        if path is not None:
            save_checkpoint(path, parts, generators, done=epoch + 1, curves=curves)
    bar.close()
    return Found(model, curves)


def right(model, phrases):
    """Which test phrases are told right: bool (n,)."""
    said = logits_of(model, [phrases.ids[k] for k in phrases.test]).argmax(1)
    return said == phrases.labels[phrases.test]


def accuracy(model, phrases):
    """The share of the test phrases told right."""
    return float(right(model, phrases).mean())


def bigram_right(phrases):
    """The same for two tables of bigram counts, one added to each, with an edge before and after a phrase."""
    V = phrases.tokens.vocab_size + 1
    edged = [np.concatenate([[V - 1], ids, [V - 1]]) for ids in phrases.ids]
    tables = []
    for k in range(len(LANGUAGES)):
        rows = [edged[n] for n in phrases.train if phrases.labels[n] == k]
        counts = sum(bigram_counts(ids, V) for ids in rows) + 1
        tables.append(np.log(counts / counts.sum(1, keepdims=True)))
    scores = np.array([[table[edged[n][:-1], edged[n][1:]].sum() for table in tables] for n in phrases.test])
    return scores.argmax(1) == phrases.labels[phrases.test]


def by_length(good, lengths, edges=(1, 6, 11, 21, 99)):
    """{"1-5": share of `good`, ...} for stretches of lengths."""
    return {f"{a}-{b - 1}": float(good[(lengths >= a) & (lengths < b)].mean()) for a, b in pairwise(edges)}


def padding_proof(model, phrases, seed=0):
    """Does the company that a phrase keeps change its answer? A dict of numbers.

    Test phrases alone, and in shuffled batches of 256 whose padding is a random letter: the largest difference of
    two logits relative to the largest logit, and how many answers differ. Then with whole rows reversed in place of
    sequences, as the pitfall does.
    """
    ids, rng = [phrases.ids[k] for k in phrases.test], np.random.default_rng(seed)
    alone = np.concatenate([model(i[None], np.array([len(i)])) for i in ids])
    order = rng.permutation(len(ids))
    together, wrong = np.empty_like(alone), np.empty_like(alone)
    for k in range(0, len(ids), 256):
        rows = order[k:k + 256]
        x, lengths = pad([ids[n] for n in rows])
        letters = rng.integers(0, phrases.tokens.vocab_size, x.shape)
        filled = np.where(np.arange(x.shape[1]) < lengths[:, None], x, letters)
        together[rows] = model(filled, lengths)
        wrong[rows] = as_if_whole(model, x, lengths)
    said = alone.argmax(1)
    return {"phrases": len(ids), "apart": float(np.abs(together - alone).max() / np.abs(alone).max()),
            "changed": int((together.argmax(1) != said).sum()), "changed_whole": int((wrong.argmax(1) != said).sum()),
            "right_whole": float((wrong.argmax(1) == phrases.labels[phrases.test]).mean())}


def as_if_whole(model, x, lengths):
    """Logits of a model whose backward network reads the whole row, padding (symbol 0) first."""
    from tangled.t21_bidirectional_masking import masked_mean
    vectors = model.embedding(x)
    ahead, back = model.both.forward_rnn(vectors)[0], model.both.backward_rnn(vectors[:, ::-1])[0][:, ::-1]
    mask = np.arange(x.shape[1]) < lengths[:, None]
    return model.out(masked_mean(np.concatenate([ahead, back], -1), mask)[0])


def path_of(folder, settings):
    """Where the checkpoint of these settings lives."""
    return Path(folder) / f"language-{crc32(json.dumps(settings, sort_keys=True).encode()):08x}.npz"
