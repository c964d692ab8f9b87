# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:b3e6adb891cac985
"""Chapter 14: arguments checked, for all levels and for yours."""

import numbers

import numpy as np

from tangled.t11_conv2d_naive.checks import floats, gradient, whole, working

__all__ = ["block", "blocks", "gradient", "layer", "stem", "whole", "working"]


def _shaped(name, array, shape, dtype):
    """`array` as floats of that shape and dtype."""
    array = floats(name, array, [str(n) for n in shape], dtype)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    return array


def block(x, w1, gamma1, beta1, w2, gamma2, beta2, w_shortcut, gamma_s, beta_s, stride, preactivation, eps):
    """The arguments of basic_block: [x, ..., beta_s] in the dtype that is computed in, and x's own dtype."""
    x = floats("x", x, ("N", "C", "H", "W"))
    w1 = floats("w1", w1, ("F", "C", "3", "3"), x.dtype)
    (N, C, H, W), F, stride = x.shape, len(w1), whole("stride", stride, 1)
    if not isinstance(preactivation, (bool, np.bool_)):
        raise ValueError(f"preactivation = {preactivation!r}; expected True or False")
    if isinstance(eps, bool) or not isinstance(eps, numbers.Real) or not 0 < eps < np.inf:
        raise ValueError(f"eps = {eps!r}; expected a positive finite number")
    first = C if preactivation else F
    given = {"w1": (w1, (F, C, 3, 3)), "gamma1": (gamma1, (first,)), "beta1": (beta1, (first,)),
             "w2": (w2, (F, F, 3, 3)), "gamma2": (gamma2, (F,)), "beta2": (beta2, (F,))}
    arrays = [x, *(_shaped(name, array, shape, x.dtype) for name, (array, shape) in given.items())]
    arrays += shortcut(w_shortcut, gamma_s, beta_s, (F, C), stride, preactivation, x.dtype)
    if min(x.shape[1:]) == 0 or F == 0:
        raise ValueError(f"x has shape {x.shape}, w1 {w1.shape}; expected no 0 but for the batch")
    if N * -(-H // stride) * -(-W // stride) == 1:
        raise ValueError(f"x has shape {x.shape}, which leaves one number per channel; expected more than one")
    work = working(x.dtype)
    return [None if a is None else a.astype(work, copy=False) for a in arrays], x.dtype


def shortcut(w, gamma, beta, channels, stride, preactivation, dtype):
    """[w (F, C, 1, 1), gamma (F,), beta (F,)] of a projection, or three times None."""
    F, C = channels
    if w is None and (F != C or stride != 1):
        raise ValueError(f"w_shortcut is None; expected an array of shape ({F}, {C}, 1, 1), for the block "
                         "changes the shape")
    wanted = w is not None and not preactivation
    for name, array in (("gamma_s", gamma), ("beta_s", beta)):
        if (array is not None) != wanted:
            raise ValueError(f"{name} is {'None' if array is None else 'an array'}; expected "
                             + (f"an array of shape ({F},), beside w_shortcut" if wanted else
                                "None, there is no normalisation on this shortcut"))
    given = ("w_shortcut", w, (F, C, 1, 1)), ("gamma_s", gamma, (F,)), ("beta_s", beta, (F,))
    return [None if a is None else _shaped(name, a, shape, dtype) for name, a, shape in given]


def layer(in_channels, channels, stride):
    """Sizes of a block: whole and positive."""
    return whole("in_channels", in_channels, 1), whole("channels", channels, 1), whole("stride", stride, 1)


def blocks(blocks, widths):
    """Two sequences of as many positive integers."""
    if not isinstance(blocks, (tuple, list)) or not isinstance(widths, (tuple, list)) or not blocks:
        raise ValueError(f"blocks = {blocks!r}, widths = {widths!r}; expected two tuples")
    if len(blocks) != len(widths):
        raise ValueError(f"widths = {widths!r}; expected {len(blocks)}, one for each of blocks")
    return [whole("blocks", n, 1) for n in blocks], [whole("widths", n, 1) for n in widths]


def stem(kind):
    """"small" or "imagenet"."""
    if kind not in ("small", "imagenet"):
        raise ValueError(f'stem = {kind!r}; expected "small" or "imagenet"')
    return kind
