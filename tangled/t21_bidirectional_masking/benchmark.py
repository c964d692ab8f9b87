# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:3ecf35a39343673d
"""Chapter 21: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t21_bidirectional_masking import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, WIDE, LOSS = "masked RNN, (4, 8, 8) to 8", "masked RNN, (32, 64, 64) to 256", "masked loss, (32, 64, 500)"
TASKS = {TINY: (4, 8, 8, 8), WIDE: (32, 64, 64, 256)}


def _round_trip(level, arrays, dout):
    def call():
        _, cache = level.masked_rnn(*arrays)
        return level.masked_rnn_backward(dout, None, cache)
    return call


def _torch(arrays, dout, packed):
    """PyTorch's own module, on packed steps or over the padding too: tensors stay tensors."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
    x, lengths, h0 = arrays[:3]
    net = torch.nn.RNN(x.shape[2], h0.shape[1], batch_first=True)
    leaf, state, up = torch.from_numpy(x).requires_grad_(), torch.from_numpy(h0)[None], torch.from_numpy(dout)
    leaves, lengths = [leaf, *net.parameters()], torch.from_numpy(lengths)

    def run():
        steps = pack_padded_sequence(leaf, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(net(steps, state)[0], batch_first=True, total_length=x.shape[1])
        return torch.autograd.grad(out, leaves, up)
    return run if packed else lambda: torch.autograd.grad(net(leaf, state)[0], leaves, up)


def _loss(level, logits, targets, mask):
    return lambda: level.masked_cross_entropy_backward(1.0, level.masked_cross_entropy(logits, targets, mask)[1])


def ladders():
    """Forward and backward."""
    draw = np.random.default_rng(0)
    normal = lambda *shape: draw.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
    for name, (B, T, D, H) in TASKS.items():
        lengths = np.round(np.linspace(1, T, B)).astype(np.int64)
        arrays = [normal(B, T, D), lengths, normal(B, H), normal(D, H), normal(H, H), normal(H), normal(H)]
        dout = normal(B, T, H) * (np.arange(T) < lengths[:, None])[..., None]
        calls = {k: _round_trip(m, arrays, dout) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"], calls["best PyTorch"] = (_torch(arrays, dout, packed) for packed in (True, False))
        yield Ladder(name, calls, operations=f"{6 * int(lengths.sum()) * H * (D + H):,}", note="float32; best PyTorch: "
                     "the padding computed too, outputs there ignored")
    B, T, V = 32, 64, 500
    lengths = np.round(np.linspace(1, T, B)).astype(np.int64)
    logits, targets, mask = normal(B, T, V), draw.integers(0, V, (B, T)), np.arange(T) < lengths[:, None]
    calls = {k: _loss(m, logits, targets, mask) for k, m in LEVELS.items() if k != "level 1"}
    if torch_available():
        import torch
        leaf = torch.from_numpy(logits).requires_grad_()
        numbers, real = torch.from_numpy(np.where(mask, targets, -100)).reshape(-1), torch.from_numpy(mask)
        wanted = torch.from_numpy(targets)
        plain = torch.nn.functional.cross_entropy
        calls["level 4"] = lambda: torch.autograd.grad(plain(leaf.reshape(-1, V), numbers, ignore_index=-100), leaf)
        calls["best PyTorch"] = lambda: torch.autograd.grad(plain(leaf[real], wanted[real]), leaf)
    yield Ladder(LOSS, calls, note="float32; best PyTorch: real rows taken out first")
