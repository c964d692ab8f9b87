# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:7a0dae09b201a943
"""Chapter 07: extreme values, kinks, what is empty, not a number, or invalid."""

import warnings

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

S, A = 1.0507009873554805, 1.6732632423543772
# name: (value at -1e4, slope there, slope at 1e4)
LIMITS = {"relu": (0, 0, 1), "leaky_relu": (-100, 0.01, 1), "sigmoid": (0, 0, 0),
          "tanh": (-1, 0, 0), "softplus": (0, 0, 1), "elu": (-1, 0, 1),
          "selu": (-S * A, 0, S), "gelu": (0, 0, 1), "silu": (0, 0, 1), "mish": (0, 0, 1)}
BOUNDED = ("sigmoid", "tanh")
each = pytest.mark.parametrize("name", LIMITS)


def both(level, name, x, **options):
    """Output and derivative at x, with every warning an error."""
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        out, cache = getattr(level, name)(x, **options)
        return out, getattr(level, name + "_backward")(np.ones_like(x), cache)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes(level, name, dtype):
    """At 1e4 and -1e4, together and alone: the limits, without a warning; exp(1e4) must not have been tried."""
    left, left_slope, right_slope = LIMITS[name]
    right = 1 if name in BOUNDED else 1e4 * right_slope
    for part in (slice(0, 2), slice(0, 1), slice(1, 2)):
        x = np.array([-1e4, 1e4], dtype)[part]
        out, dx = both(level, name, x)
        assert_close(out, np.array([left, right], dtype)[part], tol=1e-6, what=name)
        assert_close(dx, np.array([left_slope, right_slope], dtype)[part], tol=1e-6, what="dx")
        if name == "gelu":
            out, dx = both(level, name, x, approximate="tanh")
            assert_close(out, np.array([0, 1e4], dtype)[part], tol=1e-6, what="gelu, tanh")
            assert_close(dx, np.array([0, 1], dtype)[part], tol=1e-6, what="dx, tanh")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("dtype, x", [(np.float16, [-8, -11.5, -13, -15]), (np.float32, [-80, -89, -92, -95]),
                                      (np.float64, [-700, -710, -720, -725])])
def test_logarithm_of_the_sigmoid(level, dtype, x):
    """It is x, and at level 3, which stops at the smallest exponents, nearly; where exp(-x) is infinite, -inf."""
    with np.errstate(all="ignore"):
        got = np.log(level.sigmoid(np.array(x, dtype))[0])
    assert_close(got, np.array(x, dtype), tol=0.1, what="log of the sigmoid")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prelu_extremes(level, dtype):
    """PReLU at 1e4 and -1e4, and a gradient of its slope that is as large as the input."""
    x = np.array([-1e4, 1e4], dtype)
    out, (dx, dslope) = both(level, "prelu", x, slope=np.array([0.25], dtype))
    assert_close(out, np.array([-2500, 1e4], dtype), what="prelu")
    assert_close(dx, np.array([0.25, 1], dtype), what="dx")
    assert_close(dslope, np.array([-1e4], dtype), what="dslope")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erfc_far_out(level, dtype):
    """2 and 0, without a warning, where the square of x overflows; NaN stays."""
    x = np.array([-np.inf, -1e30, 0, 1e30, np.inf, np.nan], dtype)
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        out = level.erfc(x)
    assert_close(out, np.array([2, 2, 1, 0, 0, np.nan], dtype), tol=1e-6, what="erfc")


