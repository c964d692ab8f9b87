# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:899755c711e32e42
"""Chapter 31: a draft model that costs next to nothing: how often a letter follows two others."""

import numpy as np

import tangled.t31_kv_cache.checks as check


class NgramDraft:
    """Looks like a Decoder, and is a table; fewer letters of context step in where three were rare.

    Parameters
    ----------
    ids : ndarray of shape (n,), integers below V, a text to count in
    vocab_size : int, V
    batch, capacity : int, rows, and the most tokens of each
    prior : float, how many counts the shorter context is worth
    """

    def __init__(self, ids, vocab_size, batch=1, capacity=64, prior=4.0):
        V = vocab_size
        one = np.bincount(ids, minlength=V) + 1.0
        two = np.bincount(ids[:-1] * V + ids[1:], minlength=V * V).reshape(V, V)
        three = np.bincount((ids[:-2] * V + ids[1:-1]) * V + ids[2:], minlength=V ** 3).reshape(V, V, V)
        p = one / one.sum()
        for counts in (two, three):
            p = (counts + prior * p) / (counts.sum(axis=-1, keepdims=True) + prior)
        self.table = np.log(p)                                  # (V, V, V)
        self.text, self.filled = np.zeros((batch, 2 + capacity), np.int64), np.zeros(batch, np.int64)
        self.capacity = capacity

    @property
    def lengths(self):
        """How many tokens each row has, (batch,)."""
        return self.filled.copy()

    def truncate(self, lengths, rows=None):
        """Forget all but the first lengths (n,) tokens of these rows (n,)."""
        lengths, rows = check.lengths_of(lengths, rows, self.filled)
        self.filled[rows] = lengths

    def extend(self, ids, counts=None, rows=None):
        """ids (B, T), counts (B,), rows (B,): logits (B, T, V), those behind padding without meaning."""
        ids, rows = np.asarray(ids), check.row_numbers(rows, len(self.filled))
        counts = np.full(len(ids), ids.shape[1]) if counts is None else counts
        if (self.filled[rows] + counts).max(initial=0) > self.capacity:
            raise ValueError(f"ids make more tokens than the capacity of {self.capacity}")
        at, step = np.nonzero(np.arange(ids.shape[1]) < counts[:, None])
        self.text[rows[at], 2 + self.filled[rows[at]] + step] = ids[at, step]
        before = self.text[rows[:, None], np.minimum(1 + self.filled[rows][:, None] + np.arange(ids.shape[1]),
                                                     self.text.shape[1] - 1)]
        self.filled[rows] += counts
        return self.table[before, ids]
