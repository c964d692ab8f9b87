# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:ecf02275ace3e878
"""Chapter 09: arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np

POSITIVE = lambda value: 0 < value < np.inf


def floats(name, x, shape=None, dtype=None):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the other arrays")
    if shape is not None and x.shape != shape:
        fits = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
        if x.ndim != len(shape) or not fits:
            shown = str(tuple(shape)).replace("'", "")
            raise ValueError(f"{name} has shape {x.shape}; expected {shown}")
    return x


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


def gradient(dout, x):
    """`dout` as an array of the shape and dtype of `x`."""
    return floats("dout", dout, x.shape).astype(x.dtype, copy=False)


def fold(W, b, gamma, beta, running_mean, running_var, eps):
    """W (in, C); b (C,) or None; four arrays (C,); eps."""
    W = floats("W", W, ("in", "C"))
    channels = {"b": b, "gamma": gamma, "beta": beta,
                "running_mean": running_mean, "running_var": running_var}
    for name, array in channels.items():
        if name != "b" or b is not None:
            channels[name] = floats(name, array, (W.shape[1],))
    number("eps", eps, POSITIVE, "a positive finite number")
    return W, *channels.values()


def channels(num_features):
    """A positive whole number."""
    whole = isinstance(num_features, numbers.Integral) and not isinstance(num_features, bool)
    if not whole or num_features < 1:
        raise ValueError(f"num_features = {num_features!r}; expected a positive integer")
    return int(num_features)
