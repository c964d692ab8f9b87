# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:20ac707a946d4ea5
"""Chapter 07: shapes, values and gradients."""

import math

import numpy as np
import pytest

from tangled.t02_autograd import Tensor
from tangled.testing import assert_close, check_gradients, check_module_gradients, rng

OPTIONS = {"leaky_relu-steep": {"slope": 0.3}, "elu-low": {"alpha": 0.4},
           "gelu-tanh": {"approximate": "tanh"}}
PLAIN = ("relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "silu", "mish")
CASES = (*PLAIN, *OPTIONS, "prelu-one", "prelu-channels")
each = pytest.mark.parametrize("name", (*PLAIN, *OPTIONS))


def ops(level, name):
    """The pair of ops of a case, with its options."""
    op, options = name.partition("-")[0], OPTIONS.get(name, {})
    return (lambda x: getattr(level, op)(x, **options)), getattr(level, op + "_backward")


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Formulas, constants, defaults; entries at 1e4 and -1e4 are among the inputs."""
    case = golden(name)
    out, _ = getattr(level, name.partition("-")[0])(**case.inputs)
    assert_close(out, case.outputs["out"], tol=1e-9, what=name)


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Derivatives on both sides of 0 and far out, and sums over all that share a slope."""
    case = golden(name)
    op = name.partition("-")[0]
    _, cache = getattr(level, op)(**case.inputs)
    grads = getattr(level, op + "_backward")(case.upstream["out"], cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    for got, wrt in zip(grads, ("x", "slope")[:len(case.grads)], strict=True):
        assert_close(got, case.grads[wrt], tol=1e-9, what="d" + wrt)


@pytest.mark.value
def test_golden_erfc(level, golden):
    """The tail to ten digits of each entry, down to 1e-295: nothing cancels."""
    case = golden("erfc")
    ratio = level.erfc(case.inputs["x"]) / case.outputs["out"]
    assert_close(ratio, np.ones_like(ratio), tol=1e-10, what="erfc / expected")


@pytest.mark.gradient
@each
def test_gradient(level, name):
    """Central differences of every entry, off the kinks."""
    x = rng(2).uniform(0.2, 4, (3, 4)) * rng(3).choice([-1, 1], (3, 4))
    check_gradients(*ops(level, name), [x])


@pytest.mark.gradient
@pytest.mark.parametrize("shape, slopes", [((5,), (1,)), ((2, 3), ()), ((4, 3), (3,)), ((3, 2), (2,)),
                                           ((2, 3, 2, 2), (3,)), ((2, 3, 2, 2), (1,))])
def test_prelu_gradient(level, shape, slopes):
    """Central differences of x and of the slope, one for all and one for each channel."""
    x = rng(4).uniform(0.2, 2, shape) * rng(5).choice([-1, 1], shape)
    slope = np.asarray(rng(6).uniform(0.1, 0.9, slopes))
    check_gradients(level.prelu, level.prelu_backward, [x, slope])


def _softplus(t):
    return (1 + t.exp()).log()


def _elu(t, right, left):
    return right * t.relu() + left * ((-((-t).relu())).exp() - 1)


def by_engine(name, t, constants):
    """An activation as an expression of chapter 02's engine."""
    scale, alpha = constants
    tanh_arm = (math.sqrt(2 / math.pi) * (t + 0.044715 * t * t * t)).tanh()
    return {"relu": lambda: t.relu(), "leaky_relu": lambda: t.relu() - 0.01 * (-t).relu(),
            "sigmoid": lambda: 1 / (1 + (-t).exp()), "tanh": lambda: t.tanh(),
            "softplus": lambda: _softplus(t), "elu": lambda: _elu(t, 1.0, 1.0),
            "selu": lambda: _elu(t, scale, scale * alpha),
            "gelu-tanh": lambda: 0.5 * t * (1 + tanh_arm),
            "silu": lambda: t / (1 + (-t).exp()),
            "mish": lambda: t * _softplus(t).tanh()}[name]()


@pytest.mark.gradient
@pytest.mark.parametrize("name", [n for n in (*PLAIN, "gelu-tanh") if n != "gelu"])
def test_engine_agrees(level, name):
    """The slope by hand equals what chapter 02's engine finds from the definition."""
    x = 2 * rng(7).standard_normal((3, 5))
    f, f_backward = ops(level, name)
    out, cache = f(x)
    dout = rng(8).standard_normal(x.shape)
    t = Tensor(x, requires_grad=True)
    constants = (1.0507009873554805, 1.6732632423543772)
    result = by_engine(name, t, constants)
    result.backward(dout)
    assert_close(out, result.data, tol=1e-9, what=name)
    assert_close(f_backward(dout, cache), t.grad, tol=1e-9, what="dx")


@pytest.mark.gradient
def test_prelu_agrees_with_engine(level):
    """The slope's gradient, summed, is what the engine's broadcasting rule gives."""
    x, slope = rng(9).standard_normal((4, 3, 2)), np.array([0.1, 0.25, 0.6])
    dout = rng(10).standard_normal(x.shape)
    t, a = Tensor(x, requires_grad=True), Tensor(slope.reshape(3, 1), requires_grad=True)
    (t.relu() - a * (-t).relu()).backward(dout)
    dx, dslope = level.prelu_backward(dout, level.prelu(x, slope)[1])
    assert_close(dx, t.grad, tol=1e-12, what="dx")
    assert_close(dslope, a.grad.ravel(), tol=1e-12, what="dslope")


@pytest.mark.shape
@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_and_dtype(level, name, dtype):
    """Any shape; float32 stays float32 on the way there and back, and x stays as it was."""
    f, f_backward = ops(level, name)
    for shape in ((7,), (2, 3), (2, 3, 4, 5)):
        x = rng(1).standard_normal(shape).astype(dtype)
        kept = x.copy()
        out, cache = f(x)
        dx = f_backward(out.copy(), cache)
        assert (out.shape, out.dtype) == (dx.shape, dx.dtype) == (x.shape, x.dtype)
        other = np.float64 if dtype == np.float32 else np.float32
        assert f_backward(out.astype(other), f(x)[1]).dtype == dtype, "dx, for a dout of another dtype"
        assert np.array_equal(x, kept), "x was changed"


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prelu_shape_and_dtype(level, dtype):
    """dslope has the slope's shape, () and (1,) and (C,), and the dtype of x."""
    x = rng(1).standard_normal((2, 3, 4)).astype(dtype)
    for shape in ((), (1,), (3,)):
        out, cache = level.prelu(x, np.full(shape, 0.25, np.float32))
        dx, dslope = level.prelu_backward(out, cache)
        assert dx.shape == x.shape and np.shape(dslope) == shape
        assert out.dtype == dx.dtype == dslope.dtype == dtype
    assert level.erfc(x).dtype == dtype and level.erfc(x).shape == x.shape


@pytest.mark.value
def test_gates_are_symmetric(level):
    """f(x) - f(-x) = x for GELU, SiLU and softplus: what one side loses the other gains."""
    x = np.linspace(-12, 12, 49)
    for name in ("gelu", "gelu-tanh", "silu", "softplus"):
        f, _ = ops(level, name)
        assert_close(f(x)[0] - f(-x)[0], x, tol=1e-12, what=name)


@pytest.mark.value
def test_tanh_is_a_sigmoid(level):
    """tanh(x) = 2 sigmoid(2x) - 1, and the two halves of a sigmoid add up to 1."""
    x = np.linspace(-9, 9, 37)
    assert_close(level.tanh(x)[0], 2 * level.sigmoid(2 * x)[0] - 1, tol=1e-12, what="tanh")
    both = level.sigmoid(x)[0] + level.sigmoid(-x)[0]
    assert_close(both, np.ones_like(x), tol=1e-12, what="sum")


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", ["gelu", "gelu-tanh", "silu", "mish", "sigmoid", "softplus"])
def test_left_tail_keeps_its_digits(level, name):
    """At -9 and -20 a relative error of 1e-10, where 1 + erf or 1 + tanh would be noise."""
    def exact(v):
        wide = math.sqrt(8 / math.pi) * (v + 0.044715 * v ** 3)
        return {"gelu": v * math.erfc(-v / math.sqrt(2)) / 2,
                "gelu-tanh": v / (1 + math.exp(-wide)), "silu": v / (1 + math.exp(-v)),
                "mish": v * math.tanh(math.log1p(math.exp(v))),
                "sigmoid": 1 / (1 + math.exp(-v)), "softplus": math.log1p(math.exp(v))}[name]

    ratio = ops(level, name)[0](np.array([-9.0, -20.0]))[0] / [exact(-9.0), exact(-20.0)]
    assert_close(ratio, np.ones(2), tol=1e-10, what=f"{name} / expected")


def tail_of(name, v):
    """Value and slope at one v far left of 0, from the definitions, where nothing cancels."""
    s, t = 1 / (1 + math.exp(-v)), math.tanh(math.log1p(math.exp(v)))
    return {"sigmoid": (s, s * (1 - s)), "softplus": (math.log1p(math.exp(v)), s),
            "silu": (v * s, s + v * s * (1 - s)), "mish": (v * t, t + v * (1 - t * t) * s)}[name]


@pytest.mark.value
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "silu", "mish"])
@pytest.mark.parametrize("dtype, points, tol", [
    (np.float16, (-9, -12), 5e-2), (np.float32, (-9, -20, -80), 1e-5), (np.float64, (-9, -20, -300), 1e-10)])
