# Tangled from chapters/34-distributed.qmd; edit the chapter, then run make tangle. sha256:7682074fdd984c58
"""Distributed training."""

from tangled.t34_distributed.level2_vectorized import (
    Checkpointed,
    ShardedAdamW,
    all_gather,
    broadcast,
    draw_share,
    part,
    reduce_scatter,
    ring_all_reduce,
    synchronise,
    tree_all_reduce,
)

__all__ = [
    "Checkpointed",
    "ShardedAdamW",
    "all_gather",
    "broadcast",
    "draw_share",
    "part",
    "reduce_scatter",
    "ring_all_reduce",
    "synchronise",
    "tree_all_reduce",
]
