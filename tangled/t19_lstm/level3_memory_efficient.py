# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:9c384a5f32b31ba3
"""LSTM, level 3: one tanh for all gates, products in blocks, the gradients of the weights once."""

import numpy as np

import tangled.t19_lstm.checks as check
from tangled.t19_lstm import level2_vectorized as plain
from tangled.t19_lstm.level2_vectorized import from_pytorch, to_pytorch

__all__ = ["LSTM", "from_pytorch", "lstm", "lstm_backward", "lstm_step", "lstm_step_backward", "to_pytorch"]

SMALL = 1_000_000                               # multiplications of a product without copies


def affine(dtype):
    """scale and shift (4, 1, 1): of one tanh three sigmoids and a tanh; eq. 19.12."""
    return np.array([[0.5, 0.5, 1, 0.5], [0.5, 0.5, 0, 0.5]], dtype)[:, :, None, None]


def apart(a):
    """(K, 4H) as a view (4, K, H), a gate after the other."""
    return a.reshape(len(a), 4, a.shape[1] // 4).swapaxes(0, 1)


def together(a):
    """(4, K, H) as (K, 4H)."""
    return a.swapaxes(0, 1).reshape(a.shape[1], 4 * a.shape[2])


def in_blocks(w, B):
    """w (4, K, n) in blocks of m columns, (4, n / m, K, m), to be multiplied from the left by B rows."""
    K, n = w.shape[1:]
    m = 64 if n % 64 == 0 and B * K * 64 <= SMALL else n
    return np.ascontiguousarray(w.reshape(4, K, n // m, m).swapaxes(1, 2))


def like_blocks(a, w):
    """a (4, B, n) as a view (4, n / m, B, m), for what is multiplied by w (4, n / m, K, m)."""
    return a.reshape(4, a.shape[1], w.shape[1], w.shape[3]).swapaxes(1, 2)


def gates_in_place(a, scale, shift):
    """a (4, B, H), already scaled, becomes the gates."""
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
    (B, T, _), H, work = x.shape, h0.shape[1], h0.dtype
    scale, shift = affine(work)
    states, cells = np.empty((2, T + 1, B, H), work)            # h_0 ... h_T, c_0 ... c_T
    states[0], cells[0] = h0, c0
    steps = np.ascontiguousarray(x.swapaxes(0, 1), work)        # (T, B, D)
    gates, tc = np.empty((4, T, B, H), work), np.empty((T, B, H), work)
    np.matmul(steps, (apart(w_ih) * scale)[:, None], out=gates)
    biases = [b for b in (b_ih, b_hh) if b is not None]
    if biases:
        gates += (apart(sum(biases)[None]) * scale)[:, None]    # (4, 1, 1, H), the one pass over all
    W = in_blocks(apart(w_hh) * scale, B)
    recurrent, part = np.empty((4, B, H), work), np.empty((B, H), work)
    by_blocks = like_blocks(recurrent, W)
    for t in range(T):
        a = gates[:, t]                                         # (4, B, H)
        np.matmul(states[t], W, out=by_blocks)
        a += recurrent                                          # eq. 19.1
        gates_in_place(a, scale, shift)
        cell_in_place(a, cells[t], cells[t + 1], tc[t], states[t + 1], part)
    out = states[1:].swapaxes(0, 1).astype(x.dtype, order="C")  # a copy of ours
    cache = steps, states, cells, gates, tc, w_ih, w_hh, len(biases), x.dtype
    return (out, (states[T].astype(x.dtype), cells[T].astype(x.dtype))), cache


def through_the_gates(gates, c, h_new, tc, dh, dc, da, part):
    """Writes da (4, B, H); dc (B, H) gets its share of dh and goes through the forget gate."""
    i, f, g, o = gates
    np.multiply(gates, gates, out=da)
    np.subtract(gates, da, out=da)                              # y - y^2, for three gates
    np.multiply(g, g, out=da[2])
    np.subtract(1, da[2], out=da[2])                            # 1 - g^2, the other
    np.multiply(h_new, tc, out=part)
    np.subtract(o, part, out=part)                              # o (1 - tanh^2 c)
    part *= dh
    dc += part                                                  # eq. 19.5
    da[:3] *= dc
    for k, factor in enumerate((g, c, i, tc)):                  # eq. 19.7
        da[k] *= factor
    da[3] *= dh
    dc *= f                                                     # eq. 19.6


def lstm_backward(dout, dh_T, dc_T, cache):
    """As level 2; one array (4, T, B, H) beside the results."""
    steps, states, cells, gates, tc, w_ih, w_hh, given, dtype = cache
    (T, B, D), H, work = steps.shape, states.shape[2], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    dh, dc = check.upstreams((B, H), work, dh_T=dh_T, dc_T=dc_T)
    da, part = np.empty((4, T, B, H), work), np.empty((B, H), work)
    W = in_blocks(apart(w_hh).swapaxes(1, 2), B)                # (4, H / m, H, m)
    shares = np.empty((4, B, H), work)                          # of dh, from each gate
    by_blocks = like_blocks(shares, W)
    for t in reversed(range(T)):
        dh += dout[:, t]                                        # eq. 19.4
        through_the_gates(gates[:, t], cells[t], states[t + 1], tc[t], dh, dc, da[:, t], part)
        np.matmul(da[:, t, None], W, out=by_blocks)
        np.add.reduce(shares, axis=0, out=dh)
    rows, dx = da.reshape(4, T * B, H), np.zeros((T, B, D), work)
    for a, w in zip(da, apart(w_ih)):
        dx += a @ np.ascontiguousarray(w.T)
    before = (a.reshape(T * B, n).T for a, n in ((steps, D), (states[:T], H)))
    grads = [np.ascontiguousarray(dx.swapaxes(0, 1)), dh, dc,
             *(together(a @ rows) for a in before)]             # eq. 19.8
    db = together(np.ones((1, T * B), work) @ rows)[0]
    grads += [db.copy() for _ in range(given)]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """As level 2, in few arrays."""
    x, *arrays = check.weights(x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    wide, h, c, w_ih, w_hh, b_ih, b_hh = check.widened(x, *arrays)
    scale, shift = affine(h.dtype)
    gates = wide @ w_ih
    gates += h @ w_hh
    for b in (b_ih, b_hh):
        if b is not None:
            gates += b
    gates = apart(gates)
    gates *= scale                                              # here, not in the weights
    gates_in_place(gates, scale, shift)
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
