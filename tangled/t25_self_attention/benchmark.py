# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:cd0115f6adc5438e
"""Chapter 25: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t25_self_attention import level1_naive, level2_vectorized, level3_memory_efficient

TIMED = {f"attention, T {T}": (batch, T, D) for batch, T, D in (((1, 2), 16, 8), ((8, 4), 64, 32), ((8, 4), 256, 32),
                                                               ((8, 4), 512, 32))}
LENGTHS = (128, 256, 512, 1024)
HELD = {f"memory of attention, T {T}": ((1, 4), T, 32) for T in LENGTHS}


def _round_trip(level, arrays):
    q, k, v, dout = arrays

    def call():
        _, cache = level.attention(q, k, v, causal=True)
        return level.attention_backward(dout, cache)
    return call


def _torch(arrays):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    import torch.nn.functional as F
    *leaves, dout = (torch.from_numpy(a.copy()) for a in arrays)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    return lambda: torch.autograd.grad(F.scaled_dot_product_attention(*leaves, is_causal=True), leaves, dout)


def ladders():
    """Forward and backward of causal self-attention; Tq = Tk = T, Dv = D."""
    for name, (batch, T, D) in (TIMED | HELD).items():
        draw = np.random.default_rng(0)
        arrays = [draw.standard_normal((*batch, T, D), dtype=np.float32) for _ in range(4)]
        calls = {"level 1": _round_trip(level1_naive, arrays)} if T == 16 else {}
        calls |= {"level 2": _round_trip(level2_vectorized, arrays),
                  "level 3": _round_trip(level3_memory_efficient, arrays)}
        if torch_available():
            calls["level 4"] = _torch(arrays)
        products = 7 * batch[0] * batch[1] * T * T * D
        yield Ladder(name, calls, operations=f"{products:,} multiply-adds, half of them visible",
                     note=f"q, k, v ({batch[0]}, {batch[1]}, {T}, {D}), float32, causal")
