# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:66821193060585de
"""Chapter 15: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t11_conv2d_naive.checks import floats, whole
from tangled.t12_im2col.checks import gradient, pair, pictures, window, working

__all__ = ["causal", "depthwise", "excited", "gradient", "pair", "pointwise", "shape_of", "symbols", "whole",
           "width_of", "working"]


def _bias(b, filters, dtype):
    """b (F,), or None."""
    if b is None:
        return None
    b = floats("b", b, ("F",), dtype)
    if b.shape != (filters,):
        raise ValueError(f"b has shape {b.shape}; expected ({filters},)")
    return b


def depthwise(x, w, b, stride, padding, dilation):
    """x (N, C, H, W), w (C * M, 1, KH, KW), b (C * M,) or None, and the Window."""
    x = pictures(x)
    w, channels = floats("w", w, ("C * M", "1", "KH", "KW"), x.dtype), x.shape[1]
    if channels == 0:
        raise ValueError(f"x has shape {x.shape}; expected at least one channel")
    if w.shape[1] != 1 or 0 in w.shape or len(w) % channels:
        raise ValueError(f"w has shape {w.shape}; expected (C * M, 1, KH, KW) with C = {channels}, the channels of x")
    return x, w, _bias(b, len(w), x.dtype), window(x.shape, w.shape[2:], stride, padding, dilation)


def pointwise(x, w, b):
    """x (N, C, H, W), w (F, C), b (F,) or None."""
    x = pictures(x)
    w = floats("w", w, ("F", "C"), x.dtype)
    if w.shape[1] != x.shape[1] or 0 in w.shape:
        raise ValueError(f"w has shape {w.shape}; expected (F, {x.shape[1]}), the channels of x")
    return x, w, _bias(b, len(w), x.dtype)


def causal(x, w, b, dilation):
    """x (N, C, T), w (F, C, K), b (F,) or None, dilation a positive int."""
    x = floats("x", x, ("N", "C", "T"))
    w = floats("w", w, ("F", "C", "K"), x.dtype)
    if w.shape[1] != x.shape[1] or 0 in w.shape:
        raise ValueError(f"w has shape {w.shape}; expected (F, {x.shape[1]}, K), the channels of x")
    return x, w, _bias(b, len(w), x.dtype), whole("dilation", dilation, 1)


def excited(x, w1, b1, w2, b2):
    """x (N, C, H, W), w1 (C, R), b1 (R,), w2 (R, C), b2 (C,)."""
    x = pictures(x)
    if 0 in x.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; expected at least one channel and one pixel")
    w1 = floats("w1", w1, ("C", "R"), x.dtype)
    if len(w1) != x.shape[1] or w1.shape[1] == 0:
        raise ValueError(f"w1 has shape {w1.shape}; expected ({x.shape[1]}, R), the channels of x")
    found = [x, w1]
    for name, array, shape in (("b1", b1, w1.shape[1:]), ("w2", w2, w1.shape[::-1]), ("b2", b2, w1.shape[:1])):
        array = floats(name, array, ("R", "C")[:len(shape)], x.dtype)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
        found.append(array)
    return found


def symbols(ids, count):
    """ids (N, T), whole numbers from 0 to count - 1."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != 2:
        raise ValueError(f"ids has dtype {ids.dtype} and shape {ids.shape}; expected integers (N, T)")
    if ids.size and not 0 <= ids.min() <= ids.max() < count:
        raise ValueError(f"ids has entries from {ids.min()} to {ids.max()}; expected 0 to {count - 1}")
    return ids


def width_of(x, channels):
    """x (N, C, H, W) with that many channels."""
    x = pictures(x)
    if x.shape[1] != channels:
        raise ValueError(f"x has shape {x.shape}; expected {channels} channels")
    return x


def shape_of(input_shape):
    """A tuple of whole numbers."""
    if not isinstance(input_shape, (tuple, list)):
        raise ValueError(f"input_shape = {input_shape!r}; expected a tuple, the batch first")
    return tuple(whole("input_shape", size, 0) for size in input_shape)
