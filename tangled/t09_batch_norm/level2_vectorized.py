# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:f229cd5a88032a14
"""Batch normalisation, level 2: expressions over whole arrays, and the modules."""

import math

import numpy as np

import tangled.t09_batch_norm.checks as check
from tangled.t06_backpropagation import Module, Parameter


def _channel_axes(x):
    """The axes of x that a channel extends over, and how many numbers it has: (axes, M)."""
    axes = (0, *range(2, x.ndim))                               # (0,) or (0, 2, 3)
    return axes, max(math.prod(x.shape[axis] for axis in axes), 1)


def _wide(v, x):
    """v (C,) in a shape that broadcasts against x: (C,) or (C, 1, 1)."""
    return v.reshape(v.shape + (1,) * (x.ndim - 2))


def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    """Normalise every channel, scale and shift it; Ioffe and Szegedy (2015), algorithm 1.

    Parameters
    ----------
    x : ndarray of shape (N, C) or (N, C, H, W), floating
    gamma, beta : ndarrays of shape (C,), in the dtype of x
    running_mean, running_var : ndarrays of shape (C,), floating; updated in place if training
        is true, used if it is false. In training both may be None.
    training : bool; if true, a channel needs more than one number
    momentum : float from 0 to 1, the weight of the new statistics
    eps : float, positive, added to the variance

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : (x_hat, gamma, inv_std, training): as x, (C,), (C,), bool
    """
    x, gamma, beta = check.forward(x, gamma, beta, running_mean, running_var, training,
                                   momentum, eps)
    x = check.wide(x)                                           # float16: as float32
    if training:
        axes, count = _channel_axes(x)
        mean = x.sum(axis=axes) / count                                 # (C,)   eq. 9.1
        deviation = x - _wide(mean, x)                                  # as x
        var = np.square(deviation, out=deviation).sum(axis=axes) / count        # (C,), biased
        if running_mean is not None and x.size:
            for running, new in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
                running *= 1 - momentum                                     # eq. 9.4, eq. 9.6
                running += momentum * new
    else:
        mean, var = running_mean.astype(x.dtype), running_var.astype(x.dtype)
    inv_std = 1.0 / np.sqrt(var + eps)                              # (C,)
    x_hat = x - _wide(mean, x)                                  # as x
    x_hat *= _wide(inv_std, x)
    out = x_hat * _wide(gamma, x)                               # eq. 9.2
    out += _wide(beta, x)
    return check.narrow(out, gamma.dtype), (x_hat, gamma, inv_std, training)


def batch_norm_backward(dout, cache):
    """Gradients dx, in the shape of x, and dgamma, dbeta of shape (C,), for dout as x."""
    x_hat, gamma, inv_std, training = cache
    dout = check.gradient(dout, x_hat)
    axes, count = _channel_axes(dout)
    dbeta = dout.sum(axis=axes)                                 # (C,)   eq. 9.9
    dgamma = (dout * x_hat).sum(axis=axes)
    scale = _wide(gamma * inv_std, dout)
    if training:
        dx = x_hat * _wide(-dgamma / count, dout)                       # eq. 9.14, from the right
        dx -= _wide(dbeta / count, dout)
        dx += dout
        dx *= scale
    else:
        dx = dout * scale                                       # eq. 9.7
    return tuple(check.narrow(grad, gamma.dtype) for grad in (dx, dgamma, dbeta))


def fold_batch_norm(W, b, gamma, beta, running_mean, running_var, eps=1e-5):
    """Merge a linear layer with the batch normalisation behind it, for evaluation.

    Parameters
    ----------
    W : ndarray of shape (in, C), floating
    b : ndarray of shape (C,), or None for a layer without bias
    gamma, beta, running_mean, running_var : ndarrays of shape (C,)
    eps : float, positive

    Returns
    -------
    W, b : new ndarrays of shapes (in, C) and (C,), in the dtype of W
    """
    W, b, gamma, beta, mean, var = check.fold(W, b, gamma, beta, running_mean, running_var, eps)
    a = gamma / np.sqrt(var + eps)                              # (C,)
    shift = beta - a * mean if b is None else a * (b - mean) + beta       # eq. 9.22
    return check.narrow(W * a, W.dtype), check.narrow(shift, W.dtype)


class BatchNorm1d(Module):
    """Batch normalisation of x (N, C).

    Parameters
    ----------
    num_features : int, the number of channels C
    momentum : float from 0 to 1, the weight of the new statistics
    eps : float, positive

    Attributes
    ----------
    weight, bias : Parameters of shape (C,), float32: gamma, ones at first; beta, zeros
    running_mean, running_var : buffers of shape (C,), float32: zeros and ones at first
    """

    size = ()                                                   # of a sample, behind the channels

    def __init__(self, num_features, momentum=0.1, eps=1e-5):
        channels = check.channels(num_features)
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.running_mean = np.zeros(channels, np.float32)
        self.running_var = np.ones(channels, np.float32)
        self.momentum, self.eps = momentum, eps

    def buffers(self):
        """{name: the array itself}: what is saved but does not learn, (C,) each."""
        return {"running_mean": self.running_mean, "running_var": self.running_var}

    def forward(self, x):
        """x (N, C), or (N, C, H, W) for BatchNorm2d: the same shape."""
        x = check.floats("x", x, ("N", len(self.running_mean), *self.size))
        out, self.cache = batch_norm(x, self.weight.data, self.bias.data, self.running_mean,
                                     self.running_var, self.training, self.momentum, self.eps)
        return out

    def backward(self, dout):
        """dout to dx, same shape; adds to the gradients of weight and bias."""
        dx, dgamma, dbeta = batch_norm_backward(dout, self.kept())
        self.weight.accumulate(dgamma)
        self.bias.accumulate(dbeta)
        return dx


class BatchNorm2d(BatchNorm1d):
    """Batch normalisation of x (N, C, H, W); parameters and attributes as `BatchNorm1d`."""

    size = ("H", "W")
