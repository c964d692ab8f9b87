# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:7c783b99bc4dd35b
"""Chapter 21: a classifier of sequences, read in both directions."""

import numpy as np

from tangled.t06_backpropagation import Linear, Module
from tangled.t18_rnn.level3_memory_efficient import RNN, Embedding
from tangled.t19_lstm.level3_memory_efficient import LSTM
from tangled.t20_gru.level3_memory_efficient import GRU
from tangled.t21_bidirectional_masking.level3_memory_efficient import (
    Bidirectional,
    lengths_to_mask,
    masked_mean,
    masked_mean_backward,
)

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class Classifier(Module):
    """Classes of sequences of symbols: embedding, two recurrent networks, a summary, a linear layer.

    Parameters
    ----------
    vocab, embedding, hidden, classes : int
    cell : "rnn", "lstm" or "gru"
    summary : "mean" of the outputs over the real steps, or "final" states
    rng : numpy.random.Generator
    """

    def __init__(self, vocab, embedding, hidden, classes, cell="gru", summary="mean", rng=None):
        rng = np.random.default_rng(0) if rng is None else rng
        self.embedding = Embedding(vocab, embedding, rng)
        self.both = Bidirectional(*(CELLS[cell](embedding, hidden, rng=rng) for _ in range(2)))
        self.out, self.summary = Linear(2 * hidden, classes, rng), summary

    def forward(self, ids, lengths):
        """ids (B, T) of integers, lengths (B,): logits (B, classes)."""
        out, final = self.both(self.embedding(ids), lengths)
        mean, self.cache = masked_mean(out, lengths_to_mask(lengths, ids.shape[1]))
        self.shape = out.shape
        return self.out(mean if self.summary == "mean" else final)

    def backward(self, dout):
        """dout (B, classes): adds to the parameters' gradients; integers have none."""
        dsummary = self.out.backward(dout)
        if self.summary == "mean":
            dboth = masked_mean_backward(dsummary, self.kept())
        else:
            dboth = np.zeros(self.shape, dsummary.dtype), dsummary
        self.embedding.backward(self.both.backward(dboth))
