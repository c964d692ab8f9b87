# Tangled from chapters/23-seq2seq.qmd; edit the chapter, then run make tangle. sha256:dd6180b8e495c547
"""Sequence to sequence."""

from tangled.t23_seq2seq.level2_vectorized import (
    Decoder,
    Encoder,
    Seq2Seq,
    beam_search,
    chrf,
    exact_match,
    greedy_decode,
    last_outputs,
    last_outputs_backward,
    length_norm,
    lengths_to_mask,
    masked_cross_entropy,
    masked_cross_entropy_backward,
    scheduled_inputs,
    teacher_forced_loss,
    teacher_forced_loss_backward,
)

__all__ = [
    "Decoder",
    "Encoder",
    "Seq2Seq",
    "beam_search",
    "chrf",
    "exact_match",
    "greedy_decode",
    "last_outputs",
    "last_outputs_backward",
    "length_norm",
    "lengths_to_mask",
    "masked_cross_entropy",
    "masked_cross_entropy_backward",
    "scheduled_inputs",
    "teacher_forced_loss",
    "teacher_forced_loss_backward",
]
