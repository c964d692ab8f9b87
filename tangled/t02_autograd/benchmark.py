# Tangled from chapters/02-autograd.qmd; edit the chapter, then run make tangle. sha256:292ce50e6aa462a4
"""The measured ladders of chapter 02: one network, four engines."""

from itertools import pairwise

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t02_autograd import level1_naive, level2_vectorized, level3_memory_efficient


def arrays(sizes, samples, seed=0):
    """Inputs, targets, and a (weight, bias) pair for each layer, in float32."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    layers = [(draw(m, n) / np.float32(np.sqrt(m)), draw(n)) for m, n in pairwise(sizes)]
    return draw(samples, sizes[0]), draw(samples, sizes[-1]), layers


def with_tensors(module, x, y, layers):
    """Forward and backward on level 2 or 3."""
    layers = [(module.Tensor(w), module.Tensor(b)) for w, b in layers]

    def step():
        h = x
        for k, (w, b) in enumerate(layers):
            w.grad = b.grad = None
            h = (h.relu() if k else h) @ w + b
        difference = h - y
        (difference * difference).mean().backward()
    return step


def with_values(x, y, layers):
    """Forward and backward, number by number."""
    value = level1_naive.Value
    layers = [([[value(v) for v in column] for column in w.T], [value(v) for v in b])
              for w, b in layers]

    def step():
        loss = 0.0
        for row, target in zip(x.tolist(), y.tolist()):
            for k, (columns, biases) in enumerate(layers):
                row = [h.relu() for h in row] if k else row
                row = [sum((h * w for h, w in zip(row, column)), b)
                       for column, b in zip(columns, biases)]
            loss = loss + sum((h - t) ** 2 for h, t in zip(row, target))
        (loss / y.size).backward()
    return step


def with_torch(x, y, layers):
    """Forward and backward in eager PyTorch."""
    import torch
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    layers = [tuple(torch.tensor(p, requires_grad=True) for p in pair) for pair in layers]

    def step():
        h = x
        for k, (w, b) in enumerate(layers):
            w.grad = b.grad = None
            h = torch.addmm(b, torch.relu(h) if k else h, w)
        difference = h - y
        (difference * difference).mean().backward()
    return step


def ladders():
    """Yields the tiny network at all levels, and the wide one at levels 2 to 4."""
    for name, sizes, samples in (("tiny", [3, 16, 16, 1], 16), ("wide", [256] * 7, 256)):
        problem = arrays(sizes, samples)
        calls = {"level 2": with_tensors(level2_vectorized, *problem),
                 "level 3": with_tensors(level3_memory_efficient, *problem)}
        if len(sizes) == 4:
            calls["level 1"] = with_values(*problem)
        if torch_available():
            calls["level 4"] = with_torch(*problem)
        products = 3 * samples * sum(m * n for m, n in pairwise(sizes))
        yield Ladder(f"{name} network, float32, forward and backward", calls,
                     operations=f"{products:,} multiply-adds")
