# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:e93580c06f77f382
"""Level 1: tensor operations by loops over single numbers."""

import math

import numpy as np


def contiguous_strides(shape, itemsize=8, order="C"):
    """Strides in bytes, a tuple of int, of a fresh array of `shape` (tuple of int)."""
    if any(length < 0 for length in shape):
        raise ValueError(f"shape is {tuple(shape)}, expected lengths of at least 0")
    if order not in ("C", "F"):
        raise ValueError(f"order is {order!r}, expected 'C' or 'F'")
    strides, step = [], itemsize
    for length in (reversed(shape) if order == "C" else shape):
        strides.append(step)
        step *= max(length, 1)                           # eq. 1.2
    return tuple(reversed(strides) if order == "C" else strides)


def broadcast_shapes(*shapes):
    """The common shape, a tuple of int, of `shapes` (tuples of int)."""
    out = []
    for d in range(1, max(map(len, shapes), default=0) + 1):
        common = 1
        for length in (shape[-d] for shape in shapes if d <= len(shape)):
            if length != 1 and common not in (1, length):
                raise ValueError(f"shapes {shapes} have {common} and {length} at axis -{d}, "
                                 "expected equal lengths or 1")
            common = length if length != 1 else common
        out.insert(0, common)
    return tuple(out)


def broadcast_to(x, shape):
    """A copy of `x` (any shape) stretched to `shape`, entry by entry."""
    x = np.asarray(x)
    fits = all(n in (1, m) for n, m in zip(x.shape[::-1], shape[::-1]))
    if len(shape) < x.ndim or not fits:
        raise ValueError(f"shape is {shape}, expected what x {x.shape} stretches to")
    out = np.empty(shape, x.dtype)
    for index in np.ndindex(*shape):
        out[index] = x[_source(index, x.shape)]          # eq. 1.3
    return out


def unbroadcast(grad, shape):
    """Adds each entry of `grad` to the entry of an array of `shape` that it is a copy of."""
    grad = np.asarray(grad)
    fits = all(n in (1, m) for n, m in zip(shape[::-1], grad.shape[::-1]))
    if len(shape) > grad.ndim or not fits:
        raise ValueError(f"shape is {shape}, expected what stretches to grad {grad.shape}")
    out = np.zeros(shape, grad.dtype)
    for index in np.ndindex(*grad.shape):
        out[_source(index, shape)] += grad[index]        # eq. 1.4
    return out


def _source(index, shape):
    """beta(i): the index in an array of `shape` that the stretched index `index` reads."""
    kept = index[len(index) - len(shape):]
    return tuple(0 if length == 1 else i for i, length in zip(kept, shape))


def sliding_windows(x, window, step=1):
    """All windows over the last axis of `x` (..., n), as a copy (..., count, window)."""
    x = np.asarray(x)
    if x.ndim == 0:
        raise ValueError("x has no axis, expected at least one to slide along")
    if not 1 <= window <= x.shape[-1]:
        raise ValueError(f"window is {window}, expected 1 to {x.shape[-1]}, the last length of x")
    if step < 1:
        raise ValueError(f"step is {step}, expected at least 1")
    count = (x.shape[-1] - window) // step + 1
    out = np.empty((*x.shape[:-1], count, window), x.dtype)
    for r in range(count):
        for i in range(window):
            out[..., r, i] = x[..., r * step + i]
    return out


def matmul(a, b):
    """Matrix product of `a` (..., n, k) and `b` (..., k, m) by loops: (..., n, m)."""
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.ndim < 2:
            raise ValueError(f"{name} has {array.ndim} axes, expected at least 2")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"b has {b.shape[-2]} rows, expected {a.shape[-1]} (the columns of a)")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, batch + a.shape[-2:]), broadcast_to(b, batch + b.shape[-2:])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for index in np.ndindex(*out.shape):
        *stack, i, j = index
        for p in range(a.shape[-1]):
            out[index] += a[(*stack, i, p)] * b[(*stack, p, j)]      # eq. 1.6
    return out


def einsum2(spec, a, b):
    """Einstein sum of `a` and `b`: an array with the axes that `spec` names."""
    a, b = np.asarray(a), np.asarray(b)
    operands, arrow, to = spec.replace(" ", "").partition("->")
    parts = operands.split(",")
    if not arrow or len(parts) != 2 or not all(p.isalpha() or p == "" for p in (*parts, to)):
        raise ValueError(f"spec is {spec!r}, expected two operands and an output: 'ij,jk->ik'")
    of_a, of_b = parts
    lengths = {}                                             # letter -> length
    for name, letters, array in (("a", of_a, a), ("b", of_b, b)):
        if len(letters) != array.ndim:
            raise ValueError(f"{name} has {array.ndim} axes, expected {len(letters)} ({letters})")
        for c, length in zip(letters, array.shape):
            if lengths.setdefault(c, length) != length:
                raise ValueError(f"{name} has length {length} at {c!r}, expected {lengths[c]}")
    if len(set(to)) != len(to) or not set(to) <= set(lengths):
        raise ValueError(f"spec is {spec!r}, expected an output of the inputs' letters, each once")
    out = np.zeros([lengths[c] for c in to], np.result_type(a, b))
    for index in np.ndindex(*lengths.values()):
        at = dict(zip(lengths, index))                   # letter -> index
        product = a[tuple(at[c] for c in of_a)] * b[tuple(at[c] for c in of_b)]
        out[tuple(at[c] for c in to)] += product         # eq. 1.8
    return out


def softmax(x, axis=-1):
    """Softmax of `x` (any shape) over `axis`: same shape."""
    x = np.moveaxis(np.asarray(x), axis, -1)
    out = np.empty(x.shape, x.dtype)
    for index in np.ndindex(*x.shape[:-1]):
        row = x[index].tolist()
        c = _largest(row)
        terms = [math.exp(value - c) for value in row]   # eq. 1.11
        total = sum(terms)
        out[index] = [term / total for term in terms]
    return np.moveaxis(out, -1, axis)


def logsumexp(x, axis=-1):
    """log of the sum of exponentials of `x` (any shape) over `axis`: shape without `axis`."""
    x = np.moveaxis(np.asarray(x), axis, -1)
    out = np.empty(x.shape[:-1], x.dtype)
    for index in np.ndindex(*x.shape[:-1]):
        row = x[index].tolist()
        c = _largest(row)
        if math.isinf(c):
            out[index] = c                               # all terms are 0, or one is infinite
        else:
            out[index] = c + math.log(sum(math.exp(value - c) for value in row))  # eq. 1.9
    return out


def _largest(row):
    """The maximum of a list of floats; NaN if one of them is NaN, -inf if there is none."""
    return math.nan if any(map(math.isnan, row)) else max(row, default=-math.inf)


def one_hot(y, k):
    """float32 (..., k) with a 1 at the class of each integer of `y` (...), 0 elsewhere."""
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y has dtype {y.dtype}, expected integers")
    if y.size and not 0 <= y.min() <= y.max() < k:
        raise ValueError(f"y has labels from {y.min()} to {y.max()}, expected 0 to {k - 1}")
    out = np.zeros((*y.shape, k), np.float32)
    for index in np.ndindex(*y.shape):
        out[(*index, y[index])] = 1.0
    return out
