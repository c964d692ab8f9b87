# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:b50aa60b541020e5
"""Batches of unequal lengths, level 2: masks over whole arrays, and the bidirectional module."""

import numpy as np

import tangled.t21_bidirectional_masking.checks as check
from tangled.t06_backpropagation import Module
from tangled.t18_rnn import rnn_step, rnn_step_backward


def lengths_to_mask(lengths, T=None):
    """Which steps are real.

    Parameters
    ----------
    lengths : ndarray of shape (B,), integers from 0 to T
    T : int, the number of columns; None: the longest length

    Returns
    -------
    mask : ndarray of shape (B, T), bool
    """
    lengths = check.lengths(lengths)
    T = check.width(T, lengths.max(initial=0))
    return np.arange(T) < lengths[:, None]


def pad(sequences, value=0, T=None):
    """Fill sequences up to one length.

    Parameters
    ----------
    sequences : list of ndarrays of shapes (l, ...), one dtype, at least one of them
    value : number, what to fill up with
    T : int, the length; None: the longest

    Returns
    -------
    x : ndarray of shape (B, T, ...)
    lengths : ndarray of shape (B,), int64
    """
    arrays = check.sequences(sequences)
    lengths = np.array([len(a) for a in arrays], np.int64)
    T = check.width(T, lengths.max())
    x = np.full((len(arrays), T, *arrays[0].shape[1:]), value, arrays[0].dtype)
    x[lengths_to_mask(lengths, T)] = np.concatenate(arrays)
    return x, lengths


def unpad(x, lengths):
    """The sequences of a padded batch x (B, T, ...): a list of copies (l, ...)."""
    x = check.batch("x", x)
    return [x[b, :n].copy() for b, n in enumerate(check.lengths(lengths, *x.shape[:2]))]


def reverse_sequences(x, lengths):
    """Reverse the real steps of each row; its own inverse, and its own backward pass.

    Parameters
    ----------
    x : ndarray of shape (B, T, ...), any dtype
    lengths : ndarray of shape (B,), integers from 0 to T

    Returns
    -------
    out : ndarray of shape (B, T, ...), a copy; padding stays where it is
    """
    x = check.batch("x", x)
    lengths = check.lengths(lengths, *x.shape[:2])[:, None]     # (B, 1)
    t = np.arange(x.shape[1])
    positions = np.where(t < lengths, lengths - 1 - t, t)           # (B, T)   eq. 21.3
    return x[np.arange(len(x))[:, None], positions]


def pack(x, lengths):
    """The real steps alone, by time, sequences in order of their lengths, the longest first.

    Parameters
    ----------
    x : ndarray of shape (B, T, ...), any dtype
    lengths : ndarray of shape (B,), integers from 0 to T

    Returns
    -------
    data : ndarray of shape (N, ...), N the sum of the lengths
    sizes : ndarray of shape (longest,), int64: how many sequences have a step t; eq. 21.7
    order : ndarray of shape (B,), int64: order[k] is the row of the k-th sequence; equal lengths
        keep their order
    """
    x = check.batch("x", x)
    lengths = check.lengths(lengths, *x.shape[:2])
    order = np.argsort(-lengths, kind="stable")
    mask = lengths_to_mask(lengths[order])                      # (B, longest)
    data = x[order, :mask.shape[1]].swapaxes(0, 1)[mask.T]      # (N, ...)
    return data, mask.sum(axis=0), order


def unpack(data, sizes, order, T=None):
    """The padded batch of packed steps, zeros for padding; the adjoint of `pack`.

    Parameters
    ----------
    data : ndarray of shape (N, ...)
    sizes, order : ndarrays of shapes (longest,), (B,), as `pack` gives them
    T : int, the number of columns; None: the longest sequence

    Returns
    -------
    x : ndarray of shape (B, T, ...)
    """
    data, sizes, order = check.packed(data, sizes, order)
    T = check.width(T, len(sizes))
    steps = np.zeros((T, len(order), *data.shape[1:]), data.dtype)
    steps[:len(sizes)][np.arange(len(order)) < sizes[:, None]] = data
    x = np.empty((len(order), T, *data.shape[1:]), data.dtype)
    x[order] = steps.swapaxes(0, 1)
    return x


def last_outputs(out, lengths):
    """Each row's output at its last real step.

    Parameters
    ----------
    out : ndarray of shape (B, T, H), floating
    lengths : ndarray of shape (B,), integers from 0 to T

    Returns
    -------
    last : ndarray of shape (B, H); zeros for a length of 0
    cache : for `last_outputs_backward`
    """
    out = check.floats("out", out, ("B", "T", "H"))
    lengths = check.lengths(lengths, *out.shape[:2])
    rows = np.flatnonzero(lengths)                              # those that have a last step
    last = np.zeros((len(out), out.shape[2]), out.dtype)
    last[rows] = out[rows, lengths[rows] - 1]
    return last, (lengths, out.shape, out.dtype)


