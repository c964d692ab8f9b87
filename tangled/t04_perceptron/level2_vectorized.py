# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:398823d210fa7d1b
"""The perceptron and the logistic unit, level 2: vectors and matrices."""

import numpy as np

import tangled.t04_perceptron.checks as check


def perceptron_fit(x, y, epochs=100):
    """Rosenblatt's rule, from zero weights, over the samples in their order.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating and finite
    y : ndarray of shape (N,): -1 and +1
    epochs : int, the most passes; fewer if one of them is without a mistake

    Returns
    -------
    w : ndarray of shape (D,), in the dtype of x
    b : scalar of that dtype
    mistakes : list of int, one an epoch; the last is 0 if the samples are separated
    """
    x, y, dtype = check.signed(x, y, epochs)
    w, b = np.zeros(x.shape[1], x.dtype), x.dtype.type(0)       # (D,), ()
    mistakes = []
    for _ in range(epochs):
        wrong = 0
        for sample, target in zip(x, y):                        # (D,), ()
            if target * (sample @ w + b) <= 0:
                w += target * sample                                        # eq. 4.2
                b += target
                wrong += 1
        mistakes.append(wrong)
        if wrong == 0:
            break
    return w.astype(dtype, copy=False), dtype.type(b), mistakes


def perceptron_predict(x, w, b):
    """On which side of the line each sample lies.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating and finite
    w : ndarray of shape (D,)
    b : float

    Returns
    -------
    ndarray of shape (N,), int: +1 where x @ w + b > 0, else -1
    """
    x, w, b = check.unit(x, w, b)
    return np.where(x @ w + b > 0, 1, -1)                       # eq. 4.1, (N,)


def sigmoid(z):
    """The logistic function of every entry.

    Parameters
    ----------
    z : ndarray of any shape, floating

    Returns
    -------
    ndarray of the same shape: 1 / (1 + exp(-z)), computed without overflow
    """
    dtype, z = check.floats("z", z).dtype, check.wide(np.asarray(z))
    out = np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))   # eq. 4.10
    return out.astype(dtype, copy=False)[()]


def bce_with_logits(z, y):
    """Binary cross-entropy of logits: the mean over all entries.

    Parameters
    ----------
    z : ndarray of any shape, floating, at least one entry
    y : ndarray of the same shape: labels from 0 to 1

    Returns
    -------
    loss : scalar in the dtype of z
    cache : (z, y)
    """
    cache = check.logits(z, y)
    z, y = map(check.wide, cache)
    losses = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))      # eq. 4.14
    return cache[0].dtype.type(losses.mean(dtype=np.float64)), cache


def bce_with_logits_backward(dloss, cache):
    """Gradient dz of the mean loss, in the shape and dtype of z, for a number dloss."""
    z, y = map(check.wide, cache)
    dloss = check.scalar("dloss", dloss)
    dz = (sigmoid(z) - y) * (dloss / z.size)                    # eq. 4.17
    return dz.astype(cache[0].dtype, copy=False)[()]


def logistic_fit(x, y, lr, epochs):
    """Logistic regression by gradient descent on the whole batch, from zero weights.

    Parameters
    ----------
    x : ndarray of shape (N, D), floating and finite, N at least 1
    y : ndarray of shape (N,): labels from 0 to 1
    lr : float, the learning rate
    epochs : int, the steps, each over all samples

    Returns
    -------
    w : ndarray of shape (D,), in the dtype of x
    b : scalar of that dtype
    losses : list of float, the loss before each step
    """
    x, y, dtype = check.labelled(x, y, lr, epochs)
    w, b, losses = np.zeros(x.shape[1], x.dtype), x.dtype.type(0), []
    for _ in range(epochs):
        loss, cache = bce_with_logits(x @ w + b, y)             # logits (N,)
        dz = bce_with_logits_backward(1.0, cache)               # (N,)
        w -= float(lr) * (dz @ x)                               # eq. 4.18, (D,)
        b -= x.dtype.type(lr) * dz.sum()
        losses.append(float(loss))
    return w.astype(dtype, copy=False), dtype.type(b), losses
