# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:16697cdf4b25a3f8
"""Chapter 30: arguments checked, for all levels and for yours."""

import math
import numbers
from typing import NamedTuple

import numpy as np

FFN = "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"
PROJECTIONS = "q_proj", "k_proj", "v_proj", "out_proj"


class Model(NamedTuple):
    """ids (B, T), the weights in the dtype that is computed in, heads, and the dtype of results."""

    ids: np.ndarray
    weights: dict
    heads: int
    dtype: np.dtype


def depth(names):
    """How many blocks there are in a state."""
    return len({name.split(".")[1] for name in names if name.startswith("blocks.")})


def shapes(V, context, D, F, L):
    """{name: shape} of all arrays of a GPT."""
    block = {f"norm{k}.{kind}": (D,) for k in (1, 2) for kind in ("weight", "bias")}
    block |= {f"attention.{p}.weight": (D, D) for p in PROJECTIONS}
    block |= {f"attention.{p}.bias": (D,) for p in PROJECTIONS}
    block |= {f"ffn.{name}": shape for name, shape in zip(FFN, ((D, F), (F,), (F, D), (D,)))}
    found = {"wte.weight": (V, D), "wpe.weight": (context, D), "norm.weight": (D,), "norm.bias": (D,)}
    return found | {f"blocks.{k}.{name}": shape for k in range(L) for name, shape in block.items()}


def state(weights):
    """The sizes (V, context, D, F, L) of a dict of weights, whose names and shapes belong together."""
    for name in ("wte.weight", "wpe.weight", "blocks.0.ffn." + FFN[0]):
        if name not in weights or np.ndim(weights[name]) != 2:
            raise ValueError(f"weights lacks a matrix {name!r}; expected the names of GPT.state_dict")
    (V, D), (context, _) = np.shape(weights["wte.weight"]), np.shape(weights["wpe.weight"])
    sizes = V, context, D, np.shape(weights["blocks.0.ffn." + FFN[0]])[1], depth(weights)
    same_shapes(weights, shapes(*sizes))
    return sizes


def same_shapes(arrays, expected):
    """Names and shapes as expected."""
    if odd := sorted(arrays.keys() ^ expected.keys()):
        raise ValueError(f"weights {'lacks' if odd[0] in expected else 'has'} {odd[0]!r}; "
                         "expected the names of GPT.state_dict")
    for name, shape in expected.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(f"{name} has shape {np.shape(arrays[name])}; expected {shape}")


def model(ids_, weights, num_heads):
    """The arguments of `gpt`."""
    V, context, D, _, _ = state(weights)
    arrays = {name: np.asarray(a) for name, a in weights.items()}
    dtype = arrays["wte.weight"].dtype
    for name, a in arrays.items():
        if a.dtype.kind != "f" or a.dtype != dtype:
            raise ValueError(f"{name} has dtype {a.dtype}; expected floating point, and one for all")
    heads = whole("num_heads", num_heads)
    if D % heads:
        raise ValueError(f"num_heads = {heads}; expected a divisor of the width {D}")
    wide = {name: a.astype(np.promote_types(dtype, np.float32), copy=False) for name, a in arrays.items()}
    return Model(ids(ids_, V, context), wide, heads, dtype)


def ids(array, V, context):
    """Integers (B, T) below V, 1 to `context` tokens."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.ndim != 2:
        raise ValueError(f"ids is {array.dtype} {array.shape}; expected integers (B, T)")
    if not 1 <= array.shape[1] <= context:
        raise ValueError(f"ids has {array.shape[1]} tokens; expected 1 to the context of {context}")
    return inside("ids", array, V)


def texts(array, V, context):
    """As `ids`, of one text at least, to have a mean of."""
    array = ids(array, V, context)
    if not len(array):
        raise ValueError(f"ids has shape {array.shape}; expected at least one text")
    return array


def text(ids_):
    """A copy of integers (B, T), or (T,) as (1, T); at least one token."""
    array = np.asarray(ids_)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.shape[-1] == 0:
        raise ValueError(f"ids is {array.dtype} {array.shape}; expected integers (B, T) or (T,), T at least 1")
    return np.atleast_2d(array).astype(np.int64)


def inside(name, array, V):
    """Integers from 0 to V - 1."""
    if array.size and not (array.min() >= 0 and array.max() < V):
        raise ValueError(f"{name} has values from {array.min()} to {array.max()}; expected 0 to {V - 1}")
    return array.astype(np.int64, copy=False)


def targets(array, shape, V):
    """Integers of that shape below V."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise ValueError(f"targets is {array.dtype} {array.shape}; expected integers {shape}")
    return inside("targets", array, V)


