# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:b597337600498447
"""Chapter 13: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t13_pooling import level1_naive, level2_vectorized, level3_memory_efficient

TASKS = {"max pool 2 x 2, 12 x 12": ("max_pool2d", (2, 4, 12, 12), (2,)),
         "max pool 2 x 2, 32 channels": ("max_pool2d", (32, 32, 32, 32), (2,)),
         "max pool 3 x 3, stride 2, 32 channels": ("max_pool2d", (32, 32, 32, 32), (3, 2, 1)),
         "average pool 2 x 2, 32 channels": ("avg_pool2d", (32, 32, 32, 32), (2,))}


def _round_trip(level, op, args, x, dout):
    forward, backward = getattr(level, op), getattr(level, op + "_backward")

    def call():
        _, cache = forward(x, *args)
        return backward(dout, cache)
    return call


def _torch(op, args, x, dout, layout):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    layout = getattr(torch, layout)
    x, dout = (torch.from_numpy(a.copy()).contiguous(memory_format=layout) for a in (x, dout))
    x.requires_grad_()
    f = getattr(torch.nn.functional, op)
    return lambda: torch.autograd.grad(f(x, *args), x, dout)


def ladders():
    """Forward and backward."""
    for name, (op, shape, args) in TASKS.items():
        draw = np.random.default_rng(0)
        x = draw.standard_normal(shape, dtype=np.float32)
        out, _ = getattr(level2_vectorized, op)(x, *args)
        dout = draw.standard_normal(out.shape, dtype=np.float32)
        calls = {"level 1": _round_trip(level1_naive, op, args, x, dout)} if shape[2] == 12 else {}
        calls |= {"level 2": _round_trip(level2_vectorized, op, args, x, dout),
                  "level 3": _round_trip(level3_memory_efficient, op, args, x, dout)}
        if torch_available():
            calls |= {"level 4": _torch(op, args, x, dout, "contiguous_format"),
                      "best PyTorch": _torch(op, args, x, dout, "channels_last")}
        yield Ladder(name, calls, note=f"x {shape}, float32")
