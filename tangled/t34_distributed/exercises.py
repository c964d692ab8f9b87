# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:4cb07fff2b688fcf
"""Chapter 34: worked answers to the graded exercises."""

import numpy as np


def fit_with_floor(sizes, losses):
    """The power law that falls towards a floor, by least squares of the losses.

    Parameters
    ----------
    sizes, losses : sequences of float, of length k, at least 3

    Returns
    -------
    floor, scale, exponent : floats, of floor + scale * sizes^-exponent; exponent 0.01 to 2
    """
    sizes, losses = np.asarray(sizes, float), np.asarray(losses, float)
    low, high, share = 0.01, 2.0, (5**0.5 - 1) / 2
    grid = np.linspace(low, high, 200)
    best = int(np.argmin([_straight(sizes, losses, a)[0] for a in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(80):                                         # golden section in between
        a, b = high - share * (high - low), low + share * (high - low)
        if _straight(sizes, losses, a)[0] < _straight(sizes, losses, b)[0]:
            high = b
        else:
            low = a
    exponent = (low + high) / 2
    _, floor, scale = _straight(sizes, losses, exponent)
    return floor, scale, float(exponent)


def _straight(sizes, losses, exponent):
    """(error, floor, scale) of the line through (sizes^-exponent, losses), each (k,)."""
    x = (sizes / sizes[0])**-exponent
    shift = x - x.mean()
    slope = (shift * (losses - losses.mean())).sum() / np.square(shift).sum()
    floor = losses.mean() - slope * x.mean()
    error = np.square(losses - floor - slope * x).sum()
    return float(error), float(floor), float(slope * sizes[0]**exponent)


def halving_doubling(group, x):
    """The sum over all ranks by recursive halving and doubling.

    Parameters
    ----------
    group : Group of 1, 2, 4, 8, ... ranks
    x : ndarray of any shape, float32 or float64

    Returns
    -------
    ndarray in the shape of x, the same bits on every rank
    """
    total, spans, distance = x.ravel().copy(), [(0, x.size)], group.size // 2
    while distance:
        (a, b), lower = spans[-1], not group.rank & distance
        middle = (a + b) // 2
        mine, theirs = ((a, middle), (middle, b)) if lower else ((middle, b), (a, middle))
        came = np.empty(mine[1] - mine[0], x.dtype)
        _exchange(group, group.rank ^ distance, total[slice(*theirs)], came)
        total[slice(*mine)] += came
        spans.append(mine)
        distance //= 2
    distance = 1
    while distance < group.size:
        (a, b), (first, last) = spans.pop(), spans[-1]
        other = (first, a) if a > first else (b, last)
        _exchange(group, group.rank ^ distance, total[a:b], total[slice(*other)])
        distance *= 2
    return total.reshape(x.shape)


def _exchange(group, partner, give, take):
    """Send an array (m,) and receive one (k,)."""
    sent = group.send(give, partner)
    group.recv(take, partner)
    sent.wait()
