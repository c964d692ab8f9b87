# Tangled from chapters/29-transformer-decoder.qmd; edit the chapter, then run make tangle. sha256:c67e78b8c36c6df7
"""Transformer decoder by PyTorch. NumPy in, NumPy out; gradients by autograd."""

import numpy as np
import torch
import torch.nn.functional as F

import tangled.t29_transformer_decoder.checks as check
from tangled.testing import Case

ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


def _leaf(array):
    """A copy that wants a gradient, in the same shape."""
    return torch.from_numpy(np.array(array, order="C")).requires_grad_()


def _heads(x, w, b, H):
    """x (B, T, D) as (B, H, T, d), projected."""
    return F.linear(x, w.T, b).unflatten(2, (H, -1)).transpose(1, 2)


def _attend(q, k, v, w, b, mask=None, causal=False):
    """Heads (B, H, T, d) to (B, T, D), mixed; a query that sees nothing gets b."""
    out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    return F.linear(out.transpose(1, 2).flatten(2), w.T, b)


def decoder_block(x, memory, weights, memory_mask=None, *, num_heads, activation="gelu",
                  eps=1e-5):
    """As level 2, x (B, T, D); the cache is the graph."""
    given = check.block(x, memory, weights, memory_mask, num_heads, activation, eps)
    x, memory, w, H = _leaf(given.x), _leaf(given.memory), {k: _leaf(a) for k, a in given.weights.items()}, given.heads
    norm = lambda a, k: F.layer_norm(a, a.shape[-1:], w[f"gamma{k}"], w[f"beta{k}"], eps)
    real = None if given.real is None else torch.from_numpy(given.real)[:, None]
    normed = norm(x, 1)
    q, k, v = (_heads(normed, w["w_" + c], w["b_" + c], H) for c in "qkv")
    middle = x + _attend(q, k, v, w["w_o"], w["b_o"], causal=True)
    q = _heads(norm(middle, 2), w["u_q"], w["a_q"], H)
    k, v = (_heads(memory, w["u_" + c], w["a_" + c], H) for c in "kv")
    late = middle + _attend(q, k, v, w["u_o"], w["a_o"], real)
    hidden = ACTIVATIONS[activation](F.linear(norm(late, 3), w["w1"].T, w["b1"]))
    out = late + F.linear(hidden, w["w2"].T, w["b2"])
    return out.detach().numpy().astype(given.dtype), (out, x, memory, w, given)


def decoder_block_backward(dout, cache):
    """As level 2, dout (B, T, D), by autograd."""
    out, x, memory, w, given = cache
    dout = torch.from_numpy(np.array(check.gradient(dout, out.shape, given.x.dtype)))
    leaves = [x, memory, *w.values()]
    dx, dmemory, *grads = (g.numpy().astype(given.dtype) for g in
                           torch.autograd.grad(out, leaves, dout, retain_graph=True, materialize_grads=True))
    if given.real is not None:
        dmemory = np.where(given.real[:, 0, :, None], dmemory, dmemory.dtype.type(0))
    return dx, dmemory, dict(zip(w, grads))


def start_decoding(memory, weights, memory_mask=None, *, num_heads):
    """As level 2, memory (B, S, D)."""
    memory, real, w, H = check.beginning(memory, weights, memory_mask, num_heads)
    w = {name: torch.from_numpy(np.array(a)) for name, a in w.items()}
    keys, values = (_heads(torch.from_numpy(np.array(memory)), w["u_" + c], w["a_" + c], H).numpy() for c in "kv")
    return {"keys": keys[:, :, :0], "values": keys[:, :, :0], "memory_keys": keys, "memory_values": values,
            "real": None if real is None else real[:, None]}


def decoder_block_step(x, state, weights, *, num_heads, activation="gelu", eps=1e-5):
    """As level 2, x (B, D)."""
    x, w, H, dtype = check.one(x, len(state["keys"]), weights, num_heads, activation, eps)
    x, w = torch.from_numpy(np.array(x))[:, None], {name: torch.from_numpy(np.array(a)) for name, a in w.items()}
    past = {name: None if a is None else torch.from_numpy(np.array(a)) for name, a in state.items()}
    norm = lambda a, k: F.layer_norm(a, a.shape[-1:], w[f"gamma{k}"], w[f"beta{k}"], eps)
    normed = norm(x, 1)
    q, k, v = (_heads(normed, w["w_" + c], w["b_" + c], H) for c in "qkv")
    keys, values = torch.cat([past["keys"], k], 2), torch.cat([past["values"], v], 2)
    x = x + _attend(q, keys, values, w["w_o"], w["b_o"])
    q = _heads(norm(x, 2), w["u_q"], w["a_q"], H)
    x = x + _attend(q, past["memory_keys"], past["memory_values"], w["u_o"], w["a_o"], past["real"])
    hidden = ACTIVATIONS[activation](F.linear(norm(x, 3), w["w1"].T, w["b1"]))
    out = (x + F.linear(hidden, w["w2"].T, w["b2"]))[:, 0].numpy().astype(dtype)
    return out, state | {"keys": keys.numpy(), "values": values.numpy()}


