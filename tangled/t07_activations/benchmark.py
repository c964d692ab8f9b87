# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:9d7f58f06e77860b
"""Chapter 07: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t07_activations import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SIZE = 1 << 16
TASKS = (("leaky_relu", {}, "6 n"), ("gelu", {}, "26 n"),     # passes of level 3, counted
         ("gelu", {"approximate": "tanh"}, "25 n"), ("mish", {}, "20 n"))
LEVELS = level1_naive, level2_vectorized, level3_memory_efficient


def _round_trip(level, name, options, x, dout):
    lean = level is level3_memory_efficient
    into = {"out": np.empty_like(x)} if lean else {}
    back = {"out": np.empty_like(x)} if lean else {}

    def call():
        _, cache = getattr(level, name)(x, **options, **into)
        return getattr(level, name + "_backward")(dout, cache, **back)
    return call


def with_torch(name, options, x, dout):
    """The same in PyTorch alone, tensors in and out: level 4 also checks and converts."""
    import torch
    f = getattr(torch.nn.functional, name)
    x, dout = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dout)
    return lambda: torch.autograd.grad(f(x, **options), x, dout)[0]


def ladders():
    """Forward and backward of four activations; level 3 writes into arrays that exist."""
    x, dout = np.random.default_rng(0).standard_normal((2, SIZE), dtype=np.float32)
    for name, options, operations in TASKS:
        calls = {f"level {k}": _round_trip(level, name, options, x, dout)
                 for k, level in enumerate(LEVELS, 1)}
        if torch_available():
            calls["level 4"] = with_torch(name, options, x, dout)
            np.testing.assert_allclose(calls["level 4"](), calls["level 2"](), atol=1e-5)
        title = " ".join([name, *options.values()])
        yield Ladder(f"{title}, forward and backward", calls, {"level 3": operations},
                     note=f"{SIZE} float32 numbers")
