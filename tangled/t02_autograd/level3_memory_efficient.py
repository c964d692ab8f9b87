# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:eb9adb471a73467a
"""Level 3: the graph holds only the arrays that VJPs need, and lets go of them as it is used."""

import contextlib
import threading
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter

import numpy as np

from tangled.t01_tensor_operations import unbroadcast

_births = count(1)

class _Mode(threading.local):
    """One for each thread: another thread's `no_grad` is no business of this one."""

    recording = True


_mode = _Mode()


@contextlib.contextmanager
def no_grad():
    """Inside `with no_grad():` operations on tensors of any shape are computed but not recorded."""
    before, _mode.recording = _mode.recording, False
    try:
        yield
    finally:
        _mode.recording = before


class _Node:
    """One recorded operation: when it was born, the shape of its result, its edges. No data."""

    __slots__ = ("birth", "edges", "reads", "shape")

    def __init__(self, edges, shape, reads):
        self.birth, self.edges, self.shape, self.reads = -next(_births), edges, shape, reads


class Tensor:
    """An array of any shape that remembers how it was computed; `node` is None for a leaf."""

    __slots__ = ("_data", "grad", "node", "requires_grad", "writes")
    __array_ufunc__ = None

    def __init__(self, data, requires_grad=True):
        self._data, self.grad, self.writes = _float_array(data), None, [0]
        self.node, self.requires_grad = None, requires_grad

    def _set_data(self, array):
        self.writes[0] += array is self._data        # `t.data -= step` hands back what it wrote into
        self._data = array

    data = property(attrgetter("_data"), _set_data, doc="The array, of any shape.")

    @property
    def shape(self):
        """The shape of the array."""
        return self.data.shape

    @property
    def ndim(self):
        """The number of axes."""
        return self.data.ndim

    def item(self):
        """The only entry, as a Python number."""
        return self.data.item()

    def zero_grad(self):
        """Forget the gradient."""
        self.grad = None

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        return f"Tensor({self.data}, requires_grad={self.requires_grad})"

    def __add__(self, other):
        other = _constant(other)
        return _record(self.data + other.data, (self, _same), (other, _same))

    def __sub__(self, other):
        other = _constant(other)
        return _record(self.data - other.data, (self, _same), (other, np.negative))

    def __mul__(self, other):
        other = _constant(other)
        x, z = self.data, other.data
        return _record(x * z, (self, lambda g: g * z, other), (other, lambda g: g * x, self))

    def __truediv__(self, other):
        other = _constant(other)
        z = other.data
        y = self.data / z
        return _record(y, (self, lambda g: g / z, other), (other, lambda g: -g * y / z, None, other))

    def __pow__(self, other):
        other = _constant(other)
        x, p = self.data, other.data
        y = x**p
        by_base = lambda g: g * np.where(p == 0, 0.0, p * x ** (p - 1))
        by_exponent = lambda g: g * np.where((x == 0) & (p >= 0), 0.0, y * np.log(x, dtype=y.dtype))
        return _record(y, (self, by_base, self, other), (other, by_exponent, None, self, other))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __rsub__(self, other):
        return _constant(other) - self

    def __rtruediv__(self, other):
        return _constant(other) / self

    def __rpow__(self, other):
        return _constant(other) ** self

    def exp(self):
        """e to each entry; same shape."""
        y = np.exp(self.data)
        return _record(y, (self, lambda g: g * y, None))                        # eq. 2.8

    def log(self):
        """The natural logarithm of each entry; same shape. -inf at 0, NaN below."""
        x = self.data
        return _record(np.log(x), (self, lambda g: g / x, self))

    def tanh(self):
        """The hyperbolic tangent of each entry; same shape."""
        y = np.tanh(self.data)
        return _record(y, (self, lambda g: g * (1.0 - y * y), None))

    def relu(self):
        """Each entry where positive, else 0; same shape."""
        y = np.maximum(self.data, 0)
        vjp = lambda g: np.where(y != 0, g, 0)
        return _record(y, (self, vjp, None))

    def __matmul__(self, other):
        """Matrix product (..., m, k) @ (..., k, n) -> (..., m, n); vectors as in NumPy."""
        other = _constant(other)
        x, z = self.data, np.asarray(other.data)
        if not (x.ndim and z.ndim and x.shape[-1] == z.shape[-2:][0]):
            raise ValueError(f"other has shape {z.shape}, expected (k,) or (..., k, n) where k is the last "
                             f"length of this tensor's shape {x.shape}")
        if x.ndim == z.ndim == 2:
            return _record(x.dot(z), (self, lambda g: g.dot(z.T), other), (other, lambda g: x.T.dot(g), self))
        if z.ndim == 2 and x.size and z.size:
            rows, n = x.reshape(-1, x.shape[-1]), z.shape[1]             # (M, k): all leading axes in one
            return _record(rows.dot(z).reshape(*x.shape[:-1], n),
                           (self, lambda g: g.reshape(-1, n).dot(z.T).reshape(x.shape), other),
                           (other, lambda g: rows.T.dot(g.reshape(-1, n)), self))       # sums over M too
        # eq. 2.10, with an axis of length 1 added to vectors and taken away again
        a = x if x.ndim > 1 else x[None, :]                              # (..., m, k)
        b = z if z.ndim > 1 else z[:, None]                              # (..., k, n)
        y = a @ b                                                        # (..., m, n)
        full, lead = y.shape, y.shape[:-2]
        shape = lead + x.shape[-2:-1] + z.shape[1:][-1:]                 # without the added axes
        to_x = lambda g: (g.reshape(full) @ b.swapaxes(-1, -2)).reshape(lead + x.shape[-2:])
        to_z = lambda g: (a.swapaxes(-1, -2) @ g.reshape(full)).reshape(lead + z.shape[-2:])
        return _record(y.reshape(shape), (self, to_x, other), (other, to_z, self))

    def __rmatmul__(self, other):
        return _constant(other) @ self

    def sum(self, axis=None, keepdims=False):
        """Sum over `axis` (int, tuple of int, None for all): a shape without these axes, or with 1."""
        shape = self.shape
        return _record(self.data.sum(axis=axis, keepdims=keepdims),
                       (self, lambda g: _spread(g, shape, axis)))

    def mean(self, axis=None, keepdims=False):
        """Mean over `axis`; shapes as for `sum`."""
        shape, total = self.shape, self.data.sum(axis=axis, keepdims=keepdims)
        n = self.data.size // max(1, total.size)                     # numbers behind each mean
        return _record(total / n, (self, lambda g: _spread(g / n, shape, axis)))

    def max(self, axis=None, keepdims=False):
        """Maximum over `axis`; shapes as for `sum`. Entries that tie share the gradient equally."""
        shape, x = self.shape, self.data
        y = x.max(axis=axis, keepdims=keepdims)
        at = x == _restore(y, shape, axis)                           # the set M, as a mask
        ties = at.sum(axis=axis, keepdims=True, dtype=x.dtype)
        return _record(y, (self, lambda g: _restore(g, shape, axis) * at / ties))     # eq. 2.13

    def reshape(self, *shape):
        """The same entries in another shape, given as ints or as a tuple; -1 as in NumPy."""
        old = self.shape
        return _view(self, _record(self.data.reshape(*shape), (self, lambda g: g.reshape(old))))

    def transpose(self, *axes):
        """The axes in another order, given as ints or as a tuple; reversed if none are given."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        order = [a % self.ndim for a in order] or range(self.ndim)[::-1]
        turned = self.data.transpose(order)
        return _view(self, _record(turned, (self, lambda g: g.transpose(np.argsort(order)))))

    @property
    def T(self):
        """The tensor with its axes reversed."""
        return self.transpose()

    @staticmethod
    def concatenate(tensors, axis=0):
        """Join tensors of shapes that agree but for `axis`: lengths along it add."""
        tensors = [_constant(t) for t in tensors]
        joined = np.concatenate([t.data for t in tensors], axis=axis)
        ends = np.cumsum([t.shape[axis] for t in tensors])
        edges = []
        for tensor, end in zip(tensors, ends):
            part = (slice(None),) * (axis % joined.ndim) + (slice(end - tensor.shape[axis], end),)
            edges.append((tensor, lambda g, part=part: g[part]))
        return _record(joined, *edges)

    def __getitem__(self, index):
        shape = self.shape

        def scatter(g):
            dx = np.zeros(shape, g.dtype)
            parts = index if isinstance(index, tuple) else (index,)
            if all(p is None or p is Ellipsis or type(p) in (int, slice) for p in parts):
                dx[index] = g                                                # a slice reads no entry twice
            elif isinstance(index, np.ndarray) and index.dtype.kind == "i" and index.size:
                rows = index.ravel() % shape[0]
                order = rows.argsort(kind="stable")
                first = np.flatnonzero(np.diff(rows[order], prepend=-1))     # where a new row begins
                sorted_g = g.reshape(rows.size, *shape[1:])[order]
                dx[rows[order[first]]] = np.add.reduceat(sorted_g, first)    # eq. 2.12
            else:
                np.add.at(dx, index, g)
            return dx

        return _view(self, _record(self.data[index], (self, scatter)))

    def backward(self, grad=None, retain_graph=False):
        """Add each leaf's gradient to its `grad`, in place; arguments as in level 2."""
        g = self._first_gradient(grad)
        if self.node is None:
            return self._receive(g, True)
        pending, frontier = {self.node: (g, True)}, [(self.node.birth, self.node)]
        with np.errstate(all="ignore"):
            while frontier:
                node = heappop(frontier)[1]                          # the youngest: complete
                g, edges = pending.pop(node)[0], node.edges
                for writes, then in node.reads:
                    if writes[0] != then:
                        raise RuntimeError("data that this backward() needs was changed in place since it was used; "
                                           "expected the change after backward(), or a new forward pass")
                if not retain_graph:
                    node.edges = _Freed()
                for target, vjp in edges:
                    share = vjp(g)
                    if share.shape != target.shape:
                        bias = share.shape[1:] == target.shape           # the common case, at half the price
                        share = share.sum(axis=0) if bias else unbroadcast(share, target.shape)  # eq. 2.12
                    ours = share is not g and type(share) is np.ndarray and share.base is None
                    if isinstance(target, Tensor):
                        target._receive(share, ours)
                    else:
                        if target not in pending:
                            pending[target] = share, ours
                            heappush(frontier, (target.birth, target))
                        else:
                            total, total_is_ours = pending[target]
                            if total_is_ours:
                                np.add(total, share, out=total)                          # eq. 2.5
                            else:
                                pending[target] = np.asarray(total + share), True

    def _receive(self, share, ours):
        """Add `share`, of this leaf's shape, to its gradient; `ours` says whether it may be kept."""
        if self.grad is not None:
            self.grad += share                                       # eq. 2.5
        elif ours and share.dtype == self.data.dtype:
            self.grad = share
        else:
            self.grad = np.array(share, self.data.dtype)

    def _first_gradient(self, grad):
        """The checked argument of `backward`, as an array of this tensor's shape and dtype."""
        if not self.requires_grad:
            raise RuntimeError("nothing to differentiate: made of constants, or under no_grad()")
        if grad is None:
            if self.data.size != 1:
                raise ValueError(f"grad is missing: a tensor of shape {self.shape} is no scalar loss; "
                                 "expected the gradient with respect to it, an array of that shape")
            return np.ones(self.shape, self.data.dtype)
        grad = np.array(grad, self.data.dtype)
        if grad.shape != self.shape:
            raise ValueError(f"grad has shape {grad.shape}, expected {self.shape}")
        return grad


