# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:b31b5ea07087c811
"""Chapter 11: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t11_conv2d_naive import level1_naive, level2_vectorized, level3_memory_efficient

TASKS = {"conv 3 x 3, 3 to 4 channels, 12 x 12": (2, 3, 12, 4),
         "conv 3 x 3, 16 to 16 channels, 32 x 32": (8, 16, 32, 16)}


def _round_trip(level, x, w, dout):
    def call():
        _, cache = level.conv2d(x, w, padding=1)
        return level.conv2d_backward(dout, cache)
    return call


def _torch(x, w, dout, channels_last=False):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    import torch.nn.functional as F
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w = (torch.from_numpy(a.copy()).contiguous(memory_format=layout).requires_grad_() for a in (x, w))
    dout = torch.from_numpy(dout.copy()).contiguous(memory_format=layout)
    return lambda: torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), dout)


def ladders():
    """Forward and backward of a 3 x 3 layer."""
    for name, (N, C, side, F) in TASKS.items():
        draw = np.random.default_rng(0)
        x, dout = (draw.standard_normal((N, c, side, side), dtype=np.float32) for c in (C, F))
        w = draw.standard_normal((F, C, 3, 3), dtype=np.float32)
        calls = {"level 1": _round_trip(level1_naive, x, w, dout)} if side == 12 else {}
        calls |= {"level 2": _round_trip(level2_vectorized, x, w, dout),
                  "level 3": _round_trip(level3_memory_efficient, x, w, dout)}
        if torch_available():
            calls |= {"level 4": _torch(x, w, dout), "best PyTorch": _torch(x, w, dout, channels_last=True)}
        yield Ladder(name, calls, operations=f"3 x {N * F * C * side * side * 9:,} multiply-adds",
                     note=f"x ({N}, {C}, {side}, {side}), float32")
