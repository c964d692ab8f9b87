# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:9720299df0fe8c72
"""Chapter 08: shapes, values and gradients."""

import numpy as np
import pytest

from tangled.t02_autograd import Tensor
from tangled.t05_mlp_forward import softmax_cross_entropy
from tangled.t06_backpropagation import Linear, Parameter, Sequential
from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_layouts,
    assert_repeatable,
    check_gradients,
    check_module_gradients,
    rng,
)

PENALTIES = ("l1_penalty", "l2_penalty")
SMOOTHING = ("tenth", "none", "all", "sequence")


@pytest.mark.value
@pytest.mark.parametrize("name", PENALTIES)
def test_golden_penalties(level, golden, name):
    """The factor one half of L2, and that L1 has none."""
    case = golden(name)
    assert_close(getattr(level, name)(**case.inputs)[0], case.outputs["out"], what=name)


@pytest.mark.gradient
@pytest.mark.parametrize("name", PENALTIES)
def test_golden_penalty_gradients(level, golden, name):
    """With an upstream number that is not 1."""
    case = golden(name)
    _, cache = getattr(level, name)(**case.inputs)
    got = getattr(level, name + "_backward")(case.upstream["out"], cache)
    assert_close(got, case.grads["w"], what="dw")


@pytest.mark.value
def test_golden_soft_threshold(level, golden):
    """Exact zeros inside, moved by the threshold outside."""
    case = golden("soft_threshold")
    out = level.soft_threshold(**case.inputs)
    assert_close(out, case.outputs["out"], what="soft_threshold")
    assert 0 < (out == 0).sum() < out.size


@pytest.mark.value
@pytest.mark.parametrize("name", SMOOTHING)
def test_golden_smoothing(level, golden, name):
    """PyTorch's convention: eps / K for every class, the true one too."""
    case = golden(f"smoothing-{name}")
    assert_close(level.label_smoothing_cross_entropy(**case.inputs)[0], case.outputs["out"],
                 what="loss")


@pytest.mark.gradient
@pytest.mark.parametrize("name", SMOOTHING)
def test_golden_smoothing_gradients(level, golden, name):
    """Softmax minus smoothed target, shared among the samples, times the upstream number."""
    case = golden(f"smoothing-{name}")
    _, cache = level.label_smoothing_cross_entropy(**case.inputs)
    got = level.label_smoothing_cross_entropy_backward(case.upstream["out"], cache)
    assert_close(got, case.grads["logits"], what="dlogits")


@pytest.mark.value
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_golden_dropout(level, golden, p):
    """Where PyTorch and we both keep an entry, we agree on its value and on its gradient."""
    case = golden(f"dropout-{p}")
    out, cache = level.dropout(**case.inputs, rng=rng(3))
    dx = level.dropout_backward(case.upstream["out"], cache)
    both = (out != 0) & (case.outputs["out"] != 0)
    assert both.sum() > 5
    assert_close(out[both], case.outputs["out"][both], what="kept entries")
    assert_close(dx[both], case.grads["x"][both], what="dx of kept entries")


def adam(W, grads, m, v, t, lr):
    """A plain step of Adam in place, without any decay; all arrays (3, 4) or (4,)."""
    m += 0.1 * (grads - m)
    v += 0.001 * (grads * grads - v)
    W -= lr * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)


@pytest.mark.value
def test_decay_and_adam_make_adamw(level, golden):
    """decay_weights before each step of Adam: torch.optim.AdamW, six steps; the bias undecayed."""
    case = golden("adamw").inputs
    parameters = [Parameter(case["W"]), Parameter(case["b"])]
    moments = [np.zeros((2, *p.data.shape)) for p in parameters]
    for t, grads in enumerate(zip(case["dW"], case["db"]), start=1):
        for parameter, grad in zip(parameters, grads):
            parameter.grad[...] = grad
        level.decay_weights(parameters, case["lr"], case["weight_decay"])
        for parameter, (m, v) in zip(parameters, moments):
            adam(parameter.data, parameter.grad, m, v, t, case["lr"])
    for parameter, name in zip(parameters, ("W", "b")):
        assert_close(parameter.data, golden("adamw").outputs[name], what=name)


