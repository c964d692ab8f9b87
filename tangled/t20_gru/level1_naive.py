# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:13c03672f46c5926
"""Gated recurrent units, level 1: loops over single numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t20_gru.checks as check


def _sigmoid(a):
    """1 / (1 + e^-a), of a float, without overflow."""
    return 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a)) if a < 0 else a


def _given(b_ih, b_hh):
    """Which biases there are."""
    return b_ih is not None, b_hh is not None


def gru_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """x (B, D), h (B, H), w_ih (D, 3H), w_hh (H, 3H), biases (3H,): h_new (B, H), a cache."""
    arrays = check.weights(x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, variant)
    dtype, given = arrays[0].dtype, _given(b_ih, b_hh)
    x, h, w_ih, w_hh, b_ih, b_hh = (a.astype(float) for a in check.widened(arrays))
    B, H = h.shape
    r, z, n, inner, out = (np.empty((B, H)) for _ in range(5))
    for k, j in np.ndindex(B, H):                               # row of the batch, unit
        a_r, a_z = (_from_x(x[k], w_ih, b_ih, c) + _dot(h[k], w_hh[:, c]) + b_hh[c]
                    for c in (j, H + j))
        r[k, j], z[k, j] = _sigmoid(a_r), _sigmoid(a_z)         # eq. 20.1
    for k, j in np.ndindex(B, H):
        a, c = _from_x(x[k], w_ih, b_ih, 2 * H + j), 2 * H + j
        if variant == "pytorch":
            inner[k, j] = _dot(h[k], w_hh[:, c]) + b_hh[c]
            a += r[k, j] * inner[k, j]                          # eq. 20.2
        else:
            inner[k, j] = r[k, j] * h[k, j]
            a += sum(r[k, i] * h[k, i] * w_hh[i, c] for i in range(H)) + b_hh[c]    # eq. 20.3
        n[k, j] = math.tanh(a)
        out[k, j] = z[k, j] * h[k, j] + (1 - z[k, j]) * n[k, j]                     # eq. 20.4
    return out.astype(dtype), (x, h, r, z, n, inner, w_ih, w_hh, given, variant, dtype)


def _dot(a, b):
    """The inner product of two vectors."""
    return sum(float(p) * float(q) for p, q in zip(a, b))


def _from_x(row, w_ih, b_ih, c):
    """What the input sends to column c."""
    return _dot(row, w_ih[:, c]) + b_ih[c]


def gru_step_backward(dh_new, cache):
    """dh_new (B, H): dx (B, D), dh (B, H), dw_ih (D, 3H), dw_hh (H, 3H), of given biases (3H,)."""
    x, h, r, z, n, inner, w_ih, w_hh, given, variant, dtype = cache
    dh_new = check.gradient("dh_new", dh_new, h.shape, dtype)
    (B, D), H = x.shape, h.shape[1]
    from_x, from_h = np.zeros((B, 3 * H)), np.zeros((B, 3 * H))
    dh, dv = np.zeros((B, H)), np.zeros((B, H))
    for k, j in np.ndindex(B, H):
        g, old, new, share = float(dh_new[k, j]), h[k, j], n[k, j], z[k, j]
        dh[k, j] = g * share                                    # eq. 20.6
        from_x[k, H + j] = from_h[k, H + j] = g * (old - new) * share * (1 - share)
        from_x[k, 2 * H + j] = g * (1 - share) * (1 - new * new)
        for i in range(H) if variant == "cho" else ():
            dv[k, i] += from_x[k, 2 * H + j] * w_hh[i, 2 * H + j]                   # eq. 20.9
    for k, j in np.ndindex(B, H):
        da, gate = from_x[k, 2 * H + j], r[k, j]
        if variant == "pytorch":                                # eq. 20.8
            dr, from_h[k, 2 * H + j] = da * inner[k, j], da * gate
        else:
            dr, from_h[k, 2 * H + j] = dv[k, j] * h[k, j], da
            dh[k, j] += dv[k, j] * gate
        from_x[k, j] = from_h[k, j] = dr * gate * (1 - gate)
    dx, dw_ih, dw_hh = np.zeros((B, D)), np.zeros(w_ih.shape), np.zeros(w_hh.shape)
    for k, c in np.ndindex(B, 3 * H):
        for i in range(D):
            dx[k, i] += from_x[k, c] * w_ih[i, c]
            dw_ih[i, c] += x[k, i] * from_x[k, c]               # eq. 20.10
        for i in range(H):
            before = variant == "cho" and c >= 2 * H            # that product had r h for its input
            dh[k, i] += 0.0 if before else from_h[k, c] * w_hh[i, c]
            dw_hh[i, c] += (inner if before else h)[k, i] * from_h[k, c]
    grads = [dx, dh, dw_ih, dw_hh] + [d.sum(axis=0) for d, there in zip((from_x, from_h), given) if there]
    return tuple(grad.astype(dtype) for grad in grads)


def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """x (B, T, D), h0 (B, H): (out (B, T, H), h_T (B, H)), and a cache."""
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, variant)
    out, h, caches = np.empty((*x.shape[:2], h0.shape[1]), x.dtype), h0, []
    for t in range(x.shape[1]):
        h, cache = gru_step(x[:, t], h, *parameters, variant)
        out[:, t] = h
        caches.append(cache)
    return (out, h.copy()), (caches, x.shape, h0, parameters[0], _given(b_ih, b_hh))


def gru_backward(dout, dh_T, cache):
    """dout (B, T, H), dh_T (B, H) or None: dx (B, T, D), dh0 (B, H), and of the weights."""
    caches, shape, h0, w_ih, given = cache
    H, dtype = h0.shape[1], h0.dtype
    dout = check.gradient("dout", dout, (*shape[:2], H), dtype)
    ds = np.zeros(h0.shape, dtype) if dh_T is None else check.gradient("dh_T", dh_T, h0.shape, dtype)
    totals = [np.zeros(w_ih.shape), np.zeros((H, 3 * H))] + [np.zeros(3 * H)] * sum(given)
    dx = np.zeros(shape, dtype)
    for t in reversed(range(shape[1])):
        dx[:, t], ds, *grads = gru_step_backward(dout[:, t] + ds, caches[t])
        totals = [total + grad for total, grad in zip(totals, grads)]
    return dx, ds.copy(), *(total.astype(dtype) for total in totals)
