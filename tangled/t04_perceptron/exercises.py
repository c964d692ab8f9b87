# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:b8a9a1763c8360bd
"""The graded exercises of chapter 04, solved."""

import numpy as np

from tangled.t04_perceptron import sigmoid


def averaged_perceptron(x, y, epochs):
    """The mean of Rosenblatt's weights after each sample, from zero, in the order of the samples.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating, N at least 1
    y : ndarray of shape (N,): -1 and +1
    epochs : int, the most passes; fewer if one of them is without a mistake

    Returns
    -------
    w : ndarray of shape (D,), in the dtype of x
    b : scalar of that dtype
    """
    points = np.concatenate([x, np.ones((len(x), 1))], 1) * np.asarray(y)[:, None]     # (N, D + 1)
    v, late, seen = np.zeros(points.shape[1]), np.zeros(points.shape[1]), 0
    for _ in range(epochs):
        wrong = 0
        for point in points:
            if point @ v <= 0:
                v += point                                   # eq. 4.3
                late += seen * point
                wrong += 1
            seen += 1
        if wrong == 0:
            break
    mean = (v - late / seen).astype(x.dtype)                 # (D + 1,)
    return mean[:-1], mean[-1]


def logistic_newton(x, y, penalty, tol=1e-10, steps=100):
    """Logistic regression with an L2 penalty on w, by Newton's method with step halving.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating
    y : ndarray of shape (N,): labels from 0 to 1; ValueError if all are 0 or all are 1
    penalty : float, positive: penalty / 2 times the squared length of w is added to the mean loss
    tol : float, the length of the gradient at which to stop
    steps : int, the most Newton steps

    Returns
    -------
    w : ndarray of shape (D,), float64
    b : float
    losses : list of float, the objective at the start and after each step
    """
    y = np.asarray(y, float)
    if not 0 < y.mean() < 1:
        raise ValueError(f"y has mean {y.mean()}; expected labels of both classes")
    points = np.concatenate([x, np.ones((len(x), 1))], 1)                # (N, D + 1)
    decay = np.append(np.full(x.shape[1], float(penalty)), 0.0)          # (D + 1,)
    v = np.zeros(points.shape[1])
    losses = [_objective(points, y, decay, v)]
    for _ in range(steps):
        p = sigmoid(points @ v)                                          # (N,)
        gradient = (p - y) @ points / len(y) + decay * v                 # eq. 4.17
        if np.linalg.norm(gradient) <= tol:
            break
        curved = points * (p * (1 - p))[:, None]                         # eq. 4.16
        step = np.linalg.solve(curved.T @ points / len(y) + np.diag(decay), gradient)
        size = 1.0
        while _objective(points, y, decay, v - size * step) > losses[-1] and size > 1e-12:
            size /= 2
        v = v - size * step
        losses.append(_objective(points, y, decay, v))
    return v[:-1], v[-1], losses


def _objective(points, y, decay, v):
    """The mean loss and the penalty."""
    z = points @ v                                                       # (N,)
    return float(np.mean(np.logaddexp(0, z) - z * y) + 0.5 * np.sum(decay * v * v))
