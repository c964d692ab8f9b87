# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:02a98daf8a1986e3
"""Chapter 32: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t25_self_attention import level2_vectorized as whole
from tangled.t25_self_attention import level3_memory_efficient as blocks
from tangled.t32_flash_attention import level1_naive, level2_vectorized, level3_memory_efficient

TINY, LONG, SIZES = "flash attention, T 16", "flash attention, T 2048", "tiles at T 2048"
LENGTHS = (256, 512, 1024, 2048)
HELD = {f"memory, T {T}": T for T in LENGTHS}
TILES = ((64, 256), (128, 128), (128, 512), (256, 512), (256, 1024))


def _arrays(heads, T, D):
    """q, k, v, dout (1, heads, T, D), float32."""
    return np.random.default_rng(0).standard_normal((4, 1, heads, T, D), np.float32)


def _round_trip(level, arrays, **options):
    q, k, v, dout = arrays

    def call():
        _, cache = level.flash_attention(q, k, v, causal=True, **options)
        return level.flash_attention_backward(dout, cache)
    return call


def _of_chapter_25(level, arrays):
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
    """Forward and backward, causal; Tq = Tk = T, Dv = D."""
    for name, shape in ((TINY, (2, 16, 8)), (LONG, (4, 2048, 64))):
        arrays = _arrays(*shape)
        calls = {"level 1": _round_trip(level1_naive, arrays)} if name == TINY else {}
        calls |= {"level 2": _round_trip(level2_vectorized, arrays),
                  "level 3": _round_trip(level3_memory_efficient, arrays)}
        if torch_available():
            calls["level 4"] = _torch(arrays)
        yield Ladder(name, calls, note=f"q, k, v (1, {', '.join(map(str, shape))}), float32, causal")
    arrays = _arrays(4, 2048, 64)
    sizes = {f"{a} x {b}": _round_trip(level3_memory_efficient, arrays, block_q=a, block_k=b) for a, b in TILES}
    yield Ladder(SIZES, sizes, note="level 3, q, k, v (1, 4, 2048, 64), float32, causal")
    for name, T in HELD.items():
        arrays = _arrays(4, T, 64)
        yield Ladder(name, {"whole arrays": _of_chapter_25(whole, arrays), "row blocks": _of_chapter_25(blocks, arrays),
                            "tiles": _round_trip(level3_memory_efficient, arrays)},
                     note=f"q, k, v (1, 4, {T}, 64), float32, causal")
