# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:5c63801fa68ca4b2
"""Chapter 20: the model of letters of chapter 18, with any of the recurrent cells."""

from functools import partial

import numpy as np

from tangled.t06_backpropagation import Linear
from tangled.t18_rnn.level3_memory_efficient import RNN, Embedding
from tangled.t18_rnn.models import CharRNN
from tangled.t19_lstm.level3_memory_efficient import LSTM
from tangled.t20_gru.level3_memory_efficient import GRU

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "cho": partial(GRU, variant="cho")}
BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3, "cho": 3}


class CharModel(CharRNN):
    """Logits (B, T, V) of ids (B, T) by a cell of `CELLS`; an LSTM's state is a pair."""

    def __init__(self, V, embedding, hidden, rng, cell="gru"):
        self.table, self.out = Embedding(V, embedding, rng), Linear(hidden, V, rng)
        self.rnn = CELLS[cell](embedding, hidden, rng=rng)
        self.out.weight.data *= np.float32(0.1)


def count(cell, hidden, embedding, V):
    """How many parameters a `CharModel` of these sizes has."""
    recurrent = BLOCKS[cell] * hidden * (embedding + hidden + 2)    # two matrices, two biases
    return V * embedding + recurrent + hidden * V + V


def size_for(cell, parameters, embedding, V):
    """The hidden size whose count comes nearest to `parameters`."""
    return min(range(1, 4096), key=lambda H: abs(count(cell, H, embedding, V) - parameters))
