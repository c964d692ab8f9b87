# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:3b646d0bbde3f7dd
"""Regularisation."""

from tangled.t08_regularization.level2_vectorized import (
    Dropout,
    EarlyStopping,
    LabelSmoothingLoss,
    decay_weights,
    dropout,
    dropout_backward,
    l1_penalty,
    l1_penalty_backward,
    l2_penalty,
    l2_penalty_backward,
    label_smoothing_cross_entropy,
    label_smoothing_cross_entropy_backward,
    max_norm,
    soft_threshold,
    weights_of,
)

__all__ = [
    "Dropout",
    "EarlyStopping",
    "LabelSmoothingLoss",
    "decay_weights",
    "dropout",
    "dropout_backward",
    "l1_penalty",
    "l1_penalty_backward",
    "l2_penalty",
    "l2_penalty_backward",
    "label_smoothing_cross_entropy",
    "label_smoothing_cross_entropy_backward",
    "max_norm",
    "soft_threshold",
    "weights_of",
]
