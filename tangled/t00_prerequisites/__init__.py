# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:fa80adb9d4d52809
"""Prerequisites: five challenges."""

from tangled.t00_prerequisites.level2_vectorized import (
    broadcast_shape,
    matmul,
    predict_copies,
    sine_of_square,
    sine_of_square_backward,
    softmax,
)

__all__ = [
    "broadcast_shape",
    "matmul",
    "predict_copies",
    "sine_of_square",
    "sine_of_square_backward",
    "softmax",
]
