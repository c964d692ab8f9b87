# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:a85c9d648158b6a1
"""Flash attention."""

from tangled.t32_flash_attention.level2_vectorized import (
    Memory,
    Saved,
    flash_attention,
    flash_attention_backward,
    traffic,
)

__all__ = [
    "Memory",
    "Saved",
    "flash_attention",
    "flash_attention_backward",
    "traffic",
]
