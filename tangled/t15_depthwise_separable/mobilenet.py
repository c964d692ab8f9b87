# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:63c33ccaad813ddd
"""MobileNet of 2017, built from the modules of a level: what the counters are held against."""

import math

import numpy as np

from tangled.t06_backpropagation import Linear, Module, ReLU, Sequential
from tangled.t09_batch_norm import BatchNorm2d
from tangled.t12_im2col import Conv2d

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class GlobalMean(Module):
    """The mean of each channel: x (N, C, H, W) to (N, C)."""

    def forward(self, x):
        """x (N, C, H, W) to (N, C)."""
        self.cache = x.shape
        return x.mean(axis=(2, 3))

    def backward(self, dout):
        """dout (N, C) to dx (N, C, H, W)."""
        shape = self.kept()
        return np.broadcast_to(dout[:, :, None, None] / math.prod(shape[2:]), shape).astype(dout.dtype)


def mobilenet(level, width=1.0, classes=1000, rng=None):
    """The network: table 1 of Howard et al. (2017).

    Parameters
    ----------
    level : module with `DepthwiseConv2d` and `PointwiseConv2d`
    width : float, the width multiplier
    classes : int
    rng : numpy.random.Generator, for the weights

    Returns
    -------
    Sequential of x (N, 3, H, W) to logits (N, classes)
    """
    rng = np.random.default_rng(0) if rng is None else rng
    channels = int(32 * width)
    layers = [Conv2d(3, channels, 3, stride=2, padding=1, bias=False, rng=rng), BatchNorm2d(channels), ReLU()]
    for filters, stride in BLOCKS:
        filters = int(filters * width)
        layers += [level.DepthwiseConv2d(channels, 3, stride=stride, padding=1, bias=False, rng=rng),
                   BatchNorm2d(channels), ReLU(),
                   level.PointwiseConv2d(channels, filters, bias=False, rng=rng), BatchNorm2d(filters), ReLU()]
        channels = filters
    return Sequential(*layers, GlobalMean(), Linear(channels, classes, rng))
