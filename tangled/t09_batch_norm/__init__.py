# Tangled from chapters/09-batch-norm.qmd; edit the chapter, then run make tangle. sha256:2b53062c25eb2f5b
"""Batch normalisation."""

from tangled.t09_batch_norm.level2_vectorized import (
    BatchNorm1d,
    BatchNorm2d,
    batch_norm,
    batch_norm_backward,
    fold_batch_norm,
)

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "batch_norm",
    "batch_norm_backward",
    "fold_batch_norm",
]
