# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:852a76e2415b6d87
"""Activations, level 1: loops over single numbers, `math` alone. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t07_activations.checks as check

BEYOND = 800.0                                      # exp(-BEYOND) is 0 in float64
CUBIC = 0.044715                                    # eq. 7.23


def _each(f, *arrays):
    """f of the entries of one or more arrays of one shape (...), entry by entry: (...)."""
    out = np.empty(arrays[0].shape)
    for i in np.ndindex(out.shape):
        out[i] = f(*(float(a[i]) for a in arrays))
    return check.narrow(out, arrays[0].dtype)


def _chain(slope, dout, cache):
    """dout (...) times slope(x) for every entry x of the cache (...): eq. 7.1."""
    return _each(lambda g, v: g * slope(v), check.gradient(dout, cache), cache)


def relu(x):
    """max(x, 0) of every entry: x (...), out (...)."""
    x = check.floats("x", x)
    return _each(lambda v: max(v, 0.0), x), x                   # eq. 7.2


def relu_backward(dout, cache):
    """dout (...) where x is above 0: dx (...)."""
    return _each(lambda g, v: g if v > 0 else 0.0, check.gradient(dout, cache), cache)


def leaky_relu(x, slope=0.01):
    """x, or slope * x where x is not above 0: x (...), out (...)."""
    x, slope = check.floats("x", x), check.number("slope", slope)
    return _each(lambda v: v if v > 0 else slope * v, x), (x, slope)      # eq. 7.4


def leaky_relu_backward(dout, cache):
    """dout (...) times 1 or the slope: dx (...)."""
    x, slope = cache
    return _chain(lambda v: 1.0 if v > 0 else slope, dout, x)


def prelu(x, slope):
    """Leaky ReLU with a learned slope () or (1,) or (C,), for x (N, C, ...): out as x."""
    x = check.floats("x", x)
    slope = check.slopes(slope, x)
    out = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        v, a = float(x[i]), float(slope.flat[i[1] if slope.size > 1 else 0])
        out[i] = v if v > 0 else a * v                          # eq. 7.4
    return check.narrow(out, x.dtype), (x, slope)


def prelu_backward(dout, cache):
    """Gradients (dx as x, dslope as slope)."""
    x, slope = cache
    dout = check.gradient(dout, x)
    dx, dslope = np.empty(x.shape), np.zeros(slope.shape)
    for i in np.ndindex(x.shape):
        c = i[1] if slope.size > 1 else 0
        g, v = float(dout[i]), float(x[i])
        dx[i] = g if v > 0 else float(slope.flat[c]) * g
        dslope.flat[c] += 0.0 if v > 0 else g * v               # eq. 7.5
    return check.narrow(dx, x.dtype), check.narrow(dslope, x.dtype)


def _sigmoid(v):
    """One number's sigmoid; the exponential never sees a positive number."""
    e = math.exp(-abs(v))
    return 1.0 / (1.0 + e) if v >= 0 else e / (1.0 + e)         # eq. 7.6


def sigmoid(x):
    """1 / (1 + exp(-x)): x (...), out (...)."""
    x = check.floats("x", x)
    return _each(_sigmoid, x), x


def sigmoid_backward(dout, cache):
    """dout (...) times s (1 - s): dx (...)."""
    return _chain(lambda v: _sigmoid(v) * _sigmoid(-v), dout, cache)  # eq. 7.7


def tanh(x):
    """The hyperbolic tangent: x (...), out (...)."""
    x = check.floats("x", x)
    return _each(math.tanh, x), x


def tanh_backward(dout, cache):
    """dout (...) times 1 - tanh^2: dx (...)."""
    return _chain(lambda v: 1.0 - math.tanh(v) ** 2, dout, cache)     # eq. 7.9


def _softplus(v):
    """One number's log(1 + exp(v))."""
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))          # eq. 7.10


def softplus(x):
    """log(1 + exp(x)): x (...), out (...)."""
    x = check.floats("x", x)
    return _each(_softplus, x), x


def softplus_backward(dout, cache):
    """dout (...) times the sigmoid of x: dx (...)."""
    return _chain(_sigmoid, dout, cache)                        # eq. 7.11


def _exponential(x, right, left):
    """right * x above 0, left * (exp(x) - 1) elsewhere: x (...), out (...)."""
    return _each(lambda v: right * v if v > 0 else left * math.expm1(v), x)


