# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:c1b8cd278bdc6fd4
"""Chapter 18: models of the next symbol."""

import numpy as np

from tangled.t06_backpropagation import Linear, Module
from tangled.t18_rnn.level2_vectorized import bigram_counts
from tangled.t18_rnn.level3_memory_efficient import RNN, Embedding


def bigram_loss(logits, ids, V):
    """Mean loss in nats of a table of logits (V, V) on a text ids (n,); eq. 18.1."""
    counts = bigram_counts(ids, V)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(counts * log_p).sum() / counts.sum())


class MLP(Module):
    """Logits (N, V) of contexts (N, K) of integers; Bengio et al. (2003)."""

    def __init__(self, V, context, embedding, hidden, rng):
        self.table = Embedding(V, embedding, rng)
        self.hidden, self.out = Linear(context * embedding, hidden, rng), Linear(hidden, V, rng)
        self.out.weight.data *= np.float32(0.1)

    def forward(self, ids):
        """ids (N, K) to logits (N, V)."""
        rows = self.table(ids)                                  # (N, K, E)
        h = np.tanh(self.hidden(rows.reshape(len(ids), -1)))    # (N, hidden)
        self.cache = rows.shape, h
        return self.out(h)

    def backward(self, dout):
        """dout (N, V); integers have no gradient."""
        shape, h = self.kept()
        dh = self.out.backward(dout) * (1 - h * h)
        self.table.backward(self.hidden.backward(dh).reshape(shape))


class CharRNN(Module):
    """Logits (B, T, V) of ids (B, T), with a state that the caller carries from call to call."""

    def __init__(self, V, embedding, hidden, rng, layers=1):
        self.table, self.out = Embedding(V, embedding, rng), Linear(hidden, V, rng)
        self.rnn = RNN(embedding, hidden, layers, rng=rng)
        self.out.weight.data *= np.float32(0.1)

    def forward(self, ids, state=None):
        """ids (B, T) to logits (B, T, V); the state (L, B, H) behind them is `self.state`."""
        h, self.state = self.rnn(self.table(ids), state)
        return self.out(h)

    def backward(self, dout):
        """dout (B, T, V); the gradient of the first state is not passed on: truncated."""
        back = self.rnn.backward((self.out.backward(dout), None))
        self.table.backward(back[0] if isinstance(back, tuple) else back)


def mlp_windows(ids, context, boundary):
    """Contexts (n - 1, context), targets (n - 1,) of a text of words that end with `boundary`."""
    contexts, window = [], [boundary] * context
    for current in ids[:-1].tolist():
        window = [boundary] * context if current == boundary else [*window[1:], current]
        contexts.append(window)
    return np.array(contexts), np.asarray(ids[1:])


def streams(ids, batch, window):
    """Windows (x, y) of ids, (batch, window) each: a row goes on in the next where it ended."""
    rows = (len(ids) - 1) // batch
    x, y = (ids[k:k + batch * rows].reshape(batch, rows) for k in (0, 1))
    for t in range(0, rows - window + 1, window):
        yield x[:, t:t + window], y[:, t:t + window]
