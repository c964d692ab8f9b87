# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:448ea0fdfd916a1b
"""Pooling, level 2: whole arrays, a loop over the offsets of the kernel."""

import math

import numpy as np

import tangled.t13_pooling.checks as check
from tangled.t06_backpropagation import Module


def pool_output_size(size, kernel, stride, padding=0, dilation=1, ceil_mode=False):
    """How many windows there are along one axis.

    Parameters
    ----------
    size, kernel, stride, padding, dilation : int; padding on both sides, at most half the kernel
    ceil_mode : bool; True also counts a window that hangs over the end, if it begins before it

    Returns
    -------
    int, at least 1; a ValueError if there is none
    """
    size, kernel, stride, padding, dilation, ceil_mode = check.axis(
        size, kernel, stride, padding, dilation, ceil_mode)
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    outputs = (-(-room // stride) if ceil_mode else room // stride) + 1     # eq. 13.3, eq. 13.2
    if ceil_mode and (outputs - 1) * stride >= size + padding:      # eq. 13.4
        outputs -= 1
    return check.fits(outputs, size, kernel, padding, dilation)


def _geometry(x, kernel_size, stride, padding, dilation, ceil_mode):
    """x as an array, and a Pool with its outputs."""
    x, at = check.pooling(x, kernel_size, stride, padding, dilation)
    return x, _fitted(at, check.flag("ceil_mode", ceil_mode))


def _fitted(at, ceil_mode):
    """A Pool with its outputs."""
    outputs = tuple(pool_output_size(*axis, ceil_mode) for axis in zip(*at[:5]))
    return check.seen(at._replace(outputs=outputs))


def _padded(shape, at, value, dtype):
    """One value, as far as all windows reach, and the part of it (N, C, H, W) that is the picture."""
    (H, W), (top, left) = at.size, at.padding
    reach = [max((o - 1) * s + d * (k - 1) + 1, p + n)          # where the last window ends
             for n, k, s, p, d, o in zip(*at)]
    array = np.full((*shape[:2], *reach), value, dtype)
    return array, array[:, :, top:top + H, left:left + W]


def _views(padded, at):
    """[(N, C, OH, OW)] for each offset of the kernel, in order: entry (i, j) of all windows."""
    (sh, sw), (dh, dw), (OH, OW) = at.stride, at.dilation, at.outputs
    return [padded[:, :, i * dh:i * dh + (OH - 1) * sh + 1:sh, j * dw:j * dw + (OW - 1) * sw + 1:sw]
            for i, j in np.ndindex(*at.kernel)]


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest entry of each window; of equal ones the first, of NaN the last.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    kernel_size, stride, padding, dilation : int, or (h, w); stride None is kernel_size
    ceil_mode : bool, see `pool_output_size`

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW), in the dtype of x
    cache : for `max_pool2d_backward` and `max_pool2d_indices`
    """
    x, at = _geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    padded, picture = _padded(x.shape, at, -np.inf, x.dtype)
    picture[...] = x
    windows = _views(padded, at)
    best, winner = np.full(windows[0].shape, -np.inf, x.dtype), _first_inside(windows[0].shape, at)
    for k, window in enumerate(windows):
        better = (window > best) | np.isnan(window)                     # eq. 13.5; strictly: the first stays
        best, winner = np.where(better, window, best), np.where(better, k, winner)
    chosen = [winner == k for k in range(len(windows))]             # one of them True for each output
    return best, (chosen, winner, x.shape, at, x.dtype)


def _first_inside(shape, at):
    """For outputs of a shape (N, C, OH, OW), the number of the first offset that is inside."""
    rows, columns = [-(np.minimum(np.arange(o) * s - p, 0) // d)            # ceil(p / d) in window 0
                     for o, s, p, d in zip(at.outputs, at.stride, at.padding, at.dilation)]
    return np.broadcast_to(rows[:, None] * at.kernel[1] + columns, shape).copy()


def max_pool2d_indices(cache):
    """Where the maxima were.

    Parameters
    ----------
    cache : from `max_pool2d`

    Returns
    -------
    ndarray of shape (N, C, OH, OW), int64: row * W + column in the picture, as PyTorch has them
    """
    _, winner, _, at, _ = cache
    i, j = np.divmod(winner.astype(np.int64), at.kernel[1])         # (N, C, OH, OW) each
    rows = np.arange(at.outputs[0])[:, None] * at.stride[0] - at.padding[0] + i * at.dilation[0]
    columns = np.arange(at.outputs[1]) * at.stride[1] - at.padding[1] + j * at.dilation[1]
    return rows * at.size[1] + columns


def max_pool2d_backward(dout, cache):
    """dx (N, C, H, W) of `max_pool2d`, for dout (N, C, OH, OW)."""
    chosen, winner, shape, at, dtype = cache
    dout = check.gradient(dout, winner.shape, check.working(dtype))
    padded, picture = _padded(shape, at, 0.0, dout.dtype)
    for mask, window in zip(chosen, _views(padded, at)):
        window += np.where(mask, dout, 0)                               # eq. 13.8
    return picture.astype(dtype)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """The mean of each window.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    kernel_size, stride, padding : int, or (h, w); stride None is kernel_size
    ceil_mode : bool, see `pool_output_size`
    count_include_pad : bool; True divides by the window's size, padding included
    divisor_override : int to divide by in place of that, or None

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW), in the dtype of x
    cache : for `avg_pool2d_backward`
    """
    x, at = _geometry(x, kernel_size, stride, padding, 1, ceil_mode)
    divisor = _divisor(at, check.flag("count_include_pad", count_include_pad),
                       check.divisor(divisor_override))
    padded, picture = _padded(x.shape, at, 0.0, check.working(x.dtype))
    picture[...] = x
    out = sum(_views(padded, at)) / divisor.astype(padded.dtype)            # eq. 13.10
    return out.astype(x.dtype, copy=False), (divisor, x.shape, at, x.dtype)


def _divisor(at, count_include_pad, override):
    """D (OH, OW), eq. 13.11."""
    if override is not None:
        return np.full(at.outputs, override)
    counts = []
    for size, k, s, p, _, outputs in zip(*at):
        start = np.arange(outputs) * s - p
        stop = np.minimum(start + k, size + p)                          # never beyond the padding
        if not count_include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, size)
        counts.append(stop - start)
    return np.multiply.outer(*counts)


def avg_pool2d_backward(dout, cache):
    """dx (N, C, H, W) of `avg_pool2d`, for dout (N, C, OH, OW)."""
    divisor, shape, at, dtype = cache
    dout = check.gradient(dout, (*shape[:2], *at.outputs), check.working(dtype))
    padded, picture = _padded(shape, at, 0.0, dout.dtype)
    share = dout / divisor.astype(dout.dtype)                       # (N, C, OH, OW)
    for window in _views(padded, at):
        window += share                                             # eq. 13.12
    return picture.astype(dtype)


def _bins(size, outputs):
    """[slice] of each bin of an axis."""
    i = np.arange(outputs)
    start, stop = i * size // outputs, -(-(i + 1) * size // outputs)            # eq. 13.13
    return [slice(int(a), int(b)) for a, b in zip(start, stop)]


def adaptive_avg_pool2d(x, output_size):
    """Means over as many bins as are wanted.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W), floating
    output_size : int, or (OH, OW); None, also in the pair, is the size of x

    Returns
    -------
    out : ndarray of shape (N, C, OH, OW), in the dtype of x
    cache : for `adaptive_avg_pool2d_backward`
    """
    x, outputs = check.adaptive(x, output_size)
    rows, columns = map(_bins, x.shape[2:], outputs)
    narrow = np.stack([x[..., b].mean(axis=3, dtype=check.working(x.dtype)) for b in columns], axis=3)
    out = np.stack([narrow[:, :, b].mean(axis=2) for b in rows], axis=2)    # (N, C, OH, OW)
    return out.astype(x.dtype, copy=False), (rows, columns, x.shape, x.dtype)


def adaptive_avg_pool2d_backward(dout, cache):
    """dx (N, C, H, W) of `adaptive_avg_pool2d`, for dout (N, C, OH, OW)."""
    rows, columns, (N, C, H, W), dtype = cache
    dout = check.gradient(dout, (N, C, len(rows), len(columns)), check.working(dtype))
    narrow = np.zeros((N, C, H, len(columns)), dout.dtype)
    for o, b in enumerate(rows):
        narrow[:, :, b] += dout[:, :, o:o + 1] / (b.stop - b.start)
    dx = np.zeros((N, C, H, W), dout.dtype)
    for q, b in enumerate(columns):
        dx[..., b] += narrow[..., q:q + 1] / (b.stop - b.start)
    return dx.astype(dtype, copy=False)


def global_avg_pool2d(x):
    """The mean of each map: x (N, C, H, W) to out (N, C), in the dtype of x, and a cache."""
    x = check.pictures(x)
    out = x.mean(axis=(2, 3), dtype=check.working(x.dtype))
    return out.astype(x.dtype, copy=False), (x.shape, x.dtype)


def global_avg_pool2d_backward(dout, cache):
    """dx (N, C, H, W) of `global_avg_pool2d`, for dout (N, C)."""
    (N, C, H, W), dtype = cache
    share = check.gradient(dout, (N, C), check.working(dtype)) / (H * W)
    return np.broadcast_to(share[:, :, None, None], (N, C, H, W)).astype(dtype)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Entries of x at the places of `indices`, zeros elsewhere.

    Parameters
    ----------
    x : ndarray of shape (N, C, h, w), floating
    indices : integer ndarray of that shape, row * W + column, as from `max_pool2d_indices`
    kernel_size, stride, padding : int, or (h, w), of the pooling; they say how large the result is
    output_size : int or (H, W), closer than a stride to that; or None

    Returns
    -------
    out : ndarray of shape (N, C, H, W), in the dtype of x; where an index occurs twice, the last entry
    cache : for `max_unpool2d_backward`
    """
    x, indices, size = check.unpooling(x, indices, kernel_size, stride, padding, output_size)
    planes = math.prod(x.shape[:2])
    places = indices.reshape(planes, -1) if planes else indices.reshape(0, 1)
    flat = np.zeros((planes, math.prod(size)), x.dtype)
    np.put_along_axis(flat, places, x.reshape(places.shape), axis=1)
    return flat.reshape(*x.shape[:2], *size), (places.copy(), x.shape, size, x.dtype)


