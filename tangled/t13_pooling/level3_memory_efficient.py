# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:774e9f17010b816a
"""Pooling, level 3: one axis after the other, no padded copy. Shapes and errors as in level 2."""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

import tangled.t13_pooling.checks as check
from tangled.t11_conv2d_naive.ranges import inside
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

BLOCK = 1 << 17                                                 # numbers that are reduced at once


class _Axis(NamedTuple):
    """How windows lie along one axis of x (N, C, H, W)."""

    number: int                                 # 2 or 3
    size: int
    outputs: int
    offsets: list                               # (k, of the outputs, of the entries, fresh)
    covered: bool                               # the fresh ones reach every entry
    first: np.ndarray                           # the number of each output's first offset inside
    length: int                                 # of a line
    lines: dict                                 # remainder: (of its line, of the entries)
    starts: list                                # (remainder, where in its line) for each offset


def _axis(number, size, kernel, stride, padding, dilation, outputs):
    """The _Axis of a Pool, with indices into arrays (N, C, ...) for slices."""
    parts = lambda first, count: [(slice(None),) * number + (part,)
                                  for part in inside(first, count, stride, size)]
    offsets, reached, entries = [], set(), 0
    for k in range(kernel):
        first = k * dilation - padding                          # what output 0 reads
        out, read = parts(first, outputs)
        count = out[-1].stop - out[-1].start
        if count:
            offsets.append((k, out, read, first % stride not in reached))
            entries += offsets[-1][-1] * count
            reached.add(first % stride)
    starts = [(k * dilation % stride, k * dilation // stride) for k in range(kernel)]
    length = outputs + starts[-1][1]
    lines = {r: parts(r - padding, length) for r, _ in starts}
    first = -(np.minimum(np.arange(outputs) * stride - padding, 0) // dilation)
    first = first.astype(np.min_scalar_type(kernel)).reshape(-1, *[1] * (3 - number))
    return _Axis(number, size, outputs, offsets, entries == size, first, length, lines, starts)


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


def _largest(x, axis, nan, best, winner):
    """Maxima and winners of x (n, C, ...) along an _Axis, into best and winner (n, C, ...)."""
    shape, kind = _shape(x.shape, axis, axis.length), winner.dtype
    behind, lines = prod(shape[axis.number + 1:]), {r: _line(x, shape, *where)
                                                    for r, where in axis.lines.items()}
    size = prod(shape) - axis.starts[-1][1] * behind            # what begins later is no window
    b, *others = (lines[r][start * behind:][:size] for r, start in axis.starts)
    along = [a if a.shape == shape else np.empty(shape, a.dtype) for a in (best, winner)]
    largest, number = (a.reshape(-1)[:size] for a in along)
    if not others:
        largest[...], number[...] = b, 0
    for k, v in enumerate(others, 1):
        if k == 1:
            _better(v, b, nan, number)
        else:
            np.maximum(number, _better(v, b, nan) * kind.type(k), out=number)
        b = np.maximum(b, v, out=largest)
    outputs = (slice(None),) * axis.number + (slice(axis.outputs),)
    for a, whole in zip((best, winner), along):
        if a is not whole:
            a[...] = whole[outputs]
    if axis.first.any():
        np.maximum(winner, axis.first, out=winner)


def _line(x, shape, of_line, of_x):
    """The entries of x (N, C, ...) of one remainder in a shape, -inf for padding; flat."""
    part = x[of_x]
    if part.shape != shape:
        line = np.full(shape, -np.inf, x.dtype)
        line[of_line] = part
        part = line
    return np.ascontiguousarray(part).reshape(-1)


def _better(v, b, nan, out=None):
    """Where v replaces b, both flat."""
    better = np.greater(v, b, out=out)
    if nan:
        better |= v != v
    return better


def _spread(g, axis, winner=None, dx=None):
    """The adjoint of a step, g (N, C, ...) to the winners, or all entries, of an _Axis; into dx."""
    if dx is None:
        dx = np.empty(_shape(g.shape, axis, axis.size), g.dtype)
    if not axis.covered:
        dx[...] = 0
    bits = f"u{g.itemsize}"
    for k, out, read, fresh in axis.offsets:
        if winner is None:
            part = g[out]
        else:
            part = (g[out].view(bits) * (winner[out] == k).astype(bits)).view(g.dtype)
        if fresh:
            dx[read] = part
        else:
            dx[read] += part
    return dx


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """As level 2: x (N, C, H, W) to out (N, C, OH, OW), in two steps."""
    x, *axes = _geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    at, of_rows, of_columns = axes
    (N, C, H, _), (OH, OW) = x.shape, at.outputs
    out, rows = np.empty((N, C, OH, OW), x.dtype), np.empty((N, C, OH, OW), of_rows.first.dtype)
    columns = np.empty((N, C, H, OW), of_columns.first.dtype)
    for n in _blocks(x):
        narrow = np.empty(columns[n].shape, x.dtype)            # (n, C, H, OW)
        for nan in (False, True):
            _largest(x[n], of_columns, nan, narrow, columns[n])
            _largest(narrow, of_rows, nan, out[n], rows[n])     # eq. 13.9
            if not np.isnan(out[n]).any():
                break
    return out, (rows, columns, axes, x.dtype)


def _blocks(x):
    """Slices of a batch x (N, C, H, W), of about BLOCK numbers each."""
    size = max(1, BLOCK // max(1, x[:1].size))
    return [slice(n, n + size) for n in range(0, len(x), size)]


def max_pool2d_indices(cache):
    """As level 2: (N, C, OH, OW), int64."""
    rows, columns, (at, *_), _ = cache
    i = rows.astype(np.int64) * at.dilation[0] - at.padding[0]
    i += np.arange(at.outputs[0])[:, None] * at.stride[0]       # rows of the winners
    j = np.take_along_axis(columns, i, axis=2).astype(np.int64)
    return i * at.size[1] + j * at.dilation[1] + np.arange(at.outputs[1]) * at.stride[1] - at.padding[1]


def max_pool2d_backward(dout, cache):
    """As level 2: dout (N, C, OH, OW) to dx (N, C, H, W)."""
    rows, columns, (at, of_rows, of_columns), dtype = cache
    dout = check.gradient(dout, rows.shape, check.working(dtype))
    dx = np.empty((*rows.shape[:2], *at.size), dout.dtype)
    for n in _blocks(dx):
        _spread(_spread(dout[n], of_rows, rows[n]), of_columns, columns[n], dx[n])
    return dx.astype(dtype, copy=False)


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
    (_, out, read, _), *others = axis.offsets
    total = np.zeros(_shape(x.shape, axis, axis.outputs), dtype)
    total[out] = x[read]
    for _, out, read, _ in others:
        total[out] += x[read]
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
