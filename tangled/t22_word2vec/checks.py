# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:d11d28c593cb93d7
"""Chapter 22: arguments checked, for all levels and for yours."""

import numbers

import numpy as np


def floats(name, x, shape, dtype=None):
    """`x` as an array of floats of a shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the other array")
    same_shape(name, x, shape)
    return x


def same_shape(name, x, shape):
    """A ValueError unless `x` has that shape."""
    if x.ndim != len(shape) or any(not isinstance(w, str) and w != n for w, n in zip(shape, x.shape)):
        inside = ", ".join(map(str, shape))
        raise ValueError(f"{name} has shape {x.shape}; expected ({inside}{',' * (len(shape) == 1)})")


def ids(name, array, shape, V=None):
    """Integers of a shape from 0 to below V, as int64."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; expected integers")
    same_shape(name, array, shape)
    if array.size and (array.min() < 0 or (V is not None and array.max() >= V)):
        top = "..." if V is None else V - 1
        raise ValueError(f"{name} has values from {array.min()} to {array.max()}; expected 0 to {top}")
    return array.astype(np.int64)


def sampled(h, target, negatives, w_out, name="target"):
    """h (B, D), target (B,), negatives (B, K), w_out (V, D)."""
    h = floats("h", h, ("B", "D"))
    w_out = floats("w_out", w_out, ("V", h.shape[1]), h.dtype)
    target = ids(name, target, (len(h),), len(w_out))
    return h, target, ids("negatives", negatives, (len(h), "K"), len(w_out)), w_out


def tables(w_in, w_out):
    """w_in (V, D), w_out (V, D), of one dtype."""
    w_in = floats("w_in", w_in, ("V", "D"))
    return w_in, floats("w_out", w_out, w_in.shape, w_in.dtype)


def bag(context, mask, V):
    """context (B, C) of integers below V, mask (B, C) of bool."""
    context, mask = ids("context", context, ("B", "C"), V), np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"mask has dtype {mask.dtype}; expected bool")
    same_shape("mask", mask, context.shape)
    return context, mask


def sparse(given, rows):
    """ids (n,) and rows (n, D)."""
    rows = floats("rows", rows, ("n", "D"))
    return ids("ids", given, (len(rows),)), rows


def gradient(table, grad):
    """table (V, D), to be written to, and grad: ids (n,), each once and rising, and rows (n, D)."""
    if not isinstance(table, np.ndarray) or table.dtype.kind != "f" or table.ndim != 2:
        raise ValueError(f"table is a {type(table).__name__}; expected an ndarray of floats (V, D)")
    rows = floats("the rows of grad", grad[1], ("n", table.shape[1]), table.dtype)
    found = ids("the ids of grad", grad[0], (len(rows),), len(table))
    if (found[1:] <= found[:-1]).any():
        raise ValueError("the ids of grad are repeated or out of order; expected each once and rising, "
                         "as sum_rows gives")
    return table, found, rows


def counts(name, array):
    """Finite numbers (V,), none negative, not all 0, as float64."""
    array = np.asarray(array)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise ValueError(f"{name} is {array.dtype} {array.shape}; expected numbers (V,)")
    array = array.astype(np.float64)
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise ValueError(f"{name} has entries that are negative or not finite, or only zeros; expected weights")
    return array


def positive(name, value):
    """A finite number above 0."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 < value < np.inf:
        raise ValueError(f"{name} = {value!r}; expected a finite number above 0")
    return float(value)


def whole(name, value, least=1):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def text(given, sentence):
    """ids (n,) and sentence (n,), the number of the sentence in which each stands."""
    given = ids("ids", given, ("n",))
    return given, ids("sentence", sentence, given.shape)


def pairs(queries, keys):
    """queries (N, D), keys (M, D) with M >= N >= 1, of one dtype."""
    queries = floats("queries", queries, ("N", "D"))
    keys = floats("keys", keys, ("M", queries.shape[1]), queries.dtype)
    if not 1 <= len(queries) <= len(keys):
        raise ValueError(f"keys has shape {keys.shape}; expected at least as many rows as queries, "
                         f"{len(queries)}, and at least 1")
    return queries, keys


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
