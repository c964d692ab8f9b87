# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:40f55de05eac1134
"""Activations, level 2: expressions over whole arrays, and the modules made of them."""

import functools
import math

import numpy as np

import tangled.t07_activations.checks as check
from tangled.t06_backpropagation import Module, Parameter

BEYOND = 800.0                                      # exp(-BEYOND) is 0 in float64
CUBIC = 0.044715                                    # eq. 7.23
NEAREST, FARTHEST = 1 / 14, 28.0                    # smallest t fitted, z at which erfc is 0


@check.half_in_float32
def relu(x):
    """The positive part of every entry, eq. 7.2.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `relu_backward`
    """
    x = check.floats("x", x)
    return np.maximum(x, 0), x


@check.rounded
def relu_backward(dout, cache):
    """Gradient of `relu`, eq. 7.3: 0 at the kink.

    Parameters
    ----------
    dout : ndarray of the shape of the output
    cache : from `relu`

    Returns
    -------
    dx : ndarray of the same shape
    """
    x, dout = cache, check.gradient(dout, cache)
    return np.where(x > 0, dout, 0)                             # eq. 7.3


@check.half_in_float32
def leaky_relu(x, slope=0.01):
    """ReLU that lets a share of the negative part through, eq. 7.4.

    Parameters
    ----------
    slope : number, at least 0; the rest, of any shape, as in `relu`
    """
    x, slope = check.floats("x", x), check.number("slope", slope)
    return np.maximum(x, 0) + slope * np.minimum(x, 0), (x, slope)


@check.rounded
def leaky_relu_backward(dout, cache):
    """Gradient of `leaky_relu`: the slope at the kink and to its left. Any shape, as `relu_backward`."""
    x, slope = cache
    dout = check.gradient(dout, x)
    return np.where(x > 0, dout, slope * dout)


def _along_channels(slope, x):
    """The slopes in a shape that broadcasts against x (N, C, ...): (C, 1, ...), or 0-d."""
    return slope.reshape(() if slope.size == 1 else (-1,) + (1,) * (x.ndim - 2))


@check.half_in_float32
def prelu(x, slope):
    """Leaky ReLU whose slope is a parameter, eq. 7.4; returns as `relu` does.

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), or of any shape if there is one slope
    slope : ndarray of shape () or (1,), shared, or (C,), one for each channel
    """
    x = check.floats("x", x)
    slope = check.slopes(slope, x)
    a = _along_channels(slope, x)                               # (C, 1, ...) or ()
    return np.maximum(x, 0) + a * np.minimum(x, 0), (x, slope)


@check.rounded
def prelu_backward(dout, cache):
    """Gradients of `prelu`, eq. 7.5: dx in the shape of x, dslope in that of slope."""
    x, slope = cache
    dout, a = check.gradient(dout, x), _along_channels(slope, x)
    dx = np.where(x > 0, dout, a * dout)
    share = np.where(x > 0, 0, dout) * np.minimum(x, 0)        # (N, C, ...), eq. 7.5
    axes = None if slope.size == 1 else (0, *range(2, x.ndim))
    dslope = share.sum(axis=axes).reshape(slope.shape)
    return dx, dslope


