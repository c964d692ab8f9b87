# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:55d078a62036cd8f
"""Batch normalisation, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t09_batch_norm.checks as check


def batch_norm(x, gamma, beta, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    """x (N, C) or (N, C, H, W), others (C,): out as x, and a cache. Updates running_*."""
    x, gamma, beta = check.forward(x, gamma, beta, running_mean, running_var, training,
                                   momentum, eps)
    out, stats = np.empty_like(x), []
    for c in range(x.shape[1]):
        values = x[:, c].ravel().tolist()                       # M floats
        if training:
            mean, var = _moments(values)
            if running_mean is not None and values:
                _update(running_mean, c, mean, momentum)
                _update(running_var, c, var * len(values) / (len(values) - 1), momentum)
        else:
            mean, var = float(running_mean[c]), float(running_var[c])
        s = 1.0 / math.sqrt(var + float(eps))
        y = [float(gamma[c]) * (v - mean) * s + float(beta[c]) for v in values]
        out[:, c] = _as(out[:, c], y)                           # eq. 9.2
        stats.append((mean, s))
    return out, (x, gamma, stats, training)


def _moments(values):
    """Mean and biased variance of a list, eq. 9.1; (0, 0) of an empty one."""
    count = max(len(values), 1)
    mean = sum(values) / count
    return mean, sum((v - mean) * (v - mean) for v in values) / count


def _update(running, c, new, momentum):
    """Entry c of running (C,): a step towards the new value, eq. 9.4."""
    running[c] = _as(running[c], (1 - momentum) * float(running[c]) + momentum * new)


def _as(like, values):
    """A number, or a list of M numbers, in the shape and dtype of `like`."""
    return check.narrow(np.reshape(values, np.shape(like)), like.dtype)


def batch_norm_backward(dout, cache):
    """dout as x: dx as x, dgamma (C,), dbeta (C,)."""
    x, gamma, stats, training = cache
    dout = check.gradient(dout, x)
    dx, dgamma, dbeta = np.empty_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
    for c, (mean, s) in enumerate(stats):
        d = [v - mean for v in x[:, c].ravel().tolist()]        # M deviations
        dy = dout[:, c].ravel().tolist()
        dbeta[c] = _as(dbeta[c], sum(dy))                       # eq. 9.9
        dgamma[c] = _as(dgamma[c], sum(g * v * s for g, v in zip(dy, d)))
        dx_hat = [float(gamma[c]) * g for g in dy]
        back = _through_statistics(dx_hat, d, s) if training else [s * g for g in dx_hat]
        dx[:, c] = _as(dx[:, c], back)
    return dx, dgamma, dbeta


def _through_statistics(dx_hat, d, s):
    """Gradients of x_hat, deviations, factor: the gradients of x, all lists of M floats."""
    count = max(len(d), 1)
    ds = sum(g * v for g, v in zip(dx_hat, d))
    dvar = -0.5 * s * s * s * ds                                # eq. 9.10
    dd = [s * g + 2.0 / count * v * dvar for g, v in zip(dx_hat, d)]    # eq. 9.11
    dmean = -sum(dd)
    return [g + dmean / count for g in dd]                      # eq. 9.12


def fold_batch_norm(W, b, gamma, beta, running_mean, running_var, eps=1e-5):
    """W (in, C), b (C,) or None, and four (C,): the W (in, C) and b (C,) of one layer."""
    W, b, *layer = check.fold(W, b, gamma, beta, running_mean, running_var, eps)
    new_W, new_b = np.empty_like(W), np.empty(W.shape[1], W.dtype)
    for c, (g, beta_c, mean, var) in enumerate(np.transpose(layer).tolist()):
        a = g / math.sqrt(var + float(eps))
        for i in range(len(W)):
            new_W[i, c] = _as(W[i, c], a * float(W[i, c]))      # eq. 9.22
        new_b[c] = _as(new_b[c], a * ((0.0 if b is None else float(b[c])) - mean) + beta_c)
    return new_W, new_b
