# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:7fdee007da66236b
"""The perceptron and the logistic unit, level 1: loops over single numbers."""

import math

import numpy as np

import tangled.t04_perceptron.checks as check


def _score(sample, w, b):
    """Sum of w_d x_d, plus b: floats."""
    total = b
    for value, weight in zip(sample, w):
        total += weight * value                                 # eq. 4.1
    return total


def perceptron_fit(x, y, epochs=100):
    """Rosenblatt's rule on x (N, D), y (N,) of -1 and +1: w (D,), b, mistakes."""
    x, y, dtype = check.signed(x, y, epochs)
    w, b, mistakes = [0.0] * x.shape[1], 0.0, []
    for _ in range(epochs):
        wrong = 0
        for sample, target in zip(x.tolist(), y.tolist()):
            if target * _score(sample, w, b) <= 0:
                for d in range(len(w)):
                    w[d] += target * sample[d]                  # eq. 4.2
                b += target
                wrong += 1
        mistakes.append(wrong)
        if wrong == 0:
            break
    return np.array(w, dtype), dtype.type(b), mistakes


def perceptron_predict(x, w, b):
    """+1 where the score of a row of x (N, D) is positive, else -1: (N,) integers."""
    x, w, b = check.unit(x, w, b)
    signs = [1 if _score(row, w.tolist(), float(b)) > 0 else -1 for row in x.tolist()]
    return np.array(signs, int)


def _sigma(z):
    """The sigmoid of a float."""
    return math.exp(min(z, 0.0)) / (1.0 + math.exp(-abs(z)))    # eq. 4.10


def sigmoid(z):
    """Entry by entry, any shape."""
    z = check.floats("z", z)
    out = np.empty(z.shape, z.dtype)
    for where in np.ndindex(z.shape):
        out[where] = _sigma(float(z[where]))
    return out[()]


def bce_with_logits(z, y):
    """Mean loss of logits z and labels y of one shape; cache (z, y)."""
    z, y = check.logits(z, y)
    total = 0.0
    for logit, label in zip(z.ravel().tolist(), y.ravel().tolist()):
        positive = logit if not logit < 0 else 0.0              # NaN stays NaN
        total += positive - logit * label + math.log1p(math.exp(-abs(logit)))
    return z.dtype.type(total / z.size), (z, y)                 # eq. 4.14


def bce_with_logits_backward(dloss, cache):
    """dz, in the shape of z, for a number dloss."""
    z, y = cache
    dloss = check.scalar("dloss", dloss)
    dz = np.empty(z.shape, z.dtype)
    for where in np.ndindex(z.shape):                           # eq. 4.17
        dz[where] = (_sigma(float(z[where])) - float(y[where])) * (dloss / z.size)
    return dz[()]


def logistic_fit(x, y, lr, epochs):
    """Gradient descent on x (N, D), y (N,) from 0 to 1: w (D,), b, losses."""
    x, y, dtype = check.labelled(x, y, lr, epochs)
    w, b, losses = [0.0] * x.shape[1], 0.0, []
    for _ in range(epochs):
        z = np.array([_score(row, w, b) for row in x.tolist()])            # (N,)
        loss, cache = bce_with_logits(z, y)
        losses.append(float(loss))
        dz = bce_with_logits_backward(1.0, cache).tolist()
        for g, row in zip(dz, x.tolist()):                      # eq. 4.18
            b -= lr * g
            for d in range(len(w)):
                w[d] -= lr * g * row[d]
    return np.array(w, dtype), dtype.type(b), losses
