# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:a7e6d6f1ca6c792b
"""Chapter 14: convolutions of 1 x 1, without a copy but of every stride-th pixel."""

import numpy as np

__all__ = ["input_gradient", "picked_rows", "project", "weight_gradient"]


def project(x, w, stride):
    """x (N, C, H, W), w (F, C, 1, 1): (N, F, OH, OW), from every stride-th pixel."""
    rows, size = picked_rows(x, stride)
    return (w[:, :, 0, 0] @ rows).reshape(len(x), len(w), *size)


def picked_rows(x, stride):
    """Every stride-th pixel of x (N, C, H, W) as (N, C, OH OW), and (OH, OW)."""
    picked = x[:, :, ::stride, ::stride]
    return picked.reshape(*x.shape[:2], picked.shape[2] * picked.shape[3]), picked.shape[2:]


def weight_gradient(dout, x, stride):
    """dout (N, F, OH, OW), x (N, C, H, W): dw (F, C, 1, 1)."""
    (rows, _), (g, _) = picked_rows(x, stride), picked_rows(dout, 1)        # (N, C, L), (N, F, L)
    return (g @ rows.swapaxes(1, 2)).sum(axis=0)[:, :, None, None]


def input_gradient(dout, w, shape, stride):
    """dout (N, F, OH, OW), w (F, C, 1, 1): dx of a shape (N, C, H, W), 0 where no pixel was picked."""
    dx = np.zeros(shape, w.dtype)
    picked = dx[:, :, ::stride, ::stride]
    picked[...] = (w[:, :, 0, 0].T @ picked_rows(dout, 1)[0]).reshape(picked.shape)
    return dx
