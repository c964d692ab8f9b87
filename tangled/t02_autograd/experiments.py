# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:3201eaa5b5baf39a
"""Chapter 2: what the figures show, computed. Nothing is drawn here."""

import tracemalloc

import numpy as np

from tangled.t02_autograd import level2_vectorized, level3_memory_efficient


def memory_profile(module, depth=12, size=1 << 15):
    """Arrays of `size` float64 held after each step, and the number of forward steps."""
    held, start = [], 0

    def sample():
        held.append((tracemalloc.get_traced_memory()[0] - start) / (8 * size))

    def watched(out):
        owner = out if hasattr(out, "edges") else out.node
        owner.edges = [(operand, lambda g, vjp=vjp: (sample(), vjp(g))[1])
                       for operand, vjp in owner.edges]
        sample()
        return out

    h = module.Tensor(np.full(size, 0.1))
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    for _ in range(depth):
        h = watched(watched(watched(h + 1.0).tanh()) + h)
    forward = len(held)
    h.backward(np.broadcast_to(1.0, (size,)))
    sample()
    tracemalloc.stop()
    return np.array(held), forward


def memory_profiles():
    """{level: its profile} of levels 2 and 3."""
    return {"level 2": memory_profile(level2_vectorized), "level 3": memory_profile(level3_memory_efficient)}
