# Tangled from chapters/04-perceptron.qmd; edit the chapter, then run make tangle. sha256:92c03569e9228e65
"""Chapter 04: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t04_perceptron import level1_naive, level2_vectorized, level3_memory_efficient

LOGITS, SAMPLES, FEATURES = 100_000, 1000, 10


def _levels():
    levels = {"level 1": level1_naive, "level 2": level2_vectorized,
              "level 3": level3_memory_efficient}
    if torch_available():
        from tangled.t04_perceptron import level4_pytorch_reference
        levels["level 4"] = level4_pytorch_reference
    return levels


def _loss(level, z, y):
    """Forward and backward, the cache handed over."""
    out = {"out": np.empty_like(z)} if level is level3_memory_efficient else {}

    def call():
        _, cache = level.bce_with_logits(z, y, **out)
        return level.bce_with_logits_backward(1.0, cache)
    return call


def _loss_of_torch(z, y):
    """PyTorch alone, tensors in and out: level 4 also converts and checks."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    z, y = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)
    return lambda: torch.autograd.grad(binary_cross_entropy_with_logits(z, y), z)


def ladders():
    """BCE forward and backward; a perceptron fitted until it makes no mistake."""
    rng = np.random.default_rng(0)
    z = 3 * rng.standard_normal(LOGITS, dtype=np.float32)
    labels = rng.integers(0, 2, LOGITS).astype(np.float32)
    calls = {name: _loss(level, z, labels) for name, level in _levels().items()}
    if "level 4" in calls:
        calls["level 4"] = _loss_of_torch(z, labels)
    work = {"level 1": "4 exp and log a logit", "level 2": "4 exp and log a logit",
            "level 3": "2 exp and log a logit", "level 4": "PyTorch's kernels"}
    yield Ladder("BCE with logits, forward and backward", calls, work, f"N = {LOGITS}, float32")
    x = rng.standard_normal((SAMPLES, FEATURES), dtype=np.float32)
    score = x @ rng.standard_normal(FEATURES, dtype=np.float32)
    x, y = x[np.abs(score) > 0.5], np.sign(score[np.abs(score) > 0.5])
    calls = {name: lambda level=level: level.perceptron_fit(x, y)
             for name, level in _levels().items()}
    yield Ladder("Perceptron, to the last mistake", calls, "N D an epoch",
                 f"N = {len(x)}, D = {FEATURES}, float32")
