# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:8dcf04b15cc18116
"""Chapter 25: arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np


def whole(name, value, least):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def floats(name, x, axes=0, dtype=None):
    """`x` as an array of floats with at least so many axes, of the dtype of the others."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the others")
    if x.ndim < axes:
        raise ValueError(f"{name} has shape {x.shape}; expected at least {axes} axes")
    return x


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def visible(mask, shape):
    """`mask` as a read-only view of that shape, or None."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"mask has dtype {mask.dtype}; expected bool, True where a query may attend")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"mask has shape {mask.shape}; expected one that broadcasts to {shape}") from None


def heads(q, k, v, mask, causal, scale):
    """q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv), mask (..., Tq, Tk) or None, scale or None, dtype."""
    q = floats("q", q, 2)
    k, v = floats("k", k, 2, q.dtype), floats("v", v, 2, q.dtype)
    *batch, _, D = q.shape
    if D == 0:
        raise ValueError(f"q has shape {q.shape}; expected at least one feature")
    if k.shape != (*batch, k.shape[-2], D):
        raise ValueError(f"k has shape {k.shape}; expected ({', '.join(map(str, [*batch, 'Tk', D]))})")
    if v.shape != (*k.shape[:-1], v.shape[-1]):
        raise ValueError(f"v has shape {v.shape}; expected ({', '.join(map(str, [*k.shape[:-1], 'Dv']))})")
    if not isinstance(causal, (bool, np.bool_)):
        raise ValueError(f"causal = {causal!r}; expected True or False")
    if scale is not None:
        if not isinstance(scale, numbers.Real) or isinstance(scale, bool) or not math.isfinite(scale):
            raise ValueError(f"scale = {scale!r}; expected a finite number, or None")
        scale = float(scale)
    mask, work = visible(mask, (*q.shape[:-1], k.shape[-2])), working(q.dtype)
    return *(x.astype(work, copy=False) for x in (q, k, v)), mask, scale, q.dtype


def gradient(dout, shape, dtype):
    """`dout` as an array of that shape and dtype."""
    dout = floats("dout", dout)
    if dout.shape != shape:
        raise ValueError(f"dout has shape {dout.shape}; expected {shape}, that of out")
    return dout.astype(dtype, copy=False)


def scores(scores, mask):
    """scores (..., T) in the dtype to compute in, mask broadcast to them or None, dtype."""
    scores = floats("scores", scores, 1)
    return scores.astype(working(scores.dtype), copy=False), visible(mask, scores.shape), scores.dtype


def weights(dp, p):
    """dp and p (..., T) in the dtype to compute in; dtype."""
    p = floats("p", p, 1)
    dp = floats("dp", dp, 1, p.dtype)
    if dp.shape != p.shape:
        raise ValueError(f"dp has shape {dp.shape}; expected {p.shape}, that of p")
    work = working(p.dtype)
    return dp.astype(work, copy=False), p.astype(work, copy=False), p.dtype


def ends(lengths, Tk):
    """lengths (B,), integers from 0 to Tk; Tk."""
    Tk, lengths = whole("Tk", Tk, 0), np.asarray(lengths)
    if lengths.ndim != 1 or (lengths.dtype.kind not in "iu" and lengths.size):
        raise ValueError(f"lengths has dtype {lengths.dtype} and shape {lengths.shape}; expected integers, (B,)")
    if ((lengths < 0) | (lengths > Tk)).any():
        raise ValueError(f"lengths has {lengths.min()} to {lengths.max()}; expected 0 to {Tk}")
    return lengths, Tk


def window(Tq, Tk, width, sinks):
    """The arguments of window_mask as ints."""
    return whole("Tq", Tq, 0), whole("Tk", Tk, 0), whole("window", width, 1), whole("sinks", sinks, 0)
