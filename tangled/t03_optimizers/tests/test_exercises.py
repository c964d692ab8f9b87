# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:f0223d9b1c9a5666
"""Chapter 3: AMSGrad and Lookahead."""

import numpy as np
import pytest

from tangled.t03_optimizers import SGD, Adam, Momentum
from tangled.t03_optimizers.level3_memory_efficient import Adam as FlatAdam
from tangled.t03_optimizers.paths import plain
from tangled.testing import assert_close, rng


@pytest.mark.value
@pytest.mark.parametrize("name", ["amsgrad", "amsgrad-all"])
def test_amsgrad_golden(exercises, golden, name):
    """Fifty steps of torch.optim.Adam(amsgrad=True), with feedback."""
    problem, case = golden("problem").inputs, golden(name)
    case.inputs.pop("rule")
    parameters = [plain(problem["start"][:6].reshape(2, 3)), plain(problem["start"][6:])]
    optimizer, path = exercises.AMSGrad(parameters, **case.inputs), []
    for noise in problem["noise"]:
        w = np.concatenate([p.data.reshape(-1) for p in parameters])
        g = problem["curvature"] * w + noise
        parameters[0].grad, parameters[1].grad = g[:6].reshape(2, 3), g[6:]
        optimizer.step()
        assert_close(parameters[1].grad, g[6:], tol=0.0, what="gradient, not to be changed")
        path.append(np.concatenate([p.data.reshape(-1) for p in parameters]))
    assert_close(np.array(path), case.outputs["path"], tol=1e-9, what="path")


@pytest.mark.value
def test_amsgrad_remembers(exercises):
    """One long gradient, then short ones: Adam recovers, AMSGrad's steps stay short."""
    ends = []
    for rule in (exercises.AMSGrad, Adam):
        p = plain(np.zeros(2))
        optimizer = rule([p], lr=0.1, betas=(0.0, 0.5))
        for scale in (100.0, *[1.0] * 30):
            p.grad = np.array([scale, 1.0])
            optimizer.step()
        ends.append(p.data)
    assert_close(ends[0][1], ends[1][1], tol=1e-6, what="entry without a long gradient")
    assert ends[0][0] > ends[1][0] + 1.0, f"AMSGrad at {ends[0][0]:.3f}, Adam at {ends[1][0]:.3f}"


def descend(optimizer, parameters, seed, steps):
    """Random gradients, the same for the same seed."""
    random = rng(seed)
    for _ in range(steps):
        for p in parameters:
            p.grad = random.standard_normal(p.data.shape)
        optimizer.step()


@pytest.mark.value
@pytest.mark.parametrize("k, alpha", [(3, 0.4), (1, 0.7), (2, 1.0), (5, 0.5)])
def test_lookahead_formula(exercises, k, alpha):
    """Eleven steps of Momentum, the slow weights by hand, for two parameters."""
    starts = rng(1).standard_normal((2, 3)), rng(2).standard_normal(5)
    parameters, fast = [plain(w) for w in starts], [plain(w) for w in starts]
    settings = {} if (k, alpha) == (5, 0.5) else {"k": k, "alpha": alpha}
    optimizer = exercises.Lookahead(Momentum(parameters, lr=0.1), **settings)
    inner, slow = Momentum(fast, lr=0.1), [w.copy() for w in starts]
    ours, theirs = rng(3), rng(3)
    for t in range(1, 12):
        for group, random in ((parameters, ours), (fast, theirs)):
            for p in group:
                p.grad = random.standard_normal(p.data.shape)
        optimizer.step()
        inner.step()
        if t % k == 0:
            for p, s in zip(fast, slow):
                s += alpha * (p.data - s)
                p.data[...] = s
        assert_close(tuple(p.data for p in parameters), tuple(p.data for p in fast), tol=1e-12,
                     what=f"parameters after step {t}")


@pytest.mark.value
@pytest.mark.parametrize("rule", [Adam, FlatAdam])
def test_lookahead_resumes(exercises, rule):
    """Saved after 4 steps of k = 3, in the middle of a round: the next 7 are the same to the last bit."""
    parameters = [plain(np.ones((2, 3))), plain(np.arange(4.0))]
    optimizer = exercises.Lookahead(rule(parameters, lr=0.1), 3, 0.4)
    descend(optimizer, parameters, 4, 4)
    saved, data = optimizer.state_dict(), [p.data.copy() for p in parameters]
    descend(optimizer, parameters, 5, 7)
    again = [plain(w) for w in data]
    second = exercises.Lookahead(rule(again, lr=0.1), 3, 0.4)
    second.load_state_dict(saved)
    descend(second, again, 5, 7)
    for p, q in zip(parameters, again):
        assert_close(q.data, p.data, tol=0.0, what="resumed")


@pytest.mark.value
def test_lookahead_in_place(exercises):
    """Whoever holds a parameter's array sees it learn; zero_grad leaves zeros; settings are refused."""
    p = plain(np.array([1.0, 2.0]))
    held = p.data
    optimizer = exercises.Lookahead(SGD([p], lr=1.0), 2, 0.5)
    for _ in range(2):
        p.grad = np.array([1.0, -1.0])
        optimizer.step()
    assert_close(held, np.array([0.0, 3.0]), tol=1e-12, what="held array")
    optimizer.zero_grad()
    assert_close(p.grad, np.zeros(2), what="gradient")
    for wrong in ({"k": 0}, {"alpha": 0.0}, {"alpha": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            exercises.Lookahead(SGD([p], lr=1.0), **wrong)
