# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:019ace3c4b145e4d
"""Chapter 29: units of several letters, shared by two languages; Sennrich et al. (2016)."""

import copy
import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np

from tangled.t23_seq2seq.phrases import EOS, UNKNOWN, Vocabulary

WORD = re.compile(" ?[^ ]+| ")                                  # a word, and the space in front of it


def learn(texts, merges):
    """Join the commonest neighbours, `merges` times: the pairs of str, in that order; none crosses a word."""
    counts, found = Counter(word for text in texts for word in WORD.findall(text)), []
    words = [(list(word), count) for word, count in sorted(counts.items())]
    while len(found) < merges:
        pairs = Counter()
        for pieces, count in words:
            for pair in pairwise(pieces):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append(best)
        for pieces, _ in words:
            while best in (near := list(pairwise(pieces))):
                join(pieces, near.index(best))
    return found


def join(pieces, k):
    """Make one piece of number k and the next, in place."""
    pieces[k:k + 2] = [pieces[k] + pieces[k + 1]]


class Units(Vocabulary):
    """Chapter 23's Vocabulary, of letters and of what joining them gives.

    Parameters
    ----------
    texts : iterable of str
    merges : int, how many joins are learned; 0 leaves the letters
    """

    def __init__(self, texts, merges):
        texts = list(texts)
        super().__init__(texts)
        self.ranks = {pair: k for k, pair in enumerate(learn(texts, merges))}
        self.characters = list(dict.fromkeys([*self.characters, *(a + b for a, b in self.ranks)]))
        self.numbers = {piece: k for k, piece in enumerate(self.characters, UNKNOWN + 1)}
        self.share, self.rng = 0.0, None

    def skipping(self, share, rng):
        """The same units, but each join is left out with a probability of `share` whenever it could be made."""
        other = copy.copy(self)
        other.share, other.rng = share, rng
        return other

    def pieces(self, text):
        """str to the units it is written with: a list of str."""
        return [piece for word in WORD.findall(text) for piece in self._of_word(word)]

    def encode(self, text):
        """str to ids (n + 1,), int64: its units, and EOS behind them."""
        return np.array([self.numbers.get(piece, UNKNOWN) for piece in self.pieces(text)] + [EOS], np.int64)

    def _of_word(self, word):
        """A word's units: the join learned first is made first, as long as there is one."""
        pieces = list(word)
        while True:
            ranks = [self.ranks.get(pair, math.inf) for pair in pairwise(pieces)]
            if self.share:
                ranks = [math.inf if left_out else rank
                         for rank, left_out in zip(ranks, self.rng.random(len(ranks)) < self.share)]
            if min(ranks, default=math.inf) == math.inf:
                return pieces
            join(pieces, ranks.index(min(ranks)))
