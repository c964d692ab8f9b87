# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:3c66b3df96d83dfc
"""Chapter 05: what is empty, extreme, not a number, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.edge

ones = np.ones


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits(level, dtype):
    """Logits of 1e4: losses 0 and 2e4 exactly, without a warning."""
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        right, _ = level.softmax_cross_entropy(logits, np.array([0, 1]))
        wrong, (p, _) = level.softmax_cross_entropy(logits, np.array([1, 0]))
    assert right == 0 and wrong == 2e4 and wrong.dtype == dtype
    assert_close(p, np.array([[1, 0, 0], [0, 1, 0]], dtype), what="p")


def test_small_probabilities_keep_their_loss(level):
    """exp(-200) is 0 in float32; its loss is 200 all the same."""
    logits = np.array([[0, -200]], np.float32)
    loss, _ = level.softmax_cross_entropy(logits, np.array([1]))
    assert_close(loss, np.array(200.0), what="loss")


def test_masked_classes(level):
    """A logit of -inf is a class that cannot be: probability 0, infinite loss if it is."""
    logits = np.array([[0.0, -np.inf, 0.0]])
    with np.errstate(divide="ignore"):
        loss, (p, _) = level.softmax_cross_entropy(logits, np.array([2]))
        assert_close(loss, np.array(np.log(2.0)), what="loss")
        assert_close(p, np.array([[0.5, 0.0, 0.5]]), what="p")
        assert level.softmax_cross_entropy(logits, np.array([1]))[0] == np.inf


def test_not_a_number_is_passed_on(level):
    """A NaN stays in its row of a layer, and makes a loss NaN: it is not hidden as a 0."""
    x = np.array([[np.nan, 1.0], [1.0, -1.0]])
    assert np.isnan(level.relu(x)[0]).tolist() == [[True, False], [False, False]]
    assert np.isnan(level.linear(x, ones((2, 3)))[0]).all(axis=1).tolist() == [True, False]
    with np.errstate(invalid="ignore"):
        assert np.isnan(level.softmax_cross_entropy(x, np.array([0, 0]))[0])
        assert np.isnan(level.mse(x, ones((2, 2)))[0])


def test_empty_and_single(level):
    """No rows go through the layers; one row, one class are enough for a loss."""
    assert level.linear(ones((0, 3)), ones((3, 2)), ones(2))[0].shape == (0, 2)
    assert level.relu(ones((0, 4)))[0].shape == (0, 4)
    layers = [(ones((2, 3)), ones(3)), (ones((3, 1)), None)]
    assert level.mlp_forward(ones((0, 2)), layers)[0].shape == (0, 1)
    assert level.softmax_cross_entropy(ones((1, 1)), [0])[0] == 0
    assert level.mse(ones(1), [3])[0] == 4


def test_strided_input(level):
    """Transposes and every other column are as good as copies."""
    x, W = rng(1).standard_normal((3, 8)), rng(2).standard_normal((5, 4))
    expected = level.linear(np.ascontiguousarray(x.T[::2]), np.ascontiguousarray(W[:3]))[0]
    assert_close(level.linear(x.T[::2], W[:3])[0], expected, tol=1e-12, what="linear")
    y = np.array([2, 0, 1, 1])
    loss, copied = (level.softmax_cross_entropy(a, y)[0] for a in (W[:4].T, W[:4].T.copy()))
    assert_close(loss, np.array(copied), tol=1e-12, what="loss")


VALID = {
    "linear": {"x": ones((2, 3)), "W": ones((3, 4)), "b": ones(4)},
    "relu": {"x": ones(3)},
    "mlp_forward": {"x": ones((2, 3)),
                    "parameters": [(ones((3, 4)), ones(4)), (ones((4, 1)), None)]},
    "softmax_cross_entropy": {"logits": ones((2, 3)), "y": np.array([0, 2])},
    "mse": {"pred": ones((3, 1)), "target": ones((3, 1))},
    **{name: {"rng": rng(0), "shape": (2, 3)} for name in
       ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")},
}
INITIAL = {"rng": [0, None, np.random.RandomState(0)], "gain": [0.0, -1.0, np.inf, "2"],
           "shape": [3, (3,), (2, 3, 4), (0, 3), (2.0, 3), (True, 3)]}
REFUSED = {
    "linear": {"x": [ones(3), ones((2, 3), int)],
               "W": [ones((4, 3)), ones(3), ones((3, 4), np.float32), ones((3, 4), int)],
               "b": [ones(3), ones((1, 4)), ones(4, np.float32), 1.0]},
    "relu": {"x": [ones(3, int), [True]]},
    "mlp_forward": {"parameters": [[], [(ones((3, 4)),)], [(ones(3), None)],
                                   [(ones((3, 4)), None), (ones((4, 1, 1)), None)],
                                   [(ones((3, 4)), None), (ones((3, 1)), None)]]},
    "softmax_cross_entropy": {
        "logits": [ones(3), ones((2, 3), int), ones((0, 3)), ones((2, 0))],
        "y": [[0, 3], [-1, 0], [0.0, 1.0], [0], [[0], [1]], [True, False]]},
    "mse": {"pred": [ones((0, 1)), ones((3, 1), int)],
            "target": [ones(3), ones((1, 3)), 1.0, np.array([["a"]] * 3)]},
    "xavier_uniform": INITIAL, "xavier_normal": INITIAL,
    "kaiming_uniform": {**INITIAL, "mode": ["fan", None]},
    "kaiming_normal": {**INITIAL, "mode": ["fan", None]},
}
CASES = [(function, argument, value) for function, bad in REFUSED.items()
         for argument, values in bad.items() for value in values]


@pytest.mark.parametrize("function, argument, value", CASES)
def test_refuses(level, function, argument, value):
    """Shapes that do not fit or would broadcast, mixed dtypes, classes that are none."""
    given = {**VALID[function], argument: value}
    expect_value_error(argument, getattr(level, function), **given)
