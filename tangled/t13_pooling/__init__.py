# Tangled from chapters/13-pooling.qmd; edit the chapter, then run make tangle. sha256:f38c0ed30476c8ba
"""Pooling, and a network that reads digits."""

from tangled.t13_pooling.level2_vectorized import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Flatten,
    MaxPool2d,
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    flatten,
    flatten_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_indices,
    max_unpool2d,
    max_unpool2d_backward,
    pool_output_size,
)

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Flatten",
    "MaxPool2d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "flatten",
    "flatten_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_indices",
    "max_unpool2d",
    "max_unpool2d_backward",
    "pool_output_size",
]
