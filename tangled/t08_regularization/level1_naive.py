# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:87f67b5d5ce83593
"""Regularisation, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t08_regularization.checks as check


def l1_penalty(w, strength):
    """strength * sum |w| of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    total = 0.0
    for index in np.ndindex(w.shape):
        total += abs(float(w[index]))                           # eq. 8.4
    return w.dtype.type(strength * total), (w, strength)


def l1_penalty_backward(dpenalty, cache):
    """Gradient dw (...): strength with the sign of w, 0 where w is 0."""
    w, strength = cache
    dw = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        sign = float(np.sign(w[index]))                         # 0 at 0; NaN stays
        dw[index] = check.scalar("dpenalty", dpenalty) * strength * sign
    return dw


def l2_penalty(w, strength):
    """strength / 2 * sum w^2 of w (...): a scalar."""
    w, strength = check.penalty(w, strength)
    total = 0.0
    for index in np.ndindex(w.shape):
        total += float(w[index]) ** 2                           # eq. 8.3
    return w.dtype.type(0.5 * strength * total), (w, strength)


def l2_penalty_backward(dpenalty, cache):
    """Gradient dw (...): strength * w."""
    w, strength = cache
    dw = np.empty_like(w)
    for index in np.ndindex(w.shape):
        dw[index] = check.scalar("dpenalty", dpenalty) * strength * float(w[index])
    return dw


def soft_threshold(w, threshold):
    """w (...) moved by threshold towards 0, and not across."""
    w, threshold = check.floats("w", w), check.nonnegative("threshold", threshold)
    out = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        if not abs(w[index]) <= threshold:                      # eq. 8.6; NaN stays
            out[index] = float(w[index]) - math.copysign(threshold, w[index])
    return out


def weights_of(parameters):
    """Those parameters whose data have two axes or more."""
    return [p for p in check.parameters(parameters) if p.data.ndim > 1]


def decay_weights(parameters, lr, weight_decay):
    """Multiply the weights, in place, by 1 - lr * weight_decay."""
    factor = check.decay(lr, weight_decay)
    for parameter in weights_of(parameters):
        for index in np.ndindex(parameter.data.shape):
            parameter.data[index] *= factor                     # eq. 8.9


def max_norm(parameters, limit, axis=0):
    """Scale down, in place, units whose weights along `axis` are longer than limit."""
    weights, limit, axes = check.bound(parameters, limit, axis)
    for parameter in weights:
        units = np.moveaxis(parameter.data, axes, range(-len(axes), 0))   # (units..., in...)
        for unit in np.ndindex(units.shape[:units.ndim - len(axes)]):
            length = math.sqrt(sum(float(w) ** 2 for w in units[unit].flat))
            for i in np.ndindex(units[unit].shape):
                units[unit][i] *= limit / max(length, limit)    # eq. 8.22


def dropout(x, p, rng, training=True):
    """x (...) with entries dropped with probability p and the others divided by 1 - p."""
    x, p = check.noisy(x, p, rng, training)
    if not training or p == 0:
        return x, (None, 1.0, x.shape)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    out, keep = np.zeros(x.shape, x.dtype), np.zeros(x.shape, bool)
    for index in np.ndindex(x.shape):
        keep[index] = rng.random() >= p
        out[index] = float(x[index]) * (scale if keep[index] else 0.0)      # eq. 8.10
    return out, (keep, scale, x.shape)


def dropout_backward(dout, cache):
    """Gradient dx (...), through the mask of the forward pass."""
    keep, scale, shape = cache
    dout = check.floats("dout", dout, shape)
    if keep is None:
        return dout
    dx = np.zeros(shape, dout.dtype)
    for index in np.ndindex(shape):
        dx[index] = float(dout[index]) * (scale if keep[index] else 0.0)    # eq. 8.14
    return dx


def _softmax(z):
    """Logarithms of the softmax of a list of K floats, another list."""
    largest = max(z)
    lse = largest + math.log(sum(math.exp(v - largest) for v in z))
    return [v - lse for v in z]


def label_smoothing_cross_entropy(logits, y, smoothing):
    """Mean loss of logits (N, K) against smoothed classes y (N,)."""
    logits, y, smoothing = check.smoothed(logits, y, smoothing)
    total, classes = 0.0, logits.shape[-1]
    for n in np.ndindex(y.shape):
        log_p = _softmax(logits[n].tolist())
        for k in range(classes):
            q = (1 - smoothing) * (k == y[n]) + smoothing / classes       # eq. 8.16
            total -= q * log_p[k]                               # eq. 8.17
    return logits.dtype.type(total / y.size), (logits, y, smoothing)


def label_smoothing_cross_entropy_backward(dloss, cache):
    """Gradient dlogits (N, K)."""
    logits, y, smoothing = cache
    share = check.scalar("dloss", dloss) / y.size
    dlogits, classes = np.empty_like(logits), logits.shape[-1]
    for n in np.ndindex(y.shape):
        log_p = _softmax(logits[n].tolist())
        for k in range(classes):
            q = (1 - smoothing) * (k == y[n]) + smoothing / classes
            dlogits[n][k] = share * (math.exp(log_p[k]) - q)    # eq. 8.20
    return dlogits


class EarlyStopping:
    """Keeps the best state; says when there was no better one for `patience` updates."""

    def __init__(self, patience, min_delta=0.0):
        self.patience = check.count("patience", patience)
        self.min_delta = check.nonnegative("min_delta", min_delta)
        self.history = []                                       # all values and copies of states

    def _read(self):
        """(index of the best value or None, whether stopped) from the whole history."""
        best, waited = None, 0
        for i, (value, _) in enumerate(self.history):
            so_far = math.inf if best is None else self.history[best][0]
            better = value < so_far - self.min_delta
            best, waited = (i, 0) if better else (best, waited + 1)
        return best, waited >= self.patience

    def update(self, value, state=None):
        """Take a value, and a dict of arrays; True if training should stop."""
        value = check.number("value", value)
        if not self._read()[1]:
            copied = None if state is None else {k: np.array(v) for k, v in state.items()}
            self.history.append((value, copied))
        return self._read()[1]

    @property
    def best(self):
        """The best value, inf before there is one."""
        return math.inf if self.best_step is None else self.history[self.best_step][0]

    @property
    def best_step(self):
        """The number of the update with the best value, from 0; None before there is one."""
        return self._read()[0]

    @property
    def state(self):
        """The copy of the state that came with the best value."""
        return None if self.best_step is None else self.history[self.best_step][1]

    @property
    def stopped(self):
        """Whether the end was reached."""
        return self._read()[1]
