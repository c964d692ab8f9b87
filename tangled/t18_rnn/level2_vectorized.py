# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:51b710e0f71c0a04
"""Recurrent networks, level 2: whole arrays in a loop over time, and the modules."""

import math

import numpy as np

import tangled.t18_rnn.checks as check
from tangled.t06_backpropagation import Module, Parameter


def rnn_step(x, h, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """One step of a recurrent network; Elman (1990).

    Parameters
    ----------
    x : ndarray of shape (B, D), floating
    h : ndarray of shape (B, H), the state before the step
    w_ih, w_hh : ndarrays of shapes (D, H), (H, H)
    b_ih, b_hh : ndarrays of shape (H,), or None
    nonlinearity : "tanh" or "relu"

    Returns
    -------
    h_new : ndarray of shape (B, H)
    cache : for `rnn_step_backward`
    """
    x, h, w_ih, w_hh, b_ih, b_hh = check.weights(
        x, ("B", "D"), h, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    work = check.working(x.dtype)
    a = x.astype(work, copy=False) @ w_ih + h.astype(work, copy=False) @ w_hh   # eq. 18.4
    for b in (b_ih, b_hh):
        a = a if b is None else a + b
    out = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
    given = b_ih is not None, b_hh is not None
    return out.astype(x.dtype), (x, h, out, w_ih, w_hh, given, nonlinearity)


def rnn_step_backward(dh_new, cache):
    """Gradients of `rnn_step`.

    Parameters
    ----------
    dh_new : ndarray of shape (B, H)
    cache : from `rnn_step`

    Returns
    -------
    dx, dh : ndarrays of shapes (B, D), (B, H)
    dw_ih, dw_hh : ndarrays of shapes (D, H), (H, H)
    db_ih, db_hh : ndarrays of shape (H,), those that were given
    """
    x, h, out, w_ih, w_hh, given, nonlinearity = cache
    dh_new = check.gradient("dh_new", dh_new, out.shape, out.dtype)
    da = dh_new * (1 - out * out) if nonlinearity == "tanh" else np.where(out > 0, dh_new, 0)
    grads = [da @ w_ih.T, da @ w_hh.T, x.T @ da, h.T @ da]      # eq. 18.5, eq. 18.6
    grads += [da.sum(axis=0) for _ in range(sum(given))]
    return tuple(grad.astype(x.dtype, copy=False) for grad in grads)


def rnn(x, h0, w_ih, w_hh, b_ih=None, b_hh=None, nonlinearity="tanh"):
    """A recurrent network over whole sequences.

    Parameters
    ----------
    x : ndarray of shape (B, T, D), floating
    h0 : ndarray of shape (B, H), the state before the first step
    w_ih, w_hh, b_ih, b_hh, nonlinearity : as for `rnn_step`

    Returns
    -------
    (out, h_T) : ndarrays of shapes (B, T, H) and (B, H); h_T is the last output, or h0 if T is 0
    cache : for `rnn_backward`
    """
    x, h0, *parameters = check.weights(x, ("B", "T", "D"), h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)
    out, h, caches = np.empty((*x.shape[:2], h0.shape[1]), x.dtype), h0, []
    for t in range(x.shape[1]):
        h, cache = rnn_step(x[:, t], h, *parameters, nonlinearity)
        out[:, t] = h
        caches.append(cache)
    given = tuple(b is not None for b in parameters[2:])
    return (out, h.copy()), (caches, x.shape, h0, parameters[0], given)


def rnn_backward(dout, dh_T, cache):
    """Gradients of `rnn`, backwards through time.

    Parameters
    ----------
    dout : ndarray of shape (B, T, H)
    dh_T : ndarray of shape (B, H), or None for zeros: the gradient of the last state
    cache : from `rnn`

    Returns
    -------
    dx, dh0 : ndarrays of shapes (B, T, D), (B, H)
    dw_ih, dw_hh : ndarrays of shapes (D, H), (H, H)
    db_ih, db_hh : ndarrays of shape (H,), those that were given
    """
    caches, shape, h0, w_ih, given = cache
    dtype, H = h0.dtype, h0.shape[1]
    dout = check.gradient("dout", dout, (*shape[:2], H), dtype)
    ds = (np.zeros(h0.shape, dtype) if dh_T is None
          else check.gradient("dh_T", dh_T, h0.shape, dtype))
    work = check.working(dtype)
    totals = [np.zeros(s, work) for s in [w_ih.shape, (H, H)] + [(H,)] * sum(given)]
    dx = np.zeros(shape, dtype)
    for t in reversed(range(shape[1])):
        dh = dout[:, t] + ds                                            # (B, H)   eq. 18.5
        dx[:, t], ds, *grads = rnn_step_backward(dh, caches[t])
        for total, grad in zip(totals, grads):
            total += grad                                                   # eq. 18.6
    return dx, ds.copy(), *(total.astype(dtype, copy=False) for total in totals)


def embedding(ids, table):
    """Rows of a table.

    Parameters
    ----------
    ids : ndarray of any shape (...), integers from 0 to V - 1
    table : ndarray of shape (V, D), floating

    Returns
    -------
    out : ndarray of shape (..., D)
    cache : for `embedding_backward`
    """
    table = check.table(table)
    ids = check.ids("ids", ids, len(table))
    return table[ids], (ids.copy(), table.shape, table.dtype)


def embedding_backward(dout, cache):
    """dout (..., D) to dtable (V, D): added up where an id occurs more than once."""
    ids, shape, dtype = cache
    dout = check.gradient("dout", dout, (*ids.shape, shape[1]), dtype)
    dtable = np.zeros(shape, check.working(dtype))
    np.add.at(dtable, ids.reshape(-1), dout.reshape(-1, shape[1]))
    return dtable.astype(dtype, copy=False)


def bigram_counts(ids, V):
    """How often each symbol follows each.

    Parameters
    ----------
    ids : ndarray of shape (n,), integers below V
    V : int

    Returns
    -------
    counts : ndarray of shape (V, V), int64; row a, column b: how often b follows a
    """
    V = check.whole("V", V)
    ids = check.ids("ids", ids, V).astype(np.int64)
    return np.bincount(ids[:-1] * V + ids[1:], minlength=V * V).reshape(V, V)


def sample_categorical(logits, temperature, rng):
    """Draw from softmax(logits / temperature).

    Parameters
    ----------
    logits : ndarray of shape (..., V), floating
    temperature : float; 0 takes the largest logit, the first of several
    rng : numpy.random.Generator; draws one number for each row, none at temperature 0

    Returns
    -------
    ids : ndarray of shape (...), int64
    """
    logits, temperature, rng = check.logits(logits), check.temperature(temperature), check.generator(rng)
    if not temperature:
        return logits.argmax(axis=-1)
    z = logits.astype(np.float64)
    z = (z - z.max(axis=-1, keepdims=True)) / temperature
    up_to = np.exp(z).cumsum(axis=-1)                           # (..., V)
    draws = rng.random(logits.shape[:-1])[..., None] * up_to[..., -1:]
    return np.minimum((up_to <= draws).sum(axis=-1), logits.shape[-1] - 1)


class Embedding(Module):
    """Vectors (..., embedding_dim) of integers (...), standard normal at first, by rng or seed 0."""

    def __init__(self, num_embeddings, embedding_dim, rng=None):
        shape = check.whole("num_embeddings", num_embeddings), check.whole("embedding_dim", embedding_dim)
        rng = np.random.default_rng(0) if rng is None else rng
        self.weight = Parameter(rng.standard_normal(shape).astype(np.float32))

    def forward(self, ids):
        """ids (...) to (..., D)."""
        out, self.cache = embedding(ids, self.weight.data)
        return out

    def backward(self, dout):
        """dout (..., D): adds to the table's gradient; integers have none."""
        self.weight.accumulate(embedding_backward(dout, self.kept()))


class RNN(Module):
    """Layers of recurrent networks.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
    nonlinearity : "tanh" or "relu"
    bias : bool
    batch_first : bool; False takes and gives (T, B, ...)
    rng : numpy.random.Generator, for the weights, uniform within 1 / sqrt(hidden_size); by default one with
        the seed 0

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ..._l1, ... : Parameters of shapes
        (D, H), (H, H), (H,), (H,), float32; PyTorch's weights are their transposes
    """

    op, op_backward = staticmethod(rnn), staticmethod(rnn_backward)

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True,
                 batch_first=True, rng=None):
        D, H = check.whole("input_size", input_size), check.whole("hidden_size", hidden_size)
        self.layers, self.H = check.whole("num_layers", num_layers), H
        self.nonlinearity, self.batch_first = nonlinearity, batch_first
        rng = np.random.default_rng(0) if rng is None else rng
        draw = lambda *shape: Parameter(
            rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(math.sqrt(H)))
        for k in range(self.layers):
            setattr(self, f"weight_ih_l{k}", draw(H if k else D, H))
            setattr(self, f"weight_hh_l{k}", draw(H, H))
            for name in ("bias_ih_l", "bias_hh_l"):
                setattr(self, f"{name}{k}", draw(H) if bias else None)

    def of_layer(self, k):
        """[w_ih, w_hh, b_ih, b_hh]: Parameters (D, H), (H, H), (H,), (H,), or None."""
        return [getattr(self, f"{name}_l{k}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def forward(self, x, state=None):
        """x (B, T, D), state (L, B, H) or None: outputs (B, T, H), the state behind them."""
        x = x if self.batch_first else x.swapaxes(0, 1)
        shape = self.layers, len(x), self.H
        start = (np.zeros(shape, x.dtype) if state is None
                 else check.floats("state", state, shape, x.dtype))
        end, caches = np.empty(shape, x.dtype), []
        for k in range(self.layers):
            arrays = [None if p is None else p.data for p in self.of_layer(k)]
            (x, end[k]), cache = self.op(x, start[k], *arrays, self.nonlinearity)
            caches.append(cache)
        self.cache = caches, state is not None
        return x if self.batch_first else x.swapaxes(0, 1), end

    def backward(self, dout):
        """(d outputs, d state or None) to dx, or (dx, dstate) if a state was given."""
        caches, with_state = self.kept()
        dx, dend = dout if isinstance(dout, tuple) else (dout, None)
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        dstate = np.empty((self.layers, len(dx), self.H), dx.dtype)
        for k in reversed(range(self.layers)):
            dx, dstate[k], *grads = self.op_backward(
                dx, None if dend is None else dend[k], caches[k])
            for parameter, grad in zip((p for p in self.of_layer(k) if p is not None), grads):
                parameter.accumulate(grad)
        dx = dx if self.batch_first else dx.swapaxes(0, 1)
        return (dx, dstate) if with_state else dx
