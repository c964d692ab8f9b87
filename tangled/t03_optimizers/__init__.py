# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:6f398b152f264118
"""Optimisers."""

from tangled.t03_optimizers.level2_vectorized import (
    AdaGrad,
    Adam,
    AdamW,
    CosineDecay,
    Momentum,
    Nesterov,
    RMSProp,
    SGD,
    StepDecay,
    clip_by_global_norm,
    cosine_decay,
    linear_warmup,
    step_decay,
)

__all__ = [
    "AdaGrad",
    "Adam",
    "AdamW",
    "CosineDecay",
    "Momentum",
    "Nesterov",
    "RMSProp",
    "SGD",
    "StepDecay",
    "clip_by_global_norm",
    "cosine_decay",
    "linear_warmup",
    "step_decay",
]
