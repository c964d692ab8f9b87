# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:b4d53f1844530cb3
"""Level 4: the same five in PyTorch; makes the golden outputs."""

import numpy as np
import torch

from tangled.testing import Case


def matmul(a, b):
    """Matrix product of `a` (n, k) and `b` (k, m) by torch.matmul, as ndarray (n, m)."""
    for name, array in (("a", a), ("b", b)):
        if np.ndim(array) != 2:
            raise ValueError(f"{name} has {np.ndim(array)} axes, expected 2")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b has {b.shape[0]} rows, expected {a.shape[1]}, the columns of a")
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def broadcast_shape(a, b):
    """torch.broadcast_shapes, with a ValueError that names `b`."""
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError as error:
        raise ValueError(f"b has shape {b}, expected one that fits a's {a}") from error


def sine_of_square(x):
    """sin(x * x) with a graph; out has the shape of `x`, the cache holds both tensors."""
    x = torch.from_numpy(np.asarray(x)).clone().requires_grad_()
    out = torch.sin(x * x)
    return out.detach().numpy(), (x, out)


def sine_of_square_backward(dout, cache):
    """Gradient by torch.autograd, ndarray of the shape of `x`."""
    x, out = cache
    dout = torch.from_numpy(np.asarray(dout))
    (dx,) = torch.autograd.grad(out, x, dout, retain_graph=True)
    return dx.numpy()


def softmax(x):
    """torch.softmax over the last axis of `x` (..., C)."""
    return torch.softmax(torch.from_numpy(np.asarray(x)), dim=-1).numpy()


def predict_copies():
    """The expressions that both libraries have, judged by PyTorch's storage addresses."""
    x = torch.arange(1.0, 25.0).reshape(4, 6)
    results = {
        "x.T": x.T, "x[1:3, ::2]": x[1:3, ::2], "x[0]": x[0],
        "x[[0, 2]]": x[[0, 2]], "x[x > 0]": x[x > 0],
        "x.reshape(6, 4)": x.reshape(6, 4), "x.T.reshape(24)": x.T.reshape(24),
        "x.ravel()": x.ravel(), "x.flatten()": x.flatten(), "x + 0": x + 0,
    }
    storage = x.untyped_storage().data_ptr()
    return {name: y.untyped_storage().data_ptr() != storage for name, y in results.items()}


def golden_cases(rng):
    """Inputs drawn from `rng`, outputs and gradients by PyTorch in float64."""
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 5))
    yield Case("matmul", {"a": a, "b": b}, {"out": matmul(a, b)})
    x, dout = rng.uniform(-2, 2, (4, 3)), rng.standard_normal((4, 3))
    out, cache = sine_of_square(x)
    yield Case("sine_of_square", {"x": x}, {"out": out}, {"out": dout},
               {"x": sine_of_square_backward(dout, cache)})
    x = rng.standard_normal((2, 3, 5)) * 3
    yield Case("softmax", {"x": x}, {"out": softmax(x)})
