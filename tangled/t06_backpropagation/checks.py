# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:51f744fc7926fcad
"""Chapter 06: arguments checked, for all levels and for yours."""

import math
import numbers

import numpy as np


def gradient(name, dout, shape, dtype):
    """`dout` as an array of that shape and dtype; an array of another shape is refused."""
    dout = np.asarray(dout)
    if dout.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {dout.dtype}; expected floating point")
    if dout.shape != tuple(shape):
        raise ValueError(f"{name} has shape {dout.shape}; expected {tuple(shape)}, "
                         "that of the output")
    return dout.astype(dtype, copy=False)


def rows(x):
    """x (..., D) as the rows of one matrix (N, D), also where D or N is 0."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def same_shape(name, array, shape):
    """Refuse an array of another shape, also one that would broadcast."""
    if np.shape(array) != shape:
        raise ValueError(f"{name} has shape {np.shape(array)}; expected {shape}")


def scalar(name, value):
    """A number, or an array that holds one, as a float."""
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "fiu":
        raise ValueError(f"{name} = {value!r}; expected one number")
    return float(np.asarray(value).reshape(()))


def parameter(data):
    """A copy of `data` as an array of floats."""
    data = np.array(data)
    if data.dtype.kind != "f":
        raise ValueError(f"data has dtype {data.dtype}; expected floating point")
    return data


def size(name, value):
    """Refuse a size that is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} = {value!r}; expected a positive integer")


def rate(lr):
    """Refuse a learning rate that is not a positive number."""
    if isinstance(lr, bool) or not isinstance(lr, numbers.Real) or not 0 < lr < np.inf:
        raise ValueError(f"lr = {lr!r}; expected a positive finite number")


def parameters(found):
    """A list of at least one object with `.data` and `.grad`."""
    found = list(found)
    if not found or any(not hasattr(p, "data") or not hasattr(p, "grad") for p in found):
        raise ValueError(f"parameters has {len(found)} entries; "
                         "expected at least one, each with .data and .grad")
    if len({id(p) for p in found}) < len(found):
        raise ValueError(f"parameters has {len(found)} entries, some of them twice; "
                         "expected each once, or a step would be taken twice")
    return found


def floating(dtype):
    """float16, float32 or float64, as a dtype."""
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise ValueError(f"dtype = {dtype!r}; expected float16, float32 or float64") from None
    if dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"dtype = {dtype}; expected float16, float32 or float64")
    return dtype


def modules(found, kind):
    """Refuse layers that are no modules."""
    for k, layer in enumerate(found):
        if not isinstance(layer, kind):
            raise ValueError(f"modules: number {k} is {layer!r}; expected a Module")
    return list(found)


def samples(arrays):
    """A tuple of arrays that all have the same number of rows, at least one."""
    if not isinstance(arrays, (tuple, list)) or not arrays:
        raise ValueError(f"arrays is {type(arrays).__name__}; expected a tuple (x, y, ...)")
    arrays = tuple(np.asarray(a) for a in arrays)
    lengths = [len(a) if a.ndim else 0 for a in arrays]
    if min(lengths) == 0 or len(set(lengths)) > 1:
        raise ValueError(f"arrays have {lengths} rows; expected one number, at least 1")
    return arrays


def generator(rng, optional=False):
    """Refuse what is no numpy.random.Generator."""
    if not isinstance(rng, np.random.Generator) and not (optional and rng is None):
        raise ValueError(f"rng is {rng!r}; expected a numpy.random.Generator")


def state(arrays, given):
    """Refuse a state whose names or shapes are not those of `arrays`, a dict."""
    missing = sorted(arrays.keys() - given.keys())
    unknown = sorted(given.keys() - arrays.keys())
    if missing or unknown:
        raise ValueError(f"state lacks {missing} and has unknown {unknown}; "
                         "expected exactly the names of state_dict()")
    for name, array in arrays.items():
        if np.asarray(given[name]).dtype.kind not in "fiub":
            raise ValueError(f"state[{name!r}] has dtype {np.asarray(given[name]).dtype}; "
                             f"expected {array.dtype}")
        if np.shape(given[name]) != array.shape:
            raise ValueError(f"state[{name!r}] has shape {np.shape(given[name])}; "
                             f"expected {array.shape}")
