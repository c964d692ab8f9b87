# Tangled from chapters/17-cifar10.qmd; edit the chapter, then run make tangle. sha256:4173139f98dcb68e
"""Chapter 17: worked answers to the graded exercises."""

import numpy as np


def mixup(x, labels, classes, share, order):
    """Pictures and soft targets, mixed in pairs.

    Parameters
    ----------
    x : ndarray of shape (N, ...), floating
    labels : ndarray of shape (N,), integers below classes
    classes : int
    share : float from 0 to 1, the weight of the picture itself
    order : ndarray of shape (N,), a permutation: the partner of each picture

    Returns
    -------
    mixed : ndarray of the shape and dtype of x
    targets : ndarray of shape (N, classes), in the dtype of x; rows sum to 1
    """
    one_hot = np.eye(classes, dtype=x.dtype)[labels]            # (N, K)
    share = x.dtype.type(share)
    return share * x + (1 - share) * x[order], share * one_hot + (1 - share) * one_hot[order]


def soft_cross_entropy(logits, targets):
    """The mean cross-entropy, and its gradient.

    Parameters
    ----------
    logits, targets : ndarrays of shape (N, K), floating; rows of targets sum to 1

    Returns
    -------
    loss : float
    dlogits : ndarray of shape (N, K)
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * log_p).sum() / len(logits)), (np.exp(log_p) - targets) / len(logits)


def grad_cam(features, head, head_backward, labels):
    """Gradient-weighted class activation maps.

    Parameters
    ----------
    features : ndarray of shape (N, C, H, W), floating
    head : callable, `head(features) -> (logits (N, K), cache)`
    head_backward : callable, `head_backward(dlogits, cache) -> dfeatures`
    labels : ndarray of shape (N,), integers below K

    Returns
    -------
    ndarray of shape (N, H, W), not negative
    """
    logits, cache = head(features)
    chosen = np.zeros_like(logits)
    chosen[np.arange(len(labels)), labels] = 1.0
    weights = head_backward(chosen, cache).mean(axis=(2, 3))    # (N, C)
    return np.maximum(np.einsum("nchw,nc->nhw", features, weights), 0)
