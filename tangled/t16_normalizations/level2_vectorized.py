# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:90e5dae25744bfe2
"""Normalisations, level 2: expressions over whole arrays, and the modules."""

import math

import numpy as np

import tangled.t16_normalizations.checks as check
from tangled.t06_backpropagation import Module, Parameter


def _standardise(rows, eps, centre=True):
    """rows (R, M): x_hat, each row with mean square 1 and, if centre, mean 0; and s (R, 1)."""
    deviation = rows - rows.mean(axis=-1, keepdims=True) if centre else rows        # (R, M)
    mean_square = np.square(deviation).mean(axis=-1, keepdims=True)     # (R, 1)
    s = 1.0 / np.sqrt(mean_square + eps)                            # eq. 16.1, eq. 16.7
    return deviation * s, s


def _standardise_backward(dx_hat, x_hat, s, centre=True):
    """The gradient of x_hat (R, M) to that of the rows, (R, M)."""
    dx = dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True)     # eq. 16.8
    if centre:
        dx -= dx_hat.mean(axis=-1, keepdims=True)                   # eq. 16.6
    dx *= s
    return dx


def _scaled(x_hat, gamma, beta, dtype):
    """x_hat gamma + beta, for what is given of them; gamma and beta in a shape that broadcasts."""
    out = x_hat.copy() if gamma is None else x_hat * gamma      # eq. 16.2
    if beta is not None:
        out += beta
    return out.astype(dtype, copy=False)


def _parameter_gradients(dout, x_hat, gamma, beta, axes, dtype):
    """[dgamma, dbeta] of those that are given: sums over axes."""
    grads = [] if gamma is None else [(dout * x_hat).sum(axis=axes)]    # eq. 16.3
    grads += [] if beta is None else [dout.sum(axis=axes)]
    return [grad.astype(dtype, copy=False) for grad in grads]


def layer_norm(x, gamma=None, beta=None, eps=1e-5):
    """Normalise every vector of features; Ba, Kiros and Hinton (2016), equation 4.

    Parameters
    ----------
    x : ndarray of shape (..., D), floating
    gamma, beta : ndarrays of shape (D,) in the dtype of x, or None
    eps : float, positive, added to the variance

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `layer_norm_backward`
    """
    x, gamma, beta = check.features(x, gamma, beta, eps)
    return _over_features(x, gamma, beta, eps, centre=True)


def rms_norm(x, gamma=None, eps=1e-5):
    """Divide every vector of features by its root mean square; Zhang and Sennrich (2019).

    Parameters
    ----------
    x : ndarray of shape (..., D), floating
    gamma : ndarray of shape (D,) in the dtype of x, or None
    eps : float, positive, added to the mean square. PyTorch's default is the machine epsilon of x.

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `rms_norm_backward`
    """
    x, gamma, _ = check.features(x, gamma, None, eps)
    return _over_features(x, gamma, None, eps, centre=False)


def _over_features(x, gamma, beta, eps, centre):
    """The two above: rows are vectors of features."""
    rows = x.reshape(-1, x.shape[-1]).astype(check.working(x.dtype), copy=False)
    x_hat, s = _standardise(rows, eps, centre)
    out = _scaled(x_hat, gamma, beta, x.dtype).reshape(x.shape)
    return out, (x_hat, s, gamma, beta, centre, x.shape, x.dtype)


def layer_norm_backward(dout, cache):
    """Gradients of `layer_norm` and `rms_norm`.

    Parameters
    ----------
    dout : ndarray of shape (..., D)
    cache : from the forward pass

    Returns
    -------
    dx : ndarray of the shape of x
    dgamma, dbeta : ndarrays of shape (D,), those that were given
    """
    x_hat, s, gamma, beta, centre, shape, dtype = cache
    dout = check.gradient("dout", dout, shape, x_hat.dtype).reshape(x_hat.shape)
    dx_hat = dout if gamma is None else dout * gamma                # before the means of eq. 16.6
    dx = _standardise_backward(dx_hat, x_hat, s, centre)
    dx = dx.reshape(shape).astype(dtype, copy=False)
    return dx, *_parameter_gradients(dout, x_hat, gamma, beta, 0, dtype)


