# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:2b5e146a52b4d42c
"""Level 3: tensor operations that keep to the cache and make no temporaries."""

import numpy as np

from tangled.t01_tensor_operations.level2_vectorized import (
    _reduce_operand,
    broadcast_shapes,
    broadcast_to,
    contiguous_strides,
    sliding_windows,
)

__all__ = ["broadcast_shapes", "broadcast_to", "contiguous_strides", "einsum2", "logsumexp", "matmul", "one_hot",
           "sliding_windows", "softmax", "unbroadcast"]


def matmul(a, b, tile=256, kernel=np.matmul):
    """Matrix product over the last two axes, tile by tile, the leading axes broadcast.

    Parameters
    ----------
    a : ndarray of shape (..., n, k)
    b : ndarray of shape (..., k, m)
    tile : int
        Largest side of a block; three blocks should fit in the cache.
    kernel : callable
        kernel(a_block, b_block, out=buffer) multiplies two blocks: `np.matmul` or `outer_products`.

    Returns
    -------
    ndarray of shape (..., n, m), of the common dtype
    """
    a, b = np.asarray(a), np.asarray(b)
    for name, array in (("a", a), ("b", b)):
        if array.ndim < 2:
            raise ValueError(f"{name} has {array.ndim} axes, expected at least 2")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"b has {b.shape[-2]} rows, expected {a.shape[-1]} (the columns of a)")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    a, b = broadcast_to(a, batch + a.shape[-2:]), broadcast_to(b, batch + b.shape[-2:])
    for stack in np.ndindex(*batch):
        _matmul_tiles(a[stack], b[stack], out[stack], tile, kernel)
    return out


def _matmul_tiles(a, b, out, tile, kernel):
    """Adds the product of `a` (n, k) and `b` (k, m) to `out` (n, m), one (tile, tile) block at a time."""
    (n, k), m = a.shape, b.shape[1]
    buffer = np.empty(min(n, tile) * min(m, tile), out.dtype)
    for i in range(0, n, tile):
        for j in range(0, m, tile):
            block = out[i:i + tile, j:j + tile]          # a view of the result
            product = buffer[:block.size].reshape(block.shape)
            for p in range(0, k, tile):
                kernel(a[i:i + tile, p:p + tile], b[p:p + tile, j:j + tile], out=product)
                block += product                         # eq. 1.7


def outer_products(a, b, out):
    """The product of two small blocks `a` (t, k) and `b` (k, u) into `out` (t, u), without `@`."""
    out[...] = 0
    step = np.empty_like(out)
    for p in range(a.shape[1]):
        np.multiply(a[:, p, None], b[p], out=step)
        out += step                                      # eq. 1.6
    return out


def unbroadcast(grad, shape):
    """Sums `grad` over the axes along which `shape` was stretched: ndarray of `shape`; see level 2."""
    grad = np.asarray(grad)
    if grad.shape == tuple(shape):
        return grad
    shape = tuple(shape)
    fits = len(shape) <= grad.ndim and all(n in (1, m) for n, m in zip(shape[::-1], grad.shape[::-1]))
    if not fits:
        raise ValueError(f"shape is {shape}, expected one that stretches to grad's {grad.shape}")
    lead = grad.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + d for d, n in enumerate(shape) if n == 1 and grad.shape[lead + d] != 1)
    if axes == tuple(range(lead)) and grad.size and grad.flags.c_contiguous and grad.dtype.kind == "f":
        rows = grad.reshape(int(np.prod(grad.shape[:lead], dtype=int)), -1)      # (rows, size of the result)
        return (np.ones(len(rows), grad.dtype) @ rows).reshape(shape)            # eq. 1.4
    return grad.sum(axis=axes, keepdims=True).reshape(shape)


