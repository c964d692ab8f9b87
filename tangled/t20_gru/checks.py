# Tangled from chapters/20-gru.qmd; edit the chapter, then run make tangle. sha256:c98ee8d87b6a3f9a
"""Chapter 20: arguments checked, for all levels and for yours."""

import numpy as np

from tangled.t18_rnn.checks import floats, generator, gradient, whole, working

__all__ = ["floats", "generator", "gradient", "variant", "weights", "whole", "widened", "working"]
VARIANTS = ("pytorch", "cho")


def variant(name):
    """Where the reset gate acts: "pytorch" or "cho"."""
    if name not in VARIANTS:
        raise ValueError(f"variant = {name!r}; expected 'pytorch' or 'cho'")
    return name


def weights(x, axes, h, w_ih, w_hh, b_ih, b_hh, kind):
    """x with those axes, h (B, H), w_ih (D, 3H), w_hh (H, 3H), biases (3H,) or None."""
    variant(kind)
    x = floats("x", x, axes)
    w_ih = floats("w_ih", w_ih, (x.shape[-1], "3H"), x.dtype)
    H = w_ih.shape[1] // 3
    if w_ih.shape[1] != 3 * H:
        raise ValueError(f"w_ih has shape {w_ih.shape}; expected ({x.shape[-1]}, 3H), a multiple of 3")
    h = floats("h" if len(axes) == 2 else "h0", h, (len(x), H), x.dtype)
    w_hh = floats("w_hh", w_hh, (H, 3 * H), x.dtype)
    biases = [None if b is None else floats(name, b, (3 * H,), x.dtype)
              for name, b in (("b_ih", b_ih), ("b_hh", b_hh))]
    return x, h, w_ih, w_hh, *biases


def widened(arrays):
    """Six arrays in the dtype to compute in, zeros (3H,) for biases that were not given."""
    dtype, size = working(arrays[0].dtype), arrays[2].shape[1]
    return [np.zeros(size, dtype) if a is None else a.astype(dtype, copy=False) for a in arrays]
