# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:c3e6e9129144d659
"""Pooling by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t13_pooling.checks as check
from tangled.t13_pooling import level2_vectorized as plain
from tangled.t13_pooling.level2_vectorized import pool_output_size  # noqa: F401, PyTorch has no such function
from tangled.testing import Case


def _run(f, x):
    """f of x (any shape) as a leaf: the result, and (result, leaf, dtype, further results)."""
    leaf = torch.from_numpy(np.array(x, check.working(x.dtype))).requires_grad_()
    out = f(leaf)
    out, *more = out if isinstance(out, tuple) else (out,)
    return out.detach().numpy().astype(x.dtype), (out, leaf, x.dtype, more)


def _back(dout, cache):
    """dx by autograd, for dout in the shape of the result."""
    out, leaf, dtype, _ = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype)
    dout = torch.from_numpy(np.array(dout))
    return torch.autograd.grad(out, leaf, dout, retain_graph=True)[0].numpy().astype(dtype)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """As level 2, by F.max_pool2d."""
    x, at = plain._geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    return _run(lambda t: F.max_pool2d(t, at.kernel, at.stride, at.padding, at.dilation, ceil_mode,
                                       return_indices=True), x)


def max_pool2d_indices(cache):
    """As level 2: (N, C, OH, OW), int64."""
    return cache[3][0].numpy().copy()


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """As level 2, by F.avg_pool2d."""
    x, at = plain._geometry(x, kernel_size, stride, padding, 1, ceil_mode)
    count, override = check.flag("count_include_pad", count_include_pad), check.divisor(divisor_override)
    return _run(lambda t: F.avg_pool2d(t, at.kernel, at.stride, at.padding, ceil_mode, count, override), x)


def adaptive_avg_pool2d(x, output_size):
    """As level 2, by F.adaptive_avg_pool2d."""
    x, outputs = check.adaptive(x, output_size)
    return _run(lambda t: F.adaptive_avg_pool2d(t, outputs), x)


def global_avg_pool2d(x):
    """As level 2, by a mean."""
    return _run(lambda t: t.mean((2, 3)), check.pictures(x))


def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """As level 2, by F.max_unpool2d."""
    x, indices, size = check.unpooling(x, indices, kernel_size, stride, padding, output_size)
    kernel, stride, sides, _ = check.geometry(kernel_size, stride, padding, 1)
    indices = torch.from_numpy(indices.astype(np.int64))
    if not len(x):
        return np.zeros((*x.shape[:2], *size), x.dtype), (None, x.shape, x.dtype, size)
    return _run(lambda t: F.max_unpool2d(t, indices, kernel, stride, sides, size), x)


def max_unpool2d_backward(dout, cache):
    """As level 2."""
    return np.zeros(cache[1], cache[2]) if cache[0] is None else _back(dout, cache)


def flatten(x, start_dim=1):
    """As level 2, by torch.flatten."""
    x, start = check.start(x, start_dim)
    out, cache = _run(lambda t: torch.flatten(t, start).clone(), x)
    return out.copy(), cache


max_pool2d_backward = avg_pool2d_backward = adaptive_avg_pool2d_backward = _back
global_avg_pool2d_backward = flatten_backward = _back

MAX = {  # name: (shape of x, options); all sizes differ
    "max-plain": ((2, 3, 6, 9), {"kernel_size": (2, 3)}),
    "max-overlap": ((2, 3, 7, 8), {"kernel_size": 3, "stride": (1, 2)}),
    "max-padding": ((3, 2, 7, 5), {"kernel_size": (3, 4), "stride": 2, "padding": (1, 2)}),
    "max-ceil": ((2, 3, 8, 7), {"kernel_size": (3, 2), "stride": (3, 2), "ceil_mode": True}),
    "max-ceil-dropped": ((2, 3, 5, 7), {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}),
    "max-everything": ((2, 3, 11, 9), {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 1),
                                       "dilation": (2, 3), "ceil_mode": True})}

AVERAGE = {
    "avg-plain": ((2, 3, 6, 9), {"kernel_size": (2, 3)}),
    "avg-overlap": ((2, 3, 7, 8), {"kernel_size": 3, "stride": (1, 2)}),
    "avg-padding": ((3, 2, 7, 5), {"kernel_size": (3, 4), "stride": 2, "padding": (1, 2)}),
    "avg-not-counted": ((3, 2, 7, 5), {"kernel_size": (3, 4), "stride": (2, 1), "padding": (1, 2),
                                       "count_include_pad": False}),
    "avg-ceil": ((2, 3, 8, 7), {"kernel_size": (3, 4), "stride": (3, 2), "padding": 1, "ceil_mode": True}),
    "avg-divisor": ((2, 3, 6, 7), {"kernel_size": (3, 2), "stride": (2, 3), "padding": 1, "divisor_override": 5})}

ADAPTIVE = {"adaptive-divides": ((2, 3, 6, 8), (3, 2)), "adaptive-overlap": ((2, 3, 7, 5), (3, 4)),
            "adaptive-more": ((2, 3, 4, 5), (6, 9)), "adaptive-none": ((2, 3, 7, 5), (None, 3))}


def golden_cases(rng):
    """Inputs from `rng`, with ties in those of max pooling; outputs and gradients in float64."""
    for name, (shape, options) in MAX.items():
        x = np.round(2 * rng.standard_normal(shape)) / 2        # few values, many ties
        out, cache = max_pool2d(x, **options)
        dout = rng.standard_normal(out.shape)
        yield Case(name, {"x": x, **options}, {"out": out, "indices": max_pool2d_indices(cache)}, {"out": dout},
                   {"x": max_pool2d_backward(dout, cache)})
    named = [(avg_pool2d, name, shape, options) for name, (shape, options) in AVERAGE.items()]
    named += [(adaptive_avg_pool2d, name, shape, {"output_size": size}) for name, (shape, size) in ADAPTIVE.items()]
    for op, name, shape, options in named + [(global_avg_pool2d, "global", (2, 3, 5, 7), {})]:
        x = rng.standard_normal(shape)
        out, cache = op(x, **options)
        dout = rng.standard_normal(out.shape)
        yield Case(name, {"x": x, **options}, {"out": out}, {"out": dout}, {"x": _back(dout, cache)})
    for name, shape, options, size in (("unpool", (2, 3, 6, 9), {"kernel_size": (2, 3)}, None),
                                       ("unpool-size", (2, 3, 7, 8),
                                        {"kernel_size": 3, "stride": 2, "padding": 1}, (7, 8))):
        pooled, cache = max_pool2d(rng.standard_normal(shape), **options)
        inputs = {"x": pooled, "indices": max_pool2d_indices(cache), **options, "output_size": size}
        out, cache = max_unpool2d(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, {"x": _back(dout, cache)})
