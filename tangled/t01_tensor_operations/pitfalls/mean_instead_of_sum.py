# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:1d11b700a19454b0
# Pitfall 1.5: mean instead of sum
"""Level 2: tensor operations over whole arrays; broadcasts and windows are views."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided


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
    if any(length < 0 for length in shape):
        raise ValueError(f"shape is {tuple(shape)}, expected lengths of at least 0")
    if order not in ("C", "F"):
        raise ValueError(f"order is {order!r}, expected 'C' or 'F'")
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
    ndim = max(map(len, shapes), default=0)
    table = np.array([(1,) * (ndim - len(s)) + tuple(s) for s in shapes])
    table = table.reshape(len(shapes), ndim)                     # (shapes, axes)
    table[table == 1] = -1                                       # a 1 has no opinion
    common = table.max(axis=0, initial=-1)                       # (axes,)
    if ((table != -1) & (table != common)).any():
        raise ValueError(f"shapes are {shapes}, expected equal lengths or 1 on each axis")
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
    x = np.asarray(x)
    fits = all(n in (1, m) for n, m in zip(x.shape[::-1], shape[::-1]))
    if len(shape) < x.ndim or not fits:
        raise ValueError(f"shape is {shape}, expected what x {x.shape} stretches to")
    lead = len(shape) - x.ndim
    kept = zip(x.shape, shape[lead:], x.strides)
    strides = (0,) * lead + tuple(s if n == m else 0 for n, m, s in kept)    # eq. 1.3
    return as_strided(x, shape, strides, writeable=False)


def unbroadcast(grad, shape):
    """The mean over the stretched axes: wrong by the number of copies."""
    grad = np.asarray(grad)
    fits = all(n in (1, m) for n, m in zip(shape[::-1], grad.shape[::-1]))
    if len(shape) > grad.ndim or not fits:
        raise ValueError(f"shape is {shape}, expected what stretches to grad {grad.shape}")
    lead = grad.ndim - len(shape)
    pairs = enumerate(zip(shape, grad.shape[lead:]), lead)
    axes = (*range(lead), *(d for d, (n, m) in pairs if n == 1 and m != 1))
    return grad.mean(axis=axes).reshape(shape) if axes else grad


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
    x = np.asarray(x)
    if x.ndim == 0:
        raise ValueError("x has no axis, expected at least one to slide along")
    if not 1 <= window <= x.shape[-1]:
        raise ValueError(f"window is {window}, expected 1 to {x.shape[-1]}, the last length of x")
    if step < 1:
        raise ValueError(f"step is {step}, expected at least 1")
    count = (x.shape[-1] - window) // step + 1
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
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.ndim < 2:
            raise ValueError(f"{name} has {array.ndim} axes, expected at least 2")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"b has {b.shape[-2]} rows, expected {a.shape[-1]} (the columns of a)")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for p in range(a.shape[-1]):
        out += a[..., :, p, None] * b[..., p, None, :]   # (..., n, 1) (..., 1, m)  eq. 1.6
    return out


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
    a, of_a = _reduce_operand(a, of_a, of_b + to)
    b, of_b = _reduce_operand(b, of_b, of_a + to)
    batch = [c for c in of_a if c in of_b and c in to]
    inner = [c for c in of_a if c in of_b and c not in to]
    left = [c for c in of_a if c not in of_b]
    right = [c for c in of_b if c not in of_a]
    flat_a = _flatten(a, of_a, lengths, (batch, left, inner))    # (batch, left, inner)
    flat_b = _flatten(b, of_b, lengths, (batch, inner, right))   # (batch, inner, right)
    order = batch + left + right
    out = (flat_a @ flat_b).reshape([lengths[c] for c in order])     # eq. 1.8
    return out.transpose([order.index(c) for c in to])


def _reduce_operand(x, letters, wanted):
    """`x` with diagonals for repeated letters; letters that nobody else wants are summed."""
    unique = "".join(dict.fromkeys(letters))
    steps = [sum(s for c, s in zip(letters, x.strides) if c == u) for u in unique]
    x = as_strided(x, [x.shape[letters.index(u)] for u in unique], steps)
    alone = tuple(d for d, u in enumerate(unique) if u not in wanted)
    return (x.sum(axis=alone) if alone else x), "".join(u for u in unique if u in wanted)


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
    x = np.asarray(x)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    terms = np.exp(shifted)                              # at most 1    (eq. 1.11)
    return terms / terms.sum(axis=axis, keepdims=True)


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
    x = np.asarray(x)
    c = x.max(axis=axis, keepdims=True, initial=-np.inf)
    c = np.where(np.isinf(c), 0, c)
    with np.errstate(divide="ignore", over="ignore"):
        out = np.log(np.exp(x - c).sum(axis=axis, keepdims=True)) + c    # eq. 1.9
    return out.squeeze(axis)


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
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y has dtype {y.dtype}, expected integers")
    if y.size and not 0 <= y.min() <= y.max() < k:
        raise ValueError(f"y has labels from {y.min()} to {y.max()}, expected 0 to {k - 1}")
    return (y[..., None] == np.arange(k)).astype(np.float32)     # (..., 1) against (k,)
