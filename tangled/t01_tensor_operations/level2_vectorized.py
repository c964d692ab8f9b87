# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:b264032315b34d12
"""Level 2: tensor operations over whole arrays; broadcasts and windows are views."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

import tangled.t01_tensor_operations.checks as check


def contiguous_strides(shape, itemsize=8, order="C"):
    """Strides of a freshly allocated array.

    Parameters
    ----------
    shape : tuple of int
        Lengths; one of 0 is stepped over as if it were 1, as NumPy does. Negative: ValueError.
    itemsize : int, bytes an entry
    order : "C" (last axis contiguous) or "F" (first); ValueError for another

    Returns
    -------
    tuple of int: bytes from one entry to the next, for each axis
    """
    shape = check.layout(shape, itemsize, order)
    lengths = [max(length, 1) for length in shape]
    lengths = lengths if order == "F" else lengths[::-1]     # the contiguous axis first
    strides = itemsize * np.cumprod([1, *lengths])[:-1]      # eq. 1.2
    strides = strides if order == "F" else strides[::-1]
    return tuple(strides.tolist())


def broadcast_shapes(*shapes):
    """The shape that arrays of the given shapes broadcast to.

    Parameters
    ----------
    *shapes : any number of tuples of int; () is a scalar's

    Returns
    -------
    tuple of int; ValueError if two lengths on an axis differ and neither is 1
    """
    shapes = [check.lengths("shapes", shape) for shape in shapes]
    ndim = max(map(len, shapes), default=0)
    table = np.array([(1,) * (ndim - len(s)) + tuple(s) for s in shapes])
    table = table.reshape(len(shapes), ndim)                     # (shapes, axes)
    table[table == 1] = -1                                       # a 1 has no opinion
    common = table.max(axis=0, initial=-1)                       # (axes,)
    if ((table != -1) & (table != common)).any():
        raise ValueError(f"shapes are {shapes}; expected equal lengths or 1 on each axis")
    return tuple(np.where(common == -1, 1, common).tolist())


def broadcast_to(x, shape):
    """A read-only view of `x` stretched to `shape`, in constant time.

    Parameters
    ----------
    x : ndarray of any shape
    shape : tuple of int, to which that of `x` broadcasts; ValueError if it does not

    Returns
    -------
    ndarray of shape `shape`, sharing the memory of `x`
    """
    x, shape = check.stretch(x, shape)
    lead = len(shape) - x.ndim
    kept = zip(x.shape, shape[lead:], x.strides)
    strides = (0,) * lead + tuple(s if n == m else 0 for n, m, s in kept)    # eq. 1.3
    return as_strided(x, shape, strides, writeable=False)


def unbroadcast(grad, shape):
    """The adjoint of `broadcast_to`: sums `grad` over the axes that were stretched.

    Parameters
    ----------
    grad : ndarray, the gradient with respect to the stretched array
    shape : tuple of int, the shape before; ValueError if it does not stretch to grad's

    Returns
    -------
    ndarray of shape `shape`; `grad` itself if nothing was stretched
    """
    grad, shape = check.stretched(grad, shape)
    lead = grad.ndim - len(shape)
    pairs = enumerate(zip(shape, grad.shape[lead:]), lead)
    axes = (*range(lead), *(d for d, (n, m) in pairs if n == 1 and m != 1))
    if not axes:
        return grad
    total = grad.sum(axis=axes, dtype=check.wide(grad).dtype)        # eq. 1.4
    return np.asarray(total, grad.dtype).reshape(shape)


def sliding_windows(x, window, step=1):
    """A read-only view of all windows over the last axis of `x`, in constant time.

    Parameters
    ----------
    x : ndarray of shape (..., n)
    window : int, 1 to n
    step : int, at least 1: the distance between the starts of neighbouring windows

    Returns
    -------
    ndarray of shape (..., (n - window) // step + 1, window), sharing the memory of `x`
        ValueError if no window fits, or the step is not positive.
    """
    x, count = check.windows(x, window, step)
    s = x.strides[-1]
    strides = (*x.strides[:-1], step * s, s)
    return as_strided(x, (*x.shape[:-1], count, window), strides, writeable=False)


def matmul(a, b):
    """Matrix product over the last two axes, the leading ones broadcast.

    Parameters
    ----------
    a : ndarray of shape (..., n, k)
    b : ndarray of shape (..., k, m)

    Returns
    -------
    ndarray of shape (..., n, m), of the common dtype
        ValueError if an argument has fewer than two axes, or the inner lengths differ.
    """
    a, b, dtype = check.matrices(a, b)
    a, b = check.wide(a), check.wide(b)
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for p in range(a.shape[-1]):
        out += a[..., :, p, None] * b[..., p, None, :]   # (..., n, 1) (..., 1, m)  eq. 1.6
    return out.astype(dtype, copy=False)


def einsum2(spec, a, b):
    """Einstein summation of two operands.

    Parameters
    ----------
    spec : str
        One letter for each axis, "ij,jk->ik". A letter that repeats in one operand takes its
        diagonal; letters missing from the output are summed. ValueError if it does not fit.
    a, b : ndarray, with the axes that `spec` names

    Returns
    -------
    ndarray with the axes of the output's letters; its shape is their lengths in that order
    """
    a, b = np.asarray(a), np.asarray(b)
    of_a, of_b, to, lengths = check.letters(spec, a, b)
    dtype = np.result_type(a, b)
    a, of_a = _reduce_operand(check.wide(a), of_a, of_b + to)
    b, of_b = _reduce_operand(check.wide(b), of_b, of_a + to)
    batch = [c for c in of_a if c in of_b and c in to]
    inner = [c for c in of_a if c in of_b and c not in to]
    left = [c for c in of_a if c not in of_b]
    right = [c for c in of_b if c not in of_a]
    flat_a = _flatten(a, of_a, lengths, (batch, left, inner))    # (batch, left, inner)
    flat_b = _flatten(b, of_b, lengths, (batch, inner, right))   # (batch, inner, right)
    order = batch + left + right
    out = (flat_a @ flat_b).reshape([lengths[c] for c in order])     # eq. 1.8
    return out.transpose([order.index(c) for c in to]).astype(dtype, copy=False)[()]


def _reduce_operand(x, letters, wanted):
    """`x` with diagonals for repeated letters; letters that nobody else wants are summed."""
    unique = "".join(dict.fromkeys(letters))
    steps = [sum(s for c, s in zip(letters, x.strides) if c == u) for u in unique]
    x = as_strided(x, [x.shape[letters.index(u)] for u in unique], steps)
    alone = tuple(d for d, u in enumerate(unique) if u not in wanted)
    return (x.sum(axis=alone, dtype=x.dtype) if alone else x), "".join(u for u in unique if u in wanted)


def _flatten(x, letters, lengths, groups):
    """`x` transposed to the order of the groups of letters, each group one axis."""
    x = x.transpose([letters.index(c) for group in groups for c in group])
    return x.reshape([math.prod(lengths[c] for c in group) for group in groups])


def softmax(x, axis=-1):
    """Softmax over one axis.

    Parameters
    ----------
    x : ndarray of any shape with at least one axis, floating point
    axis : int

    Returns
    -------
    ndarray of the shape of `x`; sums over `axis` are 1
        A slice that holds NaN or +inf, or only -inf, is NaN, as in PyTorch.
    """
    x, axis = check.floats(x, axis)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    terms = np.exp(check.wide(shifted))                  # at most 1    (eq. 1.11)
    return (terms / terms.sum(axis=axis, keepdims=True)).astype(x.dtype, copy=False)


def logsumexp(x, axis=-1):
    """log(sum(exp(x))) over one axis, without overflow.

    Parameters
    ----------
    x : ndarray of any shape with at least one axis, floating point
    axis : int

    Returns
    -------
    ndarray of the shape of `x` without `axis`
        -inf where a slice is all -inf or empty; +inf or NaN where it holds one, NaN winning.
    """
    x, axis = check.floats(x, axis)
    c = x.max(axis=axis, keepdims=True, initial=-np.inf)
    c = np.where(np.isinf(c), 0, c).astype(x.dtype)
    with np.errstate(divide="ignore", over="ignore"):
        terms = np.exp(check.wide(x - c))
        out = np.log(terms.sum(axis=axis, keepdims=True)) + c            # eq. 1.9
    return out.squeeze(axis).astype(x.dtype, copy=False)[()]


def one_hot(y, k):
    """Indicator vectors of class labels.

    Parameters
    ----------
    y : ndarray of integers from 0 to k - 1, of any shape (...); ValueError for others
    k : int, the number of classes

    Returns
    -------
    float32 ndarray of shape (..., k)
    """
    y = check.labels(y, k)
    return (y[..., None] == np.arange(k)).astype(np.float32)     # (..., 1) against (k,)
