# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:f48e9ecf7d7d9fe9
"""Chapter 27: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t27_positional_encodings import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SHAPE = (4, 4, 128, 64)                                         # B, H, T, D
LEVELS = level1_naive, level2_vectorized, level3_memory_efficient


def _round_trip(level, layout, x, dout):
    tables = level.rope_tables(*SHAPE[2:], dtype=np.float32)
    into = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.rope(x, *tables, layout=layout, **into)
        return level.rope_backward(dout, cache, **into)
    return call


def with_torch(layout, x, dout):
    """The same in PyTorch alone: leaf, tables and upstream are tensors before the clock starts."""
    import torch
    x, dout = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dout)
    cos, sin = map(torch.from_numpy, level2_vectorized.rope_tables(*SHAPE[2:], dtype=np.float32))
    turn = torch.complex(cos, sin)                              # (T, D/2)
    cos, sin = torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)

    def call():
        if layout == "interleaved":
            pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
            out = torch.view_as_real(pairs * turn).flatten(-2)
        else:
            a, b = x.chunk(2, dim=-1)
            out = x * cos + torch.cat((-b, a), -1) * sin
        return torch.autograd.grad(out, x, dout)[0]
    return call


def ladders():
    """RoPE forward and backward in both layouts; level 3 writes into an array that exists."""
    x, dout = np.random.default_rng(0).standard_normal((2, *SHAPE), dtype=np.float32)
    for layout in ("interleaved", "half"):
        calls = {f"level {k}": _round_trip(level, layout, x, dout)
                 for k, level in enumerate(LEVELS, 1)}
        if torch_available():
            calls["level 4"] = with_torch(layout, x, dout)
            np.testing.assert_allclose(calls["level 4"](), calls["level 2"](), atol=1e-5)
        yield Ladder(f"RoPE, {layout}, forward and backward", calls, operations="6 x B H T D",
                     note=f"(B, H, T, D) = {SHAPE}, float32")
