# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:5cb7b8efba9aa318
"""The measured ladder of chapter 00."""

import functools

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t00_prerequisites import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.testing import rng

N = 48
LEVELS = level1_naive, level2_vectorized, level3_memory_efficient


def with_torch(a, b):
    """The same in PyTorch alone: level 4 also checks its arguments and converts."""
    import torch
    return functools.partial(torch.matmul, torch.from_numpy(a), torch.from_numpy(b))


def ladders():
    """Yields one Ladder: `matmul` of two (N, N) matrices at each level."""
    a, b = rng(0).standard_normal((2, N, N))
    calls = {f"level {k}": functools.partial(level.matmul, a, b)
             for k, level in enumerate(LEVELS, 1)}
    if torch_available():
        calls["level 4"] = with_torch(a, b)
        np.testing.assert_allclose(calls["level 4"](), calls["level 2"](), atol=1e-10)
    yield Ladder(f"matmul, n = k = m = {N}", calls, operations=f"{2 * N**3:,}")
