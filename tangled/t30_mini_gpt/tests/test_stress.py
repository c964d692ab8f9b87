# Tangled from chapters/30-mini-gpt.qmd; edit the chapter, then run make tangle. sha256:bb8e1db0fbccb196
"""Chapter 30: growth of memory and of work, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t30_mini_gpt import GPT, checks
from tangled.t30_mini_gpt.level3_memory_efficient import FlatGPT
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def weights(V=11, context=48, D=24, L=2):
    """float32 weights."""
    return {k: rng(0).standard_normal(s, np.float32) / 3 for k, s in checks.shapes(V, context, D, 4 * D, L).items()}


@pytest.mark.levels(2, 3)
def test_long_in_float32(level):
    """48 tokens in float32 against float64."""
    given, ids, dout = weights(), rng(1).integers(0, 11, (3, 48)), rng(2).standard_normal((3, 48, 11))

    def call(dtype):
        logits, cache = level.gpt(ids, {k: a.astype(dtype) for k, a in given.items()}, 4)
        return {"logits": logits, **level.gpt_backward(dout.astype(dtype), cache)}
    got, want = call(np.float32), call(np.float64)
    for name in want:
        if "k_proj.bias" not in name:
            scale = np.abs(want[name]).max()
            assert_close(got[name] / np.float32(scale), (want[name] / scale).astype(np.float32), tol=2e-4, what=name)


def test_steps_need_no_new_memory():
    """After the first step nothing of the size of an activation is allocated."""
    model = FlatGPT(weights(), 4)
    x = rng(3).integers(0, 11, (16, 48))
    model.loss_and_gradients(x, x)
    activation = 4 * 16 * 48 * 4 * 24                           # bytes of one hidden array, float32
    assert peak_memory(lambda: model.loss_and_gradients(x, x)) < 2.5 * activation


def test_flat_model_allocates_little_beside_the_module():
    """Once the buffers are there, less than a sixth of what the modules allocate in a step."""
    from tangled.t06_backpropagation import CrossEntropyLoss
    module, loss = GPT(11, 48, 64, 4, 2), CrossEntropyLoss()
    flat, x = FlatGPT(module.state_dict(), 4), rng(4).integers(0, 11, (8, 48))

    def step():
        loss(module(x), x)
        module.backward(loss.backward())
    flat.loss_and_gradients(x, x)
    ours, theirs = peak_memory(lambda: flat.loss_and_gradients(x, x)), peak_memory(step)
    assert ours < theirs / 6, f"{ours:,} bytes, the module {theirs:,}"


@pytest.mark.levels(3)
def test_level3_sorts_little(level):
    """Counted: of 20,000 tokens with one clear favourite, top-p sorts less than a hundredth."""
    z, sizes = rng(5).standard_normal(20_000), []
    z[77] = 14.0
    inner = np.sort
    try:
        np.sort = lambda a, *rest, **options: (sizes.append(np.size(a)), inner(a, *rest, **options))[1]
        kept = np.isfinite(level.filter_logits(z, top_p=0.5))
    finally:
        np.sort = inner
    assert kept.sum() == 1 and kept[77]
    assert sum(sizes) < 200, f"{sum(sizes)} numbers sorted"
