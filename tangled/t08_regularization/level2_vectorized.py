# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:7418742aabc3205e
"""Regularisation, level 2: expressions over whole arrays."""

import math

import numpy as np

import tangled.t08_regularization.checks as check
from tangled.t06_backpropagation import Module


def l1_penalty(w, strength):
    """Sum of absolute values, Tibshirani (1996).

    Parameters
    ----------
    w : ndarray of any shape, floating
    strength : float, at least 0

    Returns
    -------
    penalty : scalar in the dtype of w: strength * sum |w|
    cache : for `l1_penalty_backward`
    """
    w, strength = check.penalty(w, strength)
    return w.dtype.type(strength * np.abs(w).sum(dtype=np.float64)), (w, strength)   # eq. 8.4


def l1_penalty_backward(dpenalty, cache):
    """Gradient dw, in the shape of w, for a number dpenalty; where w is 0 it is 0."""
    w, strength = cache
    slope = check.factor(check.scalar("dpenalty", dpenalty) * strength, w.dtype)
    return np.asarray(slope * np.sign(w), w.dtype)              # eq. 8.4, sign(0) = 0


def l2_penalty(w, strength):
    """Half the sum of squares, Krogh and Hertz (1991).

    Parameters
    ----------
    w : ndarray of any shape, floating
    strength : float, at least 0

    Returns
    -------
    penalty : scalar in the dtype of w: strength / 2 * sum w^2
    cache : for `l2_penalty_backward`
    """
    w, strength = check.penalty(w, strength)
    return w.dtype.type(0.5 * strength * np.square(w, dtype=np.float64).sum()), (w, strength)     # eq. 8.3


def l2_penalty_backward(dpenalty, cache):
    """Gradient dw = strength * w, in the shape of w, for a number dpenalty."""
    w, strength = cache
    slope = check.factor(check.scalar("dpenalty", dpenalty) * strength, w.dtype)
    return np.asarray(slope * w, w.dtype)                       # eq. 8.3


def soft_threshold(w, threshold):
    """The proximal step of the L1 penalty: each entry moved towards 0, and not across.

    Parameters
    ----------
    w : ndarray of any shape, floating
    threshold : float, at least 0; lr * strength after a step of gradient descent

    Returns
    -------
    out : ndarray of the shape of w
    """
    w, threshold = check.floats("w", w), check.nonnegative("threshold", threshold)
    u = check.wide(w)
    return np.asarray(np.sign(u) * np.maximum(np.abs(u) - threshold, 0), w.dtype)   # eq. 8.6


def weights_of(parameters):
    """The parameters that a penalty, a decay or a bound is meant for: not biases, not gains.

    Parameters
    ----------
    parameters : iterable of objects with `.data`, arrays of floats

    Returns
    -------
    weights : list of those whose data have two axes or more, such as (in, out)
    """
    parameters = check.parameters(parameters)
    return [p for p in parameters if p.data.ndim > 1]


def decay_weights(parameters, lr, weight_decay):
    """Decoupled weight decay, Loshchilov and Hutter (2019); call it just before `step()`.

    Parameters
    ----------
    parameters : iterable of objects with `.data`; only `weights_of` them are changed, in place
    lr : float, the optimiser's learning rate, positive
    weight_decay : float, from 0 to 1 / lr
    """
    factor = check.decay(lr, weight_decay)
    for parameter in weights_of(parameters):
        parameter.data *= factor                                # eq. 8.9


def max_norm(parameters, limit, axis=0):
    """Bound the length of each unit's incoming weights, Srivastava et al. (2014); after `step()`.

    Parameters
    ----------
    parameters : iterable of objects with `.data`; only `weights_of` them are changed, in place
    limit : float, positive
    axis : int or tuple of ints, the axes of a unit's inputs: 0 for (in, out)
    """
    weights, limit, axis = check.bound(parameters, limit, axis)
    for parameter in weights:
        squares = np.square(parameter.data, dtype=np.float64)   # (in, out)
        length = np.sqrt(squares.sum(axis=axis, keepdims=True)) # (1, out)
        parameter.data *= limit / np.maximum(length, limit)     # eq. 8.22


def dropout(x, p, rng, training=True):
    """Inverted dropout, Srivastava et al. (2014).

    Parameters
    ----------
    x : ndarray of any shape, floating
    p : float, the probability of dropping an entry, from 0 to 1
    rng : numpy.random.Generator; not touched, and may be None, where nothing is dropped
    training : bool; if False the output is x

    Returns
    -------
    out : ndarray of the shape and dtype of x; x itself if not training or p is 0
    cache : for `dropout_backward`; holds the mask
    """
    x, p = check.noisy(x, p, rng, training)
    if not training or p == 0:
        return x, (None, 1.0, x.shape)
    keep = np.asarray(rng.random(x.shape, dtype=np.float32) >= p)       # bool, the shape of x
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    out = np.asarray(x * keep)
    out *= check.factor(scale, x.dtype)                         # eq. 8.10
    return out, (keep, scale, x.shape)