def gradient(dout, shape, dtype, name="dlogits"):
    """An upstream gradient of that shape, in that dtype."""
    dout = np.asarray(dout)
    if dout.dtype.kind != "f" or dout.shape != tuple(shape):
        raise ValueError(f"{name} is {dout.dtype} {dout.shape}; expected floats {tuple(shape)}")
    return dout.astype(dtype, copy=False)


def floats(name, x, shape=None, dtype=None):
    """`x` as an array of floats of a shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or (dtype is not None and x.dtype != dtype):
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype or 'floating point'}")
    fits = shape is None or (x.ndim == len(shape)
                             and all(isinstance(w, str) or w == n for w, n in zip(shape, x.shape)))
    if not fits:
        raise ValueError(f"{name} has shape {x.shape}; expected ({', '.join(map(str, shape))})")
    return x


def whole(name, value, least=1):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def real(name, value, low, high=math.inf, open_low=False):
    """A finite number from low to high; above low, if open_low."""
    good = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)) and math.isfinite(value)
    if not good or not low <= value <= high or (open_low and value == low):
        words = f"above {low}" if open_low else f"at least {low}"
        raise ValueError(f"{name} = {value!r}; expected a finite number {words}"
                         + ("" if high == math.inf else f", at most {high}"))
    return float(value)


def logits(array):
    """Floats (..., V) with something to choose in every row: no NaN, no +inf, not all -inf; in float64."""
    array = np.asarray(array)
    if array.dtype.kind != "f" or array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"logits is {array.dtype} {array.shape}; expected floats (..., V)")
    if not (array < np.inf).all() or (array.size and (array.max(axis=-1) == -np.inf).any()):
        raise ValueError("logits has NaN, inf or a row of -inf; expected a finite one in every row")
    return array


class Filter(NamedTuple):
    """How to choose: None for what is not asked for."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None


def choice(temperature, top_k, top_p, min_p):
    """The options of `filter_logits`; what leaves everything (top_p = 1, min_p = 0) becomes None."""
    top_p = None if top_p is None or real("top_p", top_p, 0, 1, open_low=True) == 1 else float(top_p)
    min_p = None if min_p is None or real("min_p", min_p, 0, 1) == 0 else float(min_p)
    return Filter(real("temperature", temperature, 0), None if top_k is None else whole("top_k", top_k), top_p, min_p)


def seen(array, shape, V):
    """Integers (..., n) below V, for logits (..., V)."""
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.shape[:-1] != shape[:-1] or array.ndim != len(shape):
        raise ValueError(f"seen is {array.dtype} {array.shape}; expected integers {(*shape[:-1], 'n')}")
    return inside("seen", array, V)


def generator(rng):
    """A NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng is a {type(rng).__name__}; expected a numpy.random.Generator")
    return rng


def low_rank(x, w, a, b, bias, scale):
    """x (..., n), w (n, m), a (n, r), b (r, m), bias (m,) or None, one dtype; scale a number."""
    x, w = floats("x", x), floats("w", w, ("n", "m"))
    if x.ndim == 0 or x.shape[-1] != len(w):
        raise ValueError(f"x has shape {x.shape}; expected (..., {len(w)})")
    a = floats("a", a, (len(w), "r"), w.dtype)
    b = floats("b", b, (a.shape[1], w.shape[1]), w.dtype)
    bias = None if bias is None else floats("bias", bias, (w.shape[1],), w.dtype)
    return x.astype(w.dtype, copy=False), w, a, b, bias, real("scale", scale, -math.inf)


def preferences(arrays, beta):
    """Four arrays (N,) of log-probabilities in one dtype, N at least 1; beta above 0."""
    names = "policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"
    first = floats(names[0], arrays[0], ("N",))
    if not first.size:
        raise ValueError(f"policy_chosen has shape {first.shape}; expected at least one pair")
    rest = [floats(name, a, first.shape, first.dtype) for name, a in zip(names[1:], arrays[1:])]
    return [first, *rest], real("beta", beta, 0, open_low=True)


def sequences(logits_, targets_, mask):
    """logits (N, T, V), targets (N, T) below V, mask (N, T) of bool."""
    logits_ = floats("logits", logits_, ("N", "T", "V"))
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != logits_.shape[:2]:
        raise ValueError(f"mask is {mask.dtype} {mask.shape}; expected bool {logits_.shape[:2]}")
    return logits_, targets(targets_, logits_.shape[:2], logits_.shape[2]), mask
