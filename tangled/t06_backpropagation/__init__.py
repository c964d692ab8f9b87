# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:4ada2115a5a21e8a
"""Backpropagation."""

from tangled.t06_backpropagation.base import (
    Module,
    Parameter,
    Progress,
    evaluating,
    gradient_check,
)

from tangled.t06_backpropagation.level2_vectorized import (
    CrossEntropyLoss,
    DataLoader,
    Engine,
    GradientDescent,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    linear_backward,
    mlp_backward,
    mse_backward,
    relu_backward,
    softmax_cross_entropy_backward,
)

__all__ = [
    "CrossEntropyLoss",
    "DataLoader",
    "Engine",
    "GradientDescent",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
    "Progress",
    "ReLU",
    "Sequential",
    "evaluating",
    "gradient_check",
    "linear_backward",
    "mlp_backward",
    "mse_backward",
    "relu_backward",
    "softmax_cross_entropy_backward",
]
