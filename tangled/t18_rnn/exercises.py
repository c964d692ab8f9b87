# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:2094b10711818a04
"""Chapter 18: worked answers to the graded exercises."""

import numpy as np

from tangled.t18_rnn import rnn_step, rnn_step_backward


def perplexities(logits, targets, mask):
    """How well symbols were predicted.

    Parameters
    ----------
    logits : ndarray of shape (..., V), floating
    targets : ndarray of shape (...), integers below V
    mask : ndarray of shape (...), bool: the positions that count, at least one

    Returns
    -------
    (nats, bits, perplexity) : floats; the mean loss, in units of ln 2, and e to it
    """
    z = logits[mask].astype(float)                              # (n, V)
    z = z - z.max(axis=1, keepdims=True)
    log_p = z[np.arange(len(z)), targets[mask]] - np.log(np.exp(z).sum(axis=1))
    nats = float(-log_p.mean())
    return nats, nats / float(np.log(2)), float(np.exp(nats))


def rnn_backward_checkpointed(dout, x, h0, w_ih, w_hh, b_ih, b_hh, every):
    """Gradients of `rnn` (tanh), with the state of every `every`-th step kept.

    Parameters
    ----------
    dout : ndarray of shape (B, T, H)
    x : ndarray of shape (B, T, D);  h0 : (B, H)
    w_ih, w_hh, b_ih, b_hh : ndarrays of shapes (D, H), (H, H), (H,), (H,)
    every : int, positive

    Returns
    -------
    dx, dh0, dw_ih, dw_hh, db_ih, db_hh : ndarrays of the shapes of what they belong to
    """
    T, starts, h = x.shape[1], [], h0
    for t in range(T):
        if t % every == 0:
            starts.append(h)
        h, _ = rnn_step(x[:, t], h, w_ih, w_hh, b_ih, b_hh)
    dx, ds = np.zeros_like(x), np.zeros_like(h0)
    totals = [np.zeros_like(w) for w in (w_ih, w_hh, b_ih, b_hh)]
    for k in reversed(range(len(starts))):
        h, caches = starts[k], []
        for t in range(k * every, min((k + 1) * every, T)):     # the segment's states, once more
            h, cache = rnn_step(x[:, t], h, w_ih, w_hh, b_ih, b_hh)
            caches.append(cache)
        for j in reversed(range(len(caches))):
            t = k * every + j
            dx[:, t], ds, *grads = rnn_step_backward(dout[:, t] + ds, caches[j])
            totals = [total + grad for total, grad in zip(totals, grads)]
    return dx, ds, *totals
