# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:0d8ea08cfc38f9bf
"""Chapter 22: worked answers to the graded exercises."""

import heapq

import numpy as np


def shifted_pmi(counts, K, D):
    """Positive PMI, shifted by log K, and vectors whose products come nearest to it.

    Parameters
    ----------
    counts : ndarray of shape (V, C), how often each word has each context; none empty
    K : int, number of negatives
    D : int, at most min(V, C)

    Returns
    -------
    matrix : ndarray of shape (V, C), float64
    w, u : ndarrays of shapes (V, D), (C, D): w @ u.T is the best of rank D, balanced
    """
    counts = np.asarray(counts, np.float64)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()   # (V, C)
    matrix = np.log(np.maximum(counts, 1e-300) / expected) - np.log(K)
    matrix = np.maximum(matrix, 0)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:D])
    return matrix, left[:, :D] * root, right[:D].T * root


def huffman(counts):
    """The tree with the shortest expected path.

    Parameters
    ----------
    counts : ndarray of shape (V,), V at least 2

    Returns
    -------
    paths : list of V ndarrays of int64: inner nodes, 0 to V - 2, from the root to the word
    signs : list of V ndarrays of float64 of the same lengths: +1 for left, -1 for right
    """
    V = len(counts)
    heap = [(float(n), k) for k, n in enumerate(counts)]        # leaves, then inner nodes
    heapq.heapify(heap)
    above = {}
    for node in range(V, 2 * V - 1):
        (a, left), (b, right) = heapq.heappop(heap), heapq.heappop(heap)
        above[left], above[right] = (node, 1.0), (node, -1.0)
        heapq.heappush(heap, (a + b, node))
    paths, signs = [], []
    for leaf in range(V):
        steps, node = [], leaf
        while node in above:
            node, sign = above[node]
            steps.append((node - V, sign))
        paths.append(np.array([j for j, _ in steps[::-1]], np.int64))
        signs.append(np.array([s for _, s in steps[::-1]]))
    return paths, signs


def hierarchical_softmax(h, path, signs, w_inner):
    """The loss of one word along its path, and its gradients.

    Parameters
    ----------
    h : ndarray of shape (D,)
    path, signs : ndarrays of shape (n,), of the word, from `huffman`
    w_inner : ndarray of shape (V - 1, D)

    Returns
    -------
    loss : float, -log p(word | h)
    dh : ndarray of shape (D,)
    rows : ndarray of shape (n, D), the gradient of w_inner[path]
    """
    used = w_inner[path]                                        # (n, D)
    z = -signs * (used @ h)
    g = -signs * np.exp(-np.logaddexp(0, -z))                   # slopes of the scores
    return float(np.logaddexp(0, z).sum()), g @ used, g[:, None] * h