rms_norm_backward = layer_norm_backward


def group_norm(x, groups, gamma=None, beta=None, eps=1e-5):
    """Normalise every group of channels of every sample; Wu and He (2018), equations 1 to 7.

    Parameters
    ----------
    x : ndarray of shape (N, C, *S), floating
    groups : int, a divisor of C
    gamma, beta : ndarrays of shape (C,) in the dtype of x, or None
    eps : float, positive, added to the variance

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `group_norm_backward`
    """
    x, groups, gamma, beta = check.channels(x, groups, gamma, beta, eps)
    rows = x.reshape(len(x) * groups, math.prod(x.shape[1:]) // groups)     # (N G, C / G * pixels)
    x_hat, s = _standardise(rows.astype(check.working(x.dtype), copy=False), eps)
    wide = [None if v is None else v.reshape(-1, *[1] * (x.ndim - 2)) for v in (gamma, beta)]
    out = _scaled(x_hat.reshape(x.shape), *wide, x.dtype)
    return out, (x_hat, s, *wide, x.shape, x.dtype)


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """Normalise every channel of every sample by itself: `group_norm` with C groups.

    Parameters
    ----------
    x : ndarray of shape (N, C, *S), floating
    gamma, beta : ndarrays of shape (C,) in the dtype of x, or None
    eps : float, positive

    Returns
    -------
    out, cache : as of `group_norm`
    """
    x, *_ = check.channels(x, 1, gamma, beta, eps)
    return group_norm(x, x.shape[1], gamma, beta, eps)


def group_norm_backward(dout, cache):
    """Gradients of `group_norm` and `instance_norm`.

    Parameters
    ----------
    dout : ndarray of shape (N, C, *S)
    cache : from the forward pass

    Returns
    -------
    dx : ndarray of the shape of x
    dgamma, dbeta : ndarrays of shape (C,), those that were given
    """
    x_hat, s, gamma, beta, shape, dtype = cache
    dout = check.gradient("dout", dout, shape, x_hat.dtype)
    dx_hat = dout if gamma is None else dout * gamma
    dx = _standardise_backward(dx_hat.reshape(x_hat.shape), x_hat, s)
    dx = dx.reshape(shape).astype(dtype, copy=False)
    axes = (0, *range(2, len(shape)))
    return dx, *_parameter_gradients(dout, x_hat.reshape(shape), gamma, beta, axes, dtype)


instance_norm_backward = group_norm_backward


def weight_norm(v, g, axis=0):
    """Weights of given lengths; Salimans and Kingma (2016), equation 2.

    Parameters
    ----------
    v : ndarray of any shape, floating: the directions
    g : ndarray of shape (K,), in the dtype of v: the lengths
    axis : int, the axis of v that has K; the length is taken over all others. PyTorch's 0 belongs
        to weights whose first axis is the output; a linear layer of this book has the output last.

    Returns
    -------
    w : ndarray of the shape and dtype of v
    cache : for `weight_norm_backward`
    """
    v, g, axis = check.weights(v, g, axis)
    others = tuple(k for k in range(v.ndim) if k != axis)
    work = v.astype(check.working(v.dtype), copy=False)
    length = np.sqrt(np.square(work).sum(axis=others, keepdims=True))   # (1, ..., K, ..., 1)
    unit = work / length
    w = unit * g.reshape(length.shape)                          # eq. 16.9
    return w.astype(v.dtype, copy=False), (unit, length, g, others, v.dtype)


def weight_norm_backward(dw, cache):
    """Gradients of `weight_norm`.

    Parameters
    ----------
    dw : ndarray of the shape of v
    cache : from `weight_norm`

    Returns
    -------
    dv : ndarray of the shape of v
    dg : ndarray of shape (K,)
    """
    unit, length, g, others, dtype = cache
    dw = check.gradient("dw", dw, unit.shape, unit.dtype)
    along = (dw * unit).sum(axis=others, keepdims=True)         # eq. 16.10
    dv = (dw - unit * along) * (g.reshape(length.shape) / length)
    return dv.astype(dtype, copy=False), along.reshape(-1).astype(dtype, copy=False)


def add_layer_norm(x, residual, gamma=None, beta=None, eps=1e-5):
    """total = x + residual, and its layer norm.

    Parameters
    ----------
    x, residual : ndarrays of one shape (..., D) and one floating dtype
    gamma, beta : ndarrays of shape (D,), or None
    eps : float, positive

    Returns
    -------
    (out, total) : ndarrays of the shape and dtype of x
    cache : for `add_layer_norm_backward`
    """
    x, gamma, beta = check.features(x, gamma, beta, eps)
    total = x + check.same("residual", residual, x)
    out, cache = layer_norm(total, gamma, beta, eps)
    return (out, total), cache


def add_layer_norm_backward(dout, dtotal, cache):
    """Gradients of `add_layer_norm`.

    Parameters
    ----------
    dout, dtotal : ndarrays of shape (..., D): of the normalised sum, and of the sum itself
    cache : from `add_layer_norm`

    Returns
    -------
    dx, dresidual : ndarrays of the shape of x, equal to each other
    dgamma, dbeta : ndarrays of shape (D,), those that were given
    """
    dx, *grads = layer_norm_backward(dout, cache)
    dtotal = check.gradient("dtotal", dtotal, dx.shape, dx.dtype)
    dx += dtotal                                                    # eq. 16.11
    return dx, dx.copy(), *grads


class _Norm(Module):
    """Scale and shift (size,), float32, ones and zeros at first; None where they are not wanted."""

    def __init__(self, size, eps, scale, shift):
        check.positive("eps", eps)
        size, self.eps = check.whole("size", size), eps
        self.weight = Parameter(np.ones(size, np.float32)) if scale else None
        self.bias = Parameter(np.zeros(size, np.float32)) if shift else None

    def arrays(self):
        """[weight, bias] as arrays (size,), or None."""
        return [None if p is None else p.data for p in (self.weight, self.bias)]

    def accumulate(self, grads):
        """[dweight, dbias] (size,) each, those that there are, to their parameters."""
        for parameter, grad in zip((p for p in (self.weight, self.bias) if p is not None), grads):
            parameter.accumulate(grad)


class LayerNorm(_Norm):
    """Layer normalisation of x (..., normalized_shape), an int."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__(normalized_shape, eps, elementwise_affine, elementwise_affine and bias)

    def forward(self, x):
        """x (..., D) to the same shape."""
        out, self.cache = layer_norm(x, *self.arrays(), self.eps)
        return out

    def backward(self, dout):
        """dout to dx, same shape; adds to the gradients of weight and bias."""
        dx, *grads = layer_norm_backward(dout, self.kept())
        self.accumulate(grads)
        return dx


class RMSNorm(_Norm):
    """RMS normalisation of x (..., normalized_shape), an int; no shift."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        super().__init__(normalized_shape, eps, elementwise_affine, False)

    def forward(self, x):
        """x (..., D) to the same shape."""
        out, self.cache = rms_norm(x, self.arrays()[0], self.eps)
        return out

    backward = LayerNorm.backward


class GroupNorm(_Norm):
    """Group normalisation of x (N, num_channels, *S)."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        super().__init__(num_channels, eps, affine, affine)
        self.groups = check.whole("num_groups", num_groups)
        if num_channels % num_groups:
            raise ValueError(f"num_groups = {num_groups}; expected a divisor of {num_channels} channels")

    def forward(self, x):
        """x (N, C, *S) to the same shape."""
        out, self.cache = group_norm(x, self.groups, *self.arrays(), self.eps)
        return out

    def backward(self, dout):
        """dout to dx, same shape; adds to the gradients of weight and bias."""
        dx, *grads = group_norm_backward(dout, self.kept())
        self.accumulate(grads)
        return dx


class InstanceNorm2d(GroupNorm):
    """Instance normalisation of x (N, num_features, H, W); by default without scale and shift."""

    def __init__(self, num_features, eps=1e-5, affine=False):
        super().__init__(num_features, num_features, eps, affine)
