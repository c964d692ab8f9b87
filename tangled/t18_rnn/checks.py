# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:bb1bb601a3ebc131
"""Chapter 18: arguments checked, for all levels and for yours."""

import numbers

import numpy as np

KINDS = ("tanh", "relu")
WIDTHS = "DEH"                                  # of inputs, embeddings and states


def floats(name, x, shape, dtype=None):
    """`x` as an array of floats of a shape; letters stand for any size, those of WIDTHS for any but 0."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as x")
    fits = x.ndim == len(shape) and all(isinstance(w, str) or w == n for w, n in zip(shape, x.shape))
    if not fits:
        raise ValueError(f"{name} has shape {x.shape}; expected {shown(shape)}")
    for axis, n in zip(map(str, shape), x.shape):
        if n == 0 and axis[-1] in WIDTHS:
            raise ValueError(f"{name} has shape {x.shape}; expected {shown(shape)} with {axis[-1]} at least 1")
    return x


def shown(shape):
    """(3, D) for (3, "D"), (5,) for (5,)."""
    inside = ", ".join(map(str, shape))
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


def weights(x, axes, h, w_ih, w_hh, b_ih, b_hh, nonlinearity):
    """x with those axes, h (B, H), w_ih (D, H), w_hh (H, H), biases (H,) or None."""
    if nonlinearity not in KINDS:
        raise ValueError(f"nonlinearity = {nonlinearity!r}; expected 'tanh' or 'relu'")
    x = floats("x", x, axes)
    w_ih = floats("w_ih", w_ih, (x.shape[-1], "H"), x.dtype)
    H = w_ih.shape[1]
    h = floats("h" if len(axes) == 2 else "h0", h, (len(x), H), x.dtype)
    w_hh = floats("w_hh", w_hh, (H, H), x.dtype)
    biases = [None if b is None else floats(name, b, (H,), x.dtype) for name, b in (("b_ih", b_ih), ("b_hh", b_hh))]
    return x, h, w_ih, w_hh, *biases


def gradient(name, dout, shape, dtype):
    """An upstream gradient of that shape, in that dtype."""
    return floats(name, dout, shape).astype(dtype, copy=False)


def ids(name, array, V=None):
    """Integers from 0 to below V."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; expected integers")
    if array.size and (array.min() < 0 or (V is not None and array.max() >= V)):
        top = "..." if V is None else V - 1
        raise ValueError(f"{name} has values from {array.min()} to {array.max()}; expected 0 to {top}")
    return array


def table(array):
    """A table (V, D) of floats."""
    return floats("table", array, ("V", "D"))


def whole(name, value, least=1):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def temperature(value):
    """A finite number, at least 0."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 <= value < np.inf:
        raise ValueError(f"temperature = {value!r}; expected a finite number, at least 0")
    return float(value)


def logits(array):
    """logits (..., V) of floats with V at least 1."""
    array = np.asarray(array)
    if array.dtype.kind != "f" or array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"logits is {array.dtype} {array.shape}; expected floats (..., V)")
    return array


def generator(rng):
    """A NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is a {type(rng).__name__}; expected a numpy.random.Generator")
    return rng


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
