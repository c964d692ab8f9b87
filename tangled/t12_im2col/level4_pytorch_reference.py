# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:8b2edab3995c4e36
"""im2col, convolution and its transpose by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t12_im2col.checks as check
from tangled.testing import Case


def _tensor(array, dtype=None):
    """A copy as a tensor of the same shape."""
    return torch.from_numpy(np.array(array, dtype=dtype))


def im2col(x, kernel, stride=1, padding=0, dilation=1):
    """x (N, C, H, W) to (N, C KH KW, L), by F.unfold."""
    x = check.pictures(x)
    at = check.window(x.shape, kernel, stride, padding, dilation)
    padded = F.pad(_tensor(x), (*at.sides[1], *at.sides[0]))
    if not len(x):
        return np.zeros((0, x.shape[1] * int(np.prod(at.kernel)), int(np.prod(at.outputs))), x.dtype)
    return F.unfold(padded, at.kernel, at.dilation, 0, at.stride).numpy()


def col2im(columns, size, kernel, stride=1, padding=0, dilation=1):
    """(N, C KH KW, L) to (N, C, H, W), by F.fold, cut."""
    columns, shape, at = check.columns(columns, size, kernel, stride, padding, dilation)
    if not len(columns):
        return np.zeros(shape, columns.dtype)
    (top, bottom), (left, right) = at.sides
    padded = (size[0] + top + bottom, size[1] + left + right)
    work = check.working(columns.dtype)
    full = F.fold(_tensor(columns, work), padded, at.kernel, at.dilation, 0, at.stride).numpy()
    return full[:, :, top:top + size[0], left:left + size[1]].astype(columns.dtype)


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """As level 2, by F.conv2d; the cache is the graph."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    at = check.window(x.shape, w.shape[2:], stride, padding, dilation)
    leaves = _leaves(x, w, b)
    padded = F.pad(leaves[0], (*at.sides[1], *at.sides[0]))
    out = F.conv2d(padded, leaves[1], (leaves + [None])[2], stride, 0, dilation, groups)
    return out.detach().numpy().astype(x.dtype), (out, leaves, x.dtype)


def _leaves(*arrays):
    """Tensors that want gradients, for the arrays that are not None."""
    return [_tensor(a, check.working(a.dtype)).requires_grad_() for a in arrays if a is not None]


def conv2d_backward(dout, cache):
    """dx (N, C, H, W), dw as w and, if there was a b, db (F,), by autograd."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """As level 2, by F.conv_transpose2d without padding, cut."""
    x, w, b, shape, at, groups = check.transposed(x, w, b, stride, padding, output_padding, dilation, groups)
    leaves = _leaves(x, w, b)
    (top, _), (left, _) = at.sides
    extra = check.pair("output_padding", output_padding, 0)
    full = F.conv_transpose2d(leaves[0], leaves[1], (leaves + [None])[2], stride, 0, extra, groups, dilation)
    out = full[:, :, top:top + shape[2], left:left + shape[3]]
    return out.detach().numpy().astype(x.dtype), (out, leaves, x.dtype)


conv_transpose2d_backward = conv2d_backward


class Conv2d(torch.nn.Conv2d):
    """PyTorch's own, for the tests of the initial weights."""


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """PyTorch's own, for the tests of the initial weights."""


CASES = {  # name: (x, w, options) of conv2d; all sizes differ
    "plain": ((2, 3, 6, 7), (4, 3, 2, 3), {}),
    "stride": ((2, 3, 8, 9), (4, 3, 3, 2), {"stride": (2, 3), "padding": 1}),
    "four-sides": ((3, 2, 5, 4), (4, 2, 3, 2), {"padding": (0, 2, 3, 1)}),
    "same-even": ((2, 3, 5, 6), (4, 3, 2, 4), {"padding": "same", "dilation": (3, 1)}),
    "groups": ((2, 6, 5, 7), (9, 2, 2, 3), {"groups": 3, "padding": 1}),
    "everything": ((2, 4, 11, 9), (6, 2, 3, 2), {"stride": (2, 3), "padding": (1, 0, 2, 3),
                                                "dilation": (2, 3), "groups": 2}),
    "pointwise": ((2, 5, 4, 3), (6, 5, 1, 1), {})}

TRANSPOSED = {  # the same of conv_transpose2d
    "t-plain": ((2, 3, 4, 5), (3, 6, 2, 3), {}),
    "t-stride": ((2, 3, 4, 5), (3, 6, 3, 2), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)}),
    "t-four-sides": ((3, 2, 5, 4), (2, 6, 3, 2), {"padding": (0, 2, 1, 0), "dilation": (1, 2)}),
    "t-everything": ((2, 4, 3, 5), (4, 3, 3, 2), {"stride": (3, 2), "padding": (1, 0, 2, 1), "dilation": (2, 3),
                                                 "output_padding": (2, 0), "groups": 2}),
    "t-beyond-the-stride": ((2, 3, 3, 4), (3, 6, 2, 2), {"dilation": 3, "output_padding": 2})}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (x, w, options) in (CASES | TRANSPOSED).items():
        op, filters = (conv_transpose2d, 6) if name in TRANSPOSED else (conv2d, w[0])
        inputs = {"x": rng.standard_normal(x), "w": rng.standard_normal(w), "b": rng.standard_normal(filters),
                  **options}
        out, cache = op(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, dict(zip("xwb", conv2d_backward(dout, cache))))
    for name, options in {"unfold": {}, "unfold-knobs": {"stride": (2, 1), "padding": (0, 2, 3, 1),
                                                         "dilation": (1, 2)}}.items():
        inputs = {"x": rng.standard_normal((2, 3, 6, 5)), "kernel": (2, 3), **options}
        columns = im2col(**inputs)
        given = rng.standard_normal(columns.shape)
        summed = col2im(given, (6, 5), (2, 3), **options)
        yield Case(name, {**inputs, "columns": given}, {"columns": columns, "x": summed})
