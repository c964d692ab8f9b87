# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:ba0d14e5edb773fe
"""Batches of unequal lengths, level 3: packed steps, and only real rows of logits."""

import numpy as np

import tangled.t21_bidirectional_masking.checks as check
from tangled.t21_bidirectional_masking.level2_vectorized import (
    Bidirectional,
    bucket_batches,
    last_outputs,
    last_outputs_backward,
    lengths_to_mask,
    pack,
    unpack,
)

__all__ = ["Bidirectional", "bucket_batches", "last_outputs", "last_outputs_backward", "lengths_to_mask",
           "masked_cross_entropy", "masked_cross_entropy_backward", "masked_mean", "masked_mean_backward", "masked_rnn",
           "masked_rnn_backward", "pack", "pad", "reverse_sequences", "unpack", "unpad"]


def pad(sequences, value=0, T=None):
    """As level 2, row by row into the result."""
    arrays = check.sequences(sequences)
    lengths = np.array([len(a) for a in arrays], np.int64)
    x = np.empty((len(arrays), check.width(T, lengths.max()), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(x, arrays):
        row[:len(array)] = array
        row[len(array):] = value
    return x, lengths


def unpad(x, lengths):
    """As level 2, but views: nothing is copied."""
    x = check.batch("x", x)
    return [x[b, :n] for b, n in enumerate(check.lengths(lengths, *x.shape[:2]))]


def reverse_sequences(x, lengths):
    """As level 2, by a view that runs backwards, without an array of positions."""
    x = check.batch("x", x)
    out = x.copy()
    for b, n in enumerate(check.lengths(lengths, *x.shape[:2])):
        out[b, :n] = x[b, :n][::-1]
    return out


def masked_rnn(x, lengths, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """As level 2, on the N real steps only."""
    x, h0, w_ih, w_hh, b_ih, b_hh = check.weights(
        x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    lengths = check.lengths(lengths, *x.shape[:2])
    (B, T, _), H, work = x.shape, h0.shape[1], check.working(x.dtype)
    steps, sizes, order = pack(x, lengths)                      # (N, D)
    steps = steps.astype(work, copy=False)
    states = np.empty((B + len(steps), H), work)                # h_0 of all, then each step's n_t
    states[:B] = h0[order]
    np.matmul(steps, w_ih.astype(work, copy=False), out=states[B:])
    for b in (b_ih, b_hh):
        if b is not None:
            states[B:] += b
    recurrent, W = np.empty((B, H), work), w_hh.astype(work, copy=False)
    before, here = 0, B
    for n in sizes:
        a = states[here:here + n]
        a += np.matmul(states[before:before + n], W, out=recurrent[:n])     # the first n have gone on
        np.tanh(a, out=a) if nonlinearity == "tanh" else np.maximum(a, 0, out=a)
        before, here = here, here + n
    out = unpack(states[B:], sizes, order, T).astype(x.dtype, copy=False)
    h_T = np.empty((B, H), x.dtype)
    starts = np.concatenate([[0, B], B + np.cumsum(sizes)])[:-1]            # of block t; block 0 is h_0
    h_T[order] = states[starts[lengths[order]] + np.arange(B)]
    given = b_ih is not None, b_hh is not None
    return (out, h_T), (steps, states, lengths, sizes, order, starts, w_ih, w_hh, given,
                        nonlinearity, x.shape, x.dtype)


def masked_rnn_backward(dout, dh_T, cache):
    """As level 2, on the N real steps only."""
    (steps, states, lengths, sizes, order, starts, w_ih, w_hh, given,
     nonlinearity, shape, dtype) = cache
    (B, T, _), H, work = shape, w_hh.shape[0], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    da, _, _ = pack(dout, lengths)                              # (N, H), ours to write to
    ds = np.zeros((B, H), work)
    if dh_T is not None:
        ds[...] = check.gradient("dh_T", dh_T, (B, H), work)[order]
    W, spare = np.ascontiguousarray(w_hh.T, work), np.empty((B, H), work)
    for t in reversed(range(len(sizes))):
        n, here = sizes[t], starts[t + 1]
        g, h, s = da[here - B:here - B + n], states[here:here + n], spare[:n]
        g += ds[:n]                                             # eq. 21.2; the others wait
        if nonlinearity == "tanh":
            np.multiply(h, h, out=s)
            np.subtract(1, s, out=s)
            g *= s
        else:
            g[h <= 0] = 0
        np.matmul(g, W, out=ds[:n])
    earlier = np.repeat(starts[:-1] - np.concatenate([[0], np.cumsum(sizes)[:-1]])[:len(sizes)], sizes)
    earlier += np.arange(len(da))                                   # (N,): where each step's old state is
    grads = [steps.T @ da, states[earlier].T @ da]
    grads += [da.sum(axis=0) for _ in range(sum(given))]
    dh0 = np.empty((B, H), dtype)
    dh0[order] = ds
    dx = unpack(da @ w_ih.T.astype(work, copy=False), sizes, order, T)
    return tuple(grad.astype(dtype, copy=False) for grad in (dx, dh0, *grads))


def masked_mean(x, mask):
    """As level 2; `where=` adds up without a copy of x."""
    x = check.floats("x", x, ("B", "T", "D"))
    mask = check.mask(mask, x.shape[:2]).copy()
    work = check.working(x.dtype)
    count = mask.sum(axis=1, keepdims=True).astype(work)
    mean = np.add.reduce(x, axis=1, dtype=work, where=mask[..., None])      # eq. 21.5
    mean /= np.maximum(count, 1)
    return mean.astype(x.dtype, copy=False), (mask, count, x.dtype)


def masked_mean_backward(dmean, cache):
    """As level 2, into the result."""
    mask, count, dtype = cache
    dmean = check.floats("dmean", dmean, (len(mask), "D"))
    dx = np.zeros((*mask.shape, dmean.shape[1]), dtype)
    share = dmean.astype(check.working(dtype)) / np.maximum(count, 1)
    np.copyto(dx, share[:, None], where=mask[..., None], casting="same_kind")
    return dx


def masked_cross_entropy(logits, targets, mask):
    """As level 2; the N real rows become their own gradient."""
    logits = check.floats("logits", logits, ("B", "T", "V"))
    mask = check.mask(mask, logits.shape[:2]).copy()
    targets = check.targets(targets, mask, logits.shape[2])[mask]           # (N,)
    z = logits[mask].astype(check.working(logits.dtype), copy=False)        # (N, V), a copy
    rows, N = np.arange(len(z)), max(len(z), 1)
    z -= z.max(axis=1, keepdims=True, initial=-np.inf)
    picked = z[rows, targets]
    np.exp(z, out=z)
    sums = z.sum(axis=1, keepdims=True)
    loss = (np.log(sums).sum() - picked.sum()) / N
    z /= sums
    z[rows, targets] -= 1                                       # eq. 21.6
    z /= N
    return logits.dtype.type(loss), (z, mask, logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """As level 2; the only array (B, T, V) is the result."""
    z, mask, dtype = cache
    dlogits = np.zeros((*mask.shape, z.shape[1]), dtype)
    dlogits[mask] = z * check.dloss(dloss)
    return dlogits
