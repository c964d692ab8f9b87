# Tangled from chapters/16-normalizations.qmd; edit the chapter, then run make tangle. sha256:8b06a82ed7aec0bb
"""Normalising without a batch."""

from tangled.t16_normalizations.level2_vectorized import (
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    RMSNorm,
    add_layer_norm,
    add_layer_norm_backward,
    group_norm,
    group_norm_backward,
    instance_norm,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    weight_norm,
    weight_norm_backward,
)

__all__ = [
    "GroupNorm",
    "InstanceNorm2d",
    "LayerNorm",
    "RMSNorm",
    "add_layer_norm",
    "add_layer_norm_backward",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "weight_norm",
    "weight_norm_backward",
]
