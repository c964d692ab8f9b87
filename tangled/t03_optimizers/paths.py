# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:f1d13d016d9d0908
"""Functions (value and gradient) to try optimisers on, and the paths that they take."""

from types import SimpleNamespace

import numpy as np


def plain(array):
    """The smallest parameter there is: a copy of an array, of any shape, and no gradient."""
    return SimpleNamespace(data=np.array(array), grad=None)


def quadratic(curvatures):
    """w (n,) -> half the sum of curvature * w**2, and its gradient (n,)."""
    curvatures = np.asarray(curvatures)
    return lambda w: (0.5 * (curvatures * w * w).sum(), curvatures * w)


def rotated(function, angle):
    """A function of w (2,), turned by an angle about the origin."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s], [-s, c]])

    def turned(w):
        value, gradient = function(turn @ w)
        return value, turn.T @ gradient
    return turned


def rosenbrock(w):
    """(1 - x)^2 + 100 (y - x^2)^2 for w = (x, y), and its gradient (2,)."""
    x, y = w
    gap = y - x * x
    return (1 - x)**2 + 100 * gap**2, np.array([-2 * (1 - x) - 400 * x * gap, 200 * gap])


def follow(rule, function, start, steps, **settings):
    """The path (steps + 1, n) of a rule on a function, from start (n,)."""
    p = plain(np.array(start, np.float64))
    optimizer, path = rule([p], **settings), [p.data.copy()]
    for _ in range(steps):
        p.grad = function(p.data)[1]
        optimizer.step()
        path.append(p.data.copy())
    return np.array(path)
