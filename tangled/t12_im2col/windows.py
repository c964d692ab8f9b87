# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:86324c24a38c9356
"""Chapter 12: 3 x 3 convolutions with stride 1 and padding 1 for few channels or small pictures."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

WIDE, LONG = 128, 2048                              # columns of a product over a row; over pictures
ROWS, FACTORS = 1 << 18, 1 << 19                                # numbers that they may take


def _side_by_side(shape):
    """How many pictures of a shape (N, C, H, W) go into one Windows; 0 if they are too large."""
    N, C, H, W = shape
    return min(-(-N // 2), WIDE // max(1, W), ROWS // max(1, 3 * C * (H + 2) * W))


def fit(shape):
    """Whether ROWS allows a product of WIDE columns or nearly so, and half of the batch has so many."""
    return _side_by_side(shape) * shape[3] >= 3 * WIDE // 4


def _batches(pictures, size):
    """Slices of a batch, of so many pictures each, but at least one."""
    size = max(1, size)
    return [slice(n, n + size) for n in range(0, pictures, size)]


def _spans(size):
    """Of each of the three offsets along an axis: the outputs that read inside, and what they read."""
    most, rest, every = slice(0, size - 1), slice(1, size), slice(0, size)
    return [(rest, most), (every, every), (most, rest)]


class Windows:
    """Rows of a few pictures; the columns of each row of outputs are a view, eq. 12.11.

    Parameters
    ----------
    shape : (n, C, H, W) of the pictures
    dtype : of the rows

    Attributes
    ----------
    rows : ndarray of shape (H + 2, 3, C, n, W); what stands for padding stays zero
    matrices : a view (H, 9 C, n W)
    """

    def __init__(self, shape, dtype):
        n, C, H, W = shape
        self.rows = np.zeros((H + 2, 3, C, n, W), dtype)
        row, _, line, _, number = self.rows.strides
        self.matrices = as_strided(self.rows, (H, 9 * C, n * W), (row, line, number))

    def fill(self, x):
        """The matrices of x (n, C, H, W)."""
        for j, (q, e) in enumerate(_spans(x.shape[3])):
            self.rows[1:-1, j, ..., q] = x[..., e].transpose(2, 1, 0, 3)
        return self.matrices


def _filled(x, dtype):
    """(slice of the batch, matrices) of x (N, C, H, W), a few pictures at a time."""
    windows = None
    for batch in _batches(len(x), _side_by_side(x.shape)):
        if windows is None or windows.rows.shape[3] != len(x[batch]):
            windows = Windows(x[batch].shape, dtype)
        yield batch, windows.fill(x[batch])


def conv(x, w, out, b=None):
    """x (N, C, H, W), w (F, C, 3, 3), b (F,) or None: into out (N, F, H, W), in its dtype."""
    weights = w.transpose(0, 2, 3, 1).reshape(len(w), 9 * x.shape[1]).astype(out.dtype)
    for n, matrices in _filled(x, out.dtype):
        y = weights @ matrices                                  # (H, F, n W)
        out[n] = y.reshape(*y.shape[:2], -1, x.shape[3]).transpose(2, 1, 0, 3)
        if b is not None:
            out[n] += b[:, None, None]
    return out


def at_once(shape, F):
    """How many pictures (N, C, H, W) with F filters go into one product; 0 if they are too large."""
    N, C, H, W = shape
    return min(-(-N // 4), LONG // max(1, H * W), FACTORS // max(1, 3 * (C + F) * H * W))


def gradients(dout, x, dtype, w=None, dx=None):
    """dout (N, F, H, W), x (N, C, H, W): dw (F, C, 3, 3) in a dtype; for w as dw, also writes dx as x."""
    (_, C, H, W), F, grads = x.shape, dout.shape[1], None
    dw = np.zeros((3 * F, 3 * C), dtype)
    if w is not None:
        weights = w.transpose(2, 1, 3, 0).reshape(3 * C, 3 * F).astype(dtype)
    for n in _batches(len(x), at_once(x.shape, F)):
        if grads is None or grads.shape[2] != len(x[n]):
            grads, pixels = (np.zeros((3, c, len(x[n]), H, W), dtype) for c in (F, C))
        for j, (q, e) in enumerate(_spans(W)):
            grads[j, ..., e] = dout[n, ..., q].swapaxes(0, 1)
        for i, (o, a) in enumerate(_spans(H)):
            pixels[i, :, :, o] = x[n, :, a].swapaxes(0, 1)
        factor = grads.reshape(3 * F, -1)
        with np.errstate(invalid="ignore"):                     # 0 times infinity: see below
            dw += factor @ pixels.reshape(3 * C, -1).T          # eq. 12.12
        if w is not None:                                       # eq. 12.13
            _add_rows((weights @ factor).reshape(pixels.shape), dx[n].swapaxes(0, 1))
    dw = dw.reshape(3, F, 3, C).transpose(1, 3, 2, 0)
    return np.ascontiguousarray(dw) if np.isfinite(dw).all() else _row_by_row(dout, x, dtype)


def _add_rows(y, dx):
    """The sum over i of y (3, C, n, H, W), i - 1 rows further down, into dx (C, n, H, W)."""
    (rest, most), *_ = _spans(dx.shape[2])
    dx[:, :, :1] = y[1, :, :, :1]
    np.add(y[1, :, :, rest], y[2, :, :, most], out=dx[:, :, rest])
    dx[:, :, most] += y[0, :, :, rest]


def _row_by_row(dout, x, dtype):
    """The same by windows: no number is multiplied by a zero that is not padding."""
    C, F, dw = x.shape[1], dout.shape[1], 0
    for n, matrices in _filled(x, dtype):
        g = dout[n].transpose(2, 0, 3, 1).reshape(x.shape[2], -1, F)        # (H, n W, F)
        dw = dw + (matrices @ g.astype(dtype, copy=False)).sum(axis=0)
    return np.ascontiguousarray(dw.reshape(3, 3, C, F).transpose(3, 2, 0, 1))
