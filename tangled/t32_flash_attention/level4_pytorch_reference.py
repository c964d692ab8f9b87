# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:12d5cfcb90897087
"""Flash attention by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import torch
import torch.nn.functional as F

import tangled.t32_flash_attention.checks as check
from tangled.t25_self_attention import level4_pytorch_reference as plain
from tangled.testing import Case


def flash_attention(q, k, v, causal=False, scale=None, block_q=128, block_k=512, mask=None):
    """As level 2, q (..., Tq, D), by F.scaled_dot_product_attention; the cache is the graph."""
    q, k, v, mask, scale, dtype, _ = check.arguments(q, k, v, causal, scale, block_q, block_k, mask)
    out, cache = plain.attention(q, k, v, mask, causal, scale)
    return out.astype(dtype), (cache, dtype)


def flash_attention_backward(dout, cache):
    """dq, dk, dv in the shapes of q, k, v, by autograd."""
    return tuple(grad.astype(cache[1]) for grad in plain.attention_backward(dout, cache[0]))


def traffic(Tq, Tk, D, Dv, block_q, block_k, causal=False):
    """Numbers moved forward and backward, two ints, from a picture (Tq, Tk) of the mask."""
    Tq, Tk, D, Dv, block_q, block_k = check.sizes(Tq, Tk, D, Dv, block_q, block_k)
    allowed = torch.ones(Tq, Tk).tril(Tk - Tq if causal else Tk)
    rows, cols = (torch.tensor([min(b, n - i) for i in range(0, n, b)]) for n, b in ((Tq, block_q), (Tk, block_k)))
    visited = torch.zeros(len(rows), len(cols))
    if allowed.numel():
        sides = min(block_q, Tq), min(block_k, Tk)
        visited = F.max_pool2d(allowed[None], sides, ceil_mode=True)[0]
    visits = torch.stack([(visited * cols).sum(), (visited * rows[:, None]).sum()]).tolist()
    forward = Tq * (D + Dv + 2) + (D + Dv) * visits[0]
    return int(forward), int(Tq * (2 * Dv + 1) + 2 * Tk * (D + Dv) + (3 * D + Dv + 3) * visits[1])


def _cases(rng):
    """name: (batch axes, (Tq, Tk, D, Dv), options)."""
    mask = rng.random((2, 3, 5, 7)) < 0.6
    mask[1, 2, 3] = False                                       # a query that sees nothing
    hidden = rng.random((3, 5, 7)) < 0.7
    hidden[..., :3] = hidden[1:, :2] = hidden[0, 2:4, 3:6] = False               # tiles that nobody sees
    sizes = (5, 7, 4, 6)
    return {"plain": ((2, 3), sizes, {}),
            "no-batch": ((), sizes, {}),
            "causal": ((2, 3), (6, 6, 4, 5), {"causal": True}),
            "causal-short": ((2, 3), sizes, {"causal": True}),
            "causal-long": ((2, 3), (7, 5, 4, 6), {"causal": True}),
            "mask": ((2, 3), sizes, {"mask": mask}),
            "tiles-hidden": ((2, 3), sizes, {"mask": hidden}),
            "everything": ((2, 3), sizes, {"mask": mask, "causal": True, "scale": 1.3})}


def golden_cases(rng):
    """Inputs from `rng`, tiles of 2 x 3; outputs and gradients in float64."""
    for name, (batch, (Tq, Tk, D, Dv), options) in _cases(rng).items():
        inputs = {"q": rng.standard_normal((*batch, Tq, D)), "k": rng.standard_normal((*batch, Tk, D)),
                  "v": rng.standard_normal((*batch, Tk, Dv)), "block_q": 2, "block_k": 3, **options}
        out, cache = flash_attention(**inputs)
        dout = rng.standard_normal(out.shape)
        yield Case(name, inputs, {"out": out}, {"out": dout}, dict(zip("qkv", flash_attention_backward(dout, cache))))
