# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:cbf4d96a118cc743
"""Chapter 15: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t12_im2col import level3_memory_efficient as full
from tangled.t15_depthwise_separable import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TASKS = ("depthwise 3 x 3, 4 channels, 10 x 10", "depthwise 3 x 3, 32 channels", "causal, 64 channels, dilation 4",
         "depthwise and pointwise, 64 channels")


def _draws(*shapes):
    """Standard normal arrays, float32."""
    draw = np.random.default_rng(0)
    return [draw.standard_normal(shape, dtype=np.float32) for shape in shapes]


def _depthwise(level, x, w, dout):
    def call():
        _, cache = level.depthwise_conv2d(x, w, None, 1, 1)
        return level.depthwise_conv2d_backward(dout, cache)
    return call


def _causal(level, x, w, dout):
    def call():
        _, cache = level.causal_conv1d(x, w, None, 4)
        return level.causal_conv1d_backward(dout, cache)
    return call


def _separable(level, x, w, dout, p):
    def call():
        h, first = level.depthwise_conv2d(x, w, None, 1, 1)
        _, second = level.pointwise_conv2d(h, p)
        dh, dp = level.pointwise_conv2d_backward(dout, second)
        return *level.depthwise_conv2d_backward(dh, first), dp
    return call


def _full(x, w, dout):
    def call():
        _, cache = full.conv2d(x, w, None, 1, 1)
        return full.conv2d_backward(dout, cache)
    return call


def _torch(function, arrays, dout, layout="contiguous_format"):
    """Tensors stay tensors; function(x, *weights)."""
    import torch
    tensors = [torch.from_numpy(a.copy()) for a in (*arrays, dout)]
    if dout.ndim == 4:
        tensors = [t.contiguous(memory_format=getattr(torch, layout)) if t.ndim == 4 else t for t in tensors]
    leaves = [leaf.requires_grad_() for leaf in tensors[:-1]]
    return lambda: torch.autograd.grad(function(*leaves), leaves, tensors[-1])


def _by_torch(function, arrays, dout):
    """The default call, and channels_last for pictures."""
    calls = {"level 4": _torch(function, arrays, dout)}
    return calls | ({"best PyTorch": _torch(function, arrays, dout, "channels_last")} if dout.ndim == 4 else {})


def ladders():
    """Depthwise small and large, causal, and the separable pair beside a full convolution."""
    if torch_available():
        import torch.nn.functional as F
    for name, shape in zip(TASKS, ((2, 4, 10, 10), (32, 32, 32, 32))):
        x, w, dout = _draws(shape, (shape[1], 1, 3, 3), shape)
        levels = LEVELS if shape[0] == 2 else dict(list(LEVELS.items())[1:])
        calls = {level: _depthwise(module, x, w, dout) for level, module in levels.items()}
        if torch_available():
            calls |= _by_torch(lambda x, w, C=shape[1]: F.conv2d(x, w, padding=1, groups=C), (x, w), dout)
        yield Ladder(name, calls, note=f"x {shape}, float32", operations=f"{3 * 9 * x.size:,} multiply-adds")
    x, w, dout = _draws((64, 64, 16), (64, 64, 2), (64, 64, 16))
    calls = {level: _causal(LEVELS[level], x, w, dout) for level in ("level 2", "level 3")}
    if torch_available():
        calls |= _by_torch(lambda x, w: F.conv1d(F.pad(x, (4, 0)), w, dilation=4), (x, w), dout)
    yield Ladder(TASKS[2], calls, note="x (64, 64, 16), float32", operations=f"{3 * 128 * x.size:,} multiply-adds")
    x, w, dout, p, whole = _draws((32, 64, 32, 32), (64, 1, 3, 3), (32, 64, 32, 32), (64, 64), (64, 64, 3, 3))
    calls = {level: _separable(LEVELS[level], x, w, dout, p) for level in ("level 2", "level 3")}
    calls["full convolution"] = _full(x, whole, dout)
    if torch_available():
        calls |= _by_torch(lambda x, w, p: F.conv2d(F.conv2d(x, w, padding=1, groups=64), p[:, :, None, None]),
                           (x, w, p), dout)
    yield Ladder(TASKS[3], calls, note="x (32, 64, 32, 32), float32; the full convolution is chapter 12's level 3",
                 operations=f"{3 * 73 * x.size:,} multiply-adds; full {3 * 576 * x.size:,}")
