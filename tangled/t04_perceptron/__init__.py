# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:ac063773dc4e0bf1
"""The perceptron and the logistic unit."""

from tangled.t04_perceptron.level2_vectorized import (
    bce_with_logits,
    bce_with_logits_backward,
    logistic_fit,
    perceptron_fit,
    perceptron_predict,
    sigmoid,
)

__all__ = [
    "bce_with_logits",
    "bce_with_logits_backward",
    "logistic_fit",
    "perceptron_fit",
    "perceptron_predict",
    "sigmoid",
]
