# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:7838b3ef6b32a1b1
"""Chapter 3: no gradient, zeros, NaN, huge numbers, and every way to ask for the impossible."""

from types import SimpleNamespace

import numpy as np
import pytest

from tangled.t03_optimizers.paths import plain
from tangled.testing import assert_close, expect_value_error

pytestmark = pytest.mark.edge
ours_only = pytest.mark.levels(1, 2, 3)
RULES = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AdamW")


@pytest.mark.parametrize("rule", RULES)
def test_skips_what_has_no_gradient(level, rule):
    """None is no update: no decay, no momentum; and its first update later is a first one."""
    early, late, alone = (plain(np.ones(3)) for _ in range(3))
    optimizer = getattr(level, rule)([early, late], lr=0.1, weight_decay=0.1)
    for _ in range(4):
        early.grad = np.array([1.0, -2.0, 3.0])
        optimizer.step()
        assert np.array_equal(late.data, np.ones(3))
    single = getattr(level, rule)([alone], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        late.grad = alone.grad = np.array([0.5, 0.1, -0.2])
        optimizer.step()
        single.step()
    assert_close(late.data, alone.data, tol=1e-9, what="late parameter")


@pytest.mark.parametrize("rule", RULES)
def test_zero_gradient_stays_finite(level, rule):
    """0 / (0 + eps) is 0: an entry that never had a gradient does not become NaN."""
    p = plain(np.array([1.0, 1.0]))
    optimizer = getattr(level, rule)([p], lr=0.1, weight_decay=0.0)
    for _ in range(3):
        p.grad = np.array([0.0, 1.0])
        optimizer.step()
    assert p.data[0] == 1.0 and np.isfinite(p.data[1]) and p.data[1] < 1.0


@pytest.mark.parametrize("rule", RULES)
def test_nan_stays_in_its_entry(level, rule):
    """Entries are independent: a NaN must not reach its neighbours, nor become a number."""
    p = plain(np.ones(3))
    optimizer = getattr(level, rule)([p], lr=0.1)
    p.grad = np.array([1.0, np.nan, 1.0])
    optimizer.step()
    assert np.array_equal(np.isnan(p.data), [False, True, False])


@pytest.mark.parametrize("rule", ["RMSProp", "Adam", "AdamW"])
def test_extreme_gradients(level, rule):
    """float32, 1e15 and 1e-15: squares of 1e30 and of 1e-30 are still numbers."""
    p = plain(np.zeros(2, np.float32))
    optimizer = getattr(level, rule)([p], lr=0.1, eps=1e-20)
    p.grad = np.array([1e15, 1e-15], np.float32)
    optimizer.step()
    assert_close(p.data[0] / p.data[1], np.float32(1.0), tol=1e-3, what="ratio of steps")
    assert p.data[0] < 0


def test_rate_zero_and_new_rate(level):
    """lr may be 0 and may be set between steps, by hand as by a schedule."""
    p = plain(np.ones(1))
    optimizer = level.SGD([p], lr=0.0)
    p.grad = np.ones(1)
    optimizer.step()
    assert p.data[0] == 1.0
    optimizer.lr = 0.25
    optimizer.step()
    assert_close(p.data, np.array([0.75]), what="data")


def test_shortest_schedules(level):
    """One update of warm-up, one of fall, one at each rate; gamma is 0.1 if nothing is said."""
    rates = [float(level.cosine_decay(t, 0.5, 2, warmup=1)) for t in range(4)]
    assert_close(np.array(rates), np.array([0.5, 0.5, 0.0, 0.0]), what="cosine")
    assert float(level.linear_warmup(0, 0.5, 1)) == 0.5
    assert_close(np.array(float(level.step_decay(3, 1.0, 1))), np.array(1e-3), what="step")
    optimizer = level.SGD([plain(np.ones(1))], lr=1.0)
    level.StepDecay(optimizer, 1).step()
    assert_close(np.array(optimizer.lr), np.array(0.1), what="lr")
    optimizer.lr = 1.0
    schedule, rates = level.CosineDecay(optimizer, 2), []
    for _ in range(3):
        rates.append(float(optimizer.lr))
        schedule.step()
    assert_close(np.array(rates), np.array([1.0, 0.5, 0.0]), what="no warm-up, final 0")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_leaves_what_is_not_finite(level, bad):
    """Scaling by max_norm / inf would hide the accident as zeros: report it, change nothing."""
    parameters = [plain(np.zeros(2)), plain(np.zeros(1))]
    parameters[0].grad, parameters[1].grad = np.array([1.0, bad]), np.array([2.0])
    norm = level.clip_by_global_norm(parameters, 0.5)
    assert not np.isfinite(norm)
    assert_close(parameters[0].grad, np.array([1.0, bad]), what="gradient")
    assert parameters[1].grad[0] == 2.0


@pytest.mark.parametrize("size", [1e-25, 1e25])
@ours_only
def test_clip_in_float32(level, size):
    """Squares that leave float32's range do not make the norm 0 or inf."""
    p = plain(np.zeros(4, np.float32))
    p.grad = np.full(4, size, np.float32)
    norm = level.clip_by_global_norm([p], size)
    assert_close(np.array(norm / size), np.array(2.0), what="norm")
    assert_close(p.grad.astype(np.float64) / size, np.full(4, 0.5), what="clipped")
    assert p.grad.dtype == np.float32


def test_clip_without_gradients(level):
    """All None: the norm of nothing is 0, and None stays None."""
    p = plain(np.zeros(2))
    assert level.clip_by_global_norm([p], 1.0) == 0.0 and p.grad is None


BAD = [("lr", {"lr": -0.1}), ("lr", {"lr": np.nan}), ("lr", {"lr": "0.1"}), ("lr", {"lr": None}),
       ("weight_decay", {"weight_decay": -1.0}), ("weight_decay", {"weight_decay": np.inf})]
BAD_OF = {"Momentum": [("momentum", {"momentum": 1.0}), ("momentum", {"momentum": -0.1})],
          "Nesterov": [("momentum", {"momentum": 1.5})],
          "AdaGrad": [("eps", {"eps": 0.0})],
          "RMSProp": [("rho", {"rho": 1.0}), ("eps", {"eps": -1e-8}), ("eps", {"eps": 0.0})],
          "Adam": [("betas", {"betas": (0.9, 1.0)}), ("betas", {"betas": 0.9}),
                   ("betas", {"betas": (0.9,)}), ("betas", {"betas": (1.0, 0.9)}),
                   ("eps", {"eps": 0.0})],
          "AdamW": [("betas", {"betas": (-0.1, 0.9)}), ("eps", {"eps": np.nan})]}


@ours_only
@pytest.mark.parametrize("rule", RULES)
def test_settings_are_refused(level, rule):
    """Each setting outside its range, by name, with what was expected."""
    for name, settings in BAD + BAD_OF.get(rule, []):
        expect_value_error(name, getattr(level, rule), [plain(np.ones(2))], **settings)


@ours_only
def test_parameters_are_refused(level):
    """None at all, no arrays of floats, the same twice; a gradient of another shape."""
    p = plain(np.ones((2, 3)))
    for wrong in ([], [3.0], [SimpleNamespace(data=[1.0], grad=None)], [plain([1, 2])], [p, p],
                  [plain(np.ones(2, np.float16))], [plain(np.ones(2, np.complex64))]):
        expect_value_error("parameters", level.SGD, wrong)
    optimizer = level.Adam([plain(np.ones(1)), p])
    optimizer.parameters[0].grad = np.ones(1)
    p.grad = np.ones((3, 2))
    expect_value_error("grad", optimizer.step)
    assert optimizer.parameters[0].data[0] == 1.0, "refused, but half of the step was made"
    for max_norm in (0.0, -1.0, np.inf, "1"):
        expect_value_error("max_norm", level.clip_by_global_norm, [p], max_norm)


@ours_only
@pytest.mark.parametrize("rule", RULES)
def test_one_array_in_two_parameters(level, rule):
    """Levels 1, 2 would update it twice, level 3 part the two: refused. Neighbours are no twins."""
    whole = np.ones((4, 6))
    other = SimpleNamespace(data=np.ones(3), grad=None)
    for a, b in ((whole, whole), (whole, whole[1:]), (whole[:, 2], whole), (whole[:3], whole[2:]),
                 (whole.T, whole), (whole[::-1], whole[0, :1])):
        twins = [SimpleNamespace(data=a, grad=None), other, SimpleNamespace(data=b, grad=None)]
        expect_value_error("parameters", getattr(level, rule), twins)
    apart = [SimpleNamespace(data=part, grad=np.ones((4, 3))) for part in (whole[:, ::2], whole[:, 1::2])]
    getattr(level, rule)([*apart, other], lr=0.5).step()
    assert_close(apart[0].data, apart[1].data, what="interleaved columns")


@ours_only
def test_states_are_refused(level):
    """Another rule's state, another model's, a broken one: nothing is changed by any of them."""
    optimizer = level.Adam([plain(np.ones((2, 3)))], lr=0.5)
    good = optimizer.state_dict()
    name = next(k for k in good if k.startswith("0.v"))
    for wrong in ({}, {**good, "1.t": 0}, {**good, name: np.ones(6)}, {**good, "0.t": -1},
                  level.SGD([plain(np.ones(1))]).state_dict()):
        expect_value_error("state", optimizer.load_state_dict, wrong)
    for wrong, words in (({}, "lacks '0.t'|lacks '0.m"), ({**good, "1.t": 0}, "has '1.t'")):
        with pytest.raises(ValueError, match=words):
            optimizer.load_state_dict(wrong)
    optimizer.load_state_dict(good)                                # of no step at all
    schedule = level.CosineDecay(optimizer, 10)
    expect_value_error("state", schedule.load_state_dict, {"t": 3})
    schedule.load_state_dict(schedule.state_dict())


@ours_only
def test_schedules_are_refused(level):
    """Negative counts, no steps, a warm-up that leaves no step to fall."""
    optimizer = level.SGD([plain(np.ones(1))], lr=1.0)
    expect_value_error("t", level.step_decay, -1, 0.1, 5)
    expect_value_error("t", level.cosine_decay, 0.5, 0.1, 5)
    expect_value_error("step_size", level.step_decay, 0, 0.1, 0)
    expect_value_error("gamma", level.step_decay, 0, 0.1, 5, -0.5)
    expect_value_error("warmup", level.linear_warmup, 0, 0.1, 0)
    expect_value_error("warmup", level.cosine_decay, 0, 0.1, 9, -1)
    expect_value_error("steps", level.cosine_decay, 0, 0.1, 5, 5)
    expect_value_error("steps", level.CosineDecay, optimizer, 0)
    expect_value_error("final", level.cosine_decay, 0, 0.1, 5, 0, -0.1)
    expect_value_error("lr", level.cosine_decay, 0, -0.1, 5)
    expect_value_error("optimizer", level.StepDecay, object(), 5)


@pytest.mark.levels(2, 3)
def test_arrays_of_updates_are_refused(level):
    """One negative count among many."""
    expect_value_error("t", level.step_decay, np.array([3, -1]), 0.1, 5)


@pytest.mark.levels(3)
def test_one_type_for_one_buffer(level):
    """float32 and float64 do not fit into one flat array: said at the start."""
    expect_value_error("parameters", level.Adam, [plain(np.ones(2)), plain(np.ones(2, np.float32))])


@pytest.mark.levels(3)
def test_views_of_one_buffer(level):
    """Data and gradients live in two vectors, and an array assigned from outside is taken in."""
    a, b = plain(np.ones((2, 2))), plain(np.full(3, 2.0))
    optimizer = level.SGD([a, b], lr=1.0)
    assert np.shares_memory(a.data, optimizer.flat) and len(optimizer.flat) == 7
    b.data, b.grad = np.full(3, 5.0), np.ones(3)
    optimizer.step()
    assert_close(optimizer.flat, np.array([1.0, 1, 1, 1, 4, 4, 4]), what="flat")
    assert np.shares_memory(b.data, optimizer.flat)
    assert np.shares_memory(b.grad, optimizer.flat_grad)
    optimizer.zero_grad()
    assert not b.grad.any() and a.grad is None