def last_outputs_backward(dlast, cache):
    """dlast (B, H) to dout (B, T, H), zero but at the last real steps."""
    lengths, shape, dtype = cache
    dlast = check.gradient("dlast", dlast, (shape[0], shape[2]), dtype)
    rows, dout = np.flatnonzero(lengths), np.zeros(shape, dtype)
    dout[rows, lengths[rows] - 1] = dlast[rows]
    return dout


def masked_mean(x, mask):
    """The mean over real steps.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating
    mask : ndarray of shape (B, T), bool

    Returns
    -------
    mean : ndarray of shape (B, D); zeros for a row without real steps
    cache : for `masked_mean_backward`
    """
    x = check.floats("x", x, ("B", "T", "D"))
    mask = check.mask(mask, x.shape[:2]).copy()
    count = mask.sum(axis=1, keepdims=True).astype(check.working(x.dtype))      # (B, 1)
    real = np.where(mask[..., None], x, 0)                          # (B, T, D)
    mean = real.sum(axis=1, dtype=check.working(x.dtype)) / np.maximum(count, 1)    # eq. 21.5
    return mean.astype(x.dtype), (mask, count, x.dtype)


def masked_mean_backward(dmean, cache):
    """dmean (B, D) to dx (B, T, D), zero at padding."""
    mask, count, dtype = cache
    dmean = check.floats("dmean", dmean, (len(mask), "D"))
    share = dmean.astype(check.working(dtype)) / np.maximum(count, 1)       # (B, D)
    return np.where(mask[..., None], share[:, None], 0).astype(dtype)


def masked_cross_entropy(logits, targets, mask):
    """Softmax cross-entropy, the mean over real steps.

    Parameters
    ----------
    logits : ndarray of shape (B, T, V), floating
    targets : ndarray of shape (B, T), integers below V at real steps, anything at padding
    mask : ndarray of shape (B, T), bool

    Returns
    -------
    loss : a number of the dtype of the logits, in nats; 0 if no step is real
    cache : for `masked_cross_entropy_backward`
    """
    logits = check.floats("logits", logits, ("B", "T", "V"))
    mask = check.mask(mask, logits.shape[:2]).copy()
    targets = check.targets(targets, mask, logits.shape[2])
    z = np.where(mask[..., None], logits, 0).astype(check.working(logits.dtype))
    z -= z.max(axis=-1, keepdims=True, initial=-np.inf)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]     # (B, T)
    N = max(int(mask.sum()), 1)
    loss = -np.where(mask, picked, 0).sum() / N
    return logits.dtype.type(loss), (log_p, targets, mask, N, logits.dtype)


def masked_cross_entropy_backward(dloss, cache):
    """dloss, a number, to dlogits (B, T, V), zero at padding."""
    log_p, targets, mask, N, dtype = cache
    grad = np.exp(log_p)                                        # p, (B, T, V)
    chosen = targets[..., None]
    np.put_along_axis(grad, chosen, np.take_along_axis(grad, chosen, axis=-1) - 1, axis=-1)
    grad *= check.dloss(dloss) / N                              # eq. 21.6
    return np.where(mask[..., None], grad, 0).astype(dtype)


