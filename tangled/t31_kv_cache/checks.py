# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:acb341663e7aec5c
"""Chapter 31: arguments checked, for all levels and for yours."""

from typing import NamedTuple

import numpy as np

from tangled.t30_mini_gpt.checks import FFN, choice, depth, generator, inside, real, same_shapes, shapes, whole

__all__ = ["Sizes", "capacity_of", "choice", "drafts", "fits", "generation", "generator", "lengths_of", "model", "real",
           "row_numbers", "sizes", "step", "whole"]


class Sizes(NamedTuple):
    """Of a model; `context` is None where positions are rotary. `dtype` is that of the weights."""

    vocab: int
    context: int | None
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: np.dtype


def model(weights, num_heads):
    """The sizes of a dict of weights, and the weights in the dtype that is computed in."""
    arrays = {name: np.asarray(a) for name, a in weights.items()}
    first = "blocks.0.attention.k_proj.weight"
    for name in ("wte.weight", first, "blocks.0.ffn." + FFN[0]):
        if name not in arrays or arrays[name].ndim != 2:
            raise ValueError(f"weights lacks a matrix {name!r}; expected the names of GPT.state_dict")
    (V, D), kv, heads = arrays["wte.weight"].shape, arrays[first].shape[1], whole("num_heads", num_heads)
    if D % heads:
        raise ValueError(f"num_heads = {heads}; expected a divisor of the width {D}")
    d, rotary = D // heads, "wpe.weight" not in arrays
    if kv == 0 or kv % d or heads % (kv // d):
        raise ValueError(f"{first} has {kv} columns; expected heads of {d}, as many as divide {heads}")
    if rotary and d % 2:
        raise ValueError(f"num_heads = {heads} makes heads of {d} numbers; expected even ones for rotary positions")
    context = None if rotary else len(arrays["wpe.weight"])
    L, F = depth(arrays), arrays["blocks.0.ffn." + FFN[0]].shape[1]
    expected = shapes(V, context or 1, D, F, L)
    if rotary:
        del expected["wpe.weight"]
    for name, shape in expected.items():
        if ".k_proj." in name or ".v_proj." in name:
            expected[name] = (*shape[:-1], kv)
    same_shapes(arrays, expected)
    dtype = arrays["wte.weight"].dtype
    for name, a in arrays.items():
        if a.dtype.kind != "f" or a.dtype != dtype:
            raise ValueError(f"{name} has dtype {a.dtype}; expected floating point, and one for all")
    wide = {name: a.astype(np.promote_types(dtype, np.float32), copy=False) for name, a in arrays.items()}
    return Sizes(V, context, D, L, heads, kv // d, d, dtype), wide


def sizes(**named):
    """Sizes of a cache as ints, each at least 1."""
    return [whole(name, value) for name, value in named.items()]


def capacity_of(capacity, context):
    """How many tokens a row may have: by default the context."""
    if capacity is None and context is None:
        raise ValueError("capacity = None; expected an integer, since rotary positions have no end")
    capacity = context if capacity is None else whole("capacity", capacity)
    if context is not None and capacity > context:
        raise ValueError(f"capacity = {capacity}; expected at most the {context} learned positions")
    return capacity


def fits(cache, size):
    """A cache for a model of that size."""
    found, expected = (cache.layers, cache.heads, cache.head_dim), (size.layers, size.kv_heads, size.head_dim)
    if found != expected:
        raise ValueError(f"cache has {found} layers, heads and numbers a head; expected {expected}")
    return cache


def integers(name, array, shape):
    """An array of integers of a shape."""
    array = np.asarray(array)
    if (array.dtype.kind not in "iu" and array.size) or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}; expected integers {shape}")
    return array.astype(np.int64)


def row_numbers(rows, batch, n=None):
    """Rows of a cache (n,), all different; by default all of them."""
    given, rows = rows, np.arange(batch) if rows is None else integers("rows", rows, np.shape(rows)[:1])
    if n is not None and len(rows) != n:
        raise ValueError(f"rows are {len(rows)}; expected {n}, as many as ids")
    twice = given is not None and len(set(rows.tolist())) < len(rows)
    if given is not None and rows.size and (twice or rows.min() < 0 or rows.max() >= batch):
        raise ValueError(f"rows = {rows.tolist()}; expected different numbers from 0 to {batch - 1}")
    return rows


def step(ids, counts, rows, size, lengths):
    """ids (B, T), counts (B,), rows (B,), int64; within the context, if there is one."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.ndim != 2 or ids.shape[1] < 1:
        raise ValueError(f"ids is {ids.dtype} {ids.shape}; expected integers (B, T), T at least 1")
    ids, (B, T) = inside("ids", ids, size.vocab), ids.shape
    rows = row_numbers(rows, len(lengths), B)
    given, counts = counts, np.full(B, T) if counts is None else integers("counts", counts, (B,))
    if given is not None and counts.size and not 0 <= counts.min() <= counts.max() <= T:
        raise ValueError(f"counts = {counts.tolist()}; expected 0 to {T}")
    longest = int((lengths[rows] + counts).max(initial=0))
    if size.context is not None and longest > size.context:
        raise ValueError(f"ids would make {longest} tokens; expected at most the {size.context} learned positions")
    return ids, counts, rows


def lengths_of(lengths, rows, now):
    """New lengths (n,) of these rows, none longer than it is."""
    rows = row_numbers(rows, len(now))
    lengths = integers("lengths", lengths, (len(rows),))
    if (lengths < 0).any() or (lengths > now[rows]).any():
        raise ValueError(f"lengths = {lengths.tolist()}; expected 0 to {now[rows].tolist()}")
    return lengths, rows


def generation(ids, counts, n, capacity):
    """ids (B, T), counts (B,) of at least 1, n, with room for all but the last token."""
    ids, n = np.atleast_2d(np.asarray(ids)), whole("n", n, 0)
    counts = np.full(len(ids), ids.shape[1]) if counts is None else integers("counts", counts, (len(ids),))
    if counts.size and not 1 <= counts.min() <= counts.max() <= ids.shape[1]:
        raise ValueError(f"counts = {counts.tolist()}; expected 1 to {ids.shape[1]}: there is no text without a prompt")
    if n and counts.size and counts.max() + n - 1 > capacity:
        most = max(capacity + 1 - int(counts.max()), 0)
        raise ValueError(f"n = {n} after {counts.max()} tokens; expected at most {most}: there is room for {capacity}")
    return ids, counts, n


def drafts(p, q, drafted, uniform, counts):
    """The arguments of `verify`: probabilities (B, k + 1, V) and (B, k, V), drafts (B, k), draws (B, k + 1)."""
    p, q, uniform = (np.asarray(a) for a in (p, q, uniform))
    if p.dtype.kind != "f" or p.ndim != 3 or p.shape[1] < 1:
        raise ValueError(f"p is {p.dtype} {p.shape}; expected floats (B, k + 1, V)")
    B, k, V = p.shape[0], p.shape[1] - 1, p.shape[2]
    for name, a, shape in (("q", q, (B, k, V)), ("uniform", uniform, (B, k + 1))):
        if a.dtype.kind != "f" or a.shape != shape:
            raise ValueError(f"{name} is {a.dtype} {a.shape}; expected floats {shape}")
    if uniform.size and not (uniform.min() >= 0 and uniform.max() < 1):
        raise ValueError(f"uniform has values from {uniform.min()} to {uniform.max()}; expected 0 to 1, without 1")
    drafted = inside("drafted", integers("drafted", drafted, (B, k)), V)
    counts = np.full(B, k) if counts is None else integers("counts", counts, (B,))
    if counts.size and not 0 <= counts.min() <= counts.max() <= k:
        raise ValueError(f"counts = {counts.tolist()}; expected 0 to {k}")
    return p, q, drafted, uniform, counts