@pytest.mark.value
def test_golden_max_norm(level, golden):
    """Columns that are short, long and zero; the bias is nobody's incoming weight."""
    case = golden("max_norm")
    W, b = Parameter(case.inputs["W"]), Parameter(np.full(5, 9.0))
    level.max_norm([W, b], case.inputs["limit"])
    assert_close(W.data, case.outputs["W"], what="W")
    assert_close(b.data, np.full(5, 9.0), what="b")


@pytest.mark.gradient
def test_gradients_by_differences(level):
    """Every entry of every gradient; L1 away from its kink."""
    w = rng(1).standard_normal((3, 4))
    w += np.copysign(0.1, w)
    check_gradients(lambda w: level.l1_penalty(w, 0.7), level.l1_penalty_backward, [w])
    check_gradients(lambda w: level.l2_penalty(w, 0.7), level.l2_penalty_backward, [w])
    y = np.array([2, 0, 3])
    check_gradients(lambda z: level.label_smoothing_cross_entropy(z, y, 0.2),
                    level.label_smoothing_cross_entropy_backward, [w])
    check_gradients(lambda x: level.dropout(x, 0.4, rng(2)), level.dropout_backward, [w])


@pytest.mark.gradient
def test_gradients_by_the_engine(level):
    """Chapter 02's engine, given the formulas and the mask, finds the same gradients."""
    data, y = rng(4).standard_normal((5, 4)), np.array([0, 3, 1, 1, 2])

    def engine(f):
        leaf = Tensor(data.copy())
        f(leaf).backward()
        return leaf.grad

    def smoothed(z):
        log_p = z - z.exp().sum(axis=-1, keepdims=True).log()
        target = np.full((5, 4), 0.3 / 4)
        target[np.arange(5), y] += 0.7
        return -(log_p * Tensor(target, requires_grad=False)).sum() / 5

    mask = (level.dropout(np.ones_like(data), 0.4, rng(5))[0] != 0) / 0.6
    _, cache = level.dropout(data, 0.4, rng(5))
    dx = level.dropout_backward(np.ones_like(data), cache)
    assert_close(dx, engine(lambda x: (x * Tensor(mask, requires_grad=False)).sum()), what="dx")
    _, cache = level.label_smoothing_cross_entropy(data, y, 0.3)
    dz = level.label_smoothing_cross_entropy_backward(1.0, cache)
    assert_close(dz, engine(smoothed), what="dlogits")
    _, cache = level.l1_penalty(data, 0.5)
    assert_close(level.l1_penalty_backward(1.0, cache),
                 engine(lambda w: 0.5 * (w.relu() + (-w).relu()).sum()), what="dw of L1")
    _, cache = level.l2_penalty(data, 0.5)
    assert_close(level.l2_penalty_backward(1.0, cache),
                 engine(lambda w: 0.25 * (w * w).sum()), what="dw of L2")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(level, dtype):
    """Everything keeps the dtype of its input: no mask, scale or strength promotes float32."""
    x = rng(6).standard_normal((2, 3, 4)).astype(dtype)
    for name in PENALTIES:
        penalty, cache = getattr(level, name)(x, np.float64(0.1))
        dw = getattr(level, name + "_backward")(np.float64(1), cache)
        assert (penalty.dtype, dw.dtype, np.shape(penalty), dw.shape) == (dtype, dtype, (), x.shape)
    assert level.soft_threshold(x, np.float64(0.1)).dtype == dtype
    out, cache = level.dropout(x, np.float64(0.5), rng(1))
    dx = level.dropout_backward(x, cache)
    assert (out.dtype, dx.dtype, out.shape, dx.shape) == (dtype, dtype, x.shape, x.shape)
    y = np.array([[0, 1, 3], [2, 2, 0]], np.uint8)
    loss, cache = level.label_smoothing_cross_entropy(x, y, np.float64(0.1))
    dz = level.label_smoothing_cross_entropy_backward(np.float64(1), cache)
    assert (loss.dtype, dz.dtype, np.shape(loss), dz.shape) == (dtype, dtype, (), x.shape)
    weight = Parameter(x[0])
    level.decay_weights([weight], np.float64(0.1), np.float64(0.1))
    level.max_norm([weight], np.float64(0.5))
    assert weight.data.dtype == dtype


