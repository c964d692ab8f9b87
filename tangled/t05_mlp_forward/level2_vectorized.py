# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:7219dcfff746bcf5
"""The forward pass of an MLP, level 2: expressions over whole arrays."""

import math

import numpy as np

import tangled.t05_mlp_forward.checks as check


def linear(x, W, b=None):
    """Affine map of every row.

    Parameters
    ----------
    x : ndarray of shape (N, in), or (..., in)
    W : ndarray of shape (in, out), in the dtype of x
    b : ndarray of shape (out,), in the dtype of x, or None for a layer without bias

    Returns
    -------
    out : ndarray of shape (N, out), or (..., out): x @ W + b
    cache : (x, W, b)

    Raises
    ------
    ValueError : if shapes do not fit, or the arrays are not floating and of one dtype
    """
    x, W, b = check.layer(x, W, b)
    out = x @ W                                                 # (N, in) @ (in, out)
    if b is not None:
        out += b                                                # eq. 5.1, (N, out) + (out,)
    return out, (x, W, b)


def relu(x):
    """The positive part of every entry.

    Parameters
    ----------
    x : ndarray of any shape, floating

    Returns
    -------
    out : ndarray of the same shape: x where positive, else 0; NaN stays NaN
    cache : out, which is not 0 exactly where the slope is 1
    """
    out = np.asarray(np.maximum(check.floats("x", x), 0))       # eq. 5.2
    return out, out


def mlp_forward(x, parameters):
    """A multilayer perceptron: linear layers with ReLU between them.

    Parameters
    ----------
    x : ndarray of shape (N, d_0), or (..., d_0)
    parameters : L pairs (W, b) of shapes (d_(l-1), d_l) and (d_l,); b may be None

    Returns
    -------
    out : ndarray of shape (N, d_L): the last layer's sums, without ReLU
    cache : list of L pairs (cache of linear, cache of relu); the last one's relu is None

    Raises
    ------
    ValueError : if there are no layers, or a width does not fit the next layer's
    """
    cache, layers = [], check.network(parameters)
    for k, (W, b) in enumerate(layers):
        x, of_linear = linear(x, W, b)
        x, of_relu = relu(x) if k < len(layers) - 1 else (x, None)  # eq. 5.3
        cache.append((of_linear, of_relu))
    return x, cache


def softmax_cross_entropy(logits, y):
    """Mean cross-entropy of integer classes under the softmax of the logits.

    Parameters
    ----------
    logits : ndarray of shape (N, K), or (..., K)
    y : integers of shape (N,), or (...), from 0 to K - 1

    Returns
    -------
    loss : scalar in the dtype of logits, the mean over the N rows
    cache : (p, y): the probabilities, (N, K), and the classes

    Raises
    ------
    ValueError : if a shape does not fit, there is no row, or y holds no classes
    """
    logits, y = check.classes(logits, y)
    dtype, logits = logits.dtype, check.wide(logits)            # float16 is computed in float32
    shifted = logits - logits.max(axis=-1, keepdims=True)       # eq. 5.6, largest is 0
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))     # eq. 5.7
    loss = -np.take_along_axis(log_p, y[..., None], axis=-1).mean()           # eq. 5.5
    return dtype.type(loss), (np.exp(log_p).astype(dtype, copy=False), y)


def mse(pred, target):
    """Mean squared error over all entries.

    Parameters
    ----------
    pred : ndarray of any shape, floating
    target : numbers of the same shape; nothing is broadcast
        (in float16 a difference beyond 65,504 is infinite, and so is its square)

    Returns
    -------
    loss : scalar in the dtype of pred
    cache : pred - target, in that shape

    Raises
    ------
    ValueError : if the shapes differ or are empty
    """
    pred, target = check.errors(pred, target)
    difference = np.asarray(pred - target)
    loss = np.mean(np.square(check.wide(difference)))           # eq. 5.8
    return pred.dtype.type(loss), difference


def kaiming_uniform(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Uniform weights of variance gain^2 / fan.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (in, out)
    gain : float, positive; sqrt(2) for layers behind ReLU
    mode : "fan_in" keeps the variance of the signal, "fan_out" that of the gradient

    Returns
    -------
    W : ndarray of shape (in, out), float32

    Raises
    ------
    ValueError : if an argument is not as above
    """
    shape = check.initial(rng, shape, gain, mode)
    return _uniform(rng, shape, _kaiming_std(shape, gain, mode))


def xavier_uniform(rng, shape, gain=1.0):
    """Uniform weights of variance gain^2 * 2 / (in + out).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (in, out)
    gain : float, positive

    Returns
    -------
    W : ndarray of shape (in, out), float32

    Raises
    ------
    ValueError : if an argument is not as above
    """
    shape = check.initial(rng, shape, gain)
    return _uniform(rng, shape, _xavier_std(shape, gain))


def xavier_normal(rng, shape, gain=1.0):
    """Normal weights of variance gain^2 * 2 / (in + out); parameters as `xavier_uniform`.

    Returns
    -------
    W : ndarray of shape (in, out), float32
    """
    shape = check.initial(rng, shape, gain)
    return _normal(rng, shape, _xavier_std(shape, gain))


def kaiming_normal(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Normal weights of variance gain^2 / fan; parameters as `kaiming_uniform`.

    Returns
    -------
    W : ndarray of shape (in, out), float32
    """
    shape = check.initial(rng, shape, gain, mode)
    return _normal(rng, shape, _kaiming_std(shape, gain, mode))


def _xavier_std(shape, gain):
    """Standard deviation from a shape (in, out)."""
    return gain * math.sqrt(2.0 / (shape[0] + shape[1]))        # eq. 5.16


def _kaiming_std(shape, gain, mode):
    """Standard deviation from a shape (in, out)."""
    fan = shape[0] if mode == "fan_in" else shape[1]
    return gain / math.sqrt(fan)                                # eq. 5.13, eq. 5.15


def _uniform(rng, shape, std):
    """Uniform numbers of that deviation around 0: `shape`, float32."""
    bound = math.sqrt(3.0) * std                                # eq. 5.17
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _normal(rng, shape, std):
    """Normal numbers of that deviation around 0: `shape`, float32."""
    return (std * rng.standard_normal(shape)).astype(np.float32)
