# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:0ab0fc915bab6989
"""Chapter 33: the squared error by the clip, measured and derived."""

import numpy as np

from tangled.t33_quantization import dequantize, quantize


def clip_errors(n=200_000, bits=(4, 8), marks=14):
    """{bits: clips, errors} of n Laplace numbers, the last clip at the largest; {bits: (marks,), (marks,)}."""
    x, found = np.random.default_rng(0).laplace(size=n).astype(np.float32), {}
    for b in bits:
        clips, Q = np.linspace(1.2, np.abs(x).max(), marks), 2 ** (b - 1) - 1
        moved = (dequantize(*quantize(x, np.float32(c / Q), bits=b)) for c in clips)
        found[b] = clips, np.array([np.mean((y - x) ** 2, dtype=np.float64) for y in moved])
    return found


def laplace_error(c, bits):
    """The two parts of eq. 33.6 for the Laplace density with rate 1, at clips c (n,): cut off, rounded."""
    return 2 * np.exp(-c), c ** 2 / (12 * (2 ** (bits - 1) - 1) ** 2)


def best_clip(bits):
    """The c of eq. 33.8 for rate 1, a float, by fixed-point iteration."""
    c, right = 1.0, 12 * (2 ** (bits - 1) - 1) ** 2
    for _ in range(100):
        c = 0.5 * (c + np.log(right / c))
    return float(c)
