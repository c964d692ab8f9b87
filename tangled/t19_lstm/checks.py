# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:bd55a7df06114cdf
"""Chapter 19: arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np

from tangled.t18_rnn.checks import floats, generator, gradient, whole, working

__all__ = ["floats", "forget_bias", "generator", "gradient", "upstreams", "weights", "whole", "widened", "working"]


def weights(x, axes, h, c, w_ih, w_hh, b_ih, b_hh):
    """x with those axes, h and c (B, H), w_ih (D, 4H), w_hh (H, 4H), biases (4H,) or None."""
    x = floats("x", x, axes)
    w_hh = floats("w_hh", w_hh, ("H", "4H"), x.dtype)
    H, last = len(w_hh), "" if len(axes) == 2 else "0"
    floats("w_hh", w_hh, (H, 4 * H))
    h, c = (floats(name + last, state, (len(x), H), x.dtype) for name, state in (("h", h), ("c", c)))
    w_ih = floats("w_ih", w_ih, (x.shape[-1], 4 * H), x.dtype)
    biases = [None if b is None else floats(name, b, (4 * H,), x.dtype) for name, b in (("b_ih", b_ih), ("b_hh", b_hh))]
    return x, h, c, w_ih, w_hh, *biases


def widened(*arrays):
    """Arrays, or None, in the dtype to compute in: float16 as float32, others as they are."""
    return [None if a is None else a.astype(working(a.dtype), copy=False) for a in arrays]


def upstreams(shape, dtype, **grads):
    """Upstream gradients of that shape in that dtype, arrays of our own; zeros for None."""
    return [np.zeros(shape, dtype) if grad is None else np.array(gradient(name, grad, shape, dtype))
            for name, grad in grads.items()]


def forget_bias(value):
    """A finite number, or None."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if value is not None and not (real and math.isfinite(value)):
        raise ValueError(f"forget_bias = {value!r}; expected a finite number or None")
    return value