def _exponential_backward(dout, x, right, left):
    return _chain(lambda v: right if v > 0 else left * math.exp(v), dout, x)


def elu(x, alpha=1.0):
    """x, or alpha (exp(x) - 1) where x is not above 0: x (...), out (...)."""
    x, alpha = check.floats("x", x), check.number("alpha", alpha)
    return _exponential(x, 1.0, alpha), (x, alpha)              # eq. 7.12


def elu_backward(dout, cache):
    """dout (...) times 1 or alpha exp(x): dx (...)."""
    x, alpha = cache
    return _exponential_backward(dout, x, 1.0, alpha)


def selu_constants():
    """Scale and alpha, two floats."""
    first = math.exp(0.5) * math.erfc(1 / math.sqrt(2)) / 2     # eq. 7.14
    second = math.exp(2.0) * math.erfc(math.sqrt(2)) / 2
    alpha = 1 / (math.sqrt(2 * math.pi) * (0.5 - first))        # eq. 7.15
    return 1 / math.sqrt(0.5 + alpha ** 2 * (second - 2 * first + 0.5)), alpha


def selu(x):
    """ELU that keeps mean 0 and variance 1: x (...), out (...)."""
    x = check.floats("x", x)
    scale, alpha = selu_constants()
    return _exponential(x, scale, scale * alpha), x


def selu_backward(dout, cache):
    """dout (...) times scale, or scale alpha exp(x): dx (...)."""
    scale, alpha = selu_constants()
    return _exponential_backward(dout, cache, scale, scale * alpha)


def erfc(x):
    """1 - erf(x): x (...), out (...)."""
    return _each(math.erfc, check.floats("x", x))


def _normal_gate(v):
    """Phi(v) and its derivative."""
    return (math.erfc(-v / math.sqrt(2)) / 2,                   # eq. 7.22
            math.exp(-v * v / 2) / math.sqrt(2 * math.pi))


def _cubic_gate(v):
    """Sigmoid of twice the cubic of eq. 7.23, and its derivative."""
    root = math.sqrt(8 / math.pi)
    w = root * (v + CUBIC * v * v * v)
    return _sigmoid(w), _sigmoid(w) * _sigmoid(-w) * root * (1 + 3 * CUBIC * v * v)


def _gated(gate, v):
    """v times gate(v); -inf gives 0."""
    if v < 0:
        v = max(v, -BEYOND)
    return v * gate(min(v, BEYOND))[0]


def _gated_slope(gate, v):
    """Gate plus v times the gate's derivative: eq. 7.18."""
    v = min(max(v, -BEYOND), BEYOND)
    value, derivative = gate(v)
    return value + v * derivative


def gelu(x, approximate="none"):
    """x Phi(x), exactly or by tanh: x (...), out (...)."""
    x = check.floats("x", x)
    check.approximation(approximate)
    gate = _normal_gate if approximate == "none" else _cubic_gate
    return _each(lambda v: _gated(gate, v), x), (x, gate)


def gelu_backward(dout, cache):
    """dout (...) times Phi(x) + x phi(x), or the same of the approximation: dx (...)."""
    x, gate = cache
    return _chain(lambda v: _gated_slope(gate, v), dout, x)


def _sigmoid_gate(v):
    return _sigmoid(v), _sigmoid(v) * _sigmoid(-v)


def silu(x):
    """x times its sigmoid: x (...), out (...)."""
    x = check.floats("x", x)
    return _each(lambda v: _gated(_sigmoid_gate, v), x), x


def silu_backward(dout, cache):
    """dout (...) times s + x s (1 - s): dx (...)."""
    return _chain(lambda v: _gated_slope(_sigmoid_gate, v), dout, cache)


def _mish_gate(v):
    """tanh(softplus(v)) and its derivative, by the chain rule."""
    t = math.tanh(_softplus(v))
    return t, (1 - t * t) * _sigmoid(v)                         # eq. 7.25


def mish(x):
    """x tanh(softplus(x)): x (...), out (...)."""
    x = check.floats("x", x)
    return _each(lambda v: _gated(_mish_gate, v), x), x         # eq. 7.25


def mish_backward(dout, cache):
    """dout (...) times the derivative of eq. 7.25: dx (...)."""
    return _chain(lambda v: _gated_slope(_mish_gate, v), dout, cache)
