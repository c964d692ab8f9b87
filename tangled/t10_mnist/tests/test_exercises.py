# Tangled from chapters/10-mnist.qmd; edit the chapter, then run make tangle. sha256:1ed8fcd324fc43e5
"""Chapter 10: the graded exercises."""

import numpy as np
import pytest

from tangled.t06_backpropagation import DataLoader
from tangled.t10_mnist import load_checkpoint, save_checkpoint
from tangled.testing import assert_close, rng


def rows(batches):
    """Of batches (x, y), the y as lists; x must belong to them."""
    found = []
    for x, y in batches:
        assert_close(x, 10.0 * y[:, None] + np.arange(3), what="x beside its y")
        found.append(y.tolist())
    return found


def arrays(count):
    """x (count, 3) and y (count,)."""
    y = np.arange(count)
    return 10.0 * y[:, None] + np.arange(3), y


@pytest.mark.value
@pytest.mark.parametrize("count, size", [(11, 4), (8, 4), (3, 5)])
def test_left_alone_it_is_a_loader(exercises, count, size):
    """Three epochs equal those of Chapter 6's loader: one permutation an epoch."""
    loader, plain = (kind(arrays(count), size, rng(1)) for kind in (exercises.ResumableLoader, DataLoader))
    assert len(loader) == len(plain)
    for _ in range(3):
        assert rows(loader) == rows(plain)


@pytest.mark.value
@pytest.mark.parametrize("done", [1, 2, 3, 4, 5, 6])
def test_goes_on_in_mid_epoch(exercises, tmp_path, done):
    """Stopped after any batch, kept in a file, gone on elsewhere: the same batches in the same order."""
    source = exercises.ResumableLoader(arrays(11), 4, rng(2))
    expected = [y for _ in range(3) for y in rows(source)]
    dice, seen = rng(2), []
    loader = exercises.ResumableLoader(arrays(11), 4, dice)
    while len(seen) < done:
        for batch in loader:
            seen += rows([batch])
            if len(seen) == done:
                break
    save_checkpoint(tmp_path / "run.npz", {"loader": loader}, {"shuffle": dice})
    next(iter(loader))                                          # what comes after does not count
    other_dice = rng(99)
    other = exercises.ResumableLoader(arrays(11), 4, other_dice)
    load_checkpoint(tmp_path / "run.npz").restore({"loader": other}, {"shuffle": other_dice})
    while len(seen) < len(expected):
        left = rows(other)
        assert left, "an epoch without a batch; expected the next one after the last batch"
        seen += left
    assert seen == expected


@pytest.mark.value
def test_its_state_is_a_copy(exercises):
    """What was handed out does not change as the loader goes on, nor the other way round."""
    loader = exercises.ResumableLoader(arrays(9), 2, rng(3))
    walk = iter(loader)
    next(walk)
    state = loader.state_dict()
    kept = {name: np.array(value) for name, value in state.items()}
    own = loader.state_dict()
    own["order"][...] = 0
    rest = {y for batch in rows(walk) for y in batch}
    assert len(rest) == 7, f"{sorted(rest)} are left; expected 7 of 9"
    list(loader)
    for name, value in kept.items():
        assert_close(np.array(state[name]), value, what=name)
    other = exercises.ResumableLoader(arrays(9), 2, rng(4))
    other.load_state_dict(state)
    state["order"][...] = 0
    left = {y for batch in rows(other) for y in batch}
    assert len(left) == 7, f"{sorted(left)} are left; expected 7 of 9"


@pytest.mark.value
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reliability(exercises, dtype):
    """Bins by hand; an empty bin is NaN."""
    p = np.array([0.5, 0.55, 0.7, 0.95, 0.99, 0.75])
    logits = np.stack([np.log(p), np.log(1 - p)], axis=1).astype(dtype)
    target = np.array([0, 1, 0, 0, 1, 0])
    sure, right, count = exercises.reliability(logits + 3, target, 5)
    assert_close(count, np.array([0, 0, 2, 2, 2]), what="count")
    assert_close(right, np.array([np.nan, np.nan, 0.5, 1.0, 0.5]), what="right")
    assert_close(sure, np.array([np.nan, np.nan, 0.525, 0.725, 0.97]), what="sure")


@pytest.mark.value
def test_reliability_of_extremes(exercises):
    """Certainty falls into the last bin, a half into the lower of two; a thousand does not overflow."""
    logits = np.array([[1e3, 0, 0], [0, 2e3, 0], [5, 5, -1e3]])
    with np.errstate(over="raise", invalid="ignore"):
        sure, right, count = exercises.reliability(logits, np.array([0, 0, 0]), 4)
    assert_close(count, np.array([0, 1, 0, 2]), what="count")
    assert_close(right, np.array([np.nan, 1, np.nan, 0.5]), what="right")
    assert_close(sure, np.array([np.nan, 0.5, np.nan, 1.0]), what="sure")


def cross_entropy(logits, target):
    top = logits.max(axis=1, keepdims=True)
    lse = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return np.mean(lse - logits[np.arange(len(target)), target])


@pytest.mark.value
@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_best_temperature(exercises, factor):
    """Nothing near it is better; logits times a factor ask for that factor more."""
    generator = rng(5)
    logits = generator.standard_normal((400, 6)) * 2
    noisy = logits + generator.gumbel(size=logits.shape)        # its argmax is a draw from the softmax
    target, kept = noisy.argmax(axis=1), logits.copy()
    base = exercises.best_temperature(logits, target)
    assert 0.8 < base < 1.25 and type(base) is float
    found = exercises.best_temperature(factor * logits, target)
    assert_close(np.array(found), np.array(factor * base), tol=1e-5, what="T")
    losses = [cross_entropy(factor * logits / (found * q), target) for q in (0.99, 1.0, 1.01)]
    assert losses[1] < min(losses[0], losses[2])
    assert_close(logits, kept, tol=0, what="logits afterwards")


@pytest.mark.edge
def test_best_temperature_at_the_ends(exercises):
    """All right: as cold as allowed. All wrong: as hot. Large logits do not overflow."""
    logits, right = np.array([[4.0, 0, 1], [0, 900.0, 2]]), np.array([0, 1])
    with np.errstate(over="raise", invalid="raise"):
        assert exercises.best_temperature(logits, right) == 1e-3
        assert exercises.best_temperature(logits, right, low=0.5) == 0.5
        assert exercises.best_temperature(logits, np.array([1, 0]), high=40.0) == 40.0
