# Tangled from chapters/22-word2vec.qmd; edit the chapter, then run make tangle. sha256:3fc4531b7ebfa76e
"""Word vectors, level 1: loops over pairs and numbers. Shapes and errors as in level 2."""

import math

import numpy as np

import tangled.t22_word2vec.checks as check


def sum_rows(ids, rows):
    """As level 2, ids (n,), rows (n, D)."""
    ids, rows = check.sparse(ids, rows)
    found = {}
    for k, row in zip(ids.tolist(), rows.tolist()):
        _add(found, k, row, 1.0)
    return _as_rows(found, rows.shape[1], rows.dtype)


def negative_sampling(h, target, negatives, w_out):
    """As level 2, h (B, D), target (B,), negatives (B, K), w_out (V, D)."""
    return _sampled(*check.sampled(h, target, negatives, w_out))


def _sampled(h, target, negatives, w_out):
    """Of arguments that have been checked; h may be of a wider dtype than w_out."""
    (B, D), loss, dh, found = h.shape, 0.0, np.zeros(h.shape), {}
    for b in range(B):
        for k in range(-1, negatives.shape[1]):
            word = int(target[b] if k < 0 else negatives[b, k])
            if k >= 0 and word == target[b]:
                continue                                        # it equals the positive
            row = w_out[word].tolist()
            score = sum(float(h[b, d]) * row[d] for d in range(D))
            z = -score if k < 0 else score
            loss += _softplus(z) / B                            # eq. 22.2
            g = (-1 if k < 0 else 1) * _sigmoid(z) / B          # eq. 22.3
            for d in range(D):
                dh[b, d] += g * row[d]
            _add(found, word, h[b].tolist(), g)
    return loss, dh.astype(h.dtype), _as_rows(found, D, h.dtype)


def skip_gram_step(centre, context, negatives, w_in, w_out):
    """As level 2, centre (B,), context (B,), negatives (B, K), tables (V, D)."""
    w_in, w_out = check.tables(w_in, w_out)
    centre = check.ids("centre", centre, ("B",), len(w_in))
    check.sampled(w_in[centre], context, negatives, w_out, "context")
    loss, dh, d_out = negative_sampling(w_in[centre], context, negatives, w_out)
    return loss, sum_rows(centre, dh), d_out


def cbow_step(context, mask, centre, negatives, w_in, w_out):
    """As level 2, context (B, C), mask (B, C), centre (B,), negatives (B, K), tables (V, D)."""
    w_in, w_out = check.tables(w_in, w_out)
    context, mask = check.bag(context, mask, len(w_in))
    h = np.zeros((len(context), w_in.shape[1]))
    for b, words in enumerate(context):
        for k in words[mask[b]]:
            h[b] += w_in[k] / mask[b].sum()
    _, *given = check.sampled(h.astype(w_in.dtype), centre, negatives, w_out, "centre")
    loss, dh, (ids, rows) = _sampled(h.astype(check.working(w_in.dtype)), *given)
    found = {}
    for b, words in enumerate(context):
        for k in words[mask[b]].tolist():
            _add(found, k, dh[b].tolist(), 1 / mask[b].sum())
    return loss, _as_rows(found, w_in.shape[1], w_in.dtype), (ids, rows.astype(w_in.dtype))


def update_rows(table, grad, lr):
    """As level 2, table (V, D), grad (ids (n,), rows (n, D))."""
    table, ids, rows = check.gradient(table, grad)
    for k, row in zip(ids, rows):
        table[k] = table[k] - check.positive("lr", lr) * row


class AliasTable:
    """As level 2, weights (V,): one draw at a time."""

    def __init__(self, weights):
        weights = check.counts("weights", weights)
        V, total = len(weights), math.fsum(weights / weights.max())
        filled = [weight / total * V for weight in (weights / weights.max()).tolist()]
        self.probability, self.alias = np.ones(V), np.arange(V)
        poor, rich = [[k for k in range(V) if (filled[k] < 1) == less] for less in (True, False)]
        while poor and rich:
            k, donor = poor.pop(), rich[-1]
            self.probability[k], self.alias[k] = filled[k], donor
            filled[donor] -= 1 - filled[k]
            if filled[donor] < 1:
                poor.append(rich.pop())

    def draw(self, size, rng):
        """As level 2: integers of shape `size`."""
        found = np.empty(size, np.int64)
        for place in np.ndindex(found.shape):
            k = int(rng.integers(len(self.alias)))
            found[place] = k if rng.random() < self.probability[k] else self.alias[k]
        return found


def skip_gram_pairs(ids, sentence, window, rng):
    """As level 2, ids (n,), sentence (n,)."""
    ids, sentence = check.text(ids, sentence)
    reach = rng.integers(1, check.whole("window", window) + 1, len(ids)).tolist()
    found = [(ids[i], ids[j]) for i in range(len(ids))
             for j in range(max(i - reach[i], 0), min(i + reach[i] + 1, len(ids)))
             if j != i and sentence[i] == sentence[j]]
    centre, context = np.array(found, np.int64).reshape(-1, 2).T
    return centre.copy(), context.copy()


def _add(found, k, row, factor):
    """Add factor * row to the row of k in a dictionary."""
    old = found.setdefault(k, [0.0] * len(row))
    for d, value in enumerate(row):
        old[d] += factor * value


def _as_rows(found, D, dtype):
    """A dictionary of rows as ids (n,), rising, and rows (n, D)."""
    ids = sorted(found)
    return np.array(ids, np.int64), np.array([found[k] for k in ids], dtype).reshape(-1, D)


def _softplus(z):
    """log(1 + exp(z)), without overflow."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z))) if z == z else z


def _sigmoid(z):
    """1 / (1 + exp(-z)), without overflow."""
    e = math.exp(-abs(z)) if z == z else z
    return (e if z < 0 else 1.0) / (1 + e)
