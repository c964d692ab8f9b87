# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:8b210bb356a3bd03
"""Gated recurrent units, level 3: one product a step, the gradients of the weights in one each."""

import numpy as np

import tangled.t20_gru.checks as check
from tangled.t20_gru import level2_vectorized as plain
from tangled.t20_gru.level2_vectorized import from_pytorch, gru_step, gru_step_backward, to_pytorch

__all__ = ["GRU", "from_pytorch", "gru", "gru_backward", "gru_step", "gru_step_backward", "to_pytorch"]


def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """As level 2; keeps x, the states, and four numbers for each of their entries."""
    arrays = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, variant)
    dtype, given = arrays[0].dtype, (b_ih is not None, b_hh is not None)
    x, h0, w_ih, w_hh, b_ih, b_hh = check.widened(arrays)
    (B, T, D), H = x.shape, h0.shape[1]
    steps = np.ascontiguousarray(x.swapaxes(0, 1))              # (T, B, D)
    states = np.empty((T + 1, B, H), x.dtype)                   # h_0, h_1, ..., h_T
    states[0] = h0
    gates = np.empty((T, B, 4 * H), x.dtype)                    # u or v, r, z, n
    half = np.repeat(np.array([0.5, 0.5, 1], x.dtype), H)       # of eq. 20.11
    np.matmul(steps.reshape(T * B, D), w_ih * half, out=gates.reshape(T * B, 4 * H)[:, H:])
    bias, b_n = b_ih + b_hh, b_hh[2 * H:]
    if variant == "pytorch":
        bias[2 * H:] = b_ih[2 * H:]                             # b_n goes inside the reset
    gates[..., H:] += bias * half
    run = _reset_after if variant == "pytorch" else _reset_before
    run(gates, states, w_hh * half, b_n)
    out = states[1:].swapaxes(0, 1).astype(dtype, order="C")    # (B, T, H), a copy
    return (out, states[T].astype(dtype)), (steps, states, gates, w_ih, w_hh, given, variant, dtype)


def _reset_after(gates, states, W, b_n):
    """gates (T, B, 4H), of which r, z, n hold what x sends; fills them and states (T + 1, B, H)."""
    B, H = states.shape[1:]
    sent, part = np.empty((B, 3 * H), W.dtype), np.empty((B, H), W.dtype)
    for row, h, new in zip(gates, states, states[1:]):
        u, rz, n = row[:, :H], row[:, H:3 * H], row[:, 3 * H:]
        np.matmul(h, W, out=sent)                               # all that h sends: r, z, n
        _sigmoid(rz, sent[:, :2 * H])                           # eq. 20.1
        np.add(sent[:, 2 * H:], b_n, out=u)
        n += np.multiply(rz[:, :H], u, out=part)                # eq. 20.2
        _mix(h, rz[:, H:], n, new)


def _reset_before(gates, states, W, b_n):
    """As `_reset_after`; two products a step, since v waits for r."""
    B, H = states.shape[1:]
    W, W_n = np.ascontiguousarray(W[:, :2 * H]), np.ascontiguousarray(W[:, 2 * H:])
    sent, part = np.empty((B, 2 * H), W.dtype), np.empty((B, H), W.dtype)
    for row, h, new in zip(gates, states, states[1:]):
        v, rz, n = row[:, :H], row[:, H:3 * H], row[:, 3 * H:]
        _sigmoid(rz, np.matmul(h, W, out=sent))                 # eq. 20.1
        np.multiply(rz[:, :H], h, out=v)
        n += np.matmul(v, W_n, out=part)                        # eq. 20.3
        _mix(h, rz[:, H:], n, new)


def _sigmoid(a, more):
    """sigmoid(2 (a + more)) in place of a (B, 2H)."""
    a += more
    np.tanh(a, out=a)
    a += 1
    a *= 0.5                                                    # eq. 20.11


def _mix(h, z, n, new):
    """tanh in place of n (B, H), and the state behind the step into new."""
    np.tanh(n, out=n)
    np.subtract(h, n, out=new)
    new *= z
    new += n                                                    # eq. 20.4


