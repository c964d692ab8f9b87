# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:61b7513c42502604
"""LSTM, level 3: one product for all inputs, one tanh for all gates, one product for each gradient."""

import numpy as np

import tangled.t19_lstm.checks as check
from tangled.t19_lstm import level2_vectorized as plain
from tangled.t19_lstm.level2_vectorized import from_pytorch, to_pytorch

__all__ = ["LSTM", "from_pytorch", "lstm", "lstm_backward", "lstm_step", "lstm_step_backward", "to_pytorch"]


def affine(H, dtype):
    """scale and shift (4H,) that make of one tanh three sigmoids and a tanh; eq. 19.12."""
    scale, shift = np.full(4 * H, 0.5, dtype), np.full(4 * H, 0.5, dtype)
    scale[2 * H:3 * H], shift[2 * H:3 * H] = 1, 0
    return scale, shift


def gates_in_place(a, scale, shift):
    """a (B, 4H), already scaled, becomes the gates."""
    np.tanh(a, out=a)
    a *= scale
    a += shift


def cell_in_place(gates, c, c_new, tc, h_new, part):
    """gates (4, B, H), c (B, H): writes c_new, its tanh and h_new; `part` is scratch."""
    i, f, g, o = gates
    np.multiply(f, c, out=c_new)
    c_new += np.multiply(i, g, out=part)                        # eq. 19.2
    np.tanh(c_new, out=tc)
    np.multiply(o, tc, out=h_new)                               # eq. 19.3


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2; keeps x, the gates, the outputs, the cells and their tanh."""
    x, *arrays = check.weights(x, ("B", "T", "D"), h0, c0, w_ih, w_hh, b_ih, b_hh)
    h0, c0, w_ih, w_hh, b_ih, b_hh = check.widened(*arrays)
    (B, T, D), H, work = x.shape, h0.shape[1], h0.dtype
    scale, shift = affine(H, work)
    states, cells = np.empty((2, T + 1, B, H), work)            # h_0 ... h_T, c_0 ... c_T
    states[0], cells[0] = h0, c0
    steps = np.ascontiguousarray(x.swapaxes(0, 1), work)        # (T, B, D)
    gates, tc = np.empty((T, B, 4 * H), work), np.empty((T, B, H), work)
    np.matmul(steps.reshape(T * B, D), w_ih * scale, out=gates.reshape(T * B, 4 * H))
    biases = [b for b in (b_ih, b_hh) if b is not None]
    if biases:
        gates += sum(biases) * scale                            # the one pass over all
    W, recurrent, part = w_hh * scale, np.empty((B, 4 * H), work), np.empty((B, H), work)
    apart = gates.reshape(T, B, 4, H).transpose(0, 2, 1, 3)     # views (T, 4, B, H)
    for t in range(T):
        gates[t] += np.matmul(states[t], W, out=recurrent)      # eq. 19.1
        gates_in_place(gates[t], scale, shift)
        cell_in_place(apart[t], cells[t], cells[t + 1], tc[t], states[t + 1], part)
    out = states[1:].swapaxes(0, 1).astype(x.dtype, order="C")  # a copy of ours
    cache = steps, states, cells, gates, tc, w_ih, w_hh, len(biases), x.dtype
    return (out, (states[T].astype(x.dtype), cells[T].astype(x.dtype))), cache


def through_the_gates(y, apart, c, h_new, tc, dh, dc, da, da_apart, part):
    """Writes da (B, 4H); dc (B, H) gets its share of dh and goes through the forget gate."""
    i, f, g, o = apart
    np.multiply(y, y, out=da)
    np.subtract(y, da, out=da)                                  # y - y^2, for three gates
    np.multiply(g, g, out=da_apart[2])
    np.subtract(1, da_apart[2], out=da_apart[2])                # 1 - g^2, the other
    np.multiply(h_new, tc, out=part)
    np.subtract(o, part, out=part)                              # o (1 - tanh^2 c)
    part *= dh
    dc += part                                                  # eq. 19.5
    da_apart[:3] *= dc
    for k, factor in enumerate((g, c, i, tc)):                  # eq. 19.7
        da_apart[k] *= factor
    da_apart[3] *= dh
    dc *= f                                                     # eq. 19.6


def lstm_backward(dout, dh_T, dc_T, cache):
    """As level 2; one array (T, B, 4H) beside the results."""
    steps, states, cells, gates, tc, w_ih, w_hh, given, dtype = cache
    (T, B, D), H, work = steps.shape, states.shape[2], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    dh, dc = check.upstreams((B, H), work, dh_T=dh_T, dc_T=dc_T)
    da, part = np.empty((T, B, 4 * H), work), np.empty((B, H), work)
    W = np.ascontiguousarray(w_hh.T)
    apart, da_apart = (a.reshape(T, B, 4, H).transpose(0, 2, 1, 3) for a in (gates, da))
    for t in reversed(range(T)):
        dh += dout[:, t]                                        # eq. 19.4
        through_the_gates(gates[t], apart[t], cells[t], states[t + 1], tc[t],
                          dh, dc, da[t], da_apart[t], part)
        np.matmul(da[t], W, out=dh)
    rows = da.reshape(T * B, 4 * H)
    dx = (rows @ w_ih.T).reshape(T, B, D).swapaxes(0, 1)
    grads = [np.ascontiguousarray(dx), dh, dc, steps.reshape(T * B, D).T @ rows,  # eq. 19.8
             states[:T].reshape(T * B, H).T @ rows]
    grads += [rows.sum(axis=0) for _ in range(given)]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2, in few arrays."""
    x, *arrays = check.weights(x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    wide, h, c, w_ih, w_hh, b_ih, b_hh = check.widened(x, *arrays)
    scale, shift = affine(h.shape[1], h.dtype)
    gates = wide @ w_ih
    gates += h @ w_hh
    for b in (b_ih, b_hh):
        if b is not None:
            gates += b
    gates *= scale                                              # here, not in the weights
    gates_in_place(gates, scale, shift)
    c_new, tc, h_new, part = np.empty((4, *h.shape), h.dtype)
    cell_in_place(_apart(gates), c, c_new, tc, h_new, part)
    given = (b_ih is not None) + (b_hh is not None)
    cache = wide, h, c, gates, h_new, tc, w_ih, w_hh, given, x.dtype
    return (h_new.astype(x.dtype), c_new.astype(x.dtype)), cache


def _apart(gates):
    """(B, 4H) as a view (4, B, H)."""
    B, width = gates.shape
    return gates.reshape(B, 4, width // 4).swapaxes(0, 1)


def lstm_step_backward(dh, dc, cache):
    """As level 2."""
    x, h, c, gates, h_new, tc, w_ih, w_hh, given, dtype = cache
    dh, dc = check.upstreams(h.shape, h.dtype, dh=dh, dc=dc)
    da, part = np.empty_like(gates), np.empty_like(dh)
    through_the_gates(gates, _apart(gates), c, h_new, tc, dh, dc, da, _apart(da), part)
    grads = [da @ w_ih.T, da @ w_hh.T, dc, x.T @ da, h.T @ da]
    grads += [da.sum(axis=0) for _ in range(given)]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


class LSTM(plain.LSTM):
    """As level 2, by the ops of this level; x (B, T, D)."""

    op, op_backward = staticmethod(lstm), staticmethod(lstm_backward)