def _constant(value):
    """A number or array as a Tensor that wants no gradient; a Tensor as it is."""
    if isinstance(value, Tensor):
        return value
    tensor = object.__new__(Tensor)
    tensor._data, tensor.grad, tensor.writes = value, None, [0]
    tensor.node, tensor.requires_grad = None, False
    return tensor


def _record(data, *edges):
    """The result of an operation; its node points to the operands' nodes, not to the operands."""
    out = _constant(np.asarray(data))
    if _mode.recording:
        pairs, reads = _wanted(edges, out)
        if pairs:
            pairs = [(operand.node or operand, vjp) for operand, vjp in pairs]
            out.node, out.requires_grad = _Node(pairs, out._data.shape, reads), True
    return out


def _same(g):
    """The VJP of addition."""
    return g


def _reduced(shape, axis):
    """`shape` with length 1 at the axes that a reduction over `axis` removes."""
    ndim = len(shape)
    gone = range(ndim) if axis is None else {a % ndim for a in np.atleast_1d(axis)}
    return tuple(1 if a in gone else n for a, n in enumerate(shape))


def _restore(g, shape, axis):
    """Give a reduced array its lost axes back, with length 1."""
    return g.reshape(_reduced(shape, axis))


def _spread(g, shape, axis):
    """The VJP of a sum: a view of `g` in which the lost axes have stride 0."""
    if g.size == 1:                                              # the common case, made by hand
        return np.ndarray(shape, g.dtype, np.asarray(g), strides=(0,) * len(shape))
    return np.broadcast_to(_restore(g, shape, axis), shape)