def max_unpool2d_backward(dout, cache):
    """dx (N, C, h, w) of `max_unpool2d`, for dout (N, C, H, W): every entry from its place."""
    places, shape, size, dtype = cache
    dout = check.gradient(dout, (*shape[:2], *size), dtype)
    return np.take_along_axis(dout.reshape(len(places), math.prod(size)), places, axis=1).reshape(shape)


def flatten(x, start_dim=1):
    """All axes from one on as a single axis; a copy.

    Parameters
    ----------
    x : ndarray of any shape, floating
    start_dim : int, negative to count from the end

    Returns
    -------
    out : ndarray of shape (*x.shape[:start_dim], product of the other sizes), in the dtype of x
    cache : for `flatten_backward`
    """
    x, start = check.start(x, start_dim)
    return x.reshape(*x.shape[:start], math.prod(x.shape[start:])).copy(), (start, x.shape, x.dtype)


def flatten_backward(dout, cache):
    """dx in the shape of x, for dout in that of `flatten(x)`."""
    start, shape, dtype = cache
    return check.gradient(dout, (*shape[:start], math.prod(shape[start:])), dtype).reshape(shape).copy()


class MaxPool2d(Module):
    """`max_pool2d` of x (N, C, H, W); arguments as there."""

    op, op_backward = staticmethod(max_pool2d), staticmethod(max_pool2d_backward)

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        check.pair("kernel_size", kernel_size)
        self.options = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation,
                        "ceil_mode": ceil_mode}

    def forward(self, x):
        """x (N, C, H, W) to out (N, C, OH, OW)."""
        out, self.cache = self.op(x, **self.options)
        return out

    def backward(self, dout):
        """dout (N, C, OH, OW) to dx (N, C, H, W)."""
        return self.op_backward(dout, self.kept())


class AvgPool2d(MaxPool2d):
    """`avg_pool2d` of x (N, C, H, W); arguments as there."""

    op, op_backward = staticmethod(avg_pool2d), staticmethod(avg_pool2d_backward)

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                 divisor_override=None):
        check.pair("kernel_size", kernel_size)
        self.options = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
                        "count_include_pad": count_include_pad, "divisor_override": divisor_override}


class AdaptiveAvgPool2d(MaxPool2d):
    """`adaptive_avg_pool2d` of x (N, C, H, W) to (N, C, *output_size)."""

    op, op_backward = staticmethod(adaptive_avg_pool2d), staticmethod(adaptive_avg_pool2d_backward)

    def __init__(self, output_size):
        self.options = {"output_size": output_size}


class Flatten(MaxPool2d):
    """`flatten` of x of any shape; by default (N, ...) to (N, D)."""

    op, op_backward = staticmethod(flatten), staticmethod(flatten_backward)

    def __init__(self, start_dim=1):
        self.options = {"start_dim": start_dim}
