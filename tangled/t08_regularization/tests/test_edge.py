# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:3ec0e35cbea61618
"""Chapter 08: what is empty, extreme, not a number, or invalid."""

import types

import numpy as np
import pytest

from tangled.t06_backpropagation import Parameter
from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.edge

ones, nan, inf = np.ones, np.nan, np.inf
VALID = {
    "l1_penalty": {"w": ones(3), "strength": 0.1},
    "l2_penalty": {"w": ones(3), "strength": 0.1},
    "soft_threshold": {"w": ones(3), "threshold": 0.1},
    "weights_of": {"parameters": [Parameter(ones(3))]},
    "decay_weights": {"parameters": [Parameter(ones((2, 2)))], "lr": 0.1, "weight_decay": 0.1},
    "max_norm": {"parameters": [Parameter(ones((2, 2)))], "limit": 1.0},
    "dropout": {"x": ones(3), "p": 0.5, "rng": rng(0)},
    "label_smoothing_cross_entropy": {"logits": ones((2, 3)), "y": [0, 2], "smoothing": 0.1},
}
NO_PARAMETERS = [[3], [types.SimpleNamespace(data=[1.0])], [types.SimpleNamespace(data=ones(2, int))]]
BAD = [-0.1, inf, nan, True, "1", None]
REFUSED = {
    "l1_penalty": {"w": [ones(3, int), ["a"]], "strength": BAD},
    "l2_penalty": {"w": [ones(3, int), ["a"]], "strength": BAD},
    "soft_threshold": {"w": [ones(3, bool)], "threshold": BAD},
    "weights_of": {"parameters": NO_PARAMETERS},
    "decay_weights": {"parameters": NO_PARAMETERS, "lr": [0, *BAD], "weight_decay": [10.1, *BAD]},
    "max_norm": {"parameters": NO_PARAMETERS, "limit": [0, *BAD],
                 "axis": [None, 0.0, (), "0", 2, -3, (0, 2), (1, -1)]},
    "dropout": {"x": [ones(3, int)], "p": [-0.1, 1.1, nan, True, "0", None],
                "rng": [None, 0, np.random]},
    "label_smoothing_cross_entropy": {
        "logits": [ones(3), ones((0, 3)), ones((2, 3), int)],
        "y": [[0, 3], [0, -1], [0.0, 1.0], [0], [[0, 1]]],
        "smoothing": [-0.1, 1.1, nan, True, "0"]},
}
CASES = [(function, argument, value) for function, bad in REFUSED.items()
         for argument, values in bad.items() for value in values]


@pytest.mark.parametrize("function, argument, value", CASES)
def test_refuses(level, function, argument, value):
    """Numbers outside their range, NaN among them, and arrays of the wrong kind or shape."""
    expect_value_error(argument, getattr(level, function), **{**VALID[function], argument: value})


@pytest.mark.parametrize("function, changes, text", [
    ("dropout", {"p": 1.5}, "p = 1.5; expected a number from 0 to 1"),
    ("dropout", {"rng": None}, "rng is None; expected a numpy.random.Generator"),
    ("l1_penalty", {"strength": -1}, "strength = -1; expected a finite number of at least 0"),
    ("decay_weights", {"weight_decay": 20}, "weight_decay = 20.0; expected at most 1 / lr = 10.0"),
    ("label_smoothing_cross_entropy", {"y": [0]}, "y has shape (1,); expected (2,)")])
def test_messages(level, function, changes, text):
    """A message names argument, value and expectation."""
    with pytest.raises(ValueError) as caught:
        getattr(level, function)(**{**VALID[function], **changes})
    assert str(caught.value) == text


@pytest.mark.levels(1, 2, 3)
def test_early_stopping_refuses(level):
    """A patience of 0, a negative min_delta, a value that is no number."""
    for patience in (0, -1, 2.0, True, None):
        expect_value_error("patience", level.EarlyStopping, patience)
    for min_delta in BAD:
        expect_value_error("min_delta", level.EarlyStopping, 1, min_delta)
    expect_value_error("value", level.EarlyStopping(1).update, "0.5")


@pytest.mark.levels(2)
def test_modules_refuse(level):
    """At construction, and not in the first epoch."""
    expect_value_error("p", level.Dropout, 1.5, rng(0))
    expect_value_error("rng", level.Dropout, 0.5, None)
    expect_value_error("smoothing", level.LabelSmoothingLoss, -0.1)
    with pytest.raises(RuntimeError, match="before forward"):
        level.Dropout(0.5, rng(0)).backward(ones(3))


