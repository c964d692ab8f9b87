# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:d632e7ba57fd2ae6
"""Long chains, growth of time, and where memory goes."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t02_autograd import SGD, train_line, train_table
from tangled.t02_autograd.expressions import engines
from tangled.testing import assert_close

pytestmark = pytest.mark.performance
KB = 1024


def chain(x, length):
    """x + 1 + 1 + ..., each sum used once more by the next."""
    for _ in range(length):
        x = x + 1.0
    return x


def test_chain_of_ten_thousand(level):
    """Forward, backward, and letting go unused: none may recurse, for Python allows 1,000 calls."""
    for engine in engines(level):
        x = engine(1.0)
        y = chain(x, 10_000)
        (y * y).backward()
        assert float(x.grad) == 2 * 10_001.0
        del y
        unused = chain(engine(1.0), 10_000)
        del unused


@pytest.mark.levels(1, 2, 3)
def test_time_is_linear_in_nodes(level):
    """Twice the nodes, twice the time: a search that rescans its list shows an exponent of 2."""
    for engine in engines(level):
        def problem(n, engine=engine):
            return lambda: (chain(engine(1.0), n) * 1.0).backward()

        exponent = growth_exponent(problem, (1000, 2000, 4000, 8000))
        assert exponent < 1.35, f"time grows as n^{exponent:.2f}, expected n"


@pytest.mark.levels(2, 3)
def test_one_node_with_many_users(level):
    """A leaf used 4,000 times: its gradient is the sum of all, in linear time."""
    x = level.Tensor(np.ones(3))
    total = x
    for k in range(4000):
        total = total + x * float(k)
    (total * 1.0).backward(np.array([1.0, 2.0, 3.0]))
    assert np.allclose(x.grad, (1 + 3999 * 4000 / 2) * np.array([1.0, 2.0, 3.0]))


@pytest.mark.levels(3)
def test_additions_keep_nothing(level):
    """No VJP of x + 1 reads an array, so 100 of them in a row hold about two, not a hundred."""
    x = level.Tensor(np.ones(16 * KB))
    peak = peak_memory(lambda: chain(x, 100))
    assert peak < 5 * x.data.nbytes, f"100 additions hold {peak / x.data.nbytes:.1f} arrays"


def deep_network(module, depth=30):
    """Forward and backward through layers of tanh, with a reused skip: (256, 64) activations."""
    h = module.Tensor(np.full((256, 64), 0.5))
    w = [module.Tensor(np.eye(64)) for _ in range(depth)]

    def run():
        out = h
        for k in range(depth):
            out = (out @ w[k]).tanh() + out
        (out * out).mean().backward()
        for parameter in [h, *w]:
            parameter.zero_grad()
    return run


@pytest.mark.levels(3)
def test_peak_memory_below_level_2(level):
    """The same network, the same gradients, at most 0.7 of level 2's peak."""
    from tangled.t02_autograd import level2_vectorized
    lean, plain = peak_memory(deep_network(level)), peak_memory(deep_network(level2_vectorized))
    assert lean < 0.7 * plain, f"level 3 peaks at {lean / plain:.2f} of level 2"


@pytest.mark.levels(2, 3)
def test_no_grad_keeps_no_activations(level):
    """Evaluation without a graph holds a few arrays, however deep the network is."""
    def forward(x):
        for _ in range(50):
            x = x.tanh() * x
        return x

    def evaluate():
        with level.no_grad():
            return forward(level.Tensor(np.ones(16 * KB)))

    peak = peak_memory(evaluate)
    recorded = peak_memory(lambda: forward(level.Tensor(np.ones(16 * KB))))
    assert peak < 0.2 * recorded, f"{peak} bytes without a graph, {recorded} with one"


@pytest.mark.value
def test_line_is_learned(level):
    """50 epochs on y = x - 1: slope and intercept to 1e-3, both parameters moved from 0."""
    for engine in engines(level):
        data = train_line.create_data(samples=12, noise=0.0, seed=0)
        history = train_line.train(data, engine=engine, optimiser=getattr(level, "SGD", SGD))
        assert_close(np.array(history[-1]), np.array([1.0, -1.0, 0.0]), tol=1e-3, what="w, b, loss")


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
def test_table_reaches_least_squares(level):
    """A linear model on the real table ends within 1 % of the normal equations' error."""
    table = train_table.load(seed=0)
    best = train_table.errors(table, train_table.least_squares(table))[0]
    _, history = train_table.train(table, hidden=0, epochs=30, engine=level)
    assert history[-1][0] < 1.01 * best, f"error {history[-1][0]:.5f}, least squares {best:.5f}"
