# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:2d7645bc185aeefe
"""Chapter 3: paths, schedules, clipping, resuming."""

import numpy as np
import pytest

from tangled.layouts import LAYOUTS
from tangled.t02_autograd import Tensor
from tangled.t03_optimizers.paths import follow, plain, quadratic, rosenbrock
from tangled.testing import assert_close, assert_dtypes, assert_layouts, assert_repeatable, rng

RULES = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AdamW")
PATHS = ("sgd", "sgd-decay", "momentum", "momentum-decay", "nesterov", "nesterov-decay",
         "adagrad", "adagrad-decay", "adagrad-eps", "rmsprop", "rmsprop-decay", "rmsprop-eps",
         "adam", "adam-betas", "adam-decay", "adam-eps", "adamw", "adamw-decay",
         "adagrad-all", "rmsprop-all", "adam-all", "adamw-all")


@pytest.mark.value
@pytest.mark.parametrize("name", PATHS)
def test_golden_trajectory(level, golden, name):
    """Fifty steps of torch.optim, with feedback; tight, for all is float64."""
    problem, case = golden("problem").inputs, golden(name)
    rule = getattr(level, case.inputs.pop("rule"))
    curvature, start = problem["curvature"], problem["start"]
    parameters = [plain(start[:6].reshape(2, 3)), plain(start[6:])]
    optimizer, path = rule(iter(parameters), **case.inputs), []
    for noise in problem["noise"]:
        w = np.concatenate([p.data.reshape(-1) for p in parameters])
        g = curvature * w + noise
        parameters[0].grad, parameters[1].grad = g[:6].reshape(2, 3), g[6:]
        optimizer.step()
        path.append(np.concatenate([p.data.reshape(-1) for p in parameters]))
    assert_close(np.array(path), case.outputs["path"], tol=1e-9, what="path")


@pytest.mark.value
@pytest.mark.parametrize("name", ["step", "warmup", "cosine", "cosine-final", "cosine-warmup"])
def test_golden_schedules(level, golden, name):
    """Each of the first 50 rates: PyTorch's, and past its end the last one; no shift by one."""
    case = golden("schedule-" + name)
    function = getattr(level, case.inputs.pop("function"))
    rates = np.array([float(function(t, **case.inputs)) for t in range(50)])
    assert_close(rates, case.outputs["lr"], tol=1e-9, what="lr")


@pytest.mark.value
@pytest.mark.parametrize("name", ["clip", "clip-none"])
def test_golden_clipping(level, golden, name):
    """torch's clip_grad_norm_, with a norm above the limit and one below it."""
    case = golden(name)
    parameters = [plain(np.zeros_like(case.inputs[k])) for k in "ab"]
    for p, k in zip(parameters, "ab"):
        p.grad = case.inputs[k].copy()
    norm = level.clip_by_global_norm(iter(parameters), case.inputs["max_norm"])
    assert_close(np.array(norm), case.outputs["norm"], what="norm")
    for p, k in zip(parameters, "ab"):
        assert_close(p.grad, case.outputs[k], what="clipped gradient")


@pytest.mark.value
def test_velocity_is_a_sum(level):
    """Constant gradient: the velocity is (1 - mu^t) / (1 - mu), eq. 3.9, and not 1."""
    p, mu = plain(np.zeros(1)), 0.9
    optimizer, path = level.Momentum([p], lr=1.0, momentum=mu), []
    for _ in range(6):
        p.grad = np.ones(1)
        optimizer.step()
        path.append(p.data[0])
    steps = -np.diff([0.0, *path])
    assert_close(steps, (1 - mu ** np.arange(1, 7)) / (1 - mu), tol=1e-9, what="velocity")


DEFAULTS = {"SGD": {"lr": 0.01, "weight_decay": 0.0},
            "Momentum": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0},
            "Nesterov": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0},
            "AdaGrad": {"lr": 0.01, "eps": 1e-10, "weight_decay": 0.0},
            "RMSProp": {"lr": 0.01, "rho": 0.99, "eps": 1e-8, "weight_decay": 0.0},
            "Adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
            "AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}}


@pytest.mark.value
@pytest.mark.parametrize("rule", RULES)
def test_defaults(level, rule):
    """Settings that are not given are those of the chapter's table; gradients of eps's size."""
    bowl = quadratic([1.0, 1e-7, 1e-9])
    by_default, given = (follow(getattr(level, rule), bowl, [3.0, -2.0, 1.0], 5, **settings)
                         for settings in ({}, DEFAULTS[rule]))
    assert_close(by_default, given, tol=1e-12, what="path")


