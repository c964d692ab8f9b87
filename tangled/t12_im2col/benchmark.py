# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:5db23f8dd17e6621
"""Chapter 12: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t11_conv2d_naive import level1_naive as loops
from tangled.t12_im2col import level1_naive, level2_vectorized, level3_memory_efficient

TASKS = {"conv 3 x 3, 8 channels, 12 x 12": (2, 8, 12, 1), "conv 3 x 3, 16 channels": (32, 16, 32, 1),
         "conv 3 x 3, 64 channels": (32, 64, 32, 1), "conv 3 x 3, 32 channels, stride 2": (32, 32, 32, 2)}


def _round_trip(level, arrays, stride):
    x, w, b, dout = arrays

    def call():
        _, cache = level.conv2d(x, w, b, stride, 1)
        return level.conv2d_backward(dout, cache)
    return call


def _torch(arrays, stride, layout):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    import torch.nn.functional as F
    layout = getattr(torch, layout)
    x, w, b, dout = (torch.from_numpy(a.copy()) for a in arrays)
    x, w, dout = (a.contiguous(memory_format=layout) for a in (x, w, dout))
    leaves = [leaf.requires_grad_() for leaf in (x, w, b)]
    return lambda: torch.autograd.grad(F.conv2d(*leaves, stride=stride, padding=1), leaves, dout)


def ladders():
    """Forward and backward of a 3 x 3 layer with as many filters as channels."""
    for name, (N, C, side, stride) in TASKS.items():
        draw = np.random.default_rng(0)
        shapes = (N, C, side, side), (C, C, 3, 3), (C,), (N, C, side // stride, side // stride)
        arrays = [draw.standard_normal(shape, dtype=np.float32) for shape in shapes]
        calls = {"level 1": _round_trip(level1_naive, arrays, stride),
                 "chapter 11, loops": _round_trip(loops, arrays, stride)} if side == 12 else {}
        calls |= {"level 2": _round_trip(level2_vectorized, arrays, stride),
                  "level 3": _round_trip(level3_memory_efficient, arrays, stride)}
        if torch_available():
            calls |= {"level 4": _torch(arrays, stride, "contiguous_format"),
                      "best PyTorch": _torch(arrays, stride, "channels_last")}
        products = 3 * N * C * C * 9 * (side // stride) ** 2
        yield Ladder(name, calls, operations=f"{products:,} multiply-adds",
                     note=f"x ({N}, {C}, {side}, {side}), float32")
