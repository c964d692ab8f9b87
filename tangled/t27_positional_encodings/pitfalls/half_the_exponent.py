# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:394cabf2cc816191
# Pitfall 27.6: half the exponent
"""Positional encodings, level 2: expressions over whole arrays."""

import math
import numbers

import numpy as np


def _check_count(name, value, least):
    """Refuse a size that is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer of at least {least}")


def _check_dim(dim):
    """Refuse a number of features that does not split into pairs."""
    _check_count("dim", dim, 2)
    if dim % 2:
        raise ValueError(f"dim = {dim}; expected an even number, for features turn in pairs")


def _check_table(length, dim, base, dtype):
    """Refuse what cannot be the size, the base or the dtype of a table."""
    _check_count("length", length, 0)
    _check_dim(dim)
    if not isinstance(base, numbers.Real) or not 0 < base < math.inf:
        raise ValueError(f"base = {base!r}; expected a positive finite number")
    if np.dtype(dtype).kind != "f":
        raise ValueError(f"dtype = {np.dtype(dtype)}; expected a floating-point type")


def _check_floats(name, x, shape):
    """`x` as an array of floats of that shape, in which letters stand for any size."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    sizes_fit = all(isinstance(want, str) or want == have for want, have in zip(shape, x.shape))
    if x.ndim != len(shape) or not sizes_fit:
        raise ValueError(f"{name} has shape {x.shape}; expected {_shown(shape)}")
    return x


def _shown(shape):
    """("L", 2) as (L, 2)."""
    return str(tuple(shape)).replace("'", "")


def _check_positions(positions, rows, *shapes):
    """`positions` as integers of one of the shapes (of any, if none is given)."""
    positions = np.asarray(positions)
    if positions.dtype.kind not in "iu":
        raise ValueError(f"positions has dtype {positions.dtype}; expected integers")
    if shapes and positions.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"positions has shape {positions.shape}; expected {expected}")
    if positions.size and not 0 <= positions.min() <= positions.max() < rows:
        raise ValueError(f"positions run from {positions.min()} to {positions.max()}; "
                         f"expected 0 to {rows - 1}, the rows of the table")
    return positions.astype(np.intp)


def _check_sum(x, encoding):
    """x (B, T, D) and an encoding (T, D) or (B, T, D), the latter in the dtype of x."""
    x = _check_floats("x", x, ("B", "T", "D"))
    shape = x.shape if np.ndim(encoding) == 3 else x.shape[1:]
    return x, _check_floats("encoding", encoding, shape).astype(x.dtype, copy=False)


