# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:0885242efd35d8da
"""Chapter 23: the graded exercises."""

import itertools

import numpy as np
import pytest

from tangled.t23_seq2seq import beam_search
from tangled.testing import rng

EOS, BOS, V = 0, 3, 3


def model(seed, sharp=1.5, rows=1):
    """A step whose log-probabilities depend on the whole prefix, and its state."""
    table = sharp * rng(seed).standard_normal((rows, 499, V))
    table -= np.log(np.exp(table).sum(-1, keepdims=True))
    calls = []

    def step(state, tokens):
        calls.append(len(tokens))
        n, code = state
        code = (31 * code + 7 * tokens + 3) % 499
        return table[n, code], (n, code)
    return step, (np.arange(rows), np.zeros(rows, int)), calls


def log_prob(step, state, words):
    """Of a sentence, with EOS, for a state of one row."""
    total, last = 0.0, BOS
    for w in (*words, EOS):
        log_p, state = step(state, np.array([last]))
        total, last = total + log_p[0, w], w
    return total


@pytest.mark.value
def test_search_errors(exercises):
    """Greedy against the best of all: errors where they differ, none where the search is exact or too good."""
    step, state, _ = model(1, rows=20)
    best, _ = beam_search(step, state, BOS, EOS, V ** 5, 5)
    greedy, _ = beam_search(step, state, BOS, EOS, 1, 5)
    differ = sum(a.tolist() != b.tolist() for a, b in zip(best, greedy))
    ended = sum(log_prob(step, (state[0][n:n + 1], state[1][n:n + 1]), greedy[n]) <
                log_prob(step, (state[0][n:n + 1], state[1][n:n + 1]), best[n]) - 1e-9 for n in range(20))
    assert 3 < ended <= differ
    assert exercises.search_errors(step, state, greedy, best, BOS, EOS) == ended
    assert exercises.search_errors(step, state, best, greedy, BOS, EOS) == 0
    assert exercises.search_errors(step, state, best, best, BOS, EOS) == 0


@pytest.mark.value
@pytest.mark.parametrize("n, max_len", [(1, 5), (6, 4), (100, 3)])
def test_best_first(exercises, n, max_len):
    """The n best of all sentences, in order, with their log-probabilities; all of them, if there are fewer."""
    for seed in range(4):
        step, state, _ = model(seed)
        sentences = [words for k in range(max_len) for words in itertools.product((1, 2), repeat=k)]
        want = sorted(((log_prob(step, state, words), words) for words in sentences), reverse=True)[:n]
        got = exercises.best_first(step, state, BOS, EOS, n, max_len)
        assert [tuple(tokens) for _, tokens in got] == [words for _, words in want]
        assert np.allclose([p for p, _ in got], [p for p, _ in want], atol=1e-10)


@pytest.mark.value
def test_best_first_is_lazy(exercises):
    """A sure model is asked a few times, of the 2 ** 30 prefixes that there are."""
    step, state, calls = model(9, sharp=6.0)
    found = exercises.best_first(step, state, BOS, EOS, 1, 30)
    assert len(found) == 1 and len(calls) < 3000
