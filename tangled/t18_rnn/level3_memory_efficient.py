# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:38a46d308af6abae
"""Recurrent networks, level 3: all inputs in one product, all gradients of weights in one each."""

import numpy as np

import tangled.t18_rnn.checks as check
from tangled.t18_rnn import level2_vectorized as plain
from tangled.t18_rnn.level2_vectorized import Embedding, bigram_counts, rnn_step, rnn_step_backward, sample_categorical

__all__ = ["RNN", "Embedding", "bigram_counts", "embedding", "embedding_backward", "rnn", "rnn_backward", "rnn_step",
           "rnn_step_backward", "sample_categorical"]


def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """As level 2; keeps x and the outputs."""
    x, h0, w_ih, w_hh, b_ih, b_hh = check.weights(
        x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    (B, T, D), H, work = x.shape, h0.shape[1], check.working(x.dtype)
    states = np.empty((T + 1, B, H), work)                      # h_0, h_1, ..., h_T
    states[0] = h0
    steps = np.ascontiguousarray(x.swapaxes(0, 1), work)        # (T, B, D)
    np.matmul(steps.reshape(T * B, D), w_ih.astype(work, copy=False),
              out=states[1:].reshape(T * B, H))
    for b in (b_ih, b_hh):
        if b is not None:
            states[1:] += b
    recurrent, W = np.empty((B, H), work), w_hh.astype(work, copy=False)
    for t in range(T):
        a = states[t + 1]
        a += np.matmul(states[t], W, out=recurrent)             # eq. 18.4
        np.tanh(a, out=a) if nonlinearity == "tanh" else np.maximum(a, 0, out=a)
    out = states[1:].swapaxes(0, 1).astype(x.dtype, order="C")  # (B, T, H), a copy
    given = b_ih is not None, b_hh is not None
    return (out, states[T].astype(x.dtype)), (steps, states, w_ih, w_hh, given, nonlinearity, x.dtype)


def rnn_backward(dout, dh_T, cache):
    """As level 2; one array (T, B, H) beside the results."""
    steps, states, w_ih, w_hh, given, nonlinearity, dtype = cache
    (T, B, D), H, work = steps.shape, states.shape[2], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    da = np.array(dout.swapaxes(0, 1), order="C")               # (T, B, H), ours to write to
    ds = (np.zeros((B, H), work) if dh_T is None
          else np.array(check.gradient("dh_T", dh_T, (B, H), work)))
    W = np.ascontiguousarray(w_hh.T, work)
    for t in reversed(range(T)):
        g, h = da[t], states[t + 1]
        g += ds                                                 # eq. 18.5
        if nonlinearity == "tanh":
            np.multiply(h, h, out=ds)
            np.subtract(1, ds, out=ds)
            g *= ds
        else:
            g[h <= 0] = 0
        np.matmul(g, W, out=ds)
    rows = da.reshape(T * B, H)
    dx = (rows @ w_ih.T.astype(work, copy=False)).reshape(T, B, D).swapaxes(0, 1)
    grads = [np.ascontiguousarray(dx), ds, steps.reshape(T * B, D).T @ rows,        # eq. 18.6
             states[:T].reshape(T * B, H).T @ rows]
    grads += [rows.sum(axis=0) for _ in range(sum(given))]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def embedding(ids, table):
    """As level 2."""
    return plain.embedding(ids, table)


def embedding_backward(dout, cache):
    """As level 2, by sorting the ids and adding up runs of equal ones."""
    ids, shape, dtype = cache
    dout = check.gradient("dout", dout, (*ids.shape, shape[1]),
                          check.working(dtype)).reshape(-1, shape[1])
    dtable, flat = np.zeros(shape, check.working(dtype)), ids.reshape(-1)
    if flat.size:
        order = flat.argsort(kind="stable")
        found = flat[order]
        starts = np.flatnonzero(np.r_[True, found[1:] != found[:-1]])
        dtable[found[starts]] = np.add.reduceat(dout[order], starts, axis=0)
    return dtable.astype(dtype, copy=False)


class RNN(plain.RNN):
    """As level 2, by the ops of this level; x (B, T, D)."""

    op, op_backward = staticmethod(rnn), staticmethod(rnn_backward)
