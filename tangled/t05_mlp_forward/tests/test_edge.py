# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:cd817d5a795af544
"""Chapter 05: what is empty, extreme, not a number, or invalid."""

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


OPS = {"linear": [rng(1).standard_normal(s) for s in ((2, 5, 3), (3, 4), (4,))],
       "relu": [rng(2).standard_normal((2, 5, 3))],
       "softmax_cross_entropy": [3 * rng(3).standard_normal((2, 5, 3)),
                                 rng(3).integers(0, 3, (2, 5))],
       "mse": [rng(k).standard_normal((2, 5, 3)) for k in (4, 5)],
       "mlp_forward": [rng(6).standard_normal((7, 3)),
                       [tuple(rng(k).standard_normal(s) for k, s in enumerate(pair))
                        for pair in (((3, 4), (4,)), ((4, 2), (2,)))]]}


@pytest.mark.parametrize("name", OPS)
def test_any_layout(level, level_number, name):
    """Results do not depend on how arrays lie in memory, nor on where level 3 writes them."""
    op, value = getattr(level, name), name in ("mse", "softmax_cross_entropy")
    kept = (lambda x, y: (op(x, y)[0], op(x, y)[1][0])) if name == "softmax_cross_entropy" \
        else (lambda *inputs: op(*inputs) if name == "mse" else op(*inputs)[0])
    assert_layouts(kept, OPS[name])
    if level_number == 3 and name != "mlp_forward":
        pick = (lambda loss, cache: cache[0] if isinstance(cache, tuple) else cache) if value \
            else (lambda out, cache: out)
        assert_layouts(op, OPS[name], lambda dout, cache: dout * np.ones(()), out=pick)


@pytest.mark.parametrize("name", OPS)
def test_called_again(level, name):
    """A second call gives the same, in arrays of its own; inputs stay as they are."""
    op = getattr(level, name)
    assert_repeatable(lambda *inputs: op(*inputs)[0], OPS[name])
    first, second = (op(*OPS[name])[1] for _ in range(2))
    if name == "softmax_cross_entropy":
        assert not np.shares_memory(first[0], second[0])
        assert_close(first[0], second[0], what="p")
    if name == "mse":
        assert not np.shares_memory(first, second)
        assert_close(first, second, what="difference")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", OPS)
def test_every_dtype(level, name):
    """float16, 32 and 64 in, the same out, and right: sums and powers of float16 in float32."""
    from tangled.t05_mlp_forward import level1_naive
    inputs = OPS[name]
    if name == "mse":
        inputs = [50 * inputs[0], 50 * inputs[1]]
    reference = lambda *given: getattr(level1_naive, name)(*given)[0]
    extremes = {"softmax_cross_entropy": [[np.array([[6e4, -6e4, 0], [9, 8, 7]]), np.array([2, 1])]],
                "relu": [[np.array([6e4, -6e4, 6e-8])]]}.get(name, ())
    assert_dtypes(lambda *given: getattr(level, name)(*given)[0], inputs, reference=reference,
                  scales=(1.0, 1e-3), extremes=extremes, refuses=[np.int64, np.complex128],
                  tol={2: 6e-3})
    if name in ("mse", "softmax_cross_entropy"):
        _, cache = getattr(level, name)(inputs[0].astype(np.float16), inputs[1])
        kept = cache if name == "mse" else cache[0]
        assert_close(kept, getattr(level, name)(*inputs)[1] if name == "mse"
                     else getattr(level, name)(*inputs)[1][0], tol=4e-3, dtype=np.float16, what="kept")


@pytest.mark.levels(1, 2, 3)
def test_many_numbers_of_float16(level, level_number):
    """Thousands of terms, beyond what float16 can count: 4,099 classes, 4,099 errors of 1."""
    n = 99 if level_number == 1 else 4099
    loss, (p, _) = level.softmax_cross_entropy(np.zeros((2, n), np.float16), [0, 3])
    assert_close(loss, np.float16(np.log(n)), tol=2e-3, dtype=np.float16, what="log K")
    assert_close(p, np.full((2, n), 1 / n, np.float16), tol=2e-3, dtype=np.float16, what="p")
    loss, _ = level.mse(np.full(n, 300, np.float16), np.full(n, 100, np.float16))
    assert_close(loss, np.float16(40000), tol=2e-3, dtype=np.float16, what="mse")
    loss, _ = level.mse(np.array([300, 1, 1, 1], np.float16), np.ones(4, np.float16))
    assert_close(loss, np.float16(299 ** 2 / 4), tol=2e-3, dtype=np.float16, what="one large error")
    n = 70_001                                                  # the sum of exponentials, too
    loss, _ = level.softmax_cross_entropy(np.zeros((1, n), np.float16), [n - 1])
    assert_close(loss, np.float16(np.log(n)), tol=2e-3, dtype=np.float16, what="log 70,001")


