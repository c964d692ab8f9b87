# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:3eae40deb841bc45
"""Chapter 05, exercises: a loss without its logits, and weights that keep lengths."""

import numpy as np


def chunked_cross_entropy(h, W, y, chunk):
    """Mean cross-entropy of integer classes under the softmax of h @ W, a few columns at a time.

    Parameters
    ----------
    h : ndarray of shape (N, D), floating, N at least 1
    W : ndarray of shape (D, K), in the dtype of h
    y : integers of shape (N,), from 0 to K - 1
    chunk : int, positive; no array of more than N * chunk entries is made

    Returns
    -------
    loss : scalar in the dtype of h, as `softmax_cross_entropy(h @ W, y)`
    """
    n, rows = len(h), np.arange(len(h))
    largest, sums = np.full(n, -np.inf), np.zeros(n)            # (N,), float64
    of_class = np.empty(n)
    for start in range(0, W.shape[1], chunk):
        z = h @ W[:, start:start + chunk]                       # (N, up to chunk)
        higher = np.maximum(largest, z.max(axis=1))
        sums *= np.exp(largest - higher)
        sums += np.exp(z - higher[:, None]).sum(axis=1)         # eq. 5.6
        largest = higher
        here = (y >= start) & (y < start + z.shape[1])
        of_class[here] = z[rows[here], y[here] - start]
    return h.dtype.type(np.mean(np.log(sums) + largest - of_class))       # eq. 5.7


def orthogonal(rng, shape, gain=1.0):
    """Weights with orthonormal rows or columns, uniformly distributed; Saxe et al. (2014).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (in, out)
    gain : float, positive

    Returns
    -------
    W : ndarray of shape (in, out), float32: W.T @ W or W @ W.T, the smaller, is gain^2 times
        the identity
    """
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))    # (long, short)
    q *= np.sign(np.diag(r))                                    # uniform, not LAPACK's choice
    return (gain * (q if shape[0] >= shape[1] else q.T)).astype(np.float32)
