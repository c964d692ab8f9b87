# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:482f5389af418b76
"""Chapter 26: name the last two symbols. The experiment of the figure, without drawing."""

import numpy as np

from tangled.t01_tensor_operations import softmax
from tangled.t03_optimizers import Adam
from tangled.t06_backpropagation import Linear
from tangled.t25_self_attention import causal_mask, masked_softmax
from tangled.t26_multi_head_attention import MultiHeadAttention, split_heads

SYMBOLS, TOKENS, STEPS = 8, 16, 1500


def sequences(rng, count):
    """x (count, TOKENS, SYMBOLS + TOKENS), one-hot symbol and position; symbols (count, TOKENS)."""
    symbols = rng.integers(SYMBOLS, size=(count, TOKENS))
    places = np.broadcast_to(np.eye(TOKENS, dtype=np.float32), (count, TOKENS, TOKENS))
    return np.concatenate([np.eye(SYMBOLS, dtype=np.float32)[symbols], places], axis=2), symbols


def wanted(symbols):
    """The previous symbol and the one before, for tokens 2 and later: (count, TOKENS - 2, 2)."""
    return np.stack([symbols[:, 1:-1], symbols[:, :-2]], axis=2)


def guesses(layer, last, x):
    """Logits (count, TOKENS - 2, 2, SYMBOLS)."""
    return last(layer(x)).reshape(*x.shape[:2], 2, SYMBOLS)[:, 2:]


def train(heads, steps=STEPS, batch=64, lr=3e-3, seed=0):
    """A layer and a linear layer behind it, trained; and the losses (steps,)."""
    rng = np.random.default_rng(seed)
    layer = MultiHeadAttention(SYMBOLS + TOKENS, heads, causal=True, rng=rng)
    last = Linear(SYMBOLS + TOKENS, 2 * SYMBOLS, rng)
    optimizer = Adam([p for m in (layer, last) for p in m.parameters()], lr)
    losses = np.empty(steps)
    for step in range(steps):
        x, symbols = sequences(rng, batch)
        p, y = softmax(guesses(layer, last, x), -1), np.eye(SYMBOLS, dtype=np.float32)[wanted(symbols)]
        losses[step] = -np.log((p * y).sum(-1)).mean()
        dlogits = np.zeros((batch, TOKENS, 2 * SYMBOLS), np.float32)
        dlogits[:, 2:] = ((p - y) / y[..., 0].size).reshape(batch, TOKENS - 2, -1)
        for module in (layer, last):
            module.zero_grad()
        layer.backward(last.backward(dlogits))
        optimizer.step()
    return layer, last, losses


def scores_of(layer, last, seed=1, count=1000):
    """Shares of right guesses (2,), of the previous symbol and of the one before; and losses (2,). New sequences."""
    x, symbols = sequences(np.random.default_rng(seed), count)
    p, y = softmax(guesses(layer, last, x), -1), wanted(symbols)
    right, chance = p.argmax(-1) == y, np.take_along_axis(p, y[..., None], -1)[..., 0]
    return right.mean((0, 1)).tolist(), (-np.log(chance)).mean((0, 1)).tolist()


def patterns(layer, seed=1, count=256):
    """Weights of every head, averaged over new sequences: (H, TOKENS, TOKENS), float32."""
    x, _ = sequences(np.random.default_rng(seed), count)
    q, k = (split_heads(p(x), layer.num_heads) for p in (layer.q_proj, layer.k_proj))
    scores = q @ k.swapaxes(2, 3) / np.float32(q.shape[3] ** 0.5)
    return masked_softmax(scores, causal_mask(TOKENS, TOKENS)).mean(0)
