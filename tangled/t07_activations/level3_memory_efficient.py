# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:5c43912e80605421
"""Activations, level 3: block by block, in a few blocks of scratch, nothing selected by a mask.

`out=` is a contiguous array in the shape and dtype of the result. Forward, it may be the input
itself where the gradient can be had from the output; backward, it may be `dout` itself.
"""

import functools
import math
import timeit

import numpy as np

import tangled.t07_activations.checks as check
from tangled.t07_activations.level2_vectorized import (
    BEYOND,
    CUBIC,
    NEAREST,
    _tail_coefficients,
    selu_constants,
)

BLOCK = 1 << 16                                     # entries of a block: it stays in the cache


def _limit(x):
    """The largest integer whose exponential is finite in the dtype of x: 88 for float32."""
    return math.floor(math.log(np.finfo(x.dtype).max))


def _run(kernel, arrays, out, scratch):
    """kernel(*blocks, block of out, *scratch blocks) for one block (n,) after the other.

    Blocks of float16 are copied to float32, and the result is rounded.
    """
    flat = [np.asarray(a, order="C").reshape(-1) for a in (*arrays, out)]
    work = np.promote_types(out.dtype, np.float32)
    buffers = [np.empty(min(BLOCK, out.size), work) for _ in range(scratch)]
    for start in range(0, out.size, BLOCK):
        *given, room = [a[start:start + BLOCK] for a in flat]
        blocks = [check.wide(a) for a in given]
        result = room if room.dtype == work else np.empty(room.size, work)
        kernel(*blocks, result, *(b[:room.size] for b in buffers))
        if result is not room:
            room[...] = check.narrow(result, room.dtype)
    return out


def _apart(out, given, scratch):
    """Room for a step on the way to `out`: `out` itself, unless `given` lies there too; (n,) each."""
    return scratch if np.may_share_memory(out, given) else out


def _held(x, low, high, room):
    """x (n,) between low and high: x itself if nothing is beyond, else a copy in room; NaN stays."""
    if x.min() >= low and x.max() <= high:
        return x
    return np.clip(x, low, high, out=room)


def _forward(kernel, x, out, scratch=0):
    """An op whose gradient comes from its output, which may take the place of x: (...)."""
    x = check.floats("x", x)
    return _run(kernel, [x], check.target(out, x), scratch)


def _forward_keeping(kernel, x, out, scratch=0):
    """An op whose gradient comes from its input, which must stay: (...)."""
    x = check.floats("x", x)
    return _run(kernel, [x], check.target(out, x, kept=x), scratch)


def _backward(kernel, dout, kept, out, scratch=1, dtype=None):
    """kernel(dout, kept, out, *scratch) over blocks: dx (...), perhaps in place of dout."""
    dout = check.gradient(dout, kept, dtype)
    return _run(kernel, [dout, kept], check.target(out, dout, kept=kept), scratch)


def relu(x, out=None):
    """max(x, 0): x (...), out (...), which may be x."""
    x = check.floats("x", x)
    out = np.clip(x, 0, np.inf, out=check.target(out, x))
    return out, out


def _where_positive(x, dout, out, mask):
    """dout (n,) where x is above 0, else 0, whatever dout is; mask (n,) is scratch."""
    bits = f"i{dout.itemsize}"
    mask = mask.view(bits)
    np.greater(x, 0, out=mask)                                  # 1 or 0
    np.negative(mask, out=mask)                                 # all bits, or none
    np.bitwise_and(dout.view(bits), mask, out=out.view(bits))


def relu_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    def kernel(dout, y, out, s):
        _where_positive(y, dout, out, s)
    return _backward(kernel, dout, cache, out)


