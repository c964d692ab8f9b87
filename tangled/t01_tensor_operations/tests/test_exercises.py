# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:762a5c333920e920
"""Chapter 01: the graded exercises."""

import numpy as np
import pytest

from tangled.t01_tensor_operations import sliding_windows
from tangled.testing import assert_close, assert_layouts, expect_value_error, rng


@pytest.mark.gradient
@pytest.mark.parametrize("n, window, step", [(11, 4, 2), (11, 4, 1), (12, 3, 5), (7, 7, 3), (5, 1, 2)])
def test_windows_adjoint(exercises, n, window, step):
    """<windows of x, g> = <x, adjoint of g>, and each entry by adding one by one."""
    x = rng(1).standard_normal((2, 3, n))
    view = sliding_windows(x, window, step)
    g = rng(2).standard_normal(view.shape)
    dx = exercises.sliding_windows_backward(g, n, step)
    expected = np.zeros_like(x)
    for r in range(view.shape[-2]):
        for i in range(window):
            expected[..., r * step + i] += g[..., r, i]
    assert_close(dx, expected, tol=1e-12, what="dx", dtype=np.float64)
    assert_close(np.sum(dx * x), np.sum(view * g), tol=1e-10, what="<x, dx>")


@pytest.mark.edge
def test_windows_adjoint_edges(exercises):
    """float32 stays; any layout; the default step is 1; a length that does not fit is refused."""
    g = rng(3).standard_normal((3, 5, 2)).astype(np.float32)
    got = exercises.sliding_windows_backward(g, 6)
    assert_close(got[:, 2], g[:, 1, 1] + g[:, 2, 0], what="dx", dtype=np.float32)
    assert_layouts(exercises.sliding_windows_backward, (g, 11, 2))
    expect_value_error("n", exercises.sliding_windows_backward, g, 12, 1)


CHAINS = [("ij,jk,kl->il", (2, 30), (30, 3), (3, 40), 420), ("ij,jk,kl->il", (40, 3), (3, 30), (30, 2), 420),
          ("ab,bc,cd,de->ae", (5, 2), (2, 7), (7, 3), (3, 4), 106), ("i,j,k->kji", (2,), (3,), (4,), 30),
          ("ij,ij,j->i", (3, 4), (3, 4), (4,), 24), ("bik,bkj,bjl->bl", (2, 3, 4), (2, 4, 5), (2, 5, 6), None)]


@pytest.mark.value
@pytest.mark.parametrize("chain", CHAINS)
def test_contraction_cost(exercises, chain):
    """Counted by hand where short; never more than from left to right."""
    spec, *shapes, expected = chain
    got = exercises.contraction_cost(spec, *shapes)
    expected = brute_force(spec, shapes) if expected is None else expected
    assert_close(np.array(got), np.array(expected), what="contraction_cost")
    assert got == brute_force(spec, shapes)


def brute_force(spec, shapes):
    """The fewest multiplications over all orders of pairs."""
    left, to = spec.split("->")
    sizes = {c: n for name, shape in zip(left.split(","), shapes) for c, n in zip(name, shape)}

    def best(names):
        if len(names) == 1:
            return 0
        costs = []
        for i in range(len(names)):
            for j in range(i):
                rest = [name for k, name in enumerate(names) if k not in (i, j)]
                both = set(names[i]) | set(names[j])
                kept = "".join(both & set(to + "".join(rest)))
                costs.append(int(np.prod([sizes[c] for c in both])) + best([*rest, kept]))
        return min(costs)
    return best(left.split(","))


@pytest.mark.value
@pytest.mark.parametrize("chain", CHAINS)
def test_einsum(exercises, chain):
    """NumPy's values for every chain, with axes in the order that was asked for; float32 stays."""
    spec, *shapes, _ = chain
    operands = [rng(k).standard_normal(shape) for k, shape in enumerate(shapes)]
    got = exercises.einsum(spec, *operands)
    assert_close(got, np.einsum(spec, *operands), tol=1e-10, what="einsum")
    got = exercises.einsum(spec, *[x.astype(np.float32) for x in operands])
    assert_close(got, np.einsum(spec, *operands), tol=1e-4, what="einsum", dtype=np.float32)
    expect_value_error("spec", exercises.einsum, spec, *operands[:2])


@pytest.mark.edge
def test_einsum_takes_the_cheap_order(exercises):
    """From the left this chain would need an array of 16 TB; from the right a vector."""
    a, b, c = np.ones((1_500_000, 2)), np.ones((2, 1_500_000)), np.ones((1_500_000, 3))
    got = exercises.einsum("ij,jk,kl->il", a, b, c)
    assert_close(got[:2], np.full((2, 3), 3e6), what="einsum")
