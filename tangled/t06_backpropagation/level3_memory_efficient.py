# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:5f3b729f044244ee
"""Backpropagation, level 3: into arrays that exist. Shapes and errors as in level 2.

`out=` is an array in the shape and dtype of the result. What a module returns is an array
of its own, valid until the module is called again.
"""

import numpy as np

import tangled.t06_backpropagation.checks as check
from tangled.t05_mlp_forward.checks import room
from tangled.t05_mlp_forward.level3_memory_efficient import (
    linear,
    mlp_forward,  # noqa: F401, its partner is below
    mse,
    relu,
    softmax_cross_entropy,
)
from tangled.t06_backpropagation import level2_vectorized as level2
from tangled.t06_backpropagation.level2_vectorized import (  # noqa: F401, used as they are
    DataLoader,
    Engine,
    Module,
    Sequential,
    gradient_check,
)


def linear_backward(dout, cache, input_grad=True, out=None):
    """dx (..., in) or None, dW (in, out), db (out,) unless there is no b; dx into `out`."""
    x, W, b = cache
    dout = check.gradient("dout", dout, (*x.shape[:-1], W.shape[1]), x.dtype)
    rows, drows = check.rows(x), check.rows(dout)
    dW = rows.T @ drows                                         # eq. 6.2
    db = _ones(drows) @ drows                                   # eq. 6.3
    dx = np.matmul(dout, W.T, out=room(out, x.shape, x.dtype)) if input_grad else None
    return (dx, dW) if b is None else (dx, dW, db)                # eq. 6.4


def relu_backward(dout, cache, out=None):
    """dx: dout where the output of relu was not 0, any shape; `out` may be dout."""
    dout = check.gradient("dout", dout, cache.shape, cache.dtype)
    out = room(out, cache.shape, cache.dtype)
    bits = np.dtype(f"i{cache.itemsize}")                       # an integer of the float's size
    spare = None if np.may_share_memory(out, dout) else out.view(bits)
    gate = np.negative((cache != 0).view(np.int8), out=spare, dtype=bits)       # bits 1 where on
    np.bitwise_and(dout.view(bits), gate, out=out.view(bits))   # eq. 6.5
    return out


def softmax_cross_entropy_backward(dloss, cache, out=None):
    """dlogits (..., K) into `out`, which may be the probabilities of the cache."""
    p, y = cache
    share = check.scalar("dloss", dloss) / y.size
    dlogits = np.multiply(p, share, out=room(out, p.shape, p.dtype))      # eq. 6.10
    dlogits[(*np.indices(y.shape, sparse=True), y)] -= share    # in any layout of the array
    return dlogits


def mse_backward(dloss, cache, out=None):
    """dpred in the shape of pred, into `out`, which may be the cache."""
    share = 2.0 * check.scalar("dloss", dloss) / cache.size
    return np.multiply(cache, share, out=room(out, cache.shape, cache.dtype))


def mlp_backward(dout, cache):
    """dx (N, d_0) and a list of (dW, db), or (dW,), for the layers."""
    grads = []
    for of_linear, of_relu in reversed(cache):
        if of_relu is not None:
            dout = relu_backward(dout, of_relu, out=dout if grads else None)
        dout, *of_layer = linear_backward(dout, of_linear)
        grads.append(tuple(of_layer))
    return dout, grads[::-1]


def _ones(rows):
    """A one for each of N rows: (N,)."""
    return np.ones(len(rows), rows.dtype)


class Parameter(level2.Parameter):
    """An array that learns; `zero_grad` only marks its gradient as stale."""

    @property
    def grad(self):
        """The gradient, in the shape of `data`; zeros are written when somebody looks."""
        if self._stale:
            self._grad.fill(0)
            self._stale = False
        return self._grad

    @grad.setter
    def grad(self, grad):
        """Take an array of the shape of `data`, or None."""
        self._grad, self._stale = grad, False

    def zero_grad(self):
        """Forget the gradient."""
        old = self._grad
        if old is None or (old.shape, old.dtype) != (self.data.shape, self.data.dtype):
            self.grad = np.zeros_like(self.data)
        else:
            self._stale = True

    def accumulate_product(self, a, b):
        """Add a @ b to `grad`; if that is stale, the product is written over it."""
        if self._grad is None:
            self.zero_grad()
        if self._stale:
            np.matmul(a, b, out=self._grad)
            self._stale = False
        else:
            self._grad += a @ b


