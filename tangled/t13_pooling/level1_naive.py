# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:60695c4c786a7aca
"""Pooling, level 1: loops. Shapes and errors as in level 2."""

import itertools
import math

import numpy as np

import tangled.t13_pooling.checks as check


def pool_output_size(size, kernel, stride, padding=0, dilation=1, ceil_mode=False):
    """How many windows there are, one axis; all arguments and the result ints."""
    size, kernel, stride, padding, dilation, ceil_mode = check.axis(
        size, kernel, stride, padding, dilation, ceil_mode)
    extent, end = dilation * (kernel - 1) + 1, size + padding
    count, start = 0, -padding
    while start + extent <= end:                                # eq. 13.2
        count, start = count + 1, start + stride
    if ceil_mode and start - stride + extent < end and start < size:        # eq. 13.3, eq. 13.4
        count += 1
    return check.fits(count, size, kernel, padding, dilation)


def _outputs(at, ceil_mode):
    """A Pool with its outputs."""
    check.flag("ceil_mode", ceil_mode)
    sizes = [pool_output_size(*axis, ceil_mode) for axis in zip(*at[:5])]
    return check.seen(at._replace(outputs=tuple(sizes)))


def _places(at, n, o):
    """eq. 13.1 of window o along axis n (0 or 1)."""
    size, kernel, stride, padding, dilation = (field[n] for field in at[:5])
    places = (o * stride - padding + i * dilation for i in range(kernel))
    return [a for a in places if 0 <= a < size]


def _windows(shape, at):
    """((n, c, o, q), [(a, e), ...]) of each output, places in the order of memory."""
    for n, c, o, q in itertools.product(*map(range, (*shape[:2], *at.outputs))):
        yield (n, c, o, q), list(itertools.product(_places(at, 0, o), _places(at, 1, q)))


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """x (N, C, H, W) to out (N, C, OH, OW), and a cache."""
    x, at = check.pooling(x, kernel_size, stride, padding, dilation)
    at = _outputs(at, ceil_mode)
    out, index = (np.zeros((*x.shape[:2], *at.outputs), x.dtype),
                  np.zeros((*x.shape[:2], *at.outputs), np.int64))
    for (n, c, o, q), places in _windows(x.shape, at):
        best = places[0]
        for place in places[1:]:
            value = x[n, c][place]
            if value > x[n, c][best] or math.isnan(value):      # eq. 13.5; the first of equals stays
                best = place
        out[n, c, o, q], index[n, c, o, q] = x[n, c][best], best[0] * x.shape[3] + best[1]
    return out, (index, x.shape, x.dtype)


def max_pool2d_indices(cache):
    """The places (N, C, OH, OW) of the maxima in H * W, int64."""
    return cache[0].copy()


def max_pool2d_backward(dout, cache):
    """dout (N, C, OH, OW) to dx (N, C, H, W)."""
    index, shape, dtype = cache
    dout = check.gradient(dout, index.shape, check.working(dtype))
    dx = np.zeros(shape, dout.dtype)
    for n, c, o, q in np.ndindex(*index.shape):
        dx[n, c][divmod(int(index[n, c, o, q]), shape[3])] += dout[n, c, o, q]      # eq. 13.8
    return dx.astype(dtype)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """x (N, C, H, W) to out (N, C, OH, OW), and a cache."""
    x, at = check.pooling(x, kernel_size, stride, padding, 1)
    at, override = _outputs(at, ceil_mode), check.divisor(divisor_override)
    check.flag("count_include_pad", count_include_pad)
    out, windows = np.zeros((*x.shape[:2], *at.outputs), x.dtype), []
    for (n, c, o, q), places in _windows(x.shape, at):
        D = override or (_padded_size(at, o, q) if count_include_pad else len(places))
        out[n, c, o, q] = sum(float(x[n, c][place]) for place in places) / D        # eq. 13.10
        windows.append(((n, c, o, q), places, D))
    return out, (windows, out.shape, x.shape, x.dtype)


