# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:5b248e5aa7bfbe32
"""Chapter 04: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t04_perceptron import level1_naive, level2_vectorized, level3_memory_efficient

LOGITS, SAMPLES, FEATURES = 100_000, 1000, 10


LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}


def _loss(level, z, y):
    """Forward and backward; level 3 into an array that exists, which the backward hands over."""
    dz = np.empty_like(z)

    def call():
        into = {"out": dz} if level is level3_memory_efficient else {}
        _, cache = level.bce_with_logits(z, y, **into)
        return level.bce_with_logits_backward(1.0, cache, **into)
    return call


def _losses_of_torch(z, y):
    """PyTorch on tensors that exist: by autograd, and the gradient written down by hand."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    z, y = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)
    plain, dz = z.detach(), torch.empty(len(z))

    def by_hand():
        loss = binary_cross_entropy_with_logits(plain, y)
        return loss, torch.sigmoid(plain, out=dz).sub_(y).mul_(1 / len(y))
    return {"level 4": lambda: torch.autograd.grad(binary_cross_entropy_with_logits(z, y), z),
            "best PyTorch": by_hand}


def ladders():
    """BCE forward and backward; a perceptron fitted until it makes no mistake."""
    rng = np.random.default_rng(0)
    z = 3 * rng.standard_normal(LOGITS, dtype=np.float32)
    labels = rng.integers(0, 2, LOGITS).astype(np.float32)
    calls = {name: _loss(level, z, labels) for name, level in LEVELS.items()}
    calls |= _losses_of_torch(z, labels) if torch_available() else {}
    work = {"level 1": "4 exp and log a logit", "level 2": "4 exp and log a logit",
            "level 3": "1 exp a logit, a log for 16", "level 4": "PyTorch's kernels"}
    yield Ladder("BCE with logits, forward and backward", calls, work, f"N = {LOGITS}, float32")
    x = rng.standard_normal((SAMPLES, FEATURES), dtype=np.float32)
    score = x @ rng.standard_normal(FEATURES, dtype=np.float32)
    x, y = x[np.abs(score) > 0.5], np.sign(score[np.abs(score) > 0.5])
    calls = {name: lambda level=level: level.perceptron_fit(x, y)
             for name, level in LEVELS.items()}                 # PyTorch has nothing to compare with
    yield Ladder("Perceptron, to the last mistake", calls, "N D an epoch",
                 f"N = {len(x)}, D = {FEATURES}, float32")