def _room(module, name, shape, dtype):
    """An array that a module keeps between calls, made anew for a new shape or dtype."""
    rooms = vars(module).setdefault("rooms", {})
    found = rooms.get(name)
    if found is None or (found.shape, found.dtype) != (shape, dtype):
        found = rooms[name] = np.empty(shape, dtype)
    return found


class Linear(level2.Linear):
    """x @ weight + bias, for x (N, in_features) or (..., in_features)."""

    def __init__(self, in_features, out_features, rng, bias=True):
        super().__init__(in_features, out_features, rng, bias)
        self.weight = Parameter(self.weight.data)
        self.bias = Parameter(self.bias.data) if bias else None

    def forward(self, x):
        """x (..., in_features) to (..., out_features)."""
        x, W = np.asarray(x), self.weight.data
        out = _room(self, "out", (*x.shape[:-1], W.shape[1]), x.dtype)
        bias = None if self.bias is None else self.bias.data
        out, self.cache = linear(x, W, bias, out=out)
        return out

    def backward(self, dout):
        """dout (..., out_features) to dx (..., in_features); products go into `grad`."""
        x, W, _ = self.kept()
        dout = check.gradient("dout", dout, (*x.shape[:-1], W.shape[1]), x.dtype)
        rows, drows = check.rows(x), check.rows(dout)
        self.weight.accumulate_product(rows.T, drows)           # eq. 6.2
        if self.bias is not None:
            self.bias.accumulate_product(_ones(drows), drows)   # eq. 6.3
        if self.input_grad:
            dx = _room(self, "dx", x.shape, x.dtype)
            np.matmul(drows, W.T, out=dx.reshape(rows.shape))
            return dx
        return None


class ReLU(level2.ReLU):
    """The positive part of every entry, any shape."""

    def forward(self, x):
        """x to max(x, 0), same shape."""
        x = np.asarray(x)
        out, self.cache = relu(x, out=_room(self, "out", x.shape, x.dtype))
        return out

    def backward(self, dout):
        """dout to dx, same shape."""
        kept = self.kept()
        return relu_backward(dout, kept, out=_room(self, "dx", kept.shape, kept.dtype))


class MSELoss(level2.MSELoss):
    """Mean squared error over all entries; the difference becomes the gradient."""

    def forward(self, pred, target):
        """The loss, a float, of pred and target of one shape."""
        pred = np.asarray(pred)
        loss, self.cache = mse(pred, target, out=_room(self, "out", pred.shape, pred.dtype))
        return float(loss)

    def backward(self):
        """dpred in the shape of pred; once for each forward."""
        difference, self.cache = self.kept(), None
        return mse_backward(1.0, difference, out=difference)


class CrossEntropyLoss(level2.CrossEntropyLoss):
    """Mean cross-entropy of integer classes; the probabilities become the gradient."""

    def forward(self, pred, target):
        """The loss, a float, of logits pred (..., K) and classes target (...)."""
        pred = np.asarray(pred)
        out = _room(self, "out", pred.shape, pred.dtype)
        loss, self.cache = softmax_cross_entropy(pred, target, out=out)
        return float(loss)

    def backward(self):
        """dpred (..., K); once for each forward."""
        (p, y), self.cache = self.kept(), None
        return softmax_cross_entropy_backward(1.0, (p, y), out=p)


class GradientDescent(level2.GradientDescent):
    """Step against the gradient, with one spare array for all parameters (any shapes)."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr)
        self.spare = np.empty(0, np.uint8)

    def step(self):
        """Subtract lr times its gradient, unless it is None, from each parameter, in place."""
        largest = max(parameter.data.nbytes for parameter in self.parameters)
        if self.spare.size < largest:
            self.spare = np.empty(largest, np.uint8)
        for parameter in self.parameters:
            data, grad = parameter.data, parameter.grad
            if grad is not None:
                change = self.spare[:data.nbytes].view(data.dtype).reshape(data.shape)
                np.multiply(grad, self.lr, out=change)
                data -= change                                  # eq. 6.12
