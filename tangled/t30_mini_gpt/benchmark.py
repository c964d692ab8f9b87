# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:07eaa426a1423db4
"""Chapter 30: what the levels cost."""

import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t03_optimizers import AdamW
from tangled.t06_backpropagation import CrossEntropyLoss
from tangled.t30_mini_gpt import GPT, Groups, checks, decay_groups, level1_naive, level2_vectorized
from tangled.t30_mini_gpt import level3_memory_efficient as level3
from tangled.t30_mini_gpt.training import SETTINGS, Numpy

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3}
TINY, STEP = "GPT, forward and backward, (1, 4), 1 layer of 6", "step with AdamW, (32, 64), 4 layers of 128"
NUCLEUS, SMALL = "top-p 0.9 of (4, 50257) logits", "top-p 0.9 of (2, 64) logits"


def _tiny():
    """A model so small that loops can do it."""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal(s, np.float32) / 2 for k, s in checks.shapes(7, 5, 6, 24, 1).items()}
    ids, dlogits = rng.integers(0, 7, (1, 4)), rng.standard_normal((1, 4, 7), np.float32)
    return {name: lambda m=m: m.gpt_backward(dlogits, m.gpt(ids, weights, 3)[1]) for name, m in LEVELS.items()}


def _steps():
    """A whole step of training: ours, of modules and flat, and PyTorch's."""
    settings, rng = SETTINGS | {"threads": 1}, np.random.default_rng(0)
    model = GPT(64, 64, 128, 4, 4)
    state, (x, y) = model.state_dict(), rng.integers(0, 64, (2, 32, 64))
    flat, loss = Numpy(state, settings), CrossEntropyLoss()
    decayed, others = decay_groups(model.parameters())
    optimizer = Groups(AdamW(decayed, 1e-3, weight_decay=0.1), AdamW(others, 1e-3, weight_decay=0.0))

    def modules():
        model.zero_grad()
        loss(model(x), y)
        model.backward(loss.backward())
        optimizer.step()
    calls = {"level 2": modules, "level 3": lambda: flat.update([(x, y)], 1e-3)}
    if torch_available():
        import torch

        from tangled.t30_mini_gpt.contestant import Torch
        eager, fused = (Torch(state, settings) for _ in range(2))
        eager.optimizer = torch.optim.AdamW(eager.optimizer.param_groups, 1e-3)
        for group in eager.optimizer.param_groups:
            group["fused"] = None
        calls |= {"level 4": lambda: eager.update([(x, y)], 1e-3), "best PyTorch": lambda: fused.update([(x, y)], 1e-3)}
    return calls


def _filters(shape):
    """Top-p of logits like those of a trained model: a few large ones."""
    logits = 3 * np.random.default_rng(1).standard_normal(shape, np.float32)
    calls = {name: lambda m=m: m.filter_logits(logits, top_p=0.9) for name, m in LEVELS.items()
             if name != "level 1" or logits.size < 1000}
    if torch_available():
        import torch
        given = torch.from_numpy(logits)

        def nucleus():
            falling, order = given.sort(descending=True)
            p = falling.softmax(-1)
            out = torch.where(p.cumsum(-1) - p < 0.9, falling, -torch.inf)
            return torch.empty_like(out).scatter_(-1, order, out)
        calls["level 4"] = nucleus
    return calls


def ladders():
    """The model, a step of its training, and the sampler."""
    yield Ladder(TINY, _tiny(), operations="about 4,000", note="float32")
    yield Ladder(STEP, _steps(), operations="6 x 2048 x 794,624 and attention", note="float32, one thread")
    yield Ladder(SMALL, _filters((2, 64)), note="float32")
    yield Ladder(NUCLEUS, _filters((4, 50257)), note="float32")
