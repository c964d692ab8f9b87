# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:703ac4f39ae2e648
"""LSTM, level 3: gates in place, one product a step, the gradients of the weights once."""

import numpy as np

import tangled.t19_lstm.checks as check
from tangled.t19_lstm import level2_vectorized as plain
from tangled.t19_lstm.level2_vectorized import from_pytorch, to_pytorch

__all__ = ["LSTM", "from_pytorch", "lstm", "lstm_backward", "lstm_step", "lstm_step_backward", "to_pytorch"]


def apart(a):
    """(K, 4H) as a view (4, K, H), a gate after the other."""
    return a.reshape(len(a), 4, a.shape[1] // 4).swapaxes(0, 1)


def sigmoids_first(a):
    """(K, 4H) of i, f, g, o as (4, K, H): -i, -f, -o, g."""
    a = apart(a)[[0, 1, 3, 2]]
    np.negative(a[:3], out=a[:3])
    return a


def gates_in_place(a):
    """a (4, B, H) of -i, -f, -o, g becomes the gates i, f, o, g."""
    sigmoids, g = a[:3], a[3]
    with np.errstate(over="ignore"):
        np.exp(sigmoids, out=sigmoids)
    sigmoids += 1
    np.divide(1, sigmoids, out=sigmoids)                        # eq. 19.12
    np.tanh(g, out=g)


def cell_in_place(gates, c, c_new, tc, h_new, part):
    """gates (4, B, H), c (B, H): writes c_new, its tanh and h_new; `part` is scratch."""
    i, f, o, g = gates
    np.multiply(f, c, out=c_new)
    c_new += np.multiply(i, g, out=part)                        # eq. 19.2
    np.tanh(c_new, out=tc)
    np.multiply(o, tc, out=h_new)                               # eq. 19.3


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2; keeps x, the gates, the outputs, the cells and their tanh."""
    x, *arrays = check.weights(x, ("B", "T", "D"), h0, c0, w_ih, w_hh, b_ih, b_hh)
    h0, c0, w_ih, w_hh, b_ih, b_hh = check.widened(*arrays)
    (B, T, D), H, work = x.shape, h0.shape[1], h0.dtype
    biases = [b for b in (b_ih, b_hh) if b is not None]
    weights = np.vstack([w_ih, w_hh, sum(biases, np.zeros(4 * H, work))])
    steps, cells = np.ones((T + 1, B, len(weights)), work), np.empty((T + 1, B, H), work)
    states = steps[..., D:-1]                                   # h_0 ... h_T, as cells has c_0 ... c_T
    steps[:T, :, :D], states[0], cells[0] = x.swapaxes(0, 1), h0, c0
    gates, tc, part = np.empty((4, T, B, H), work), np.empty((T, B, H), work), np.empty((B, H), work)
    W = sigmoids_first(weights)
    for t in range(T):
        a = gates[:, t]                                         # (4, B, H)
        np.matmul(steps[t], W, out=a)                           # eq. 19.1
        gates_in_place(a)
        cell_in_place(a, cells[t], cells[t + 1], tc[t], states[t + 1], part)
    out = states[1:].swapaxes(0, 1).astype(x.dtype, order="C")  # a copy of ours
    cache = steps, cells, gates, tc, weights, len(biases), x.dtype
    return (out, (states[T].astype(x.dtype), cells[T].astype(x.dtype))), cache


def through_the_gates(gates, c, h_new, tc, dh, dc, da, part):
    """Writes da (4, B, H) of i, f, g, o; dc (B, H) takes its share of dh, then times f."""
    i, f, o, g = gates
    np.multiply(h_new, tc, out=part)
    np.subtract(o, part, out=part)                              # o (1 - tanh^2 c)
    part *= dh
    dc += part                                                  # eq. 19.5
    np.multiply(g, g, out=part)
    for k, y, *factors, last in ((2, part, i, dc), (0, i, i, g, dc), (1, f, f, c, dc), (3, o, h_new, dh)):
        np.subtract(1, y, out=part)                             # eq. 19.7
        for factor in factors:
            part *= factor
        np.multiply(part, last, out=da[k])
    dc *= f                                                     # eq. 19.6


def lstm_backward(dout, dh_T, dc_T, cache):
    """As level 2; one array (T, B, 4H) beside the results."""
    steps, cells, gates, tc, weights, given, dtype = cache
    (T, B, H), K, work = tc.shape, len(weights), tc.dtype
    D = K - H - 1
    dout = check.gradient("dout", dout, (B, T, H), work)
    dh, dc = check.upstreams((B, H), work, dh_T=dh_T, dc_T=dc_T)
    da, dx = np.empty((T, B, 4 * H), work), np.empty((B, T, D), work)
    part, back = np.empty((B, H), work), np.empty((D + H, B), work)
    for t in reversed(range(T)):
        dh += dout[:, t]                                        # eq. 19.4
        through_the_gates(gates[:, t], cells[t], steps[t + 1, :, D:-1], tc[t], dh, dc, apart(da[t]), part)
        np.matmul(weights[:-1], da[t].T, out=back)
        dx[:, t], dh[:] = back[:D].T, back[D:].T
    dw = steps[:T].reshape(T * B, K).T @ da.reshape(T * B, 4 * H)           # eq. 19.8
    grads = [dx, dh, dc, dw[:D], dw[D:-1], *(dw[-1].copy() for _ in range(given))]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2, in few arrays."""
    x, *arrays = check.weights(x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    wide, h, c, w_ih, w_hh, b_ih, b_hh = check.widened(x, *arrays)
    gates = wide @ w_ih
    gates += h @ w_hh
    for b in (b_ih, b_hh):
        if b is not None:
            gates += b
    gates = sigmoids_first(gates)                               # here, not the weights
    gates_in_place(gates)
    c_new, tc, h_new, part = np.empty((4, *h.shape), h.dtype)
    cell_in_place(gates, c, c_new, tc, h_new, part)
    given = (b_ih is not None) + (b_hh is not None)
    cache = wide, h, c, gates, h_new, tc, w_ih, w_hh, given, x.dtype
    return (h_new.astype(x.dtype), c_new.astype(x.dtype)), cache


def lstm_step_backward(dh, dc, cache):
    """As level 2."""
    x, h, c, gates, h_new, tc, w_ih, w_hh, given, dtype = cache
    dh, dc = check.upstreams(h.shape, h.dtype, dh=dh, dc=dc)
    da, part = np.empty((len(h), 4 * h.shape[1]), h.dtype), np.empty_like(dh)
    through_the_gates(gates, c, h_new, tc, dh, dc, apart(da), part)
    grads = [da @ w_ih.T, da @ w_hh.T, dc, x.T @ da, h.T @ da]
    grads += [da.sum(axis=0) for _ in range(given)]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


class LSTM(plain.LSTM):
    """As level 2, by the ops of this level; x (B, T, D)."""

    op, op_backward = staticmethod(lstm), staticmethod(lstm_backward)