def _wanted(edges, out):
    """The pairs whose operand wants a gradient; and (counter, its count now) of all their VJPs read."""
    pairs, reads = [], []
    for edge in edges:
        if edge[0].requires_grad:
            pairs.append(edge[:2])
            for tensor in edge[2:]:
                writes = (out if tensor is None else tensor).writes
                reads.append((writes, writes[0]))
    return pairs, reads


def _view(x, out):
    """`out`, made from x: if it is a view of x, a write to either counts for both."""
    if np.may_share_memory(x.data, out.data):
        out.writes = x.writes
    return out


def _float_array(data):
    """A copy as an array of floats, or a ValueError."""
    array = np.array(data)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise ValueError(f"data is of type {array.dtype}, expected real numbers")
    return array


class _Freed:
    """The edges of an operation whose graph was used up: whoever walks them is told."""

    def __iter__(self):
        raise RuntimeError("this graph was freed by an earlier backward(); expected "
                           "retain_graph=True there, or a new forward pass")


class SGD:
    """Stochastic gradient descent in place; arguments as in level 2, tensors of any shapes."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr
        if not self.parameters:
            raise ValueError("parameters has 0 entries, expected at least one")
        if not lr > 0:
            raise ValueError(f"lr is {lr}, expected a positive number")
        self.buffers = [np.empty_like(p.data) for p in self.parameters]

    def step(self):
        """Subtract lr times its gradient from each parameter that has one."""
        for p, buffer in zip(self.parameters, self.buffers):
            if p.grad is not None:
                p.data -= np.multiply(p.grad, self.lr, out=buffer)       # eq. 2.14

    def zero_grad(self):
        """Forget all gradients."""
        for p in self.parameters:
            p.zero_grad()
