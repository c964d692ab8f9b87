# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:574db09f5b892c15
"""Chapter 13: arguments checked, for all levels and for yours."""

import math
import numbers
from typing import NamedTuple

import numpy as np

from tangled.t11_conv2d_naive.checks import floats, gradient, pair, whole, working

__all__ = ["Pool", "adaptive", "axis", "divisor", "fits", "flag", "gradient", "pair", "pictures", "pooling", "seen",
           "start", "unpooling", "working"]

AXES = ("height", "width")


class Pool(NamedTuple):
    """How windows lie on a picture: a pair for height and width each."""

    size: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    outputs: tuple = (0, 0)


def pictures(x):
    """x (N, C, H, W), floating, with at least one channel, row and column."""
    x = floats("x", x, ("N", "C", "H", "W"))
    if 0 in x.shape[1:]:
        raise ValueError(f"x has shape {x.shape}; expected (N, C, H, W), only N may be 0")
    return x


def flag(name, value):
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} = {value!r}; expected True or False")
    return bool(value)


def geometry(kernel_size, stride, padding, dilation):
    """Pairs; a stride of None is the kernel's size; padding at most half of the kernel."""
    kernel, dilation = pair("kernel_size", kernel_size), pair("dilation", dilation)
    stride = kernel if stride is None else pair("stride", stride)
    sides = pair("padding", padding, 0)
    for p, k in zip(sides, kernel):
        half(p, k, padding)
    return kernel, stride, sides, dilation


def half(p, k, padding):
    """The padding is at most half of the kernel."""
    if 2 * p > k:
        raise ValueError(f"padding = {padding!r}; expected at most {k // 2}, half of the kernel's {k}")


def pooling(x, kernel_size, stride, padding, dilation):
    """x as an array, and a Pool without outputs."""
    x = pictures(x)
    return x, Pool(x.shape[2:], *geometry(kernel_size, stride, padding, dilation))


def axis(size, kernel, stride, padding, dilation, ceil_mode):
    """The arguments of pool_output_size, as ints and a bool."""
    size, kernel, stride = whole("size", size, 1), whole("kernel", kernel, 1), whole("stride", stride, 1)
    padding, dilation = whole("padding", padding, 0), whole("dilation", dilation, 1)
    half(padding, kernel, padding)
    return size, kernel, stride, padding, dilation, flag("ceil_mode", ceil_mode)


def fits(outputs, size, kernel, padding, dilation):
    """At least one window."""
    if outputs < 1:
        raise ValueError(f"kernel covers {dilation * (kernel - 1) + 1} entries, dilation included; expected at most "
                         f"{size + 2 * padding}, the {size} there are and the padding")
    return outputs


def seen(at):
    """Every window of the Pool has at least one entry of the picture; only dilation can prevent it."""
    for size, k, s, p, d, outputs, where in zip(*at, AXES):
        places = np.arange(outputs)[:, None] * s - p + np.arange(k) * d     # (outputs, k)
        if not ((places >= 0) & (places < size)).any(axis=1).all():
            raise ValueError(f"dilation = {d} lets a window miss the {where} of {size}; expected one entry in each")
    return at


def divisor(value):
    """divisor_override: None, or an integer other than 0."""
    if value is None:
        return None
    if not isinstance(value, numbers.Integral) or isinstance(value, (bool, np.bool_)) or value == 0:
        raise ValueError(f"divisor_override = {value!r}; expected None or an integer other than 0")
    return int(value)


def adaptive(x, output_size):
    """x, and (OH, OW) of an int or two, None for the size of x."""
    x = pictures(x)
    wanted = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(wanted) != 2:
        raise ValueError(f"output_size = {output_size!r}; expected an integer or None, or two")
    return x, tuple(n if o is None else whole("output_size", o, 1) for o, n in zip(wanted, x.shape[2:]))


def unpooling(x, indices, kernel_size, stride, padding, output_size):
    """x, indices (N, C, h, w), and the size (H, W) of the result."""
    x, indices = pictures(x), np.asarray(indices)
    kernel, stride, sides, _ = geometry(kernel_size, stride, padding, 1)
    if indices.dtype.kind not in "iu" or indices.shape != x.shape:
        raise ValueError(f"indices has dtype {indices.dtype} and shape {indices.shape}; expected integers {x.shape}")
    usual = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, sides, kernel))
    size = usual if output_size is None else pair("output_size", output_size)
    if any(not u - s < n < u + s for n, u, s in zip(size, usual, stride)) or min(size) < 1:
        raise ValueError(f"output_size = {size}; expected positive, and less than a stride {stride} from {usual}")
    if indices.size and not 0 <= indices.min() <= indices.max() < math.prod(size):
        raise ValueError(f"indices run from {indices.min()} to {indices.max()}; expected 0 to {math.prod(size) - 1}")
    return x, indices, size


def start(x, start_dim):
    """x, floating, and start_dim counted from the front."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.ndim == 0:
        raise ValueError(f"x has dtype {x.dtype} and shape {x.shape}; expected floating point, at least one axis")
    whole("start_dim", start_dim, -x.ndim)
    if start_dim >= x.ndim:
        raise ValueError(f"start_dim = {start_dim}; expected {-x.ndim} to {x.ndim - 1}")
    return x, int(start_dim) % x.ndim
