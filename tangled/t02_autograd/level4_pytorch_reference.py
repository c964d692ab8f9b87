# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:39543c8e40977de7
"""Level 4: the same interface over torch.Tensor; makes the golden outputs."""

import numpy as np
import torch

from tangled.t02_autograd.expressions import EXPRESSIONS, SCALARS, operands, reused
from tangled.testing import Case, upstream_like

no_grad = torch.no_grad


class Tensor:
    """A torch.Tensor in `t`; `data` and `grad` are ndarrays that share its memory."""

    __array_ufunc__ = None

    def __init__(self, data, requires_grad=True):
        t = torch.from_numpy(np.array(data))
        self.t = (t if t.is_floating_point() else t.double()).requires_grad_(requires_grad)

    @property
    def data(self):
        """The array."""
        return self.t.detach().numpy()

    @data.setter
    def data(self, value):
        """Write an array of the same shape."""
        with torch.no_grad():                        # a write that PyTorch counts, as SGD's is
            self.t.copy_(torch.from_numpy(np.asarray(value)))

    grad = property(lambda self: None if self.t.grad is None else self.t.grad.numpy())
    shape = property(lambda self: tuple(self.t.shape))
    ndim = property(lambda self: self.t.ndim)
    T = property(lambda self: self.transpose())

    def backward(self, grad=None, retain_graph=False):
        """torch's backward, with a ValueError where it needs `grad`."""
        if grad is None and self.t.numel() != 1:
            raise ValueError(f"grad is missing: expected an array of shape {self.shape}")
        grad = grad if grad is None else torch.from_numpy(np.asarray(grad))
        self.t.backward(grad, retain_graph=retain_graph)

    def zero_grad(self):
        """Forget the gradient."""
        self.t.grad = None

    def item(self):
        """The only entry."""
        return self.t.item()

    def transpose(self, *axes):
        """The axes in another order, reversed by default."""
        return _wrap(self.t.permute(*axes) if axes else self.t.permute(*range(self.ndim)[::-1]))

    @staticmethod
    def concatenate(tensors, axis=0):
        """torch.cat."""
        return _wrap(torch.cat([_torch(t) for t in tensors], dim=axis))


class SGD:
    """torch.optim.SGD over our tensors of any shapes."""

    def __init__(self, parameters, lr):
        self.optimiser = torch.optim.SGD([p.t for p in parameters], lr=lr)
        self.step, self.zero_grad = self.optimiser.step, self.optimiser.zero_grad


def _torch(value):
    value = value.t if isinstance(value, Tensor) else value
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _wrap(t):
    out = object.__new__(Tensor)
    out.t = t
    return out


def _axes(t, axis):
    return tuple(range(t.ndim)) if axis is None else axis


def _method(function):
    return lambda self, *args, **named: _wrap(function(_torch(self), *map(_torch, args), **named))


METHODS = {
    "__add__": lambda a, b: a + b, "__radd__": lambda a, b: b + a,
    "__sub__": lambda a, b: a - b, "__rsub__": lambda a, b: b - a,
    "__mul__": lambda a, b: a * b, "__rmul__": lambda a, b: b * a,
    "__truediv__": lambda a, b: a / b, "__rtruediv__": lambda a, b: b / a,
    "__pow__": lambda a, b: a**b, "__rpow__": lambda a, b: b**a,
    "__matmul__": lambda a, b: a @ b, "__rmatmul__": lambda a, b: b @ a,
    "__neg__": lambda a: -a, "__getitem__": lambda a, index: a[index],
    "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "relu": torch.relu,
    "reshape": torch.Tensor.reshape,
    "sum": lambda a, axis=None, keepdims=False: a.sum(_axes(a, axis), keepdims),
    "mean": lambda a, axis=None, keepdims=False: a.mean(_axes(a, axis), keepdims),
    "max": lambda a, axis=None, keepdims=False: a.amax(_axes(a, axis), keepdims),
}
for _name, _function in METHODS.items():
    setattr(Tensor, _name, _method(_function))


def golden_cases(rng):
    """Every expression of the tests, its inputs drawn from `rng`, in float64."""
    for name in [*EXPRESSIONS, *SCALARS]:
        arrays = operands(name, rng)
        leaves = [Tensor(x) for x in arrays]
        function = EXPRESSIONS[name][0] if name in EXPRESSIONS else SCALARS[name]
        out = reused(function(*leaves))
        weights = upstream_like(out.data)
        out.backward(weights)
        keys = "abc"[:len(arrays)]
        yield Case(name, dict(zip(keys, arrays)), {"out": out.data}, {"out": weights},
                   dict(zip(keys, [leaf.grad for leaf in leaves])))
