# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:832a25a3f3577d40
"""Level 1: tensor operations by loops over single numbers."""

import math

import numpy as np

import tangled.t01_tensor_operations.checks as check


def contiguous_strides(shape, itemsize=8, order="C"):
    """Strides in bytes, a tuple of int, of a fresh array of `shape` (tuple of int)."""
    shape = check.layout(shape, itemsize, order)
    strides, step = [], itemsize
    for length in (reversed(shape) if order == "C" else shape):
        strides.append(step)
        step *= max(length, 1)                           # eq. 1.2
    return tuple(reversed(strides) if order == "C" else strides)


def broadcast_shapes(*shapes):
    """The common shape, a tuple of int, of `shapes` (tuples of int)."""
    shapes, out = [check.lengths("shapes", shape) for shape in shapes], []
    for d in range(1, max(map(len, shapes), default=0) + 1):
        common = 1
        for length in (shape[-d] for shape in shapes if d <= len(shape)):
            if length != 1 and common not in (1, length):
                raise ValueError(f"shapes {shapes} have {common} and {length} at axis -{d}; "
                                 "expected equal lengths or 1")
            common = length if length != 1 else common
        out.insert(0, common)
    return tuple(out)


def broadcast_to(x, shape):
    """A copy of `x` (any shape) stretched to `shape`, entry by entry."""
    x, shape = check.stretch(x, shape)
    out = np.empty(shape, x.dtype)
    for index in np.ndindex(*shape):
        out[index] = x[_source(index, x.shape)]          # eq. 1.3
    return out


def unbroadcast(grad, shape):
    """Adds each entry of `grad` to the entry of an array of `shape` that it is a copy of."""
    grad, shape = check.stretched(grad, shape)
    out = np.zeros(shape, check.wide(grad).dtype)
    for index in np.ndindex(*grad.shape):
        out[_source(index, shape)] += grad[index]        # eq. 1.4
    return out.astype(grad.dtype, copy=False)


def _source(index, shape):
    """beta(i): the index in an array of `shape` that the stretched index `index` reads."""
    kept = index[len(index) - len(shape):]
    return tuple(0 if length == 1 else i for i, length in zip(kept, shape))


def sliding_windows(x, window, step=1):
    """All windows over the last axis of `x` (..., n), as a copy (..., count, window)."""
    x, count = check.windows(x, window, step)
    out = np.empty((*x.shape[:-1], count, window), x.dtype)
    for r in range(count):
        for i in range(window):
            out[..., r, i] = x[..., r * step + i]
    return out


def matmul(a, b):
    """Matrix product of `a` (..., n, k) and `b` (..., k, m) by loops: (..., n, m)."""
    a, b, dtype = check.matrices(a, b)
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, batch + a.shape[-2:]), broadcast_to(b, batch + b.shape[-2:])
    out = check.wide(np.zeros((*batch, a.shape[-2], b.shape[-1]), dtype))
    for index in np.ndindex(*out.shape):
        *stack, i, j = index
        for p in range(a.shape[-1]):
            out[index] += check.wide(a[(*stack, i, p)]) * b[(*stack, p, j)]  # eq. 1.6
    return out.astype(dtype, copy=False)


def einsum2(spec, a, b):
    """Einstein sum of `a` and `b`: an array with the axes that `spec` names."""
    a, b = np.asarray(a), np.asarray(b)
    of_a, of_b, to, lengths = check.letters(spec, a, b)
    dtype = np.result_type(a, b)
    out = check.wide(np.zeros([lengths[c] for c in to], dtype))
    for index in np.ndindex(*lengths.values()):
        at = dict(zip(lengths, index))                   # letter -> index
        product = check.wide(a[tuple(at[c] for c in of_a)]) * b[tuple(at[c] for c in of_b)]
        out[tuple(at[c] for c in to)] += product         # eq. 1.8
    return out.astype(dtype, copy=False)[()]


def softmax(x, axis=-1):
    """Softmax of `x` (any shape) over `axis`: same shape."""
    x, axis = check.floats(x, axis)
    x = np.moveaxis(x, axis, -1)
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
    x, axis = check.floats(x, axis)
    x = np.moveaxis(x, axis, -1)
    out = np.empty(x.shape[:-1], x.dtype)
    for index in np.ndindex(*x.shape[:-1]):
        row = x[index].tolist()
        c = _largest(row)
        if math.isinf(c):
            out[index] = c                               # all terms are 0, or one is infinite
        else:
            out[index] = c + math.log(sum(math.exp(value - c) for value in row))  # eq. 1.9
    return out[()]


def _largest(row):
    """The maximum of a list of floats; NaN if one of them is NaN, -inf if there is none."""
    return math.nan if any(map(math.isnan, row)) else max(row, default=-math.inf)


def one_hot(y, k):
    """float32 (..., k) with a 1 at the class of each integer of `y` (...), 0 elsewhere."""
    y = check.labels(y, k)
    out = np.zeros((*y.shape, k), np.float32)
    for index in np.ndindex(*y.shape):
        out[(*index, y[index])] = 1.0
    return out
