# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:c38b3b796bab19df
"""Chapter 05: shapes and values."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tangled.testing import assert_close, rng

INITS = ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")
LINEAR = ("linear", "linear-no-bias", "linear-sequences")
LOSSES = ("cross_entropy", "cross_entropy-one", "cross_entropy-sequences",
          "cross_entropy-extreme")


@pytest.mark.value
@pytest.mark.parametrize("name", LINEAR)
def test_linear_golden(level, golden, name):
    """x @ W + b, with and without a bias, and with an axis of time."""
    case = golden(name)
    assert_close(level.linear(**case.inputs)[0], case.outputs["out"], what="linear")


@pytest.mark.value
def test_relu_golden(level, golden):
    """Negative numbers become 0, positive ones stay."""
    case = golden("relu")
    assert_close(level.relu(case.inputs["x"])[0], case.outputs["out"], what="relu")


@pytest.mark.value
def test_mlp_golden(level, golden):
    """Three layers: ReLU between them, and none behind the last."""
    case = golden("mlp_forward")
    layers = list(zip(case.inputs["weights"], case.inputs["biases"]))
    out, _ = level.mlp_forward(case.inputs["x"], layers)
    assert_close(out, case.outputs["out"], what="mlp")


@pytest.mark.value
@pytest.mark.parametrize("name", LOSSES)
def test_cross_entropy_golden(level, golden, name):
    """Loss and probabilities, for small and extreme logits; the mean is over the rows."""
    case = golden(name)
    loss, (p, _) = level.softmax_cross_entropy(**case.inputs)
    assert_close(loss, case.outputs["loss"], what="loss")
    assert_close(p, case.outputs["p"], what="p")


@pytest.mark.value
@pytest.mark.parametrize("name", ["mse", "mse-vector"])
def test_mse_golden(level, golden, name):
    """The mean is over all entries, not over the rows."""
    case = golden(name)
    assert_close(level.mse(**case.inputs)[0], case.outputs["loss"], what="mse")


@pytest.mark.value
@pytest.mark.parametrize("classes", [1, 2, 10])
def test_equal_logits_cost_log_k(level, classes):
    """Whoever knows nothing pays log K a sample, whatever the batch."""
    for n in (1, 3):
        logits, y = np.full((n, classes), 0.7), np.zeros(n, int)
        loss = level.softmax_cross_entropy(logits, y)[0]
        assert_close(loss, np.array(math.log(classes)), tol=1e-12, what="loss")


@pytest.mark.value
def test_shift_changes_nothing(level):
    """eq. 5.6: adding a number to all logits of a row leaves loss and probabilities."""
    logits, y = rng(1).standard_normal((4, 3)), np.array([0, 2, 1, 1])
    shift = np.array([[5.0], [-3.0], [100.0], [0.0]])
    loss, (p, _) = level.softmax_cross_entropy(logits, y)
    moved, (q, _) = level.softmax_cross_entropy(logits + shift, y)
    assert_close(moved, np.array(loss), tol=1e-12, what="loss")
    assert_close(q, p, tol=1e-12, what="p")


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's table, to the digits printed there."""
    layers = [(np.array([[0.5, -1.0], [0.25, 0.5]]), np.array([0.0, -0.5])),
              (np.array([[2.0, 0.0, -1.0], [1.0, -1.0, 1.0]]), np.array([0.0, 0.5, 0.0]))]
    logits, _ = level.mlp_forward(np.array([[1.0, 2.0]]), layers)
    assert_close(logits, np.array([[2.0, 0.5, -1.0]]), what="logits")
    loss = level.softmax_cross_entropy(logits, np.array([0]))[0]
    assert_close(loss, np.array(0.2413), tol=3e-4, what="loss")


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
def test_caches(level):
    """Kept for the way back: inputs and parameters, outputs of ReLU, p and y, a difference."""
    layers = [(rng(1).standard_normal((3, 4)), np.ones(4)),
              (rng(2).standard_normal((4, 2)), None)]
    x, y = rng(3).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
    out, (((x0, W0, b0), h0), ((h1, W1, b1), last)) = level.mlp_forward(x, layers)
    assert np.array_equal(x0, x) and W0 is layers[0][0] and b0 is layers[0][1]
    assert np.array_equal(h0, h1) and W1 is layers[1][0] and b1 is last is None
    assert_close(h0, np.maximum(x @ W0 + b0, 0), tol=1e-12, what="cache of relu")
    target = rng(4).standard_normal(out.shape)
    assert np.array_equal(level.softmax_cross_entropy(out.copy(), y)[1][1], y)
    assert_close(level.mse(out, target)[1], out - target, tol=1e-12, what="difference")
    y = np.array([[0, 1, 1], [2, 0, 3]])
    _, (p, kept) = level.softmax_cross_entropy(rng(5).standard_normal((2, 3, 4)), y)
    assert p.shape == (2, 3, 4)
    assert_close(kept, y, what="classes of a batch of sequences")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(level, dtype):
    """Results keep shape and dtype of the input; losses are scalars."""
    draw = lambda *shape: rng(2).standard_normal(shape).astype(dtype)
    layers = [(draw(3, 4), draw(4)), (draw(4, 2), None)]
    for lead in ((5,), (2, 3)):
        out, _ = level.mlp_forward(draw(*lead, 3), layers)
        assert (out.shape, out.dtype) == ((*lead, 2), dtype)
        y = np.ones(lead, np.uint8)
        loss, (p, _) = level.softmax_cross_entropy(out, y)
        assert np.shape(loss) == () and loss.dtype == p.dtype == dtype
        assert_close(p.sum(-1), np.ones(lead, dtype), what="sum of p")
    loss, difference = level.mse(draw(3, 2), [[1, 2], [3, 4], [5, 6]])
    assert np.shape(loss) == () and loss.dtype == difference.dtype == dtype


