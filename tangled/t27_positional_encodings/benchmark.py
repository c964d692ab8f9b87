# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:54299a80b6d7f182
"""Chapter 27: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t27_positional_encodings import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SHAPE = (4, 4, 128, 64)                                         # B, H, T, D
TABLE = (4096, 128)                                             # L, D
LEVELS = level1_naive, level2_vectorized, level3_memory_efficient
INTERLEAVED, HALF, SINES = ("RoPE, interleaved, forward and backward", "RoPE, half, forward and backward",
                            "sinusoidal table")


def _round_trip(level, layout, x, dout):
    tables = level.rope_tables(*SHAPE[2:], dtype=np.float32)
    into = {"out": np.empty_like(x)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.rope(x, *tables, layout=layout, **into)
        return level.rope_backward(dout, cache, **into)
    return call


def _torch_tables():
    """Cosines and sines (T, D/2), float32 tensors."""
    import torch
    return map(torch.from_numpy, level2_vectorized.rope_tables(*SHAPE[2:], dtype=np.float32))


def with_autograd(layout, x, dout):
    """The same in PyTorch alone: leaf, tables and upstream are tensors before the clock starts."""
    import torch
    x, dout = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dout)
    cos, sin = _torch_tables()
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


def by_hand(layout, x, dout):
    """PyTorch without autograd: both directions written out, into tensors that exist."""
    import torch
    x, dout = torch.from_numpy(x), torch.from_numpy(dout)
    cos, sin = _torch_tables()
    out, half = torch.empty_like(x), x.shape[-1] // 2
    pairs = lambda t: torch.view_as_complex(t.unflatten(-1, (-1, 2)))
    turn, back = torch.complex(cos, sin), torch.complex(cos, -sin)
    both = torch.cat((cos, cos), -1)                            # (T, D)

    def halves(x, sin):
        torch.mul(x, both, out=out)
        out[..., :half].addcmul_(x[..., half:], sin, value=-1)
        out[..., half:].addcmul_(x[..., :half], sin)
        return out

    def call():
        if layout == "half":
            halves(x, sin)
            return halves(dout, -sin)
        torch.mul(pairs(x), turn, out=pairs(out))
        torch.mul(pairs(dout), back, out=pairs(out))
        return out
    return call


def table_with_torch():
    """The table as tutorials build it, in float64."""
    import torch
    p = torch.arange(TABLE[0], dtype=torch.float64)[:, None]
    theta = 10000.0 ** (-torch.arange(0, TABLE[1], 2, dtype=torch.float64) / TABLE[1])

    def call():
        table = torch.empty(TABLE, dtype=torch.float64)
        table[:, 0::2], table[:, 1::2] = torch.sin(p * theta), torch.cos(p * theta)
        return table
    return call


def ladders():
    """RoPE forward and backward in both layouts, level 3 into an array that exists; a table."""
    x, dout = np.random.default_rng(0).standard_normal((2, *SHAPE), dtype=np.float32)
    for name, layout in ((INTERLEAVED, "interleaved"), (HALF, "half")):
        calls = {f"level {k}": _round_trip(level, layout, x, dout)
                 for k, level in enumerate(LEVELS, 1)}
        if torch_available():
            calls["level 4"] = with_autograd(layout, x, dout)
            calls["best PyTorch"] = by_hand(layout, x, dout)
            for contestant in ("level 4", "best PyTorch"):
                np.testing.assert_allclose(calls[contestant](), calls["level 2"](), atol=1e-5)
        yield Ladder(name, calls, operations="6 x B H T D", note=f"(B, H, T, D) = {SHAPE}, float32")
    calls = {f"level {k}": lambda level=level: level.sinusoidal_table(*TABLE) for k, level in enumerate(LEVELS, 1)}
    if torch_available():
        calls["level 4"] = table_with_torch()
        np.testing.assert_allclose(calls["level 4"](), calls["level 2"](), atol=1e-10)
    yield Ladder(SINES, calls, operations="L D sines", note=f"(L, D) = {TABLE}, float64")