def ops(level):
    """(f, f_backward or None, inputs) of every op; dropout with a generator of its own at each call."""
    x, y = 2 * rng(20).standard_normal((3, 5)), np.array([4, 0, 2])
    drop = lambda x: level.dropout(x, 0.3, rng(21))
    return {"l1_penalty": (lambda w: level.l1_penalty(w, 0.3), level.l1_penalty_backward, (x,)),
            "l2_penalty": (lambda w: level.l2_penalty(w, 0.3), level.l2_penalty_backward, (x,)),
            "soft_threshold": (lambda w: level.soft_threshold(w, 0.4), None, (x,)),
            "dropout": (drop, level.dropout_backward, (x,)),
            "smoothing": (lambda z, y: level.label_smoothing_cross_entropy(z, y, 0.2),
                          level.label_smoothing_cross_entropy_backward, (x, y))}


OPS = ("l1_penalty", "l2_penalty", "soft_threshold", "dropout", "smoothing")
INTO = {"soft_threshold": "out", "dropout": "both"}


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", OPS)
def test_in_every_layout(level, level_number, name):
    """However the arrays lie in memory, the output's room too; called twice; nothing changed or shared."""
    f, backward, inputs = ops(level)[name]
    assert_repeatable(f, inputs, backward)
    assert_layouts(f, inputs, backward)
    assert_layouts(f, [a.astype(np.float32) if a.dtype == float else a for a in inputs], backward)
    if level_number == 3 and name in INTO:
        into = (lambda w, out=None: level.soft_threshold(w, 0.4, out=out)) if backward is None else (
            lambda x, out=None: level.dropout(x, 0.3, rng(21), out=out))
        orders = [f"out={way}" for way in ("Fortran order", "transposed", "negative strides", "every second entry",
                                           "offset", "unaligned")]
        assert_layouts(into, inputs, backward, out=True, leave_out=orders,
                       **({"backward_out": True} if backward else {}))


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", OPS)
def test_in_every_dtype(level, name):
    """float16 sums that overflow it, and float32 squares that overflow that, are right where they fit."""
    f, backward, inputs = ops(level)[name]
    far = np.array([[300.0, -200, 6e4], [-6e4, 4e4, 1]])
    extremes = [(far, np.array([1, 2]))] if name == "smoothing" else [(far,), (far[:1] / 5,)]
    assert_dtypes(f, inputs, f_backward=backward, extremes=extremes)
    small = {"l1_penalty": 1e-6, "l2_penalty": 1e-9}.get(name)
    if small:
        penalty = lambda w: getattr(level, name)(w, small)
        assert_dtypes(penalty, (far,), f_backward=backward)
        assert_dtypes(penalty, (far * 1e15,), dtypes=(np.float32,))


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_bounds_in_every_dtype(level):
    """max_norm and decay_weights in place on views: squares of 300 overflow float16, of 1e20 float32."""
    for dtype, size in ((np.float16, 300.0), (np.float32, 1e20), (np.float64, 7.0)):
        room = np.full((4, 6), size, dtype)
        weight = type("Weight", (), {"data": room.T[::2, 1:]})()                # (3, 3), a strided view
        level.max_norm([weight], 0.5)
        tol = 2e-3 if dtype == np.float16 else 1e-6
        assert_close(weight.data, np.full((3, 3), 0.5 / np.sqrt(3), dtype), tol=tol, what="W", dtype=dtype)
        level.decay_weights([weight], 0.5, 0.5)
        assert_close(weight.data, np.full((3, 3), 0.375 / np.sqrt(3), dtype), tol=tol, what="W", dtype=dtype)
        untouched = np.concatenate([room[0], room[1:, 1::2].ravel()])
        assert_close(untouched, np.full(untouched.shape, size, dtype), tol=0, what="what lies around it")
        assert_close(room.T[::2, 1:], weight.data, tol=0, what="the caller's own array")


