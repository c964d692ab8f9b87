# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:f4e5ca04d451aafc
"""Chapter 34: the graded exercises."""

import numpy as np
import pytest

from tangled.t34_distributed.group import simulate
from tangled.testing import assert_close, rng


@pytest.mark.value
@pytest.mark.parametrize("true", [(1.3, 20.0, 0.4), (0.2, 900.0, 0.83), (1.69, 406.4, 0.34), (0.0, 3.0, 0.076)])
def test_fit_with_floor(exercises, true):
    """Points on such a law give its constants back; the order of the points does not matter."""
    floor, scale, exponent = true
    sizes = np.array([2e3, 5e3, 2e4, 9e4, 3e5, 4e6])
    losses = floor + scale * sizes**-exponent
    found = exercises.fit_with_floor(sizes.tolist(), losses.tolist())
    assert_close(np.array(found), np.array(true), tol=1e-4, what="floor, scale and exponent")
    order = [3, 0, 5, 1, 4, 2]
    again = exercises.fit_with_floor(sizes[order], losses[order])
    assert_close(np.array(again), np.array(true), tol=1e-4, what="floor, scale and exponent")


@pytest.mark.value
def test_fit_with_floor_of_noisy_points(exercises):
    """No other exponent on a grid has a smaller sum of squares."""
    sizes = np.geomspace(1e3, 1e6, 8)
    losses = 1.1 + 9 * sizes**-0.3 + 0.01 * rng(0).standard_normal(8)
    floor, scale, exponent = exercises.fit_with_floor(sizes, losses)
    error = np.square(losses - floor - scale * sizes**-exponent).sum()
    for other in np.linspace(0.02, 1.5, 300):
        design = np.stack([np.ones(8), sizes**-other], axis=1)
        residual = losses - design @ np.linalg.lstsq(design, losses, rcond=None)[0]
        assert error <= np.square(residual).sum() * (1 + 1e-9)


@pytest.mark.value
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(37,), (3, 5), (1,), (0,), ()])
def test_halving_doubling(exercises, size, shape):
    """The serial sum, the same bits on every rank, in any order of events; messages and numbers as derived."""
    xs = rng(1).standard_normal((size, *shape))
    before = xs.copy()
    for order in (None, 0, 1):
        sent = [[] for _ in range(size)]

        def work(group, sent=sent):
            send = group.send
            group.send = lambda x, to: (sent[group.rank].append(x.size), send(x, to))[1]
            return exercises.halving_doubling(group, xs[group.rank])
        found = simulate(size, work, order)
        for total in found:
            assert total.shape == shape and total.tobytes() == found[0].tobytes()
            assert_close(total, before.sum(axis=0), tol=1e-12, what="sum")
        n, rounds = xs[0].size, size.bit_length() - 1
        for mine in sent:
            assert len(mine) == 2 * rounds
            assert abs(sum(mine) - 2 * n * (size - 1) / size) <= 2 * rounds
    assert_close(xs, before, tol=0, what="x")