def test_tails_of_every_dtype(level, name, dtype, points, tol):
    """Where little is left, value and slope have their digits, as far out as the dtype has such numbers."""
    f, f_backward = ops(level, name)
    out, cache = f(np.array(points, dtype))
    exact = np.array([tail_of(name, v) for v in points]).T
    for got, wanted in zip((out, f_backward(np.ones_like(out), cache)), exact):
        assert_close(got / wanted, np.ones(len(points)), tol=tol, what=f"{name} / expected")


@pytest.mark.value
def test_selu_keeps_mean_and_variance(level):
    """A standard normal input leaves with mean 0 and variance 1, by quadrature."""
    z = np.linspace(-12, 12, 4801)
    weights = np.exp(-z * z / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    out, _ = level.selu(z)
    assert abs(weights @ out) < 1e-5 and abs(weights @ out ** 2 - 1) < 1e-5


@pytest.mark.value
def test_worked_trace(level):
    """The numbers of the chapter's trace: SiLU and its slope at 2 and at -2."""
    out, cache = level.silu(np.array([2.0, -2.0]))
    assert_close(out, np.array([1.7615941560, -0.2384058440]), tol=1e-9, what="silu")
    dx = level.silu_backward(np.array([1.0, 10.0]), cache)
    assert_close(dx, np.array([1.0907842488, -0.9078424879]), tol=1e-9, what="dx")


CLASSES = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "sigmoid": "Sigmoid", "tanh": "Tanh",
           "softplus": "Softplus", "elu": "ELU", "selu": "SELU", "gelu": "GELU",
           "silu": "SiLU", "mish": "Mish"}