@check.half_in_float32
def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow, eq. 7.6. Any shape, as `relu`."""
    x = check.floats("x", x)
    s = np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))     # eq. 7.6
    return s, s


@check.rounded
def sigmoid_backward(dout, cache):
    """Gradient of `sigmoid`, from its output: eq. 7.7. Any shape, as `relu_backward`."""
    s, dout = cache, check.gradient(dout, cache)
    return dout * s * (1 - s)


@check.half_in_float32
def tanh(x):
    """The hyperbolic tangent. Any shape, as `relu`."""
    t = np.tanh(check.floats("x", x))
    return t, t


@check.rounded
def tanh_backward(dout, cache):
    """Gradient of `tanh`, from its output: eq. 7.9. Any shape, as `relu_backward`."""
    t, dout = cache, check.gradient(dout, cache)
    return dout * (1 - t) * (1 + t)


@check.half_in_float32
def softplus(x):
    """log(1 + exp(x)) without overflow, eq. 7.10. Any shape, as `relu`."""
    x = check.floats("x", x)
    out = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))       # eq. 7.10
    return out, x


@check.rounded
def softplus_backward(dout, cache):
    """Gradient of `softplus`: the sigmoid, eq. 7.11. Any shape, as `relu_backward`."""
    x, dout = cache, check.gradient(dout, cache)
    return dout * sigmoid(x)[0]


def _exponential(x, right, left):
    """right * x above 0, left * (exp(x) - 1) elsewhere; x (...), out (...)."""
    return right * np.maximum(x, 0) + left * np.expm1(np.minimum(x, 0))     # eq. 7.12


def _exponential_slope(x, right, left):
    """Its derivative: right above 0, left * exp(x) elsewhere; (...)."""
    return np.where(x > 0, x.dtype.type(right), left * np.exp(np.minimum(x, 0)))


@check.half_in_float32
def elu(x, alpha=1.0):
    """x, and alpha (exp(x) - 1) where that is negative; eq. 7.12.

    Parameters
    ----------
    alpha : number, at least 0, the negative of the lower limit; the rest, of any shape, as in `relu`
    """
    x, alpha = check.floats("x", x), check.number("alpha", alpha)
    return _exponential(x, 1.0, alpha), (x, alpha)


@check.rounded
def elu_backward(dout, cache):
    """Gradient of `elu`: 1, or alpha exp(x), which is alpha at the kink. Any shape, as `relu_backward`."""
    x, alpha = cache
    return check.gradient(dout, x) * _exponential_slope(x, 1.0, alpha)


def selu_constants():
    """The scale and the alpha of SELU, from eq. 7.14 to eq. 7.16.

    Returns
    -------
    scale, alpha : two floats (each of shape ()), for which mean 0 and variance 1 stay
    """
    first = math.exp(0.5) * math.erfc(1 / math.sqrt(2)) / 2     # E[exp(z), z < 0]
    second = math.exp(2.0) * math.erfc(math.sqrt(2)) / 2        # E[exp(2z), z < 0]
    alpha = 1 / (math.sqrt(2 * math.pi) * (0.5 - first))        # eq. 7.15
    return 1 / math.sqrt(0.5 + alpha ** 2 * (second - 2 * first + 0.5)), alpha


@check.half_in_float32
def selu(x):
    """ELU, scaled so that it normalises; eq. 7.13. Any shape, as `relu`."""
    x = check.floats("x", x)
    scale, alpha = selu_constants()
    return _exponential(x, scale, scale * alpha), x


@check.rounded
def selu_backward(dout, cache):
    """Gradient of `selu`. Any shape, as `relu_backward`."""
    scale, alpha = selu_constants()
    dout = check.gradient(dout, cache)
    return dout * _exponential_slope(cache, scale, scale * alpha)


@functools.lru_cache
def _tail_coefficients(terms):
    """Coefficients, a list, of log(erfc(z) / t) + z^2 in u; eq. 7.30."""
    angles = [math.pi * (j + 0.5) / terms for j in range(terms)]
    values = []
    for angle in angles:
        t = (math.cos(angle) * (1 - NEAREST) + 1 + NEAREST) / 2
        z = 2 / t - 2
        values.append(math.log(math.erfc(z) / t) + z * z)       # eq. 7.28
    sums = [sum(v * math.cos(k * a) for v, a in zip(values, angles)) for k in range(terms)]
    return [sums[0] / terms, *(2 * s / terms for s in sums[1:])]


def _upper_tail(z):
    """erfc of z >= 0, entry by entry: z (...), out (...)."""
    z = np.minimum(z, FARTHEST)
    t = 2 / (2 + z)                                             # from 1 down to NEAREST
    u = (2 * t - (1 + NEAREST)) / (1 - NEAREST)                 # from 1 down to -1
    first, *rest = _tail_coefficients(10 if z.dtype.itemsize <= 4 else 24)
    this = before = np.zeros_like(u)
    for c in reversed(rest):
        this, before = 2 * u * this - before + c, this          # eq. 7.31
    return t * np.exp(u * this - before + first - z * z)        # eq. 7.28


def erfc(x):
    """1 - erf(x), accurate in its right tail as well.

    Parameters
    ----------
    x : ndarray of any shape

    Returns
    -------
    out : ndarray of the shape and dtype of x, from 2 at -inf down to 0 at inf
    """
    x = check.floats("x", x)
    tail = _upper_tail(np.abs(check.wide(x)))
    return check.narrow(np.where(x < 0, 2 - tail, tail), x.dtype)         # eq. 7.32


def _normal_gate(a):
    """Of a >= 0: the gate at -a and its derivative there; (...) each, eq. 7.22."""
    return _upper_tail(a / 2 ** 0.5) / 2, np.exp(-a * a / 2) * (2 * math.pi) ** -0.5


def _cubic_gate(a):
    """The same for the sigmoid of a cubic, eq. 7.23."""
    root = (8 / math.pi) ** 0.5
    cubic = root * (a + CUBIC * a * a * a)                      # not a ** 3, see level 3
    slope = root * (1 + 3 * CUBIC * a * a)
    e = np.exp(-cubic)
    return e / (1 + e), e / (1 + e) ** 2 * slope


def _sigmoid_gate(a):
    """The same for the sigmoid, eq. 7.21."""
    e = np.exp(-a)
    return e / (1 + e), e / (1 + e) ** 2


def _gated(x, gate):
    """x times its gate, (...): the ramp minus what the gate takes away, eq. 7.19."""
    a = np.minimum(np.abs(x), BEYOND)
    return np.maximum(x, 0) - a * gate(a)[0]


def _gated_slope(x, gate):
    """Derivative of `_gated`, (...): eq. 7.20."""
    a = np.minimum(np.abs(x), BEYOND)
    value, derivative = gate(a)
    left = value - a * derivative                               # the derivative at -a
    return np.where(x > 0, 1 - left, left)


@check.half_in_float32
def gelu(x, approximate="none"):
    """x times the normal distribution function of x, eq. 7.22.

    Parameters
    ----------
    approximate : "none", or "tanh" for eq. 7.23; the rest, of any shape, as in `relu`
    """
    x = check.floats("x", x)
    check.approximation(approximate)
    gate = _normal_gate if approximate == "none" else _cubic_gate
    return _gated(x, gate), (x, gate)


@check.rounded
def gelu_backward(dout, cache):
    """Gradient of `gelu`, of the form that was computed; eq. 7.20. Any shape, as `relu_backward`."""
    x, gate = cache
    return check.gradient(dout, x) * _gated_slope(x, gate)


@check.half_in_float32
def silu(x):
    """x times its sigmoid, eq. 7.21. Any shape, as `relu`."""
    x = check.floats("x", x)
    return _gated(x, _sigmoid_gate), x


@check.rounded
def silu_backward(dout, cache):
    """Gradient of `silu`, eq. 7.20. Any shape, as `relu_backward`."""
    return check.gradient(dout, cache) * _gated_slope(cache, _sigmoid_gate)


@check.half_in_float32
def mish(x):
    """x tanh(softplus(x)), with one exponential; eq. 7.26. Any shape, as `relu`."""
    x = check.floats("x", x)
    w = np.exp(np.minimum(x, 20))
    n = w * (w + 2)
    return np.maximum(x, -BEYOND) * (n / (n + 2)), x


@check.rounded
def mish_backward(dout, cache):
    """Gradient of `mish`, eq. 7.27. Any shape, as `relu_backward`."""
    dout, c = check.gradient(dout, cache), np.clip(cache, -BEYOND, 20)
    w = np.exp(c)
    n = w * (w + 2)
    slope = (n + 4 * c * w * (1 + w) / (n + 2)) / (n + 2)       # eq. 7.27
    return dout * slope


class _Activation(Module):
    """An op without parameters as a Module; subclasses name `op` and `op_backward`."""

    def __init__(self):
        self.options = {}

    def forward(self, x):
        """x to out, of the same shape."""
        out, self.cache = self.op(x, **self.options)
        return out

    def backward(self, dout):
        """dout to dx, of the same shape."""
        return self.op_backward(dout, self.kept())


class ReLU(_Activation):
    """max(x, 0), any shape."""

    op, op_backward = staticmethod(relu), staticmethod(relu_backward)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)), any shape."""

    op, op_backward = staticmethod(sigmoid), staticmethod(sigmoid_backward)


