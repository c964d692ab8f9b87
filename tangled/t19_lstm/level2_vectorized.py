# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:366bc61e9969100e
"""LSTM, level 2: whole arrays in a loop over time, and the module."""

import math

import numpy as np

import tangled.t19_lstm.checks as check
from tangled.t06_backpropagation import Module, Parameter


def lstm_step(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM; Hochreiter and Schmidhuber (1997), Gers et al. (2000).

    Parameters
    ----------
    x : ndarray of shape (B, D), floating
    h, c : ndarrays of shape (B, H), output and cell before the step
    w_ih, w_hh : ndarrays of shapes (D, 4H), (H, 4H): columns of i, f, g, o
    b_ih, b_hh : ndarrays of shape (4H,), or None

    Returns
    -------
    (h, c) : ndarrays of shape (B, H), after the step
    cache : for `lstm_step_backward`
    """
    x, *arrays = check.weights(x, ("B", "D"), h, c, w_ih, w_hh, b_ih, b_hh)
    (h, c), cache = _step(*check.widened(x, *arrays))
    return (h.astype(x.dtype), c.astype(x.dtype)), (cache, x.dtype)


def _step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """`lstm_step` on x (B, D) and the rest, in the dtype to compute in."""
    a = x @ w_ih + h @ w_hh                                     # (B, 4H)   eq. 19.1
    for b in (b_ih, b_hh):
        a = a if b is None else a + b
    i, f, g, o = np.split(a, 4, axis=1)                             # (B, H) each, in this order
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    c_new = f * c + i * g                                       # (B, H)    eq. 19.2
    tc = np.tanh(c_new)
    h_new = o * tc                                                  # (B, H)    eq. 19.3
    given = (b_ih is not None) + (b_hh is not None)
    return (h_new, c_new), (x, h, c, (i, f, g, o), tc, w_ih, w_hh, given)


def _sigmoid(a):
    """a (...): 1 / (1 + exp(-a)), without overflow."""
    e = np.exp(-np.abs(a))                                      # at most 1
    return np.where(a >= 0, 1, e) / (1 + e)


def lstm_step_backward(dh, dc, cache):
    """Gradients of `lstm_step`.

    Parameters
    ----------
    dh, dc : ndarrays of shape (B, H), of what the step gave; None for zeros
    cache : from `lstm_step`

    Returns
    -------
    dx, dh, dc : ndarrays of shapes (B, D), (B, H), (B, H), of what the step took
    dw_ih, dw_hh : ndarrays of shapes (D, 4H), (H, 4H)
    db_ih, db_hh : ndarrays of shape (4H,), those that were given
    """
    inner, dtype = cache
    h = inner[1]
    dh, dc = check.upstreams(h.shape, h.dtype, dh=dh, dc=dc)
    return tuple(grad.astype(dtype, copy=False) for grad in _step_backward(dh, dc, inner))


def _step_backward(dh, dc, cache):
    """`lstm_step_backward`, dh and dc (B, H), in the dtype to compute in."""
    x, h, c, (i, f, g, o), tc, w_ih, w_hh, given = cache
    dc = dc + dh * o * (1 - tc * tc)                                # (B, H)    eq. 19.5
    da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f),
                         dc * i * (1 - g * g), dh * tc * o * (1 - o)], axis=1)  # eq. 19.7
    dc = dc * f                                                     # eq. 19.6
    grads = [da @ w_ih.T, da @ w_hh.T, dc, x.T @ da, h.T @ da]                  # eq. 19.8
    return grads + [da.sum(axis=0) for _ in range(given)]


def lstm(x, h0, c0, w_ih, w_hh, b_ih=None, b_hh=None):
    """An LSTM over whole sequences.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating
    h0, c0 : ndarrays of shape (B, H), before the first step
    w_ih, w_hh, b_ih, b_hh : as for `lstm_step`

    Returns
    -------
    (out, (h_T, c_T)) : ndarrays of shapes (B, T, H), (B, H), (B, H)
    cache : for `lstm_backward`
    """
    x, *arrays = check.weights(x, ("B", "T", "D"), h0, c0, w_ih, w_hh, b_ih, b_hh)
    steps, h, c, *parameters = check.widened(x, *arrays)
    out, caches = np.empty((*x.shape[:2], h.shape[1]), x.dtype), []
    for t in range(x.shape[1]):
        (h, c), cache = _step(steps[:, t], h, c, *parameters)
        out[:, t] = h
        caches.append(cache)
    shapes = [a.shape for a in (x, h, c, *parameters) if a is not None]
    return (out, (h.astype(x.dtype), c.astype(x.dtype))), (caches, shapes, h.dtype, x.dtype)


def lstm_backward(dout, dh_T, dc_T, cache):
    """Gradients of `lstm`, backwards through time.

    Parameters
    ----------
    dout : ndarray of shape (B, T, H)
    dh_T, dc_T : ndarrays of shape (B, H), or None for zeros
    cache : from `lstm`

    Returns
    -------
    dx, dh0, dc0 : ndarrays of shapes (B, T, D), (B, H), (B, H)
    dw_ih, dw_hh : ndarrays of shapes (D, 4H), (H, 4H)
    db_ih, db_hh : ndarrays of shape (4H,), those that were given
    """
    caches, shapes, work, dtype = cache
    (B, T, _), (_, H) = shapes[:2]
    dout = check.gradient("dout", dout, (B, T, H), work)
    dh, dc = check.upstreams((B, H), work, dh_T=dh_T, dc_T=dc_T)
    dx, totals = np.empty(shapes[0], work), [np.zeros(s, work) for s in shapes[3:]]
    for t in reversed(range(T)):
        dh = dout[:, t] + dh                                            # (B, H)    eq. 19.4
        dx[:, t], dh, dc, *grads = _step_backward(dh, dc, caches[t])
        for total, grad in zip(totals, grads):
            total += grad                                       # eq. 19.8
    return tuple(grad.astype(dtype, copy=False) for grad in (dx, dh, dc, *totals))


class LSTM(Module):
    """Layers of LSTMs.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    bias : bool
    batch_first : bool; False takes and gives (T, B, ...)
    forget_bias : float, what the two biases of the forget gate add up to at first;
        None leaves the draw, as PyTorch does
    rng : numpy.random.Generator, for the weights, uniform within 1 / sqrt(hidden_size)

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ..._l1, ... : Parameters of shapes
        (D, 4H), (H, 4H), (4H,), (4H,), float32; PyTorch's weights are their transposes
    """

    op, op_backward = staticmethod(lstm), staticmethod(lstm_backward)

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=True,
                 forget_bias=1.0, rng=None):
        D = check.whole("input_size", input_size)
        H = check.whole("hidden_size", hidden_size)
        self.layers, self.H = check.whole("num_layers", num_layers), H
        self.batch_first = batch_first
        forget_bias = check.forget_bias(forget_bias)
        rng = np.random.default_rng(0) if rng is None else check.generator(rng)
        draw = lambda *shape: Parameter(
            rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(H)))
        for k in range(self.layers):
            setattr(self, f"weight_ih_l{k}", draw(H if k else D, 4 * H))
            setattr(self, f"weight_hh_l{k}", draw(H, 4 * H))
            for name in ("bias_ih_l", "bias_hh_l"):
                setattr(self, f"{name}{k}", draw(4 * H) if bias else None)
            if bias and forget_bias is not None:
                getattr(self, f"bias_ih_l{k}").data[H:2 * H] = forget_bias
                getattr(self, f"bias_hh_l{k}").data[H:2 * H] = 0                # the two are added

    def of_layer(self, k):
        """[w_ih, w_hh, b_ih, b_hh]: Parameters (D, 4H), (H, 4H), (4H,), (4H,), or None."""
        return [getattr(self, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def forward(self, x, state=None):
        """x (B, T, D), state (h, c) of (L, B, H) each or None: out (B, T, H), (h, c)."""
        x = x if self.batch_first else x.swapaxes(0, 1)
        shape = self.layers, len(x), self.H
        given = (np.zeros(shape, x.dtype),) * 2 if state is None else state
        h, c = (check.floats(name, s, shape, x.dtype) for name, s in zip(("h", "c"), given))
        h_end, c_end, caches = np.empty(shape, x.dtype), np.empty(shape, x.dtype), []
        for k in range(self.layers):
            arrays = [None if p is None else p.data for p in self.of_layer(k)]
            (x, (h_end[k], c_end[k])), cache = self.op(x, h[k], c[k], *arrays)
            caches.append(cache)
        self.cache = caches, state is not None
        return x if self.batch_first else x.swapaxes(0, 1), (h_end, c_end)

    def backward(self, dout):
        """dout (B, T, H), or (dout, (dh, dc)): dx, or (dx, (dh, dc)) if a state was given."""
        caches, with_state = self.kept()
        dx, ends = dout if isinstance(dout, tuple) else (dout, None)
        ends = (None, None) if ends is None else ends           # None is zeros
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        dh, dc = np.empty((2, self.layers, len(dx), self.H), dx.dtype)
        for k in reversed(range(self.layers)):
            of_ends = (None if end is None else end[k] for end in ends)
            dx, dh[k], dc[k], *grads = self.op_backward(dx, *of_ends, caches[k])
            given = (p for p in self.of_layer(k) if p is not None)
            for parameter, grad in zip(given, grads):
                parameter.accumulate(grad)
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        return (dx, (dh, dc)) if with_state else dx


def to_pytorch(module):
    """The parameters of an `LSTM` as torch.nn.LSTM names and shapes them.

    Parameters
    ----------
    module : LSTM

    Returns
    -------
    state : dict of name to ndarray; weights (4H, D) and (4H, H), biases (4H,), copies
    """
    return {name: p.data.T.copy() for name, p in module.named_parameters()}


def from_pytorch(module, state):
    """Put the parameters of a torch.nn.LSTM into an `LSTM`.

    Parameters
    ----------
    module : LSTM
    state : dict of name to array or CPU tensor, of shapes (4H, D), (4H, H), (4H,), as torch's
        `state_dict()`

    Returns
    -------
    module : the same, its parameters replaced, in their own dtype
    """
    own = dict(module.named_parameters())
    if set(own) != set(state):
        raise ValueError(f"state has the names {sorted(state)}; expected {sorted(own)}")
    arrays = {name: check.floats(name, np.asarray(state[name]), p.data.T.shape)
              for name, p in own.items()}
    for name, parameter in own.items():
        parameter.data = arrays[name].T.astype(parameter.data.dtype, order="C")
    return module
