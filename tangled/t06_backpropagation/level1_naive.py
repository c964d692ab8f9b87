# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:9a5600f136fde184
"""Backpropagation, level 1: loops over single numbers. Shapes as in level 2."""

import numpy as np

import tangled.t06_backpropagation.checks as check
from tangled.t05_mlp_forward.level1_naive import (
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
    Parameter,
    Sequential,
    gradient_check,
)


def linear_backward(dout, cache, input_grad=True):
    """dx (..., in) or None, dW (in, out), and db (out,) unless there is no b."""
    x, W, b = cache
    dout = check.gradient("dout", dout, (*x.shape[:-1], W.shape[1]), x.dtype)
    rows, drows = check.rows(x), check.rows(dout)
    dx, dW, db = np.zeros(rows.shape), np.zeros(W.shape), np.zeros(W.shape[1])
    for n, j in np.ndindex(drows.shape):
        dz = float(drows[n, j])
        db[j] += dz                                             # eq. 6.3
        for i in range(W.shape[0]):
            dW[i, j] += float(rows[n, i]) * dz                  # eq. 6.1
            dx[n, i] += dz * float(W[i, j])                     # eq. 6.4
    dx, dW, db = dx.reshape(x.shape).astype(x.dtype), dW.astype(x.dtype), db.astype(x.dtype)
    return (dx if input_grad else None, dW, db)[:2 if b is None else 3]


def relu_backward(dout, cache):
    """dx: dout where the output of relu was not 0, any shape."""
    dx = check.gradient("dout", dout, cache.shape, cache.dtype).copy()
    for where in np.ndindex(dx.shape):
        if cache[where] == 0:
            dx[where] = 0                                       # eq. 6.5
    return dx


def softmax_cross_entropy_backward(dloss, cache):
    """dlogits (..., K) from probabilities (..., K) and classes (...)."""
    p, y = cache
    dloss, dlogits = check.scalar("dloss", dloss), np.empty_like(p)
    for where in np.ndindex(y.shape):
        for k in range(p.shape[-1]):
            difference = p[where][k] - (k == y[where])          # eq. 6.8
            dlogits[where][k] = difference * dloss / y.size     # eq. 6.10
    return dlogits


def mse_backward(dloss, cache):
    """dpred in the shape of pred, from the differences."""
    dloss, dpred = check.scalar("dloss", dloss), np.empty_like(cache)
    for where in np.ndindex(cache.shape):
        dpred[where] = 2 * dloss * cache[where] / cache.size    # eq. 6.11
    return dpred


def mlp_backward(dout, cache):
    """dx (N, d_0) and a list of (dW, db), or (dW,), for the layers; eq. 6.6."""
    grads = []
    for of_linear, of_relu in reversed(cache):
        dout = dout if of_relu is None else relu_backward(dout, of_relu)
        dout, *of_layer = linear_backward(dout, of_linear)
        grads.insert(0, tuple(of_layer))
    return dout, grads


class Linear(level2.Linear):
    """x @ weight + bias by loops, for x (N, in_features) or (..., in_features)."""

    def forward(self, x):
        """x (..., in_features) to (..., out_features)."""
        bias = None if self.bias is None else self.bias.data
        out, self.cache = linear(x, self.weight.data, bias)
        return out

    def backward(self, dout):
        """dout (..., out_features) to dx (..., in_features)."""
        dx, *grads = linear_backward(dout, self.kept(), self.input_grad)
        for parameter, grad in zip((self.weight, self.bias), grads):
            parameter.accumulate(grad)
        return dx


class ReLU(Module):
    """The positive part of every entry, any shape."""

    def forward(self, x):
        """x to max(x, 0), same shape."""
        out, self.cache = relu(x)
        return out

    def backward(self, dout):
        """dout to dx, same shape."""
        return relu_backward(dout, self.kept())


class MSELoss(Module):
    """Mean squared error over all entries."""

    def forward(self, pred, target):
        """The loss, a float, of pred and target of one shape."""
        loss, self.cache = mse(pred, target)
        return float(loss)

    def backward(self):
        """dpred, in the shape of pred."""
        return mse_backward(1.0, self.kept())


class CrossEntropyLoss(Module):
    """Mean cross-entropy of integer classes."""

    def forward(self, pred, target):
        """The loss, a float, of logits pred (..., K) and classes target (...)."""
        loss, self.cache = softmax_cross_entropy(pred, target)
        return float(loss)

    def backward(self):
        """dpred (..., K)."""
        return softmax_cross_entropy_backward(1.0, self.kept())


class GradientDescent(level2.GradientDescent):
    """Step against the gradient, one number at a time (any shapes)."""

    def step(self):
        """Subtract lr times its gradient from each number."""
        for parameter in self.parameters:
            data, grad = parameter.data, parameter.grad
            for where in np.ndindex(0 if grad is None else data.shape):
                data[where] -= self.lr * grad[where]            # eq. 6.12