def leaky_relu(x, slope=0.01, out=None):
    """x, or slope * x: x (...), out (...), which may be x."""
    slope = check.number("slope", slope)

    larger = np.maximum if slope <= 1 else np.minimum

    def kernel(x, out, s):
        product = _apart(out, x, s)
        np.multiply(x, slope, out=product)
        larger(x, product, out=out)
    if slope == 0:
        return (out := relu(x, out)[0]), (out, slope)           # 0 times infinity is not 0
    out = _forward(kernel, x, out, 1)
    return out, (out, slope)


def leaky_relu_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    y, slope = cache

    def kernel(dout, y, out, s):
        factor = _apart(out, dout, s)
        np.copyto(factor, y > 0)                                # 1.0 or 0.0
        if slope <= 1:
            np.clip(factor, slope, 1, out=factor)
        else:
            factor *= 1 - slope
            factor += slope
        np.multiply(dout, factor, out=out)
    return _backward(kernel, dout, y, out)


def _by_channel(slope, *arrays):
    """Views (N, C, M) of arrays (N, C, ...), or (size, 1, 1) if all share one slope."""
    shape = (arrays[0].size, 1, 1)
    if slope.size != 1:
        n, c, *rest = arrays[0].shape
        shape = (n, c, math.prod(rest))
    rows = max(1, BLOCK // max(1, shape[1] * shape[2]))
    columns = max(1, BLOCK // max(1, shape[1]))                 # all, if a row fits
    views = [np.asarray(a, order="C").reshape(shape) for a in arrays]
    for i in range(0, shape[0], rows):
        for j in range(0, shape[2], columns):
            yield tuple(v[i:i + rows, :, j:j + columns] for v in views)


def prelu(x, slope, out=None):
    """Learned slope () or (1,) or (C,), x (N, C, ...); `out` must not be x."""
    x = check.floats("x", x)
    slope = check.slopes(slope, x)
    out = check.target(out, x, kept=x)
    a = check.wide(slope).reshape(-1, 1)
    for block, room in _by_channel(slope, x, out):              # (n, C, M)
        result = np.clip(check.wide(block), -np.inf, 0)
        result *= a
        result += np.clip(block, 0, np.inf)
        room[...] = check.narrow(result, room.dtype)
    return out, (x, slope)


def prelu_backward(dout, cache, out=None):
    """(dx, dslope) in the shapes of x and slope; `out` may be dout."""
    x, slope = cache
    dout, a = check.gradient(dout, x), check.wide(slope).reshape(-1, 1)
    out, dslope = check.target(out, dout, kept=x), np.zeros(slope.shape)
    for g, block, dx in _by_channel(slope, dout, x, out):       # (n, C, M)
        g, block, right = check.wide(g), check.wide(block), np.empty(g.shape, a.dtype)
        _where_positive(block, g, right, np.empty_like(right))
        left = right.view(f"i{right.itemsize}") ^ g.view(f"i{right.itemsize}")
        left = left.view(right.dtype)                           # what of g is not in `right`
        s = np.clip(block, -np.inf, 0)
        s *= left
        dslope += s.sum(axis=(0, 2), dtype=float).reshape(slope.shape)   # eq. 7.5
        left *= a
        left += right
        dx[...] = check.narrow(left, dx.dtype)
    return out, check.narrow(dslope, slope.dtype)


def sigmoid(x, out=None):
    """1 / (1 + exp(-x)), x held above -88 (float32): x (...), out (...), which may be x."""
    def kernel(x, out):
        np.clip(x, -_limit(x), np.inf, out=out)
        np.negative(out, out=out)
        np.exp(out, out=out)
        out += 1
        np.divide(1, out, out=out)
    out = _forward(kernel, x, out)
    return out, out


def sigmoid_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    def kernel(dout, y, out, s):
        np.subtract(1, y, out=s)
        s *= y                                                  # eq. 7.7
        np.multiply(dout, s, out=out)
    return _backward(kernel, dout, cache, out)


def tanh(x, out=None):
    """The hyperbolic tangent: x (...), out (...), which may be x."""
    x = check.floats("x", x)
    out = np.tanh(x, out=check.target(out, x))
    return out, out


def tanh_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    def kernel(dout, y, out, s):
        np.multiply(y, y, out=s)
        np.subtract(1, s, out=s)                                # eq. 7.9
        np.multiply(dout, s, out=out)
    return _backward(kernel, dout, cache, out)


def softplus(x, out=None):
    """log(1 + exp(x)): x (...), out (...), which may be x."""
    def kernel(x, out, s):
        np.abs(x, out=s)
        np.negative(s, out=s)
        np.exp(s, out=s)
        np.log1p(s, out=s)
        np.clip(x, 0, np.inf, out=out)
        out += s                                                # eq. 7.10
    out = _forward(kernel, x, out, 1)
    return out, out


def softplus_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    def kernel(dout, y, out, s):
        np.negative(y, out=s)
        np.expm1(s, out=s)
        s *= dout
        np.negative(s, out=out)                                 # eq. 7.33
    return _backward(kernel, dout, cache, out)


def _exponential(x, right, left, out):
    """right * x, or left * (exp(x) - 1): x (...), out (...), which may be x."""
    def kernel(x, out, s):
        np.clip(x, -np.inf, 0, out=s)
        np.expm1(s, out=s)
        s *= left
        np.clip(x, 0, np.inf, out=out)
        out *= right
        out += s
    out = _forward(kernel, x, out, 1)
    return out, (out, right, left)


def elu(x, alpha=1.0, out=None):
    """x, or alpha (exp(x) - 1): x (...), out (...), which may be x."""
    return _exponential(x, 1.0, check.number("alpha", alpha), out)


def selu(x, out=None):
    """ELU that normalises: x (...), out (...), which may be x."""
    scale, alpha = selu_constants()
    return _exponential(x, scale, scale * alpha, out)


def elu_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    y, right, left = cache

    def kernel(dout, y, out, s, t):
        np.clip(y, -np.inf, 0, out=s)
        s += left                                               # eq. 7.33
        np.greater(y, 0, out=t)
        t *= right - left
        s += t
        np.multiply(dout, s, out=out)
    return _backward(kernel, dout, y, out, 2)


def selu_backward(dout, cache, out=None):
    """dx (...) from dout and the output; `out` may be dout."""
    return elu_backward(dout, cache, out)


@functools.lru_cache
def _power():
    """(function, factor): 2^t is function(factor * t). `exp2` if it is the faster one here."""
    t = np.linspace(-8, 8, 4096, dtype=np.float32)
    seconds = [min(timeit.repeat(lambda f=f: f(t), number=4, repeat=9)) for f in (np.exp2, np.exp)]
    return (np.exp2, 1.0) if seconds[0] < seconds[1] else (np.exp, math.log(2))


EXPONENT = (-2.3022072, -0.10483858, 9.55929560e-5, 1.59389405e-4, -1.14524291e-5, 3.85044947e-7,
            -5.20990773e-9)                         # eq. 7.35, lowest power first
EDGE = 7                                            # beyond it the gate is 0 or 1
LINE = 64                                           # bytes of a line of the cache


def _lines(size):
    """A float32 array (size,) from the beginning of a line on."""
    room = np.empty(4 * size + LINE, np.uint8)
    first = -room.__array_interface__["data"][0] % LINE
    return room[first:first + 4 * size].view(np.float32)


def _gelu_with_slope(x, q, out, c, p):
    """float32: x times the gate into out, the derivative into q; two of scratch; (n,) each."""
    power, factor = _power()
    *lower, highest = (factor * a for a in EXPONENT)
    c = _held(x, -EDGE, EDGE, c)
    right = x if c is x else np.clip(x, -EDGE, np.inf)
    np.multiply(c, c, out=q)
    np.multiply(q, highest, out=p)
    for a in lower[:0:-1]:
        p += a
        p *= q
    p += lower[0]
    p *= c                                                      # at most 125
    power(p, out=p)
    p += 1
    np.divide(1, p, out=p)                                      # the gate, eq. 7.35
    np.multiply(right, p, out=out)
    q *= -0.5 * math.log2(math.e) * factor
    q += math.log2(2 * math.pi) * -0.5 * factor
    power(q, out=q)                                             # the normal density
    q *= c
    q += p                                                      # eq. 7.18


@functools.lru_cache
def _tail_polynomial(terms):
    """Coefficients (terms,) for Horner's rule, highest first; log(1/2) is in the last."""
    series = np.array(_tail_coefficients(terms))
    series[0] -= math.log(2)
    return np.polynomial.chebyshev.cheb2poly(series)[::-1].tolist()


def _half_tail(a, out, t, u):
    """erfc(a / sqrt 2) / 2 for a block a >= 0, into out; t and u are scratch; (n,) each."""
    np.multiply(a, 8 ** -0.5, out=t)
    t += 1
    np.divide(1, t, out=t)
    np.multiply(t, 2 / (1 - NEAREST), out=u)
    u -= (1 + NEAREST) / (1 - NEAREST)
    highest, *rest = _tail_polynomial(10 if a.dtype.itemsize <= 4 else 24)
    out.fill(highest)
    for c in rest:
        out *= u
        out += c
    np.multiply(a, a, out=u)
    u *= 0.5
    out -= u
    np.exp(out, out=out)
    out *= t                                                    # eq. 7.28


def _gelu(x, out, a, t, u):
    np.abs(x, out=a)
    np.clip(a, 0, BEYOND, out=a)
    _half_tail(a, out, t, u)
    out *= a
    np.clip(x, 0, np.inf, out=a)
    np.subtract(a, out, out=out)                                # eq. 7.19


def _gelu_backward(dout, x, out, a, t, u, s):
    np.abs(x, out=a)
    np.clip(a, 0, BEYOND, out=a)
    _half_tail(a, s, t, u)
    np.multiply(a, a, out=t)
    t *= -0.5
    np.exp(t, out=t)
    t *= a
    t *= (2 * math.pi) ** -0.5
    s -= t                                                      # the derivative at -a
    np.multiply(s, -2, out=t)
    t += 1
    np.greater(x, 0, out=a)
    t *= a                                                      # 1 - 2 s where x > 0
    s += t                                                      # eq. 7.20
    np.multiply(dout, s, out=out)


def _cubic(x):
    """(function, factor, edge): e^w is function(factor * w); beyond the edge the gate is 0 or 1.

    float64 keeps `exp`.
    """
    power, factor = _power() if x.dtype == np.float32 else (np.exp, math.log(2))
    return power, factor * math.log2(math.e), 10 if x.dtype == np.float32 else 20


def _gelu_tanh(x, out, a, b):
    power, factor, edge = _cubic(x)
    root = (8 / math.pi) ** 0.5 * factor
    c = _held(x, -edge, edge, a)
    right = x if c is x else np.clip(x, -edge, np.inf, out=b)
    np.multiply(c, c, out=out)
    out *= -root * CUBIC
    out -= root
    out *= c
    power(out, out=out)
    out += 1
    np.divide(right, out, out=out)


def _gelu_tanh_backward(dout, x, out, a, q, e, d):
    root, (power, factor, edge) = (8 / math.pi) ** 0.5, _cubic(x)
    a = _held(x, -edge, edge, a)
    np.multiply(a, a, out=q)
    np.multiply(q, -root * CUBIC * factor, out=e)
    e -= root * factor
    e *= a
    power(e, out=e)
    q *= 3 * CUBIC * root
    q += root
    q *= a                                                      # x w'(x)
    np.add(e, 1, out=d)
    e /= d
    e *= q
    e += 1
    e /= d                                                      # eq. 7.18
    np.multiply(dout, e, out=out)


def gelu(x, approximate="none", out=None):
    """x Phi(x), exactly or by tanh: x (...), out (...), which must not be x.

    Exact and in float32 the error is up to 6e-7, and the slope is kept for the backward pass.
    """
    check.approximation(approximate)
    x = check.floats("x", x)
    if approximate == "tanh" or x.dtype == np.float64:
        kernel, scratch = (_gelu, 3) if approximate == "none" else (_gelu_tanh, 2)
        return _forward_keeping(kernel, x, out, scratch), (x, approximate)
    slope = _lines(x.size).reshape(x.shape)
    c, p = _lines(2 * min(BLOCK, x.size)).reshape(2, -1)
    kernel = lambda x, q, out: _gelu_with_slope(x, q, out, c[:x.size], p[:x.size])
    return _run(kernel, [x, slope], check.target(out, x, kept=x), 0), (slope, x.dtype)


def gelu_backward(dout, cache, out=None):
    """dx (...), recomputed from x, or with the slope that was kept; `out` may be dout."""
    kept, how = cache
    if how not in ("none", "tanh"):
        return _backward(lambda dout, slope, out: np.multiply(dout, slope, out=out), dout, kept, out, 0, how)
    return _backward(_gelu_backward if how == "none" else _gelu_tanh_backward, dout, kept, out, 4)


def silu(x, out=None):
    """x sigmoid(x): x (...), out (...), which must not be x."""
    def kernel(x, out, a):
        np.clip(x, -_limit(x), np.inf, out=a)
        np.negative(a, out=out)
        np.exp(out, out=out)
        out += 1
        np.divide(a, out, out=out)
    x = check.floats("x", x)
    return _forward_keeping(kernel, x, out, 1), x


def silu_backward(dout, cache, out=None):
    """dx (...), everything recomputed from x; `out` may be dout."""
    def kernel(dout, x, out, c, e, d):
        np.clip(x, -_limit(x), _limit(x), out=c)
        np.negative(c, out=e)
        np.exp(e, out=e)
        np.add(e, 1, out=d)
        e /= d                                                  # 1 - sigmoid
        e *= c
        e += 1
        e /= d                                                  # eq. 7.18
        np.multiply(dout, e, out=out)
    return _backward(kernel, dout, cache, out, 3)


def mish(x, out=None):
    """x tanh(softplus(x)): x (...), out (...), which must not be x."""
    def kernel(x, out, w):
        np.clip(x, -np.inf, 20, out=w)
        np.exp(w, out=w)
        np.add(w, 2, out=out)
        out *= w                                                # n
        np.add(out, 2, out=w)
        out /= w                                                # eq. 7.26
        np.clip(x, -BEYOND, np.inf, out=w)
        out *= w
    x = check.floats("x", x)
    return _forward_keeping(kernel, x, out, 1), x


def mish_backward(dout, cache, out=None):
    """dx (...), everything recomputed from x; `out` may be dout."""
    def kernel(dout, x, out, c, w, n, d):
        np.clip(x, -BEYOND, 20, out=c)
        np.exp(c, out=w)
        np.add(w, 2, out=n)
        n *= w
        np.add(n, 2, out=d)
        np.subtract(n, w, out=w)                                # w (1 + w)
        w *= c
        w *= 4
        w /= d
        w += n
        w /= d                                                  # eq. 7.27
        np.multiply(dout, w, out=out)
    return _backward(kernel, dout, cache, out, 4)


def erfc(x):
    """1 - erf(x): x (...), out (...)."""
    def kernel(x, out, a, t, u):
        np.abs(x, out=a)
        np.clip(a, 0, BEYOND, out=a)
        a *= 2 ** 0.5
        _half_tail(a, out, t, u)
        out *= 2
        np.multiply(out, -2, out=a)
        a += 2
        np.less(x, 0, out=u)
        a *= u
        out += a                                                # eq. 7.32
    return _forward(kernel, x, None, 3)
