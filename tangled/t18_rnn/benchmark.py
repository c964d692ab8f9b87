# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:69d05957a73e2e6c
"""Chapter 18: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t18_rnn import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, WIDE, ROWS = "RNN, (4, 8, 8) to 8", "RNN, (32, 64, 64) to 256", "embedding of 32 x 64 ids, 64 rows of 64"
TASKS = {TINY: (4, 8, 8, 8), WIDE: (32, 64, 64, 256)}


def _round_trip(level, arrays, dout):
    def call():
        _, cache = level.rnn(*arrays)
        return level.rnn_backward(dout, None, cache)
    return call


def _torch(arrays, dout):
    """PyTorch's own module: tensors stay tensors."""
    import torch
    x, h0 = arrays[:2]
    net = torch.nn.RNN(x.shape[2], h0.shape[1], batch_first=True)
    x, state, dout = torch.from_numpy(x).requires_grad_(), torch.from_numpy(h0)[None], torch.from_numpy(dout)
    leaves = [x, *net.parameters()]
    return lambda: torch.autograd.grad(net(x, state)[0], leaves, dout)


def ladders():
    """Forward and backward."""
    draw = np.random.default_rng(0)
    normal = lambda *shape: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
    for name, (B, T, D, H) in TASKS.items():
        arrays = [normal(B, T, D), normal(B, H), normal(D, H), normal(H, H), normal(H), normal(H)]
        dout = normal(B, T, H)
        calls = {k: _round_trip(m, arrays, dout) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"] = _torch(arrays, dout)
        yield Ladder(name, calls, operations=f"{6 * B * T * H * (D + H):,}", note="float32")
    ids, table, dout = draw.integers(0, 64, (32, 64)), normal(64, 64), normal(32, 64, 64)
    calls = {k: lambda m=m: m.embedding_backward(dout, m.embedding(ids, table)[1]) for k, m in LEVELS.items()
             if k != "level 1"}
    if torch_available():
        import torch
        leaf, numbers, upstream = (torch.from_numpy(a) for a in (table, ids, dout))
        leaf.requires_grad_()
        calls["level 4"] = lambda: torch.autograd.grad(torch.nn.functional.embedding(numbers, leaf), leaf, upstream)
    yield Ladder(ROWS, calls, note="float32")