@each
@pytest.mark.levels(1, 2, 3)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinity_and_nan(level, name, dtype):
    """Infinities give the limits, of slopes too (PyTorch has 0 * inf); NaN stays."""
    left, left_slope, right_slope = LIMITS[name]
    left = -np.inf if name == "leaky_relu" else left
    right = 1 if name in BOUNDED else np.inf
    with np.errstate(invalid="ignore"):
        out, dx = both_quiet(level, name, np.array([-np.inf, np.inf, np.nan], dtype))
    tol = 1e-9 if dtype == np.float64 else 1e-6
    assert_close(out, np.array([left, right, np.nan], dtype), tol=tol, what=name)
    assert_close(dx[:2], np.array([left_slope, right_slope], dtype), tol=tol, what="dx")
    if name == "gelu":
        with np.errstate(invalid="ignore"):
            out, dx = both_quiet(level, name, np.array([-np.inf, np.inf, np.nan], dtype), approximate="tanh")
        assert_close(out, np.array([0, np.inf, np.nan], dtype), tol=tol, what="gelu, tanh")
        assert_close(dx[:2], np.array([0, 1], dtype), tol=tol, what="dx, tanh")


def both_quiet(level, name, x, **options):
    out, cache = getattr(level, name)(x, **options)
    return out, getattr(level, name + "_backward")(np.ones_like(x), cache)


@pytest.mark.parametrize("name, value, slope", [
    ("relu", 0, 0), ("leaky_relu", 0, 0.01), ("elu", 0, 1), ("selu", 0, S * A),
    ("sigmoid", 0.5, 0.25), ("tanh", 0, 1), ("softplus", np.log(2), 0.5), ("gelu", 0, 0.5),
    ("silu", 0, 0.5), ("mish", 0, 0.6)])
def test_slope_at_zero(level, name, value, slope):
    """At 0 and at -0.0: at a kink the left derivative, as PyTorch has it."""
    out, dx = both(level, name, np.array([0.0, -0.0]))
    assert_close(out, np.full(2, value, float), tol=1e-12, what=name)
    assert_close(dx, np.full(2, slope, float), tol=1e-12, what="dx")


def test_prelu_at_zero(level):
    """At 0 PReLU has its slope as derivative, and the slope gets no gradient from there."""
    _, (dx, dslope) = both(level, "prelu", np.zeros(3), slope=np.array([0.25]))
    assert_close(dx, np.full(3, 0.25), what="dx")
    assert_close(dslope, np.zeros(1), what="dslope")


@each
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_and_empty(level, name, shape, dtype):
    """A single number without axes, one entry, none at all: shapes are kept, values those of a row."""
    found, row = (both(level, name, np.full(size, -0.5, dtype)) for size in (shape, 3))
    for got, expected, what in zip(found, row, (name, "dx")):
        assert_close(np.asarray(got), np.full(shape, expected[0]), tol=1e-6, what=what)


def test_prelu_empty(level):
    """An empty batch, or pictures without pixels, send the slopes a gradient of 0; and a number without axes."""
    for shape in ((0, 3, 2), (2, 3, 0)):
        _, (dx, dslope) = both(level, "prelu", np.zeros(shape), slope=np.full(3, 0.25))
        assert dx.shape == shape
        assert_close(dslope, np.zeros(3), what="dslope")
    out, (dx, dslope) = both(level, "prelu", np.array(-2.0), slope=np.array(0.25))
    assert_close(np.array([out, dx, dslope]), np.array([-0.5, 0.25, -2]), what="out, dx, dslope of one number")


def test_too_large_for_float16(level):
    """What float16 cannot hold becomes infinite, forwards and backwards, without a warning."""
    large, inf = np.float16(65000), np.float16(np.inf)
    for name, options, values, dout, slopes in (
            ("selu", {}, (inf, -S * A), (large, 0), (inf, 0)),
            ("leaky_relu", {"slope": 2.5}, (large, -inf), (1, large), (1, inf)),
            ("prelu", {"slope": np.full(1, 2.5, np.float16)}, (large, -inf), (1, large), (1, inf))):
        with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
            warnings.simplefilter("error")
            out, cache = getattr(level, name)(np.array([large, -large]), **options)
            grads = getattr(level, name + "_backward")(np.array(dout, np.float16), cache)
        dx, dslope = grads if name == "prelu" else (grads, np.array([-inf]))
        assert_close(out, np.array(values, np.float16), tol=2e-3, what=name)
        assert_close(dx, np.array(slopes, np.float16), tol=2e-3, what=f"dx of {name}")
        assert_close(dslope, np.array([-inf]), what="dslope")


