# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:827cc1c4645d0ca1
"""Recurrent networks, from counting bigrams."""

from tangled.t18_rnn.level2_vectorized import (
    Embedding,
    RNN,
    bigram_counts,
    embedding,
    embedding_backward,
    rnn,
    rnn_backward,
    rnn_step,
    rnn_step_backward,
    sample_categorical,
)

__all__ = [
    "Embedding",
    "RNN",
    "bigram_counts",
    "embedding",
    "embedding_backward",
    "rnn",
    "rnn_backward",
    "rnn_step",
    "rnn_step_backward",
    "sample_categorical",
]
