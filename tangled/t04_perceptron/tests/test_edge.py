# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:57be020f0723df7b
"""Chapter 04: what is empty, extreme, not a number, or invalid."""

import numpy as np
import pytest

from tangled.testing import (
    assert_close,
    assert_dtypes,
    assert_layouts,
    assert_repeatable,
    expect_value_error,
    rng,
)

pytestmark = pytest.mark.edge

ones = np.ones
WHOLE = rng(7).integers(-9, 10, (11, 3)).astype(float)          # no score of these is rounded
SIGNS = np.where(WHOLE @ [2, -1, 3] > 1, 1.0, -1.0)
CALLS = {
    "perceptron_fit": (WHOLE, SIGNS, 7), "perceptron_predict": (WHOLE, WHOLE[0], -1.0),
    "sigmoid": (rng(8).standard_normal((3, 4, 5)),),
    "bce_with_logits": (rng(8).standard_normal((3, 4, 5)), rng(9).uniform(0.1, 0.9, (3, 4, 5))),
    "logistic_fit": (WHOLE / 8, (SIGNS + 1) / 2, 0.4, 6),
}


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("function", CALLS)
def test_layouts_and_second_calls(level, function):
    """Neither the order in memory nor an earlier call shows in a result; inputs stay as they are."""
    back = level.bce_with_logits_backward if function == "bce_with_logits" else None
    skip = ("zero stride", "zero stride, last axis", "overlapping") if "fit" in function else ()
    assert_layouts(getattr(level, function), CALLS[function], back, leave_out=skip)
    assert_repeatable(getattr(level, function), CALLS[function], back)


TOP = 65504.0                                                   # the largest float16
EXTREMES = {
    "perceptron_fit": [(np.array([[TOP, 1.0], [-TOP, 2.0], [TOP, 3.0]]), np.array([1, -1, 1]))],
    "perceptron_predict": [(np.array([[TOP, -TOP], [300.0, 400.0]]), np.array([300.0, 200.0]), 1.0)],
    "sigmoid": [(np.array([TOP, -TOP, 12.0, -9.0]),)],
    "bce_with_logits": [(np.full(300, TOP), np.zeros(300)), (np.array([-TOP, 9.0]), np.ones(2))],
    "logistic_fit": [(np.array([[TOP], [-TOP]]), np.array([1, 0]), 1e-4, 3)],
}


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("function", CALLS)
def test_dtypes(level, function):
    """float16 to float64 come back as they went in, and right: scores and sums beyond 65,504."""
    back = level.bce_with_logits_backward if function == "bce_with_logits" else None
    assert_dtypes(getattr(level, function), CALLS[function], scales=(1.0,), f_backward=back,
                  extremes=EXTREMES[function], refuses=(np.int64,))


