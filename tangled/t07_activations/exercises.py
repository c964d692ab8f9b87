# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:d3218230c71f6ef7
"""Chapter 07, exercises: a learned sharpness, a gated linear unit, an error function."""

import math

import numpy as np

from tangled.t07_activations import erfc, sigmoid, silu, silu_backward


def erf(x):
    """The error function, with relative accuracy near 0 as well as far out.

    Parameters
    ----------
    x : ndarray of any shape, float64

    Returns
    -------
    out : ndarray of the same shape, from -1 at -inf to 1 at inf; relative error below 1e-12
    """
    x = np.asarray(x, np.float64)
    near = np.clip(x, -0.5, 0.5)
    term = series = near                                        # (...): k = 0
    for k in range(1, 14):
        term = term * (-near * near / k)                        # (-1)^k x^(2k+1) / k!
        series = series + term / (2 * k + 1)
    far = np.sign(x) * (1 - erfc(np.abs(x)))
    return np.where(np.abs(x) < 0.5, 2 / math.sqrt(math.pi) * series, far)


def swish(x, beta):
    """x sigmoid(beta x) with one learned sharpness for each channel; Ramachandran et al. (2017).

    Parameters
    ----------
    x : ndarray of shape (N, C, ...), float32 or float64
    beta : ndarray of shape (C,)

    Returns
    -------
    out : ndarray of the shape and dtype of x
    cache : for `swish_backward`
    """
    wide = np.reshape(beta, (-1,) + (1,) * (x.ndim - 2)).astype(x.dtype)    # (C, 1, ...)
    s, _ = sigmoid(wide * x)
    return x * s, (x, beta, wide, s)


def swish_backward(dout, cache):
    """Gradients of `swish`.

    Parameters
    ----------
    dout : ndarray of shape (N, C, ...)

    Returns
    -------
    dx : ndarray of the shape of x
    dbeta : ndarray of shape (C,)
    """
    x, beta, wide, s = cache
    slope = s * (1 - s)
    dx = dout * (s + wide * x * slope)
    share = dout * x * x * slope                                # (N, C, ...)
    return dx, share.sum(axis=(0, *range(2, x.ndim))).astype(np.asarray(beta).dtype)


def swiglu(x, V, W):
    """The gated linear unit (x V) * silu(x W); Shazeer (2020), equation 6.

    Parameters
    ----------
    x : ndarray of shape (..., in), float32 or float64
    V, W : ndarrays of shape (in, out)

    Returns
    -------
    out : ndarray of shape (..., out)
    cache : for `swiglu_backward`
    """
    value, (gate, kept) = x @ V, silu(x @ W)                    # (..., out) each
    return value * gate, (x, V, W, value, gate, kept)


def swiglu_backward(dout, cache):
    """Gradients of `swiglu`.

    Parameters
    ----------
    dout : ndarray of shape (..., out)

    Returns
    -------
    dx : ndarray of shape (..., in)
    dV, dW : ndarrays of shape (in, out)
    """
    x, V, W, value, gate, kept = cache
    dvalue, dgate = dout * gate, silu_backward(dout * value, kept)          # (..., out) each
    rows = x.reshape(-1, x.shape[-1])                           # (n, in)
    dV = rows.T @ dvalue.reshape(-1, V.shape[1])
    dW = rows.T @ dgate.reshape(-1, W.shape[1])
    return dvalue @ V.T + dgate @ W.T, dV, dW
