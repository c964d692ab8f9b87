# Tangled from chapters/01-tensor-operations.qmd; edit the chapter, then run make tangle. sha256:bdf7f87adbb3f3f0
"""The measured ladders of chapter 01."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t01_tensor_operations import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.testing import rng


def modules(first=1):
    """Levels by name, from level `first` on; level 4 where PyTorch is installed."""
    levels = [level1_naive, level2_vectorized, level3_memory_efficient]
    if torch_available():
        from tangled.t01_tensor_operations import level4_pytorch_reference
        levels.append(level4_pytorch_reference)
    return {f"level {k}": module for k, module in enumerate(levels, 1) if k >= first}


def ladders():
    """Yields three Ladders: a small product, a large product without the loops, a softmax."""
    for n, first in ((48, 1), (512, 2)):
        a, b = rng(0).standard_normal((2, n, n)).astype(np.float32)
        calls = {name: (lambda module=module, a=a, b=b: module.matmul(a, b))
                 for name, module in modules(first).items()}
        yield Ladder(f"matmul, n = k = m = {n}", calls, operations=f"{2 * n**3:,}")
    x = rng(1).standard_normal((512, 1000)).astype(np.float32)
    calls = {name: (lambda module=module: module.softmax(x)) for name, module in modules(2).items()}
    yield Ladder("softmax, (512, 1000)", calls, operations=f"{x.size:,} exponentials")
