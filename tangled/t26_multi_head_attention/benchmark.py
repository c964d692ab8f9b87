# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:245d17a77431f2dc
"""Chapter 26: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t26_multi_head_attention import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, SHORT, LONG, GROUPED, WINDOW = (
    "multi-head attention, B 1, T 8, D 12, H 3", "multi-head attention, B 8, T 64, D 128, H 4",
    "multi-head attention, B 2, T 512, D 128, H 4", "grouped, 2 of 8 key heads, B 2, T 256, D 256",
    "window 64, 4 sinks, H 4, T 2048, d 32")


def _layer(B, T, D, H, kv):
    """x, dout and the four weights in float32."""
    draw, width = np.random.default_rng(0).standard_normal, D // H * kv
    x, dout = draw((2, B, T, D), np.float32)
    return x, dout, [draw(s, np.float32) / np.float32(D ** 0.5) for s in ((D, D), (D, width), (D, width), (D, D))]


def _calls(task, tiny=False):
    """{level: a function that runs `task(module)`}."""
    return {key: (lambda level=level: task(level)) for key, level in LEVELS.items() if key != "level 1" or tiny}


def _differentiated(function, leaves, dout):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    leaves, dout = [torch.from_numpy(a.copy()).requires_grad_() for a in leaves], torch.from_numpy(dout.copy())
    return lambda: torch.autograd.grad(function(*leaves), leaves, dout)


def _packed(H, kv):
    """x (B, T, D), the packed weights (D, n) and w_o: one product, SDPA, one product."""
    import torch.nn.functional as F

    def call(x, w, w_o):
        (B, T, D), d = x.shape, x.shape[2] // H
        heads = (x @ w).unflatten(2, (-1, d)).transpose(1, 2)
        q, k, v = heads[:, :H], heads[:, H:H + kv], heads[:, H + kv:]
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv < H)
        return out.transpose(1, 2).reshape(B, T, D) @ w_o
    return call


def _default(D, H, weights, T):
    """torch.nn.MultiheadAttention called as its documentation does."""
    import torch
    module = torch.nn.MultiheadAttention(D, H, bias=False, batch_first=True)
    w_q, w_k, w_v, w_o = (torch.from_numpy(w.T.copy()) for w in weights)
    module.load_state_dict({"in_proj_weight": torch.cat([w_q, w_k, w_v]), "out_proj.weight": w_o})
    mask, parameters = torch.ones(T, T, dtype=torch.bool).triu(1), list(module.parameters())

    def call(x, dout):
        return torch.autograd.grad(module(x, x, x, attn_mask=mask)[0], [x, *parameters], dout)
    return call


def _layers(name, B, T, D, H, kv):
    """The ladder of a layer."""
    x, dout, weights = _layer(B, T, D, H, kv)

    def task(level):
        _, cache = level.multi_head_attention(x, *weights, num_heads=H, num_kv_heads=kv, causal=True)
        return level.multi_head_attention_backward(dout, cache)

    calls = _calls(task, name == TINY)
    if torch_available():
        import torch
        best = _differentiated(_packed(H, kv), [x, np.concatenate(weights[:3], axis=1), weights[3]], dout)
        if kv == H:
            leaf, upstream = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(dout.copy())
            module = _default(D, H, weights, T)
            calls |= {"level 4": lambda: module(leaf, upstream), "best PyTorch": best}
        else:
            calls["level 4"] = best
    return Ladder(name, calls, operations="12 B T D^2 + 3 B T^2 D", note="float32, causal, without biases")


def ladders():
    """Forward and backward of each."""
    yield _layers(TINY, 1, 8, 12, 3, 3)
    yield _layers(SHORT, 8, 64, 128, 4, 4)
    yield _layers(LONG, 2, 512, 128, 4, 4)
    yield _layers(GROUPED, 2, 256, 256, 8, 2)
    q, k, v, dout = np.random.default_rng(1).standard_normal((4, 1, 4, 2048, 32), np.float32)

    def task(level):
        _, cache = level.window_attention(q, k, v, 64, 4)
        return level.window_attention_backward(dout, cache)

    calls = _calls(task)
    if torch_available():
        import torch
        import torch.nn.functional as F

        from tangled.t25_self_attention import window_mask
        mask = torch.from_numpy(np.array(window_mask(2048, 2048, 64, 4)))
        calls["level 4"] = _differentiated(lambda *a: F.scaled_dot_product_attention(*a, mask), [q, k, v], dout)
    yield Ladder(WINDOW, calls, operations="", note="float32")
