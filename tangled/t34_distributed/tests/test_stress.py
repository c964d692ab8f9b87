# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:3a32ad3bfa9d2fd0
"""Chapter 34: what is held and sent, counted."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t30_mini_gpt import GPT
from tangled.t34_distributed.group import simulate
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


@pytest.mark.levels(3)
def test_level3_works_in_place(level):
    """A sum into x itself on 4 ranks holds four blocks, and not four vectors."""
    xs, n = np.ones((4, 1 << 20), np.float32), 1 << 20
    peak = peak_memory(lambda: simulate(4, lambda g: level.ring_all_reduce(g, xs[g.rank], out=xs[g.rank])))
    assert peak < 4 * 4 * level.BLOCK + 300_000, f"{peak} bytes for vectors of {4 * n}"
    assert xs[0, 0] == 4


@pytest.mark.levels(2, 3)
def test_many_ranks(level):
    """Sixty-four ranks and 100,000 numbers each: the sum, and messages as many as the formulas have."""
    xs = rng(0).standard_normal((64, 1, 1000)).astype(np.float32)
    for name, most in (("ring_all_reduce", 2 * 63), ("tree_all_reduce", 2 * 6)):
        def work(group, name=name):
            sent, send = [], group.send
            group.send = lambda x, to: (sent.append(to), send(x, to))[1]
            return getattr(level, name)(group, xs[group.rank]), len(sent)
        for total, sent in simulate(64, work):
            assert_close(total, xs.sum(axis=0), tol=1e-4, what="sum")
            assert sent <= most


@pytest.mark.levels(2)
def test_checkpoints_hold_a_root(level):
    """Sixteen blocks: four inputs of segments and one segment, in place of all."""
    ids = rng(1).integers(0, 7, (8, 32))

    def peak(every):
        model = GPT(7, 32, 16, 2, 16)
        if every:
            model.blocks = [level.Checkpointed(model.blocks, every)]
        def step():
            model.backward(model(ids))
        step()
        return peak_memory(step)
    whole, root = peak(0), peak(4)
    assert root < whole / 2, f"{root} bytes against {whole}"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("name", ["ring_all_reduce", "tree_all_reduce"])
def test_memory_is_linear(level, name):
    """Peak memory grows as the vector."""
    exponent = growth_exponent(lambda n: lambda: simulate(3, lambda g: getattr(level, name)(g, np.ones(n))),
                               [1 << 17, 1 << 18, 1 << 19], measure="memory")
    assert 0.8 < exponent < 1.1, f"memory grows as n^{exponent:.2f}"
