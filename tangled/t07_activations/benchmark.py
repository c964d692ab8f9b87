# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:f6e11511e25d3cb9
"""Chapter 07: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t07_activations import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

SIZE = 1 << 16
TASKS = (("leaky_relu", {}, "8 n"), ("gelu", {}, "75 n"),     # ufuncs of level 3, counted
         ("gelu", {"approximate": "tanh"}, "29 n"), ("mish", {}, "20 n"))


def _levels():
    levels = {"level 1": level1_naive, "level 2": level2_vectorized,
              "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t07_activations import level4_pytorch_reference
        levels["level 4"] = level4_pytorch_reference
    return levels


def _round_trip(level, name, options, x, dout):
    lean = level is level3_memory_efficient
    into = {"out": np.empty_like(x)} if lean else {}
    back = {"out": np.empty_like(x)} if lean else {}

    def call():
        _, cache = getattr(level, name)(x, **options, **into)
        return getattr(level, name + "_backward")(dout, cache, **back)
    return call


def ladders():
    """Forward and backward of four activations; level 3 writes into arrays that exist."""
    x, dout = np.random.default_rng(0).standard_normal((2, SIZE), dtype=np.float32)
    for name, options, operations in TASKS:
        calls = {key: _round_trip(level, name, options, x, dout)
                 for key, level in _levels().items()}
        title = " ".join([name, *options.values()])
        yield Ladder(f"{title}, forward and backward", calls, {"level 3": operations},
                     note=f"{SIZE} float32 numbers")