@pytest.mark.gradient
@pytest.mark.levels(2)
@each
def test_modules(level, name):
    """A module is its op with the options it was made with, forwards and backwards."""
    module = getattr(level, CLASSES[name.partition("-")[0]])(**OPTIONS.get(name, {}))
    x = rng(11).uniform(0.2, 3, (3, 4)) * rng(12).choice([-1, 1], (3, 4))
    assert_close(module(x), ops(level, name)[0](x)[0], tol=0, what="forward")
    check_module_gradients(module, [x])
    assert module.parameters() == []


@pytest.mark.gradient
@pytest.mark.levels(2)
def test_prelu_module(level):
    """One named parameter of the right shape; its gradient adds up over two passes."""
    module = level.PReLU(3, slope=0.1)
    assert {k: v.shape for k, v in module.state_dict().items()} == {"slope": (3,)}
    for made, expected in ((module, np.full(3, 0.1)), (level.PReLU(), np.full(1, 0.25))):
        assert made.slope.data.dtype == np.float32
        assert_close(made.slope.data, expected.astype(np.float32), tol=0, what="slope at first")
    x = rng(13).uniform(0.2, 3, (2, 3, 2)) * rng(14).choice([-1, 1], (2, 3, 2))
    check_module_gradients(module, [x])
    module.zero_grad()
    for _ in range(2):
        module.backward(np.ones_like(module(x)))
    once = level.prelu_backward(np.ones_like(x), level.prelu(x, module.slope.data)[1])[1]
    assert_close(module.slope.grad, 2 * once, what="slope.grad after two passes")
