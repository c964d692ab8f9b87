# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:6d6de1e9e404d880
"""The forward pass of an MLP, level 1: loops over single numbers. Shapes as in level 2."""

import math

import numpy as np

import tangled.t05_mlp_forward.checks as check


def linear(x, W, b=None):
    """x (..., in) times W (in, out) plus b (out,): out (..., out), and (x, W, b)."""
    x, W, b = check.layer(x, W, b)
    rows = x.reshape(math.prod(x.shape[:-1]), W.shape[0])
    out = np.empty((len(rows), W.shape[1]), x.dtype)
    for n, j in np.ndindex(out.shape):
        z = float(b[j]) if b is not None else 0.0
        for i in range(W.shape[0]):
            z += float(rows[n, i]) * float(W[i, j])             # eq. 5.1
        out[n, j] = z
    return out.reshape(*x.shape[:-1], W.shape[1]), (x, W, b)


def relu(x):
    """max(x, 0) of every entry, any shape; the cache is the output."""
    x = check.floats("x", x)
    out = x.copy()
    for where in np.ndindex(x.shape):
        if x[where] <= 0:                                       # eq. 5.2; false for NaN
            out[where] = 0
    return out, out


def mlp_forward(x, parameters):
    """x (N, d_0) through pairs (W, b) with ReLU between them: out (N, d_L)."""
    cache, layers = [], check.network(parameters)
    for k, (W, b) in enumerate(layers):                         # eq. 5.3
        x, of_linear = linear(x, W, b)
        x, of_relu = relu(x) if k < len(layers) - 1 else (x, None)
        cache.append((of_linear, of_relu))
    return x, cache


def softmax_cross_entropy(logits, y):
    """Mean of -log softmax(logits)[y], logits (..., K) and y (...); the cache is (p, y)."""
    logits, y = check.classes(logits, y)
    rows, total = logits.reshape(-1, logits.shape[-1]), 0.0     # (N, K)
    p = np.empty(rows.shape, rows.dtype)                        # (N, K), whatever logits' layout
    for n, (row, k) in enumerate(zip(rows.tolist(), y.reshape(-1).tolist())):
        largest = math.nan if any(map(math.isnan, row)) else max(row)
        powers = [math.exp(z - largest) for z in row]           # eq. 5.6
        log_sum = math.log(sum(powers))
        total -= (row[k] - largest) - log_sum                   # eq. 5.7
        p[n] = [power / sum(powers) for power in powers]
    return logits.dtype.type(total / y.size), (p.reshape(logits.shape), y)    # eq. 5.5


def mse(pred, target):
    """Mean of (pred - target)^2 over all entries, any shape; cache: the difference."""
    pred, target = check.errors(pred, target)
    difference, total = np.empty_like(pred), 0.0
    for where in np.ndindex(pred.shape):
        difference[where] = pred[where] - target[where]
        total += float(difference[where]) ** 2                  # eq. 5.8
    return pred.dtype.type(total / pred.size), difference


def xavier_uniform(rng, shape, gain=1.0):
    """Weights (in, out), float32, uniform, of variance gain^2 * 2 / (in + out)."""
    n_in, n_out = check.initial(rng, shape, gain)
    bound = gain * math.sqrt(6.0 / (n_in + n_out))              # eq. 5.16, eq. 5.17
    return _draw(shape, lambda: rng.uniform(-bound, bound))


def xavier_normal(rng, shape, gain=1.0):
    """Weights (in, out), float32, normal, of variance gain^2 * 2 / (in + out)."""
    n_in, n_out = check.initial(rng, shape, gain)
    deviation = gain * math.sqrt(2.0 / (n_in + n_out))          # eq. 5.16
    return _draw(shape, lambda: rng.normal(0.0, deviation))


def kaiming_uniform(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32, uniform, of variance gain^2 / fan."""
    n_in, n_out = check.initial(rng, shape, gain, mode)
    fan = n_in if mode == "fan_in" else n_out
    bound = gain * math.sqrt(3.0 / fan)                         # eq. 5.13, eq. 5.17
    return _draw(shape, lambda: rng.uniform(-bound, bound))


def kaiming_normal(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32, normal, of variance gain^2 / fan."""
    n_in, n_out = check.initial(rng, shape, gain, mode)
    fan = n_in if mode == "fan_in" else n_out
    return _draw(shape, lambda: rng.normal(0.0, gain / math.sqrt(fan)))   # eq. 5.13


def _draw(shape, one):
    """An array of that shape, float32, filled by calls of one()."""
    weights = np.empty(shape, np.float32)
    for where in np.ndindex(weights.shape):
        weights[where] = one()
    return weights
