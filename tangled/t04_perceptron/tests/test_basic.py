# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:85bfea6cd4cd7805
"""Chapter 04: shapes, values and gradients."""

import math

import numpy as np
import pytest

from tangled.t02_autograd import Tensor
from tangled.testing import assert_close, check_gradients, numeric_gradient, rng

BCE = ("bce", "bce-one", "bce-extreme")


@pytest.mark.value
def test_perceptron_trace(level):
    """The trace of the chapter, with its ties: a score of 0 is a mistake."""
    x = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    w, b, mistakes = level.perceptron_fit(x, np.array([1, -1, 1]))
    assert mistakes == [2, 2, 1, 0] and w.tolist() == [-1, 3] and b == 1
    assert level.perceptron_fit(x, np.array([1, -1, 1]), epochs=2)[2] == [2, 2]


@pytest.mark.value
def test_mistakes_within_the_bound(level):
    """eq. 4.5: never more than (R / gamma)^2 mistakes, and no error left at the end."""
    for seed in range(6):
        generator = rng(seed)
        u = generator.standard_normal(4)
        u /= np.linalg.norm(u)
        points = np.c_[generator.standard_normal((60, 3)), np.ones(60)]
        points = points[np.abs(points @ u) > 0.25]
        y = np.sign(points @ u).astype(int)
        w, b, mistakes = level.perceptron_fit(points[:, :3], y, epochs=1000)
        bound = (np.linalg.norm(points, axis=1).max() / np.abs(points @ u).min()) ** 2
        assert mistakes[-1] == 0 and 0 < sum(mistakes) <= bound
        assert np.array_equal(level.perceptron_predict(points[:, :3], w, b), y)


@pytest.mark.gradient
def test_bce_gradients(level):
    """eq. 4.17 by central differences, labels between 0 and 1 included."""
    for shape in ((7,), (3, 4)):
        y = rng(1).uniform(0, 1, shape).round(1)
        check_gradients(lambda z, y=y: level.bce_with_logits(z, y),
                        level.bce_with_logits_backward, [2 * rng(2).standard_normal(shape)])


@pytest.mark.gradient
def test_bce_against_the_engine(level):
    """Chapter 02's engine differentiates the stable formula to the same dz."""
    data, y = 3 * rng(3).standard_normal(8), np.arange(8) % 2
    z = Tensor(data)
    size = z.relu() + (-z).relu()
    loss = (z.relu() - z * y.astype(float) + ((-size).exp() + 1.0).log()).mean()
    (loss * 2.5).backward()
    ours, cache = level.bce_with_logits(data, y)
    assert_close(ours, np.array(loss.item()), tol=1e-12, what="loss")
    dz = level.bce_with_logits_backward(2.5, cache)
    assert_close(dz, z.grad, tol=1e-12, what="dz")


@pytest.mark.gradient
def test_first_step_is_the_gradient(level):
    """One step from zero is -lr times the numerical gradient, for w and for b."""
    x, y = rng(4).standard_normal((12, 3)), np.arange(12) % 2
    v = np.zeros(4)
    gradient = numeric_gradient(
        lambda: np.asarray(level.bce_with_logits(x @ v[:3] + v[3], y)[0]), v, np.array(1.0))
    w, b, _ = level.logistic_fit(x, y, lr=0.5, epochs=1)
    assert_close(np.append(w, b), -0.5 * gradient, tol=1e-6, what="(w, b)")


@pytest.mark.value
@pytest.mark.parametrize("name", ["perceptron", "perceptron-xor"])
def test_perceptron_golden(level, golden, name):
    """Weights, bias and mistakes, epoch by epoch, with and without an end."""
    case = golden(name)
    w, b, mistakes = level.perceptron_fit(**case.inputs)
    assert isinstance(mistakes, list)
    assert_close(np.array(mistakes), case.outputs["mistakes"], what="mistakes")
    assert_close((w, np.asarray(b)), (case.outputs["w"], case.outputs["b"]), what="(w, b)")


@pytest.mark.value
def test_predict_is_the_sign_of_the_score(level):
    """+1 above the line, -1 below it and on it; integers."""
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    out = level.perceptron_predict(x, np.array([2.0, -1.0]), -1)
    assert out.dtype.kind == "i" and out.tolist() == [1, -1, -1]


@pytest.mark.value
def test_two_layers_compute_xor(level):
    """The net of the chapter: or, and, and their difference."""
    bits = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    hidden = np.stack([level.perceptron_predict(bits, np.ones(2), b) for b in (-0.5, -1.5)], 1)
    out = level.perceptron_predict(hidden.astype(float), np.array([1.0, -1.0]), -1.0)
    assert out.tolist() == [-1, 1, 1, -1]