def dropout_backward(dout, cache):
    """Gradient dx for dout, both in the shape of x; dout itself where nothing was dropped."""
    keep, scale, shape = cache
    dout = check.floats("dout", dout, shape)
    if keep is None:
        return dout
    dx = np.asarray(dout * keep)
    dx *= check.factor(scale, dx.dtype)                         # eq. 8.14
    return dx


def label_smoothing_cross_entropy(logits, y, smoothing):
    """Mean cross-entropy against smoothed classes, Szegedy et al. (2016), section 7.

    Parameters
    ----------
    logits : ndarray of shape (N, K), or (..., K), finite
    y : integers of shape (N,), or (...), from 0 to K - 1
    smoothing : float, the weight of the uniform distribution, from 0 to 1

    Returns
    -------
    loss : scalar in the dtype of logits, the mean over the N rows, of which there must be one
    cache : for `label_smoothing_cross_entropy_backward`
    """
    logits, y, smoothing = check.smoothed(logits, y, smoothing)
    classes = logits.shape[-1]
    z = check.wide(logits.reshape(-1, classes))                 # (N, K)
    shifted = z - z.max(axis=-1, keepdims=True)                 # largest is 0
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    target = np.full_like(z, smoothing / classes)               # (N, K), eq. 8.16
    target[np.arange(len(z)), y.reshape(-1)] += 1 - smoothing
    loss = -(target * log_p).sum(axis=-1).mean()                # eq. 8.17
    return logits.dtype.type(loss), (np.exp(log_p), target, logits)


def label_smoothing_cross_entropy_backward(dloss, cache):
    """Gradient dlogits of shape (N, K), or (..., K), for a number dloss."""
    p, target, logits = cache
    share = check.scalar("dloss", dloss) / len(p)
    dlogits = (share * (p - target)).reshape(logits.shape)      # eq. 8.20
    return dlogits.astype(logits.dtype, copy=False)


class Dropout(Module):
    """`dropout` as a layer: noise after `train()`, nothing after `eval()`; p and rng as there."""

    def __init__(self, p, rng):
        self.p, self.rng = check.probability("p", p), check.generator("rng", rng)

    def forward(self, x):
        """x (...) to an array of the same shape; a new mask at every call."""
        out, self.cache = dropout(x, self.p, self.rng, self.training)
        return out

    def backward(self, dout):
        """dout (...) to dx of the same shape."""
        return dropout_backward(dout, self.kept())


class LabelSmoothingLoss(Module):
    """`label_smoothing_cross_entropy` as a loss for `Engine`; smoothing is a float from 0 to 1."""

    def __init__(self, smoothing):
        self.smoothing = check.probability("smoothing", smoothing)

    def forward(self, pred, target):
        """The loss, a float, of logits pred (..., K) and classes target (...)."""
        loss, self.cache = label_smoothing_cross_entropy(pred, target, self.smoothing)
        return float(loss)

    def backward(self):
        """The gradient of the loss: dpred (..., K)."""
        return label_smoothing_cross_entropy_backward(1.0, self.kept())


class EarlyStopping:
    """Keeps the best state; says when `patience` updates brought no better one. Prechelt (1998).

    Parameters
    ----------
    patience : int, at least 1
    min_delta : float, at least 0; a value is better if it is below the best by more than this

    Attributes
    ----------
    best : float, the best value; inf before there is one
    best_step : int, the number of its update, from 0; None before there is one
    state : dict of copies of the arrays that came with it, or None
    stopped : bool
    """

    def __init__(self, patience, min_delta=0.0):
        self.patience = check.count("patience", patience)
        self.min_delta = check.nonnegative("min_delta", min_delta)
        self.best, self.best_step, self.state = math.inf, None, None
        self.steps = self.waited = 0

    @property
    def stopped(self):
        """Whether the end was reached."""
        return self.waited >= self.patience

    def update(self, value, state=None):
        """Take a value, the lower the better, and arrays to copy if it is the best.

        state is a dict of ndarrays of any shapes and of numbers, or None. True, for good, if training should stop.
        """
        value = check.number("value", value)
        if self.stopped:
            return True
        if value < self.best - self.min_delta:
            self.best, self.best_step, self.waited = value, self.steps, 0
            self.state = None if state is None else {k: np.array(v) for k, v in state.items()}
        else:
            self.waited += 1
        self.steps += 1
        return self.stopped
