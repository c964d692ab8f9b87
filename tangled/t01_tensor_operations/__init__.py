# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:4e5efb3551a20b21
"""Tensor operations and broadcasting."""

from tangled.t01_tensor_operations.level2_vectorized import (
    broadcast_shapes,
    broadcast_to,
    contiguous_strides,
    einsum2,
    logsumexp,
    matmul,
    one_hot,
    sliding_windows,
    softmax,
    unbroadcast,
)

__all__ = [
    "broadcast_shapes",
    "broadcast_to",
    "contiguous_strides",
    "einsum2",
    "logsumexp",
    "matmul",
    "one_hot",
    "sliding_windows",
    "softmax",
    "unbroadcast",
]
