# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:0c1d7dfa0893e236
"""Chapter 27: worked answers to the graded exercises."""

import numpy as np

from tangled.t27_positional_encodings import rope, rope_backward


def partial_rope(x, cos, sin, positions=None, layout="interleaved"):
    """Rotate the first R features of each head and leave the others alone.

    Parameters
    ----------
    x : ndarray of shape (B, H, T, D)
    cos, sin : ndarrays of shape (L, R/2), R <= D, from `rope_tables(L, R)`
    positions, layout : as for `rope`

    Returns
    -------
    out : ndarray of shape (B, H, T, D), in the dtype of x
    cache : for `partial_rope_backward`
    """
    turned = 2 * np.shape(cos)[1]                               # R
    first, cache = rope(x[..., :turned], cos, sin, positions, layout)
    return np.concatenate([first, x[..., turned:]], axis=-1), (turned, cache)


def partial_rope_backward(dout, cache):
    """Gradient of `partial_rope`: dout (B, H, T, D) -> dx (B, H, T, D)."""
    turned, inner = cache
    first = rope_backward(dout[..., :turned], inner)
    return np.concatenate([first, dout[..., turned:]], axis=-1)


def learned_rope(x, theta, positions):
    """Rotate interleaved pairs at frequencies that are parameters.

    Parameters
    ----------
    x : ndarray of shape (B, H, T, D), D even
    theta : ndarray of shape (D/2,), radians per position
    positions : integers of shape (T,) or (B, T), not negative

    Returns
    -------
    out : ndarray of shape (B, H, T, D), in the dtype of x
    cache : for `learned_rope_backward`
    """
    positions = np.array(positions)
    rows, where = np.unique(positions, return_inverse=True)
    angles = rows[:, None] * np.asarray(theta, np.float64)      # (rows, D/2)
    out, inner = rope(x, np.cos(angles), np.sin(angles), where.reshape(positions.shape))
    return out, (out.copy(), np.atleast_2d(positions), np.asarray(theta).dtype, inner)


def learned_rope_backward(dout, cache):
    """Gradients of `learned_rope`.

    Parameters
    ----------
    dout : ndarray of shape (B, H, T, D)
    cache : from `learned_rope`

    Returns
    -------
    dx : ndarray of shape (B, H, T, D), in the dtype of x
    dtheta : ndarray of shape (D/2,), in the dtype of theta
    """
    out, positions, dtype, inner = cache
    turning = dout[..., 1::2] * out[..., 0::2] - dout[..., 0::2] * out[..., 1::2]       # (B, H, T, D/2)
    dtheta = (positions[:, None, :, None] * turning.astype(np.float64)).sum(axis=(0, 1, 2))
    return rope_backward(dout, inner), dtheta.astype(dtype)
