# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:bbae4183447df17d
"""Chapter 09: arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np

POSITIVE = lambda value: 0 < value < np.inf
DTYPES = [np.dtype(name) for name in ("float16", "float32", "float64")]


def floats(name, x, shape=None, dtype=None):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype not in DTYPES:
        raise ValueError(f"{name} has dtype {x.dtype}; expected float16, float32 or float64")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the other arrays")
    if shape is not None and x.shape != shape:
        fits = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
        if x.ndim != len(shape) or not fits:
            shown = str(tuple(shape)).replace("'", "")
            raise ValueError(f"{name} has shape {x.shape}; expected {shown}")
    return x


def wide(x):
    """`x` in the dtype that is computed in: float32 for float16, else its own."""
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def narrow(x, dtype):
    """`x` in that dtype; what is too large for float16 becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(dtype, copy=False)


def forward(x, gamma, beta, running_mean, running_var, training, momentum, eps):
    """The arguments of batch_norm: x (N, C) or (N, C, H, W), the others (C,) or numbers."""
    x = floats("x", x)
    if x.ndim not in (2, 4):
        raise ValueError(f"x has shape {x.shape}; expected (N, C) or (N, C, H, W)")
    channels = x.shape[1]
    gamma = floats("gamma", gamma, (channels,), x.dtype)
    beta = floats("beta", beta, (channels,), x.dtype)
    if not isinstance(training, (bool, np.bool_)):
        raise ValueError(f"training = {training!r}; expected True or False")
    number("momentum", momentum, lambda m: 0 <= m <= 1, "a number from 0 to 1")
    number("eps", eps, POSITIVE, "a positive finite number")
    past("running_mean", running_mean, channels, training, running_var is None)
    past("running_var", running_var, channels, training, running_mean is None)
    if training and running_mean is not None:
        apart({"running_mean": running_mean, "running_var": running_var},
              {"gamma": gamma, "beta": beta})
    if training and x.shape[0] * math.prod(x.shape[2:]) == 1:
        raise ValueError(f"x has shape {x.shape}, one number per channel; "
                         "expected more than one when training is True")
    return x, gamma, beta


def number(name, value, fits, expected):
    """Refuse what is not a real number, or does not fit."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not fits(value):
        raise ValueError(f"{name} = {value!r}; expected {expected}")


def past(name, array, channels, training, without_other):
    """Running statistics: an array (C,) that can be written to; or None, both, in training."""
    if array is None:
        if training and without_other:
            return
        raise ValueError(f"{name} is None; expected an array of shape ({channels},)"
                         + (", as the other" if training else " when training is False"))
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is a {type(array).__name__}; expected an ndarray")
    floats(name, array, (channels,))
    if training and not array.flags.writeable:
        raise ValueError(f"{name} is read-only; expected a writable array, training updates it")


def apart(updated, others):
    """Refuse arrays that would be updated together with another one; {name: (C,)} both."""
    while updated:
        name, array = updated.popitem()
        for other, memory in {**updated, **others}.items():
            if np.shares_memory(array, memory):
                raise ValueError(f"{name} shares memory with {other}; "
                                 "expected an array of its own, training updates it")


def gradient(dout, x):
    """`dout` as an array of the shape and dtype of `x`."""
    return floats("dout", dout, x.shape).astype(x.dtype, copy=False)


def target(name, out, like, kept=(), same=()):
    """`out`, if it is fit to be written to; or a new array like `like`, contiguous.

    It must share no memory with the arrays `kept`, and with those in `same` all or none.
    """
    if out is None:
        return np.empty(like.shape, like.dtype)
    fits = isinstance(out, np.ndarray) and (out.shape, out.dtype) == (like.shape, like.dtype)
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{name} is {found}; expected {like.dtype} {like.shape}, "
                         "contiguous, writable")
    for array in (*kept, *same):
        if not array.size or not np.may_share_memory(out, array):
            continue
        itself = (array.ctypes.data, array.strides) == (out.ctypes.data, out.strides)
        if not itself or not any(array is other for other in same):
            raise ValueError(f"{name} shares memory with an array that is read afterwards; "
                             "expected another array")
    return out


def fold(W, b, gamma, beta, running_mean, running_var, eps):
    """W (in, C); b (C,) or None; four arrays (C,), at least float32 on return; eps."""
    W = floats("W", W, ("in", "C"))
    channels = {"b": b, "gamma": gamma, "beta": beta,
                "running_mean": running_mean, "running_var": running_var}
    for name, array in channels.items():
        if name != "b" or b is not None:
            channels[name] = wide(floats(name, array, (W.shape[1],)))
    number("eps", eps, POSITIVE, "a positive finite number")
    return W, *channels.values()


def channels(num_features):
    """A positive whole number."""
    whole = isinstance(num_features, numbers.Integral) and not isinstance(num_features, bool)
    if not whole or num_features < 1:
        raise ValueError(f"num_features = {num_features!r}; expected a positive integer")
    return int(num_features)
