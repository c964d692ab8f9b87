# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:0ff1e0185318247f
"""Chapter 22: words as numbers, windows for CBOW, and questions to word vectors."""

from collections import Counter

import numpy as np

from tangled.t22_word2vec.level2_vectorized import skip_gram_pairs

TEN = ("war", "soviet", "farm", "school", "oil", "freedom", "tax", "computer", "iraq", "women")


class Vocabulary:
    """The words of a text that occur at least `least` times, the most frequent first.

    Parameters
    ----------
    sentences : list of str, words parted by blanks
    least : int

    Attributes
    ----------
    words : list of str;  numbers : dict {word: its id};  counts : ndarray of shape (V,), int64
    """

    def __init__(self, sentences, least=5):
        counts = Counter(word for sentence in sentences for word in sentence.split())
        kept = sorted((-n, word) for word, n in counts.items() if n >= least)
        self.words = [word for _, word in kept]
        self.counts = np.array([-n for n, _ in kept], np.int64)
        self.numbers = {word: k for k, word in enumerate(self.words)}

    def encode(self, sentences):
        """ids (n,) and the number of the sentence of each (n,); words that are not known are left out."""
        found = [(self.numbers[word], k) for k, sentence in enumerate(sentences)
                 for word in sentence.split() if word in self.numbers]
        ids, sentence = np.array(found, np.int64).reshape(-1, 2).T
        return ids.copy(), sentence.copy()


def cbow_bags(ids, sentence, window, rng):
    """For CBOW: context (n, 2 window), mask (n, 2 window) and centre (n,), of words that have a neighbour."""
    place = np.arange(len(ids))
    centre, near = skip_gram_pairs(place, sentence, window, rng)
    column = near - centre + window                             # 0 to 2 window, without the middle
    context = np.zeros((len(ids), 2 * window + 1), np.int64)
    mask = np.zeros(context.shape, bool)
    context[centre, column], mask[centre, column] = ids[near], True
    some = mask.any(axis=1)
    return np.delete(context, window, 1)[some], np.delete(mask, window, 1)[some], ids[some]


def unit_rows(table):
    """Rows (V, D) of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(lengths > 0, lengths, 1)


def nearest(table, k, count=5):
    """The ids (count,) of the rows of table (V, D) with the largest cosine to row k, without it."""
    rows = unit_rows(table)
    cosines = rows @ rows[k]
    cosines[k] = -np.inf
    return np.argsort(-cosines, kind="stable")[:count]


def principal_axes(x, count=2):
    """Coordinates (N, count) of x (N, D) on its principal axes, the eigenvectors of its covariance."""
    centred = x - x.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred / len(x))      # (D, D), the largest last
    axes = axes[:, ::-1][:, :count]
    signs = np.where(axes[np.abs(axes).argmax(axis=0), np.arange(count)] < 0, -1, 1)
    return centred @ (axes * signs)
