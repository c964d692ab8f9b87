# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:8e0b16bcce70e9b6
"""Chapter 23: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t23_seq2seq import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, WIDE, SEARCH = "decoder, 3 x 4, H 8, V 12", "decoder, 32 x 32, H 128, V 90", "beam of 4, 24 sentences"
TASKS = {TINY: (3, 4, 6, 8, 12), WIDE: (32, 32, 64, 128, 90)}


def arrays(B, E, H, V):
    """h0 (B, H) and the decoder's seven arrays, float32."""
    draw, G = np.random.default_rng(0), 3 * H
    shapes = ((B, H), (V, E), (E, G), (H, G), (G,), (G,), (H, V), (V,))
    return [draw.standard_normal(s, dtype=np.float32) * np.float32(0.1) for s in shapes]


def _round_trip(level, given, tokens, lengths):
    def call():
        _, cache = level.teacher_forced_loss(given[0], tokens, lengths, *given[1:])
        return level.teacher_forced_loss_backward(1.0, cache)
    return call


def _torch(given, tokens, lengths, real_only):
    """PyTorch's modules, tensors stay tensors; logits of all places, or of the real ones."""
    import torch
    import torch.nn.functional as F
    h0, table, w_ih, w_hh, _, _, w_out, _ = (torch.from_numpy(a) for a in given)
    table, net = table.clone().requires_grad_(), torch.nn.GRU(w_ih.shape[0], w_hh.shape[0], batch_first=True)
    out, h0 = torch.nn.Linear(*w_out.shape), h0[None].clone().requires_grad_()
    read, targets = torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(tokens[:, 1:].copy())
    mask = torch.arange(targets.shape[1]) < torch.from_numpy(lengths)[:, None]
    ignored, leaves = torch.where(mask, targets, -100).reshape(-1), [h0, table, *net.parameters(), *out.parameters()]

    def call():
        states = net(F.embedding(read, table), h0)[0]
        if real_only:
            loss = F.cross_entropy(out(states[mask]), targets[mask])
        else:
            loss = F.cross_entropy(out(states).flatten(0, 1), ignored, ignore_index=-100)
        return torch.autograd.grad(loss, leaves)
    return call


def _searches():
    """{level: a search over the same decoder}; level 4 with PyTorch's cell."""
    decoder = level3_memory_efficient.Decoder(90, 32, 128, np.random.default_rng(1))
    decoder.out.weight.data *= np.float32(30)
    state = np.random.default_rng(2).standard_normal((24, 128), dtype=np.float32)
    options = {"bos": 1, "eos": 2, "beam": 4, "max_len": 24, "length_penalty": 1.0}
    calls = {name: lambda level=level: level.beam_search(decoder.step, state, **options)
             for name, level in LEVELS.items() if name != "level 1"}
    if torch_available():
        import torch

        from tangled.t23_seq2seq import level4_pytorch_reference as reference
        table, *weights = (torch.from_numpy(p.data) for p in decoder.of_op())
        *gru, w_out, b_out = ((w.T if w.ndim == 2 else w).contiguous() for w in weights)

        def step(h, tokens):
            with torch.no_grad():
                h = torch.gru_cell(table[torch.from_numpy(tokens)], torch.from_numpy(h), *gru)
                return torch.log_softmax(torch.nn.functional.linear(h, w_out, b_out), 1).numpy(), h.numpy()
        calls["level 4"] = lambda: reference.beam_search(step, state, **options)
        calls["best PyTorch"] = lambda: level3_memory_efficient.beam_search(step, state, **options)
    return calls


def ladders():
    """The decoder forward and backward; a search."""
    for name, (B, T, E, H, V) in TASKS.items():
        given, draw = arrays(B, E, H, V), np.random.default_rng(3)
        tokens, lengths = draw.integers(0, V, (B, T + 1)), draw.integers(T // 2, T + 1, B)
        calls = {k: _round_trip(m, given, tokens, lengths) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
        if torch_available():
            calls["level 4"] = _torch(given, tokens, lengths, False)
            calls["best PyTorch"] = _torch(given, tokens, lengths, True)
        yield Ladder(name, calls, operations=f"{6 * B * T * H * (3 * (E + H) + V):,}", note="float32")
    yield Ladder(SEARCH, _searches(), note="float32; best PyTorch: its cell under the search of level 3")
