# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:d88f88ed32966c46
"""Chapter 28: worked answers to the graded exercises."""

import numpy as np

from tangled.t01_tensor_operations import softmax
from tangled.t25_self_attention import softmax_backward
from tangled.t28_transformer_encoder import feed_forward, feed_forward_backward


def drop_path(change, p, rng, training=True):
    """What a sublayer adds, for some samples nothing at all.

    Parameters
    ----------
    change : ndarray of shape (B, T, D), floating
    p : float, from 0 to less than 1, the probability that a sample gets nothing
    rng : numpy.random.Generator
    training : bool; if False the output is change

    Returns
    -------
    out : ndarray of shape (B, T, D), in the dtype of change
    cache : for `drop_path_backward`
    """
    if not training or p == 0:
        return change, None
    factor = (rng.random((len(change), 1, 1)) >= p) / (1 - p)
    factor = factor.astype(change.dtype)                        # (B, 1, 1)
    return change * factor, factor


def drop_path_backward(dout, cache):
    """dout (B, T, D): the gradient of change, in its shape."""
    return dout if cache is None else dout * cache


def expert_choice(x, w_router, w1, b1, w2, b2, count):
    """A mixture of experts in which each expert takes its best `count` tokens; GELU networks.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating
    w_router : ndarray of shape (D, E)
    w1, b1, w2, b2 : ndarrays of shape (E, D, F), (E, F), (E, F, D), (E, D)
    count : int, from 1 to N; of equal scores the earlier token's counts as higher

    Returns
    -------
    out : ndarray of shape (N, D)
    cache : for `expert_choice_backward`
    """
    p = softmax(x @ w_router)                                   # (N, E)
    taken = np.argsort(-p, axis=0, kind="stable")[:count].T     # (E, count)
    out, kept = np.zeros_like(x), []
    for e, n in enumerate(taken):
        y, cache = feed_forward(x[n], w1[e], b1[e], w2[e], b2[e])
        out[n] += p[n, e, None] * y
        kept.append((n, y, cache))
    return out, (x, w_router, p, kept)


def expert_choice_backward(dout, cache):
    """dout (N, D): dx, dw_router, dw1, db1, dw2, db2 in the shapes of the inputs."""
    x, w_router, p, kept = cache
    dx, dp, grads = np.zeros_like(x), np.zeros_like(p), []
    for e, (n, y, of_network) in enumerate(kept):
        dp[n, e] = (dout[n] * y).sum(axis=1)
        dtaken, *found = feed_forward_backward(p[n, e, None] * dout[n], of_network)
        dx[n] += dtaken
        grads.append(found)
    dscores = softmax_backward(dp, p)
    return dx + dscores @ w_router.T, x.T @ dscores, *(np.stack(g) for g in zip(*grads))
