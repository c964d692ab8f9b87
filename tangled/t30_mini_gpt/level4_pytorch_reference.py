# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:dbe2f6d40cf6aee0
"""Mini-GPT by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import tangled.t30_mini_gpt.checks as check
from tangled.testing import Case


def _leaf(array, dtype=None):
    """A copy that wants a gradient."""
    return torch.from_numpy(np.array(array, dtype, order="C")).requires_grad_()


def _tensor(array):
    """A copy without a gradient."""
    return torch.from_numpy(np.array(array, order="C"))


def gpt(ids, weights, num_heads):
    """As level 2, ids (B, T); the cache is the graph."""
    given = check.model(ids, weights, num_heads)
    w, T = {name: _leaf(a) for name, a in given.weights.items()}, given.ids.shape[1]
    norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])
    linear = lambda x, name: F.linear(x, w[name + ".weight"].T, w[name + ".bias"])
    x = F.embedding(_tensor(given.ids), w["wte.weight"]) + w["wpe.weight"][:T]
    split = lambda a: a.unflatten(2, (given.heads, -1)).transpose(1, 2)
    for k in range(check.depth(w)):
        at = f"blocks.{k}."
        a = norm(x, at + "norm1")
        q, key, v = (split(linear(a, f"{at}attention.{p}")) for p in check.PROJECTIONS[:3])
        o = F.scaled_dot_product_attention(q, key, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + linear(o, at + "attention.out_proj")
        h = F.gelu(linear(norm(x, at + "norm2"), at + "ffn.linear1"), approximate="tanh")
        x = x + linear(h, at + "ffn.linear2")
    logits = norm(x, "norm") @ w["wte.weight"].T
    return logits.detach().numpy().astype(given.dtype), (logits, w, given.dtype)


def gpt_backward(dlogits, cache):
    """As level 2, dlogits (B, T, V), by autograd."""
    logits, w, dtype = cache
    dlogits = check.gradient(dlogits, tuple(logits.shape), logits.detach().numpy().dtype)
    grads = torch.autograd.grad(logits, list(w.values()), _tensor(dlogits), retain_graph=True)
    return {name: g.numpy().astype(dtype) for name, g in zip(w, grads)}


def repetition_penalty(logits, seen, penalty):
    """As level 2, logits (..., V), seen (..., n)."""
    z = _tensor(check.logits(logits))
    ids, penalty = _tensor(check.seen(seen, tuple(z.shape), z.shape[-1])), check.real("penalty", penalty, 1)
    picked = z.gather(-1, ids)
    return z.scatter(-1, ids, torch.where(picked > 0, picked / penalty, picked * penalty).to(z.dtype)).numpy()


def filter_logits(logits, temperature=1.0, top_k=None, top_p=None, min_p=None):
    """As level 2, logits (..., V)."""
    logits, how = check.logits(logits), check.choice(temperature, top_k, top_p, min_p)
    given = _tensor(logits)
    if how.temperature == 0:
        best = F.one_hot(given.double().argmax(-1), given.shape[-1]).bool()
        return given.masked_fill(~best, -torch.inf).numpy()
    z = (given.double() - given.double().amax(-1, keepdim=True)) / how.temperature
    keep = torch.ones_like(z, dtype=torch.bool)
    if how.top_k is not None:
        keep &= z >= z.topk(min(how.top_k, z.shape[-1])).values[..., -1:]
    if how.top_p is not None:
        falling, _ = z.masked_fill(~keep, -torch.inf).sort(descending=True)
        p = falling.softmax(-1)
        count = (p.cumsum(-1) - p < how.top_p).sum(-1, keepdim=True)
        keep &= z >= falling.gather(-1, count - 1)
    if how.min_p is not None:
        p = z.softmax(-1)
        keep &= p >= how.min_p * p.amax(-1, keepdim=True)
    return (given / how.temperature).masked_fill(~keep, -torch.inf).numpy()


def low_rank_linear(x, w, a, b, bias=None, scale=1.0):
    """As level 2, x (..., n)."""
    x, w, a, b, bias, scale = check.low_rank(x, w, a, b, bias, scale)
    leaves = [_leaf(x), _leaf(a), _leaf(b)]
    frozen = F.linear(leaves[0], _tensor(w).T, None if bias is None else _tensor(bias))
    out = frozen + scale * (leaves[0] @ leaves[1] @ leaves[2])
    return out.detach().numpy(), (out, leaves)


def low_rank_linear_backward(dout, cache, name="dout"):
    """As level 2, dout (..., m), by autograd."""
    out, leaves = cache
    dout = check.gradient(dout, tuple(out.shape), out.detach().numpy().dtype, name)
    return tuple(g.numpy() for g in torch.autograd.grad(out, leaves, _tensor(dout), retain_graph=True))


def sequence_log_probs(logits, targets, mask):
    """As level 2, logits (N, T, V), by cross_entropy."""
    logits, targets, mask = check.sequences(logits, targets, mask)
    leaf = _leaf(logits)
    losses = F.cross_entropy(leaf.flatten(0, 1), _tensor(targets).flatten(), reduction="none").view(targets.shape)
    out = -(losses * _tensor(mask)).sum(1)
    return out.detach().numpy(), (out, [leaf])


def sequence_log_probs_backward(dlog_probs, cache):
    """As level 2, dlog_probs (N,), by autograd."""
    return low_rank_linear_backward(dlog_probs, cache, "dlog_probs")[0]


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1):
    """As level 2, four arrays (N,), by logsigmoid."""
    arrays, beta = check.preferences((policy_chosen, policy_rejected, reference_chosen, reference_rejected), beta)
    chosen, rejected = leaves = [_leaf(a) for a in arrays[:2]]
    before, before_rejected = (_tensor(a) for a in arrays[2:])
    loss = -F.logsigmoid(beta * ((chosen - rejected) - (before - before_rejected))).mean()
    return loss.item(), (loss, leaves)


def dpo_loss_backward(dloss, cache):
    """As level 2, dloss a number: two gradients (N,), by autograd."""
    loss, leaves = cache
    grads = torch.autograd.grad(loss * float(dloss), leaves, retain_graph=True)
    return tuple(g.numpy() for g in grads)


class Block(nn.Module):
    """A pre-norm block as it is commonly written: one projection for q, k, v, and SDPA."""

    def __init__(self, D, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out, self.up, self.down = (nn.Linear(*s) for s in ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)))

    def forward(self, x):
        """x (B, T, D) to (B, T, D)."""
        q, k, v = (a.unflatten(2, (self.heads, -1)).transpose(1, 2) for a in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class TorchGPT(nn.Module):
    """The same network, for training and for the ladder."""

    def __init__(self, state, num_heads):
        super().__init__()
        V, context, D, _, L = check.state(state)
        self.wte, self.wpe, self.norm = nn.Embedding(V, D), nn.Embedding(context, D), nn.LayerNorm(D)
        self.blocks = nn.ModuleList([Block(D, num_heads) for _ in range(L)])
        self.context = context
        with torch.no_grad():
            for name, array in torch_state(state).items():
                self.get_parameter(name).copy_(torch.from_numpy(array))

    def forward(self, ids):
        """ids (B, T) to logits (B, T, V)."""
        x = self.wte(ids) + self.wpe.weight[:ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.wte.weight)


def torch_state(state):
    """The weights of `GPT.state_dict` under the names of TorchGPT, matrices of layers transposed: (out, in)."""
    found = {name: a for name, a in state.items() if not name.startswith("blocks.") or ".norm" in name}
    for k in range(check.depth(state)):
        at = f"blocks.{k}."
        for kind in ("weight", "bias"):
            parts = [state[f"{at}attention.{p}.{kind}"] for p in check.PROJECTIONS[:3]]
            found[f"{at}qkv.{kind}"] = np.concatenate(parts, axis=-1).T.copy()
            found[f"{at}out.{kind}"] = state[f"{at}attention.out_proj.{kind}"].T.copy()
            found[f"{at}up.{kind}"] = state[f"{at}ffn.linear1.{kind}"].T.copy()
            found[f"{at}down.{kind}"] = state[f"{at}ffn.linear2.{kind}"].T.copy()
    return found


def _weights(rng, V=7, context=5, D=6, L=2):
    """Random weights by the names of GPT.state_dict; norms near 1."""
    found = {}
    for name, shape in check.shapes(V, context, D, 4 * D, L).items():
        draw = rng.standard_normal(shape)
        found[name] = 1 + draw / 4 if "norm" in name and name.endswith("weight") else draw / 2
    return found


FILTERS = {"warm": {"temperature": 1.7}, "cold": {"temperature": 0.4}, "zero": {"temperature": 0.0},
           "top-k": {"top_k": 3}, "top-p": {"top_p": 0.7}, "min-p": {"min_p": 0.2},
           "all": {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.05}}


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64. Sizes all differ; a dot would make a dict of a name."""
    plain = lambda given: {name.replace(".", "_"): a for name, a in given.items()}
    for name, shape in {"gpt": (2, 4), "gpt-whole-context": (3, 5), "gpt-one-token": (2, 1)}.items():
        weights, ids = _weights(rng), rng.integers(0, 7, shape)
        logits, cache = gpt(ids, weights, 3)
        dlogits = rng.standard_normal(logits.shape)
        grads = gpt_backward(dlogits, cache)
        yield Case(name, {"ids": ids, "weights": plain(weights)}, {"logits": logits}, {"logits": dlogits}, plain(grads))
    for name, options in FILTERS.items():
        logits = 2 * rng.standard_normal((3, 4, 9))
        yield Case(f"filter-{name}", {"logits": logits, **options},
                   {"kept": np.isfinite(filter_logits(logits, **options)).astype(float),
                    "p": F.softmax(_tensor(filter_logits(logits, **options)), -1).numpy()})
    logits, seen = rng.standard_normal((2, 3, 6)), rng.integers(0, 6, (2, 3, 4))
    yield Case("penalty", {"logits": logits, "seen": seen, "penalty": 1.4},
               {"out": repetition_penalty(logits, seen, 1.4)})
    inputs = {k: rng.standard_normal(s) for k, s in {"x": (2, 3, 5), "w": (5, 7), "a": (5, 4), "b": (4, 7)}.items()}
    inputs |= {"bias": rng.standard_normal(7), "scale": 1.5}
    out, cache = low_rank_linear(**inputs)
    dout = rng.standard_normal(out.shape)
    yield Case("lora", inputs, {"out": out}, {"out": dout}, dict(zip("xab", low_rank_linear_backward(dout, cache))))
    inputs = {"logits": rng.standard_normal((3, 4, 5)), "targets": rng.integers(0, 5, (3, 4)),
              "mask": rng.random((3, 4)) < 0.6}
    out, cache = sequence_log_probs(**inputs)
    dout = rng.standard_normal(out.shape)
    yield Case("log-probs", inputs, {"out": out}, {"out": dout}, {"logits": sequence_log_probs_backward(dout, cache)})
    names = "policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected"
    inputs = {name: -5 * rng.random(6) for name in names} | {"beta": 0.7}
    loss, cache = dpo_loss(**inputs)
    yield Case("dpo", inputs, {"loss": np.array(loss)}, {"loss": np.array(1.3)},
               dict(zip(names, dpo_loss_backward(1.3, cache))))