ALL = [*((name, {}) for name in LIMITS), ("leaky_relu", {"slope": 0.3}), ("leaky_relu", {"slope": 2.5}),
       ("leaky_relu", {"slope": 0.0}), ("elu", {"alpha": 0.4}), ("gelu", {"approximate": "tanh"})]
every = pytest.mark.parametrize("name, options", ALL)
FAR = np.array([[-6.0, 6, 12, -12, 88, -88, 100], [-100.0, 1e4, -1e4, 6e4, -6e4, 0.0, 1e-4]])


def op_of(level, name, options):
    """The op with its options, and its backward."""
    return (lambda x: getattr(level, name)(x, **options)), getattr(level, name + "_backward")


@every
def test_any_layout(level, name, options):
    """Ten ways in which x and dout may lie in memory: transposed, with gaps, overlapping, ..."""
    f, f_backward = op_of(level, name, options)
    for shape in ((3, 5), (4, 2, 3)):
        assert_layouts(f, (2 * rng(1).standard_normal(shape),), f_backward, names=("x",))


def test_prelu_and_erfc_in_any_layout(level):
    """The same for PReLU, with a slope for each channel, and for erfc."""
    x, slope = rng(2).standard_normal((4, 3, 2)), rng(3).uniform(0.1, 0.9, 3)
    assert_layouts(level.prelu, (x, slope), level.prelu_backward, names=("x", "slope"))
    assert_layouts(level.erfc, (x,))


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_called_twice(level, name, options, dtype):
    """Two calls and two backward passes give the same; inputs stay, results are apart."""
    f, f_backward = op_of(level, name, options)
    assert_repeatable(f, ((2 * rng(4).standard_normal((3, 5))).astype(dtype),), f_backward)


def test_prelu_called_twice(level):
    """The same for PReLU."""
    x, slope = rng(5).standard_normal((4, 3, 2)), rng(6).uniform(0.1, 0.9, 3)
    assert_repeatable(level.prelu, (x, slope), level.prelu_backward)


@every
def test_any_dtype(level, level_number, name, options):
    """float16, float32, float64, small, large and at the extremes: right to the dtype's digits.

    Level 3 finds some slopes from an output that was rounded: in float16 to two digits.
    """
    rounded = level_number == 3 and name in ("sigmoid", "tanh", "softplus", "elu", "selu")
    f, f_backward = op_of(level, name, options)
    x = 2 * rng(7).standard_normal((3, 5))
    with np.errstate(all="ignore"):
        assert_dtypes(lambda x: f(x)[0], (x,), refuses=(np.int64, np.longdouble), extremes=[(FAR,)],
                      tol={4: 1e-4})
        assert_dtypes(f, (x,), f_backward=f_backward, extremes=[(FAR,)],
                      tol={2: 0.6 if rounded else 4e-3, 4: 2e-3 if rounded else 1e-4})


