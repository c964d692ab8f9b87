# Tangled from chapters/03-optimizers.qmd; edit the chapter, then run make tangle. sha256:b639b137a0dd5fd0
"""Chapter 3: what a step costs at each level."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t03_optimizers import level1_naive, level2_vectorized, level3_memory_efficient
from tangled.t03_optimizers.paths import plain

D, LAYERS, VOCABULARY, LENGTH = 128, 4, 65, 64
BLOCK = [(D,), (D,), (D, 3 * D), (3 * D,), (D, D), (D,), (D,), (D,), (D, 4 * D), (4 * D,),
         (4 * D, D), (D,)]
GPT = [(VOCABULARY, D), (LENGTH, D), *BLOCK * LAYERS, (D,), (D,), (D, VOCABULARY), (VOCABULARY,)]


def prepared(level, rule, shapes):
    """The step of an optimiser over float32 arrays of these shapes, with gradients."""
    random = np.random.default_rng(0)
    parameters = [plain(random.standard_normal(shape, np.float32)) for shape in shapes]
    for p in parameters:
        p.grad = random.standard_normal(p.data.shape, np.float32)
    optimizer = getattr(level, rule)(parameters)
    optimizer.step()
    return getattr(optimizer, "optimiser", optimizer).step


def fused(rule, shapes):
    """PyTorch's best: one pass over memory, in C++."""
    import torch
    random = np.random.default_rng(0)
    tensors = [torch.from_numpy(random.standard_normal(shape, np.float32)) for shape in shapes]
    for tensor in tensors:
        tensor.grad = torch.from_numpy(random.standard_normal(tuple(tensor.shape), np.float32))
    return getattr(torch.optim, rule)(tensors, fused=True).step


def in_pieces(power, size=4_000_000):
    """A step of level 3's Adam over so many numbers, 2**power at a time."""
    step, chunk = prepared(level3_memory_efficient, "Adam", [(size,)]), min(1 << power, size)
    step.__self__.spare = np.empty((2, chunk), np.float32)

    def timed():
        before, level3_memory_efficient.CHUNK = level3_memory_efficient.CHUNK, chunk
        try:
            step()
        finally:
            level3_memory_efficient.CHUNK = before
    return timed


def calls(rule, shapes, first=1):
    """The steps of the levels from `first` on; level 4 is torch's own, with nothing around it."""
    levels = [level1_naive, level2_vectorized, level3_memory_efficient]
    if torch_available():
        from tangled.t03_optimizers import level4_pytorch_reference
        levels.append(level4_pytorch_reference)
    best = {"best PyTorch": fused(rule, shapes)} if torch_available() else {}
    return {f"level {k}": prepared(level, rule, shapes)
            for k, level in enumerate(levels, 1) if k >= first} | best


def ladders():
    """Adam on a small array, on a large one, and on the parameters of a small GPT."""
    yield Ladder("Adam, 5,000 parameters in one array", calls("Adam", [(50, 100)]),
                 operations="about 12 a parameter", note="float32")
    for shapes, what in (([(800_000,)], "one array"), (GPT, f"{len(GPT)} arrays")):
        yield Ladder(f"Adam, 0.8 M parameters in {what}", calls("Adam", shapes, first=2),
                     operations="about 12 a parameter", note="float32")
    yield Ladder("Adam, level 3, 4 M parameters in pieces",
                 {"all at once": in_pieces(22), **{f"2^{k}": in_pieces(k) for k in (11, 14, 17)}},
                 note="float32")