@pytest.mark.value
def test_a_parameter_twice_is_one(level):
    """Tied weights are handed in once for each place; they decay once."""
    tied, other = Parameter(np.ones((2, 3))), Parameter(np.ones((2, 3)))
    assert level.weights_of([tied, other, tied]) == [tied, other]
    kernel, vector, number = (Parameter(np.ones(shape)) for shape in ((4, 3, 2, 2), (4,), ()))
    assert level.weights_of([kernel, vector, number, other]) == [kernel, other]
    level.decay_weights([tied, other, tied], 0.5, 0.5)
    assert_close(tied.data, np.full((2, 3), 0.75), what="tied weights")
    assert_close(other.data, np.full((2, 3), 0.75), what="the other ones")


@pytest.mark.shape
@pytest.mark.levels(1, 2, 3)
def test_arrays_of_no_axes(level):
    """A number in, an array out, as for every other shape."""
    for name in OPS[:4]:
        f, backward, _ = ops(level)[name]
        x = np.array(1.5, np.float32)
        result = f(x)
        found = result if backward is None else backward(np.float32(1) if "penalty" in name else x, result[1])
        assert isinstance(found, np.ndarray) and (found.shape, found.dtype) == ((), np.float32), name


@pytest.mark.value
@pytest.mark.parametrize("p", [0.1, 0.5, 0.83])
def test_dropout_mean_and_variance(level, p):
    """40,000 ones: share of kept entries within 0.02, by chance missed below 2 exp(-32)."""
    n, off, q = 40_000, 0.02, 1 - p
    out = level.dropout(np.ones((200, 200)), p, rng(11))[0]
    kept = out != 0
    assert_close(out[kept], np.full(kept.sum(), 1 / q), what="kept entries")
    assert abs(kept.sum() / n - q) < off, f"{kept.sum()} of {n} kept, expected {q * n:.0f}"
    assert abs(out.mean() - 1) < off / q, f"mean {out.mean():.4f}, expected 1"
    assert abs(out.var() - p / q) < off / q ** 2, f"variance {out.var():.4f}, expected {p / q:.4f}"


@pytest.mark.value
def test_dropout_is_a_penalty(level):
    """Averaged over masks, a squared loss grows by p/(1-p) x^2 w^2 (eq. 8.13)."""
    x, w, p, t = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, -1.0]), 0.5, 0.7
    masked = level.dropout(np.tile(x, (20_000, 1)), p, rng(13))[0]              # (20000, 3)
    losses = 0.5 * (masked @ w - t) ** 2
    expected = 0.5 * (x @ w - t) ** 2 + 0.5 * p / (1 - p) * np.sum(x ** 2 * w ** 2)
    error = 6 * losses.std() / np.sqrt(len(losses))             # six standard errors
    assert abs(losses.mean() - expected) < error


@pytest.mark.value
def test_dropout_entries_are_independent(level):
    """Neighbours in a row or in a column are both kept one time in four (p = 1/2, within 0.03)."""
    kept = level.dropout(np.ones((200, 200)), 0.5, rng(12))[0] != 0
    for pairs in (kept[:, 0::2] & kept[:, 1::2], kept[0::2] & kept[1::2]):      # 20,000 each
        assert abs(pairs.mean() - 0.25) < 0.03, f"both kept: {pairs.mean():.3f}"


@pytest.mark.gradient
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_backward_has_the_mask_of_forward(level, p):
    """Gradients reach exactly the entries that were kept, and are scaled as these were."""
    out, cache = level.dropout(np.ones((40, 30)), p, rng(14))
    rng(14).random(5)                                           # others may draw in between
    assert_close(level.dropout_backward(np.ones((40, 30)), cache), out, what="dx")
    assert_close(level.dropout_backward(2 * np.ones((40, 30)), cache), 2 * out, what="again")


@pytest.mark.value
def test_dropout_in_evaluation_is_the_identity(level):
    """Neither the values nor the generator are touched; p = 0 is the same."""
    x, generator = rng(15).standard_normal((4, 5)), rng(16)
    before = generator.bit_generator.state
    for arguments in ((0.5, generator, False), (0.0, generator), (1.0, None, False)):
        out, cache = level.dropout(x, *arguments)
        assert_close(out, x, tol=0, what="out")
        assert_close(level.dropout_backward(2 * x, cache), 2 * x, tol=0, what="dx")
    assert generator.bit_generator.state == before


