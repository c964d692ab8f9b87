# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:a528e67572166e90
"""Chapter 23: greedy and beam search against everything there is."""

import itertools

import numpy as np
import pytest

from tangled.t23_seq2seq.base import rows_of, select
from tangled.t23_seq2seq.visualization import TREE
from tangled.testing import assert_close, rng

EOS, BOS, V = 2, 4, 4


def model(seed, sharp=1.5, rows=1, forbidden=0.0):
    """A step for sentences of any prefix, log-probabilities of a hash of it; and its state."""
    table = sharp * rng(seed).standard_normal((rows, 997, V))
    table[rng(seed + 1).random(table.shape) < forbidden] = -np.inf
    table[..., 0] = np.where(np.isinf(table).all(-1), 0, table[..., 0])
    table -= np.log(np.exp(table).sum(-1, keepdims=True))

    def step(state, tokens):
        n, code = state
        code = (31 * code + 7 * tokens + 3) % 997
        return table[n, code], (n, code)
    return step, (np.arange(rows), np.zeros(rows, int))


def everything(step, state, max_len, alpha):
    """[(score, tokens)] of all sentences of at most max_len tokens, for a state of one row."""
    found = []
    for n in range(max_len):
        for words in itertools.product([w for w in range(V) if w != EOS], repeat=n):
            now, total, last = state, 0.0, BOS
            for w in (*words, EOS):
                log_p, now = step(now, np.array([last]))
                total, last = total + log_p[0, w], w
            found.append((total / ((5 + n + 1) / 6) ** alpha, list(words)))
    return found


@pytest.mark.value
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("max_len", [1, 2, 4, 5])
def test_beam_equals_exhaustive(level, alpha, max_len):
    """A beam of all prefixes finds the best of all sentences, on a vocabulary of 4, with and without a penalty."""
    for seed in range(3 if max_len == 5 else 6):
        step, state = model(100 * max_len + seed, sharp=(0.3, 1.5, 3.0)[seed % 3])
        want = max(everything(step, state, max_len, alpha))
        tokens, scores = level.beam_search(step, state, BOS, EOS, 4 ** max_len, max_len, alpha)
        assert_close(scores, np.array([want[0]]), tol=1e-10, what="score")
        assert tokens[0].tolist() == want[1]


def reference(step, state, beam, max_len, alpha):
    """A beam search that never stops early: every hypothesis a tuple, sorted anew in each step."""
    live, ended = [(0.0, ())], []
    for _ in range(max_len):
        rows = []
        for log_p, words in live:
            now, last = state, BOS
            for w in words:
                _, now = step(now, np.array([last]))
                last = w
            scores, _ = step(now, np.array([last]))
            rows += [(log_p + s, (*words, w)) for w, s in enumerate(scores[0]) if s > -np.inf]
        rows = sorted(rows, key=lambda row: -row[0])[:beam]
        ended += [(s / ((5 + len(words)) / 6) ** alpha, list(words[:-1])) for s, words in rows if words[-1] == EOS]
        live = [row for row in rows if row[1][-1] != EOS]
        beam -= len(rows) - len(live)
    unfinished = [(s / ((5 + max_len) / 6) ** alpha, list(words)) for s, words in live[:1]]
    return max(ended or unfinished, key=lambda pair: pair[0], default=(-np.inf, []))


@pytest.mark.value
@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_beam_equals_reference(level, alpha, beam):
    """Narrow beams, several sentences at once, impossible tokens: as the search that goes to the end."""
    for seed in range(4):
        rows, max_len = (3, 1, 5, 2)[seed], (5, 7, 3, 6)[seed]
        step, state = model(7 * seed + beam, (0.5, 2.0)[seed % 2], rows, forbidden=0.3 * (seed % 2))
        tokens, scores = level.beam_search(step, state, BOS, EOS, beam, max_len, alpha)
        for n in range(rows):
            want = reference(step, select(state, np.array([n])), beam, max_len, alpha)
            assert tokens[n].tolist() == want[1]
            assert_close(scores[n:n + 1], np.array([want[0]]), tol=1e-10, what="score")


def of_tree(state, tokens):
    """A step over TREE; states are prefixes, tokens the places of "abcd." and 5 for BOS."""
    prefixes = [text + "abcd."[k] if k < 5 else text for text, k in zip(state, tokens)]
    p = np.array([[TREE.get(text, {".": 1.0}).get(c, 0.0) for c in "abcd."] for text in prefixes])
    with np.errstate(divide="ignore"):
        return np.log(p), np.array(prefixes, object)


@pytest.mark.value
@pytest.mark.parametrize("beam, alpha, want, p, length", [(1, 0.0, "ac", 0.3325, 3), (2, 0.0, "b", 0.36, 2),
                                                          (2, 1.0, "ac", 0.3325, 3), (1, 1.0, "ac", 0.3325, 3)])
def test_worked_tree(level, beam, alpha, want, p, length):
    """The chapter's tree: a beam finds what greedy misses; with a penalty the search must not stop at the first end."""
    tokens, scores = level.beam_search(of_tree, np.array([""], object), 5, 4, beam, 9, alpha)
    assert "".join("abcd."[k] for k in tokens[0]) == want
    assert_close(scores, np.array([np.log(p) / ((5 + length) / 6) ** alpha]), tol=1e-10, what="score")


