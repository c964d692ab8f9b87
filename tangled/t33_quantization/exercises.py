# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:768ed97eca6e848f
"""Chapter 33: worked answers to the graded exercises."""

import numpy as np

from tangled.t33_quantization import calibrate, dequantize, quantize


def learned_scale(x, scale, bits=8):
    """Fake quantisation with one scale that learns, symmetric.

    Parameters
    ----------
    x : ndarray of any shape, floating
    scale : float, positive
    bits : int, 2 to 8

    Returns
    -------
    out : ndarray of the shape of x
    cache : for `learned_scale_backward`
    """
    u, Q = x / scale, 2 ** (bits - 1) - 1
    return np.clip(np.rint(u), -Q, Q) * scale, (u, Q)


def learned_scale_backward(dout, cache):
    """dout of the shape of x: dx of that shape, and dscale, a float."""
    u, Q = cache
    inside = np.abs(np.rint(u)) <= Q
    slope = np.where(inside, np.rint(u) - u, np.copysign(Q, u))
    return np.where(inside, dout, 0), float((dout * slope).sum())


def error_feedback(w, x, bits=4, damping=0.01):
    """Integers for a weight whose outputs are close to those of the floats; a scale an output.

    Parameters
    ----------
    w : ndarray of shape (n, m), floating
    x : ndarray of shape (N, n): inputs to be expected
    bits : int, 2 to 8
    damping : float, this share of the mean diagonal entry of x^T x is added to the diagonal

    Returns
    -------
    q : ndarray of int8, of shape (n, m)
    scale : ndarray of shape (1, m), of `calibrate`: min-max of w
    """
    w, H = w.astype(np.float64), x.T.astype(np.float64) @ x
    scale, zero_point = calibrate(w, bits, block=(None, 1))
    H[np.diag_indices_from(H)] += damping * np.diag(H).mean()
    A, q = np.linalg.inv(H), np.empty(w.shape, np.int8)         # A: of the rows from k on
    for k in range(len(w)):
        q[k:k + 1], *_ = quantize(w[k:k + 1], scale, zero_point, bits)
        error = dequantize(q[k:k + 1], scale) - w[k:k + 1]      # (1, m)
        w[k + 1:] += A[1:, :1] / A[0, 0] * error
        A = A[1:, 1:] - A[1:, :1] * A[:1, 1:] / A[0, 0]
    return q, scale
