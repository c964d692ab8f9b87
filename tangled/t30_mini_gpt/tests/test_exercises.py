# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:d9887396f5986cfd
"""Chapter 30: the graded exercises."""

import math
from itertools import pairwise, product

import numpy as np
import pytest

from tangled.testing import assert_close, rng


@pytest.mark.value
def test_banned_tokens(exercises):
    """By hand, and against a text in which every continuation is looked up."""
    assert exercises.banned_tokens([1, 2, 3, 1, 2], 3) == {3}
    assert exercises.banned_tokens([1, 2, 3, 1, 2, 4, 1, 2], 3) == {3, 4}
    assert exercises.banned_tokens([5, 5], 1) == {5} and exercises.banned_tokens([], 1) == set()
    assert exercises.banned_tokens([1, 1], 2) == {1} and exercises.banned_tokens([1, 2], 3) == set()
    ids = rng(0).integers(0, 4, 60).tolist()
    for n in (2, 3, 4):
        grams = {tuple(ids[k:k + n]) for k in range(len(ids) - n + 1)}
        want = {v for v in range(4) if (*ids[len(ids) - n + 1:], v) in grams}
        assert exercises.banned_tokens(ids, n) == want


def all_cuts(data, log_p):
    """Every way to cut the bytes into tokens, as lists."""
    for bars in product((False, True), repeat=max(len(data) - 1, 0)):
        edges = [0, *(k + 1 for k, bar in enumerate(bars) if bar), len(data)]
        cut = [data[a:b] for a, b in pairwise(edges)]
        if all(token in log_p for token in cut):
            yield cut


@pytest.mark.value
@pytest.mark.parametrize("data", [b"abab", b"aabba", b"a", b"abc"])
def test_marginal(exercises, data):
    """The sum over all cuts, enumerated; counts as posterior means."""
    tokens = [b"a", b"b", b"ab", b"aba", b"bb"]
    log_p = dict(zip(tokens, np.log(rng(1).dirichlet(np.ones(5))).tolist()))
    total, grads = exercises.marginal(data, log_p)
    cuts = list(all_cuts(data, log_p))
    if not cuts:
        assert total == -math.inf and not any(grads.values())
        return
    scores = np.array([sum(log_p[t] for t in cut) for cut in cuts])
    assert_close(np.array(total), np.log(np.exp(scores).sum()), tol=1e-12, what="total")
    posterior = np.exp(scores - total)
    assert set(grads) == set(log_p)
    for token in tokens:
        want = sum(p * cut.count(token) for p, cut in zip(posterior, cuts))
        assert_close(np.array(grads[token]), np.array(float(want)), tol=1e-10, what=f"expected count of {token}")


@pytest.mark.gradient
def test_marginal_of_long_bytes(exercises):
    """3,000 bytes, whose probability is far below the smallest float; a gradient by differences."""
    log_p = {b"x": math.log(0.3), b"y": math.log(0.5), b"xy": math.log(0.2)}
    total, grads = exercises.marginal(b"xy" * 1500, log_p)
    assert_close(np.array(total), 1500 * np.log(0.3 * 0.5 + 0.2), tol=1e-9, what="total")
    above, _ = exercises.marginal(b"xy" * 1500, log_p | {b"xy": math.log(0.2) + 1e-6})
    assert_close(np.array((above - total) / 1e-6), np.array(grads[b"xy"]), tol=1e-3, what="expected count of xy")