@pytest.mark.value
def test_dropout_depends_on_the_generator_alone(level):
    """Same seed, same mask; a second call on one generator draws another."""
    x, generator = np.ones((20, 20)), rng(17)
    first, second = (level.dropout(x, 0.5, generator)[0] for _ in range(2))
    assert_close(level.dropout(x, 0.5, rng(17))[0], first, what="same seed")
    assert (first != second).any()


@pytest.mark.gradient
def test_l1_is_flat_at_zero(level):
    """A weight of 0 stays: its gradient is 0, on either side it is the strength."""
    _, cache = level.l1_penalty(np.array([-2.0, -0.0, 0.0, 1e-30]), 0.5)
    assert_close(level.l1_penalty_backward(1.0, cache), np.array([-0.5, 0, 0, 0.5]), what="dw")


@pytest.mark.value
def test_soft_threshold_is_the_proximal_step(level):
    """No other point of a fine grid has a lower compromise (eq. 8.5)."""
    u, grid = np.linspace(-2, 2, 41), np.linspace(-3, 3, 6001)
    cost = 0.5 * (grid - u[:, None]) ** 2 + 0.6 * np.abs(grid)  # (41, 6001)
    assert_close(level.soft_threshold(u, 0.6), grid[cost.argmin(1)], tol=1e-3, what="proximal")


@pytest.mark.value
def test_decay_is_decoupled(level):
    """The data shrink by 1 - lr * decay, gradients stay as they are, biases too."""
    W, b = Parameter(np.full((2, 3), 4.0)), Parameter(np.full(3, 4.0))
    W.grad[...], b.grad[...] = 7.0, 7.0
    assert level.weights_of([W, b]) == [W]
    level.decay_weights([W, b], 0.1, 0.5)
    assert_close(W.data, np.full((2, 3), 3.8), what="W")
    assert_close(b.data, np.full(3, 4.0), what="b")
    assert_close(W.grad, np.full((2, 3), 7.0), what="gradient of W")


@pytest.mark.value
def test_max_norm_bounds_columns(level):
    """Units are columns: long rows made of short columns stay, long columns shrink."""
    W = Parameter(np.array([[3.0, 0.5, 0.0], [4.0, 0.5, 0.0]]))
    level.max_norm([W], 2.5)
    assert_close(W.data, np.array([[1.5, 0.5, 0], [2.0, 0.5, 0]]), what="W")
    kernel = Parameter(np.ones((4, 3, 2, 2)))                   # (out, in, height, width)
    level.max_norm([kernel], 1.0, axis=(1, 2, 3))
    assert_close(np.sqrt((kernel.data ** 2).sum((1, 2, 3))), np.ones(4), what="kernel")
    for axis in (-1, 1, (0,), (-2,), (1, 0)):                   # on a square
        W = Parameter(np.array([[3.0, 4.0], [0.3, 0.4]]))
        length = np.sqrt((W.data ** 2).sum(axis=axis, keepdims=True))
        expected = W.data / np.maximum(length / 0.9, 1)
        level.max_norm([W], 0.9, axis=axis)
        assert_close(W.data, expected, what=f"W, axis {axis}")


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_early_stopping_step_by_step(level):
    """Improves, waits, improves, waits to the end; equal is not better; stopped is for good."""
    stopper = level.EarlyStopping(patience=3)
    weights = {"w": np.zeros(2, np.float32)}
    for t, (value, stop) in enumerate([(5, 0), (4, 0), (4, 0), (6, 0), (3, 0), (3.5, 0), (9, 0),
                                       (3, 1), (1, 1)]):
        weights["w"][...] = t                                   # changed in place, as by an optimiser
        assert stopper.update(value, weights) == bool(stop) == stopper.stopped, f"update {t}"
    assert (stopper.best, stopper.best_step) == (3, 4)
    assert_close(stopper.state["w"], np.full(2, 4.0), what="state")
    counted = level.EarlyStopping(2)
    for t in range(3):
        counted.update(-t, {"t": t, "m": np.full(3, t, np.float32)})
    assert counted.state["t"] == 2 and counted.state["m"].dtype == np.float32


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_early_stopping_min_delta(level):
    """Creeping down by less than min_delta is no progress, against the best and not the last."""
    stopper = level.EarlyStopping(patience=3, min_delta=0.5)
    assert [stopper.update(v) for v in (3.0, 2.8, 2.6, 2.4, 2.3)] == [False] * 5
    assert (stopper.best, stopper.best_step, stopper.state) == (2.4, 3, None)
    assert [stopper.update(v) for v in (2.0, 1.95)] == [False, True]
    by_default = level.EarlyStopping(patience=1)
    assert [by_default.update(v) for v in (1.0, 1.0 - 1e-9, 1.0 - 1e-9)] == [False, False, True]


