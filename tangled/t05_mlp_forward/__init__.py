# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:2820df5de7c26953
"""The forward pass of an MLP."""

from tangled.t05_mlp_forward.level2_vectorized import (
    kaiming_normal,
    kaiming_uniform,
    linear,
    mlp_forward,
    mse,
    relu,
    softmax_cross_entropy,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "kaiming_normal",
    "kaiming_uniform",
    "linear",
    "mlp_forward",
    "mse",
    "relu",
    "softmax_cross_entropy",
    "xavier_normal",
    "xavier_uniform",
]