def masked_rnn(x, lengths, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """A recurrent network over sequences of unequal lengths.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating; what stands in the padding does not matter
    lengths : ndarray of shape (B,), integers from 0 to T
    h0 : ndarray of shape (B, H), the states before the first step
    w_ih, w_hh, b_ih, b_hh, nonlinearity : as for `rnn` of topic 18

    Returns
    -------
    (out, h_T) : ndarrays of shapes (B, T, H), zero at padding, and (B, H), each row's state after
        its last real step
    cache : for `masked_rnn_backward`
    """
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    mask = lengths_to_mask(check.lengths(lengths, *x.shape[:2]), x.shape[1])
    x = np.where(mask[..., None], x, 0)                         # a NaN that is not read cannot spread
    out, h, caches = np.zeros((*x.shape[:2], h0.shape[1]), x.dtype), h0, []
    for t in range(x.shape[1]):
        real = mask[:, t:t + 1]                                 # (B, 1)
        new, cache = rnn_step(x[:, t], h, *parameters, nonlinearity)
        h = np.where(real, new, h)                                      # (B, H)   eq. 21.1
        out[:, t] = np.where(real, h, 0)
        caches.append(cache)
    shapes = [p.shape for p in parameters if p is not None]
    return (out, h.copy()), (caches, mask, x.shape, h0.shape, shapes, x.dtype)


def masked_rnn_backward(dout, dh_T, cache):
    """Gradients of `masked_rnn`.

    Parameters
    ----------
    dout : ndarray of shape (B, T, H); what stands in the padding does not matter
    dh_T : ndarray of shape (B, H), or None for zeros
    cache : from `masked_rnn`

    Returns
    -------
    dx, dh0 : ndarrays of shapes (B, T, D), (B, H); dx is zero at padding
    dw_ih, dw_hh : ndarrays of shapes (D, H), (H, H)
    db_ih, db_hh : ndarrays of shape (H,), those that were given
    """
    caches, mask, shape, of_state, shapes, dtype = cache
    dout = check.gradient("dout", dout, (*shape[:2], of_state[1]), dtype)
    ds = np.zeros(of_state, dtype) if dh_T is None else check.gradient("dh_T", dh_T, of_state, dtype)
    work = check.working(dtype)
    totals, dx = [np.zeros(s, work) for s in shapes], np.zeros(shape, dtype)
    for t in reversed(range(shape[1])):
        real = mask[:, t:t + 1]
        dh = np.where(real, dout[:, t] + ds, 0)                 # eq. 21.2
        dx[:, t], before, *grads = rnn_step_backward(dh, caches[t])
        ds = np.where(real, before, ds)                                 # (B, H)   eq. 21.2
        for total, grad in zip(totals, grads):
            total += grad
    return dx, ds.copy(), *(total.astype(dtype, copy=False) for total in totals)


class Bidirectional(Module):
    """Two recurrent networks that read each sequence from its two ends; Schuster & Paliwal (1997).

    Parameters
    ----------
    forward_rnn, backward_rnn : Modules (B, T, D) to (out (B, T, H), state), such as `RNN`, `LSTM`
        and `GRU` with batch_first; they may differ in kind and H
    """

    def __init__(self, forward_rnn, backward_rnn):
        for name, module in (("forward_rnn", forward_rnn), ("backward_rnn", backward_rnn)):
            if not getattr(module, "batch_first", True):
                raise ValueError(f"{name}.batch_first = False; expected True")
        self.forward_rnn, self.backward_rnn = forward_rnn, backward_rnn

    def forward(self, x, lengths):
        """x (B, T, D), lengths (B,): outputs (B, T, H + H'), 0 at padding; last states (B, H + H')."""
        x = check.floats("x", x, ("B", "T", "D"))
        lengths = check.lengths(lengths, *x.shape[:2])
        mask = lengths_to_mask(lengths, x.shape[1])[..., None]
        x = np.where(mask, x, 0)
        ahead, _ = self.forward_rnn(x)
        back, _ = self.backward_rnn(reverse_sequences(x, lengths))
        ends = [last_outputs(ahead, lengths), last_outputs(back, lengths)]      # before reversing back
        both = np.concatenate([ahead, reverse_sequences(back, lengths)], axis=-1)   # eq. 21.4
        self.cache = lengths, mask, ahead.shape[2], [cache for _, cache in ends]
        return np.where(mask, both, 0), np.concatenate([end for end, _ in ends], axis=1)

    def backward(self, dout):
        """dout, or (dout, dfinal) with dfinal (B, H + H') or None: dx (B, T, D), zero at padding."""
        lengths, mask, H, caches = self.kept()
        dout, dfinal = dout if isinstance(dout, tuple) else (dout, None)
        dout = np.where(mask, dout, 0)
        dahead, dback = dout[..., :H].copy(), reverse_sequences(dout[..., H:], lengths)
        if dfinal is not None:
            dahead += last_outputs_backward(dfinal[:, :H], caches[0])
            dback += last_outputs_backward(dfinal[:, H:], caches[1])
        dx = self.forward_rnn.backward(dahead)
        dx = dx + reverse_sequences(self.backward_rnn.backward(dback), lengths)
        return np.where(mask, dx, 0)


def bucket_batches(lengths, batch, rng, pool=None):
    """Cut a shuffled set into batches of similar lengths.

    Parameters
    ----------
    lengths : ndarray of shape (n,), integers, at least 0
    batch : int, rows in a batch; the last of each pool may have fewer
    rng : numpy.random.Generator
    pool : int, how many batches are sorted together; 1 is a plain shuffle, None is all of them

    Returns
    -------
    batches : list of ndarrays of int64; each row number is in one of them
    """
    lengths = check.lengths(lengths)
    size = check.whole("batch", batch)
    size *= max(len(lengths), 1) if pool is None else check.whole("pool", pool)
    order, batches = check.generator(rng).permutation(len(lengths)), []
    for start in range(0, len(order), size):
        rows = order[start:start + size]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[k:k + batch] for k in range(0, len(rows), batch)]
    return [batches[k] for k in rng.permutation(len(batches))]
