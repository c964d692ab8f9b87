# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:b51aceb2ad70c22e
"""Chapter 22: the graded exercises."""

import numpy as np
import pytest

from tangled.testing import assert_close, numeric_gradient, rng


@pytest.mark.value
def test_shifted_pmi(exercises):
    """PMI by its definition, never below 0; the best approximation of each rank; balanced vectors."""
    counts = rng(0).integers(0, 6, (5, 7)) + np.eye(5, 7, dtype=int)
    matrix, w, u = exercises.shifted_pmi(counts, 2, 5)
    p = counts / counts.sum()
    for i in range(5):
        for j in range(7):
            ratio = p[i, j] / (p[i].sum() * p[:, j].sum() * 2)
            assert_close(matrix[i, j], np.asarray(max(np.log(ratio), 0.0) if ratio > 0 else 0.0), tol=1e-10, what="PMI")
    assert_close(w @ u.T, matrix, tol=1e-10, what="full rank")
    _, w, u = exercises.shifted_pmi(counts, 2, 2)
    rest = np.linalg.svd(matrix, compute_uv=False)[2:]
    assert w.shape == (5, 2) and u.shape == (7, 2)
    assert_close(np.asarray(((w @ u.T - matrix) ** 2).sum()), np.asarray((rest ** 2).sum()), tol=1e-10, what="rank 2")
    assert_close((w ** 2).sum(0), (u ** 2).sum(0), tol=1e-10, what="balance")


@pytest.mark.value
@pytest.mark.parametrize("counts", [[5, 1], [8, 4, 2, 1, 1], [1, 1, 1, 1], [40, 3, 7, 7, 20, 1, 9]])
def test_huffman(exercises, counts):
    """Expected length: the sum of all joined weights; every inner node used; the root in front."""
    paths, signs = exercises.huffman(np.array(counts))
    weights, joined = sorted(counts), 0
    while len(weights) > 1:
        both = weights[0] + weights[1]
        joined, weights = joined + both, sorted([*weights[2:], both])
    assert sum(n * len(path) for n, path in zip(counts, paths)) == joined
    assert {int(j) for path in paths for j in path} == set(range(len(counts) - 1))
    assert len({int(path[0]) for path in paths}) == 1
    codes = {tuple(zip(path.tolist(), sign.tolist())) for path, sign in zip(paths, signs)}
    assert len(codes) == len(counts) and {abs(s) for sign in signs for s in sign.tolist()} == {1.0}


@pytest.mark.gradient
def test_hierarchical_softmax(exercises):
    """Probabilities of all words sum to 1; both gradients; large scores."""
    paths, signs = exercises.huffman(np.array([9, 5, 3, 2, 2, 1]))
    h, w = rng(1).standard_normal(4), rng(2).standard_normal((5, 4))
    losses = [exercises.hierarchical_softmax(h, p, s, w)[0] for p, s in zip(paths, signs)]
    assert_close(np.exp(-np.array(losses)).sum(), np.asarray(1.0), tol=1e-12, what="sum of probabilities")
    for path, sign in zip(paths, signs):
        _, dh, rows = exercises.hierarchical_softmax(h, path, sign, w)
        f = lambda p=path, s=sign: np.asarray(exercises.hierarchical_softmax(h, p, s, w)[0])
        assert_close(dh, numeric_gradient(f, h, np.asarray(1.0)), tol=1e-6, what="dh")
        whole = np.zeros_like(w)
        whole[path] = rows
        assert_close(whole, numeric_gradient(f, w, np.asarray(1.0)), tol=1e-6, what="rows")
    assert np.isfinite(exercises.hierarchical_softmax(1e4 * h, paths[0], signs[0], w)[0])
