# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:acc7661a4429a65b
"""Chapter 30: byte-pair encoding."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tangled.data import load_shakespeare
from tangled.t30_mini_gpt.bpe import PATTERN, BytePairEncoding
from tangled.testing import assert_close, rng

TEXT = "the cat sat on the mat; the rat's hat, that's that. " * 7 + "naïve café, 12 345\n\n  ok\t\n"


def slow_training(text, merges):
    """All pairs counted anew for every merge, as one would first write it."""
    words = Counter(tuple(bytes([b]) for b in piece.encode()) for piece in re.findall(PATTERN, text))
    tokens = [bytes([k]) for k in range(256)]
    for _ in range(merges):
        counts = Counter()
        for word, often in words.items():
            for pair in pairwise(word):
                counts[pair] += often
        if not counts:
            break
        number = {token: k for k, token in enumerate(tokens)}
        a, b = min(counts, key=lambda p: (-counts[p], number[p[0]], number[p[1]]))
        tokens += [a + b] if a + b not in tokens else []
        joined = Counter()
        for word, often in words.items():
            out = []
            for part in word:
                if out and out[-1] == a and part == b and out[-1] is not None:
                    out[-1] = a + b
                    out.append(None)                            # a joined part is not joined again at once
                else:
                    out.append(part)
            joined[tuple(part for part in out if part is not None)] += often
        words = joined
    return tokens


@pytest.mark.value
def test_training_equals_the_slow_way():
    """Counts that are kept up to date give the merges of counts made anew."""
    text = TEXT + load_shakespeare()[:6000]
    found = BytePairEncoding.train(text, 60).tokens
    assert found == slow_training(text, 60), "another pair was merged"


@pytest.mark.value
def test_known_merges():
    """Overlaps from the left; the most frequent pair first; of equally frequent ones the smaller ids."""
    assert BytePairEncoding.train("aaaa", 2).tokens[256:] == [b"aa", b"aaaa"]
    assert BytePairEncoding.train("xyxy zz", 1).tokens[256:] == [b"xy"]
    assert BytePairEncoding.train("ba dc", 1).tokens[256:] == [b" d"]
    assert BytePairEncoding.train("ab", 9).tokens[256:] == [b"ab"]
    assert BytePairEncoding.train("", 3).vocab_size == 256


@pytest.mark.levels(2)
@pytest.mark.value
def test_merges_in_the_order_learned(level):
    """"abcabc" with "bc" learned first is a + bc twice, though "ab" stands further left; the earlier of two wins."""
    ranks = lambda *tokens: {token: k for k, token in enumerate([*(bytes([k]) for k in range(256)), *tokens])}
    got = level.encode_piece(b"abcabc", ranks(b"bc", b"ab"))
    assert_close(np.array(got), np.array([97, 256, 97, 256]), tol=0, what='ids of "abcabc", "bc" learned before "ab"')
    assert level.encode_piece(b"abc", ranks(b"ab", b"bc")) == [256, 99]
    assert level.encode_piece(b"xabcd", ranks(b"bc", b"ab", b"cd", b"abcd")) == [120, 97, 256, 100]
    assert level.encode_piece(b"aaa", ranks(b"aa")) == [256, 97]
    late = ranks(*(b"%d" % k for k in range(1000, 1400)), b"bc")
    assert level.encode_piece(b"xbcy", late) == [120, 656, 121], "a merge learned late"
    assert level.encode_piece(b"abc", ranks(b"ab", b"abc")) == [257]
    assert level.encode_piece(b"abc", ranks(b"abc")) == [256], "a piece that is a token, though no merges lead to it"


def any_text(draw, k):
    """A random text: ASCII with many blanks, Latin, or anything that Unicode has."""
    top = (128, 0x250, 0x110000)[k % 3]
    codes = draw.integers(0, top, draw.integers(0, 50))
    codes[draw.random(len(codes)) < 0.2] = draw.choice([32, 10, 39])
    return "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)


@pytest.mark.value
def test_round_trip_of_any_text():
    """300 random texts of all planes, and some that are awkward; ids are below the vocabulary."""
    tokens, draw = BytePairEncoding.train(TEXT, 80), rng(0)
    awkward = ["", " ", "\n \n", "'", "don't", "\U0001F600 e\u0301", "\x00\x7f"]
    for text in awkward + [any_text(draw, k) for k in range(300)]:
        ids = tokens.encode(text)
        assert tokens.decode(ids) == text, repr(text)
        assert ids.dtype == np.int64 and (ids < tokens.vocab_size).all()
        assert tokens.bytes_of(ids) == len(text.encode())
    assert len(tokens.encode(TEXT)) < len(TEXT) / 2


@pytest.mark.value
def test_pieces_cover_the_text():
    """Nothing is lost between pieces, and a blank goes with the word behind it."""
    draw = rng(1)
    for k in range(60):
        text = any_text(draw, k)
        assert "".join(re.findall(PATTERN, text)) == text
    assert re.findall(PATTERN, "naïve café 3456") == ["naïve", " café", " 3456"]
    assert re.findall(PATTERN, "I'll  go 2x!\n ok") == ["I", "'ll", " ", " go", " 2", "x", "!", "\n", " ok"]


@pytest.mark.value
def test_same_as_tiktoken():
    """tiktoken with our merges: the same ids, on random texts and on a play."""
    tiktoken = pytest.importorskip("tiktoken")
    tokens, draw = BytePairEncoding.train(load_shakespeare()[:60_000], 300), rng(2)
    other = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=tokens.ranks, special_tokens={})
    for text in [TEXT, load_shakespeare()[60_000:120_000], *(any_text(draw, k) for k in range(200))]:
        assert other.encode_ordinary(text) == tokens.encode(text).tolist(), repr(text[:60])


@pytest.mark.edge
def test_bytes_that_are_no_text():
    """Half a character decodes to U+FFFD; half a surrogate pair, no str and ids out of range are refused."""
    tokens = BytePairEncoding.train(TEXT, 5)
    assert tokens.decode([0xC3]) == "\ufffd" and tokens.decode_bytes([0xC3, 0xA9]) == "é".encode()
    assert tokens.decode([]) == ""
    given = [bytes([k]) for k in range(256)]
    small = BytePairEncoding(given)
    given += [b"ab", b"ab"]
    assert small.vocab_size == len(small.tokens) == 256 and small.number_of(b"a") == 97
    with pytest.raises(ValueError):
        BytePairEncoding(given)
    for call in (lambda: tokens.encode("a\ud800"), lambda: tokens.encode(b"a"), lambda: tokens.decode([261]),
                 lambda: tokens.decode([-1]), lambda: BytePairEncoding.train("a", -1),
                 lambda: BytePairEncoding([b"a"])):
        with pytest.raises(ValueError):
            call()
