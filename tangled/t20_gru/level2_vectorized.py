# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:4a01822a5ba8b889
"""Gated recurrent units, level 2: whole arrays in a loop over time, and the module."""

import math

import numpy as np

import tangled.t20_gru.checks as check
from tangled.t06_backpropagation import Module, Parameter


def _sigmoid(a):
    """By eq. 20.11; never overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def gru_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """One step of a gated recurrent unit; Cho et al. (2014).

    Parameters
    ----------
    x : ndarray of shape (B, D), floating
    h : ndarray of shape (B, H), the state before the step
    w_ih, w_hh : ndarrays of shapes (D, 3H), (H, 3H); columns r, z, n, H of each
    b_ih, b_hh : ndarrays of shape (3H,), or None
    variant : "pytorch", eq. 20.2, or "cho", eq. 20.3

    Returns
    -------
    h_new : ndarray of shape (B, H)
    cache : for `gru_step_backward`

    Raises
    ------
    ValueError
        where a shape, a dtype or the variant is another
    """
    arrays = check.weights(x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, variant)
    dtype, given = arrays[0].dtype, (b_ih is not None, b_hh is not None)
    x, h, w_ih, w_hh, b_ih, b_hh = check.widened(arrays)
    H = h.shape[1]
    a = x @ w_ih + b_ih                                         # (B, 3H)
    W, W_n, b, b_n = w_hh[:, :2 * H], w_hh[:, 2 * H:], b_hh[:2 * H], b_hh[2 * H:]
    gates = _sigmoid(a[:, :2 * H] + h @ W + b)                      # (B, 2H)   eq. 20.1
    r, z = gates[:, :H], gates[:, H:]
    if variant == "pytorch":
        inner = h @ W_n + b_n                                       # u
        n = np.tanh(a[:, 2 * H:] + r * inner)                       # eq. 20.2
    else:
        inner = r * h                                               # v
        n = np.tanh(a[:, 2 * H:] + inner @ W_n + b_n)               # eq. 20.3
    h_new = z * h + (1 - z) * n                                     # eq. 20.4
    return h_new.astype(dtype), (x, h, r, z, n, inner, w_ih, w_hh, given, variant, dtype)


def gru_step_backward(dh_new, cache):
    """Gradients of `gru_step`.

    Parameters
    ----------
    dh_new : ndarray of shape (B, H)
    cache : from `gru_step`

    Returns
    -------
    dx, dh : ndarrays of shapes (B, D), (B, H)
    dw_ih, dw_hh : ndarrays of shapes (D, 3H), (H, 3H)
    db_ih, db_hh : ndarrays of shape (3H,), those that were given
    """
    x, h, r, z, n, inner, w_ih, w_hh, given, variant, dtype = cache
    dh_new = check.gradient("dh_new", dh_new, h.shape, h.dtype)
    H = h.shape[1]
    W, W_n = w_hh[:, :2 * H], w_hh[:, 2 * H:]
    dn, dz, dh = dh_new * (1 - z), dh_new * (h - n), dh_new * z     # eq. 20.6
    da_n, da_z = dn * (1 - n * n), dz * z * (1 - z)             # eq. 20.7
    if variant == "pytorch":                                        # eq. 20.8
        dr, du = da_n * inner, da_n * r
        dh += du @ W_n.T
        left, right = h, du                                         # the factors of W_n's gradient
    else:                                                           # eq. 20.9
        dv = da_n @ W_n.T
        dr = dv * h
        dh += dv * r
        left, right = inner, da_n
    da_r = dr * r * (1 - r)
    da = np.concatenate([da_r, da_z, da_n], axis=1)             # (B, 3H), of what x sends
    gates = da[:, :2 * H]
    dh += gates @ W.T
    dw_hh = np.concatenate([h.T @ gates, left.T @ right], axis=1)           # eq. 20.10
    grads = [da @ w_ih.T, dh, x.T @ da, dw_hh]
    biases = da.sum(axis=0), np.concatenate([gates, right], axis=1).sum(axis=0)
    grads += [db for db, there in zip(biases, given) if there]
    return tuple(grad.astype(dtype, copy=False) for grad in grads)


def gru(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, variant="pytorch"):
    """A gated recurrent unit over whole sequences.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating
    h0 : ndarray of shape (B, H), the state before the first step
    w_ih, w_hh, b_ih, b_hh, variant : as for `gru_step`

    Returns
    -------
    (out, h_T) : ndarrays of shapes (B, T, H) and (B, H); h_T is the last output, or h0 if T is 0
    cache : for `gru_backward`
    """
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, variant)
    out, h, caches = np.empty((*x.shape[:2], h0.shape[1]), x.dtype), h0, []
    for t in range(x.shape[1]):
        h, cache = gru_step(x[:, t], h, *parameters, variant)
        out[:, t] = h
        caches.append(cache)
    given = tuple(b is not None for b in parameters[2:])
    return (out, h.copy()), (caches, x.shape, h0, parameters[0], given)


def gru_backward(dout, dh_T, cache):
    """Gradients of `gru`, backwards through time.

    Parameters
    ----------
    dout : ndarray of shape (B, T, H)
    dh_T : ndarray of shape (B, H), or None for zeros: the gradient of the last state
    cache : from `gru`

    Returns
    -------
    dx, dh0 : ndarrays of shapes (B, T, D), (B, H)
    dw_ih, dw_hh : ndarrays of shapes (D, 3H), (H, 3H)
    db_ih, db_hh : ndarrays of shape (3H,), those that were given
    """
    caches, shape, h0, w_ih, given = cache
    dtype, H = h0.dtype, h0.shape[1]
    dout = check.gradient("dout", dout, (*shape[:2], H), dtype)
    ds = (np.zeros(h0.shape, dtype) if dh_T is None
          else check.gradient("dh_T", dh_T, h0.shape, dtype))
    work = check.working(dtype)
    totals = [np.zeros(s, work) for s in [w_ih.shape, (H, 3 * H)] + [(3 * H,)] * sum(given)]
    dx = np.zeros(shape, dtype)
    for t in reversed(range(shape[1])):
        dx[:, t], ds, *grads = gru_step_backward(dout[:, t] + ds, caches[t])
        for total, grad in zip(totals, grads):
            total += grad
    return dx, ds.copy(), *(total.astype(dtype, copy=False) for total in totals)


class GRU(Module):
    """Layers of gated recurrent units.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    bias : bool
    batch_first : bool; False takes and gives (T, B, ...)
    variant : "pytorch" or "cho"
    rng : numpy.random.Generator, for the weights, uniform within 1 / sqrt(hidden_size)

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ..._l1, ... : Parameters of shapes
        (D, 3H), (H, 3H), (3H,), (3H,), float32; PyTorch's weights are their transposes
    """

    op, op_backward = staticmethod(gru), staticmethod(gru_backward)

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=True,
                 variant="pytorch", rng=None):
        D, H = check.whole("input_size", input_size), check.whole("hidden_size", hidden_size)
        self.layers, self.H = check.whole("num_layers", num_layers), H
        self.variant, self.batch_first = check.variant(variant), batch_first
        rng = np.random.default_rng(0) if rng is None else check.generator(rng)
        draw = lambda *shape: Parameter(
            rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(H)))
        for k in range(self.layers):
            setattr(self, f"weight_ih_l{k}", draw(H if k else D, 3 * H))
            setattr(self, f"weight_hh_l{k}", draw(H, 3 * H))
            for name in ("bias_ih_l", "bias_hh_l"):
                setattr(self, f"{name}{k}", draw(3 * H) if bias else None)

    def of_layer(self, k):
        """[w_ih, w_hh, b_ih, b_hh]: Parameters (D, 3H), (H, 3H), (3H,), (3H,), or None."""
        return [getattr(self, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def forward(self, x, h0=None):
        """x (B, T, D), h0 (L, B, H) or None: outputs (B, T, H), the states behind them."""
        x = x if self.batch_first else x.swapaxes(0, 1)
        shape = self.layers, len(x), self.H
        start = np.zeros(shape, x.dtype) if h0 is None else check.floats("h0", h0, shape, x.dtype)
        end, caches = np.empty(shape, x.dtype), []
        for k in range(self.layers):
            arrays = [None if p is None else p.data for p in self.of_layer(k)]
            (x, end[k]), cache = self.op(x, start[k], *arrays, self.variant)
            caches.append(cache)
        self.cache = caches, h0 is not None
        return x if self.batch_first else x.swapaxes(0, 1), end

    def backward(self, dout):
        """(d outputs, d states or None) to dx, or (dx, dh0) if an h0 was given."""
        caches, with_state = self.kept()
        dx, dend = dout if isinstance(dout, tuple) else (dout, None)
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        dh0 = np.empty((self.layers, len(dx), self.H), dx.dtype)
        for k in reversed(range(self.layers)):
            dx, dh0[k], *grads = self.op_backward(
                dx, None if dend is None else dend[k], caches[k])
            for parameter, grad in zip((p for p in self.of_layer(k) if p is not None), grads):
                parameter.accumulate(grad)
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        return (dx, dh0) if with_state else dx


def to_pytorch(module):
    """A state for `torch.nn.GRU`: names to arrays, weights (3H, D) and (3H, H), biases (3H,)."""
    if module.variant != "pytorch":
        raise ValueError(f"variant = {module.variant!r}; expected 'pytorch', the one that torch.nn.GRU has")
    return {name: p.data.T.copy() for name, p in module.named_parameters()}


def from_pytorch(module, state):
    """Fill a module from names and arrays or tensors, as `torch.nn.GRU.state_dict()` gives them; the module.

    Weights (3H, D) and (3H, H), biases (3H,); the dtype is the module's.
    """
    if module.variant != "pytorch":
        raise ValueError(f"variant = {module.variant!r}; expected 'pytorch', the one that torch.nn.GRU has")
    parameters = dict(module.named_parameters())
    if set(state) != set(parameters):
        raise ValueError(f"state has {sorted(state)}; expected {sorted(parameters)}")
    found = {name: np.asarray(state[name]).T for name in parameters}
    for name, parameter in parameters.items():
        if found[name].shape != parameter.data.shape:
            raise ValueError(f"state has {name} of shape {found[name].T.shape}; "
                             f"expected {parameter.data.T.shape}")
    for name, parameter in parameters.items():
        parameter.data = np.array(found[name], parameter.data.dtype, order="C")
    return module