def _padded_size(at, o, q):
    """Entries of a window inside the padded picture, eq. 13.11."""
    starts = [number * s - p for number, s, p in zip((o, q), at.stride, at.padding)]
    return math.prod(min(a + k, n + p) - a for a, k, n, p in zip(starts, at.kernel, at.size, at.padding))


def avg_pool2d_backward(dout, cache):
    """dout (N, C, OH, OW) to dx (N, C, H, W)."""
    windows, out_shape, shape, dtype = cache
    dout, dx = check.gradient(dout, out_shape, check.working(dtype)), np.zeros(shape, check.working(dtype))
    for (n, c, o, q), places, D in windows:
        for place in places:
            dx[n, c][place] += dout[n, c, o, q] / D             # eq. 13.12
    return dx.astype(dtype)


def adaptive_avg_pool2d(x, output_size):
    """x (N, C, H, W) to out (N, C, OH, OW), and a cache."""
    x, outputs = check.adaptive(x, output_size)
    out = np.zeros((*x.shape[:2], *outputs), x.dtype)
    for n, c, o, q in np.ndindex(*out.shape):
        places = _bin(x.shape, outputs, o, q)
        out[n, c, o, q] = sum(float(x[n, c][place]) for place in places) / len(places)
    return out, (out.shape, x.shape, x.dtype)


def _bin(shape, outputs, o, q):
    """All places of a bin, eq. 13.13: those whose pixel overlaps the interval."""
    touched = [[a for a in range(n) if (a + 1) * O > i * n and a * O < (i + 1) * n]
               for n, O, i in zip(shape[2:], outputs, (o, q))]
    return list(itertools.product(*touched))


def adaptive_avg_pool2d_backward(dout, cache):
    """dout (N, C, OH, OW) to dx (N, C, H, W)."""
    out_shape, shape, dtype = cache
    dout, dx = check.gradient(dout, out_shape, check.working(dtype)), np.zeros(shape, check.working(dtype))
    for n, c, o, q in np.ndindex(*out_shape):
        places = _bin(shape, out_shape[2:], o, q)
        for place in places:
            dx[n, c][place] += dout[n, c, o, q] / len(places)
    return dx.astype(dtype)


def global_avg_pool2d(x):
    """x (N, C, H, W) to out (N, C), and a cache."""
    out, cache = adaptive_avg_pool2d(x, 1)
    return out[:, :, 0, 0].copy(), cache


def global_avg_pool2d_backward(dout, cache):
    """dout (N, C) to dx (N, C, H, W)."""
    dout = check.gradient(dout, cache[0][:2], check.working(cache[2]))
    return adaptive_avg_pool2d_backward(dout[:, :, None, None], cache)


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """x, indices (N, C, h, w) to out (N, C, H, W), and a cache."""
    x, indices, size = check.unpooling(x, indices, kernel_size, stride, padding, output_size)
    out = np.zeros((*x.shape[:2], *size), x.dtype)
    for n, c, o, q in np.ndindex(*x.shape):
        out[n, c][divmod(int(indices[n, c, o, q]), size[1])] = x[n, c, o, q]
    return out, (indices.copy(), out.shape, x.dtype)


def max_unpool2d_backward(dout, cache):
    """dout (N, C, H, W) to dx (N, C, h, w)."""
    indices, shape, dtype = cache
    dout, dx = check.gradient(dout, shape, dtype), np.zeros(indices.shape, dtype)
    for n, c, o, q in np.ndindex(*dx.shape):
        dx[n, c, o, q] = dout[n, c][divmod(int(indices[n, c, o, q]), shape[3])]
    return dx


def flatten(x, start_dim=1):
    """x of any shape to its first start_dim axes and one more; and a cache."""
    x, start = check.start(x, start_dim)
    rows = [x[place].ravel().tolist() for place in np.ndindex(*x.shape[:start])]
    out = np.array(rows, x.dtype).reshape(*x.shape[:start], math.prod(x.shape[start:]))
    return out, (out.shape, x.shape, x.dtype)


def flatten_backward(dout, cache):
    """dout to dx in the shape of x."""
    out_shape, shape, dtype = cache
    return np.array(check.gradient(dout, out_shape, dtype).ravel().tolist(), dtype).reshape(shape)
