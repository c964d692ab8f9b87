# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:ea6171f4513a1c6f
"""Chapter 14: worked answers to the graded exercises."""

import numpy as np


def pad_shortcut(x, channels, stride=1):
    """Every stride-th pixel, and zeros for the channels that x does not have.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    channels : int, F, at least C
    stride : int, positive

    Returns
    -------
    out : ndarray of shape (N, F, ceil(H / stride), ceil(W / stride)), in the dtype of x
    cache : for `pad_shortcut_backward`
    """
    picked = x[:, :, ::stride, ::stride]
    out = np.zeros((len(x), channels, *picked.shape[2:]), x.dtype)
    out[:, :x.shape[1]] = picked
    return out, (x.shape, stride)


def pad_shortcut_backward(dout, cache):
    """dout (N, F, OH, OW): dx (N, C, H, W), 0 where no pixel was taken."""
    shape, stride = cache
    dx = np.zeros(shape, dout.dtype)
    dx[:, :, ::stride, ::stride] = dout[:, :shape[1]]
    return dx


def reversible(x1, x2, f, g):
    """Two additive steps that can be undone; nothing is kept.

    Parameters
    ----------
    x1, x2 : ndarrays of one shape
    f, g : functions of an array, to (an array of the same shape, a cache)

    Returns
    -------
    y1, y2 : ndarrays of that shape
    """
    y1 = x1 + f(x2)[0]
    return y1, x2 + g(y1)[0]


def reversible_backward(dy1, dy2, y1, y2, f, f_backward, g, g_backward):
    """Inputs and gradients of `reversible`, from its outputs.

    Parameters
    ----------
    dy1, dy2, y1, y2 : ndarrays of one shape: gradients of the outputs, and the outputs
    f, g : as for `reversible`
    f_backward, g_backward : functions of (gradient, cache), to the gradient of the input

    Returns
    -------
    dx1, dx2 : ndarrays of that shape, gradients of the inputs
    x1, x2 : ndarrays of that shape, the inputs
    """
    of_g, cache = g(y1)
    x2 = y2 - of_g
    dx1 = dy1 + g_backward(dy2, cache)
    of_f, cache = f(x2)
    return dx1, dy2 + f_backward(dx1, cache), y1 - of_f, x2
