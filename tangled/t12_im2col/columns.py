# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:2c89ede30facf434
"""Chapter 12: 3 x 3 convolutions with padding 1 and stride 1 or 2, by columns of a few pictures."""

import itertools
import math

import numpy as np

from tangled.t01_tensor_operations.level3_memory_efficient import AVX512

COLUMNS = 512                                       # of a block
PRODUCT, FEWEST = 10 ** 6 if AVX512 else 0, 32      # multiplications and columns of a small product


class Columns:
    """The columns of pictures, kernel 3 x 3 with padding 1, made from one another by shifts.

    Parameters
    ----------
    shape : (n, C, H, W) of the pictures
    stride : 1 or 2
    dtype : of the columns

    Attributes
    ----------
    parts : ndarray of shape (3, 3, C, n, OH, OW)
    matrix : the same as (9 C, n OH OW)
    """

    def __init__(self, shape, stride, dtype):
        n, C, H, W = shape
        self.stride, size = stride, (-(-H // stride), -(-W // stride))
        self.parts = np.empty((3, 3, C, n, *size), dtype)
        self.matrix = self.parts.reshape(9 * C, -1)
        places = [divmod(i - 1, stride) for i in range(3)]      # (u, r), eq. 12.14
        self.copied, self.shifts = {r: i for i, (u, r) in enumerate(places) if u == 0}, []
        moved = [(i, u, self.copied[r], min(0, -u)) for i, (u, r) in enumerate(places) if u]
        for i, (j, v, whole, edge) in itertools.product(self.copied.values(), moved):
            self._shift(self.parts[i, j], self.parts[i, whole], v, self.parts[i, j, ..., edge])
        for i, u, whole, edge in moved:                         # for three j at once
            self._shift(self.parts[i], self.parts[whole], u * size[1], self.parts[i, ..., edge, :])

    def _shift(self, part, whole, k, edge):
        """Note that part is whole, read k numbers further, with zeros at an edge."""
        self.shifts.append((*runs(part[None], whole[None], k), edge))

    def _pixels(self, x):
        """(part, what it holds) for each remainder of x (n, C, H, W): two (C, n, OH, OW), or less."""
        s = self.stride
        for (r, i), (q, j) in itertools.product(self.copied.items(), repeat=2):
            yield self.parts[i, j], x[:, :, r::s, q::s].swapaxes(0, 1)

    def fill(self, x):
        """The columns (9 C, n OH OW) of x (n, C, H, W)."""
        for part, pixels in self._pixels(x):
            rows, columns = pixels.shape[2:]
            part[..., :rows, :columns] = pixels
            part[..., rows:, :] = part[..., columns:] = 0       # an odd side has one less
        for part, whole, edge in self.shifts:
            part[...] = whole
            edge[...] = 0
        return self.matrix

    def pour(self, x):
        """The adjoint of fill, eq. 12.5, into x (n, C, H, W); what the parts hold is used up."""
        for part, whole, edge in reversed(self.shifts):
            edge[...] = 0
            whole += part
        for part, pixels in self._pixels(x):
            pixels[...] = part[..., :pixels.shape[2], :pixels.shape[3]]


def runs(part, whole, k):
    """For part (G, ...) as whole, read k further: what to write and what to read, two (G, length)."""
    part, whole = (a.reshape(len(a), math.prod(a.shape[1:])) for a in (part, whole))
    length = max(0, part.shape[1] - abs(k))
    return part[:, max(0, -k):][:, :length], whole[:, max(0, k):][:, :length]


def blocks(shape, stride, dtype):
    """(slice of the batch, its Columns) for a shape (N, C, H, W), COLUMNS columns at a time."""
    N, C, H, W = shape
    size, columns = max(1, COLUMNS // max(1, -(-H // stride) * -(-W // stride))), None
    for start in range(0, N, size):
        n = min(size, N - start)
        if columns is None or n < size:
            columns = Columns((n, C, H, W), stride, dtype)
        yield slice(start, start + n), columns


def of_small_product(filters, lines):
    """The power of two of columns that (filters, lines) @ (lines, columns) is a small product of."""
    return 1 << max(1, PRODUCT // max(1, filters * lines)).bit_length() - 1


def multiply(a, b, out):
    """out (..., F, n) = a (..., F, K) @ b (..., K, n), in small products if it can be cut into them."""
    size, columns = of_small_product(*a.shape[-2:]), b.shape[-1]
    whole = columns // size * size if FEWEST <= size < columns else 0
    if whole:
        parts = (m[..., :whole].reshape(*m.shape[:-1], -1, size).swapaxes(-3, -2) for m in (b, out))
        np.matmul(a[..., None, :, :], next(parts), out=next(parts))
    if whole < columns:
        np.matmul(a, b[..., whole:], out=out[..., whole:])
    return out


def _as_rows(w):
    """w (F, C, 3, 3) as (F, 9 C), in the order of the columns."""
    return w.transpose(0, 2, 3, 1).reshape(len(w), -1)


def conv(x, w, stride, out=None, b=None):
    """x (N, C, H, W), w (F, C, 3, 3), b (F,) or None: (N, F, OH, OW), in the dtype of x, or into out."""
    (N, _, H, W), F = x.shape, len(w)
    out = np.empty((N, F, -(-H // stride), -(-W // stride)), x.dtype) if out is None else out
    weights = _as_rows(w).astype(out.dtype)
    for n, columns in blocks(x.shape, stride, out.dtype):
        matrix = columns.fill(x[n])                             # (9 C, n OH OW)
        y = multiply(weights, matrix, np.empty((F, matrix.shape[1]), out.dtype))
        out[n] = y.reshape(F, -1, *out.shape[2:]).swapaxes(0, 1)
        if b is not None:
            out[n] += b[:, None, None]
    return out


def _channels_first(dout, dtype):
    """dout (n, F, OH, OW) as (F, n OH OW)."""
    return dout.swapaxes(0, 1).astype(dtype, copy=False).reshape(dout.shape[1], -1)


def weight_gradient(dout, x, stride, dtype=None):
    """dout (N, F, OH, OW), x (N, C, H, W): dw (F, C, 3, 3), in the dtype of x or another."""
    F, C = dout.shape[1], x.shape[1]
    dw = np.zeros((9 * C, F), dtype or x.dtype)
    for n, columns in blocks(x.shape, stride, dw.dtype):
        dw += columns.fill(x[n]) @ _channels_first(dout[n], dw.dtype).T
    return np.ascontiguousarray(dw.reshape(3, 3, C, F).transpose(3, 2, 0, 1))


def input_gradient(dout, w, shape, stride, out=None):
    """dout (N, F, OH, OW), w (F, C, 3, 3): dx of a shape (N, C, H, W), in the dtype of w, or into out."""
    dx = np.empty(shape, w.dtype) if out is None else out
    weights = np.ascontiguousarray(_as_rows(w).T, dx.dtype)     # (9 C, F)
    for n, columns in blocks(shape, stride, dx.dtype):
        multiply(weights, _channels_first(dout[n], dx.dtype), columns.matrix)
        columns.pour(dx[n])
    return dx