def test_backward_refuses(level):
    """A gradient of another shape would broadcast."""
    _, cache = level.dropout(ones((2, 3)), 0.5, rng(0))
    for dout in (ones(3), ones((2, 3), int)):
        expect_value_error("dout", level.dropout_backward, dout, cache)
    _, cache = level.l2_penalty(ones(3), 0.1)
    expect_value_error("dpenalty", level.l2_penalty_backward, ones(3), cache)


@pytest.mark.levels(1, 2, 3)
def test_early_stopping_of_what_is_not_a_number(level):
    """NaN and inf are no progress: training that has exploded is stopped, the best is kept."""
    stopper = level.EarlyStopping(2)
    assert [stopper.update(v, {"w": ones(1)}) for v in (inf, 2.0, nan)] == [False] * 3
    assert stopper.update(nan) and stopper.best == 2.0 and stopper.state["w"] == 1
    never = level.EarlyStopping(2)
    assert [never.update(nan), never.update(nan)] == [False, True]
    assert (never.best, never.best_step, never.state) == (inf, None, None)


@pytest.mark.levels(1, 2, 3)
def test_early_stopping_takes_other_states(level):
    """The first state may be empty, the next of another shape: the last best one counts."""
    stopper = level.EarlyStopping(1)
    for value, state in ((3.0, None), (2.0, {"w": ones(2)}), (1.0, {"w": ones((2, 2))})):
        stopper.update(value, state)
    assert stopper.state["w"].shape == (2, 2)


def test_all_dropped(level):
    """p = 1 divides nothing by zero: zeros forward and backward."""
    with np.errstate(all="raise"):
        out, cache = level.dropout(np.full((3, 70), 5.0), 1, rng(1))
        assert_close(out, np.zeros((3, 70)), what="out")
        assert_close(level.dropout_backward(ones((3, 70)), cache), np.zeros((3, 70)), what="dx")


@pytest.mark.parametrize("shape", [(0,), (0, 3), (1,), (1, 7), (3, 1, 11)])
def test_small_and_odd_sizes(level, shape):
    """Empty arrays, single entries, and sizes that are no multiple of 8."""
    x = rng(1).random(shape) + 1
    out, cache = level.dropout(x, 0.5, rng(2))
    assert_close(level.dropout_backward(x, cache), out, what="dx")
    assert level.l1_penalty(x, 1.0)[0] == pytest.approx(x.sum())
    assert level.l2_penalty(x, 2.0)[0] == pytest.approx((x ** 2).sum())
    assert level.soft_threshold(x, 0.0).shape == shape
    level.max_norm([Parameter(x)], 1.0)


def test_strided_input(level):
    """A transposed view behaves as its copy."""
    x = rng(3).random((6, 5))
    for name in ("l1_penalty", "l2_penalty"):
        assert getattr(level, name)(x.T, 1.0)[0] == pytest.approx(getattr(level, name)(x, 1.0)[0])
    assert_close(level.soft_threshold(x.T, 0.3), level.soft_threshold(x, 0.3).T, what="threshold")
    out = level.dropout(x.T, 0.5, rng(4))[0]
    assert_close(out[out != 0], 2 * x.T[out != 0], what="kept entries")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(level, dtype):
    """Logits of 1e4 neither overflow nor give NaN; smoothing makes certainty expensive."""
    z = np.array([[1e4, -1e4, 0.0]], dtype)
    with np.errstate(over="raise", invalid="raise"):
        loss, cache = level.label_smoothing_cross_entropy(z, np.array([0]), 0.3)
        dz = level.label_smoothing_cross_entropy_backward(1.0, cache)
    assert_close(loss, np.array(0.1 * 2e4 + 0.1 * 1e4, dtype), what="loss")
    assert_close(dz, np.array([[0.2, -0.1, -0.1]], dtype), what="dlogits")
    far = np.array([[1e4, 0.0], [-1e4, 0.0]], dtype)            # each row has a maximum of its own
    loss, cache = level.label_smoothing_cross_entropy(far - 1e4, np.array([0, 1]), 0.3)
    assert_close(loss, np.array(0.15 * 1e4, dtype), what="loss of rows far apart")
    dz = level.label_smoothing_cross_entropy_backward(1.0, cache)
    assert_close(dz, np.array([[0.075, -0.075], [-0.075, 0.075]], dtype), what="their dlogits")