def block_weights(rng, D, F):
    """A dict of weights for decoder_block."""
    shapes = {name: (D, D) if name[0] in "wu" else (D,) for name in check.NAMES} | {"w1": (D, F), "b1": (F,),
                                                                                    "w2": (F, D)}
    return {name: rng.standard_normal(s) / (1 if len(s) == 1 else D ** 0.5) for name, s in shapes.items()}


def smoothed(logits, targets, smoothing, padding):
    """Chapter 28's loss on tensors: logits (N, V), targets (N,)."""
    V, real = logits.shape[1], targets != padding
    q = torch.full_like(logits, smoothing / (V - 1))
    q[:, padding] = 0
    q.scatter_add_(1, targets[:, None], torch.full_like(logits[:, :1], 1 - smoothing))
    return -(q * F.log_softmax(logits, 1)).sum(1)[real].mean()


def sines(T, D):
    """Positions (T, D) by the formula of chapter 27."""
    angles = np.arange(T)[:, None] / 10000.0 ** (np.arange(0, D, 2) / D)
    return torch.from_numpy(np.stack([np.sin(angles), np.cos(angles)], 2).reshape(T, D))


def translate(net, table, source, lengths, inputs):
    """Logits (B, T, V) of a torch.nn.Transformer with one table for everything."""
    read = lambda ids: F.embedding(ids, table) * table.shape[1] ** 0.5 + sines(ids.shape[1], table.shape[1])
    hidden = torch.arange(source.shape[1]) >= lengths[:, None]
    ahead = torch.ones(inputs.shape[1], inputs.shape[1], dtype=torch.bool).triu(1)
    return net(read(source), read(inputs), tgt_mask=ahead, src_key_padding_mask=hidden,
               memory_key_padding_mask=hidden) @ table.T


def _training_case(rng, V, D, H, layers, width, steps=20):
    """A torch.nn.Transformer trained by Adam: its weights at first, its losses, its first gradients."""
    net = torch.nn.Transformer(D, H, layers, layers, width, 0.0, "relu", batch_first=True, norm_first=True,
                               dtype=torch.float64)
    table = _leaf(rng.standard_normal((V, D)) * D ** -0.5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) * 0.3))
    leaves = {"table": table, **dict(net.named_parameters())}
    plain = lambda key: key.replace(".", "__")                  # a dot would make a dict of it
    state = {plain(k): leaf.detach().numpy().copy() for k, leaf in leaves.items()}
    lengths, sizes = np.array([6, 3, 5]), np.array([4, 7, 2])
    source, tokens = rng.integers(3, V, (3, 6)), rng.integers(3, V, (3, 8))
    source[np.arange(6) >= lengths[:, None]], tokens[np.arange(8) > sizes[:, None]], tokens[:, 0] = 0, 0, 1
    of = torch.from_numpy
    optimizer, losses, first = torch.optim.Adam(leaves.values(), 0.01), [], None
    for _ in range(steps):
        logits = translate(net, table, of(source), of(lengths), of(tokens[:, :-1].copy()))
        loss = smoothed(logits.flatten(0, 1), of(tokens[:, 1:].copy()).flatten(), 0.1, 0)
        optimizer.zero_grad()
        loss.backward()
        first = first or {plain(k): leaf.grad.numpy().copy() for k, leaf in leaves.items()}
        optimizer.step()
        losses.append(loss.item())
    sizes = {"source": source, "lengths": lengths, "tokens": tokens, "sizes": np.array([V, D, H, layers, width])}
    return Case("training", sizes | state, {"losses": np.array(losses)}, {}, first)


def golden_cases(rng):
    """Inputs from `rng`; outputs and gradients in float64."""
    real = np.arange(5) < np.array([3, 5])[:, None]             # (B, S)
    for name, H, options in (("plain", 2, {}), ("padded", 3, {"memory_mask": real}),
                             ("tanh", 6, {"activation": "gelu_tanh"}), ("relu", 1, {"activation": "relu"}),
                             ("eps", 2, {"eps": 0.3, "memory_mask": real})):
        x, memory, weights = rng.standard_normal((2, 4, 6)), rng.standard_normal((2, 5, 6)), block_weights(rng, 6, 7)
        options = {"num_heads": H} | options
        out, cache = decoder_block(x, memory, weights, **options)
        dout = rng.standard_normal(out.shape)
        dx, dmemory, dweights = decoder_block_backward(dout, cache)
        yield Case(name, {"x": x, "memory": memory, "weights": weights} | options, {"out": out}, {"out": dout},
                   {"x": dx, "memory": dmemory} | dweights)
    yield _training_case(rng, 11, 8, 2, 2, 10)
