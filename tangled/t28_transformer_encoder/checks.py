# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:22a0aecb437b44a3
"""Chapter 28: arguments checked, for all levels and for yours."""

import math
import numbers
from typing import NamedTuple

import numpy as np

from tangled.t26_multi_head_attention.checks import (
    floats,
    gradient,
    head_counts,
    rate,
    shaped,
    truth,
    visible,
    whole,
    working,
)

__all__ = ["floats", "gradient", "head_counts", "rate", "shaped", "truth", "visible", "whole", "working"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
NAMES = ("gamma1", "beta1", "w_q", "w_k", "w_v", "w_o", "b_q", "b_k", "b_v", "b_o", "gamma2", "beta2",
         "w1", "b1", "w2", "b2")
OPTIONAL = ("beta1", "b_q", "b_k", "b_v", "b_o", "beta2", "b1", "b2")


class Given(NamedTuple):
    """The arguments of encoder_block, arrays in the dtype to compute in.

    x (B, T, D); weights, a dict of all NAMES, arrays or None; heads, options of multi_head_attention;
    norm_first, activation, eps; given, the names that were there; dtype, that of the results.
    """

    x: np.ndarray
    weights: dict
    heads: dict
    norm_first: bool
    activation: str
    eps: float
    given: tuple
    dtype: np.dtype

    def take(self, *names):
        """The weights of these names, in this order."""
        return [self.weights[name] for name in names]


def cast(array):
    """`array` in the dtype to compute in; None for None."""
    return None if array is None else array.astype(working(array.dtype), copy=False)


def features(x):
    """x (..., D), floating, with at least one axis before D."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"x has dtype {x.dtype}; expected floating point")
    if x.ndim < 2 or x.shape[-1] == 0:
        raise ValueError(f"x has shape {x.shape}; expected (..., D), D at least 1")
    return x


def activation(name):
    """One of ACTIVATIONS."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activation = {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return name


def positive(name, value):
    """`value` as a float above 0."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 < value < math.inf:
        raise ValueError(f"{name} = {value!r}; expected a positive number")
    return float(value)


def optional(name, x, shape, dtype):
    """`x` as floats of that shape, or None."""
    return None if x is None else shaped(name, x, shape, dtype)


def network(x, w1, b1, w2, b2, function):
    """[x (..., D), w1 (D, F), b1 (F,), w2 (F, D), b2 (D,)] to compute with, and the dtype of the results."""
    x = features(x)
    D, F = x.shape[-1], floats("w1", w1, ("D", "F"), x.dtype).shape[1]
    activation(function)
    arrays = (x, shaped("w1", w1, (D, F), x.dtype), optional("b1", b1, (F,), x.dtype),
              shaped("w2", w2, (F, D), x.dtype), optional("b2", b2, (D,), x.dtype))
    return [cast(a) for a in arrays], x.dtype


def gated(x, w_gate, w_up, w_down):
    """[x (..., D), w_gate and w_up (D, F), w_down (F, D)] to compute with, and the dtype."""
    x = features(x)
    D, F = x.shape[-1], floats("w_gate", w_gate, ("D", "F"), x.dtype).shape[1]
    shapes = {"w_gate": (D, F), "w_up": (D, F), "w_down": (F, D)}
    arrays = [shaped(name, w, shape, x.dtype) for (name, shape), w in zip(shapes.items(), (w_gate, w_up, w_down))]
    return [cast(a) for a in (x, *arrays)], x.dtype


def block(x, weights, mask, num_heads, num_kv_heads, causal, norm_first, function, eps):
    """All arguments of encoder_block, as `Given`; attention checks its own."""
    x = floats("x", x, ("B", "T", "D"))
    D, unknown = x.shape[2], sorted(set(weights) - set(NAMES))
    missing = [name for name in NAMES if name not in OPTIONAL and weights.get(name) is None]
    if unknown or missing:
        raise ValueError(f"weights has {unknown or 'no ' + missing[0]}; expected {', '.join(NAMES)}")
    H, kv = head_counts(D, num_heads, num_kv_heads)
    F, width = floats("w1", weights["w1"], ("D", "F"), x.dtype).shape[1], D // H * kv
    shapes = dict.fromkeys(NAMES, (D,)) | {"b_k": (width,), "b_v": (width,), "b1": (F,)}
    shapes |= {"w_q": (D, D), "w_k": (D, width), "w_v": (D, width), "w_o": (D, D), "w1": (D, F), "w2": (F, D)}
    arrays = {name: cast(optional(name, weights.get(name), shapes[name], x.dtype)) for name in NAMES}
    visible(mask, (len(x), H, x.shape[1], x.shape[1]))
    heads = {"num_heads": H, "num_kv_heads": kv, "mask": mask, "causal": truth("causal", causal)}
    there = tuple(name for name in NAMES if arrays[name] is not None)
    return Given(cast(x), arrays, heads, truth("norm_first", norm_first), activation(function),
                 positive("eps", eps), there, x.dtype)


def images(x, patch):
    """x (B, C, H, W), floating, and patch, a divisor of H and of W."""
    x, p = floats("x", x, ("B", "C", "H", "W")), whole("patch", patch)
    if x.shape[2] % p or x.shape[3] % p or 0 in x.shape[1:]:
        raise ValueError(f"patch = {p}; expected a divisor of the height and width of x, {x.shape[2:]}")
    return x, p


def patches(x, shape, patch):
    """x (B, N, C p p) and the (C, H, W) of the pictures that it came from."""
    x, p = floats("x", x, ("B", "N", "C p p")), whole("patch", patch)
    C, H, W = (whole("shape", n) for n in shape)
    if x.shape[1:] != (H // p * (W // p), C * p * p) or H % p or W % p:
        raise ValueError(f"x has shape {x.shape}; expected (B, {H // p * (W // p)}, {C * p * p})")
    return x, (C, H, W), p


def experts(x, w_router, w1, b1, w2, b2, top_k, capacity_factor, function):
    """Rows (N, D), the five weights, top_k, the capacity of an expert in rows; shape and dtype of x."""
    x = features(x)
    D, E = x.shape[-1], floats("w_router", w_router, ("D", "E"), x.dtype).shape[1]
    F = floats("w1", w1, ("E", "D", "F"), x.dtype).shape[2]
    shapes = {"w_router": (D, E), "w1": (E, D, F), "b1": (E, F), "w2": (E, F, D), "b2": (E, D)}
    arrays = [cast(shaped(name, w, shape, x.dtype))
              for (name, shape), w in zip(shapes.items(), (w_router, w1, b1, w2, b2))]
    k = whole("top_k", top_k)
    if k > E:
        raise ValueError(f"top_k = {k}; expected at most {E}, the number of experts")
    rows = cast(x).reshape(-1, D)
    if len(rows) == 0:
        raise ValueError(f"x has shape {x.shape}; expected at least one token")
    room = len(rows)
    if capacity_factor is not None:
        room = math.ceil(positive("capacity_factor", capacity_factor) * k * len(rows) / E)
    return rows, arrays, k, room, activation(function), x.shape, x.dtype


def smoothed(logits, targets, smoothing, padding):
    """logits (N, K) to compute with, targets (N,), numbers; the shape and dtype of the logits."""
    logits, targets = features(logits), np.asarray(targets)
    K = logits.shape[-1]
    if targets.dtype.kind not in "iu" or targets.shape != logits.shape[:-1]:
        raise ValueError(f"targets has shape {targets.shape} and dtype {targets.dtype}; "
                         f"expected integers, {logits.shape[:-1]}")
    if targets.size and not 0 <= targets.min() <= targets.max() < K:
        raise ValueError(f"targets runs from {targets.min()} to {targets.max()}; expected 0 to {K - 1}")
    if padding is not None and whole("padding", padding, 0) >= K:
        raise ValueError(f"padding = {padding}; expected a class, below {K}")
    flat = targets.reshape(-1)
    if not np.any(flat != (-1 if padding is None else padding)):
        raise ValueError("targets holds 0 tokens that are not padding; expected at least one")
    return cast(logits).reshape(-1, K), flat, rate_of_smoothing(smoothing), logits.shape, logits.dtype


def rate_of_smoothing(value):
    """A share of the mass, from 0 to less than 1."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 <= value < 1:
        raise ValueError(f"smoothing = {value!r}; expected a number from 0 to less than 1")
    return float(value)


def real_tokens(lengths, B, T):
    """lengths (B,), integers from 0 to T: True where a token is real, (B, T, 1)."""
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or lengths.shape != (B,):
        raise ValueError(f"lengths has shape {lengths.shape} and dtype {lengths.dtype}; expected integers, ({B},)")
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= T:
        raise ValueError(f"lengths runs from {lengths.min()} to {lengths.max()}; expected 0 to {T}")
    return (np.arange(T) < lengths[:, None])[..., None]


def state(given, wanted):
    """Arrays by the names of torch.nn.TransformerEncoderLayer: those wanted, {name: shape}, and no others."""
    if set(given) != set(wanted):
        raise ValueError(f"state has {sorted(given)}; expected {sorted(wanted)}")
    return {name: shaped(name, given[name], shape) for name, shape in wanted.items()}
