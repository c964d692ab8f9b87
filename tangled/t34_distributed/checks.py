# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:f7b6249dfdfeb855
"""Chapter 34: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t03_optimizers.base import number, pair
from tangled.t25_self_attention.checks import whole

__all__ = ["limit", "mean", "moments", "options", "out", "piece", "reals", "share", "some_tokens", "vector", "weighted",
           "whole", "writable"]


def reals(name, x):
    """`x` as an array of float32 or float64; sums of float16 would overflow, and each hop would round."""
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} has dtype {x.dtype}; expected float32 or float64")
    return x


def writable(name, x):
    """An array (any shape) that is written in place."""
    if not isinstance(x, np.ndarray) or not x.flags.writeable:
        kind = "a read-only array" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name} is {kind}; expected an array that can be written")
    return reals(name, x)


def out(out, x):
    """An array like x (any shape) to write the result into, its entries apart, or None."""
    if out is not None and (not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (x.shape, x.dtype)):
        raise ValueError(f"out is {getattr(out, 'dtype', type(out).__name__)} of shape {np.shape(out)}; expected "
                         f"{x.dtype} of shape {x.shape}")
    if out is not None:
        writable("out", out)
    if out is not None and not out.flags.c_contiguous and overlaps(out):
        raise ValueError(f"out has strides {out.strides} for shape {out.shape}; expected entries that do not overlap")
    return out


def overlaps(x):
    """Do entries of x (any shape) share memory, as in a broadcast array?"""
    reach = x.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in zip(x.strides, x.shape) if n > 1):
        if stride < reach:
            return x.size > 0
        reach += stride * (n - 1)
    return False


def vector(name, x):
    """A vector (n,) that is written in place."""
    x = writable(name, x)
    if x.ndim != 1 or not x.flags.c_contiguous:
        raise ValueError(f"{name} has shape {x.shape}; expected a vector without gaps")
    return x


def share(n, rank, size):
    """n, rank and size as ints, the rank one of them."""
    n, size = whole("n", n, 0), whole("size", size, 1)
    if whole("rank", rank, 0) >= size:
        raise ValueError(f"rank = {rank}; expected less than size = {size}")
    return n, int(rank), size


def piece(piece, n, bounds):
    """A rank's piece (b - a,) of a vector of n numbers."""
    piece, (a, b) = reals("piece", piece), bounds
    if piece.shape != (b - a,):
        raise ValueError(f"piece has shape {piece.shape}; expected ({b - a},), this rank's of {n}")
    return piece


def weighted(gradients, counts, max_norm):
    """Gradients (A, n), their counts of tokens (A,) as floats, the longest norm or None."""
    gradients, counts = reals("gradients", gradients), np.asarray(counts)
    if gradients.ndim != 2:
        raise ValueError(f"gradients has shape {gradients.shape}; expected (A, n), one row a micro-batch")
    if counts.shape != gradients.shape[:1]:
        raise ValueError(f"counts has shape {counts.shape}; expected ({len(gradients)},), one a micro-batch")
    if counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0):
        raise ValueError(f"counts = {counts.tolist()}; expected whole numbers of tokens, at least 0")
    if not counts.all():                                        # a mean over no token may be nan
        gradients = np.where(counts[:, None] > 0, gradients, 0)
    return gradients, counts.astype(gradients.dtype), limit(max_norm)


def mean(gradient, count, max_norm, n):
    """A gradient (n,) of a mean over `count` tokens, the count as floats (1,), the longest norm or None."""
    gradient = reals("gradient", gradient)
    if gradient.shape != (n,):
        raise ValueError(f"gradient has shape {gradient.shape}; expected ({n},), a number for each weight")
    (gradient,), counts, max_norm = weighted(gradient[None], [count], max_norm)
    return gradient, counts, max_norm


def moments(state, n):
    """Of a `state_dict`: the updates made, an int, and {"m": (n,), "v": (n,)}."""
    found = {name: np.asarray(state[name]) for name in "mv"}
    for name, x in found.items():
        if x.shape != (n,):
            raise ValueError(f"state has {name} of shape {x.shape}; expected ({n},), a number for each weight")
    return int(state["t"]), found


def limit(max_norm):
    """The longest norm as a float, or None."""
    return None if max_norm is None else number("max_norm", max_norm, 0, positive=True)


def some_tokens(total):
    """The number of all tokens, not 0: the same on every rank, so that all raise or none."""
    if not total > 0:
        raise ValueError(f"counts sum to {float(total):g} over all ranks; expected at least one token")
    return total


def options(weights, lr, betas, eps, weight_decay, decayed):
    """The options of an optimiser, in order."""
    weights = vector("weights", weights)
    decayed = len(weights) if decayed is None else whole("decayed", decayed, 0)
    if decayed > len(weights):
        raise ValueError(f"decayed = {decayed}; expected at most {len(weights)}, the number of weights")
    return (weights, number("lr", lr, 0), pair("betas", betas), number("eps", eps, 0, positive=True),
            number("weight_decay", weight_decay, 0), decayed)
