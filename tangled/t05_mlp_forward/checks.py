# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:838391aafd050f01
"""Chapter 05: arguments checked, for all levels and for yours."""

import numbers
from itertools import pairwise

import numpy as np


def floats(name, x, shape=None, dtype=None):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the others")
    if shape is not None and x.shape != shape:
        fits = x.ndim == len(shape)
        for want, have in zip(shape, x.shape):
            fits = fits and (want == have or isinstance(want, str))
        if not fits:
            shown = str(tuple(shape)).replace("'", "")
            raise ValueError(f"{name} has shape {x.shape}; expected {shown}")
    return x


def layer(x, W, b):
    """x (..., in), W (in, out) and b (out,) or None, all of one dtype."""
    x = floats("x", x)
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}; expected (N, in) or (..., in)")
    W = floats("W", W, (x.shape[-1], "out"), x.dtype)
    return x, W, None if b is None else floats("b", b, (W.shape[1],), x.dtype)


def classes(logits, y):
    """logits (..., K), at least one row of them, and integers y (...) from 0 to K - 1."""
    logits, y = floats("logits", logits), np.asarray(y)
    if logits.ndim < 2 or logits.size == 0:
        raise ValueError(f"logits has shape {logits.shape}; expected (N, K), not empty")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y has dtype {y.dtype}; expected integers, the classes")
    if y.shape != logits.shape[:-1]:
        raise ValueError(f"y has shape {y.shape}; expected {logits.shape[:-1]}")
    if not y.astype(np.uint64).max() < logits.shape[-1]:        # what is negative becomes huge
        raise ValueError(f"y runs from {y.min()} to {y.max()}; "
                         f"expected 0 to {logits.shape[-1] - 1}, the classes of the logits")
    return logits, y


def errors(pred, target):
    """pred and target of one shape, at least one number; target in the dtype of pred."""
    pred, target = floats("pred", pred), np.asarray(target)
    if pred.size == 0:
        raise ValueError(f"pred has shape {pred.shape}; expected at least one number")
    if target.dtype.kind not in "fiu":
        raise ValueError(f"target has dtype {target.dtype}; expected real numbers")
    if target.shape != pred.shape:
        raise ValueError(f"target has shape {target.shape}; expected {pred.shape}, as pred")
    return pred, target.astype(pred.dtype, copy=False)


def wide(x):
    """`x`, or float16 as float32: sums and powers of float16 overflow at 65504."""
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def room(out, shape, dtype):
    """An array to write into: `out` if it fits, a new one if it is None."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (tuple(shape), dtype):
        found = f"{getattr(out, 'dtype', type(out))} of shape {np.shape(out)}"
        raise ValueError(f"out is {found}; expected {dtype} of shape {tuple(shape)}")
    if not out.flags.writeable:
        raise ValueError(f"out of shape {out.shape} is read-only; expected an array to write into")
    if out.flags.c_contiguous:
        return out
    extent = 0                          # bytes that the axes so far reach over, the closest first
    for stride, n in sorted((abs(s), n) for s, n in zip(out.strides, out.shape) if n > 1):
        if out.size and stride < extent + out.itemsize:
            raise ValueError(f"out of shape {out.shape} has strides {out.strides}; "
                             "expected entries that do not overlap")
        extent += stride * (n - 1)
    return out


def network(parameters):
    """At least one (W, b) pair, each as wide as the next one expects."""
    pairs = list(parameters)
    if not pairs or any(not isinstance(p, (tuple, list)) or len(p) != 2 for p in pairs):
        raise ValueError(f"parameters is {type(parameters).__name__} of {len(pairs)}; "
                         "expected at least one pair (W, b)")
    for k, (W, _) in enumerate(pairs):
        if np.ndim(W) != 2:
            raise ValueError(f"parameters of layer {k + 1} have W of shape {np.shape(W)}; "
                             "expected (in, out)")
    for k, ((W, _), (V, _)) in enumerate(pairwise(pairs)):
        if np.shape(W)[1] != np.shape(V)[0]:
            raise ValueError(f"parameters of layers {k + 1} and {k + 2} have W of shapes "
                             f"{np.shape(W)} and {np.shape(V)}; expected equal inner sizes")
    return pairs


def _positive(n):
    """Is it a positive integer?"""
    return isinstance(n, numbers.Integral) and not isinstance(n, bool) and n > 0


def initial(rng, shape, gain, mode="fan_in"):
    """A generator, a shape (in, out) and a positive gain."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is {rng!r}; expected a numpy.random.Generator")
    pair = isinstance(shape, (tuple, list)) and len(shape) == 2
    if not pair or not all(_positive(n) for n in shape):
        raise ValueError(f"shape = {shape!r}; expected (in, out), two positive integers")
    if not isinstance(gain, numbers.Real) or not 0 < gain < np.inf:
        raise ValueError(f"gain = {gain!r}; expected a positive finite number")
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode = {mode!r}; expected 'fan_in' or 'fan_out'")
    return tuple(int(n) for n in shape)
