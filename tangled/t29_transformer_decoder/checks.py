# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:691b792f97b81715
"""Chapter 29: arguments checked, for all levels and for yours."""

from typing import NamedTuple

import numpy as np

from tangled.t28_transformer_encoder.checks import (
    activation,
    cast,
    floats,
    gradient,
    head_counts,
    positive,
    rate,
    shaped,
    whole,
)

__all__ = ["gradient", "rate", "whole"]

SELF = ("w_q", "w_k", "w_v", "w_o", "b_q", "b_k", "b_v", "b_o")
CROSS = ("u_q", "u_k", "u_v", "u_o", "a_q", "a_k", "a_v", "a_o")
NETWORK = ("w1", "b1", "w2", "b2")
NAMES = ("gamma1", "beta1", *SELF, "gamma2", "beta2", *CROSS, "gamma3", "beta3", *NETWORK)


class Given(NamedTuple):
    """The arguments of decoder_block, arrays in the dtype to compute in.

    x (B, T, D), memory (B, S, D) with zeros where it is padding, weights by NAMES, heads, real: (B, 1, S)
    of bool or None, activation, eps, and the dtype of the results.
    """

    x: np.ndarray
    memory: np.ndarray
    weights: dict
    heads: int
    real: np.ndarray | None
    activation: str
    eps: float
    dtype: np.dtype

    def take(self, *names):
        """The weights of these names, in this order."""
        return [self.weights[name] for name in names]


def weights_of(weights, D, dtype):
    """The dict of a block of width D, complete, cast to compute with."""
    if set(weights) != set(NAMES):
        odd = sorted(set(weights) ^ set(NAMES))
        raise ValueError(f"weights has or lacks {', '.join(map(str, odd))}; expected {', '.join(NAMES)}")
    F = floats("w1", weights["w1"], ("D", "F"), dtype).shape[1]
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in NAMES} | {"w1": (D, F), "b1": (F,), "w2": (F, D)}
    return {name: cast(shaped(name, weights[name], shapes[name], dtype)) for name in NAMES}


def memory_of(memory, memory_mask, like=None):
    """memory (B, S, D), floating, with zeros where memory_mask (B, S) is False; the mask as (B, 1, S) or None."""
    memory = floats("memory", memory, ("B", "S", "D"), None if like is None else like.dtype)
    if 0 in memory.shape[1:]:
        raise ValueError(f"memory has shape {memory.shape}; expected at least one token and one feature")
    if like is not None and (len(memory), memory.shape[2]) != (len(like), like.shape[-1]):
        raise ValueError(f"memory has shape {memory.shape}; expected ({len(like)}, S, {like.shape[-1]})")
    if memory_mask is None:
        return cast(memory), None
    mask = np.asarray(memory_mask)
    if mask.dtype != np.bool_ or mask.shape != memory.shape[:2]:
        raise ValueError(f"memory_mask has shape {mask.shape} and dtype {mask.dtype}; "
                         f"expected bool, {memory.shape[:2]}, True where a token is real")
    return cast(np.where(mask[..., None], memory, memory.dtype.type(0))), mask[:, None]


def block(x, memory, weights, memory_mask, num_heads, function, eps):
    """All arguments of decoder_block, as `Given`."""
    x = floats("x", x, ("B", "T", "D"))
    if 0 in x.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; expected at least one token and one feature")
    H, _ = head_counts(x.shape[2], num_heads, None)
    memory, real = memory_of(memory, memory_mask, x)
    return Given(cast(x), memory, weights_of(weights, x.shape[2], x.dtype), H, real, activation(function),
                 positive("eps", eps), x.dtype)


def beginning(memory, weights, memory_mask, num_heads):
    """Arguments of start_decoding: memory, its mask, weights to compute with, the number of heads."""
    memory, real = memory_of(memory, memory_mask)
    H, _ = head_counts(memory.shape[2], num_heads, None)
    return memory, real, weights_of(weights, memory.shape[2], np.asarray(weights["w1"]).dtype), H


def one(x, rows, weights, num_heads, function, eps):
    """Arguments of decoder_block_step: x (B, D) and weights to compute with, heads, and the dtype of out."""
    x = floats("x", x, ("B", "D"))
    if len(x) != rows or x.shape[1] == 0:
        raise ValueError(f"x has shape {x.shape}; expected ({rows}, D), as many rows as the state")
    H, _ = head_counts(x.shape[1], num_heads, None)
    activation(function), positive("eps", eps)
    return cast(x), weights_of(weights, x.shape[1], x.dtype), H, x.dtype


def tokens(name, ids, size, axes):
    """`ids` as integers from 0 to size - 1, with so many axes."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != axes:
        raise ValueError(f"{name} has shape {ids.shape} and dtype {ids.dtype}; expected integers, {axes} axes")
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        raise ValueError(f"{name} runs from {ids.min()} to {ids.max()}; expected 0 to {size - 1}")
    return ids


def state(given, wanted):
    """Arrays by the names of torch.nn.Transformer: those wanted, {name: shape}, and no others."""
    if set(given) != set(wanted):
        odd = sorted(set(given) ^ set(wanted))
        raise ValueError(f"state has or lacks {odd[0]} and {len(odd) - 1} others; expected {len(wanted)} names")
    return {name: shaped(name, given[name], shape) for name, shape in wanted.items()}
