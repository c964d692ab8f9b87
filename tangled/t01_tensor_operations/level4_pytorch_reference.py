# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:d3b79747744104ef
"""Level 4: the same operations in PyTorch; makes the golden outputs."""

import numpy as np
import torch

import tangled.t01_tensor_operations.checks as check
from tangled.testing import Case


def tensor(x):
    """A tensor of the shape of `x` (array-like), sharing its memory where it can."""
    x = np.asarray(x)
    if min(x.strides, default=0) < 0 or not x.flags.writeable:
        x = x.copy()                                     # torch has no negative strides
    return torch.from_numpy(x)


def checked(argument, function, *args):
    """function(*args); PyTorch's errors become a ValueError that names `argument`, a str."""
    try:
        return function(*args)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"{argument}: {error}; expected what torch takes") from error


def contiguous_strides(shape, itemsize=8, order="C"):
    """Strides in bytes of a fresh tensor of `shape`, or of its transpose for order "F"."""
    shape = check.layout(shape, itemsize, order)
    turn = slice(None, None, 1 if order == "C" else -1)
    strides = checked("shape", torch.empty, tuple(shape)[turn]).stride()
    return tuple(itemsize * s for s in strides[turn])


def broadcast_shapes(*shapes):
    """torch.broadcast_shapes as a tuple of int."""
    shapes = [check.lengths("shapes", shape) for shape in shapes]
    return tuple(checked("shapes", torch.broadcast_shapes, *shapes))


def broadcast_to(x, shape):
    """torch.broadcast_to: a view of the memory of `x` with `shape`."""
    x, shape = check.stretch(x, shape)
    return torch.broadcast_to(tensor(x), shape).numpy()


def unbroadcast(grad, shape):
    """torch's own sum_to_size: the adjoint of expand; an array of `shape`."""
    grad, shape = check.stretched(grad, shape)
    return tensor(grad).sum_to_size(shape).to(tensor(grad).dtype).numpy()


def sliding_windows(x, window, step=1):
    """Tensor.unfold over the last axis of `x` (..., n): a view (..., count, window)."""
    x, _ = check.windows(x, window, step)
    return checked("window", tensor(x).unfold, -1, window, step).numpy()


def matmul(a, b):
    """torch.matmul on stacks of matrices, (..., n, k) and (..., k, m)."""
    a, b, _ = check.matrices(a, b)
    return checked("b", torch.matmul, tensor(a), tensor(b)).numpy()


def einsum2(spec, a, b):
    """torch.einsum; the shape follows from `spec`."""
    check.letters(spec, np.asarray(a), np.asarray(b))
    return checked("spec", torch.einsum, spec, tensor(a), tensor(b)).numpy()[()]


def softmax(x, axis=-1):
    """torch.softmax: the shape of `x`."""
    return torch.softmax(tensor(check.floats(x, axis)[0]), dim=axis).numpy()


def logsumexp(x, axis=-1):
    """torch.logsumexp: the shape of `x` without `axis`."""
    return torch.logsumexp(tensor(check.floats(x, axis)[0]), dim=axis).numpy()[()]


def one_hot(y, k):
    """torch.nn.functional.one_hot, as float32 (..., k)."""
    y = tensor(check.labels(y, k)).long()
    return torch.nn.functional.one_hot(y, k).float().numpy()


SPECS = {"matrix": ("ij,jk->ik", (3, 4), (4, 5)), "batch": ("bik,bkj->bij", (2, 3, 4), (2, 4, 5)),
         "attention": ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)),
         "outer": ("i,j->ji", (3,), (4,)), "diagonal": ("ii,ij->j", (4, 4), (4, 3)),
         "lonely": ("ijk,kl->il", (2, 3, 4), (4, 5)), "full": ("ij,ij->", (3, 4), (3, 4)),
         "two_inner": ("ikl,lkj->ji", (2, 3, 4), (4, 3, 5)),
         "hadamard": ("bi,ib->ib", (3, 4), (4, 3)),
         "diagonals": ("iik,jkj->ijk", (3, 3, 2), (4, 2, 4)),
         "batch_order": ("hbik,bkhj->bihj", (2, 3, 4, 5), (3, 5, 2, 6)),
         "names": ("zyx,xzw->wyz", (2, 3, 4), (4, 2, 5)),
         "capitals": ("Bka,akB->Ba", (2, 3, 4), (4, 3, 2)),
         "scattered": ("aibj,bkca->jkib", (2, 3, 4, 5), (4, 6, 3, 2)),
         "unsorted": ("wkvc,kczx->cxwzv", (2, 3, 4, 5), (3, 5, 6, 7))}
STRETCHED = [((4,), (3, 4)), ((3, 1), (3, 4)), ((2, 1, 4), (2, 3, 4)), ((), (2, 3)),
             ((1, 3, 1), (5, 2, 3, 4))]


def golden_cases(rng):
    """Inputs drawn from `rng`, outputs and gradients by PyTorch in float64."""
    for name, of_a, of_b in [("", (3, 4), (4, 5)), ("_batched", (2, 1, 3, 4), (5, 4, 2))]:
        a, b = rng.standard_normal(of_a), rng.standard_normal(of_b)
        yield Case(f"matmul{name}", {"a": a, "b": b}, {"out": matmul(a, b)})
    for name, (spec, of_a, of_b) in SPECS.items():
        a, b = rng.standard_normal(of_a), rng.standard_normal(of_b)
        out = einsum2(spec, a, b)
        yield Case(f"einsum_{name}", {"spec": spec, "a": a, "b": b}, {"out": out})
    for name, shape in (("", (3, 4, 5)), ("_square", (4, 4, 4))):        # in the cube every axis fits
        x = rng.standard_normal(shape) * 4
        for axis in (0, 1, 2, -1, -2, -3):
            case = {"x": x, "axis": axis}
            yield Case(f"softmax{name}_{axis}", case, {"out": softmax(x, axis)})
            yield Case(f"logsumexp{name}_{axis}", case, {"out": logsumexp(x, axis)})
    for k, (small, large) in enumerate(STRETCHED):       # the gradient of expand, by autograd
        x, g = tensor(rng.standard_normal(small)).requires_grad_(), rng.standard_normal(large)
        x.expand(large).backward(tensor(g))
        yield Case(f"unbroadcast_{k}", {"grad": g, "shape": np.array(small, dtype=int)},
                   {"out": x.grad.numpy()})
    x = rng.standard_normal((2, 11))
    yield Case("windows", {"x": x, "window": 4, "step": 3}, {"out": sliding_windows(x, 4, 3)})
