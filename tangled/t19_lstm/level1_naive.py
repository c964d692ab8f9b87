# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:be8b141ab76390d3
"""LSTM, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t19_lstm.checks as check


def sigmoid(a):
    """A number: 1 / (1 + exp(-a)), without overflow."""
    e = math.exp(-abs(a))                                       # at most 1
    return (1 if a >= 0 else e) / (1 + e)


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """x (B, D), h, c (B, H), w_ih (D, 4H), w_hh (H, 4H), biases (4H,): (h, c), and a cache."""
    x, h, c, w_ih, w_hh, *biases = check.weights(
        x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    H, given = h.shape[1], [b for b in biases if b is not None]
    gates, h_new, c_new = np.empty((len(x), 4 * H)), np.empty(h.shape), np.empty(h.shape)
    for n, j in np.ndindex(*h.shape):
        for k in range(4):                                      # i, f, g, o of unit j
            a = sum(float(x[n, m]) * float(w_ih[m, k * H + j]) for m in range(x.shape[1]))
            a += sum(float(h[n, m]) * float(w_hh[m, k * H + j]) for m in range(H))
            a += sum(float(b[k * H + j]) for b in given)        # eq. 19.1
            gates[n, k * H + j] = math.tanh(a) if k == 2 else sigmoid(a)
        i, f, g, o = (float(gates[n, k * H + j]) for k in range(4))
        c_new[n, j] = f * float(c[n, j]) + i * g                # eq. 19.2
        h_new[n, j] = o * math.tanh(c_new[n, j])                # eq. 19.3
    cache = x, h, c, gates, c_new, w_ih, w_hh, len(given)
    return (h_new.astype(x.dtype), c_new.astype(x.dtype)), cache


def lstm_step_backward(dh, dc, cache):
    """dh, dc (B, H) or None: dx (B, D), dh, dc (B, H), dw_ih (D, 4H), dw_hh (H, 4H), db (4H,)."""
    x, h, c, gates, c_new, w_ih, w_hh, biases = cache
    dh, dc = check.upstreams(h.shape, np.float64, dh=dh, dc=dc)
    H = h.shape[1]
    grads = [np.zeros(a.shape) for a in (x, h, c, w_ih, w_hh, w_hh[0])]
    dx, dh_old, dc_old, dw_ih, dw_hh, db = grads
    for n, j in np.ndindex(*h.shape):
        i, f, g, o = (float(gates[n, k * H + j]) for k in range(4))
        tc = math.tanh(c_new[n, j])
        d = dc[n, j] + dh[n, j] * o * (1 - tc * tc)             # eq. 19.5
        dc_old[n, j] = d * f                                    # eq. 19.6
        slopes = (d * g * i * (1 - i), d * float(c[n, j]) * f * (1 - f),
                  d * i * (1 - g * g), dh[n, j] * tc * o * (1 - o))             # eq. 19.7
        for k, da in enumerate(slopes):
            column = k * H + j
            db[column] += da
            for m in range(x.shape[1]):
                dx[n, m] += da * float(w_ih[m, column])
                dw_ih[m, column] += float(x[n, m]) * da
            for m in range(H):
                dh_old[n, m] += da * float(w_hh[m, column])
                dw_hh[m, column] += float(h[n, m]) * da
    return tuple(grad.astype(x.dtype) for grad in grads[:5] + [db] * biases)


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None):
    """x (B, T, D), h0 and c0 (B, H): (out (B, T, H), (h_T, c_T) (B, H)), and a cache."""
    x, h0, c0, *parameters = check.weights(x, ("B", "T", "D"), h0, c0, w_ih, w_hh, b_ih, b_hh)
    dtype = x.dtype
    x, h0, c0, *parameters = check.widened(x, h0, c0, *parameters)
    out, h, c, caches = np.empty((*x.shape[:2], h0.shape[1]), dtype), h0, c0, []
    for t in range(x.shape[1]):
        (h, c), cache = lstm_step(x[:, t], h, c, *parameters)
        out[:, t] = h
        caches.append(cache)
    shapes = [None if a is None else a.shape for a in (x, h0, c0, *parameters)]
    return (out, (h.astype(dtype), c.astype(dtype))), (caches, shapes, dtype)


def lstm_backward(dout, dh_T, dc_T, cache):
    """dout (B, T, H), dh_T and dc_T (B, H) or None: dx (B, T, D), dh0, dc0 (B, H), and of the weights."""
    caches, shapes, dtype = cache
    (B, T, _), H = shapes[0], shapes[1][1]
    dout = check.gradient("dout", dout, (B, T, H), np.float64)
    dh, dc = check.upstreams((B, H), np.float64, dh_T=dh_T, dc_T=dc_T)
    dx, totals = np.zeros(shapes[0]), [np.zeros(s) for s in shapes[3:] if s is not None]
    for t in reversed(range(T)):
        dx[:, t], dh, dc, *grads = lstm_step_backward(dout[:, t] + dh, dc, caches[t])
        totals = [total + grad for total, grad in zip(totals, grads)]               # eq. 19.8
    return tuple(grad.astype(dtype) for grad in (dx, dh, dc, *totals))