def einsum2(spec, a, b):
    """Einstein summation of two operands with as few copies as their strides allow; see level 2."""
    a, b = np.asarray(a), np.asarray(b)
    parts = spec.replace(" ", "").replace("->", ",").split(",")
    if len(parts) != 3 or "->" not in spec or not all(part.isalpha() or not part for part in parts):
        raise ValueError(f"spec is {spec!r}, expected two operands and an output, such as 'ij,jk->ik'")
    of_a, of_b, to = parts
    lengths = {}
    for name, letters, array in (("a", of_a, a), ("b", of_b, b)):
        if len(letters) != array.ndim:
            raise ValueError(f"{name} has {array.ndim} axes, expected {len(letters)} for {letters!r} in spec")
        for letter, length in zip(letters, array.shape):
            if lengths.setdefault(letter, length) != length:
                raise ValueError(f"{name} has length {length} at {letter!r}, expected {lengths[letter]}")
    if len(set(to)) != len(to) or not set(to) <= set(lengths):
        raise ValueError(f"spec is {spec!r}, expected output letters once each, out of {''.join(lengths)!r}")
    a, of_a = _reduce_operand(a, of_a, of_b + to)
    b, of_b = _reduce_operand(b, of_b, of_a + to)
    shared = [c for c in of_a if c in of_b]
    batch = [c for c in shared if c in to]
    inner = [c for c in shared if c not in to]
    left = [c for c in of_a if c not in of_b]
    right = [c for c in of_b if c not in of_a]
    order = batch + left + right
    out = np.empty([lengths[c] for c in order], np.result_type(a, b))
    for stack in np.ndindex(*[lengths[c] for c in batch]):
        at = dict(zip(batch, stack))
        flat_a = _matrix(a, of_a, at, left, inner)       # (left, inner)
        flat_b = _matrix(b, of_b, at, inner, right)      # (inner, right)
        block = out[(*stack, ...)].reshape(len(flat_a), flat_b.shape[1])
        np.matmul(flat_a, flat_b, out=block)             # eq. 1.8
    return out.transpose([order.index(c) for c in to])


def _matrix(x, letters, at, rows, columns):
    """`x` at the batch index `at` as a matrix (rows, columns): a view, as itself or transposed, if there is one."""
    x = x[tuple(at.get(c, slice(None)) for c in letters)]
    rest = [c for c in letters if c not in at]
    by_rows = x.transpose([rest.index(c) for c in (*rows, *columns)])
    by_columns = x.transpose([rest.index(c) for c in (*columns, *rows)])
    count = int(np.prod(by_rows.shape[:len(rows)], dtype=int))
    width = int(np.prod(by_rows.shape[len(rows):], dtype=int))
    if by_columns.flags.c_contiguous and not by_rows.flags.c_contiguous:
        return by_columns.reshape(width, count).T
    return by_rows.reshape(count, width)


def softmax(x, axis=-1):
    """Softmax over one axis in a single new array of the shape of `x`; see level 2."""
    x = np.asarray(x)
    with np.errstate(invalid="ignore"):
        out = np.subtract(x, x.max(axis=axis, keepdims=True))
    np.exp(out, out=out)                                 # eq. 1.11
    out /= out.sum(axis=axis, keepdims=True)
    return out


def logsumexp(x, axis=-1, block=256):
    """log(sum(exp(x))) over one axis in one pass, `block` entries of the axis at a time; see level 2."""
    x = np.moveaxis(np.asarray(x), axis, -1)             # a view (..., C)
    largest = np.full(x.shape[:-1], -np.inf, x.dtype)
    total = np.zeros(x.shape[:-1], x.dtype)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for start in range(0, x.shape[-1], block):
            part = x[..., start:start + block]
            bigger = np.maximum(largest, part.max(axis=-1))
            c = np.where(np.isinf(bigger), 0, bigger).astype(x.dtype, copy=False)
            total *= np.exp(np.where(np.isinf(largest), -np.inf, largest - c), dtype=x.dtype)
            total += np.exp(part - c[..., None]).sum(axis=-1)                    # eq. 1.12
            largest = bigger
        return np.where(np.isinf(largest), largest, largest + np.log(total)).astype(x.dtype, copy=False)


def one_hot(y, k):
    """float32 (..., k) indicators of labels `y` (...): zeros, and one store for each label; see level 2."""
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y has dtype {y.dtype}, expected integers")
    if y.size and not 0 <= y.min() <= y.max() < k:
        raise ValueError(f"y holds labels from {y.min()} to {y.max()}, expected 0 to {k - 1}")
    out = np.zeros((y.size, k), np.float32)
    out[np.arange(y.size), y.ravel()] = 1.0
    return out.reshape(*y.shape, k)
