# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:e0a03d6bf15c6828
"""Level 4: the same operations in PyTorch; makes the golden outputs."""

import functools

import numpy as np
import torch

from tangled.testing import Case


def named_errors(argument):
    """Turns PyTorch's RuntimeError or IndexError into a ValueError that names `argument`."""
    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except (RuntimeError, IndexError, TypeError) as error:
                raise ValueError(f"{argument}: {error}; expected what {function.__name__} takes") from error
        return wrapped
    return decorate


@named_errors("shape")
def contiguous_strides(shape, itemsize=8, order="C"):
    """Strides in bytes of a fresh tensor of `shape`, or of its transpose for order "F"."""
    if order not in ("C", "F"):
        raise ValueError(f"order is {order!r}, expected 'C' or 'F'")
    strides = torch.empty(tuple(shape) if order == "C" else tuple(shape)[::-1]).stride()
    return tuple(itemsize * s for s in (strides if order == "C" else strides[::-1]))


@named_errors("shapes")
def broadcast_shapes(*shapes):
    """torch.broadcast_shapes as a tuple of int."""
    return tuple(torch.broadcast_shapes(*shapes))


@named_errors("shape")
def broadcast_to(x, shape):
    """torch.broadcast_to: a view of the memory of `x`."""
    return torch.broadcast_to(torch.from_numpy(np.asarray(x)), shape).numpy()


@named_errors("shape")
def unbroadcast(grad, shape):
    """torch's own sum_to_size: the adjoint of expand."""
    return torch.from_numpy(np.asarray(grad)).sum_to_size(shape).numpy()


@named_errors("window")
def sliding_windows(x, window, step=1):
    """Tensor.unfold over the last axis: a view."""
    if step < 1 or window < 1:
        raise ValueError(f"window is {window} and step is {step}, expected at least 1")
    return torch.from_numpy(np.asarray(x)).unfold(-1, window, step).numpy()


@named_errors("b")
def matmul(a, b):
    """torch.matmul on stacks of matrices."""
    for name, array in (("a", a), ("b", b)):
        if np.ndim(array) < 2:
            raise ValueError(f"{name} has {np.ndim(array)} axes, expected at least 2")
    return torch.matmul(torch.from_numpy(a), torch.from_numpy(b)).numpy()


@named_errors("spec")
def einsum2(spec, a, b):
    """torch.einsum."""
    if "->" not in spec:
        raise ValueError(f"spec is {spec!r}, expected an output")
    return torch.einsum(spec, torch.from_numpy(np.asarray(a)), torch.from_numpy(np.asarray(b))).numpy()


def softmax(x, axis=-1):
    """torch.softmax."""
    return torch.softmax(torch.from_numpy(np.asarray(x)), dim=axis).numpy()


def logsumexp(x, axis=-1):
    """torch.logsumexp."""
    return torch.logsumexp(torch.from_numpy(np.asarray(x)), dim=axis).numpy()


@named_errors("y")
def one_hot(y, k):
    """torch.nn.functional.one_hot, as float32."""
    return torch.nn.functional.one_hot(torch.from_numpy(np.asarray(y)), k).numpy().astype(np.float32)


SPECS = {"matrix": ("ij,jk->ik", (3, 4), (4, 5)), "batch": ("bik,bkj->bij", (2, 3, 4), (2, 4, 5)),
         "attention": ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)), "outer": ("i,j->ji", (3,), (4,)),
         "diagonal": ("ii,ij->j", (4, 4), (4, 3)), "lonely": ("ijk,kl->il", (2, 3, 4), (4, 5)),
         "full": ("ij,ij->", (3, 4), (3, 4))}


def golden_cases(rng):
    """Inputs drawn from `rng`, outputs and gradients by PyTorch in float64."""
    yield _pair(rng, "matmul", matmul, (3, 4), (4, 5))
    yield _pair(rng, "matmul_batched", matmul, (2, 1, 3, 4), (5, 4, 2))
    for name, (spec, of_a, of_b) in SPECS.items():
        a, b = rng.standard_normal(of_a), rng.standard_normal(of_b)
        yield Case(f"einsum_{name}", {"spec": spec, "a": a, "b": b}, {"out": einsum2(spec, a, b)})
    x = rng.standard_normal((3, 4, 5)) * 4
    for axis in (0, 1, -1):
        yield Case(f"softmax_{axis}", {"x": x, "axis": axis}, {"out": softmax(x, axis)})
        yield Case(f"logsumexp_{axis}", {"x": x, "axis": axis}, {"out": logsumexp(x, axis)})
    for k, (small, large) in enumerate([((4,), (3, 4)), ((3, 1), (3, 4)), ((2, 1, 4), (2, 3, 4)), ((), (2, 3))]):
        yield _stretched(rng, f"unbroadcast_{k}", small, large)
    windows = rng.standard_normal((2, 11))
    yield Case("windows", {"x": windows, "window": 4, "step": 3}, {"out": sliding_windows(windows, 4, 3)})


def _pair(rng, name, function, of_a, of_b):
    a, b = rng.standard_normal(of_a), rng.standard_normal(of_b)
    return Case(name, {"a": a, "b": b}, {"out": function(a, b)})


def _stretched(rng, name, small, large):
    """The gradient that autograd gives an expanded tensor is the reference for `unbroadcast`."""
    x, g = torch.from_numpy(np.asarray(rng.standard_normal(small))).requires_grad_(), rng.standard_normal(large)
    x.expand(large).backward(torch.from_numpy(g))
    return Case(name, {"grad": g, "shape": np.array(small, dtype=int)}, {"out": x.grad.numpy()})