@pytest.mark.value
def test_look_ahead(level):
    """PyTorch's form is Nesterov's own seen from the point ahead: eq. 3.16."""
    lr, mu, curvature = 0.1, 0.9, np.array([1.0, 7.0])
    w, v, ahead = np.array([2.0, -1.0]), np.zeros(2), []
    for _ in range(20):
        v = mu * v + curvature * (w - lr * mu * v)
        w = w - lr * v
        ahead.append(w - lr * mu * v)
    path = follow(level.Nesterov, quadratic(curvature), [2.0, -1.0], 20, lr=lr, momentum=mu)
    assert_close(path[1:], np.array(ahead), tol=1e-9, what="point ahead")


@pytest.mark.value
@pytest.mark.levels(2, 3)
def test_rmsprop_forgets(level):
    """RMSProp converges while it remembers its start, and dances once it has forgotten it."""
    bowl = quadratic([1.0, 25.0])
    path = follow(level.RMSProp, bowl, [-3.0, 1.0], 2000, lr=0.08)
    values = np.array([bowl(path[t])[0] for t in (60, 300, 2000)])
    assert values[0] < 1e-10 and values[1] < 1e-100 and 1e-3 < values[2] < 0.1, values


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's table: two steps of Adam on half of w^2."""
    path = follow(level.Adam, quadratic([1.0]), [1.0], 2, lr=0.1)
    assert_close(path[:, 0], np.array([1.0, 0.9, 0.8004122]), tol=1e-6, what="trace")


@pytest.mark.value
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_first_step_is_the_rate(level, scale):
    """Adam's first step is lr times the sign, whatever the size; without correction, 3.2 lr."""
    g = scale * np.array([1.0, -2.0, 0.5])
    p = plain(np.zeros(3))
    optimizer = level.Adam([p], lr=0.01)
    p.grad = g
    optimizer.step()
    assert_close(p.data, -0.01 * np.sign(g), tol=1e-4, what="first step")


@pytest.mark.value
def test_decay_is_decoupled(level):
    """No gradient, only decay: every weight shrinks by (1 - lr * wd) a step, large or small."""
    start = np.array([100.0, 1.0, 1e-3])
    p = plain(start)
    optimizer = level.AdamW([p], lr=0.1, weight_decay=0.5)
    for _ in range(4):
        p.grad = np.zeros(3)
        optimizer.step()
    assert_close(p.data, start * 0.95**4, tol=1e-9, what="decayed weights")


@pytest.mark.value
def test_clip_keeps_the_direction(level):
    """Two arrays of very different length: the proportions of all gradients stay."""
    parameters = [plain(np.zeros((2, 1))), plain(np.zeros(1)), plain(np.zeros(3))]
    parameters[0].grad, parameters[1].grad = np.array([[3.0], [4.0]]), np.array([0.5])
    norm = level.clip_by_global_norm(parameters, 1.0)
    g = np.concatenate([p.grad.reshape(-1) for p in parameters[:2]])
    assert_close(np.array(norm), np.sqrt(np.array(25.25)), what="norm")
    assert_close(g, np.array([3.0, 4.0, 0.5]) / norm, what="direction")
    assert parameters[2].grad is None


@pytest.mark.value
@pytest.mark.parametrize("rule", RULES)
def test_descends_rosenbrock(level, rule):
    """Every rule, at a modest rate, gets well below the value of its start (24.2)."""
    lr = 1e-3 if rule in ("SGD", "Momentum", "Nesterov") else 0.05
    settings = {"momentum": 0.5} if rule in ("Momentum", "Nesterov") else {}
    path = follow(getattr(level, rule), rosenbrock, [-1.2, 1.0], 300, lr=lr, **settings)
    assert rosenbrock(path[-1])[0] < 4.5, f"{rule} is at {path[-1]}"


