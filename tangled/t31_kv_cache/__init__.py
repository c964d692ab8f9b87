# Tangled from chapters/31-kv-cache.qmd; edit the chapter, then run make tangle. sha256:b00137b5a7fc6d1d
"""KV cache."""

from tangled.t31_kv_cache.level2_vectorized import (
    Decoder,
    KVCache,
    OutOfBlocks,
    PagedCache,
    Speculation,
    cache_bytes,
    generate,
    speculative_decode,
    verify,
)

__all__ = [
    "Decoder",
    "KVCache",
    "OutOfBlocks",
    "PagedCache",
    "Speculation",
    "cache_bytes",
    "generate",
    "speculative_decode",
    "verify",
]
