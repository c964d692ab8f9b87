# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:f5dd0d97482b77bf
"""Chapter 29: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t29_transformer_decoder import checks, level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, BLOCK, STEP = ("decoder block, B 1, T 3, S 4, D 8, F 12", "decoder block, B 16, T 32, S 32, D 128, F 512",
                     "cached step, B 16, t 60, S 32, D 128, F 512")


def _arrays(B, T, S, D, width):
    """x, dout (B, T, D), memory (B, S, D) and the weights, float32."""
    draw = np.random.default_rng(0).standard_normal
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in checks.NAMES} | {"w1": (D, width), "b1": (width,),
                                                                                     "w2": (width, D)}
    w = {name: draw(s, np.float32) / np.float32(D ** 0.5) for name, s in shapes.items()}
    return draw((B, T, D), np.float32), draw((B, T, D), np.float32), draw((B, S, D), np.float32), w


def _layer(w, D, H, width):
    """torch.nn.TransformerDecoderLayer with these weights, without dropout."""
    import torch
    layer = torch.nn.TransformerDecoderLayer(D, H, width, 0.0, "relu", batch_first=True, norm_first=True)
    of = lambda *names: torch.cat([torch.from_numpy(w[n].T.copy()) for n in names])
    state = {}
    for name, v, b in (("self_attn", "w", "b"), ("multihead_attn", "u", "a")):
        state |= {f"{name}.in_proj_weight": of(*(f"{v}_{c}" for c in "qkv")), f"{name}.out_proj.weight": of(v + "_o"),
                  f"{name}.in_proj_bias": of(*(f"{b}_{c}" for c in "qkv")), f"{name}.out_proj.bias": of(b + "_o")}
    for k in "123":
        state |= {f"norm{k}.weight": of("gamma" + k), f"norm{k}.bias": of("beta" + k)}
    for k in "12":
        state |= {f"linear{k}.weight": of("w" + k), f"linear{k}.bias": of("b" + k)}
    layer.load_state_dict(state)
    return layer


def _written(t, H):
    """A block as a reader of its source would write it: packed products. Tensors by name in `t`."""
    import torch
    import torch.nn.functional as F
    norm = lambda x, k: F.layer_norm(x, x.shape[-1:], t[f"gamma{k}"], t[f"beta{k}"])
    heads = lambda x: x.unflatten(2, (H, -1)).transpose(1, 2)
    pack = lambda v, b, cs: (torch.cat([t[f"{v}_{c}"] for c in cs], 1).T, torch.cat([t[f"{b}_{c}"] for c in cs]))

    def call(x, memory):
        q, k, v = map(heads, F.linear(norm(x, 1), *pack("w", "b", "qkv")).chunk(3, 2))
        x = x + F.linear(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2),
                         t["w_o"].T, t["b_o"])
        k, v = map(heads, F.linear(memory, *pack("u", "a", "kv")).chunk(2, 2))
        q = heads(F.linear(norm(x, 2), t["u_q"].T, t["a_q"]))
        x = x + F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), t["u_o"].T, t["a_o"])
        return x + F.linear(F.relu(F.linear(norm(x, 3), t["w1"].T, t["b1"])), t["w2"].T, t["b2"])
    return call


def _block(name, B, T, S, D, width, H):
    """Forward and backward; PyTorch's tensors stay tensors."""
    x, dout, memory, w = _arrays(B, T, S, D, width)

    def task(level):
        _, cache = level.decoder_block(x, memory, w, num_heads=H, activation="relu")
        return level.decoder_block_backward(dout, cache)

    calls = {k: lambda m=m: task(m) for k, m in LEVELS.items() if k != "level 1" or name == TINY}
    if torch_available():
        import torch
        leaf = lambda a: torch.from_numpy(a.copy()).requires_grad_()
        layer, up, inputs = _layer(w, D, H, width), torch.from_numpy(dout.copy()), [leaf(x), leaf(memory)]
        ahead, t = torch.ones(T, T, dtype=torch.bool).triu(1), {k: leaf(a) for k, a in w.items()}
        written, modules = _written(t, H), [*inputs, *layer.parameters()]
        calls["level 4"] = lambda: torch.autograd.grad(layer(*inputs, tgt_mask=ahead), modules, up)
        calls["best PyTorch"] = lambda: torch.autograd.grad(written(*inputs), [*inputs, *t.values()], up)
    return Ladder(name, calls, operations="3 B (6 T D^2 + 2 S D^2 + 2 T D F) + 6 B T (T + S) D", note="float32, ReLU")


