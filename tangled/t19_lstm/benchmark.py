# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:6566163701c9a270
"""Chapter 19: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t19_lstm import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, MIDDLE, WIDE = "LSTM, (4, 8, 8) to 8", "LSTM, (32, 64, 64) to 128", "LSTM, (32, 64, 64) to 256"
STEP = "one step, (32, 64) to 128"
TASKS = {TINY: (4, 8, 8, 8), MIDDLE: (32, 64, 64, 128), WIDE: (32, 64, 64, 256)}


def _round_trip(level, arrays, dout):
    def call():
        _, cache = level.lstm(*arrays)
        return level.lstm_backward(dout, None, None, cache)
    return call


def _one_step(level, arrays, dh):
    def call():
        _, cache = level.lstm_step(*arrays)
        return level.lstm_step_backward(dh, None, cache)
    return call


def _torch(arrays, dout, step):
    """PyTorch's own modules: tensors stay tensors."""
    import torch
    D, H = arrays[0].shape[-1], arrays[1].shape[1]
    net = torch.nn.LSTMCell(D, H) if step else torch.nn.LSTM(D, H, batch_first=True)
    x, h, c, dout = (torch.from_numpy(a) for a in (*arrays[:3], dout))
    state = (h, c) if step else (h[None], c[None])
    leaves = [x.requires_grad_(), *net.parameters()]
    return lambda: torch.autograd.grad(net(x, state)[0], leaves, dout)


def ladders():
    """Forward and backward."""
    draw = np.random.default_rng(0)
    normal = lambda *shape: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
    for name, (B, T, D, H) in TASKS.items():
        arrays = [normal(B, T, D), normal(B, H), normal(B, H), normal(D, 4 * H), normal(H, 4 * H), normal(4 * H),
                  normal(4 * H)]
        dout = normal(B, T, H)
        calls = {k: _round_trip(m, arrays, dout) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"] = _torch(arrays, dout, step=False)
        yield Ladder(name, calls, operations=f"{24 * B * T * H * (D + H):,}", note="float32")
        if name == MIDDLE:
            arrays, dh = [arrays[0][:, 0].copy(), *arrays[1:]], dout[:, 0].copy()
            calls = {k: _one_step(m, arrays, dh) for k, m in LEVELS.items() if k != "level 1"}
            if torch_available():
                calls["level 4"] = _torch(arrays, dh, step=True)
            yield Ladder(STEP, calls, operations=f"{24 * B * H * (D + H):,}", note="float32")
