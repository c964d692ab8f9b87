# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:c970fe5c8d43a424
"""KV cache by PyTorch. NumPy in, NumPy out."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t31_kv_cache.checks as check
from tangled.t30_mini_gpt.checks import shapes
from tangled.testing import Case


def _turned(x, places, base):
    """x (B, H, T, d), its pairs as complex numbers times exp(i angle); places (B, T)."""
    d = x.shape[-1]
    angles = places[:, None, :, None] * base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    turn = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def _block(x, w, at, size, attend):
    """x (B, T, D) through one block; `attend` has q, k, v (B, heads, T, d) and gives (B, H, T, d)."""
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[at + name + ".weight"], w[at + name + ".bias"])
    linear = lambda x, name: F.linear(x, w[at + name + ".weight"].T, w[at + name + ".bias"])
    a = norm(x, "norm1")
    q, k, v = (linear(a, f"attention.{p}_proj").unflatten(2, (-1, size.head_dim)).transpose(1, 2) for p in "qkv")
    x = x + linear(attend(q, k, v).transpose(1, 2).flatten(2), "attention.out_proj")
    return x + linear(F.gelu(linear(norm(x, "norm2"), "ffn.linear1"), approximate="tanh"), "ffn.linear2")


def _logits(x, w):
    """x (B, T, D) to (B, T, V)."""
    return F.linear(F.layer_norm(x, x.shape[-1:], w["norm.weight"], w["norm.bias"]), w["wte.weight"])


@torch.inference_mode()
def whole(ids, weights, num_heads, base=10000.0):
    """Logits (B, T, V) of whole sequences ids (B, T), without a cache."""
    size, arrays = check.model(weights, num_heads)
    w = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    places, groups = torch.arange(ids.shape[1]).expand(*ids.shape), size.heads // size.kv_heads

    def attend(q, k, v):
        if size.context is None:
            q, k = _turned(q, places, base), _turned(k, places, base)
        k, v = (a.repeat_interleave(groups, 1) for a in (k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = F.embedding(torch.from_numpy(ids), w["wte.weight"])
    if size.context is not None:
        x = x + w["wpe.weight"][:ids.shape[1]]
    for k in range(size.layers):
        x = _block(x, w, f"blocks.{k}.", size, attend)
    return _logits(x, w).numpy().astype(size.dtype)


class Decoder:
    """As level 2."""

    def __init__(self, weights, num_heads, batch=1, capacity=None, base=10000.0):
        self.size, arrays = check.model(weights, num_heads)
        s, self.base = self.size, check.real("base", base, 0, open_low=True)
        self.w = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
        self.capacity, (batch,) = check.capacity_of(capacity, s.context), check.sizes(batch=batch)
        shape = s.layers, 2, batch, s.kv_heads, self.capacity, s.head_dim
        self.data, self.filled = torch.zeros(shape, dtype=self.w["wte.weight"].dtype), np.zeros(batch, np.int64)

    @property
    def lengths(self):
        """How many tokens each row has, (batch,)."""
        return self.filled.copy()

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,)."""
        lengths, rows = check.lengths_of(lengths, rows, self.filled)
        self.filled[rows] = lengths

    @torch.inference_mode()
    def extend(self, ids, counts=None, rows=None):
        """As level 2, ids (B, T): logits (B, T, V)."""
        ids, counts, rows = check.step(ids, counts, rows, self.size, self.filled)
        longest = int((self.filled[rows] + counts).max(initial=0))
        if longest > self.capacity:
            raise ValueError(f"ids would make {longest} tokens; expected at most the capacity of {self.capacity}")
        s, T = self.size, ids.shape[1]
        places = torch.from_numpy(self.filled[rows])[:, None] + torch.arange(T)         # (B, T)
        real, mine = torch.arange(T) < torch.from_numpy(counts)[:, None], torch.from_numpy(rows)
        seen = torch.arange(longest) <= places[:, None, :, None]                        # (B, 1, T, S)
        places = places.clamp(max=self.capacity - 1)
        x = F.embedding(torch.from_numpy(ids), self.w["wte.weight"])
        if s.context is not None:
            x = x + self.w["wpe.weight"][places]
        for layer in range(s.layers if len(ids) and longest else 0):
            def attend(q, k, v, kept=self.data[layer]):
                if s.context is None:
                    q, k = _turned(q, places, self.base), _turned(k, places, self.base)
                at, step = real.nonzero(as_tuple=True)
                for c, new in enumerate((k, v)):
                    kept[c, mine[at], :, places[at, step]] = new[at, :, step]
                keys, values = kept[:, mine, :, :longest].repeat_interleave(s.heads // s.kv_heads, 2)
                return F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
            x = _block(x, self.w, f"blocks.{layer}.", s, attend)
        self.filled[rows] += counts
        logits = _logits(x, self.w) * real[..., None]
        return logits.numpy().astype(s.dtype)


def cache_bytes(layers, kv_heads, head_dim, lengths, itemsize=2, capacity=None, block_size=None):
    """As level 2, lengths (B,): the size of tensors without memory."""
    check.sizes(layers=layers, kv_heads=kv_heads, head_dim=head_dim, itemsize=itemsize)
    total = 0
    for n in np.atleast_1d(lengths).tolist():
        room = check.whole("lengths", n, 0) if capacity is None else check.whole("capacity", capacity)
        if n > room:
            raise ValueError(f"lengths has {n}; expected at most the capacity of {room}")
        if capacity is None and block_size is not None:
            room = sum(len(block) for block in torch.arange(n).split(check.whole("block_size", block_size)))
            room += -room % block_size
        total += torch.empty(2, layers, kv_heads, room, head_dim * itemsize, dtype=torch.uint8, device="meta").nbytes
    return total


def verify(p, q, drafted, uniform, counts=None):
    """As level 2, p (B, k + 1, V): accepted (B,), token (B,)."""
    given = check.drafts(p, q, drafted, uniform, counts)
    p, q, drafted, uniform, counts = (torch.from_numpy(np.array(a)) for a in given)
    k = q.shape[1]
    ratio = (p[:, :k].gather(2, drafted[..., None]) / q.gather(2, drafted[..., None]))[..., 0]
    refused = (uniform[:, :k] >= ratio.nan_to_num(0.0)) | (torch.arange(k) >= counts[:, None])
    accepted = torch.cat([refused, torch.ones(len(p), 1, dtype=torch.bool)], 1).int().argmax(1)
    left = p[torch.arange(len(p)), accepted]
    if k:
        less = (left - q[torch.arange(len(p)), accepted.clamp(max=k - 1)]).clamp(min=0)
        left = torch.where(((accepted < counts) & (less.sum(1) > 0))[:, None], less, left)
    up_to = left.cumsum(1)
    token = torch.searchsorted(up_to, uniform[:, -1:] * up_to[:, -1:], right=True)[:, 0]
    last = (left > 0).long().mul(torch.arange(left.shape[1])).amax(1)
    return accepted.numpy(), torch.minimum(token, last).numpy()


def random_weights(rng, kv_heads=3, rotary=False, V=7, context=9, D=12, L=2, heads=3):
    """Lively random weights by the names of GPT.state_dict; norms near 1."""
    found, kv = {}, D // heads * kv_heads
    for name, shape in shapes(V, context, D, 4 * D, L).items():
        shape = (*shape[:-1], kv) if ".k_proj." in name or ".v_proj." in name else shape
        draw = rng.standard_normal(shape)
        found[name] = 1 + draw / 4 if "norm" in name and name.endswith("weight") else draw / 2
    if rotary:
        del found["wpe.weight"]
    return found


MODELS = {"learned-mha": (3, 3, False), "learned-mqa": (3, 1, False), "rope-mha": (3, 3, True),
          "rope-gqa": (6, 2, True)}                             # heads, key heads, rotary


def golden_cases(rng):
    """Inputs from `rng`; outputs in float64. A dot would make a dict of a name."""
    for name, (heads, kv_heads, rotary) in MODELS.items():
        weights = random_weights(rng, kv_heads, rotary, heads=heads)
        ids, base = rng.integers(0, 7, (4, 9)), 100.0
        plain = {key.replace(".", "_"): a for key, a in weights.items()}
        yield Case(name, {"ids": ids, "weights": plain, "num_heads": heads, "base": base},
                   {"logits": whole(ids, weights, heads, base)})
    shape = (5, 3, 6)
    p, q = rng.dirichlet(np.ones(6), (5, 4)), rng.dirichlet(np.ones(6), (5, 3))
    inputs = {"p": p, "q": q, "drafted": rng.integers(0, 6, shape[:2]), "uniform": rng.random((5, 4)),
              "counts": np.array([3, 2, 0, 3, 1])}
    accepted, token = verify(**inputs)
    yield Case("verify", inputs, {"accepted": accepted.astype(float), "token": token.astype(float)})
