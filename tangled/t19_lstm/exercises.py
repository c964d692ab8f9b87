# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:19524a6f90ff3b7c
"""Chapter 19: worked answers to the graded exercises."""

import numpy as np

from tangled.t16_normalizations import layer_norm, layer_norm_backward


def import_gates(w_ih, w_hh, bias, order, forget_bias=0.0):
    """Weights with the gates in another order, as `lstm` takes them.

    Parameters
    ----------
    w_ih, w_hh : ndarrays of shapes (D, 4H), (H, 4H), the gates side by side
    bias : ndarray of shape (4H,), the only one
    order : str, a permutation of "ifgo": which gate each quarter is
    forget_bias : float, which the other framework adds to the forget gate at run time

    Returns
    -------
    w_ih, w_hh, b_ih, b_hh : ndarrays of shapes (D, 4H), (H, 4H), (4H,), (4H,)
    """
    H = len(w_hh)
    columns = np.concatenate([order.index(gate) * H + np.arange(H) for gate in "ifgo"])
    b_ih = bias[columns]
    b_ih[H:2 * H] += forget_bias
    return w_ih[:, columns], w_hh[:, columns], b_ih, np.zeros_like(b_ih)


def _gates(a):
    """a (B, 4H): i, f, g, o (B, H) each."""
    i, f, g, o = np.split(a, 4, axis=1)
    return [np.tanh(v) if v is g else 0.5 + 0.5 * np.tanh(0.5 * v) for v in (i, f, g, o)]


def layer_norm_lstm_step(x, h, c, w_ih, w_hh, b, norms):
    """One step of an LSTM with layer normalisation; Ba, Kiros and Hinton (2016), supplement.

    Parameters
    ----------
    x : ndarray of shape (B, D);  h, c : (B, H)
    w_ih, w_hh, b : ndarrays of shapes (D, 4H), (H, 4H), (4H,); gates i, f, g, o
    norms : gamma_x, beta_x, gamma_h, beta_h of shape (4H,), gamma_c, beta_c of shape (H,)

    Returns
    -------
    (h, c) : ndarrays of shape (B, H)
    cache : for `layer_norm_lstm_step_backward`
    """
    from_x, of_x = layer_norm(x @ w_ih, *norms[:2])
    from_h, of_h = layer_norm(h @ w_hh, *norms[2:4])
    i, f, g, o = gates = _gates(from_x + from_h + b)
    c_new = f * c + i * g
    shown, of_c = layer_norm(c_new, *norms[4:])
    tc = np.tanh(shown)
    return (o * tc, c_new), (x, h, c, w_ih, w_hh, gates, tc, of_x, of_h, of_c)


def layer_norm_lstm_step_backward(dh, dc, cache):
    """Gradients of `layer_norm_lstm_step`.

    Parameters
    ----------
    dh, dc : ndarrays of shape (B, H)
    cache : from `layer_norm_lstm_step`

    Returns
    -------
    dx, dh, dc, dw_ih, dw_hh, db : ndarrays of the shapes of what they belong to
    dnorms : tuple of six, as `norms`
    """
    x, h, c, w_ih, w_hh, (i, f, g, o), tc, of_x, of_h, of_c = cache
    through, *d_norm_c = layer_norm_backward(dh * o * (1 - tc * tc), of_c)
    dc = dc + through                                           # eq. 19.5
    da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f),
                         dc * i * (1 - g * g), dh * tc * o * (1 - o)], axis=1)
    d_from_x, *d_norm_x = layer_norm_backward(da, of_x)
    d_from_h, *d_norm_h = layer_norm_backward(da, of_h)
    return (d_from_x @ w_ih.T, d_from_h @ w_hh.T, dc * f, x.T @ d_from_x, h.T @ d_from_h,
            da.sum(axis=0), (*d_norm_x, *d_norm_h, *d_norm_c))
