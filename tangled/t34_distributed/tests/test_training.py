# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:1667b69bceed3cb9
"""Chapter 34: training on simulated ranks equals one process; laws and their fits; what a command refuses."""

import numpy as np
import pytest

from tangled.t10_mnist import load_checkpoint
from tangled.t30_mini_gpt.training import first_state
from tangled.t34_distributed import laws, train_distributed
from tangled.t34_distributed.group import Group, simulate
from tangled.t34_distributed.training import SETTINGS, Trainer, micro_batches, train, windows
from tangled.testing import assert_close, rng

TINY = SETTINGS | {"width": 8, "layers": 1, "context": 6, "batch": 7, "micro": 2, "steps": 9, "warmup": 2,
                   "dtype": "float64", "clip": 0.5}
TEXT = rng(0).integers(0, 5, 100)


def test_windows_drop_and_repeat_nothing():
    """An epoch: every target once, in windows of all lengths, batches that the ranks do not divide."""
    an_epoch = -(-17 // TINY["batch"])
    starts = np.concatenate([windows(100, TINY, step) for step in range(an_epoch)])
    pairs = list(micro_batches(TEXT, starts, TINY))
    assert sorted(starts) == list(range(0, 99, 6))
    assert sum(x.size for x, _ in pairs) == 99 and {x.shape[1] for x, _ in pairs} == {6, 3}
    assert all(len(x) <= 2 for x, _ in pairs)
    for other in windows(100, TINY, an_epoch), windows(100, TINY | {"seed": 1}, 0):
        assert other.tolist() != windows(100, TINY, 0).tolist()
    assert sorted(windows(13, TINY, 0)) == [0, 6], "a window without a target"


@pytest.mark.value
@pytest.mark.parametrize("sharded", [False, True])
def test_a_step_hands_on(sharded):
    """The rate of the step, and the longest norm: of the gradient, or to the optimiser in shares."""
    trainer, _ = train(Group(), TEXT, TINY | {"steps": 0, "clip": 1e-3, "sharded": sharded})
    seen = []
    trainer.optimizer.step = lambda g, count, *longest: seen.append((trainer.optimizer.lr, g.copy(), count, *longest))
    trainer.step(list(micro_batches(TEXT, [0, 96, 12], TINY)), 0.123)
    (rate, gradient, count, *longest), = seen
    assert rate == 0.123 and longest == ([1e-3] if sharded else [])
    if sharded:
        assert count == 15 and np.linalg.norm(gradient) > 0.01
    else:
        assert_close(np.linalg.norm(gradient), 1e-3, tol=1e-9, what="norm")


@pytest.mark.value
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_training_equals_one_process(size, sharded):
    """Nine steps over three epochs, the last batch of each uneven: weights to 1e-10, losses too."""
    alone, losses = train(Group(), TEXT, TINY)
    found = simulate(size, lambda group: train(group, TEXT, TINY | {"sharded": sharded}))
    for trainer, theirs in found:
        assert trainer.weights.tobytes() == found[0][0].weights.tobytes()
        assert_close(trainer.weights, alone.weights, tol=1e-10, what="weights")
        assert_close(np.array(theirs), np.array(losses), tol=1e-10, what="losses")
    first = train(Group(), TEXT, TINY | {"steps": 0})[0].weights
    assert np.abs(alone.weights - first).max() > 1e-3


@pytest.mark.value
@pytest.mark.parametrize("first, then, sharded", [(2, 3, True), (3, 1, False)])
def test_resume_on_other_ranks(tmp_path, first, then, sharded):
    """Stopped after four steps, gone on with another number of ranks: as if nothing had been."""
    settings, path = TINY | {"sharded": sharded, "every": 2}, tmp_path / "run.npz"

    def stop(group, step):
        if step == 4:
            raise InterruptedError
    with pytest.raises(InterruptedError):
        simulate(first, lambda group: train(group, TEXT, settings, path, each=stop))
    assert len(load_checkpoint(path).record["losses"]) == 4
    trainer, losses = simulate(then, lambda group: train(group, TEXT, settings, path))[0]
    alone, wanted = train(Group(), TEXT, TINY)
    assert_close(trainer.weights, alone.weights, tol=1e-10, what="weights")
    assert_close(np.array(losses), np.array(wanted), tol=1e-10, what="losses")


@pytest.mark.value
def test_ranks_that_begin_apart():
    """A trainer takes rank 0's weights, and its matrices alone decay."""
    def work(group):
        first = first_state(5, TINY)
        state = {name: a.astype(TINY["dtype"]) + group.rank for name, a in first.items()}
        trainer = Trainer(group, state, TINY)
        assert trainer.optimizer.decayed == sum(a.size for a in first.values() if a.ndim == 2) < len(trainer.weights)
        return trainer.weights
    found = simulate(3, work)
    assert all(np.array_equal(weights, found[0]) for weights in found)


def test_cost_is_fitted():
    """Times made by the model give its two constants back; the formulas by hand, on 4 and on 5 ranks."""
    assert_close(laws.ring_seconds(800, 4, 1e-3, 1e-6), 6 * (1e-3 + 200e-6), tol=1e-12, what="ring")
    assert_close(laws.tree_seconds(800, 4, 1e-3, 1e-6), 4 * (1e-3 + 800e-6), tol=1e-12, what="tree")
    assert_close(laws.tree_seconds(800, 5, 1e-3, 1e-6), 6 * (1e-3 + 800e-6), tol=1e-12, what="tree")
    sizes, true = np.array([8, 800, 80_000, 8_000_000]), (3e-6, 2e-10)
    for seconds in (laws.ring_seconds, laws.tree_seconds):
        for ranks in (2, 4, 7):
            times = [seconds(n, ranks, *true) for n in sizes]
            assert_close(np.array(laws.fit_cost(seconds, sizes, ranks, times)), np.array(true), tol=1e-9, what="fit")
    assert laws.ring_seconds(100, 1, *true) == laws.tree_seconds(100, 1, *true) == 0


def test_power_law_is_fitted():
    """Points on a power law give its constants back, and the next point."""
    sizes = np.array([1e3, 4e3, 2e4, 9e4])
    scale, exponent = laws.fit_power_law(sizes, 7 * sizes**-0.13)
    assert_close(np.array([scale, exponent]), np.array([7, 0.13]), tol=1e-9, what="scale and exponent")
    losses = np.array([5.0, 3.1, 2.9, 1.2])                     # on no line: the least squares of logarithms
    slope, height = np.polyfit(np.log(sizes), np.log(losses), 1)
    want = np.array([np.exp(height), -slope])
    assert_close(np.array(laws.fit_power_law(sizes, losses)), want, tol=1e-9, what="scale and exponent")


def test_command_refuses(capsys):
    """One line, and the exit status 1."""
    assert train_distributed.main(["--width", "0"]) == 1
    assert train_distributed.main(["--width", "9", "--steps", "1", "--ranks", "9"]) == 1
    said = capsys.readouterr().err.strip().split("\n")
    assert said[0] == "width = 0; expected at least 1" and "size = 9" in said[1] and len(said) == 2
