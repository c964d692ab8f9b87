# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:70ba1b01c5c645f0
"""Chapter 30: byte-level byte-pair encoding, trained, and used in both directions."""

import heapq
import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

import tangled.t30_mini_gpt.checks as check
from tangled.t30_mini_gpt.level2_vectorized import encode_piece

BLANK, LETTER = r" \t\n\r\f\v", "A-Za-z\u0080-\U0010FFFF"        # beyond ASCII everything is a letter
PATTERN = (rf"'(?:[sdmt]|ll|ve|re)| ?[{LETTER}]+| ?[0-9]+| ?[^{BLANK}0-9{LETTER}]+"
           rf"|[{BLANK}]+(?![^{BLANK}])|[{BLANK}]+")


class BytePairEncoding:
    """Text as tokens, each a sequence of bytes; Sennrich et al. (2016), on bytes as Radford et al. (2019).

    Parameters
    ----------
    tokens : list of bytes : the 256 single bytes in their order, then what was merged, in its order
    """

    def __init__(self, tokens):
        if list(tokens[:256]) != [bytes([k]) for k in range(256)] or len(set(tokens)) != len(tokens):
            raise ValueError(f"tokens are {len(tokens)}; expected the 256 bytes in order, then others, "
                             "all different")
        self.tokens = list(tokens)
        self.ranks = {token: k for k, token in enumerate(self.tokens)}
        self.known = {}                                         # pieces that were encoded before

    @property
    def vocab_size(self):
        """How many tokens there are."""
        return len(self.tokens)

    @classmethod
    def train(cls, text, merges):
        """Learn merges from a text.

        Parameters
        ----------
        text : str
        merges : int, at least 0; fewer are made if the text has no more pairs

        Returns
        -------
        BytePairEncoding
        """
        merges, found = check.whole("merges", merges, 0), cls([bytes([k]) for k in range(256)])
        pieces = Counter(re.findall(PATTERN, text))
        words, often = [list(to_bytes(piece)) for piece in pieces], list(pieces.values())
        counts, places = Counter(), defaultdict(set)            # of pairs: how often, in which words
        for k, word in enumerate(words):
            for pair in pairwise(word):
                counts[pair] += often[k]
                places[pair].add(k)
        queue = [(-n, pair) for pair, n in counts.items()]
        heapq.heapify(queue)
        while queue and len(found.tokens) < 256 + merges:
            less, pair = heapq.heappop(queue)                               # of equal ones, the smaller ids
            if -less != counts[pair] or not less:               # it has changed since it was queued
                continue
            new, changed = found.number_of(found.tokens[pair[0]] + found.tokens[pair[1]]), set()
            for k in places.pop(pair):
                for old in pairwise(words[k]):
                    counts[old] -= often[k]
                    changed.add(old)
                words[k] = merged(words[k], pair, new)
                for fresh in pairwise(words[k]):
                    counts[fresh] += often[k]
                    places[fresh].add(k)
                    changed.add(fresh)
            for other in changed:
                heapq.heappush(queue, (-counts[other], other))
        return found

    def number_of(self, token):
        """The id of a token, which is added if it is new."""
        if token not in self.ranks:
            self.ranks[token] = len(self.tokens)
            self.tokens.append(token)
        return self.ranks[token]

    def encode(self, text):
        """str to ids (n,), int64."""
        if not isinstance(text, str):
            raise ValueError(f"text is a {type(text).__name__}; expected a str")
        ids = []
        for piece in re.findall(PATTERN, text):
            if piece not in self.known:
                self.known[piece] = encode_piece(to_bytes(piece), self.ranks)
            ids += self.known[piece]
        return np.array(ids, np.int64)

    def decode(self, ids):
        """ids (n,) to str; bytes that are no UTF-8 become U+FFFD, as when a character is cut in half."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids):
        """ids (n,) to bytes."""
        return b"".join(self.tokens[k] for k in check.inside("ids", np.asarray(ids, np.int64), self.vocab_size))

    def bytes_of(self, ids):
        """How many bytes ids (n,) stand for."""
        return sum(len(self.tokens[k]) for k in np.asarray(ids).tolist())


def merged(word, pair, new):
    """A list of ids in which every occurrence of the pair, from the left, is one id."""
    out, k = [], 0
    while k < len(word):
        if k + 1 < len(word) and (word[k], word[k + 1]) == pair:
            out.append(new)
            k += 2
        else:
            out.append(word[k])
            k += 1
    return out


def to_bytes(text):
    """UTF-8; a ValueError for half a surrogate pair, which is no character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"text has {text[error.start]!r}, half of a surrogate pair; expected characters") from None
