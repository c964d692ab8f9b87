# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:4af77afe60a3ef5a
"""Chapter 28: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t28_transformer_encoder import checks, level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
TINY, BLOCK, CAUSAL, FORWARD, GATED = (
    "encoder block, B 1, T 4, D 12, F 24", "encoder block, B 16, T 64, D 128, F 512",
    "causal block, B 4, T 256, D 128, F 512", "forward alone, B 16, T 64, D 128, F 512",
    "SwiGLU, 1,024 tokens, D 128, F 344")


def _calls(task, tiny=False):
    """{level: a function that runs `task(module)`}."""
    return {key: (lambda level=level: task(level)) for key, level in LEVELS.items() if key != "level 1" or tiny}


def _arrays(B, T, D, F):
    """x, dout (B, T, D) and a dict of weights, float32."""
    draw, shapes = np.random.default_rng(0).standard_normal, dict.fromkeys(checks.NAMES, (D,)) | {"b1": (F,)}
    shapes |= dict.fromkeys(("w_q", "w_k", "w_v", "w_o"), (D, D)) | {"w1": (D, F), "w2": (F, D)}
    x, dout = draw((2, B, T, D), np.float32)
    return x, dout, {name: draw(s, np.float32) / np.float32(D ** 0.5) for name, s in shapes.items()}


def _layer(D, H, F, weights, T, causal):
    """torch.nn.TransformerEncoderLayer with these weights, and its mask."""
    import torch
    layer = torch.nn.TransformerEncoderLayer(D, H, F, 0.0, "gelu", batch_first=True, norm_first=True)
    block = level2_vectorized.EncoderBlock(D, H, F)
    for name, p in zip(checks.NAMES, _in_order(block)):
        p.data[...] = weights[name]
    layer.load_state_dict({k: torch.from_numpy(a) for k, a in level2_vectorized.to_pytorch(block).items()})
    return layer, torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None


def _in_order(block):
    """The Parameters of an EncoderBlock in the order of the op's names: (D,), ..., (F, D), (D,)."""
    return list(level3_memory_efficient.EncoderBlock.arrays(block).values())


def _differentiated(function, leaves, dout):
    """PyTorch without our wrapper: tensors stay tensors."""
    import torch
    dout = torch.from_numpy(dout.copy())
    return lambda: torch.autograd.grad(function(), leaves, dout)


def _written(x, weights, H, causal):
    """A block by hand: (function, leaves)."""
    import torch
    import torch.nn.functional as F
    leaf = lambda a: torch.from_numpy(np.ascontiguousarray(a)).requires_grad_()
    packed = {"w": np.concatenate([weights[f"w_{n}"] for n in "qkv"], axis=1).T,
              "b": np.concatenate([weights[f"b_{n}"] for n in "qkv"])}
    w = {k: leaf(a.T if a.ndim == 2 and k != "w" else a) for k, a in (weights | packed).items() if k[2:] not in "qkv" or
         not k[2:]}
    x, D = leaf(x), x.shape[2]

    def call():
        qkv = F.linear(F.layer_norm(x, (D,), w["gamma1"], w["beta1"]), w["w"], w["b"])
        q, k, v = qkv.unflatten(2, (3, H, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
        middle = x + F.linear(heads, w["w_o"], w["b_o"])
        hidden = F.linear(F.layer_norm(middle, (D,), w["gamma2"], w["beta2"]), w["w1"], w["b1"])
        return middle + F.linear(F.gelu(hidden), w["w2"], w["b2"])
    return call, [x, *w.values()]


def _block(name, B, T, D, width, H, causal=False):
    """The ladder of a block, forward and backward."""
    x, dout, weights = _arrays(B, T, D, width)

    def task(level):
        _, cache = level.encoder_block(x, weights, num_heads=H, causal=causal)
        return level.encoder_block_backward(dout, cache)

    calls = _calls(task, name == TINY)
    if torch_available():
        import torch
        layer, mask = _layer(D, H, width, weights, T, causal)
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        calls |= {"level 4": _differentiated(lambda: layer(leaf, mask), [leaf, *layer.parameters()], dout),
                  "best PyTorch": _differentiated(*_written(x, weights, H, causal), dout)}
    return Ladder(name, calls, operations="12 B T D^2 + 6 B T D F + 6 B T^2 D", note="float32")


def _forward(name, B, T, D, width, H):
    """Evaluation, without gradients: against the layer in training mode, and against its fast path."""
    x, _, weights = _arrays(B, T, D, width)
    calls = _calls(lambda level: level.encoder_block(x, weights, num_heads=H)[0])
    if torch_available():
        import torch
        leaf = torch.from_numpy(x.copy())
        layers = [_layer(D, H, width, weights, T, False)[0].train(mode) for mode in (True, False)]
        calls |= {key: torch.no_grad()(lambda layer=layer: layer(leaf))
                  for key, layer in zip(("level 4", "best PyTorch"), layers)}
    return Ladder(name, calls, operations="4 B T D^2 + 2 B T D F + 2 B T^2 D", note="float32")


def _gated(name, N, D, width):
    """SwiGLU forward and backward."""
    draw = np.random.default_rng(1).standard_normal
    x, dout = draw((2, N, D), np.float32)
    arrays = [draw(s, np.float32) / np.float32(D ** 0.5) for s in ((D, width), (D, width), (width, D))]

    def task(level):
        return level.swiglu_backward(dout, level.swiglu(x, *arrays)[1])

    calls = _calls(task)
    if torch_available():
        import torch
        import torch.nn.functional as F
        leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, *arrays)]
        leaf, w_gate, w_up, w_down = leaves
        calls["level 4"] = _differentiated(lambda: (F.silu(leaf @ w_gate) * (leaf @ w_up)) @ w_down, leaves, dout)
    return Ladder(name, calls, operations="9 N D F", note="float32")


def ladders():
    """Blocks forward and backward, evaluation alone, and the gate."""
    yield _block(TINY, 1, 4, 12, 24, 3)
    yield _block(BLOCK, 16, 64, 128, 512, 4)
    yield _block(CAUSAL, 4, 256, 128, 512, 4, causal=True)
    yield _forward(FORWARD, 16, 64, 128, 512, 4)
    yield _gated(GATED, 1024, 128, 344)
