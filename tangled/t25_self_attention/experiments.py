# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:517fd2fad79d9ab0
"""Chapter 25: a head that looks up what it has read, and what the scale does. No drawing here."""

import numpy as np

from tangled.t25_self_attention import masked_softmax
from tangled.t25_self_attention.level3_memory_efficient import attention

STRENGTH = 4.0                                                  # of one agreeing character, in a score


def one_hot(text, alphabet):
    """(T, A) float32: one row for each character."""
    places = {c: k for k, c in enumerate(alphabet)}
    return np.eye(len(alphabet), dtype=np.float32)[[places[c] for c in text]]


def _shifted(x, n):
    """x (T, A) moved down by n rows, zeros before."""
    return np.concatenate([np.zeros_like(x[:n]), x[:len(x) - n]])


def head(text, context, alphabet):
    """q, k (T, context * A) and v (T, A): what was read last, what stood before a place, what stands there."""
    x = one_hot(text, alphabet)
    q = np.concatenate([_shifted(x, n) for n in range(context)], axis=1)
    k = np.concatenate([_shifted(x, n + 1) for n in range(context)], axis=1)
    return q, k, x


def lookup(text, context):
    """weights (T, T) and the distribution of the next character (T, A) after each; the alphabet."""
    alphabet = sorted(set(text))
    q, k, v = head(text, context, alphabet)
    weights = masked_softmax(STRENGTH * q @ k.T, np.tri(len(text), dtype=bool))
    return weights, attention(q, k, v, causal=True, scale=STRENGTH)[0], alphabet


def hits(pieces, context):
    """Which part of the characters in the second half of each piece is the likeliest by `lookup`."""
    alphabet = sorted(set("".join(pieces)))
    q, k, v = (np.stack(x) for x in zip(*(head(piece, context, alphabet) for piece in pieces)))
    out, _ = attention(q, k, v, causal=True, scale=STRENGTH)    # (N, T, A)
    half = v.shape[1] // 2
    return float((out[:, half:-1].argmax(-1) == v[:, half + 1:].argmax(-1)).mean())


def entropy(p):
    """-sum p log p over the last axis: (..., T) to (...,)."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def sharpness(widths, T=256, queries=256, seed=0):
    """Entropy over log T, and trace of the Jacobian: two arrays (2, len(widths)), scaled and not."""
    rng, entropies, traces = np.random.default_rng(seed), [], []
    for D in widths:
        scores = rng.standard_normal((queries, D)) @ rng.standard_normal((D, T))
        p = np.stack([masked_softmax(scores / D ** 0.5), masked_softmax(scores)])
        entropies.append(entropy(p).mean(-1) / np.log(T))
        traces.append((1 - (p ** 2).sum(-1)).mean(-1))
    return np.array(entropies).T, np.array(traces).T
