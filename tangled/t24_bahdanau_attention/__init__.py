# Tangled from chapters/24-bahdanau-attention.qmd; edit the chapter, then run make tangle. sha256:205d812cc13f650d
"""Attention over a source."""

from tangled.t24_bahdanau_attention.level2_vectorized import (
    AnnotatingEncoder,
    AttentionDecoder,
    AttentionSeq2Seq,
    SCORES,
    additive_score,
    additive_score_backward,
    attend,
    attend_backward,
    attention_decoder,
    attention_decoder_backward,
    attention_step,
    attention_step_backward,
    dot_score,
    dot_score_backward,
    general_score,
    general_score_backward,
    project_keys,
)

__all__ = [
    "AnnotatingEncoder",
    "AttentionDecoder",
    "AttentionSeq2Seq",
    "SCORES",
    "additive_score",
    "additive_score_backward",
    "attend",
    "attend_backward",
    "attention_decoder",
    "attention_decoder_backward",
    "attention_step",
    "attention_step_backward",
    "dot_score",
    "dot_score_backward",
    "general_score",
    "general_score_backward",
    "project_keys",
]
