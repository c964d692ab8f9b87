# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:dd621894bf20d1d7
"""Pooling, level 3: one axis after the other, no padded copy. Shapes and errors as in level 2."""

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


def _offsets(axis, at):
    """(k, of the outputs, of the entries): indices into arrays (N, C, ...), one axis of them reduced."""
    size, kernel, stride, padding, dilation, outputs = (field[axis - 2] for field in at)
    along = lambda *where: (slice(None),) * axis + (slice(*where),)
    for k in range(kernel):
        first = k * dilation - padding                          # what output 0 reads
        low, high = max(0, -(first // stride)), min(outputs, (size - 1 - first) // stride + 1)
        if low < high:
            start = low * stride + first
            yield k, along(low, high), along(start, start + (high - low - 1) * stride + 1, stride)


def _shape(shape, axis, n):
    """A shape with n along an axis."""
    return (*shape[:axis], n, *shape[axis + 1:])


def _largest(x, axis, at, nan):
    """Maxima and winners of x (N, C, ...) along an axis."""
    outputs, padding = at.outputs[axis - 2], at.padding[axis - 2]
    kind, shape = np.min_scalar_type(at.kernel[axis - 2]), _shape(x.shape, axis, outputs)
    offsets = list(_offsets(axis, at))
    if not padding and len(offsets) > 1 and offsets[1][1][-1] == slice(0, outputs):
        (_, _, one), (_, _, two) = offsets[:2]                  # both are inside everywhere
        winner, best = (_better(x[two], x[one], nan).view(np.uint8).astype(kind, copy=False),
                        np.maximum(x[one], x[two]))
        offsets = offsets[2:]
    else:
        best, winner = np.full(shape, -np.inf, x.dtype), _first(shape, axis, at).astype(kind, order="C")
    better = np.zeros(shape, bool)                              # whole: rows of a slice are short
    for k, out, inside in offsets:
        better[...] = False
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


def _first(shape, axis, at):
    """The number of the first offset inside, for outputs (N, C, ...) of a shape."""
    _, _, stride, padding, dilation, outputs = (field[axis - 2] for field in at)
    first = -(np.minimum(np.arange(outputs) * stride - padding, 0) // dilation)
    return np.broadcast_to(first.reshape(-1, *[1] * (3 - axis)), shape)


def _spread(g, axis, at, winner=None):
    """The adjoint of a step: g (N, C, ...) to the winners, or to all entries, of an axis."""
    size, kernel, stride, padding, dilation, outputs = (field[axis - 2] for field in at)
    full = kernel == stride and not padding and dilation == 1 and outputs * stride == size
    dx = (np.empty if full else np.zeros)(_shape(g.shape, axis, size), g.dtype)
    bits, written = np.dtype(f"u{g.itemsize}"), set()
    for k, out, inside in _offsets(axis, at):
        fresh = k * dilation % stride not in written            # no entry of it was written before
        written.add(k * dilation % stride)
        if winner is None:
            part = g[out]
        else:
            part = np.multiply(g[out].view(bits), winner[out] == k,
                               out=dx[inside].view(bits) if fresh else None).view(g.dtype)
        if not fresh:
            dx[inside] += part
        elif winner is None:
            dx[inside] = part
    return dx


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """As level 2: x (N, C, H, W) to out (N, C, OH, OW), in two steps."""
    x, at = plain._geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    for nan in (False, True):
        narrow, columns = _largest(x, 3, at, nan)               # (N, C, H, OW)
        out, rows = _largest(narrow, 2, at, nan)                # eq. 13.9
        if not np.isnan(out).any():
            break
    return out, (rows, columns, at, x.dtype)


def max_pool2d_indices(cache):
    """As level 2: (N, C, OH, OW), int64."""
    rows, columns, at, _ = cache
    i = rows.astype(np.int64) * at.dilation[0] - at.padding[0]
    i += np.arange(at.outputs[0])[:, None] * at.stride[0]       # rows of the winners
    j = np.take_along_axis(columns, i, axis=2).astype(np.int64)
    return i * at.size[1] + j * at.dilation[1] + np.arange(at.outputs[1]) * at.stride[1] - at.padding[1]


def max_pool2d_backward(dout, cache):
    """As level 2: dout (N, C, OH, OW) to dx (N, C, H, W)."""
    rows, columns, at, dtype = cache
    dout = check.gradient(dout, rows.shape, check.working(dtype))
    return _spread(_spread(dout, 2, at, rows), 3, at, columns).astype(dtype, copy=False)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """As level 2: x (N, C, H, W) to out (N, C, OH, OW), in two steps."""
    x, at = plain._geometry(x, kernel_size, stride, padding, 1, ceil_mode)
    override = check.divisor(divisor_override)
    divisor = plain._divisor(at, check.flag("count_include_pad", count_include_pad), override)
    out = _total(_total(x, 3, at, check.working(x.dtype)), 2, at, check.working(x.dtype))
    out /= divisor.astype(out.dtype)
    return out.astype(x.dtype, copy=False), (divisor, x.shape, at, x.dtype)


def _total(x, axis, at, dtype):
    """Sums of x (N, C, ...) along an axis, in a dtype."""
    (_, out, inside), *others = _offsets(axis, at)
    total = np.zeros(_shape(x.shape, axis, at.outputs[axis - 2]), dtype)
    total[out] = x[inside]
    for _, out, inside in others:
        total[out] += x[inside]
    return total


def avg_pool2d_backward(dout, cache):
    """As level 2: dout (N, C, OH, OW) to dx (N, C, H, W)."""
    divisor, shape, at, dtype = cache
    dout = check.gradient(dout, (*shape[:2], *at.outputs), check.working(dtype))
    share = dout / divisor.astype(dout.dtype)
    return _spread(_spread(share, 2, at), 3, at).astype(dtype, copy=False)


class MaxPool2d(plain.MaxPool2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(max_pool2d), staticmethod(max_pool2d_backward)


class AvgPool2d(plain.AvgPool2d):
    """As level 2, by the ops of this level."""

    op, op_backward = staticmethod(avg_pool2d), staticmethod(avg_pool2d_backward)
