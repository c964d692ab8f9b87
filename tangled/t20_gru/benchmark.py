# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:318770dec74cebfc
"""Chapter 20: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t20_gru import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, WIDE, WIDER = "GRU, (4, 8, 6) to 6", "GRU, (32, 64, 64) to 128", "GRU, (32, 64, 128) to 256"
CHO = "Cho's GRU, (32, 64, 64) to 128"
TASKS = {TINY: (4, 8, 6, 6), WIDE: (32, 64, 64, 128), WIDER: (32, 64, 128, 256), CHO: (32, 64, 64, 128)}


def _round_trip(level, arrays, dout, kind):
    def call():
        _, cache = level.gru(*arrays, kind)
        return level.gru_backward(dout, None, cache)
    return call


def _torch(arrays, dout, kind, batch_first=True):
    """PyTorch's own module, or its operations a step at a time; tensors stay tensors."""
    import torch

    from tangled.t20_gru.level4_pytorch_reference import _cho
    x, h0 = arrays[:2]
    net = torch.nn.GRU(x.shape[2], h0.shape[1], batch_first=batch_first)
    if not batch_first:
        x, dout = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (x, dout))
    x, state, dout = torch.from_numpy(x).requires_grad_(), torch.from_numpy(h0), torch.from_numpy(dout)
    leaves = [x, *net.parameters()]
    if kind == "pytorch":
        return lambda: torch.autograd.grad(net(x, state[None])[0], leaves, dout)

    def steps():
        h, outs, w = state, [], [p.T if p.ndim == 2 else p for p in net.parameters()]
        for t in range(x.shape[1]):
            h = _cho(x[:, t], h, *w)
            outs.append(h)
        return torch.autograd.grad(torch.stack(outs, 1), leaves, dout)
    return steps


def ladders():
    """Forward and backward."""
    draw = np.random.default_rng(0)
    normal = lambda *shape: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
    for name, (B, T, D, H) in TASKS.items():
        arrays = [normal(B, T, D), normal(B, H), normal(D, 3 * H), normal(H, 3 * H), normal(3 * H), normal(3 * H)]
        dout, kind = normal(B, T, H), "cho" if name == CHO else "pytorch"
        calls = {k: _round_trip(m, arrays, dout, kind) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"] = _torch(arrays, dout, kind)
            if name in (WIDE, WIDER):
                calls["best PyTorch"] = _torch(arrays, dout, kind, batch_first=False)
        yield Ladder(name, calls, operations=f"{18 * B * T * H * (D + H):,}", note="float32")
