# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:5c67f56b46776df8
"""Chapter 08: worked answers to the graded exercises."""

import copy

import numpy as np


def elastic_net(X, t, l1, l2=0.0, tol=1e-8, sweeps=100_000):
    """Least squares with both penalties, by coordinate descent; Zou and Hastie (2005).

    Minimises 1/(2n) |X w - t|^2 + l1 sum |w| + l2/2 sum w^2.

    Parameters
    ----------
    X : ndarray of shape (n, d), floating
    t : ndarray of shape (n,), floating
    l1, l2 : float, at least 0
    tol : float; how far the conditions for a minimum may be violated, relative to max |X^T t| / n
    sweeps : int, at most so many passes over the coordinates

    Returns
    -------
    w : ndarray of shape (d,), float64, with exact zeros

    Raises
    ------
    ValueError : if that many sweeps do not suffice
    """
    X, t = np.asarray(X, np.float64), np.asarray(t, np.float64)
    n, w, left = len(X), np.zeros(X.shape[1]), t.copy()          # left = t - X w
    curvature = (X * X).sum(axis=0) / n + l2                    # (d,)
    for _ in range(sweeps):
        for j in np.flatnonzero(curvature):
            u = w[j] * (curvature[j] - l2) + X[:, j] @ left / n  # minus the slope, without w_j's part
            new = np.sign(u) * max(abs(u) - l1, 0) / curvature[j]
            if new != w[j]:
                left += (w[j] - new) * X[:, j]
                w[j] = new
        slope = X.T @ left / n - l2 * w                         # (d,): l1 sign(w), or within +- l1
        off = np.where(w == 0, np.maximum(np.abs(slope) - l1, 0), np.abs(slope - l1 * np.sign(w)))
        if off.max(initial=0) <= tol * np.abs(X.T @ t).max(initial=0) / n:
            return w
    raise ValueError(f"sweeps = {sweeps}; expected more, the conditions are violated by {off.max():.1e}")


def seeded_dropout(x, p, rng, training=True):
    """Inverted dropout whose cache holds no mask.

    Parameters
    ----------
    x : ndarray of any shape, floating
    p : float, the probability of dropping an entry, from 0 to below 1
    rng : numpy.random.Generator, which moves on as it draws the mask; untouched in evaluation
    training : bool; if False the output is x

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `seeded_dropout_backward`; no array in it grows with x
    """
    if not training or p == 0:
        return x, None
    before = copy.deepcopy(rng)                                 # a few hundred bytes
    return x * _mask(x.shape, p, rng, x.dtype), (before, p)


def _mask(shape, p, rng, dtype):
    """m / (1 - p) in the given shape and dtype."""
    return ((rng.random(shape) >= p) / (1 - p)).astype(dtype)


def seeded_dropout_backward(dout, cache):
    """Gradient dx (...) for dout (...), through the mask of the forward pass, as often as wanted."""
    if cache is None:
        return dout
    before, p = cache
    return dout * _mask(dout.shape, p, copy.deepcopy(before), dout.dtype)
