# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:ef1314187b5c0d58
"""Level 2: a graph of arrays; every arrow carries a vector-Jacobian product."""

import contextlib
import threading
from operator import attrgetter

import numpy as np

from tangled.t01_tensor_operations import unbroadcast


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


class Tensor:
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array_like of any shape
        Copied. Integers and booleans become float64.
    requires_grad : bool
        False makes a constant.

    Attributes
    ----------
    data : ndarray
    grad : ndarray of the shape and dtype of `data`, or None
    """

    __array_ufunc__ = None              # `array + tensor` comes to Tensor.__radd__

    def __init__(self, data, requires_grad=True):
        self._data, self.grad, self.writes = _float_array(data), None, [0]
        self.requires_grad, self.edges, self.reads = requires_grad, (), ()

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
            np.add.at(dx, index, g)                  # eq. 2.12: a row that was read twice receives twice
            return dx

        return _view(self, _record(self.data[index], (self, scatter)))

    def backward(self, grad=None, retain_graph=False):
        """Add the gradient with respect to each leaf to that leaf's `grad`.

        Parameters
        ----------
        grad : array_like of the shape of this tensor, optional
            Gradient of the loss with respect to it; 1 if it has a single entry.
        retain_graph : bool
            Keep the graph for another backward pass.
        """
        grads = {self: self._first_gradient(grad)}
        order = _topological_order(self)
        with np.errstate(all="ignore"):                  # the forward pass has warned already
            for node in reversed(order):
                g = grads.pop(node)                      # complete: all users have been visited
                for writes, then in node.reads:
                    if writes[0] != then:
                        raise RuntimeError("data that this backward() needs was changed in place since it was used; "
                                           "expected the change after backward(), or a new forward pass")
                if not node.edges:
                    g = np.array(g, node.data.dtype)                 # a copy, in the leaf's own type
                    node.grad = g if node.grad is None else np.add(node.grad, g, out=g)
                for operand, vjp in node.edges:
                    share = unbroadcast(np.asarray(vjp(g)), operand.shape)           # eq. 2.3, then eq. 2.12
                    grads[operand] = grads[operand] + share if operand in grads else share      # eq. 2.5
        if not retain_graph:
            for node in order:
                node.edges = _Freed() if node.edges else ()

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
    tensor.requires_grad, tensor.edges, tensor.reads = False, (), ()
    return tensor


def _record(data, *edges):
    """The result of an operation; an edge is (operand, VJP, tensors that the VJP reads ...)."""
    out = _constant(np.asarray(data))
    if _mode.recording:
        pairs, out.reads = _wanted(edges, out)
        out.edges, out.requires_grad = tuple(pairs), bool(pairs)
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


def _topological_order(root):
    """All nodes that `root` depends on, operands before users, `root` last."""
    order, opened, stack = [], set(), [root]
    while stack:
        node = stack.pop()
        if node is None:                         # all operands of the node below are in the list
            order.append(stack.pop())
        elif node not in opened:
            opened.add(node)
            stack += node, None
            for operand, _ in node.edges:
                if operand not in opened:
                    stack.append(operand)
    return order


class SGD:
    """Stochastic gradient descent.

    Parameters
    ----------
    parameters : iterable of Tensor or Value, of any shapes
    lr : float
        The learning rate, positive.
    """

    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr
        if not self.parameters:
            raise ValueError("parameters has 0 entries, expected at least one")
        if not lr > 0:
            raise ValueError(f"lr is {lr}, expected a positive number")

    def step(self):
        """Subtract lr times its gradient from each parameter that has one."""
        for p in self.parameters:
            if p.grad is not None:
                p.data -= self.lr * p.grad                       # eq. 2.14

    def zero_grad(self):
        """Forget all gradients, before the next backward pass adds to them."""
        for p in self.parameters:
            p.zero_grad()
