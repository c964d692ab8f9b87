# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:1148212741aaea17
"""Chapter 26: arguments checked, for all levels and for yours."""

import numbers
from typing import NamedTuple

import numpy as np

WEIGHTS, BIASES = ("w_q", "w_k", "w_v", "w_o"), ("b_q", "b_k", "b_v", "b_o")


class Given(NamedTuple):
    """The arguments of multi_head_attention, arrays in the dtype to compute in.

    x (B, T, D), source (B, S, C): the context, or x; weights and biases, lists of four (a bias may be None);
    heads H and kv_heads, ints; mask (B, H, T, S), a read-only view, or None; crossed: there was a context.
    """

    x: np.ndarray
    source: np.ndarray
    weights: list
    biases: list
    heads: int
    kv_heads: int
    mask: np.ndarray | None
    causal: bool
    crossed: bool
    dtype: np.dtype

    @property
    def sizes(self):
        """(B, T, S, D, d)."""
        B, T, D = self.x.shape
        return B, T, self.source.shape[1], D, D // self.heads


def whole(name, value, least=1):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def truth(name, value):
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} = {value!r}; expected True or False")
    return bool(value)


def floats(name, x, axes, dtype=None):
    """`x` as an array of floats with axes of these names, of the dtype of the others."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as the others")
    if x.ndim != len(axes):
        raise ValueError(f"{name} has shape {x.shape}; expected ({', '.join(axes)})")
    return x


def shaped(name, x, shape, dtype=None):
    """`x` as floats of that shape."""
    x = floats(name, x, [str(n) for n in shape], dtype)
    if x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}; expected {shape}")
    return x


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def split(x, num_heads):
    """x (B, T, D), and num_heads, a divisor of D."""
    x, H = floats("x", x, ("B", "T", "D")), whole("num_heads", num_heads)
    if x.shape[2] % H or x.shape[2] == 0:
        raise ValueError(f"num_heads = {H}; expected a divisor of the {x.shape[2]} features of x")
    return x, H


def groups(name, x, groups, repeated):
    """x with heads as axis 1; groups divides them if they are repeated already."""
    x, g = floats(name, x, ("B", "H", "S", "d")), whole("groups", groups)
    if repeated and x.shape[1] % g:
        raise ValueError(f"groups = {g}; expected a divisor of the {x.shape[1]} heads of {name}")
    return x, g


def head_counts(D, num_heads, num_kv_heads):
    """(H, H_k): H divides D, H_k divides H."""
    H = whole("num_heads", num_heads)
    if D % H:
        raise ValueError(f"num_heads = {H}; expected a divisor of the model's width {D}")
    kv = H if num_kv_heads is None else whole("num_kv_heads", num_kv_heads)
    if H % kv:
        raise ValueError(f"num_kv_heads = {kv}; expected a divisor of num_heads = {H}")
    return H, kv


def visible(mask, shape):
    """`mask` as a read-only view (B, H, T, S), or None."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"mask has dtype {mask.dtype}; expected bool, True where a query may attend")
    B, _, T, S = shape
    wanted = {2: (T, S), 3: (B, T, S), 4: shape}
    sizes = wanted.get(mask.ndim)
    if sizes is None or any(n not in (1, m) for n, m in zip(mask.shape, sizes)):
        raise ValueError(f"mask has shape {mask.shape}; expected {(T, S)}, {(B, T, S)} or {shape}, or 1 for an axis")
    return mask


def arguments(x, weights, biases, num_heads, num_kv_heads, context, mask, causal):
    """All arguments of multi_head_attention, as `Given`; the mask with the axes it came with."""
    x = floats("x", x, ("B", "T", "D"))
    B, T, D = x.shape
    if 0 in (T, D):
        raise ValueError(f"x has shape {x.shape}; expected at least one token and one feature")
    H, kv = head_counts(D, num_heads, num_kv_heads)
    source = x if context is None else floats("context", context, ("B", "S", "C"), x.dtype)
    if len(source) != B or 0 in source.shape[1:]:
        raise ValueError(f"context has shape {source.shape}; expected ({B}, S, C), S and C at least 1")
    C, width = source.shape[2], D // H * kv
    shapes = (D, D), (C, width), (C, width), (D, D)
    weights = [shaped(name, w, shape, x.dtype) for name, w, shape in zip(WEIGHTS, weights, shapes)]
    biases = [None if b is None else shaped(name, b, shape[1:], x.dtype)
              for name, b, shape in zip(BIASES, biases, shapes)]
    mask, work = visible(mask, (B, H, T, source.shape[1])), working(x.dtype)
    cast = lambda a: None if a is None else a.astype(work, copy=False)
    x, source = cast(x), None if context is None else cast(source)
    return Given(x, x if source is None else source, [cast(w) for w in weights], [cast(b) for b in biases],
                 H, kv, mask, truth("causal", causal), source is not None, np.dtype(weights[0].dtype))


def window(q, k, v, width, sinks):
    """q, k (B, H, T, d) and v (B, H, T, e), one T; window and sinks as ints."""
    q = floats("q", q, ("B", "H", "T", "d"))
    if 0 in q.shape[2:]:
        raise ValueError(f"q has shape {q.shape}; expected at least one token and one feature")
    k = shaped("k", k, q.shape, q.dtype)
    v = floats("v", v, ("B", "H", "T", "e"), q.dtype)
    if v.shape[:3] != q.shape[:3]:
        raise ValueError(f"v has shape {v.shape}; expected ({', '.join(map(str, q.shape[:3]))}, e)")
    return q, k, v, whole("window", width), whole("sinks", sinks, 0)


def gradient(dout, shape, dtype):
    """`dout` as an array of that shape, in that dtype."""
    dout = shaped("dout", dout, tuple(shape))
    return dout.astype(dtype, copy=False)


def rate(value):
    """A probability of dropping, from 0 to less than 1."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not 0 <= value < 1:
        raise ValueError(f"dropout = {value!r}; expected a number from 0 to less than 1")
    return float(value)


def state(given, D, bias):
    """Arrays by the names of torch.nn.MultiheadAttention: those of width D, and no others."""
    shapes = {"in_proj_weight": (3 * D, D), "out_proj.weight": (D, D)}
    if bias:
        shapes |= {"in_proj_bias": (3 * D,), "out_proj.bias": (D,)}
    if set(given) != set(shapes):
        raise ValueError(f"state has {sorted(given)}; expected {sorted(shapes)}")
    return {name: shaped(name, given[name], shape) for name, shape in shapes.items()}
