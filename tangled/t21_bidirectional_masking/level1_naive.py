# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:f9cf1150e323ae84
"""Batches of unequal lengths, level 1: one sequence after the other. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t21_bidirectional_masking.checks as check
from tangled.t18_rnn.level1_naive import rnn, rnn_backward
from tangled.t21_bidirectional_masking.level2_vectorized import bucket_batches  # noqa: F401, numbers of rows only


def lengths_to_mask(lengths, T=None):
    """lengths (B,): mask (B, T)."""
    lengths = check.lengths(lengths)
    T = check.width(T, lengths.max(initial=0))
    mask = np.zeros((len(lengths), T), bool)
    for b, t in np.ndindex(*mask.shape):
        mask[b, t] = t < lengths[b]
    return mask


def pad(sequences, value=0, T=None):
    """A list of arrays (l, ...): x (B, T, ...), lengths (B,)."""
    arrays = check.sequences(sequences)
    lengths = np.array([len(a) for a in arrays])
    T = check.width(T, lengths.max())
    x = np.empty((len(arrays), T, *arrays[0].shape[1:]), arrays[0].dtype)
    for b, t in np.ndindex(len(arrays), T):
        x[b, t] = arrays[b][t] if t < lengths[b] else value
    return x, lengths


def unpad(x, lengths):
    """x (B, T, ...): a list of copies (l, ...)."""
    x = check.batch("x", x)
    return [x[b, :n].copy() for b, n in enumerate(check.lengths(lengths, *x.shape[:2]))]


def pack(x, lengths):
    """x (B, T, ...): data (N, ...), sizes (longest,), order (B,)."""
    x = check.batch("x", x)
    lengths = check.lengths(lengths, *x.shape[:2])
    order = sorted(range(len(x)), key=lambda b: -lengths[b])    # stable: equal lengths stay in their order
    steps, sizes = [], []
    for t in range(lengths.max(initial=0)):
        rows = [b for b in order if lengths[b] > t]             # eq. 21.7
        steps += [x[b, t] for b in rows]
        sizes.append(len(rows))
    data = np.array(steps, x.dtype).reshape(len(steps), *x.shape[2:])
    return data, np.array(sizes, np.int64), np.array(order, np.int64)


def unpack(data, sizes, order, T=None):
    """data (N, ...), sizes (longest,), order (B,): x (B, T, ...)."""
    data, sizes, order = check.packed(data, sizes, order)
    x = np.zeros((len(order), check.width(T, len(sizes)), *data.shape[1:]), data.dtype)
    place = 0
    for t, n in enumerate(sizes):
        for k in range(n):
            x[order[k], t] = data[place]
            place += 1
    return x


def last_outputs(out, lengths):
    """out (B, T, H): (B, H), and a cache."""
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths(lengths, *out.shape[:2])
    last = np.zeros((len(out), out.shape[2]), out.dtype)
    for b, n in enumerate(lengths):
        if n:
            last[b] = out[b, n - 1]
    return last, (lengths, out.shape, out.dtype)


def last_outputs_backward(dlast, cache):
    """dlast (B, H): dout (B, T, H)."""
    lengths, shape, dtype = cache
    dlast = check.gradient("dlast", dlast, (shape[0], shape[2]), dtype)
    dout = np.zeros(shape, dtype)
    for b, n in enumerate(lengths):
        if n:
            dout[b, n - 1] = dlast[b]
    return dout


def masked_mean(x, mask):
    """x (B, T, D), mask (B, T): (B, D), and a cache."""
    x = check.floats("x", x, ("B", "T", "D"))
    mask = check.mask(mask, x.shape[:2]).copy()
    mean = np.zeros((len(x), x.shape[2]), x.dtype)
    for b, d in np.ndindex(*mean.shape):
        real = [float(x[b, t, d]) for t in range(x.shape[1]) if mask[b, t]]
        mean[b, d] = sum(real) / max(len(real), 1)              # eq. 21.5
    return mean, (mask, x.dtype)


def masked_mean_backward(dmean, cache):
    """dmean (B, D): dx (B, T, D)."""
    mask, dtype = cache
    dmean = check.floats("dmean", dmean, (len(mask), "D"))
    dx = np.zeros((*mask.shape, dmean.shape[1]), dtype)
    for b, t in np.ndindex(*mask.shape):
        if mask[b, t]:
            dx[b, t] = dmean[b].astype(float) / mask[b].sum()
    return dx


def masked_cross_entropy(logits, targets, mask):
    """logits (B, T, V), targets (B, T), mask (B, T): a number, and a cache."""
    logits = check.floats("logits", logits, ("B", "T", "V"))
    mask = check.mask(mask, logits.shape[:2]).copy()
    targets = check.targets(targets, mask, logits.shape[2])
    N, total, grad = max(int(mask.sum()), 1), 0.0, np.zeros(logits.shape)
    for b, t in np.ndindex(*mask.shape):
        if mask[b, t]:
            z = [float(v) for v in logits[b, t]]
            top = max(z)
            log_sum = top + math.log(sum(math.exp(v - top) for v in z)) if top == top else top
            total += log_sum - z[targets[b, t]]
            grad[b, t] = [math.exp(v - log_sum) / N for v in z]             # eq. 21.6
            grad[b, t, targets[b, t]] -= 1 / N
    return logits.dtype.type(total / N), (grad, logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """dloss, a number: dlogits (B, T, V)."""
    grad, dtype = cache
    return (check.dloss(dloss) * grad).astype(dtype)


def masked_rnn(x, lengths, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """x (B, T, D), lengths (B,), h0 (B, H): (out (B, T, H), h_T (B, H)), and a cache."""
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    lengths = check.lengths(lengths, *x.shape[:2])
    out, h_T, caches = np.zeros((*x.shape[:2], h0.shape[1]), x.dtype), np.empty_like(h0), []
    for b, n in enumerate(lengths):
        alone = x[b:b + 1, :n], h0[b:b + 1]
        (out[b:b + 1, :n], h_T[b:b + 1]), cache = rnn(*alone, *parameters, nonlinearity)
        caches.append(cache)
    shapes = [p.shape for p in parameters if p is not None]
    return (out, h_T), (caches, lengths, x.shape, h0.shape, shapes, x.dtype)


def masked_rnn_backward(dout, dh_T, cache):
    """dout (B, T, H), dh_T (B, H) or None: dx (B, T, D), dh0 (B, H), and of the weights given."""
    caches, lengths, shape, of_state, shapes, dtype = cache
    dout = check.gradient("dout", dout, (*shape[:2], of_state[1]), dtype)
    dh_T = np.zeros(of_state, dtype) if dh_T is None else check.gradient("dh_T", dh_T, of_state, dtype)
    dx, dh0, totals = np.zeros(shape, dtype), np.zeros(of_state, dtype), [np.zeros(s) for s in shapes]
    for b, n in enumerate(lengths):
        dx[b:b + 1, :n], dh0[b:b + 1], *grads = rnn_backward(
            dout[b:b + 1, :n], dh_T[b:b + 1], caches[b])
        totals = [total + grad for total, grad in zip(totals, grads)]
    return dx, dh0, *(total.astype(dtype) for total in totals)


def reverse_sequences(x, lengths):
    """x (B, T, ...), lengths (B,): the same shape."""
    x = check.batch("x", x)
    out = x.copy()
    for b, n in enumerate(check.lengths(lengths, *x.shape[:2])):
        for t in range(n):
            out[b, t] = x[b, n - 1 - t]                         # eq. 21.3
    return out
