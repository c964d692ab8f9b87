# Tangled from chapters/21-bidirectional-masking.qmd; edit the chapter, then run make tangle. sha256:cfcb4bd2326849a8
"""Batches of unequal lengths, read in both directions."""

from tangled.t21_bidirectional_masking.level2_vectorized import (
    Bidirectional,
    bucket_batches,
    last_outputs,
    last_outputs_backward,
    lengths_to_mask,
    masked_cross_entropy,
    masked_cross_entropy_backward,
    masked_mean,
    masked_mean_backward,
    masked_rnn,
    masked_rnn_backward,
    pack,
    pad,
    reverse_sequences,
    unpack,
    unpad,
)

__all__ = [
    "Bidirectional",
    "bucket_batches",
    "last_outputs",
    "last_outputs_backward",
    "lengths_to_mask",
    "masked_cross_entropy",
    "masked_cross_entropy_backward",
    "masked_mean",
    "masked_mean_backward",
    "masked_rnn",
    "masked_rnn_backward",
    "pack",
    "pad",
    "reverse_sequences",
    "unpack",
    "unpad",
]
