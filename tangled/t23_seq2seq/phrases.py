# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:5e0d710b3064b0e2
"""Chapter 23: English and French phrases: the split, the symbols, the batches."""

import hashlib
from typing import NamedTuple

import numpy as np

from tangled.data import load_en_fr

PAD, BOS, EOS, UNKNOWN = range(4)


def load_phrases():
    """All pairs (English, French) of str, in the order of the file."""
    return load_en_fr()


class Vocabulary:
    """Numbers for the characters of some texts, behind PAD 0, BOS 1, EOS 2 and UNKNOWN 3.

    Parameters
    ----------
    texts : iterable of str
    """

    def __init__(self, texts):
        self.characters = "".join(sorted(set().union(*texts)))
        self.numbers = {c: k for k, c in enumerate(self.characters, UNKNOWN + 1)}

    def __len__(self):
        return UNKNOWN + 1 + len(self.characters)

    def encode(self, text):
        """str to ids (n + 1,), int64: its characters, and EOS behind them."""
        return np.array([self.numbers.get(c, UNKNOWN) for c in text] + [EOS], np.int64)

    def decode(self, ids):
        """ids (n,) to str: up to the first EOS, without PAD and BOS; UNKNOWN is shown as U+FFFD."""
        found = []
        for k in ids:
            if k == EOS:
                break
            if k > UNKNOWN:
                found.append(self.characters[k - UNKNOWN - 1])
            elif k == UNKNOWN:
                found.append("\N{REPLACEMENT CHARACTER}")
        return "".join(found)


class Split(NamedTuple):
    """Three lists of pairs of str."""

    train: list
    validation: list
    test: list


def folded(text):
    """Letters and digits alone, lower case: what two spellings of one phrase share."""
    return "".join(c for c in text.casefold() if c.isalnum()) or text


def split(pairs):
    """Split pairs so that no phrase of one part occurs in another, in either language.

    Pairs whose English or whose French is the same but for case, spaces and punctuation are
    of one group, and so are the groups that a pair connects. A group goes where the hash of
    its first French phrase, in the order of the alphabet, says: 2 of 20 to the test, 1 to
    validation, 17 to training.

    Parameters
    ----------
    pairs : list of (str, str)

    Returns
    -------
    Split, each part in the order of `pairs`
    """
    parents, seen = list(range(len(pairs))), {}

    def root(k):
        while parents[k] != k:
            k = parents[k]
        return k
    for k, pair in enumerate(pairs):
        for side, text in enumerate(pair):
            parents[root(k)] = root(seen.setdefault((side, folded(text)), k))
    keys, parts = {}, Split([], [], [])
    for k, (_, french) in enumerate(pairs):
        keys[root(k)] = min(keys.get(root(k), folded(french)), folded(french))
    for k, pair in enumerate(pairs):
        place = int(hashlib.sha256(keys[root(k)].encode()).hexdigest()[:8], 16) % 20
        parts[2 if place < 2 else 1 if place == 2 else 0].append(pair)
    return parts


class Batch(NamedTuple):
    """Padded phrases: source (B, S), its lengths (B,); tokens (B, T + 1) from BOS to EOS, and how many
    of them are to be predicted, (B,)."""

    source: np.ndarray
    source_lengths: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray


def pad(sequences, value=PAD):
    """Sequences of integers as one array (B, longest), filled up with `value` behind."""
    out = np.full((len(sequences), max(map(len, sequences), default=0)), value, np.int64)
    for row, sequence in zip(out, sequences):
        row[:len(sequence)] = sequence
    return out


def batch_of(pairs, english, french):
    """A Batch of pairs of str, by two Vocabularies."""
    sources = [english.encode(e) for e, _ in pairs]
    targets = [french.encode(f) for _, f in pairs]
    sizes = [np.array([len(ids) for ids in side], np.int64) for side in (sources, targets)]
    return Batch(pad(sources), sizes[0], pad([[BOS, *ids] for ids in targets]), sizes[1])


def bucket_batches(lengths, batch, rng):
    """Batches of indices of about equal lengths, in random order.

    Parameters
    ----------
    lengths : ndarray of shape (N,) or (N, k); rows are compared from the first column on
    batch : int
    rng : numpy.random.Generator

    Returns
    -------
    list of integer ndarrays of shape (batch,); the one of the longest may be shorter
    """
    lengths = np.asarray(lengths).reshape(len(lengths), -1)
    order = np.lexsort((rng.random(len(lengths)), *lengths.T[::-1]))
    groups = [order[k:k + batch] for k in range(0, len(order), batch)]
    return [groups[k] for k in rng.permutation(len(groups))]


def batches(pairs, english, french, size, rng=None):
    """Batches of pairs: of like lengths and shuffled by `rng`, or in order where that is None."""
    if rng is None:
        groups = [range(k, min(k + size, len(pairs))) for k in range(0, len(pairs), size)]
    else:
        groups = bucket_batches(np.array([[len(f), len(e)] for e, f in pairs]).reshape(-1, 2), size, rng)
    for group in groups:
        yield batch_of([pairs[k] for k in group], english, french)