@pytest.mark.levels(2, 3, 4)
@pytest.mark.value
def test_greedy(level):
    """Each row by itself, up to its EOS or max_len tokens; a beam of one is the same."""
    step, state = model(40, rows=6)
    for max_len in (1, 3, 8):
        got = level.greedy_decode(step, state, BOS, EOS, max_len)
        beam, _ = level.beam_search(step, state, BOS, EOS, 1, max_len)
        for n in range(6):
            now, last, want = select(state, np.array([n])), BOS, []
            while len(want) < max_len:
                log_p, now = step(now, np.array([last]))
                last = int(log_p.argmax())
                if last == EOS:
                    break
                want.append(last)
            assert got[n].dtype == np.int64 and got[n].tolist() == want == beam[n].tolist()


@pytest.mark.value
def test_max_len_counts_eos(level):
    """A sentence of n tokens and EOS needs n + 1; one less gives its beginning, scored as such."""
    def step(state, tokens):
        log_p = np.full((len(tokens), V), -np.inf)
        log_p[:, 3], log_p[state == 3, 3], log_p[state == 3, EOS] = 0, -np.inf, -0.5
        return log_p, state + 1
    for max_len, want, score in ((4, [3, 3, 3], -0.5), (3, [3, 3, 3], 0.0), (2, [3, 3], 0.0)):
        for beam in (2, 9):                                     # also with room for what is impossible
            tokens, scores = level.beam_search(step, np.zeros(1, int), BOS, EOS, beam, max_len)
            assert tokens[0].tolist() == want
            assert_close(scores, np.array([score]), tol=1e-12, what="score")
    if hasattr(level, "greedy_decode"):
        assert [level.greedy_decode(step, np.zeros(1, int), BOS, EOS, n)[0].tolist() for n in (4, 3, 2)] == [
            [3, 3, 3], [3, 3, 3], [3, 3]]


@pytest.mark.value
def test_only_what_goes_on_is_asked(level):
    """A step gets the last tokens of hypotheses that have not ended, at most the beam's width of each sentence."""
    inner, state = model(50, rows=3)
    asked = []

    def step(state, tokens):
        asked.append(len(tokens))
        assert EOS not in tokens and len(tokens) == len(state[0])
        return inner(state, tokens)
    level.beam_search(step, state, BOS, EOS, 3, 6, 0.5)
    assert max(asked) <= 9 and asked[0] == (3 if "level3" in level.__name__ else 1)


@pytest.mark.value
def test_stops_when_decided(level):
    """Where EOS is all but certain, a search to 500 takes a few steps, for any penalty."""
    steps = []

    def step(state, tokens):
        steps.append(1)
        log_p = np.full((len(tokens), V), np.log(1e-9))
        log_p[:, EOS] = np.log(0.999999)
        return log_p, state
    for alpha in (0.0, 0.5):
        tokens, _ = level.beam_search(step, np.zeros((1, 2)), BOS, EOS, 3, 500, alpha)
        assert tokens[0].tolist() == []
    assert len(steps) <= (1000 if "level4" in level.__name__ else 10)


@pytest.mark.value
def test_the_last_step_counts(level):
    """Of four tokens the sentence that wins has all four: a bound for three would have stopped before."""
    def step(state, tokens):
        log_p = np.full((len(tokens), V), -np.inf)
        log_p[state == 0, EOS], log_p[state == 0, 3] = np.log(0.5), -0.98
        log_p[(state == 1) | (state == 2), 3], log_p[state == 3, EOS] = 0, 0
        return log_p, state + 1
    for alpha, want, score in ((1.0, [3, 3, 3], -0.98 / 1.5), (0.5, [], np.log(0.5))):
        tokens, scores = level.beam_search(step, np.zeros(1, int), BOS, EOS, 2, 4, alpha)
        assert tokens[0].tolist() == want
        assert_close(scores, np.array([score]), tol=1e-12, what="score")


@pytest.mark.value
def test_ties(level):
    """Of equals the hypothesis that comes first, and of its tokens the smallest."""
    def step(state, tokens):
        return np.full((len(tokens), V), np.log(0.25)), state
    tokens, _ = level.beam_search(step, np.zeros((2, 1)), BOS, 3, 2, 4, 0.0)
    assert [t.tolist() for t in tokens] == [[0, 0, 0, 0], [0, 0, 0, 0]]
    tokens, _ = level.beam_search(step, np.zeros((2, 1)), BOS, EOS, 3, 4, 9.0)
    want = reference(step, np.zeros((1, 1)), 3, 4, 9.0)[1]
    assert [t.tolist() for t in tokens] == [want, want]
    tokens, _ = level.beam_search(step, np.zeros((2, 1)), BOS, EOS, 30, 2, 9.0)     # three sentences end at once
    assert [t.tolist() for t in tokens] == [[0], [0]]

    def many(state, tokens):
        return np.tile(rng(51).integers(-9, -5, 100) * 1.0, (len(tokens), 1)), state
    tokens, _ = level.beam_search(many, np.zeros((1, 1)), BOS, 99, 5, 3, 0.0)
    assert tokens[0].tolist() == 3 * [int(many(0, [0])[0].argmax())]


@pytest.mark.value
def test_states():
    """Arrays, tuples, lists, dicts, None, and objects that select."""
    class Cache:
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return len(self.rows)

        def select(self, rows):
            return Cache(self.rows[rows])
    state = {"a": np.arange(3), "b": (None, [np.arange(6).reshape(3, 2), Cache(np.array([5, 6, 7]))])}
    got = select(state, np.array([2, 0, 2, 2]))
    assert got["a"].tolist() == [2, 0, 2, 2] and got["b"][0] is None and type(got["b"]) is tuple
    assert got["b"][1][0].tolist() == [[4, 5], [0, 1], [4, 5], [4, 5]] and got["b"][1][1].rows.tolist() == [7, 5, 7, 7]
    assert rows_of(state) == 3 and rows_of((None, [Cache(np.arange(4))])) == 4 and rows_of(()) == 0
