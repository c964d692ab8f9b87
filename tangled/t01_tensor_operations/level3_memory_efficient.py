# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:47cc5e5929f7a790
"""Level 3: tensor operations that keep to the cache and make few temporaries."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

import tangled.t01_tensor_operations.checks as check
from tangled.t01_tensor_operations.level2_vectorized import (
    broadcast_shapes,
    broadcast_to,
    contiguous_strides,
    sliding_windows,
)

__all__ = ["broadcast_shapes", "broadcast_to", "contiguous_strides", "einsum2", "logsumexp",
           "matmul", "one_hot", "outer_products", "sliding_windows", "softmax", "unbroadcast"]


def matmul(a, b, tile=256, kernel=np.matmul):
    """Matrix product over the last two axes, tile by tile, the leading axes broadcast.

    `a` is (..., n, k), `b` (..., k, m), the result (..., n, m). `tile` is the largest side of a
    block: three should fit in the cache. kernel(a_block, b_block, out=buffer) multiplies blocks.
    """
    a, b, dtype = check.matrices(a, b)
    a, b = check.wide(a), check.wide(b)
    batch = a.shape[:-2]
    if batch != b.shape[:-2]:
        batch = broadcast_shapes(batch, b.shape[:-2])
        a, b = broadcast_to(a, batch + a.shape[-2:]), broadcast_to(b, batch + b.shape[-2:])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for stack in np.ndindex(*batch):
        _matmul_tiles(a[stack], b[stack], out[stack], tile, kernel)
    return out.astype(dtype, copy=False)


def _matmul_tiles(a, b, out, tile, kernel):
    """The product of `a` (n, k) and `b` (k, m) into `out` (n, m), zeros so far, block by block."""
    (n, k), m = a.shape, b.shape[1]
    if max(n, k, m) <= tile:
        return kernel(a, b, out=out)
    buffer = np.empty(min(n, tile) * min(m, tile), out.dtype)
    for i in range(0, n, tile):
        for j in range(0, m, tile):
            block = out[i:i + tile, j:j + tile]          # a view of the result
            product = buffer[:block.size].reshape(block.shape)
            for p in range(0, k, tile):
                kernel(a[i:i + tile, p:p + tile], b[p:p + tile, j:j + tile], out=product)
                block += product                         # eq. 1.7


def outer_products(a, b, out):
    """The product of two blocks `a` (t, k) and `b` (k, u) into `out` (t, u), without `@`."""
    out[...] = 0
    step = np.empty_like(out)
    for p in range(a.shape[1]):
        np.multiply(a[:, p, None], b[p], out=step)
        out += step                                      # eq. 1.6
    return out


def unbroadcast(grad, shape):
    """Sums `grad` over the axes along which `shape` was stretched: ndarray of `shape`."""
    grad, shape = check.stretched(grad, shape)
    lead = grad.ndim - len(shape)
    pairs = enumerate(zip(shape, grad.shape[lead:]), lead)
    axes = (*range(lead), *(d for d, (n, m) in pairs if n == 1 and m != 1))
    if not axes:
        return grad
    first, last = axes[0], axes[-1] + 1
    if last - first > len(axes) or grad.dtype.char not in "fd" or not grad.flags.c_contiguous:
        total = grad.sum(axis=axes, dtype=check.wide(grad).dtype)
        return np.asarray(total, grad.dtype).reshape(shape)
    after = math.prod(grad.shape[last:])
    before, count = math.prod(grad.shape[:first]), math.prod(grad.shape[first:last])
    run, ones = grad.reshape(before, count, after), np.ones(count, grad.dtype)
    total = run[:, :, 0] @ ones if after == 1 else ones @ run    # (before,), (before, after)
    return total.reshape(shape)                          # eq. 1.4


def einsum2(spec, a, b):
    """Einstein sum of `a` and `b`, axes as `spec` says, copying only what strides require."""
    a, b = np.asarray(a), np.asarray(b)
    of_a, of_b, to, lengths = check.letters(spec, a, b)
    dtype = np.result_type(a, b)
    a, of_a = _reduce_operand(check.wide(a), of_a, of_b + to)
    b, of_b = _reduce_operand(check.wide(b), of_b, of_a + to)
    batch = [c for c in of_a if c in of_b and c in to]
    inner = [c for c in of_a if c in of_b and c not in to]
    left = [c for c in of_a if c not in of_b]
    right = [c for c in of_b if c not in of_a]
    flat_a = _matrices(a, of_a, batch, left, inner)      # (*batch, left, inner)
    flat_b = _matrices(b, of_b, batch, inner, right)     # (*batch, inner, right)
    out = flat_a @ flat_b if inner else flat_a * flat_b  # eq. 1.8
    order = batch + left + right
    out = out.reshape([lengths[c] for c in order]).transpose([order.index(c) for c in to])
    return out.astype(dtype, copy=False)[()]


def _reduce_operand(x, letters, wanted):
    """`x` with diagonals for repeated letters; letters that nobody else wants are summed."""
    unique = "".join(dict.fromkeys(letters))
    steps = [sum(s for c, s in zip(letters, x.strides) if c == u) for u in unique]
    x = as_strided(x, [x.shape[letters.index(u)] for u in unique], steps)
    alone = tuple(d for d, u in enumerate(unique) if u not in wanted)
    return (x.sum(axis=alone, dtype=x.dtype) if alone else x), "".join(u for u in unique if u in wanted)


def _matrices(x, letters, batch, rows, columns):
    """`x` as a stack of matrices (*batch, rows, columns): a view if it can be one."""
    x = x.transpose([letters.index(c) for c in (*batch, *rows, *columns)])
    i, j = len(batch), len(batch) + len(rows)
    x = x.reshape(*x.shape[:i], math.prod(x.shape[i:j]), math.prod(x.shape[j:]))
    return x if x.itemsize in x.strides[-2:] else x.copy()   # what the BLAS can walk


BLOCK = 131_072                                          # entries: 512 kB of float32
FOUND = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
AVX512 = any(name in ("AVX512F", "AVX512_SKX", "X86_V4") for name in FOUND)


def softmax(x, axis=-1):
    """Softmax over one axis in a single new array of the shape of `x`."""
    x, axis = check.floats(x, axis)
    source = np.moveaxis(x, axis, -1)                    # a view (..., C)
    out = np.empty(source.shape, check.wide(x[:0]).dtype)
    rows = out.reshape(-1, max(out.shape[-1], 1))        # (R, C), a view: `out` is in C order
    if source.flags.c_contiguous and x.dtype == out.dtype:
        source = source.reshape(rows.shape)
    else:                                                # bring the rows together first
        out[...], source = source, rows
    apart, many = source is not rows, max(1, BLOCK // rows.shape[1])
    with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
        np.setbufsize(512)                               # numbers; restored with the rest
        for start in range(0, len(rows), many):
            _softmax_rows(source[start:start + many], rows[start:start + many], apart)
    return np.moveaxis(out.astype(x.dtype, copy=False), -1, axis)


def _softmax_rows(x, out, apart):
    """Softmax of the rows of `x` (R, C) into `out` (R, C), which is `x` unless they are `apart`."""
    ones, done = np.ones(out.shape[1], out.dtype), False
    if apart:
        top = x.max()                                    # one shift for the block, or none
        sums = _exponentials(x, top if abs(top) > 8 else None, out) @ ones
        done = sums.min() > 2.0**-16                     # False for NaN
    if not done:
        sums = _exponentials(x, x.max(axis=-1, keepdims=True), out) @ ones
    out *= (1.0 / sums)[:, None]                         # eq. 1.11


def _exponentials(x, shift, out):
    """exp(x - shift) into `out`, both (R, C), by the faster of the two functions."""
    if shift is not None:
        x = np.subtract(x, shift, out=out)
    if AVX512 and out.dtype == np.float32:
        np.multiply(x, np.float32(1.4426950408889634), out=out)          # log2(e)
        return np.exp2(out, out=out)
    return np.exp(x, out=out)


def logsumexp(x, axis=-1, block=6144):
    """log(sum(exp(x))) over one axis of `x`, which goes; `block` of its entries at a time."""
    x, axis = check.floats(x, axis)
    x = np.moveaxis(x, axis, -1)                         # a view (..., C)
    m = np.full(x.shape[:-1], -np.inf, check.wide(x[..., :0]).dtype)     # running maximum
    s = np.zeros(m.shape, m.dtype)                       # running sum, relative to it
    buffer = np.empty((*m.shape, min(check.whole("block", block, 1), x.shape[-1])), m.dtype)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, x.shape[-1], block):
            part = x[..., start:start + block]
            larger = np.maximum(m, part.max(axis=-1))
            c = np.where(np.isinf(larger), 0, larger)
            terms = _exponentials(part, c[..., None], buffer[..., :part.shape[-1]])
            s = s * np.exp(m - c) + terms @ np.ones(terms.shape[-1], terms.dtype)  # eq. 1.12
            m = larger
        return np.where(np.isinf(m), m, m + np.log(s)).astype(x.dtype, copy=False)[()]


def one_hot(y, k):
    """float32 (..., k) indicators of labels `y` (...): zeros, and one store for each label."""
    y = check.labels(y, k)
    out = np.zeros((y.size, k), np.float32)
    out[np.arange(y.size), y.ravel()] = 1.0
    return out.reshape(*y.shape, k)
