# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:1948e7be3356c4d6
"""The forward pass of an MLP, level 3: into arrays that exist. Shapes as in level 2.

`out=` is an array in the shape and dtype of the result. Where said, it may be the input.
"""

import math

import numpy as np

import tangled.t05_mlp_forward.checks as check


def linear(x, W, b=None, out=None):
    """x (..., in) times W (in, out) plus b (out,), into `out`; cache (x, W, b)."""
    x, W, b = check.layer(x, W, b)
    if out is not None:
        out = check.room(out, (*x.shape[:-1], W.shape[1]), x.dtype)
    out = np.matmul(x, W, out=out)
    if b is not None:
        out += b                                                # eq. 5.1
    return out, (x, W, b)


def relu(x, out=None):
    """max(x, 0), any shape, into `out`, which may be x; the cache is the output."""
    x = check.floats("x", x)
    out = np.maximum(x, 0, out=check.room(out, x.shape, x.dtype))         # eq. 5.2
    return out, out


def mlp_forward(x, parameters, keep=True):
    """x (N, d_0) through pairs (W, b), ReLU in place: out (N, d_L), and the caches.

    With keep=False the cache is None, and there are never more than two arrays.
    """
    cache, layers = [], check.network(parameters)
    for k, (W, b) in enumerate(layers):                         # eq. 5.3
        x, of_linear = linear(x, W, b)
        hidden = k < len(layers) - 1
        if hidden:
            np.maximum(x, 0, out=x)                             # eq. 5.2
        if keep:
            cache.append((of_linear, x if hidden else None))
        del of_linear                       # and with it, unless it is kept, the layer's input
    return x, cache if keep else None


BLOCK = 2 ** 15                     # numbers worked on at a time: 128 KB of float32
LOG2_E = 1.0 / math.log(2.0)


def softmax_cross_entropy(logits, y, out=None):
    """Mean of -log softmax(logits)[y], for logits (..., K) and y (...).

    The cache is (p, y), with the probabilities p in `out`, which may be logits.
    """
    logits, y = check.classes(logits, y)
    out = check.room(out, logits.shape, logits.dtype)
    if out is not logits and np.may_share_memory(out, logits):
        logits = logits.copy()
    p = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
    z, q, classes = (a.reshape(y.size, -1) for a in (logits, p, y))      # (N, K) twice, (N, 1)
    step, total = max(1, BLOCK // z.shape[1]), 0.0
    for start in range(0, y.size, step):
        rows = slice(start, start + step)
        total += _loss_of_rows(z[rows], classes[rows, 0], q[rows])
    if p is not out:
        out[...] = p
    return logits.dtype.type(total / y.size), (out, y)          # eq. 5.5


def _loss_of_rows(z, classes, p):
    """Sum of the losses of logits z (n, K) and classes (n,); probabilities into p (n, K)."""
    largest = z.max()
    if not largest - z.min() < 32:                              # NaN and infinities, too
        largest = z.max(axis=-1, keepdims=True)
    same = p.dtype != np.float16
    q = np.subtract(z, largest, out=p if same else None, dtype=None if same else np.float32)
    of_class = q[np.arange(len(q)), classes]                    # (n,), the true class
    np.exp2(np.multiply(q, LOG2_E, out=q), out=q)               # eq. 5.6
    sums = q.dot(np.ones(q.shape[1], q.dtype))                  # (n,)
    np.multiply(q, (1 / sums)[:, None], out=p, casting="same_kind")
    return float((np.log(sums) - of_class).sum())               # eq. 5.7


def mse(pred, target, out=None):
    """Mean of (pred - target)^2, any shape; the cache, the difference, is `out`."""
    pred, target = check.errors(pred, target)
    difference = np.subtract(pred, target, out=check.room(out, pred.shape, pred.dtype))
    flat = check.wide(difference.reshape(-1))
    return pred.dtype.type(flat @ flat / flat.size), difference           # eq. 5.8


def xavier_uniform(rng, shape, gain=1.0):
    """Weights (in, out), float32, uniform, of variance gain^2 * 2 / (in + out)."""
    shape = check.initial(rng, shape, gain)
    return _uniform(rng, shape, gain * math.sqrt(2.0 / sum(shape)))       # eq. 5.16


def xavier_normal(rng, shape, gain=1.0):
    """Weights (in, out), float32, normal, of variance gain^2 * 2 / (in + out)."""
    shape = check.initial(rng, shape, gain)
    return _normal(rng, shape, gain * math.sqrt(2.0 / sum(shape)))        # eq. 5.16


def kaiming_uniform(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32, uniform, of variance gain^2 / fan."""
    shape = check.initial(rng, shape, gain, mode)
    return _uniform(rng, shape, gain / math.sqrt(shape[mode == "fan_out"]))    # eq. 5.13


def kaiming_normal(rng, shape, gain=2.0 ** 0.5, mode="fan_in"):
    """Weights (in, out), float32, normal, of variance gain^2 / fan."""
    shape = check.initial(rng, shape, gain, mode)
    return _normal(rng, shape, gain / math.sqrt(shape[mode == "fan_out"]))     # eq. 5.13


def _uniform(rng, shape, deviation):
    """Uniform numbers around 0, in place: `shape`, float32."""
    bound = math.sqrt(3.0) * deviation                          # eq. 5.17
    weights = rng.random(shape, dtype=np.float32)
    weights *= 2.0 * bound
    weights -= bound
    return weights


def _normal(rng, shape, deviation):
    """Normal numbers around 0, in place: `shape`, float32."""
    weights = rng.standard_normal(shape, dtype=np.float32)
    weights *= deviation
    return weights
