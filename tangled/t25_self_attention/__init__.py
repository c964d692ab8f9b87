# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:0e6d85c6f53222a6
"""Self-attention."""

from tangled.t25_self_attention.level2_vectorized import (
    attention,
    attention_backward,
    causal_mask,
    masked_softmax,
    padding_mask,
    softmax_backward,
    window_mask,
)

__all__ = [
    "attention",
    "attention_backward",
    "causal_mask",
    "masked_softmax",
    "padding_mask",
    "softmax_backward",
    "window_mask",
]
