# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:79f50bd14e95c67f
"""Chapter 07: arguments checked and made uniform, for all levels and for yours."""

import functools
import math
import numbers

import numpy as np

DTYPES = [np.dtype(name) for name in ("float16", "float32", "float64")]


def floats(name, x):
    """`x` as an array of floats, of any shape."""
    x = np.asarray(x)
    if x.dtype not in DTYPES:
        raise ValueError(f"{name} has dtype {x.dtype}; expected float16, float32 or float64")
    return x


def gradient(dout, like, dtype=None):
    """`dout` as an array of the shape of `like`, and of its dtype or the one given."""
    dout = floats("dout", dout)
    if dout.shape != like.shape:
        raise ValueError(f"dout has shape {dout.shape}; expected {like.shape}, "
                         "that of the output")
    return dout.astype(dtype or like.dtype, copy=False)


def wide(x):
    """`x` in the dtype that is computed in: float32 for float16, else its own."""
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def narrow(x, dtype):
    """`x` in that dtype; what is too large for float16 becomes infinite, without a warning."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(x).astype(dtype, copy=False)


def half_in_float32(op):
    """An op whose float16 is computed in float32; the dtype goes into the cache."""
    @functools.wraps(op)
    def wrapped(x, *arguments, **options):
        x = np.asarray(x)
        result = op(wide(x) if x.dtype == np.float16 else x, *arguments, **options)
        if not isinstance(result, tuple) or len(result) != 2:
            return result                                       # to be told by the tests
        return narrow(result[0], x.dtype), (result[1], x.dtype)
    return wrapped


def rounded(op_backward):
    """The backward of such an op: its gradients in the dtype of x."""
    @functools.wraps(op_backward)
    def wrapped(dout, cache):
        kept, dtype = cache
        grads = op_backward(dout, kept)
        if isinstance(grads, tuple):
            return tuple(narrow(grad, dtype) for grad in grads)
        return grads if grads is None else narrow(grads, dtype)
    return wrapped


def number(name, value):
    """Refuse what is no finite number of at least 0."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value!r}; expected a finite number of at least 0")
    return float(value)


def count(name, value):
    """Refuse what is no positive integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} = {value!r}; expected a positive integer")
    return int(value)


def approximation(approximate):
    """Refuse a form of GELU that there is not."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate = {approximate!r}; expected 'none' or 'tanh'")


def slopes(slope, x):
    """PReLU's slope, () or (1,) or (C,) for x (N, C, ...), in the dtype of x."""
    slope = floats("slope", slope)
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.shape not in ((), (1,), (channels,)):
        raise ValueError(f"slope has shape {slope.shape}; "
                         f"expected (), (1,) or ({channels},)")
    return slope.astype(x.dtype, copy=False)


def target(out, like, kept=None):
    """An array for results like `like`: `out`, if it fits and spares `kept`, or new."""
    if out is None:
        return np.empty(like.shape, like.dtype)
    if isinstance(out, np.ndarray):
        fits = (out.shape, out.dtype) == (like.shape, like.dtype)
        if fits and out.flags.c_contiguous and out.flags.writeable:
            if kept is not None and np.may_share_memory(out, kept):
                raise ValueError("out shares memory with what the gradient needs; "
                                 "expected another array")
            if out is not like and np.may_share_memory(out, like):
                raise ValueError("out overlaps the input; "
                                 "expected the input itself or another array")
            return out
    found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
    raise ValueError(f"out is {found}; expected {like.dtype} {like.shape}, "
                     "contiguous, writable")
