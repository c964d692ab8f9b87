# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:16ad6dc341bedf80
"""Convolution by PyTorch. NumPy in, NumPy out."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t11_conv2d_naive.checks as check
from tangled.testing import Case


def _tensor(array, dtype=None):
    """A copy as a tensor of the same shape."""
    return torch.from_numpy(np.array(array, dtype=dtype))


def explicit_padding(padding, kernel, stride=1, dilation=1):
    """((top, bottom), (left, right)); "same" is measured: where PyTorch's output meets one lit pixel."""
    kernel, dilation = check.pair("kernel", kernel), check.pair("dilation", dilation)
    if not (isinstance(padding, str) and padding == "same"):
        return check.sides(padding)
    check.same(stride)
    sides = []
    for k, d in zip(kernel, dilation):
        lit = torch.zeros(1, 1, 4 * k * d)
        lit[0, 0, 2 * k * d] = 1
        with warnings.catch_warnings():                         # of a copy, for an even extent
            warnings.simplefilter("ignore")
            answer = F.conv1d(lit, torch.ones(1, 1, k), padding="same", dilation=d)[0, 0].nonzero()
        after = 2 * k * d - int(answer.min())                   # the first output that reads the pixel
        sides.append((d * (k - 1) - after, after))
    return tuple(sides)


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    """An int, the size of what PyTorch gives."""
    size, kernel, stride, padding, dilation = check.axis(size, kernel, stride, padding, dilation)
    x = torch.zeros(1, 1, size + sum(padding))
    return F.conv1d(x, torch.zeros(1, 1, kernel), stride=stride, dilation=dilation).shape[-1]


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """As level 2, by F.conv2d; the cache is the graph."""
    x, w, b, stride, dilation, groups = check.arrays(x, w, b, stride, dilation, groups)
    same = isinstance(padding, str) and padding == "same"
    sides = explicit_padding(padding, w.shape[2:], stride, dilation)
    check.planes(x, w.shape[2:], sides, dilation)
    work = check.working(x.dtype)
    leaves = [_tensor(a, work).requires_grad_() for a in (x, w, b) if a is not None]
    bias = leaves[2] if b is not None else None
    inner = leaves[0] if same else F.pad(leaves[0], (*sides[1], *sides[0]))
    out = F.conv2d(inner, leaves[1], bias, stride, "same" if same else 0, dilation, groups)
    return out.detach().numpy().astype(x.dtype), (out, leaves, x.dtype)


def conv2d_backward(dout, cache):
    """dx (N, C, H, W), dw as w and, if there was a b, db (F,), by autograd."""
    out, leaves, dtype = cache
    dout = check.gradient(dout, tuple(out.shape), leaves[0].detach().numpy().dtype)
    grads = torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True)
    return tuple(grad.numpy().astype(dtype) for grad in grads)


def receptive_field(layers):
    """(field, jump): ints, counted in the gradients of two neighbouring outputs."""
    layers = check.stack(layers)
    length = 2 + sum(k * d for k, _, d in layers)
    for _, stride, _ in layers:
        length *= stride
    x = torch.zeros(1, 1, 2 * length + 2, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel, stride, dilation in layers:
        y = F.conv1d(y, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride, dilation=dilation)
    spans = [torch.autograd.grad(y[0, 0, o], x, retain_graph=True)[0][0, 0].nonzero() for o in (0, 1)]
    return int(spans[0].max() - spans[0].min()) + 1, int(spans[1].min() - spans[0].min())


CASES = {  # name: (x, w, options); all sizes differ
    "plain": ((2, 3, 6, 7), (4, 3, 2, 3), {}),
    "stride": ((2, 3, 8, 9), (4, 3, 3, 2), {"stride": (2, 3), "padding": 1}),
    "floor": ((2, 1, 6, 8), (3, 1, 3, 3), {"stride": 2}),
    "padding": ((2, 3, 5, 4), (5, 3, 3, 3), {"padding": (2, 1)}),
    "four-sides": ((3, 2, 5, 4), (4, 2, 3, 2), {"padding": (0, 2, 3, 1)}),
    "same-odd": ((2, 3, 5, 6), (4, 3, 3, 5), {"padding": "same"}),
    "same-even": ((2, 3, 5, 6), (4, 3, 2, 4), {"padding": "same", "dilation": (3, 1)}),
    "dilation": ((2, 3, 9, 8), (4, 3, 3, 2), {"dilation": (3, 2), "padding": (1, 2)}),
    "groups": ((2, 6, 5, 7), (9, 2, 2, 3), {"groups": 3, "padding": 1}),
    "depthwise": ((2, 3, 5, 4), (6, 1, 3, 2), {"groups": 3}),
    "everything": ((2, 4, 11, 9), (6, 2, 3, 2), {"stride": (2, 3), "padding": (1, 0, 2, 3),
                                                "dilation": (2, 3), "groups": 2}),
    "pointwise": ((2, 5, 4, 3), (6, 5, 1, 1), {})}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    for name, (x, w, options) in CASES.items():
        inputs = {"x": rng.standard_normal(x), "w": rng.standard_normal(w),
                  "b": rng.standard_normal(w[0]), **options}
        out, cache = conv2d(**inputs)
        dout = rng.standard_normal(out.shape)
        grads = dict(zip("xwb", conv2d_backward(dout, cache)))
        yield Case(name, inputs, {"out": out}, {"out": dout}, grads)
