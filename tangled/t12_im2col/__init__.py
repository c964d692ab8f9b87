# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:0956ad8327746efe
"""im2col: convolution as one matrix product."""

from tangled.t12_im2col.level2_vectorized import (
    Conv2d,
    ConvTranspose2d,
    col2im,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    im2col,
)

__all__ = [
    "Conv2d",
    "ConvTranspose2d",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "im2col",
]