@pytest.mark.levels(2, 3)
def test_more_logits_than_a_block(level):
    """The mean is over all logits, also where they are walked through in blocks."""
    z, y = 3 * rng(3).standard_normal(40_000), np.arange(40_000) % 2
    loss, cache = level.bce_with_logits(z, y)
    assert_close(loss, np.mean(np.logaddexp(0, z) - z * y), tol=1e-12, what="loss")
    dz = level.bce_with_logits_backward(3.0, cache)
    assert_close(dz * len(z), 3 * (1 / (1 + np.exp(-z)) - y), tol=1e-12, what="N dz")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_sum_beyond_float32(level):
    """Fifty mistakes of 1e38 have a mean in float32, though no sum."""
    z = np.full(50, 1e38, np.float32)
    assert_close(level.bce_with_logits(z, np.zeros(50))[0], np.float32(1e38), what="loss")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(level, dtype):
    """Logits of 1e4: sigmoid, loss and gradient exact, without a warning."""
    z = np.array([1e4, -1e4], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert level.sigmoid(z).tolist() == [1, 0]
        right, _ = level.bce_with_logits(z, np.array([1, 0]))
        wrong, cache = level.bce_with_logits(z, np.array([0, 1]))
        dz = level.bce_with_logits_backward(1.0, cache)
    assert right == 0 and wrong == 1e4 and wrong.dtype == dtype
    assert dz.tolist() == [0.5, -0.5]


def test_tails_keep_their_digits(level):
    """exp(-50) is no zero as a probability in float32, and 50 no infinity as a loss."""
    z = np.array([-50], np.float32)
    assert_close(level.sigmoid(z) / np.exp(z), ones(1, np.float32), what="sigmoid / exp(-50)")
    loss, _ = level.bce_with_logits(-z, np.array([0]))
    assert_close(loss, np.array(50, np.float32), what="loss")


@pytest.mark.levels(1, 2, 3)
def test_small_losses_keep_their_digits(level):
    """A right answer at -50 costs exp(-50), and not 0 as in PyTorch."""
    z = np.array([-50], np.float32)
    loss, _ = level.bce_with_logits(z, np.array([0]))
    assert_close(loss / np.exp(z[0]), np.array(1, np.float32), what="loss / exp(-50)")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("count", [1, 2, 3, 17, 31, 96, 1001])
@pytest.mark.parametrize("size", [1, 8, 30])
def test_sums_of_small_losses_keep_their_digits(level, count, size):
    """Right answers around that logit, however many: every loss counts, and in full."""
    z = (size + rng(8).random(count)).astype(np.float32)
    expected = np.log1p(np.exp(-z.astype(float))).mean()
    assert_close(level.bce_with_logits(z, np.ones(count))[0] / expected, np.float64(1), tol=1e-5, what="loss")


def test_not_a_number_is_passed_on(level):
    """A NaN makes the loss NaN and its own gradient NaN, and no other."""
    z = np.array([np.nan, 1.0, -1.0])
    loss, cache = level.bce_with_logits(z, np.array([0, 1, 1]))
    assert np.isnan(loss)
    dz = level.bce_with_logits_backward(1.0, cache)
    assert np.isnan(dz).tolist() == [True, False, False]
    assert np.isnan(level.sigmoid(z)).tolist() == [True, False, False]


def test_empty_and_single(level):
    """No samples are no mistake; one sample is learned at once; one logit has a mean."""
    w, b, mistakes = level.perceptron_fit(ones((0, 2)), ones(0, int))
    assert w.tolist() == [0, 0] and b == 0 and mistakes == [0]
    assert level.perceptron_predict(ones((0, 2)), ones(2), 0.0).shape == (0,)
    w, b, mistakes = level.perceptron_fit(np.array([[2.0]]), np.array([-1]))
    assert w.tolist() == [-2] and b == -1 and mistakes == [1, 0]
    assert level.sigmoid(ones((0, 3))).shape == (0, 3)
    loss, _ = level.bce_with_logits(np.array(0.0), np.array(1))
    assert_close(loss, np.array(np.log(2)), what="loss")
    assert len(level.logistic_fit(ones((1, 1)), [1], 1.0, 1)[2]) == 1


def test_bias_alone(level):
    """Samples that are all zero leave only the bias to learn, in both fits."""
    x = np.zeros((4, 2))
    w, b, mistakes = level.perceptron_fit(x, -ones(4, int))
    assert not w.any() and b == -1 and mistakes == [1, 0]
    w, b, _ = level.logistic_fit(x, np.array([1, 1, 1, 0]), lr=2.0, epochs=200)
    assert not w.any()
    assert_close(b, np.array(np.log(3.0)), what="b")                # the log of the odds 3 : 1


def test_strided_input_is_left_alone(level):
    """Transposes and every other row are as good as copies, and are not changed."""
    x, y = rng(1).standard_normal((3, 20)), np.where(np.arange(10) % 3, 1, -1)
    view, before = x.T[::2], x.copy()
    for fit in (lambda a: level.perceptron_fit(a, y, 9),
                lambda a: level.logistic_fit(a, y > 0, 0.1, 9)):
        for got, expected in zip(fit(view), fit(view.copy())):
            assert_close(np.asarray(got), np.asarray(expected), tol=1e-12)
    labels = np.tile(y > 0, (3, 1)).T
    loss, _ = level.bce_with_logits(view, labels)
    assert_close(loss, level.bce_with_logits(view.copy(), labels.copy())[0], tol=1e-12)
    assert np.array_equal(x, before)


FIT = {"x": ones((3, 2)), "y": np.array([1, -1, 1]), "epochs": 5}
VALID = {
    "perceptron_fit": FIT,
    "perceptron_predict": {"x": ones((3, 2)), "w": ones(2), "b": 0.0},
    "sigmoid": {"z": ones(3)},
    "bce_with_logits": {"z": ones((3, 2)), "y": ones((3, 2))},
    "logistic_fit": {**FIT, "y": np.array([1, 0, 1]), "lr": 0.1},
}
SAMPLES = [ones(3), ones((3, 2), int), np.full((3, 2), np.nan), np.full((3, 2), np.inf)]
REFUSED = {
    "perceptron_fit": {"x": SAMPLES, "epochs": [0, -1, 2.0, True],
                       "y": [np.array([0, 1, 1]), ones(2), ones((3, 1)), [0.5, 1, 1],
                             [np.nan, 1, 1], ["a", "b", "c"]]},
    "perceptron_predict": {"x": SAMPLES, "w": [ones(3), ones((2, 1)), ones(2, int)],
                           "b": [ones(1), None, "0"]},
    "sigmoid": {"z": [ones(3, int), [True]]},
    "bce_with_logits": {"z": [ones((0, 2)), ones((3, 2), int)],
                        "y": [ones(3), ones((3, 1)), -ones((3, 2)), np.full((3, 2), 1.5),
                              np.full((3, 2), np.nan), 1.0]},
    "logistic_fit": {"x": [*SAMPLES, ones((0, 2))], "y": [np.array([1, -1, 1]), ones(2)],
                     "lr": [0.0, -1.0, np.nan, np.inf, "1", None], "epochs": [0, 1.5]},
}
CASES = [(function, argument, value) for function, bad in REFUSED.items()
         for argument, values in bad.items() for value in values]


@pytest.mark.parametrize("function, argument, value", CASES)
def test_refuses(level, function, argument, value):
    """Labels of the other convention, shapes that would broadcast, what is not finite."""
    given = {**VALID[function], argument: value}
    expect_value_error(argument, getattr(level, function), **given)


def test_refuses_upstream_of_another_shape(level):
    """The loss is one number, so its gradient is."""
    _, cache = level.bce_with_logits(ones(3), ones(3))
    expect_value_error("dloss", level.bce_with_logits_backward, ones(3), cache)


@pytest.mark.levels(3)
def test_refuses_a_buffer_that_does_not_fit(level):
    """Level 3 reads z while it writes: not into z, nor into what is too small."""
    z = ones(6)
    y, fixed = ones(6), ones(6)
    fixed.flags.writeable = False
    for out in (z, z[::-1], y, fixed, ones(5), ones(6, np.float32), ones(12)[::2]):
        expect_value_error("out", level.bce_with_logits, z, y, out=out)