@pytest.mark.value
def test_sigmoid_golden(level, golden):
    """From 0 to 1, at both ends too."""
    case = golden("sigmoid")
    assert_close(level.sigmoid(case.inputs["z"]), case.outputs["out"], what="sigmoid")


@pytest.mark.value
@pytest.mark.parametrize("name", BCE)
def test_bce_golden(level, golden, name):
    """The mean loss, for moderate and extreme logits, in one and two dimensions."""
    case = golden(name)
    assert_close(level.bce_with_logits(**case.inputs)[0], case.outputs["loss"], what="loss")


@pytest.mark.gradient
@pytest.mark.parametrize("name", BCE)
def test_bce_gradient_golden(level, golden, name):
    """dz of a loss that is weighted from above; asked again, and for another weight, and changed."""
    case = golden(name)
    z, y = case.inputs["z"], case.inputs["y"]
    _, cache = level.bce_with_logits(z, y)
    level.bce_with_logits(z[::-1] + 1, 1 - y)                    # another call between the two
    one = 1 / case.upstream["loss"]                              # the gradient as it is cached
    for times in (1.0, one, one, -0.5 * one, 1.0):
        dz = level.bce_with_logits_backward(times * case.upstream["loss"], cache)
        assert_close(dz, times * case.grads["z"], what="dz", dtype=np.float64)
        dz *= 7                                                  # the caller's own array


@pytest.mark.value
def test_bce_trace(level):
    """z = 2, y = 0: the numbers printed in the chapter. Ignorance costs log 2."""
    loss, cache = level.bce_with_logits(np.array([2.0]), np.array([0]))
    assert_close(loss, np.array(2.126928), what="loss")
    assert_close(level.bce_with_logits_backward(1.0, cache), np.array([0.880797]), what="dz")
    for n in (1, 5):
        loss, _ = level.bce_with_logits(np.zeros(n), np.ones(n))
        assert_close(loss, np.array(math.log(2)), tol=1e-12, what="loss")


@pytest.mark.value
def test_logistic_golden(level, golden):
    """Thirty steps: weights, bias, and the loss before each."""
    case = golden("logistic")
    w, b, losses = level.logistic_fit(**case.inputs)
    assert isinstance(losses, list)
    assert_close(np.array(losses), case.outputs["losses"], what="losses")
    assert_close((w, np.asarray(b)), (case.outputs["w"], case.outputs["b"]), what="(w, b)")


@pytest.mark.value
def test_xor_is_beyond_one_unit(level):
    """The perceptron never has an epoch without a mistake, the logistic unit ends at log 2."""
    bits = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    _, _, mistakes = level.perceptron_fit(bits, np.array([-1, 1, 1, -1]), epochs=60)
    assert len(mistakes) == 60 and min(mistakes) > 0
    assert len(level.perceptron_fit(bits, np.array([-1, 1, 1, -1]))[2]) == 100
    w, b, losses = level.logistic_fit(bits, np.array([0, 1, 1, 0]), lr=1.0, epochs=50)
    assert_close(np.append(w, b), np.zeros(3), what="(w, b)")
    assert_close(losses[-1], np.array(math.log(2)), what="loss")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(level, dtype):
    """Results have shape and dtype of the samples or logits, whatever the labels' type."""
    x = rng(5).standard_normal((9, 3)).astype(dtype)
    y = np.where(x[:, 0] > 0, 1, -1)
    w, b, _ = level.perceptron_fit(x, y)
    assert (w.shape, w.dtype, np.shape(b), b.dtype) == ((3,), dtype, (), dtype)
    assert level.perceptron_predict(x, w, b).shape == (9,)
    w, b, losses = level.logistic_fit(x, y > 0, 0.1, 4)
    assert (w.shape, w.dtype, np.shape(b), b.dtype) == ((3,), dtype, (), dtype)
    assert len(losses) == 4 and all(type(loss) is float for loss in losses)
    assert type(b) is dtype and type(level.sigmoid(x[0, 0])) is dtype
    loss, cache = level.bce_with_logits(x, np.ones((9, 3), int))
    dz = level.bce_with_logits_backward(np.float64(2.0), cache)
    assert np.shape(loss) == () and loss.dtype == dtype and (dz.shape, dz.dtype) == (x.shape, dtype)
    assert level.sigmoid(x).dtype == dtype