def test_prelu_and_erfc_in_any_dtype(level):
    """The same for PReLU, whose slope's gradient is a sum of 240 products, and for erfc."""
    x, slope = 2 * rng(8).standard_normal((4, 3, 20)), rng(9).uniform(0.1, 0.9, 3)
    assert_dtypes(level.prelu, (x, slope), f_backward=level.prelu_backward, tol={2: 4e-3})
    assert_dtypes(level.erfc, (x,), refuses=(np.int64,), tol={4: 1e-4})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_upstream_that_is_not_finite(level, dtype, value):
    """A dead ReLU passes 0 on, not infinity times 0; PReLU's slope hears of negative inputs only."""
    x, dout = np.array([-2, 0, 3], dtype), np.full(3, value, dtype)
    dx = level.relu_backward(dout, level.relu(x)[1])
    assert_close(dx, np.array([0, 0, value], dtype), tol=0, what="dx of relu")
    dx = level.leaky_relu_backward(dout, level.leaky_relu(x)[1])
    assert_close(dx, dout, tol=0, what="dx of leaky_relu")
    dout[:2] = 1
    dx, dslope = level.prelu_backward(dout, level.prelu(x, np.full(1, 0.25, dtype))[1])
    assert_close(dx, np.array([0.25, 0.25, value], dtype), tol=0, what="dx of prelu")
    assert_close(dslope, np.array([-2], dtype), tol=0, what="dslope")


def test_steep_leaks(level):
    """A slope above 1, where the output is the smaller of x and slope x, and a slope of 0."""
    x = np.array([-3.0, -0.5, 0, 0.5, 3])
    for slope in (0.0, 1.0, 2.5):
        out, dx = both(level, "leaky_relu", x, slope=slope)
        assert_close(out, np.array([-3 * slope, -0.5 * slope, 0, 0.5, 3]), tol=1e-12, what="out")
        assert_close(dx, np.array([slope, slope, slope, 1, 1]), tol=1e-12, what="dx")
    right = both(level, "leaky_relu", np.array([np.inf, 2]), slope=0.0)[0]
    assert_close(right, np.array([np.inf, 2]), tol=0, what="out, slope 0")


ones = np.ones
REFUSED = [("relu", "x", {"x": ones(2, int)}), ("gelu", "x", {"x": [1, 2]}),
           ("leaky_relu", "slope", {"x": ones(2), "slope": -0.1}),
           ("leaky_relu", "slope", {"x": ones(2), "slope": np.nan}),
           ("leaky_relu", "slope", {"x": ones(2), "slope": "0.1"}),
           ("elu", "alpha", {"x": ones(2), "alpha": np.inf}),
           ("elu", "alpha", {"x": ones(2), "alpha": True}),
           ("gelu", "approximate", {"x": ones(2), "approximate": "erf"}),
           ("prelu", "x", {"x": ones(2, bool), "slope": ones(1)}),
           ("prelu", "slope", {"x": ones((2, 3)), "slope": ones(2)}),
           ("prelu", "slope", {"x": ones((2, 3)), "slope": ones((3, 1))}),
           ("prelu", "slope", {"x": ones(3), "slope": ones(3)}),
           ("prelu", "slope", {"x": ones((2, 3)), "slope": 1})]


@pytest.mark.parametrize("op, argument, arguments", REFUSED)
def test_refuses(level, op, argument, arguments):
    """Integers, slopes below 0 or of a shape that broadcasts wrongly, unknown options."""
    expect_value_error(argument, getattr(level, op), **arguments)


@pytest.mark.parametrize("op", [*LIMITS, "prelu"])
def test_backward_refuses(level, op):
    """A dout that would broadcast, or that is not floating, is refused by name."""
    arguments = {"slope": ones(1)} if op == "prelu" else {}
    _, cache = getattr(level, op)(ones((2, 3)), **arguments)
    for dout in (ones((1, 3)), ones(3), ones((2, 3), int)):
        expect_value_error("dout", getattr(level, op + "_backward"), dout, cache)


@pytest.mark.levels(2)
def test_modules_refuse(level):
    """A module refuses bad options when it is made, and backward before forward."""
    expect_value_error("slope", level.LeakyReLU, -1)
    expect_value_error("alpha", level.ELU, np.nan)
    expect_value_error("approximate", level.GELU, "fast")
    expect_value_error("channels", level.PReLU, 0)
    expect_value_error("slope", level.PReLU, 1, slope=np.inf)
    with pytest.raises(RuntimeError, match="backward"):
        level.SiLU().backward(ones(2))
