# Tangled from chapters/26-multi-head-attention.qmd; edit the chapter, then run make tangle. sha256:bc9e6f010252b541
"""Multi-head attention."""

from tangled.t26_multi_head_attention.level2_vectorized import (
    MultiHeadAttention,
    from_pytorch,
    merge_heads,
    multi_head_attention,
    multi_head_attention_backward,
    repeat_kv,
    repeat_kv_backward,
    split_heads,
    to_pytorch,
    window_attention,
    window_attention_backward,
)

__all__ = [
    "MultiHeadAttention",
    "from_pytorch",
    "merge_heads",
    "multi_head_attention",
    "multi_head_attention_backward",
    "repeat_kv",
    "repeat_kv_backward",
    "split_heads",
    "to_pytorch",
    "window_attention",
    "window_attention_backward",
]
