# Tangled from chapters/05-mlp-forward.qmd; edit the chapter, then run make tangle. sha256:7cf1ca80d03333c3
"""Chapter 05: what the levels cost."""

from itertools import pairwise

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t05_mlp_forward import (
    kaiming_uniform,
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

WIDTHS, ROWS = (784, 256, 128, 10), 64
LEVELS = level1_naive, level2_vectorized, level3_memory_efficient


def problem(widths=WIDTHS, rows=ROWS):
    """x (rows, in), pairs (W, b) and classes (rows,)."""
    rng = np.random.default_rng(0)
    layers = [(kaiming_uniform(rng, shape), np.zeros(shape[1], np.float32))
              for shape in pairwise(widths)]
    x = rng.standard_normal((rows, widths[0]), dtype=np.float32)
    return x, layers, rng.integers(0, widths[-1], rows)


def _with_torch(x, layers, y):
    """The same in PyTorch, with everything converted beforehand."""
    import torch
    from torch.nn import functional
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    layers = [(torch.from_numpy(W.T.copy()), torch.from_numpy(b)) for W, b in layers]

    def call():
        with torch.no_grad():
            h = functional.linear(x, *layers[0])
            for W, b in layers[1:]:
                h = functional.linear(torch.relu(h), W, b)
            return functional.cross_entropy(h, y).item()
    return call


def ladders():
    """The forward pass and its loss, without a cache at level 3."""
    x, layers, y = problem()

    def level3():
        out, _ = level3_memory_efficient.mlp_forward(x, layers, keep=False)
        return level3_memory_efficient.softmax_cross_entropy(out, y, out=out)[0]

    calls = {"level 2": lambda: level2_vectorized.softmax_cross_entropy(
        level2_vectorized.mlp_forward(x, layers)[0], y)[0], "level 3": level3}
    if torch_available():
        calls["level 4"] = _with_torch(x, layers, y)
    products = ROWS * sum(m * n for m, n in pairwise(WIDTHS))
    yield Ladder("MLP 784-256-128-10 forward with loss, batch 64", calls,
                 f"{products:,} multiply-adds", "float32")
    small, few, classes = problem((16, 32, 16, 4), 8)
    calls = {f"level {k + 1}": lambda level=level: level.softmax_cross_entropy(
        level.mlp_forward(small, few)[0], classes)[0]
        for k, level in enumerate(LEVELS)}
    if torch_available():
        calls["level 4"] = _with_torch(small, few, classes)
    yield Ladder("MLP 16-32-16-4 forward with loss, batch 8", calls, "8,704 multiply-adds",
                 "float32")