def _slopes(states, gates, variant):
    """(T, B, 4H): what the gradient of h_t is multiplied by, in blocks u (or nothing), r, z, n."""
    H = states.shape[-1]
    out = np.empty_like(gates)
    for slope, gate, h in zip(out, gates, states):              # a step at a time stays in the cache
        inner, r, z, n = (gate[:, k * H:(k + 1) * H] for k in range(4))
        to_u, to_r, to_z, to_n = (slope[:, k * H:(k + 1) * H] for k in range(4))
        np.subtract(1, gate[:, H:3 * H], out=slope[:, H:3 * H])             # 1 - r, 1 - z
        np.multiply(n, n, out=to_n)
        np.subtract(1, to_n, out=to_n)
        to_n *= to_z                                            # (1 - z)(1 - n^2)
        to_z *= z
        to_z *= np.subtract(h, n, out=to_u)                     # (h - n) z (1 - z)
        to_r *= r
        if variant == "pytorch":
            to_r *= inner
            to_r *= to_n                                        # u r (1 - r), through n
            np.multiply(to_n, r, out=to_u)
        else:
            to_r *= h                                           # h r (1 - r), of v's gradient
    return out


def gru_backward(dout, dh_T, cache):
    """As level 2; one array (T, B, 4H) beside the results."""
    steps, states, gates, w_ih, w_hh, given, variant, dtype = cache
    (T, B, D), H, work = steps.shape, states.shape[2], states.dtype
    dout = check.gradient("dout", dout, (B, T, H), work)
    ds = (np.zeros((B, H), work) if dh_T is None
          else np.array(check.gradient("dh_T", dh_T, (B, H), work)))
    da = _slopes(states, gates, variant)                        # becomes the gradients
    back = _after_backward if variant == "pytorch" else _before_backward
    back(dout, ds, da, gates, w_hh)
    blocks, before = da.reshape(T * B, 4 * H), states[:T].reshape(T * B, H)
    from_x, totals = blocks[:, H:], np.ones(T * B, work) @ blocks
    dx = (from_x @ w_ih.T).reshape(T, B, D).swapaxes(0, 1)
    if variant == "pytorch":                                    # u, r, z: rolled to r, z, n
        dw_hh, db_hh = np.roll(before.T @ blocks[:, :3 * H], -H, axis=1), np.roll(totals[:3 * H], -H)
    else:
        v = gates.reshape(T * B, 4 * H)[:, :H]
        dw_hh = np.concatenate([before.T @ blocks[:, H:3 * H], v.T @ blocks[:, 3 * H:]], axis=1)
        db_hh = totals[H:].copy()
    grads = [np.ascontiguousarray(dx), ds, steps.reshape(T * B, D).T @ from_x, dw_hh]   # eq. 20.10
    grads += [db for db, there in zip((totals[H:], db_hh), given) if there]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def _after_backward(dout, ds, da, gates, w_hh):
    """Slopes da (T, B, 4H) to gradients u, r, z, n, and ds (B, H) to that of h_0, in place."""
    B, H = ds.shape
    W = np.ascontiguousarray(np.roll(w_hh, H, axis=1).T)        # (3H, H): u, r, z
    sent = np.empty_like(ds)
    for t in reversed(range(len(da))):
        ds += dout[:, t]
        row = da[t].reshape(B, 4, H)
        row *= ds[:, None]                                      # all four at once
        ds *= gates[t][:, 2 * H:3 * H]
        ds += np.matmul(da[t][:, :3 * H], W, out=sent)          # eq. 20.8


def _before_backward(dout, ds, da, gates, w_hh):
    """As `_after_backward`, with the gradient of v in the first block."""
    B, H = ds.shape
    W, W_n = np.ascontiguousarray(w_hh[:, :2 * H].T), np.ascontiguousarray(w_hh[:, 2 * H:].T)
    sent = np.empty_like(ds)
    for t in reversed(range(len(da))):
        ds += dout[:, t]
        row, (dv, to_r) = da[t].reshape(B, 4, H), (da[t][:, :H], da[t][:, H:2 * H])
        row[:, 2:] *= ds[:, None]                               # z and n
        np.matmul(da[t][:, 3 * H:], W_n, out=dv)
        to_r *= dv
        ds *= gates[t][:, 2 * H:3 * H]
        ds += np.multiply(dv, gates[t][:, H:2 * H], out=sent)
        ds += np.matmul(da[t][:, H:3 * H], W, out=sent)         # eq. 20.9


class GRU(plain.GRU):
    """As level 2, by the ops of this level; x (B, T, D)."""

    op, op_backward = staticmethod(gru), staticmethod(gru_backward)