def test_one_class(level):
    """K = 1: nothing to learn, loss and gradient are 0."""
    loss, cache = level.label_smoothing_cross_entropy(ones((3, 1)), np.zeros(3, int), 0.5)
    assert abs(loss) < 1e-12
    assert not level.label_smoothing_cross_entropy_backward(1.0, cache).any()


def test_not_a_number_stays_where_it_is(level):
    """NaN spoils its own entry, nobody else's, and is not hidden by the threshold."""
    out = level.soft_threshold(np.array([nan, inf, -inf, 1.0]), 0.25)
    assert_close(out, np.array([nan, inf, -inf, 0.75]), what="threshold")
    out, _ = level.dropout(np.array([[nan] + [1.0] * 99]), 0.5, rng(5))
    assert np.isfinite(out[0, 1:]).all()


def test_what_is_dropped_is_still_seen(level):
    """Zero times infinity is NaN: a network that has exploded does not look well where it is dropped."""
    for spoiled in (inf, -inf, nan):
        x = np.full((4, 50), spoiled)
        with np.errstate(invalid="ignore"):
            out, cache = level.dropout(x, 0.5, rng(6))
            dx = level.dropout_backward(x, cache)
            kept = level.dropout(ones((4, 50)), 0.5, rng(6))[0] != 0
        assert_close(out, np.where(kept, spoiled, nan), what="out")
        assert_close(dx, np.where(kept, spoiled, nan), what="dx")


@pytest.mark.levels(1, 2, 3)
def test_nearly_all_dropped(level):
    """1 / (1 - p) above the largest float16 makes no NaN of a dropped entry."""
    for dtype in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            out, cache = level.dropout(np.ones((8, 25), dtype), 1 - 2.0 ** -20, rng(7))
            dx = level.dropout_backward(np.ones((8, 25), dtype), cache)
        assert_close(out, np.zeros((8, 25), dtype), what="out")
        assert_close(dx, np.zeros((8, 25), dtype), what="dx")


@pytest.mark.levels(1, 2, 3)
def test_slopes_of_what_is_not_a_number(level):
    """A weight of NaN has no slope."""
    for name in ("l1_penalty", "l2_penalty"):
        _, cache = getattr(level, name)(np.array([nan, 2.0, 0.0]), 0.5)
        dw = getattr(level, name + "_backward")(1.0, cache)
        assert_close(dw, np.array([nan, 0.5 if name == "l1_penalty" else 1.0, 0.0]), what="dw")


def test_legal_limits(level):
    """Decay of exactly 1 / lr gives zeros, 0 changes nothing; a generator of parameters is read."""
    weight = Parameter(ones((2, 2)))
    level.decay_weights((p for p in [weight]), 0.5, 0)
    assert_close(weight.data, ones((2, 2)), tol=0, what="undecayed")
    level.max_norm((p for p in [weight]), 100)
    assert_close(weight.data, ones((2, 2)), tol=0, what="within the bound")
    level.decay_weights((p for p in [weight]), 0.5, 2)
    assert not weight.data.any()
    level.decay_weights([], 0.5, 2)


def test_program(monkeypatch, capsys):
    """One seed, one epoch: a line a recipe, and a record with all that the chapter quotes."""
    from tangled.t08_regularization import train_recipes
    stored = {}
    monkeypatch.setattr(train_recipes, "store_run", lambda *names, **kept: stored.update(kept, names=names))
    train_recipes.main(["--seeds", "1", "--epochs", "1"])
    assert stored == {} and capsys.readouterr().out.count("train") == len(train_recipes.RECIPES)
    monkeypatch.setattr(train_recipes, "RECIPES", train_recipes.RECIPES[:1])
    train_recipes.main(["--seeds", "2", "--epochs", "1", "--record"])
    assert stored["names"] == (8, "train_recipes") and len(stored["values"]["test"]["none"]) == 2
    assert sum(stored["values"]["weights"]["none"]) == 784 * 128 and len(stored["curves"]["none"]) == 1
    with pytest.raises(SystemExit):
        train_recipes.main(["--seeds", "0"])
