# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:f57386387095c472
"""Positional encodings, level 2: expressions over whole arrays."""

import numpy as np

import tangled.t27_positional_encodings.checks as check


def _angles(length, dim, base):
    """Angle of each pair at each position: (L, D/2), in float64 whatever the table's dtype."""
    frequencies = base ** (-np.arange(0, dim, 2) / dim)         # eq. 27.3, (D/2,)
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
    check.tabulation(length, dim, base, dtype)
    angles = _angles(length, dim, base)
    table = np.empty((length, dim), dtype)
    table[:, 0::2] = np.sin(angles)                             # eq. 27.4
    table[:, 1::2] = np.cos(angles)
    return table


def rope_tables(length, dim, base=10000.0, dtype=np.float64):
    """Cosines and sines for `rope`, to be built once and used in every layer.

    Su et al. (2024), section 3.2.2; eq. 27.3.

    Parameters
    ----------
    length, dim, base, dtype : as for `sinusoidal_table`; dim is the width D of one head

    Returns
    -------
    cos, sin : two ndarrays of shape (L, D/2): cos(p theta_i) and sin(p theta_i)

    Raises
    ------
    ValueError : as `sinusoidal_table` does
    """
    check.tabulation(length, dim, base, dtype)
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
    table = check.floats("table", table, ("L", "D"))
    positions = check.rows(positions, len(table))
    return table[positions], (positions, table.shape, table.dtype)      # eq. 27.8


def learned_positions_backward(dout, cache):
    """Gradient of the table: eq. 27.9, a scatter-add.

    Parameters
    ----------
    dout : ndarray of shape (..., D), gradient of the rows that were read
    cache : from `learned_positions`

    Returns
    -------
    dtable : ndarray of shape (L, D), in the dtype of the table; rows that nobody read are 0
    """
    positions, shape, dtype = cache
    dout = check.gradient(dout, (*positions.shape, shape[1]), dtype)
    dtable = np.zeros(shape, check.working(dtype))
    np.add.at(dtable, positions, dout)                          # eq. 27.9
    return dtable.astype(dtype, copy=False)


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
    x, encoding = check.summands(x, encoding)
    out = x + encoding                                          # (B, T, D) + (T, D)
    return out, (x.shape, encoding.ndim, x.dtype)


def add_positions_backward(dout, cache):
    """Gradients of the sum.

    Parameters
    ----------
    dout : ndarray of shape (B, T, D)
    cache : from `add_positions`

    Returns
    -------
    dx : ndarray of shape (B, T, D), a copy of dout
    dencoding : ndarray in the encoding's shape, (T, D) or (B, T, D), and in the dtype of x; a
        constant table ignores it
    """
    shape, axes, dtype = cache
    dout = check.gradient(dout, shape, dtype)
    dencoding = dout.copy()
    if axes == 2:
        dencoding = dout.sum(axis=0, dtype=check.working(dtype)).astype(dtype, copy=False)   # eq. 27.10
    return dout.copy(), dencoding


def _pairs(x, layout):
    """First and second members of the pairs: two views (..., D/2) of x (..., D)."""
    if layout == "interleaved":
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _rotate(x, cos, sin, layout):
    """x (B, H, T, D) with every pair turned; cos, sin (T, D/2) or (B, 1, T, D/2)."""
    out = np.empty(x.shape, x.dtype)
    a, b = _pairs(x.astype(cos.dtype, copy=False), layout)      # (B, H, T, D/2) each
    out_a, out_b = _pairs(out, layout)
    out_a[...] = a * cos - b * sin                              # eq. 27.12
    out_b[...] = a * sin + b * cos
    return out


def rope(x, cos, sin, positions=None, layout="interleaved"):
    """Rotate queries or keys by their positions.

    Su et al. (2024), eqs. 15 and 34; eq. 27.12.

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
    x, cos, sin, positions = check.rotation(x, cos, sin, positions, layout)
    cos, sin = cos[positions], sin[positions]                   # (T, D/2) or (B, T, D/2)
    if positions.ndim == 2:
        cos, sin = cos[:, None], sin[:, None]                   # (B, 1, T, D/2), for all heads
    return _rotate(x, cos, sin, layout), (cos, sin, layout, x.shape, x.dtype)


def rope_backward(dout, cache):
    """Gradient of `rope`: eq. 27.16, the rotation by the opposite angle.

    Parameters
    ----------
    dout : ndarray of shape (B, H, T, D)
    cache : from `rope`

    Returns
    -------
    dx : ndarray of shape (B, H, T, D), in the dtype of x
    """
    cos, sin, layout, shape, dtype = cache
    dout = check.gradient(dout, shape, dtype)
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
    check.even(dim)
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
    check.size("heads", heads, 1)
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
    slopes = check.ramp(slopes, length, past)
    queries, keys = np.arange(past, past + length)[:, None], np.arange(past + length)
    ahead = (keys - queries).astype(check.working(slopes.dtype))        # j - i, (T, S)
    bias = slopes[:, None, None] * ahead                        # (H, T, S)
    bias[:, ahead > 0] = -np.inf
    return bias.astype(slopes.dtype, copy=False)
