# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:55e7cadd47cda8c7
"""Chapter 24: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t24_bahdanau_attention import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, SCORE = "additive score, 2 x 4 x 10, A 16", "additive score, 32 x 24 x 28, A 64"
DOT, DECODER = "dot, attend, 32 x 24 x 28, D 128", "decoder, 32 x 24 x 28, H 128, A 64"


def draw(*shapes):
    """Arrays of float32."""
    source = np.random.default_rng(0)
    return [source.standard_normal(s, dtype=np.float32) * np.float32(0.3) for s in shapes]


def _leaves(arrays):
    import torch
    return [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]


def score_calls(B, T, S, A, first):
    """The additive score with projected keys; best PyTorch by products of exponentials, too."""
    width = 2 * A
    *given, up = draw((B, T, width), (B, S, A), (width, A), (A,), (B, T, S))

    def of(level):
        def call():
            _, cache = level.additive_score(*given)
            return level.additive_score_backward(up, cache)
        return call
    calls = {name: of(level) for name, level in LEVELS.items() if first or name != "level 1"}
    if torch_available():
        import torch

        from tangled.t24_bahdanau_attention.level4_pytorch_reference import additive
        leaves, dout = _leaves(given), torch.from_numpy(up)

        def best():
            query, keys, w_query, v = leaves
            e_q, e_k = torch.exp(2 * (query @ w_query)), torch.exp(2 * keys)
            return torch.reciprocal(1 + e_q[:, :, None] * e_k[:, None]) @ (-2 * v) + v.sum()
        calls["level 4"] = lambda: torch.autograd.grad(additive(*leaves), leaves, dout)
        calls["best PyTorch"] = lambda: torch.autograd.grad(best(), leaves, dout)
    return calls


def dot_calls(B, T, S, D):
    """attend with the dot score and padding."""
    *given, up = draw((B, T, D), (B, S, D), (B, S, D), (B, T, D))
    mask = np.arange(S) < np.random.default_rng(1).integers(S // 2, S + 1, (B, 1))

    def of(level):
        def call():
            _, cache = level.attend(*given, mask)
            return level.attend_backward(up, None, cache)
        return call
    calls = {name: of(level) for name, level in LEVELS.items() if name != "level 1"}
    if torch_available():
        import torch
        import torch.nn.functional as F
        leaves, dout, seen = _leaves(given), torch.from_numpy(up), torch.from_numpy(mask)[:, None]

        def eager():
            scores = (leaves[0] @ leaves[1].mT).masked_fill(~seen, -torch.inf)
            return torch.autograd.grad(F.softmax(scores, 2) @ leaves[2], leaves, dout)
        calls["level 4"] = eager
        calls["best PyTorch"] = lambda: torch.autograd.grad(
            F.scaled_dot_product_attention(*leaves, attn_mask=seen, scale=1.0), leaves, dout)
    return calls


def best_decoder(x, h, annotations, w_query, w_key, v, w_ih, w_hh, b_ih, b_hh, mask):
    """Tensors: states (B, T, H) and contexts (B, T, C), with what level 3 does written in PyTorch."""
    import torch
    E, (H, A) = x.shape[2], w_query.shape
    annotations = annotations.masked_fill(~mask[..., None], 0)
    e_k, hidden = torch.exp(2 * (annotations @ w_key)), torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    steps, W, states, contexts = x @ w_ih[:E] + b_ih, torch.cat([2 * w_query, w_hh], 1), [], []
    for step in steps.unbind(1):
        q2, rz, u = (h @ W).split([A, 2 * H, H], 1)
        scores = torch.reciprocal(1 + torch.exp(q2)[:, None] * e_k) @ (-2 * v)
        seen = (torch.softmax(scores + hidden, 1)[:, None] @ annotations)[:, 0]
        rz_x, n_x = (step + seen @ w_ih[E:]).split([2 * H, H], 1)
        r, z = torch.sigmoid(rz + rz_x + b_hh[:2 * H]).chunk(2, 1)
        n = torch.tanh(n_x + r * (u + b_hh[2 * H:]))
        h = torch.lerp(n, h, z)
        states.append(h)
        contexts.append(seen)
    return torch.stack(states, 1), torch.stack(contexts, 1)


def decoder_calls(B, T, S, E, H, A):
    """The decoder over a sequence, forward and backward."""
    *given, dout, dcontexts = draw((B, T, E), (B, H), (B, S, H), (H, A), (H, A), (A,), (E + H, 3 * H), (H, 3 * H),
                                   (3 * H,), (3 * H,), (B, T, H), (B, T, H))
    mask = np.arange(S) < np.random.default_rng(1).integers(S // 2, S + 1, (B, 1))

    def of(level):
        def call():
            _, cache = level.attention_decoder(*given[:3], mask, *given[3:])
            return level.attention_decoder_backward(dout, dcontexts, cache)
        return call
    calls = {name: of(level) for name, level in LEVELS.items() if name != "level 1"}
    if torch_available():
        import torch

        from tangled.t24_bahdanau_attention.level4_pytorch_reference import decode
        leaves, ups, seen = _leaves(given), [torch.from_numpy(a) for a in (dout, dcontexts)], torch.from_numpy(mask)
        calls["level 4"] = lambda: torch.autograd.grad(decode(*leaves, seen)[:2], leaves, ups)
        calls["best PyTorch"] = lambda: torch.autograd.grad(best_decoder(*leaves, seen), leaves, ups)
    return calls


def ladders():
    """The score, small and as in training; the dot score; the decoder."""
    yield Ladder(TINY, score_calls(2, 4, 10, 16, True), note="float32, forward and backward, keys projected")
    yield Ladder(SCORE, score_calls(32, 24, 28, 64, False), note="float32, forward and backward, keys projected")
    yield Ladder(DOT, dot_calls(32, 24, 28, 128), note="float32, forward and backward, padding")
    yield Ladder(DECODER, decoder_calls(32, 24, 28, 32, 128, 64), note="float32, forward and backward, padding")