@pytest.mark.gradient
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_tensors_are_parameters(level, rule):
    """Chapter 2's tensors descend Rosenbrock's valley exactly as by its hand-written gradient."""
    x, y = Tensor(np.array(-1.2)), Tensor(np.array([1.0]))
    lr = 1e-3 if rule == "SGD" else 0.05
    optimizer = getattr(level, rule)([x, y], lr=lr)
    for _ in range(30):
        optimizer.zero_grad()
        gap = y - x * x
        ((1.0 - x) ** 2 + 100.0 * gap * gap).sum().backward()
        optimizer.step()
    path = follow(getattr(level, rule), rosenbrock, [-1.2, 1.0], 30, lr=lr)
    assert_close(np.array([float(x.data), y.data[0]]), path[-1], tol=1e-9, what="end")


@pytest.mark.gradient
def test_zeroed_gradients_add_up_anew(level):
    """zero_grad leaves zeros where an array was, so that layers may add into it; None stays."""
    a, b = Tensor(np.ones(3)), Tensor(np.ones(2))
    optimizer = level.SGD([a, b], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (a * a).sum().backward()
    assert_close(a.grad, 2 * np.ones(3), what="gradient")
    assert b.grad is None


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_zeros_in_the_same_array(level):
    """Whoever holds the gradient's array sees the zeros, and can go on adding into it."""
    p = plain(np.ones((2, 3)))
    optimizer = level.SGD([p], lr=0.1)
    p.grad = np.ones((2, 3))
    optimizer.step()
    held = p.grad
    optimizer.zero_grad()
    assert p.grad is held and not held.any()


def _train(optimizer, parameters, seed, steps, schedule=None):
    """Random gradients, float32, in the arrays that are there or in new ones."""
    random = rng(seed)
    for _ in range(steps):
        for p in parameters:
            p.grad = random.standard_normal(p.data.shape).astype(p.data.dtype)
        optimizer.step()
        if schedule:
            schedule.step()


def _fresh(level, rule, values):
    parameters = [plain(v) for v in values]
    optimizer = getattr(level, rule)(parameters, lr=0.01)
    return parameters, optimizer, level.CosineDecay(optimizer, 30, warmup=4)


@pytest.mark.value
@pytest.mark.parametrize("rule", RULES)
def test_resumes_bit_for_bit(level, rule):
    """Ten steps, saved, ten more; and the same ten by a fresh optimiser from what was saved."""
    values = [rng(1).standard_normal((3, 4)).astype(np.float32), np.ones(5, np.float32)]
    parameters, optimizer, schedule = _fresh(level, rule, values)
    _train(optimizer, parameters, 2, 10, schedule)
    saved = [p.data.copy() for p in parameters], optimizer.state_dict(), schedule.state_dict()
    _train(optimizer, parameters, 3, 10, schedule)
    again, second, second_schedule = _fresh(level, rule, saved[0])
    second.load_state_dict(saved[1])
    second_schedule.load_state_dict(saved[2])
    _train(second, again, 3, 10, second_schedule)
    assert second.lr == optimizer.lr
    for p, q in zip(parameters, again):
        assert np.array_equal(p.data, q.data), f"{rule} did not continue where it was"


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_state_survives_a_file(level, tmp_path):
    """np.savez and back, without pickle: what comes back are arrays of shape (), too."""
    parameters, optimizer, schedule = _fresh(level, "Adam", [np.ones(3)])
    _train(optimizer, parameters, 2, 5, schedule)
    np.savez(tmp_path / "state.npz", **optimizer.state_dict())
    again, second, _ = _fresh(level, "Adam", [parameters[0].data])
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        second.load_state_dict(dict(file))
    _train(optimizer, parameters, 4, 5)
    _train(second, again, 4, 5)
    assert np.array_equal(parameters[0].data, again[0].data)


@pytest.mark.value
def test_schedule_drives_the_optimiser(level):
    """The first update is made with value(0), the second with value(1); step() once after each."""
    p = plain(np.zeros(1))
    optimizer = level.SGD([p], lr=1.0)
    schedule, rates = level.CosineDecay(optimizer, steps=4, warmup=2), []
    for _ in range(6):
        rates.append(float(optimizer.lr))
        schedule.step()
        if len(rates) == 3:
            saved = schedule.state_dict()
    assert_close(np.array(rates), np.array([0.5, 1.0, 1.0, 0.5, 0.0, 0.0]), what="rates used")
    level.CosineDecay(optimizer, steps=4, warmup=2).load_state_dict(saved)
    assert_close(np.array(float(optimizer.lr)), np.array(0.5), what="rate after loading")


@pytest.mark.value
def test_step_decay_drives_the_optimiser(level):
    """Two updates at each rate; the optimiser's lr is a plain float, for float32's sake."""
    optimizer = level.SGD([plain(np.zeros(1))], lr=1.0)
    schedule, rates = level.StepDecay(optimizer, step_size=2, gamma=0.1), []
    for _ in range(5):
        rates.append(optimizer.lr)
        schedule.step()
    assert_close(np.array(rates), np.array([1.0, 1.0, 0.1, 0.1, 0.01]), what="rates used")
    assert type(optimizer.lr) is float


@pytest.mark.shape
@pytest.mark.parametrize("rule", RULES)
def test_float32_is_kept(level, rule):
    """Data and state stay float32, any shape, also under a schedule and with decay."""
    parameters = [plain(np.ones(s, np.float32)) for s in ((2, 3), (4,), (), (0, 3), (1, 1, 2))]
    shapes = [p.data.shape for p in parameters]
    optimizer = getattr(level, rule)(parameters, lr=0.01, weight_decay=0.1)
    _train(optimizer, parameters, 5, 3, level.CosineDecay(optimizer, 5))
    assert [p.data.shape for p in parameters] == shapes
    assert {p.data.dtype for p in parameters} == {np.dtype(np.float32)}
    if isinstance(optimizer.state_dict().get("lr"), float):        # not torch's dictionary
        arrays = [v for v in optimizer.state_dict().values() if isinstance(v, np.ndarray)]
        assert {a.dtype for a in arrays} <= {np.dtype(np.float32)}


def steps_of(level, rule, steps=3, **settings):
    """w, g (any shape) -> w after some steps along gradients made of g, the last one g itself."""
    def f(w, g):
        p = plain(w)
        optimizer = getattr(level, rule)([p], **settings)
        for k in range(1, steps):
            p.grad = (g * 0.5**k).astype(w.dtype)
            optimizer.step()
        p.grad = g
        optimizer.step()
        return p.data
    return f


@pytest.mark.shape
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("rule", RULES)
def test_dtypes(level, rule):
    """float32 gives float32, near float64's result also for large and small gradients."""
    w, g = rng(20).standard_normal((2, 3, 4)), rng(21).uniform(0.5, 1.5, (2, 3, 4))
    lr = 1e-3 if rule in ("SGD", "Momentum", "Nesterov") else 0.05
    f = steps_of(level, rule, lr=lr, weight_decay=0.1)
    assert_dtypes(f, (w, g), (np.float32, np.float64), refuses=(np.float16,),
                  extremes=[(w, 1e4 * g), (w, 1e-4 * g), (1e3 * w, -g)])


@pytest.mark.shape
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("rule", RULES)
def test_gradients_in_any_layout(level, rule):
    """A gradient may lie in memory as it likes, be read-only, and is neither changed nor kept."""
    f = steps_of(level, rule, lr=0.1, weight_decay=0.2)
    inputs = rng(22).standard_normal((2, 3, 4)), rng(23).standard_normal((2, 3, 4))
    assert_layouts(f, inputs)
    assert_repeatable(f, inputs)


WRITABLE = [name for name in LAYOUTS if name not in ("read-only", "zero stride", "zero stride, last axis",
                                                     "overlapping")]


@pytest.mark.shape
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layout", WRITABLE)
def test_data_in_any_layout(level, rule, layout):
    """So may the parameter, which is updated where it is."""
    start, g = rng(24).standard_normal((3, 4)), rng(25).standard_normal((3, 4))
    expected = steps_of(level, rule, lr=0.1)(start, g)
    p = plain(start)
    p.data = LAYOUTS[layout](start)
    optimizer = getattr(level, rule)([p], lr=0.1)
    for scale in (0.5, 0.25, 1.0):
        p.grad = scale * g
        optimizer.step()
    assert_close(p.data, expected, tol=1e-12, what="data")


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("layout", WRITABLE)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_clipping_in_any_layout(level, layout, dtype):
    """Clipped where it is, in its own type; the norm to the accuracy of the numbers, not of sums."""
    a, b = rng(26).standard_normal((30, 40)).astype(dtype), rng(27).standard_normal(50).astype(dtype)
    p, q = plain(np.zeros((30, 40))), plain(np.zeros(50))
    p.grad, q.grad = held = LAYOUTS[layout](a.copy()), LAYOUTS[layout](b.copy())
    expected = np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in (a, b)))
    norm = level.clip_by_global_norm([p, q], 7.0)
    assert_close(np.array(norm), expected, tol=1e-6, what="norm")
    assert p.grad is held[0] and q.grad is held[1] and p.grad.dtype == dtype
    tol = 2e-3 if dtype == np.float16 else 1e-5
    assert_close(p.grad.astype(float), a.astype(float) * 7 / expected, tol=tol, what="gradient")
    assert_close(q.grad.astype(float), b.astype(float) * 7 / expected, tol=tol, what="gradient")
    again = level.clip_by_global_norm([p, q], 7.1)
    assert_close(np.array(again), np.array(7.0), tol=tol, what="norm when clipped again")


