# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:f3449f328eb5b3a9
"""The measured ladder of chapter 00."""

import functools

from tangled.measuring import Ladder, torch_available
from tangled.t00_prerequisites import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.testing import rng

N = 48


def ladders():
    """Yields one Ladder: `matmul` of two (N, N) matrices at each level."""
    a, b = rng(0).standard_normal((2, N, N))
    modules = [level1_naive, level2_vectorized, level3_memory_efficient]
    if torch_available():
        from tangled.t00_prerequisites import level4_pytorch_reference
        modules.append(level4_pytorch_reference)
    calls = {f"level {k}": functools.partial(module.matmul, a, b)
             for k, module in enumerate(modules, 1)}
    yield Ladder(f"matmul, n = k = m = {N}", calls, operations=f"{2 * N**3:,}")
