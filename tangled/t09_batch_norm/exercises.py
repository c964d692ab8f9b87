# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:11bcc8370b5de098
"""Chapter 09, exercises: statistics that are merged, and a batch spread over workers."""

import numpy as np


def merge_moments(first, second):
    """Count, mean and variance of two sets of samples together; Chan, Golub and LeVeque (1983).

    Parameters
    ----------
    first, second : (int, ndarray of shape (C,), ndarray of shape (C,))
        Number of samples, at least 0; mean; biased variance. Of an empty set the last two do not count.

    Returns
    -------
    count, mean, var : int and two new ndarrays of shape (C,), float64
    """
    (m1, mean1, var1), (m2, mean2, var2) = first, second
    if m1 == 0 or m2 == 0:
        m, mean, var = second if m1 == 0 else first
        return m, np.array(mean, float), np.array(var, float)
    delta, m = np.subtract(mean2, mean1, dtype=float), m1 + m2              # (C,)
    mean = mean1 + delta * (m2 / m)
    var = (m1 * np.asarray(var1, float) + m2 * np.asarray(var2, float) + delta ** 2 * (m1 * m2 / m)) / m
    return m, mean, var


def precise_statistics(batches):
    """Mean and unbiased variance of each channel over all batches together, in one pass.

    Parameters
    ----------
    batches : iterable of ndarrays of shape (N, C) or (N, C, H, W)
        Inputs of a batch normalisation, at least two numbers a channel in all; N may differ.

    Returns
    -------
    mean, var : ndarrays of shape (C,), float64, for `running_mean` and `running_var`
    """
    total = (0, np.zeros(1), np.zeros(1))
    for x in batches:
        total = merge_moments(total, _moments(x))
    count, mean, var = total
    return mean, var * (count / (count - 1))


def _moments(x):
    """Count, mean and biased variance of x (N, C) or (N, C, H, W): int and two (C,)."""
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).astype(np.float64)    # (M, C)
    if not len(rows):
        return 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    return len(rows), rows.mean(0), rows.var(0)


def sync_batch_norm(shards, gamma, beta, eps=1e-5):
    """Batch normalisation in training of a batch that is spread over workers.

    Workers see their own samples; what they exchange are counts and arrays of shape (C,).

    Parameters
    ----------
    shards : list of ndarrays of shape (N_k, C), floating; N_k may differ and be 0
    gamma, beta : ndarrays of shape (C,)
    eps : float, positive

    Returns
    -------
    outs : list of ndarrays, in the shapes and dtypes of the shards
    cache : for `sync_batch_norm_backward`
    """
    count, mean, var = 0, np.zeros(len(gamma)), np.zeros(len(gamma))
    for x in shards:
        count, mean, var = merge_moments((count, mean, var), _moments(x))
    s = 1 / np.sqrt(var + eps)                                              # (C,)
    x_hats = [(x - mean) * s for x in shards]                               # (N_k, C) each
    outs = [(gamma * x_hat + beta).astype(x.dtype) for x, x_hat in zip(shards, x_hats)]
    return outs, (x_hats, gamma, s, count)


def sync_batch_norm_backward(douts, cache):
    """Gradients of `sync_batch_norm`.

    Parameters
    ----------
    douts : list of ndarrays of shape (N_k, C)
    cache : of `sync_batch_norm`

    Returns
    -------
    dxs : list of ndarrays of shape (N_k, C), in the dtypes of the douts
    dgamma, dbeta : ndarrays of shape (C,), of the whole batch
    """
    x_hats, gamma, s, count = cache
    dbeta = sum(dout.sum(0) for dout in douts)                              # exchanged: (C,)
    dgamma = sum((dout * x_hat).sum(0) for dout, x_hat in zip(douts, x_hats))
    dxs = [(gamma * s * (dout - dbeta / count - x_hat * (dgamma / count))).astype(dout.dtype)
           for dout, x_hat in zip(douts, x_hats)]
    return dxs, dgamma, dbeta
