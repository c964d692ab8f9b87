# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:e439f8d38112e173
"""Chapter 11: arguments checked, for all levels and for yours."""

import numbers

import numpy as np


def whole(name, value, least):
    """`value` as an int of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not good or value < least:
        raise ValueError(f"{name} = {value!r}; expected an integer, at least {least}")
    return int(value)


def pair(name, value, least=1):
    """An int, or two of them, as (h, w)."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return whole(name, value[0], least), whole(name, value[1], least)
    if isinstance(value, (tuple, list)):
        raise ValueError(f"{name} = {value!r}; expected an integer, or two")
    return (whole(name, value, least),) * 2


def sides(padding):
    """An int, (h, w) or (top, bottom, left, right) as ((top, bottom), (left, right))."""
    if isinstance(padding, (tuple, list)) and len(padding) == 4:
        top, bottom, left, right = (whole("padding", side, 0) for side in padding)
        return (top, bottom), (left, right)
    if isinstance(padding, str) or (isinstance(padding, (tuple, list)) and len(padding) != 2):
        raise ValueError(f"padding = {padding!r}; expected an integer, two, four (top, bottom, left, "
                         'right), or "same"')
    h, w = pair("padding", padding, 0)
    return (h, h), (w, w)


def same(stride):
    """"same" goes with stride 1."""
    if pair("stride", stride) != (1, 1):
        raise ValueError(f'padding = "same" with stride = {stride!r}; expected stride 1')


def fits(size, padded, extent, where):
    """A window that covers `extent` entries must fit into the padded axis."""
    if extent > padded:
        raise ValueError(f"kernel covers {extent} entries of the {where}, dilation included; "
                         f"expected at most {padded}, the {size} there are and the padding")


def axis(size, kernel, stride, padding, dilation):
    """The arguments of conv_output_size; padding becomes (before, after)."""
    size, kernel = whole("size", size, 0), whole("kernel", kernel, 1)
    stride, dilation = whole("stride", stride, 1), whole("dilation", dilation, 1)
    before, after = pair("padding", padding, 0)
    fits(size, size + before + after, dilation * (kernel - 1) + 1, "axis")
    return size, kernel, stride, (before, after), dilation


def floats(name, x, axes, dtype=None):
    """`x` as an array of floats with that many axes, of the dtype of the others."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise ValueError(f"{name} has dtype {x.dtype}; expected floating point")
    if dtype is not None and x.dtype != dtype:
        raise ValueError(f"{name} has dtype {x.dtype}; expected {dtype}, as x")
    if x.ndim != len(axes):
        raise ValueError(f"{name} has shape {x.shape}; expected ({', '.join(axes)})")
    return x


def arrays(x, w, b, stride, dilation, groups):
    """x (N, C, H, W), w (F, C / groups, KH, KW), b (F,) or None; stride and dilation as pairs."""
    x = floats("x", x, ("N", "C", "H", "W"))
    w = floats("w", w, ("F", "C / groups", "KH", "KW"), x.dtype)
    groups = whole("groups", groups, 1)
    F, c, KH, KW = w.shape
    if x.shape[1] % groups or F % groups or F == 0:
        raise ValueError(f"groups = {groups}; expected a divisor of the {x.shape[1]} channels and "
                         f"the {F} filters")
    if c != x.shape[1] // groups or KH == 0 or KW == 0:
        raise ValueError(f"w has shape {w.shape}; expected (F, {x.shape[1] // groups}, KH, KW), a "
                         f"{groups}th of the channels of x" if groups > 1 else
                         f"w has shape {w.shape}; expected (F, {x.shape[1]}, KH, KW)")
    if b is not None:
        b = floats("b", b, ("F",), x.dtype)
        if b.shape != (F,):
            raise ValueError(f"b has shape {b.shape}; expected ({F},)")
    return x, w, b, pair("stride", stride), pair("dilation", dilation), groups


def planes(x, kernel, sides, dilation):
    """The kernel must fit into the padded picture, in both directions."""
    for n, where in ((0, "height"), (1, "width")):
        size = x.shape[2 + n]
        fits(size, size + sum(sides[n]), dilation[n] * (kernel[n] - 1) + 1, where)


def gradient(dout, shape, dtype):
    """`dout` as an array of that shape and dtype."""
    dout = np.asarray(dout)
    if dout.dtype.kind != "f":
        raise ValueError(f"dout has dtype {dout.dtype}; expected floating point")
    if dout.shape != shape:
        raise ValueError(f"dout has shape {dout.shape}; expected {shape}, that of out")
    return dout.astype(dtype, copy=False)


def working(dtype):
    """The dtype to compute in: float32 for float16, otherwise the same."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def room(out, shape, dtype, *read):
    """A new array, or `out` if it fits, and if no entry lies on another or on what is still `read`."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (shape, dtype):
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out is {found}; expected {dtype} {shape}")
    reach = out.itemsize                                        # of the axes with smaller strides
    for stride, n in sorted((abs(stride), n) for stride, n in zip(out.strides, shape) if n > 1):
        if stride < reach and out.size:
            raise ValueError(f"out has strides {out.strides}; expected entries that do not overlap")
        reach += stride * (n - 1)
    if not out.flags.writeable or any(np.may_share_memory(out, array) for array in read):
        raise ValueError(f"out {shape} is read-only or shares memory with an input; expected an array of its own")
    return out


def stack(layers):
    """[(kernel, stride, dilation)], all ints of at least 1."""
    checked = []
    for layer in layers:
        if not isinstance(layer, (tuple, list)) or len(layer) != 3:
            raise ValueError(f"layers has {layer!r}; expected (kernel, stride, dilation)")
        checked.append(tuple(whole("layers", value, 1) for value in layer))
    return checked
