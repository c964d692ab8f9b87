# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:9985bc1a45e41bfb
"""Chapter 06: what a training step costs on each level."""

from itertools import pairwise

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t06_backpropagation import (
    level1_naive,
    level2_vectorized,
    level3_memory_efficient,
)

WIDTHS = (784, 256, 128, 10)


def batch(widths=WIDTHS, rows=64):
    """x (rows, in), float32, and y (rows,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, widths[0]), dtype=np.float32)
    return x, rng.integers(0, widths[-1], rows)


def with_level(level, x, y, widths=WIDTHS):
    """A step of a level's classes on the batch x (N, in), y (N,)."""
    rng, modules = np.random.default_rng(1), []
    for shape in pairwise(widths):
        modules += [level.Linear(*shape, rng), level.ReLU()]
    model = level.Sequential(*modules[:-1])
    model.input_grad = False
    descent = level.GradientDescent(model.parameters(), lr=0.01)
    engine = level.Engine(model, level.CrossEntropyLoss(), descent)
    return lambda: engine.step(x, y)[0]


def with_torch(x, y, widths=WIDTHS):
    """The same step in eager PyTorch."""
    import torch
    from torch import nn
    modules = []
    for shape in pairwise(widths):
        modules += [nn.Linear(*shape), nn.ReLU()]
    model, loss = nn.Sequential(*modules[:-1]), nn.CrossEntropyLoss()
    descent = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def step():
        value = loss(model(x), y)
        descent.zero_grad()
        value.backward()
        descent.step()
        return value.item()
    return step


def ladder(name, widths, rows, levels):
    """A step on the levels named, and in PyTorch."""
    x, y = batch(widths, rows)
    calls = {number: with_level(level, x, y, widths) for number, level in levels.items()}
    if torch_available():
        calls["level 4"] = with_torch(x, y, widths)
    products = 3 * sum(m * n for m, n in pairwise(widths)) - widths[0] * widths[1]
    return Ladder(name, calls, operations=f"{rows * products:,} multiply-adds",
                  note="float32; forward, loss, backward and update")


def ladders():
    """Batches of 64 and of 256; a network that level 1 can manage."""
    fast = {"level 2": level2_vectorized, "level 3": level3_memory_efficient}
    for rows in (64, 256):
        yield ladder(f"training step 784-256-128-10, batch {rows}", WIDTHS, rows, fast)
    yield ladder("training step 16-32-16-4, batch 8", (16, 32, 16, 4), 8,
                 {"level 1": level1_naive, **fast})
    for rows, classes in ((256, 10), (2048, 65), (1024, 1000)):
        yield loss_ladder(rows, classes, fast)


def loss_ladder(rows, classes, levels):
    """Softmax cross-entropy, forward and backward, of logits (rows, classes)."""
    logits, y = batch((classes, classes), rows)

    def with_level(level):
        loss = level.CrossEntropyLoss()
        return lambda: (loss(logits, y), loss.backward())

    def with_torch():
        import torch
        leaf, target = torch.from_numpy(logits.copy()).requires_grad_(), torch.from_numpy(y)

        def call():
            leaf.grad = None
            torch.nn.functional.cross_entropy(leaf, target).backward()
        return call

    calls = {number: with_level(level) for number, level in levels.items()}
    if torch_available():
        calls["level 4"] = with_torch()
    return Ladder(f"softmax cross-entropy ({rows}, {classes})", calls,
                  operations=f"{rows * classes:,} exponentials", note="float32")
