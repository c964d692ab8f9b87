# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:94bf570528fb0710
"""Chapter 06: growth of time and memory, as exponents and ratios, never seconds."""

from itertools import pairwise

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import rng

pytestmark = pytest.mark.performance


def layers(widths):
    """Pairs (W, b), float32."""
    generator = rng(1)
    return [(generator.standard_normal(s).astype(np.float32), np.zeros(s[1], np.float32))
            for s in pairwise(widths)]


def test_backward_is_linear_in_the_batch(level, level_number):
    """Twice the rows, twice the time: no N x N array, no Jacobian."""
    widths, start = ([4, 8, 4], 16) if level_number == 1 else ([128, 256, 64], 512)

    def problem(n):
        x = rng(2).standard_normal((n, widths[0])).astype(np.float32)
        out, cache = level.mlp_forward(x, layers(widths))
        return lambda: level.mlp_backward(out, cache)
    assert 0.5 < growth_exponent(problem, [start, 2 * start, 4 * start]) < 1.5


@pytest.mark.levels(2, 3)
def test_backward_costs_a_few_forward_passes(level):
    """Two products for one: a factor of 2 in theory, below 4 in practice."""
    x = rng(3).standard_normal((256, 256)).astype(np.float32)
    pairs = layers([256, 256, 256])
    out, cache = level.mlp_forward(x, pairs)
    ratio = time_ratio(lambda: level.mlp_backward(out, cache),
                       lambda: level.mlp_forward(x, pairs))
    assert ratio < 4


def engine(level, widths=(784, 256, 128, 10), rows=64):
    """An engine, and one batch."""
    generator = rng(4)
    modules = []
    for shape in pairwise(widths):
        modules += [level.Linear(*shape, generator), level.ReLU()]
    model = level.Sequential(*modules[:-1])
    model.input_grad = False
    x = generator.standard_normal((rows, widths[0]), dtype=np.float32)
    y = generator.integers(0, widths[-1], rows)
    descent = level.GradientDescent(model.parameters(), lr=0.01)
    return level.Engine(model, level.CrossEntropyLoss(), descent), x, y


@pytest.mark.levels(3)
def test_a_step_makes_no_arrays(level):
    """After the first step, level 3 needs less than a tenth of level 2's peak."""
    from tangled.t06_backpropagation import level2_vectorized
    peaks = []
    for module in (level, level2_vectorized):
        trainer, x, y = engine(module)
        trainer.step(x, y)
        peaks.append(peak_memory(lambda trainer=trainer, x=x, y=y: trainer.step(x, y)[0]))
    assert peaks[0] < 0.1 * peaks[1]


@pytest.mark.levels(3)
def test_losses_make_no_arrays(level):
    """After the first call a loss of level 3 works in the array that it has."""
    pred = rng(5).standard_normal((256, 200), dtype=np.float32)
    for loss, target in ((level.MSELoss(), np.zeros_like(pred)),
                         (level.CrossEntropyLoss(), np.zeros(256, int))):
        def call(loss=loss, target=target):
            loss(pred, target)
            loss.backward()
        call()
        assert peak_memory(call) < 0.2 * pred.nbytes


@pytest.mark.levels(2, 3)
def test_no_input_gradient_for_data(level):
    """Nobody asks for dx of the first layer: it is a product that is left out, and None."""
    trainer, x, y = engine(level, rows=128)
    trainer.loss(trainer.model(x), y)
    assert trainer.model.backward(trainer.loss.backward()) is None