@pytest.mark.value
def test_smoothing_zero_is_cross_entropy(level):
    """smoothing = 0 is chapter 05's loss."""
    z, y = rng(18).standard_normal((6, 5)), np.array([0, 1, 2, 3, 4, 0])
    assert_close(level.label_smoothing_cross_entropy(z, y, 0)[0], softmax_cross_entropy(z, y)[0],
                 what="loss")


@pytest.mark.gradient
def test_smoothing_is_satisfied_at_the_lead(level):
    """The gradient vanishes where the true logit leads by eq. 8.21, and only there."""
    z, y = np.zeros((1, 10)), np.array([3])
    for extra in (0.0, 0.5):
        z[0, 3] = np.log(1 + 10 * 0.9 / 0.1) + extra
        _, cache = level.label_smoothing_cross_entropy(z, y, 0.1)
        steepest = np.abs(level.label_smoothing_cross_entropy_backward(1.0, cache)).max()
        assert (steepest < 1e-12) == (extra == 0)


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's worked trace, to the digits printed there."""
    z, y = np.array([[2.0, 1.0, 0.0]]), np.array([0])
    loss, cache = level.label_smoothing_cross_entropy(z, y, 0.1)
    dz = level.label_smoothing_cross_entropy_backward(1.0, cache)
    assert_close(loss, np.array(0.5076), tol=1e-4, what="loss")
    assert_close(dz, np.array([[-0.2681, 0.2114, 0.0567]]), tol=1e-3, what="dlogits")


@pytest.mark.gradient
@pytest.mark.levels(2)
def test_modules(level):
    """Dropout in a Sequential obeys train() and eval(); both Modules pass gradients on."""
    model = Sequential(Linear(4, 6, rng(1)), level.Dropout(0.5, rng(2)), Linear(6, 3, rng(3)))
    x, y = rng(4).standard_normal((5, 4)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    assert (model(x) != model(x)).any()
    model.eval()
    assert_close(model(x), model(x), tol=0, what="evaluation")
    nested = Sequential(Sequential(Linear(4, 6, rng(1)), Sequential(level.Dropout(0.5, rng(2)))), Linear(6, 3, rng(3)))
    assert (nested(x) != nested(x)).any()
    nested.eval()
    assert_close(nested(x), nested(x), tol=0, what="evaluation, two levels down")
    often = level.Dropout(0.9, rng(7))(np.ones((100, 100)))
    assert abs((often == 0).mean() - 0.9) < 0.02 and abs(often.max() - 10) < 1e-9, "p = 0.9 is not used"
    check_module_gradients(model, [x])
    layer, loss = level.Dropout(0.5, rng(5)), level.LabelSmoothingLoss(0.2)
    out = layer(np.ones((6, 3)))
    assert_close(layer.backward(np.ones((6, 3))), out, what="dx")
    logits = rng(6).standard_normal((5, 3))
    expected, cache = level.label_smoothing_cross_entropy(logits, y, 0.2)
    assert loss(logits, y) == pytest.approx(float(expected)) and type(loss(logits, y)) is float
    assert_close(loss.backward(), level.label_smoothing_cross_entropy_backward(1.0, cache),
                 what="dpred")
