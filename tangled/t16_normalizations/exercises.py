# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:fa24bc90eeb517a4
"""Chapter 16: worked answers to the graded exercises."""

import numpy as np


def fold_layer_norm(gamma, beta, W, b):
    """The linear layer behind a layer norm, with all of the norm in it but the division.

    Parameters
    ----------
    gamma, beta : ndarrays of shape (D,), floating
    W : ndarray of shape (D, F)
    b : ndarray of shape (F,)

    Returns
    -------
    W, b : new ndarrays of shapes (D, F) and (F,): layer_norm(x, gamma, beta) @ W_old + b_old
        equals s * (x @ W) + b, with s = (var(x) + eps) ** -0.5 a number for each row
    """
    scaled = gamma[:, None] * W
    return scaled - scaled.mean(axis=0), beta @ W + b


def spectral_norm(W, u, iterations=1):
    """W divided by an estimate of its largest singular value.

    Parameters
    ----------
    W : ndarray of shape (K, M), floating
    u : ndarray of shape (K,), the start of the power iteration; not changed
    iterations : int, at least 1

    Returns
    -------
    (W_hat, u) : ndarrays of shapes (K, M) and (K,): the weights to use, the next start
    cache : for `spectral_norm_backward`
    """
    for _ in range(iterations):
        v = W.T @ u
        v /= np.linalg.norm(v)
        u = W @ v
        u = u / np.linalg.norm(u)
    sigma = u @ W @ v
    return (W / sigma, u), (W / sigma, u, v, sigma)


def spectral_norm_backward(dW_hat, cache):
    """dW_hat (K, M): dW (K, M), with u and v held constant."""
    W_hat, u, v, sigma = cache
    return (dW_hat - np.sum(dW_hat * W_hat) * np.outer(u, v)) / sigma
