# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:e07e26adbc9fa0b1
"""Residual networks."""

from tangled.t14_resnet.level2_vectorized import (
    BasicBlock,
    Bottleneck,
    NormReLU,
    PlainBlock,
    PlainNet,
    ResNet,
    ResidualBlock,
    StemPool,
    basic_block,
    basic_block_backward,
    he_conv,
)

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "NormReLU",
    "PlainBlock",
    "PlainNet",
    "ResNet",
    "ResidualBlock",
    "StemPool",
    "basic_block",
    "basic_block_backward",
    "he_conv",
]
