# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:43af678dc542fb01
"""Chapter 08: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t08_regularization import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)


def _levels():
    levels = {"level 1": level1_naive, "level 2": level2_vectorized,
              "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t08_regularization import level4_pytorch_reference
        levels["level 4"] = level4_pytorch_reference
    return levels


def _dropout(level, x, dout):
    rng = np.random.default_rng(1)
    into = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.dropout(x, 0.5, rng, **into)
        return level.dropout_backward(dout, cache, **into)
    return call


def _torch(f, x, dout=None):
    """PyTorch alone, tensors in and out: level 4 also converts, checks, and seeds for dropout."""
    import torch
    leaf = torch.from_numpy(x).requires_grad_()
    dout = None if dout is None else torch.from_numpy(dout)
    return lambda: torch.autograd.grad(f(torch.nn.functional, leaf), leaf, dout)


def _torch_mask(x, dout, p=0.5):
    """Dropout by a mask that one draws oneself, kept for backward: the best that a user can write."""
    import torch
    x, dout = torch.from_numpy(x), torch.from_numpy(dout)

    def call():
        mask = (torch.rand_like(x) >= p).float().mul_(1 / (1 - p))
        return x * mask, dout * mask
    return call


def _smoothing(level, z, y):
    into = {"out": np.empty_like(z)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.label_smoothing_cross_entropy(z, y, 0.1, **into)
        return level.label_smoothing_cross_entropy_backward(1.0, cache, **into)
    return call


def ladders():
    """Dropout and label smoothing, forward and backward; level 3 writes into an array that exists."""
    rng = np.random.default_rng(0)
    x, dout = rng.standard_normal((2, 128, 512), dtype=np.float32)
    calls = {name: _dropout(level, x, dout) for name, level in _levels().items()}
    if "level 4" in calls:
        calls["level 4"] = _torch(lambda F, x: F.dropout(x, 0.5), x, dout)
        calls["best PyTorch"] = _torch_mask(x, dout)
    yield Ladder("Dropout, forward and backward", calls,
                 operations={"level 1": "64 random bits an entry", "level 2": "32 random bits",
                             "level 3": "16 random bits", "level 4": "PyTorch's generator",
                             "best PyTorch": "24 random bits"},
                 note="(128, 512), float32, p = 0.5")
    z, y = rng.standard_normal((32, 1000), dtype=np.float32), rng.integers(0, 1000, 32)
    calls = {name: _smoothing(level, z, y) for name, level in _levels().items()}
    if "level 4" in calls:
        import torch
        classes = torch.from_numpy(y)
        calls["level 4"] = _torch(lambda F, z: F.cross_entropy(z, classes, label_smoothing=0.1), z)
    yield Ladder("Label smoothing, forward and backward", calls,
                 operations={"level 1": "3 N K exp", "level 2": "2 N K exp",
                             "level 3": "N K exp", "level 4": "2 N K exp"},
                 note="(32, 1000), float32")