def _torch_step(x, keys, values, memory_keys, memory_values, w, H, buffers):
    """One step of eager PyTorch: keys joined by torch.cat, or written into buffers with packed products."""
    import torch
    import torch.nn.functional as F
    t, D = {k: torch.from_numpy(a.T.copy()) for k, a in w.items()}, x.shape[1]
    x, *past = (torch.from_numpy(np.array(a)) for a in (x, keys, values, memory_keys, memory_values))
    pack = [torch.cat([t[f"{v}_{c}"] for c in "qkv"]) for v in "wb"]
    room = [torch.cat([a, a[:, :, :1]], 2) for a in past[:2]]
    norm = lambda a, k: F.layer_norm(a, (D,), t[f"gamma{k}"], t[f"beta{k}"])
    heads = lambda a: a.view(len(a), H, 1, D // H)
    look = lambda q, k, v: F.scaled_dot_product_attention(heads(q), k, v).view(len(q), D)

    def call():
        with torch.no_grad():
            normed = norm(x, 1)
            if buffers:
                q, *new = F.linear(normed, *pack).chunk(3, 1)
                for buffer, a in zip(room, new):
                    buffer[:, :, -1] = a.view(len(a), H, -1)
                k, v = room
            else:
                q, *new = (F.linear(normed, t["w_" + c], t["b_" + c]) for c in "qkv")
                k, v = (torch.cat([a, heads(b)], 2) for a, b in zip(past, new))
            y = x + F.linear(look(q, k, v), t["w_o"], t["b_o"])
            y = y + F.linear(look(F.linear(norm(y, 2), t["u_q"], t["a_q"]), *past[2:]), t["u_o"], t["a_o"])
            return y + F.linear(F.relu(F.linear(norm(y, 3), t["w1"], t["b1"])), t["w2"], t["b2"])
    return call


def _again(level, x, state, w, H):
    """A step from `state`, as if it were the first from there: in decoding there is no second."""
    def call():
        if hasattr(state, "filled"):
            state.filled[0] = state.t
        return level.decoder_block_step(x, state, w, num_heads=H, activation="relu")
    return call


def _step(name, B, t, S, D, width, H):
    """One token behind t others."""
    x, _, memory, w = _arrays(B, t + 1, S, D, width)
    calls, kept = {}, []
    for key in ("level 2", "level 3"):
        level = LEVELS[key]
        state = level.start_decoding(memory, w, num_heads=H)
        for k in range(t):
            _, state = level.decoder_block_step(x[:, k], state, w, num_heads=H, activation="relu")
        calls[key] = _again(level, x[:, t], state, w, H)
        if key == "level 2":
            kept = [state[name] for name in ("keys", "values", "memory_keys", "memory_values")]
    if torch_available():
        calls |= {key: _torch_step(x[:, t], *kept, w, H, b) for key, b in (("level 4", False), ("best PyTorch", True))}
    return Ladder(name, calls, operations="B (6 D^2 + 2 D F) + 2 B (t + S) D", note="float32, ReLU")


def ladders():
    """A block forward and backward, and a cached step."""
    yield _block(TINY, 1, 3, 4, 8, 12, 2)
    yield _block(BLOCK, 16, 32, 32, 128, 512, 4)
    yield _step(STEP, 16, 60, 32, 128, 512, 4)
