# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:6b815f0a39ad899f
"""Chapter 15: worked answers to the graded exercises."""

from collections import deque

import numpy as np


def factorise(w, multiplier):
    """The separable convolution that is closest to a full one.

    Parameters
    ----------
    w : ndarray of shape (F, C, KH, KW), floating
    multiplier : int, M, from 1 to the smaller of F and KH * KW

    Returns
    -------
    depthwise : ndarray of shape (C * M, 1, KH, KW), in the dtype of w
    pointwise : ndarray of shape (F, C * M), in the dtype of w
    """
    F, C, KH, KW = w.shape
    channels = w.transpose(1, 0, 2, 3).reshape(C, F, KH * KW)
    left, scale, right = np.linalg.svd(channels, full_matrices=False)
    depthwise = scale[:, :multiplier, None] * right[:, :multiplier]             # (C, M, KH KW)
    pointwise = left[:, :, :multiplier].transpose(1, 0, 2).reshape(F, C * multiplier)
    return depthwise.reshape(C * multiplier, 1, KH, KW), pointwise


class Stream:
    """A `CausalCharModel`, a symbol at a time.

    Parameters
    ----------
    model : CausalCharModel; only read
    batch : int, how many series run side by side
    """

    def __init__(self, model, batch):
        self.model, self.pasts = model, []
        width, dtype = model.table.weight.data.shape[1], model.table.weight.data.dtype
        for layer in model.layers:
            size = (layer.weight.data.shape[2] - 1) * layer.options["dilation"]
            self.pasts.append(deque([np.zeros((batch, width), dtype)] * size, maxlen=size))

    def push(self, ids):
        """Logits (batch, symbols) after the next symbols, ids (batch,)."""
        h = self.model.table.weight.data[ids]                   # (batch, width)
        for layer, past in zip(self.model.layers, self.pasts):
            w, dilation = layer.weight.data, layer.options["dilation"]
            y = h @ w[:, :, -1].T + layer.bias.data
            for k in range(w.shape[2] - 1):
                y = y + past[k * dilation] @ w[:, :, k].T       # eq. 15.13
            past.append(h)
            h = h + np.maximum(y, 0)
        return h @ self.model.head.weight.data + self.model.head.bias.data
