# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:b96592a01b0e85d3
"""Pooling, level 3: one axis after the other, no padded copy. Shapes and errors as in level 2."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

import tangled.t13_pooling.checks as check
from tangled.t13_pooling import level2_vectorized as plain
from tangled.t13_pooling.level2_vectorized import (
    AdaptiveAvgPool2d,
    Flatten,
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    flatten,
    flatten_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_unpool2d,
    max_unpool2d_backward,
    pool_output_size,
)

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "Flatten", "MaxPool2d", "adaptive_avg_pool2d",
           "adaptive_avg_pool2d_backward", "avg_pool2d", "avg_pool2d_backward", "flatten", "flatten_backward",
           "global_avg_pool2d", "global_avg_pool2d_backward", "max_pool2d", "max_pool2d_backward",
           "max_pool2d_indices", "max_unpool2d", "max_unpool2d_backward", "pool_output_size"]


class _Axis(NamedTuple):
    """How windows lie along one axis of x (N, C, H, W)."""

    number: int                                                 # 2 or 3
    size: int
    outputs: int
    offsets: list                                               # (k, of the outputs, of the entries, fresh)
    first: np.ndarray                                           # the number of each output's first offset inside
    paired: bool                                                # offsets 0 and 1 are inside everywhere
    covered: bool                                               # the fresh ones reach every entry


def _axis(number, size, kernel, stride, padding, dilation, outputs):
    """The _Axis of a Pool, whose offsets are pairs of indices into arrays (N, C, ...); the first reduced along it."""
    along = lambda *where: (slice(None),) * number + (slice(*where),)
    offsets, reached, entries = [], set(), 0
    for k in range(kernel):
        first = k * dilation - padding                          # what output 0 reads
        low, high = max(0, -(first // stride)), min(outputs, (size - 1 - first) // stride + 1)
        if low < high:
            start, fresh = low * stride + first, first % stride not in reached
            offsets.append((k, along(low, high), along(start, start + (high - low - 1) * stride + 1, stride), fresh))
            reached.add(first % stride)
            entries += fresh * (high - low)
    paired = not padding and len(offsets) > 1 and offsets[1][1][-1] == slice(0, outputs)
    first = -(np.minimum(np.arange(outputs) * stride - padding, 0) // dilation)
    first = first.astype(np.min_scalar_type(kernel)).reshape(-1, *[1] * (3 - number))
    return _Axis(number, size, outputs, offsets, first, paired, entries == size)


@lru_cache(maxsize=64)
def _axes(at, ceil_mode):
    """A Pool with its outputs, and the _Axis of its rows and of its columns."""
    at = plain._fitted(at, ceil_mode)
    return at, _axis(2, *(field[0] for field in at)), _axis(3, *(field[1] for field in at))


def _geometry(x, kernel_size, stride, padding, dilation, ceil_mode):
    """x as an array, a Pool with its outputs, and the _Axis of its rows and of its columns."""
    x, at = check.pooling(x, kernel_size, stride, padding, dilation)
    return x, *_axes(at, check.flag("ceil_mode", ceil_mode))


def _shape(shape, axis, n):
    """A shape with n along an _Axis."""
    return (*shape[:axis.number], n, *shape[axis.number + 1:])


def _largest(x, axis, nan):
    """Maxima and winners of x (N, C, ...) along an _Axis."""
    offsets, kind = axis.offsets, axis.first.dtype
    if axis.paired:
        (_, _, one, _), (_, _, two, _), *offsets = offsets
        one, two = x[one], x[two]
        best, winner = np.maximum(one, two), _better(two, one, nan).view(np.uint8).astype(kind, copy=False)
    else:
        shape = _shape(x.shape, axis, axis.outputs)
        best, winner = np.full(shape, -np.inf, x.dtype), np.empty(shape, kind)
        winner[...] = axis.first
    for k, out, inside, _ in offsets:
        better = np.zeros(best.shape, bool)                     # whole: rows of a slice are short
        better[out] = _better(x[inside], best[out], nan)
        np.maximum(winner, better * kind.type(k), out=winner)
        np.maximum(best[out], x[inside], out=best[out])
    return best, winner


def _better(v, b, nan):
    """Where v replaces b, both (N, C, ...)."""
    better = v > b
    if nan:
        better |= v != v
    return better


def _spread(g, axis, winner=None):
    """The adjoint of a step: g (N, C, ...) to the winners, or to all entries, of an _Axis."""
    dx = (np.empty if axis.covered else np.zeros)(_shape(g.shape, axis, axis.size), g.dtype)
    bits = f"u{g.itemsize}"
    of_g, of_dx = g.view(bits), dx.view(bits)
    for k, out, inside, fresh in axis.offsets:
        if winner is None:
            part = g[out]
        else:
            part = np.multiply(of_g[out], winner[out] == k, out=of_dx[inside] if fresh else None).view(g.dtype)
        if not fresh:
            dx[inside] += part
        elif winner is None:
            dx[inside] = part
    return dx


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """As level 2: x (N, C, H, W) to out (N, C, OH, OW), in two steps."""
    x, *axes = _geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    _, of_rows, of_columns = axes
    for nan in (False, True):
        narrow, columns = _largest(x, of_columns, nan)          # (N, C, H, OW)
        out, rows = _largest(narrow, of_rows, nan)              # eq. 13.9
        if not np.isnan(out).any():
            break
    return out, (rows, columns, axes, x.dtype)


def max_pool2d_indices(cache):
    """As level 2: (N, C, OH, OW), int64."""
    rows, columns, (at, *_), _ = cache
    i = rows.astype(np.int64) * at.dilation[0] - at.padding[0]
    i += np.arange(at.outputs[0])[:, None] * at.stride[0]       # rows of the winners
    j = np.take_along_axis(columns, i, axis=2).astype(np.int64)
    return i * at.size[1] + j * at.dilation[1] + np.arange(at.outputs[1]) * at.stride[1] - at.padding[1]


def max_pool2d_backward(dout, cache):
    """As level 2: dout (N, C, OH, OW) to dx (N, C, H, W)."""
    rows, columns, (_, of_rows, of_columns), dtype = cache
    dout = check.gradient(dout, rows.shape, check.working(dtype))
    return _spread(_spread(dout, of_rows, rows), of_columns, columns).astype(dtype, copy=False)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """As level 2: x (N, C, H, W) to out (N, C, OH, OW), in two steps."""
    x, *axes = _geometry(x, kernel_size, stride, padding, 1, ceil_mode)
    at, of_rows, of_columns = axes
    override = check.divisor(divisor_override)
    divisor = plain._divisor(at, check.flag("count_include_pad", count_include_pad), override)
    out = _total(_total(x, of_columns, check.working(x.dtype)), of_rows, check.working(x.dtype))
    out /= divisor.astype(out.dtype)
    return out.astype(x.dtype, copy=False), (divisor, x.shape, axes, x.dtype)


def _total(x, axis, dtype):
    """Sums of x (N, C, ...) along an _Axis, in a dtype."""
    (_, out, inside, _), *others = axis.offsets
    total = np.zeros(_shape(x.shape, axis, axis.outputs), dtype)
    total[out] = x[inside]
    for _, out, inside, _ in others:
        total[out] += x[inside]
    return total


def avg_pool2d_backward(dout, cache):
    """As level 2: dout (N, C, OH, OW) to dx (N, C, H, W)."""
    divisor, shape, (at, of_rows, of_columns), dtype = cache
    dout = check.gradient(dout, (*shape[:2], *at.outputs), check.working(dtype))
    share = dout / divisor.astype(dout.dtype)
    return _spread(_spread(share, of_rows), of_columns).astype(dtype, copy=False)


class MaxPool2d(plain.MaxPool2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(max_pool2d), staticmethod(max_pool2d_backward)


class AvgPool2d(plain.AvgPool2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(avg_pool2d), staticmethod(avg_pool2d_backward)
