# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:6aa28926f5cd05ec
"""The graded exercises of chapter 00, solved."""

import itertools
import math

import numpy as np


def log_softmax(x):
    """Logarithm of the softmax over the last axis.

    Parameters
    ----------
    x : ndarray of shape (..., C), floating point; ValueError for other types or no axis

    Returns
    -------
    ndarray of shape (..., C), of the dtype of `x`; finite wherever the true value is
    """
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.ndim == 0:
        raise ValueError(f"x has shape {x.shape} and dtype {x.dtype}; expected rows of floats")
    shifted = x - x.max(axis=-1, keepdims=True, initial=-np.inf)         # at most 0
    wide = np.promote_types(x.dtype, np.float32)                         # float16 sums stall
    total = np.exp(shifted, dtype=wide).sum(axis=-1, keepdims=True)      # (..., 1), from 1 to C
    return (shifted - np.log(total)).astype(x.dtype, copy=False)         # eq. 0.8


def reshape_copies(shape, strides, new_shape):
    """Whether `x.reshape(new_shape)` needs a copy, for x of that shape and those strides.

    Parameters
    ----------
    shape, new_shape : tuple of int, with the same number of entries; ValueError otherwise
    strides : tuple of int, one for each axis of `shape`; any sign, and 0

    Returns
    -------
    bool; False: the result is a view
    """
    new = list(new_shape)
    if math.prod(shape) != math.prod(new) or min(new, default=0) < 0:
        raise ValueError(f"new_shape is {new}; expected {math.prod(shape)} entries, as {shape}")
    old = [pair for pair in zip(shape, strides) if pair[0] != 1]
    new = [n for n in new if n != 1]
    while old and new and math.prod(shape):
        group, want = [old.pop(0)], new.pop(0)
        have = group[0][0]
        while have != want:                              # lengthen the shorter side
            if have < want:
                group.append(old.pop(0))
                have *= group[-1][0]
            else:
                want *= new.pop(0)
        if any(s != m * t for (_, s), (m, t) in itertools.pairwise(group)):
            return True
    return False
