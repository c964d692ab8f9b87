# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:13d3189bc75ab3f4
"""Chapter 3: growth of time, memory of a step, pieces of the flat buffer."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t03_optimizers import level2_vectorized as level2
from tangled.t03_optimizers.paths import plain
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance
RULES = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AdamW")


def prepared(level, rule, sizes, dtype=np.float32, **settings):
    """An optimiser over arrays of these sizes, each with a gradient."""
    parameters = [plain(np.ones(size, dtype)) for size in sizes]
    for k, p in enumerate(parameters):
        p.grad = rng(k).standard_normal(p.data.shape).astype(dtype)
    return getattr(level, rule)(parameters, **settings)


@pytest.mark.levels(1, 2, 3)
def test_time_is_linear(level, level_number):
    """Twice the parameters, twice the time: nothing is gathered twice."""
    sizes = (400, 800, 1600) if level_number == 1 else (8000, 16_000, 32_000, 64_000)
    exponent = growth_exponent(lambda n: prepared(level, "Adam", [n]).step, sizes)
    assert exponent < 1.5, f"time grows as n^{exponent:.2f}, expected n"


@pytest.mark.levels(2, 3)
def test_many_small_parameters(level):
    """Two hundred arrays in one step, and the same again: linear in their number."""
    exponent = growth_exponent(lambda n: prepared(level, "Adam", [8] * n).step, (200, 400, 800))
    assert exponent < 1.4, f"time grows as n^{exponent:.2f}, expected n"


@pytest.mark.levels(3)
@pytest.mark.parametrize("rule", RULES)
def test_step_needs_no_memory(level, rule):
    """A step over 4 MB, and a first one that takes gradients in: less than two pieces."""
    optimizer = prepared(level, rule, [1 << 19, 300, 1 << 19], weight_decay=0.1)
    for _ in range(2):
        peak = peak_memory(optimizer.step)
        assert peak < 2 * 4 * level.CHUNK, f"a step of {rule} takes {peak} bytes"


@pytest.mark.levels(3)
def test_clipping_needs_no_memory(level):
    """The norm is an inner product, the scaling in place."""
    optimizer = prepared(level, "SGD", [1 << 20])
    peak = peak_memory(lambda: level.clip_by_global_norm(optimizer.parameters, 0.1))
    assert peak < 4 * level.CHUNK, f"clipping takes {peak} bytes"


@pytest.mark.levels(3)
@pytest.mark.parametrize("rule", RULES)
def test_pieces_and_runs(level, rule):
    """Sizes around a piece, one parameter without a gradient: every entry once, none twice."""
    sizes = [level.CHUNK - 4, 5, level.CHUNK - 3, 7, 2 * level.CHUNK]       # a run ends 1 after a piece
    fast, plain_ones = (prepared(module, rule, sizes, np.float64, lr=0.01, weight_decay=0.1)
                        for module in (level, level2))
    for optimizer in (fast, plain_ones):
        optimizer.step()
        optimizer.parameters[2].grad = None
        optimizer.step()
        optimizer.parameters[2].grad = np.full(sizes[2], 0.5)
        optimizer.step()
    for p, q in zip(fast.parameters, plain_ones.parameters):
        assert_close(p.data, q.data, tol=1e-9, what="data")
