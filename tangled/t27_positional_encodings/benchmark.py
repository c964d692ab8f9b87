# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:e84b01efa5be1a2f
"""Chapter 27: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t27_positional_encodings import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SHAPE = (4, 4, 128, 64)                                         # B, H, T, D


def _levels():
    levels = {"level 1": level1_naive, "level 2": level2_vectorized,
              "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t27_positional_encodings import level4_pytorch_reference
        levels["level 4"] = level4_pytorch_reference
    return levels


def _round_trip(level, layout, x, dout):
    tables = level.rope_tables(*SHAPE[2:], dtype=np.float32)
    into = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.rope(x, *tables, layout=layout, **into)
        return level.rope_backward(dout, cache, **into)
    return call


def ladders():
    """RoPE forward and backward in both layouts; level 3 writes into an array that exists."""
    x, dout = np.random.default_rng(0).standard_normal((2, *SHAPE), dtype=np.float32)
    for layout in ("interleaved", "half"):
        calls = {name: _round_trip(level, layout, x, dout) for name, level in _levels().items()}
        yield Ladder(f"RoPE, {layout}, forward and backward", calls, operations="6 x B H T D",
                     note=f"(B, H, T, D) = {SHAPE}, float32")