def deviation(name, n_in, n_out, gain=None, mode="fan_in"):
    """What eq. 5.16 and eq. 5.13 promise."""
    if name.startswith("xavier"):
        return (gain or 1.0) * math.sqrt(2 / (n_in + n_out))
    return (gain or math.sqrt(2)) / math.sqrt(n_in if mode == "fan_in" else n_out)


@pytest.mark.value
@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("shape", [(80, 250), (250, 80)])
def test_variance_of_the_weights(level, name, shape):
    """Mean 0, the derived deviation, float32, for layers that widen and that narrow."""
    W = getattr(level, name)(rng(3), shape)
    assert W.shape == shape and W.dtype == np.float32 and W.flags.c_contiguous
    assert_close(W.std(), np.array(deviation(name, *shape)), tol=0.03, what="deviation")
    assert abs(W.mean()) < 0.03 * W.std()


@pytest.mark.value
@pytest.mark.parametrize("name", INITS)
def test_shape_of_the_distribution(level, name):
    """Uniform draws fill (-sqrt(3) std, sqrt(3) std) and end there; normal ones go on."""
    size = np.abs(getattr(level, name)(rng(4), (100, 100))) / deviation(name, 100, 100)
    if name.endswith("uniform"):
        assert 1.70 < size.max() <= math.sqrt(3) + 1e-5
        assert_close(np.mean(size < math.sqrt(3) / 2), np.array(0.5), tol=0.05, what="half")
    else:
        assert 3 < size.max() < 6
        assert_close(np.mean(size < 1), np.array(0.6827), tol=0.05, what="within one")


@pytest.mark.value
@pytest.mark.parametrize("name", INITS)
def test_gain_and_mode(level, name):
    """The gain multiplies the deviation; fan_out looks at the other size."""
    init = getattr(level, name)
    assert_close(init(rng(5), (90, 160), gain=3.0).std(),
                 np.array(deviation(name, 90, 160, 3.0)), tol=0.03, what="gain 3")
    if name.startswith("kaiming"):
        W = init(rng(6), (90, 160), mode="fan_out")
        assert_close(W.std(), np.array(deviation(name, 90, 160, mode="fan_out")), tol=0.03)


@pytest.mark.value
def test_generator_decides(level):
    """The same seed gives the same weights, the next call other ones."""
    for name in INITS:
        first, again = (getattr(level, name)(rng(7), (4, 5)) for _ in range(2))
        assert np.array_equal(first, again)
        shared = rng(7)
        pair = [getattr(level, name)(shared, (4, 5)) for _ in range(2)]
        assert not np.array_equal(*pair)


@pytest.mark.value
@pytest.mark.levels(2, 3, 4)
@pytest.mark.parametrize("name", ["kaiming_uniform", "kaiming_normal"])
def test_signal_survives_thirty_layers(level, name):
    """eq. 5.12: the mean square stays within a factor of 4, through widths that change."""
    generator, sizes = rng(8), [300, 200, 400] * 10
    layers = [(getattr(level, name)(generator, shape), None) for shape in pairwise(sizes)]
    x = generator.standard_normal((64, 300)).astype(np.float32)
    out, _ = level.mlp_forward(x, layers)                       # no ReLU last: factor 2
    assert 0.25 < np.mean(out**2) / 2 < 4


@pytest.mark.value
@pytest.mark.levels(3)
def test_into_given_arrays(level):
    """Level 3 writes where it is told, its input included; keep=False keeps nothing."""
    x, y = rng(9).standard_normal((6, 4)), np.array([0, 1, 2, 3, 0, 1])
    room = np.empty((6, 5))
    assert level.linear(x, np.ones((4, 5)), out=room)[0] is room
    for widths in ((4,) * 6, (4, 3, 2, 5, 7, 8, 4)):            # rooms that are used again, and larger
        layers = [(rng(k).standard_normal(shape), None) for k, shape in enumerate(pairwise(widths))]
        expected, _ = level.mlp_forward(x, layers)
        out, cache = level.mlp_forward(x, layers, keep=False)
        assert cache is None
        assert_close(out, expected, tol=1e-12, what="mlp without a cache")
    loss, (p, _) = level.softmax_cross_entropy(out, y)
    again, (q, _) = level.softmax_cross_entropy(out, y, out=out)
    assert q is out and again == loss and np.array_equal(p, q)
    assert level.relu(x, out=x)[0] is x and x.min() == 0