@pytest.mark.levels(1, 2, 3)
def test_rows_of_all_sizes(level, level_number):
    """Many rows and few, close logits and far ones, a row of -inf beside others: each row alone."""
    for n, k, size in ((3, 5, 1), (7, 3, 100)) if level_number == 1 else ((5000, 7, 1), (700, 101, 50)):
        logits, y = size * rng(n).standard_normal((n, k)), rng(k).integers(0, k, n)
        loss, (p, _) = level.softmax_cross_entropy(logits, y)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        assert_close(loss, -log_p[np.arange(n), y].mean(), tol=1e-12, what="loss")
        assert_close(p, np.exp(log_p), tol=1e-9, what="p")
    logits = np.array([[1.0, 2.0], [400.0, 401.0], [-900.0, -901.0]], np.float32)
    loss, (p, _) = level.softmax_cross_entropy(logits, [0, 0, 0])
    a, b = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-1.0))
    assert_close(p, np.array([[a, b], [a, b], [b, a]], np.float32), what="rows far apart")
    assert_close(loss, np.float32(-(2 * np.log(a) + np.log(b)) / 3), what="loss of rows far apart")
    with np.errstate(invalid="ignore"):
        _, (p, _) = level.softmax_cross_entropy(np.array([[np.nan, 1.0], [1.0, 2.0]]), [0, 0])
    assert_close(p[1], np.array([a, b]), what="a row beside NaN")


def test_no_features(level):
    """A layer of 0 inputs returns its bias, one of 0 outputs nothing; both as a batch."""
    out, _ = level.linear(ones((2, 0)), ones((0, 3)), np.array([1.0, 2.0, 3.0]))
    assert_close(out, np.array([[1.0, 2.0, 3.0]] * 2), what="out of no inputs")
    assert level.linear(ones((2, 5, 3)), ones((3, 0)), ones(0))[0].shape == (2, 5, 0)
    assert_close(level.linear(ones((2, 5, 0)), ones((0, 3)))[0], np.zeros((2, 5, 3)), what="no bias")


def test_numbers_without_axes(level):
    """A single number is an array of no axes, before and after."""
    for x, wanted in ((3.0, 3.0), (-3.0, 0.0)):
        out, cache = level.relu(np.array(x))
        assert isinstance(out, np.ndarray) and isinstance(cache, np.ndarray)
        assert_close(out, np.array(wanted), what="relu of a number")
    loss, difference = level.mse(np.array(3.0), np.array(1.0))
    assert isinstance(difference, np.ndarray) and difference.shape == ()
    assert_close(loss, np.array(4.0), what="mse of a number")


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


def test_one_row_far_below_the_others(level):
    """Logits of 0 and of -150 in one array, float32: the mean of each row's own loss."""
    row = np.array([0, -1, -2], np.float32)
    loss, _ = level.softmax_cross_entropy(np.stack([row, row - 150]), np.array([0, 2]))
    log_p = row - np.log(np.exp(row.astype(float)).sum())
    assert_close(np.array(loss), np.array((-log_p[0] - log_p[2]) / 2, np.float32), tol=1e-5, what="loss")


@pytest.mark.levels(3)
def test_room_that_overlaps(level):
    """Logits and `out` that share memory otherwise than entry by entry, and more of them than fit a block."""
    for shift in (True, False):
        memory = rng(50).standard_normal(300 * 201)
        square = memory[:200 * 200].reshape(200, 200)
        logits, out = (square, memory[200:200 * 201].reshape(200, 200)) if shift else (square.T, square)
        y = rng(51).integers(0, 200, 200)
        want, (p, _) = level.softmax_cross_entropy(logits.copy(), y)
        loss, (got, _) = level.softmax_cross_entropy(logits, y, out=out)
        assert_close(np.array(loss), np.array(want), tol=1e-12, what="loss")
        assert_close(got, p, tol=1e-12, what="probabilities")