def _check_rope(x, cos, sin, positions, layout):
    """The arguments of rope: tables in the dtype of x, positions (T,) or (B, T)."""
    x = _check_floats("x", x, ("B", "H", "T", "D"))
    batch, _, steps, dim = x.shape
    if dim == 0 or dim % 2:
        raise ValueError(f"x has {dim} features; expected an even number, at least 2")
    cos = _check_floats("cos", cos, ("L", dim // 2)).astype(x.dtype, copy=False)
    sin = _check_floats("sin", sin, cos.shape).astype(x.dtype, copy=False)
    if layout not in ("interleaved", "half"):
        raise ValueError(f"layout = {layout!r}; expected 'interleaved' or 'half'")
    positions = np.arange(steps) if positions is None else positions
    return x, cos, sin, _check_positions(positions, len(cos), (steps,), (batch, steps))


def _check_bias(slopes, length, past):
    """The slopes as an array (H,); sizes that are no sizes are refused."""
    _check_count("length", length, 0)
    _check_count("past", past, 0)
    return _check_floats("slopes", slopes, ("H",))


def _angles(length, dim, base):
    """Angle of each pair at each position: (L, D/2), in float64 whatever the table's dtype."""
    frequencies = base ** (-np.arange(dim // 2) / dim)
    return np.arange(length)[:, None] * frequencies             # (L, 1) * (D/2,)


def sinusoidal_table(length, dim, base=10000.0, dtype=np.float64):
    """Table of sines and cosines to add to embeddings.

    Vaswani et al. (2017), section 3.5; eq. 27.4.

    Parameters
    ----------
    length : int, number of positions L, at least 0
    dim : int, number of features D, even, at least 2
    base : float, positive; wavelengths grow from 2 pi towards 2 pi base
    dtype : floating-point dtype of the table; angles are formed in float64

    Returns
    -------
    table : ndarray of shape (L, D); columns 2i hold sin(p theta_i), columns 2i + 1 cos(p theta_i)

    Raises
    ------
    ValueError : if length, dim, base or dtype is not as above
    """
    _check_table(length, dim, base, dtype)
    angles = _angles(length, dim, base)
    table = np.empty((length, dim), dtype)
    table[:, 0::2] = np.sin(angles)                             # eq. 27.4
    table[:, 1::2] = np.cos(angles)
    return table


def rope_tables(length, dim, base=10000.0, dtype=np.float64):
    """Cosines and sines for `rope`, to be built once and used in every layer.

    Su et al. (2021), eq. 13 and section 3.2.2; eq. 27.3.

    Parameters
    ----------
    length : int, number of positions L, at least 0
    dim : int, number of features D of one head, even, at least 2
    base : float, positive
    dtype : floating-point dtype of the tables; angles are formed in float64

    Returns
    -------
    cos, sin : two ndarrays of shape (L, D/2): cos(p theta_i) and sin(p theta_i)

    Raises
    ------
    ValueError : if length, dim, base or dtype is not as above
    """
    _check_table(length, dim, base, dtype)
    angles = _angles(length, dim, base)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def learned_positions(table, positions):
    """Read the rows of a learned table.

    Gehring et al. (2017), section 3.1; eq. 27.8.

    Parameters
    ----------
    table : ndarray of shape (L, D), a parameter
    positions : integers of any shape (...), each from 0 to L - 1

    Returns
    -------
    out : ndarray of shape (..., D)
    cache : for `learned_positions_backward`

    Raises
    ------
    ValueError : if table is not 2-D and floating, or a position is no row of it
    """
    table = _check_floats("table", table, ("L", "D"))
    positions = _check_positions(positions, len(table))
    return table[positions], (positions, table.shape)           # eq. 27.8


def learned_positions_backward(dout, cache):
    """Gradient of the table: eq. 27.9, a scatter-add.

    Parameters
    ----------
    dout : ndarray of shape (..., D), gradient of the rows that were read
    cache : from `learned_positions`

    Returns
    -------
    dtable : ndarray of shape (L, D); rows that nobody read are 0
    """
    positions, shape = cache
    dout = _check_floats("dout", dout, (*positions.shape, shape[1]))
    dtable = np.zeros(shape, dout.dtype)
    np.add.at(dtable, positions, dout)                          # eq. 27.9
    return dtable


def add_positions(x, encoding):
    """Add an encoding to a batch of embeddings; eq. 27.10.

    Parameters
    ----------
    x : ndarray of shape (B, T, D)
    encoding : ndarray of shape (T, D), shared by the batch, or (B, T, D)

    Returns
    -------
    out : ndarray of shape (B, T, D), in the dtype of x
    cache : for `add_positions_backward`

    Raises
    ------
    ValueError : if a shape is not as above or an array is not floating
    """
    x, encoding = _check_sum(x, encoding)
    out = x + encoding                                          # (B, T, D) + (T, D)
    return out, (x.shape, encoding.ndim)


def add_positions_backward(dout, cache):
    """Gradients of the sum.

    Parameters
    ----------
    dout : ndarray of shape (B, T, D)
    cache : from `add_positions`

    Returns
    -------
    dx : `dout` itself, (B, T, D), not a copy
    dencoding : ndarray in the encoding's shape, (T, D) or (B, T, D); a constant table ignores it
    """
    shape, axes = cache
    dout = _check_floats("dout", dout, shape)
    dencoding = dout.sum(axis=0) if axes == 2 else dout.copy()  # eq. 27.10
    return dout, dencoding


def _pairs(x, layout):
    """First and second members of the pairs: two views (..., D/2) of x (..., D)."""
    if layout == "interleaved":
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _rotate(x, cos, sin, layout):
    """x (B, H, T, D) with every pair turned; cos, sin (T, D/2) or (B, 1, T, D/2)."""
    out = np.empty_like(x)
    a, b = _pairs(x, layout)                                    # (B, H, T, D/2) each
    out_a, out_b = _pairs(out, layout)
    out_a[...] = a * cos - b * sin                              # eq. 27.12
    out_b[...] = a * sin + b * cos
    return out


def rope(x, cos, sin, positions=None, layout="interleaved"):
    """Rotate queries or keys by their positions.

    Su et al. (2021), eqs. 15 and 34; eq. 27.12.

    Parameters
    ----------
    x : ndarray of shape (B, H, T, D), D even
    cos, sin : ndarrays of shape (L, D/2), from `rope_tables`
    positions : None for 0 .. T - 1, or integers of shape (T,) or (B, T), each from 0 to L - 1
    layout : "interleaved" pairs features 2i and 2i + 1, "half" pairs i and i + D/2

    Returns
    -------
    out : ndarray of shape (B, H, T, D), in the dtype of x
    cache : for `rope_backward`; holds no copy of x

    Raises
    ------
    ValueError : if a shape, a dtype, the layout or a position is not as above
    """
    x, cos, sin, positions = _check_rope(x, cos, sin, positions, layout)
    cos, sin = cos[positions], sin[positions]                   # (T, D/2) or (B, T, D/2)
    if positions.ndim == 2:
        cos, sin = cos[:, None], sin[:, None]                   # (B, 1, T, D/2), for all heads
    return _rotate(x, cos, sin, layout), (cos, sin, layout, x.shape)


def rope_backward(dout, cache):
    """Gradient of `rope`: eq. 27.16, the rotation by the opposite angle.

    Parameters
    ----------
    dout : ndarray of shape (B, H, T, D)
    cache : from `rope`

    Returns
    -------
    dx : ndarray of shape (B, H, T, D)
    """
    cos, sin, layout, shape = cache
    dout = _check_floats("dout", dout, shape)
    return _rotate(dout, cos, -sin, layout)                     # eq. 27.16


def interleaved_to_half(dim):
    """Order of the features that turns the interleaved layout into the half-split one.

    `x[..., perm]` is x in the half-split layout, and rope(x, "interleaved")[..., perm] equals
    rope(x[..., perm], "half"), which is eq. 27.18. `np.argsort(perm)` leads back.

    Parameters
    ----------
    dim : int, number of features D, even, at least 2

    Returns
    -------
    perm : integer ndarray of shape (D,)
    """
    _check_dim(dim)
    return np.concatenate([np.arange(0, dim, 2), np.arange(1, dim, 2)])    # eq. 27.17


def _geometric(heads):
    """2^(-8/H), 2^(-16/H), ..., 2^(-8): (H,)."""
    return 2.0 ** (-8.0 / heads * np.arange(1, heads + 1))      # eq. 27.20


def alibi_slopes(heads):
    """Slopes of ALiBi's heads; Press et al. (2022), section 3, and their code; eq. 27.20.

    Parameters
    ----------
    heads : int, number of heads H, at least 1

    Returns
    -------
    slopes : ndarray of shape (H,), float64, positive; falling, if H is a power of two
    """
    _check_count("heads", heads, 1)
    power = 1 << (int(heads).bit_length() - 1)                  # the largest power of two in it
    return np.concatenate([_geometric(power), _geometric(2 * power)[0::2][:heads - power]])


def alibi_bias(slopes, length, past=0):
    """Causal bias for the scores of T queries against S = past + T keys; eq. 27.19.

    Parameters
    ----------
    slopes : ndarray of shape (H,), from `alibi_slopes`
    length : int, number of queries T, at least 0
    past : int, number of keys before the first query, at least 0

    Returns
    -------
    bias : ndarray of shape (H, T, S), in the dtype of slopes; -slope * (i - j) where key j is
        not later than query i, -inf where it is. Level 3 returns a read-only view.

    Raises
    ------
    ValueError : if slopes is not 1-D and floating, or length or past is no size
    """
    slopes = _check_bias(slopes, length, past)
    queries, keys = np.arange(past, past + length)[:, None], np.arange(past + length)
    ahead = (keys - queries).astype(slopes.dtype)               # j - i, (T, S)
    bias = slopes[:, None, None] * ahead                        # (H, T, S)
    bias[:, ahead > 0] = -np.inf
    return bias
