# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:c36c207ca42fd7df
"""Chapter 12: arguments checked and geometry worked out, for all levels and for yours."""

from typing import NamedTuple

import numpy as np

from tangled.t11_conv2d_naive import conv_output_size, explicit_padding
from tangled.t11_conv2d_naive.checks import arrays, floats, gradient, pair, planes, whole, working

__all__ = ["Window", "arrays", "channels", "columns", "gradient", "pair", "pictures", "transposed", "window",
           "working"]


class Window(NamedTuple):
    """How a kernel moves: pairs for height and width; sides ((top, bottom), (left, right))."""

    kernel: tuple
    stride: tuple
    sides: tuple
    dilation: tuple
    outputs: tuple


def window(shape, kernel, stride, padding, dilation):
    """The Window of a kernel over pictures of a shape (N, C, H, W)."""
    kernel, stride, dilation = pair("kernel", kernel), pair("stride", stride), pair("dilation", dilation)
    sides = explicit_padding(padding, kernel, stride, dilation)
    planes(np.broadcast_to(0.0, shape), kernel, sides, dilation)
    outputs = tuple(conv_output_size(*axis) for axis in zip(shape[2:], kernel, stride, sides, dilation))
    return Window(kernel, stride, sides, dilation, outputs)


def pictures(x):
    """x (N, C, H, W), floating."""
    return floats("x", x, ("N", "C", "H", "W"))


def columns(array, size, kernel, stride, padding, dilation):
    """columns (N, C KH KW, L), size (H, W): the array, the shape (N, C, H, W), the Window."""
    array, size = floats("columns", array, ("N", "C * KH * KW", "L")), pair("size", size)
    weights = int(np.prod(pair("kernel", kernel)))
    if array.shape[1] % weights:
        raise ValueError(f"columns has shape {array.shape}; expected a multiple of {weights}, the size of the "
                         "kernel, as its second axis")
    shape = (len(array), array.shape[1] // weights, *size)
    at = window(shape, kernel, stride, padding, dilation)
    if array.shape[2] != np.prod(at.outputs):
        raise ValueError(f"columns has shape {array.shape}; expected {int(np.prod(at.outputs))} columns, "
                         f"{at.outputs[0]} x {at.outputs[1]} windows in {size[0]} x {size[1]}")
    return array, shape, at


def transposed(x, w, b, stride, padding, output_padding, dilation, groups):
    """Arguments of conv_transpose2d: x, w, b, the shape of the output, the Window over it, groups."""
    x, groups = pictures(x), whole("groups", groups, 1)
    w = floats("w", w, ("C", "F / groups", "KH", "KW"), x.dtype)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    extra = pair("output_padding", output_padding, 0)
    if len(w) != x.shape[1] or 0 in w.shape:
        raise ValueError(f"w has shape {w.shape}; expected ({x.shape[1]}, F / groups, KH, KW)")
    if x.shape[1] % groups:
        raise ValueError(f"groups = {groups}; expected a divisor of the {x.shape[1]} channels")
    if any(q >= max(s, d) for q, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"output_padding = {output_padding!r}; expected less than the stride or the dilation")
    if isinstance(padding, str):
        raise ValueError(f'padding = "{padding}"; expected numbers, a transposed convolution has no "same"')
    sides = explicit_padding(padding, w.shape[2:], stride, dilation)
    size = tuple((n - 1) * s - sum(p) + d * (k - 1) + q + 1 for n, s, p, d, k, q in
                 zip(x.shape[2:], stride, sides, dilation, w.shape[2:], extra))
    if min(size) < 1 or 0 in x.shape[2:]:
        raise ValueError(f"padding = {padding!r}; expected less, the output would be {size[0]} x {size[1]}")
    filters = w.shape[1] * groups
    if b is not None:
        b = floats("b", b, ("F",), x.dtype)
        if b.shape != (filters,):
            raise ValueError(f"b has shape {b.shape}; expected ({filters},)")
    at = Window(w.shape[2:], stride, sides, dilation, x.shape[2:])
    return x, w, b, (len(x), filters, *size), at, groups


def channels(in_channels, out_channels, groups):
    """Sizes of a module: whole, positive, both divisible by groups."""
    sizes = whole("in_channels", in_channels, 1), whole("out_channels", out_channels, 1)
    groups = whole("groups", groups, 1)
    if sizes[0] % groups or sizes[1] % groups:
        raise ValueError(f"groups = {groups}; expected a divisor of {sizes[0]} and {sizes[1]} channels")
    return *sizes, groups
