# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:9c40a6cbd32a6084
"""Chapter 34: nothing, one number, one rank, extremes, and what is refused."""

import numpy as np
import pytest

from tangled.t34_distributed.replaying import simulate
from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.edge

OPS = "ring_all_reduce", "tree_all_reduce"


@pytest.mark.parametrize("size", [1, 2, 4, 5])
@pytest.mark.parametrize("shape", [(0,), (1,), (), (3, 0), (1, 1)])
def test_nothing_and_one(level, shape, size):
    """No number, one number, a number without axes: fewer numbers than ranks."""
    xs = rng(0).standard_normal((size, *shape))
    for name in OPS:
        for total in simulate(size, lambda group, name=name: getattr(level, name)(group, xs[group.rank])):
            assert total.shape == shape
            assert_close(total, xs.sum(axis=0), tol=1e-12, what="sum")


def test_infinite_and_nan(level):
    """They reach every rank, in their places."""
    xs = np.array([[1, np.inf, np.nan, 2], [1, 5, 1, 2], [2, -1, 1, -np.inf]])
    for name in OPS:
        for total in simulate(3, lambda group, name=name: getattr(level, name)(group, xs[group.rank])):
            assert np.array_equal(total, [4, np.inf, np.nan, -np.inf], equal_nan=True)


def test_extremes(level):
    """Numbers near the ends of float32."""
    xs = np.array([[3e38, 1e-38, 1e30], [-3e38, 1e-38, 1], [1, 0, -1e30]], np.float32)
    for name in OPS:
        for total in simulate(3, lambda group, name=name: getattr(level, name)(group, xs[group.rank])):
            assert np.isfinite(total).all() and total[1] > 1.9e-38


@pytest.mark.parametrize("argument, value", [
    ("x", np.ones(3, np.float16)), ("x", np.ones(3, int)), ("out", np.ones(4)), ("out", np.ones(3, np.float32)),
    ("out", [0.0, 0.0, 0.0]), ("out", np.frombuffer(bytes(24)))])
def test_all_reduce_refuses(level, argument, value):
    """Halves and integers, results of another shape or dtype, or that cannot be written."""
    given = {"x": np.ones(3), argument: value}
    for name in OPS:
        expect_value_error(argument, lambda name=name: simulate(1, lambda g: getattr(level, name)(g, **given)))


@pytest.mark.parametrize("argument, changes", [
    ("gradients", {"gradients": np.ones(3)}), ("gradients", {"gradients": np.ones((2, 3), int)}),
    ("counts", {"counts": [1, 2, 3]}), ("counts", {"counts": [1.5, 2.0]}), ("counts", {"counts": [1, -1]}),
    ("counts", {"counts": [0, 0]}), ("max_norm", {"max_norm": 0}), ("max_norm", {"max_norm": -1.0})])
def test_synchronise_refuses(level, argument, changes):
    """Another form, tokens that are none, no token at all."""
    given = {"gradients": np.ones((2, 3)), "counts": [1, 2], **changes}
    expect_value_error(argument, lambda: simulate(1, lambda group: level.synchronise(group, **given)))


def test_no_micro_batch(level):
    """A rank without any, beside one that has some; if all have none, all raise."""
    def work(group):
        g = np.full((group.rank, 3), 2.0)
        return level.synchronise(group, g, [5] * group.rank)[0]
    for gradient in simulate(2, work):
        assert_close(gradient, np.full(3, 2.0), tol=1e-12, what="gradient")
    with pytest.raises(ValueError, match="counts sum to 0 over all ranks; expected at least one token"):
        simulate(3, lambda group: level.synchronise(group, np.ones((0, 3)), []))


@pytest.mark.parametrize("argument, changes", [
    ("weights", {"weights": [1.0, 2.0]}), ("weights", {"weights": np.ones((2, 2))}), ("weights", {"weights": np.ones(
        6)[::2]}), ("weights", {"weights": np.ones(3, np.float16)}), ("lr", {"lr": -1}), ("betas", {"betas": (1, 0.9)}),
    ("eps", {"eps": 0}), ("weight_decay", {"weight_decay": -0.1}), ("decayed", {"decayed": 4}),
    ("decayed", {"decayed": 1.0})])
def test_optimiser_refuses(level, argument, changes):
    """What cannot be written in place, rates that are none, more decay than weights."""
    given = {"weights": np.ones(3), **changes}
    expect_value_error(argument, lambda: simulate(1, lambda group: level.ShardedAdamW(group, **given)))


@pytest.mark.parametrize("x", [[1.0, 2.0], np.frombuffer(bytes(16)), np.ones(2, int)])
def test_broadcast_refuses(level, x):
    """What cannot be written, on every rank alike: nobody waits for somebody who has raised."""
    expect_value_error("x", lambda: simulate(2, lambda group: level.broadcast(group, x)))


@pytest.mark.parametrize("length", [1, 4, 6])
def test_step_refuses(level, length):
    """A gradient, or a state, of another length than the weights."""
    make = lambda group: level.ShardedAdamW(group, np.ones(5))
    expect_value_error("gradient", lambda: simulate(1, lambda group: make(group).step(np.ones(length), 3)))
    state = {"t": 1, "m": np.ones(length), "v": np.ones(length)}
    expect_value_error("state", lambda: simulate(1, lambda group: make(group).load_state_dict(state)))


@pytest.mark.parametrize("arguments, name", [((-1, 0, 1), "n"), ((3, 2, 2), "rank"), ((3, 0, 0), "size"),
                                             ((3.0, 0, 1), "n")])
def test_part_refuses(level, arguments, name):
    """Ranks that are not there."""
    expect_value_error(name, level.part, *arguments)


def test_piece_refuses(level):
    """A piece that is not this rank's."""
    expect_value_error("piece", lambda: simulate(1, lambda group: level.all_gather(group, np.ones(3), 4)))


def test_fewer_weights_than_ranks(level):
    """Two weights on four ranks: two ranks hold nothing, and all have the same weights."""
    def work(group):
        w = np.array([1.0, -1.0])
        optimizer = level.ShardedAdamW(group, w, lr=0.1, weight_decay=0.0)
        optimizer.step(np.array([1.0, 2.0]), 1 + group.rank)
        assert optimizer.t == optimizer.state_dict()["t"] == 1
        return w
    for w in simulate(4, work):
        assert_close(w, np.array([0.9, -1.1]), tol=1e-6, what="w")
