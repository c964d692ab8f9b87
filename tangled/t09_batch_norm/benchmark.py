# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:df50f8ed6e6d6090
"""Chapter 09: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t09_batch_norm import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SMALL, LARGE = (32, 16, 16, 16), (32, 64, 32, 32)               # N, C, H, W


def _round_trip(level, x, dout):
    gamma, beta, mean, var = np.ones((4, x.shape[1]), np.float32)
    into = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}
    back = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.batch_norm(x, gamma, beta, mean, var, True, **into)
        return level.batch_norm_backward(dout, cache, **back)
    return call


def _torch(x, dout, order):
    """PyTorch without our wrapper: tensors stay tensors, in one of its two orders in memory."""
    import torch
    import torch.nn.functional as F
    order = {"memory_format": getattr(torch, order)}
    x, dout = (torch.from_numpy(a.copy()).contiguous(**order) for a in (x, dout))
    leaves = [x.requires_grad_(), *torch.ones(2, x.shape[1]).unbind()]
    leaves[1:] = [leaf.clone().requires_grad_() for leaf in leaves[1:]]
    mean, var = torch.zeros(x.shape[1]), torch.ones(x.shape[1])

    def call():
        out = F.batch_norm(leaves[0], mean, var, *leaves[1:], training=True)
        return torch.autograd.grad(out, leaves, dout)
    return call


def ladders():
    """Forward and backward in training; level 3 writes into arrays that exist."""
    for shape in (SMALL, LARGE):
        x, dout = np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)
        calls = {"level 1": _round_trip(level1_naive, x, dout)} if shape is SMALL else {}
        calls |= {"level 2": _round_trip(level2_vectorized, x, dout),
                  "level 3": _round_trip(level3_memory_efficient, x, dout)}
        if torch_available():
            calls["level 4"] = _torch(x, dout, "contiguous_format")
            calls["best PyTorch"] = _torch(x, dout, "channels_last")
        yield Ladder(f"batch norm, C {shape[1]}, forward and backward", calls,
                     operations="about 15 x N C H W", note=f"(N, C, H, W) = {shape}, float32")
