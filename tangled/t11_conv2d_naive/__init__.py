# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:423c05254544cef8
"""Convolution, by its definition."""

from tangled.t11_conv2d_naive.level2_vectorized import (
    conv2d,
    conv2d_backward,
    conv_output_size,
    explicit_padding,
    receptive_field,
)

__all__ = [
    "conv2d",
    "conv2d_backward",
    "conv_output_size",
    "explicit_padding",
    "receptive_field",
]