@pytest.mark.value
@pytest.mark.parametrize("rule", RULES)
def test_two_optimisers(level, rule):
    """Interleaved, with settings of their own: neither knows of the other's state or rate."""
    alone = [follow(getattr(level, rule), quadratic([1.0, 3.0]), start, 4, lr=lr, weight_decay=decay)[-1]
             for start, lr, decay in (([2.0, -1.0], 0.1, 0.0), ([0.5, 1.0], 0.02, 0.3))]
    parameters = [plain(np.array([2.0, -1.0])), plain(np.array([0.5, 1.0]))]
    both = [getattr(level, rule)([p], lr=lr, weight_decay=decay)
            for p, lr, decay in zip(parameters, (0.1, 0.02), (0.0, 0.3))]
    for _ in range(4):
        for p, optimizer in zip(parameters, both):
            p.grad = np.array([1.0, 3.0]) * p.data
            optimizer.step()
    assert_close(tuple(p.data for p in parameters), tuple(alone), tol=1e-12, what="data")


@pytest.mark.shape
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("rule", RULES)
def test_shape_of_one_number(level, rule):
    """Shape () stays an array of shape (), data, gradient and state, also from a NumPy scalar."""
    p = plain(np.float32(2.0))
    optimizer = getattr(level, rule)([p], lr=0.01, weight_decay=0.1)
    for _ in range(2):
        p.grad = np.float32(0.5)
        level.clip_by_global_norm([p], 0.25)
        optimizer.step()
    arrays = [p.data, *(v for key, v in optimizer.state_dict().items() if key[-2:] not in ("lr", ".t"))]
    for array in arrays:
        assert type(array) is np.ndarray and (array.shape, array.dtype) == ((), np.float32)
    assert_close(np.asarray(p.grad, float), np.array(0.25), what="gradient")