class Tanh(_Activation):
    """The hyperbolic tangent, any shape."""

    op, op_backward = staticmethod(tanh), staticmethod(tanh_backward)


class Softplus(_Activation):
    """log(1 + exp(x)), any shape."""

    op, op_backward = staticmethod(softplus), staticmethod(softplus_backward)


class SELU(_Activation):
    """The self-normalising ELU, any shape."""

    op, op_backward = staticmethod(selu), staticmethod(selu_backward)


class SiLU(_Activation):
    """x sigmoid(x), any shape."""

    op, op_backward = staticmethod(silu), staticmethod(silu_backward)


class Mish(_Activation):
    """x tanh(softplus(x)), any shape."""

    op, op_backward = staticmethod(mish), staticmethod(mish_backward)


class LeakyReLU(_Activation):
    """x, or slope * x where x is negative, any shape."""

    op, op_backward = staticmethod(leaky_relu), staticmethod(leaky_relu_backward)

    def __init__(self, slope=0.01):
        self.options = {"slope": check.number("slope", slope)}


class ELU(_Activation):
    """x, or alpha (exp(x) - 1) where x is negative, any shape."""

    op, op_backward = staticmethod(elu), staticmethod(elu_backward)

    def __init__(self, alpha=1.0):
        self.options = {"alpha": check.number("alpha", alpha)}


class GELU(_Activation):
    """x Phi(x), any shape; `approximate` is "none" or "tanh"."""

    op, op_backward = staticmethod(gelu), staticmethod(gelu_backward)

    def __init__(self, approximate="none"):
        check.approximation(approximate)
        self.options = {"approximate": approximate}


class PReLU(Module):
    """Leaky ReLU with learned slopes, for x (N, C, ...).

    Parameters
    ----------
    channels : int, C, or 1 for one slope that all share
    slope : number, what each slope begins with

    Attributes
    ----------
    slope : Parameter of shape (channels,), float32
    """

    def __init__(self, channels=1, slope=0.25):
        shape = (check.count("channels", channels),)
        self.slope = Parameter(np.full(shape, check.number("slope", slope), np.float32))

    def forward(self, x):
        """x (N, C, ...) to out, of the same shape."""
        out, self.cache = prelu(x, self.slope.data)
        return out

    def backward(self, dout):
        """dout to dx, of the same shape; adds to `slope.grad`."""
        dx, dslope = prelu_backward(dout, self.kept())
        self.slope.accumulate(dslope)
        return dx
