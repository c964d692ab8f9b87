# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:2baa95afff13a675
"""Chapter 11: worked answers to the graded exercises."""

import numpy as np

from tangled.t11_conv2d_naive import conv2d, conv_output_size


def weight_gradient(x, dout, kernel, stride=1, padding=0, dilation=1):
    """The gradient of the weights of `conv2d`, by `conv2d` itself.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    dout : ndarray of shape (N, F, OH, OW), in the dtype of x
    kernel : (KH, KW)
    stride, padding, dilation : int, or (h, w); those of the forward pass

    Returns
    -------
    dw : ndarray of shape (F, C, KH, KW)
    """
    dw, _ = conv2d(x.swapaxes(0, 1), dout.swapaxes(0, 1), stride=dilation, padding=padding,
                   dilation=stride)                             # (C, F, at least KH, at least KW)
    return dw[:, :, :kernel[0], :kernel[1]].swapaxes(0, 1)


def conv2d_fft(x, w, padding=0):
    """`conv2d` at stride 1 by the Fourier transform.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    w : ndarray of shape (F, C, KH, KW), in the dtype of x
    padding : int, on all four sides

    Returns
    -------
    out : ndarray of shape (N, F, OH, OW), in the dtype of x
    """
    size = [conv_output_size(n, k, 1, padding) for n, k in zip(x.shape[2:], w.shape[2:])]
    period = [n + 2 * padding for n in x.shape[2:]]
    padded = np.zeros((*x.shape[:2], *period))
    padded[:, :, padding:padding + x.shape[2], padding:padding + x.shape[3]] = x
    of_x, of_w = np.fft.rfft2(padded), np.fft.rfft2(w, period).conj()       # (N | F, C, P, P/2 + 1)
    product = np.einsum("ncpq,fcpq->nfpq", of_x, of_w, optimize=True)
    return np.fft.irfft2(product, period)[:, :, :size[0], :size[1]].astype(x.dtype)
