# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:89766f5cfadceb6c
"""The measured ladder of chapter 00."""

from tangled.measuring import Ladder, torch_available
from tangled.t00_prerequisites import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.testing import rng

N = 48


def ladders():
    """Yields one Ladder: `matmul` of two (N, N) matrices at each level."""
    a, b = rng(0).standard_normal((2, N, N))
    modules = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t00_prerequisites import level4_pytorch_reference
        modules["level 4"] = level4_pytorch_reference
    calls = {name: (lambda module=module: module.matmul(a, b)) for name, module in modules.items()}
    yield Ladder(f"matmul, n = k = m = {N}", calls, operations=f"{2 * N**3:,} multiplications and additions")