@pytest.mark.gradient
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_seen_by_the_engine(level, rule):
    """A graph that was recorded before the step needs the old numbers: backward() refuses."""
    w = Tensor(np.array([1.0, 2.0]))
    optimizer = getattr(level, rule)([w], lr=0.1)
    loss = (w * w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError):
        loss.backward()


@pytest.mark.shape
@pytest.mark.levels(2, 3)
def test_schedules_take_arrays(level):
    """All rates at once, in the shape of t; a plain t gives a plain number."""
    t = np.arange(12).reshape(3, 4)
    for f, settings in ((level.step_decay, {"step_size": 3}), (level.linear_warmup, {"warmup": 5}),
                        (level.cosine_decay, {"steps": 9, "warmup": 2})):
        rates = f(t, 0.5, **settings)
        assert rates.shape == t.shape
        one = [float(f(k, 0.5, **settings)) for k in range(12)]
        assert_close(rates.reshape(-1), np.array(one), what=f.__name__)
        assert f(np.uint8(255), 0.5, **settings) == f(255, 0.5, **settings), "uint8 overflows"


@pytest.mark.value
@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_not_changed(level, rule):
    """A step reads gradients; decay must not be added into them."""
    p, g = plain(np.ones((2, 2))), rng(6).standard_normal((2, 2))
    optimizer = getattr(level, rule)([p], lr=0.1, weight_decay=0.5)
    p.grad = g.copy()
    for _ in range(2):
        optimizer.step()
    assert np.array_equal(p.grad, g)


@pytest.mark.value
@pytest.mark.levels(1, 2)
def test_data_stay_where_they_are(level):
    """Whoever holds the array sees it learn: updates are in place, also through gaps."""
    whole = np.ones((4, 6))
    p = plain(whole)
    p.data = whole[::2, ::3]
    p.grad = np.ones((2, 2))
    level.Adam([p], lr=0.5).step()
    assert whole[0, 0] < 0.6 and whole[1, 1] == 1.0
