# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:b27d4d8d6b4762c6
"""Chapter 21: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t18_rnn.checks import floats, generator, gradient, weights, whole, working  # noqa: F401, for the levels


def lengths(values, B=None, T=None):
    """Integers (B,) from 0 to T, as int64."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise ValueError(f"lengths is {values.dtype} {values.shape}; expected integers (B,)")
    if B is not None and len(values) != B:
        raise ValueError(f"lengths has {len(values)} entries; expected {B}, one a row")
    if values.size and (values.min() < 0 or (T is not None and values.max() > T)):
        top = "..." if T is None else T
        raise ValueError(f"lengths has values from {values.min()} to {values.max()}; expected 0 to {top}")
    return values.astype(np.int64)


def width(T, longest):
    """T as an int that the longest sequence fits into; that length for None."""
    if T is None:
        return int(longest)
    if whole("T", T, 0) < longest:
        raise ValueError(f"T = {T}; expected at least {longest}, the longest sequence")
    return int(T)


def batch(name, x):
    """An array with at least two axes, (B, T, ...)."""
    x = np.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"{name} has shape {x.shape}; expected (B, T, ...)")
    return x


def sequences(given):
    """A list of arrays (l, ...), at least one, alike but for l."""
    arrays = [np.asarray(s) for s in given]
    if not arrays:
        raise ValueError("sequences is empty; expected at least one")
    for k, array in enumerate(arrays):
        if array.ndim == 0:
            raise ValueError(f"sequences[{k}] is a number; expected an array (length, ...)")
        if array.shape[1:] != arrays[0].shape[1:] or array.dtype != arrays[0].dtype:
            raise ValueError(f"sequences[{k}] is {array.dtype} (length, {array.shape[1:]}); expected {arrays[0].dtype} "
                             f"(length, {arrays[0].shape[1:]}), as the first")
    return arrays


def mask(value, shape):
    """Booleans of a shape."""
    value = np.asarray(value)
    if value.dtype != bool or value.shape != tuple(shape):
        raise ValueError(f"mask is {value.dtype} {value.shape}; expected bool {tuple(shape)}")
    return value


def targets(values, real, V):
    """Integers in the shape of the mask `real`, from 0 to below V where it is True; 0 elsewhere."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" or values.shape != real.shape:
        raise ValueError(f"targets is {values.dtype} {values.shape}; expected integers {real.shape}")
    values = np.where(real, values, 0).astype(np.int64)
    if values.size and real.any() and (values.min() < 0 or values.max() >= V):
        raise ValueError(f"targets has values from {values.min()} to {values.max()}; expected 0 to {V - 1}")
    return values


def packed(data, sizes, order):
    """data (N, ...), sizes that never grow and sum to N, order a permutation of the B rows."""
    data, sizes, order = np.asarray(data), np.asarray(sizes), np.asarray(order)
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or (np.diff(sizes) > 0).any() or (sizes < 1).any():
        raise ValueError(f"sizes is {sizes.tolist()}; expected positive integers that never grow")
    if order.ndim != 1 or sorted(order.tolist()) != list(range(len(order))):
        raise ValueError(f"order is {order.tolist()}; expected each of 0 to {order.size - 1} once")
    if data.ndim == 0 or len(data) != sizes.sum() or (sizes > len(order)).any():
        raise ValueError(f"data has shape {data.shape}; expected ({sizes.sum()}, ...) in steps of at most {len(order)}")
    return data, sizes.astype(np.int64), order.astype(np.int64)


def dloss(value):
    """A number."""
    if np.ndim(value) != 0:
        raise ValueError(f"dloss has shape {np.shape(value)}; expected a number")
    return float(value)
