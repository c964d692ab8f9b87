# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:ae1de77c588e6530
"""Level 4: the same five in PyTorch; makes the golden outputs."""

import numpy as np
import torch

import tangled.t00_prerequisites.checks as check
from tangled.testing import Case


def tensor(x):
    """A tensor of the shape of `x` with memory of its own."""
    return torch.from_numpy(np.array(x, order="C"))


def matmul(a, b):
    """Matrix product of `a` (n, k) and `b` (k, m) by torch.matmul, as ndarray (n, m)."""
    a, b, dtype = check.matrices(a, b)
    a, b = (tensor(x.astype(np.result_type(a, b))) for x in (a, b))
    return (a @ b).numpy().astype(dtype, copy=False)


def broadcast_shape(a, b):
    """torch.broadcast_shapes, with a ValueError that names `b`."""
    a, b = check.lengths("a", a), check.lengths("b", b)
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError as error:
        raise check.misfit(a, b) from error


def sine_of_square(x):
    """sin(x * x) with a graph; out has the shape of `x`, the cache holds both tensors."""
    x = tensor(check.floats("x", x)).requires_grad_()
    out = torch.sin(x * x)
    return out.detach().numpy()[()], (x, out)


def sine_of_square_backward(dout, cache):
    """Gradient by torch.autograd, ndarray of the shape of `x`."""
    x, out = cache
    dout = tensor(check.like("dout", dout, out.detach().numpy())).to(x.dtype)
    (dx,) = torch.autograd.grad(out, x, dout, retain_graph=True)
    return dx.numpy()[()]


def softmax(x):
    """torch.softmax over the last axis of `x` (..., C)."""
    return torch.softmax(tensor(check.floats("x", x, axes=1)), dim=-1).numpy()


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
    x = rng.standard_normal((4, 4, 4)) * 3                       # square: every axis would fit
    yield Case("softmax_square", {"x": x}, {"out": softmax(x)})
    a, b = rng.standard_normal((2, 4, 4))
    yield Case("matmul_square", {"a": a, "b": b}, {"out": matmul(a, b)})
