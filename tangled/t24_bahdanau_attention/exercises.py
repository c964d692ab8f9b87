# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:761637ef6766bda4
"""Chapter 24: worked answers to the graded exercises."""

import numpy as np


def local_attend(scores, values, mask, centres, width):
    """Attention to a window around a place of the source; Luong et al. (2015), eq. 10.

    Parameters
    ----------
    scores : ndarray of shape (B, Tq, S), floating
    values : ndarray of shape (B, S, C), finite
    mask : bool of shape (B, S)
    centres : ndarray of shape (B, Tq), floating, the place in the middle
    width : float, above 0; places farther away have no weight

    Returns
    -------
    context : ndarray of shape (B, Tq, C); zeros where no real place is in the window
    """
    far = np.arange(scores.shape[2]) - centres[..., None]       # (B, Tq, S)
    s = np.where(mask[:, None] & (np.abs(far) <= width), scores, -np.inf)
    top = s.max(axis=2, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(top == -np.inf, 0, top))
    total = e.sum(axis=2, keepdims=True)
    p = e / np.where(total == 0, 1, total) * np.exp(-2 * (far / width) ** 2)
    return p @ values


def coverage_loss(p, lengths):
    """The penalty for looking where one has looked before; See et al. (2017), eq. 12.

    Parameters
    ----------
    p : ndarray of shape (B, T, S), floating, the weights of each step
    lengths : integers of shape (B,), how many steps are real

    Returns
    -------
    loss : float, the sum over samples, real steps and places of min(weight, coverage)
    dp : ndarray of shape (B, T, S), its gradient
    """
    real = (np.arange(p.shape[1]) < lengths[:, None])[..., None]            # (B, T, 1)
    p = np.where(real, p, 0)
    covered = np.cumsum(p, axis=1) - p                          # of the steps before
    own = (p < covered) & real
    later = np.cumsum((~own & real)[:, ::-1], axis=1)[:, ::-1]  # this step and those behind
    dp = np.where(real, own + later - (~own & real), 0).astype(p.dtype)
    return float(np.where(real, np.minimum(p, covered), 0).sum()), dp
