# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:381e7d96aa7beb3b
"""Chapter 31: generation in PyTorch, as it is commonly written, and as fast as we could make it."""

import torch
import torch.nn.functional as F

from tangled.t30_mini_gpt.level4_pytorch_reference import TorchGPT


class Appended:
    """Modules, and a cache that grows by concatenation, as in most tutorials and many libraries."""

    def __init__(self, state, heads):
        self.net = TorchGPT(state, heads).eval()

    @torch.no_grad()
    def write(self, n, batch=1):
        """Greedy tokens behind token 0 of each row: (batch, n)."""
        net, ids, kept = self.net, torch.zeros(batch, 1, dtype=torch.long), [None] * len(self.net.blocks)
        out = []
        for t in range(n):
            x = net.wte(ids) + net.wpe.weight[t]
            for k, block in enumerate(net.blocks):
                parts = block.qkv(block.norm1(x)).chunk(3, -1)
                q, *new = (a.unflatten(2, (block.heads, -1)).transpose(1, 2) for a in parts)
                kept[k] = new if kept[k] is None else [torch.cat(both, 2) for both in zip(kept[k], new)]
                x = x + block.out(F.scaled_dot_product_attention(q, *kept[k]).transpose(1, 2).flatten(2))
                x = x + block.down(F.gelu(block.up(block.norm2(x)), approximate="tanh"))
            ids = F.linear(net.norm(x), net.wte.weight).argmax(-1)
            out.append(ids)
        return torch.cat(out, 1)


class Buffered:
    """Functions on tensors, in inference mode, with buffers made once; rows of vectors, not sequences of one."""

    def __init__(self, state, heads):
        net = TorchGPT(state, heads).eval()
        self.heads, self.wte, self.wpe = heads, net.wte.weight.detach(), net.wpe.weight.detach()
        pair = lambda m: (m.weight.detach(), m.bias.detach())
        self.last = pair(net.norm)
        self.blocks = [[pair(m) for m in (b.norm1, b.qkv, b.out, b.norm2, b.up, b.down)] for b in net.blocks]

    @torch.inference_mode()
    def write(self, n, batch=1):
        """Greedy tokens behind token 0 of each row: (batch, n)."""
        D, H = self.wte.shape[1], self.heads
        kept = torch.zeros(len(self.blocks), 2, batch, H, len(self.wpe), D // H)
        ids, out = torch.zeros(batch, dtype=torch.long), torch.zeros(batch, n, dtype=torch.long)
        for t in range(n):
            x = self.wte[ids] + self.wpe[t]                     # (batch, D)
            for k, (norm1, qkv, last, norm2, up, down) in enumerate(self.blocks):
                new = F.linear(F.layer_norm(x, (D,), *norm1), *qkv).view(batch, 3, H, -1)
                kept[k, :, :, :, t] = new[:, 1:].transpose(0, 1)
                keys, values = kept[k, :, :, :, :t + 1]
                o = F.scaled_dot_product_attention(new[:, 0, :, None], keys, values)
                x = x + F.linear(o.view(batch, D), *last)
                x = x + F.linear(F.gelu(F.linear(F.layer_norm(x, (D,), *norm2), *up), approximate="tanh"), *down)
            ids = out[:, t] = F.linear(F.layer_norm(x, (D,), *self.last), self.wte).argmax(-1)
        return out
