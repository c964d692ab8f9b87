# Tangled from chapters/06-backpropagation.qmd; edit the chapter, then run make tangle. sha256:f8ecc0ad1ec2d23d
"""Chapter 06: the graded exercises."""

import numpy as np
import pytest

from tangled.t06_backpropagation import (
    CrossEntropyLoss,
    Engine,
    GradientDescent,
    Linear,
    ReLU,
    Sequential,
    gradient_check,
)
from tangled.testing import assert_close, expect_value_error, rng

pytestmark = pytest.mark.value


def network(seed=0):
    """Linear, ReLU, Linear: 3 to 5 to 3."""
    return Sequential(Linear(3, 5, rng(seed)), ReLU(), Linear(5, 3, rng(seed + 1)))


def test_residual(exercises):
    """x + f(x), its gradients, its parameters; blocks within blocks."""
    inner, x = network(), rng(2).standard_normal((4, 3)).astype(np.float32)
    block = exercises.Residual(inner)
    assert_close(block(x), x + inner(x), what="out")
    assert [name for name, _ in block.named_parameters()] == \
        [f"inner.{k}.{name}" for k in (0, 2) for name in ("weight", "bias")]
    nested = exercises.Residual(Sequential(Linear(3, 3, rng(5)), exercises.Residual(network(3))))
    for module in (block, nested):
        errors = np.array(list(gradient_check(module, rng(6).standard_normal((2, 3)), rng(7)).values()))
        assert_close(errors, np.zeros(len(errors)), tol=1e-6, what="errors of the gradients")
    kept = x.copy()
    dout = rng(8).standard_normal((4, 3)).astype(np.float32)
    kept_dout = dout.copy()
    block(x)
    first = block.backward(dout)
    assert_close(x, kept, what="x after both passes")
    assert_close(dout, kept_dout, what="dout after the backward pass")
    assert_close(block.backward(dout), first, what="dx again")


def test_residual_refuses_another_shape(exercises):
    """An inner module that changes the shape would broadcast; it is refused by name."""
    expect_value_error("inner", exercises.Residual(Linear(3, 1, rng(0))), np.ones((4, 3), np.float32))


def test_checkpoint(exercises):
    """Outputs and gradients of the module itself; nothing kept between, forward run once more."""
    calls = []

    class Counted(ReLU):
        def forward(self, x):
            calls.append(x.shape)
            return super().forward(x)
    plain = network()
    module = Sequential(plain[0], Counted(), plain[2])
    wrapped = exercises.Checkpoint(module)
    x, dout = rng(3).standard_normal((2, 6, 3)).astype(np.float32)
    wanted = plain(x)
    dx = plain.backward(dout)
    grads = [p.grad.copy() for p in plain.parameters()]
    plain.zero_grad()
    assert_close(wrapped(x), wanted, what="out")
    assert len(calls) == 1 and [m.cache for m in module.modules()] == [None] * 4
    assert_close(wrapped.backward(dout), dx, what="dx")
    assert len(calls) == 2
    for p, grad in zip(wrapped.parameters(), grads, strict=True):
        assert_close(p.grad, grad, what="gradient")
    wrapped(0 * x)
    wrapped(x)
    assert_close(wrapped.backward(dout), dx, what="dx after another input")
    with pytest.raises(RuntimeError, match="before forward"):
        exercises.Checkpoint(network()).backward(dout)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 20])
def test_accumulated_step(exercises, size):
    """Pieces of 3, 3 and 1 weigh by their samples: loss and update are those of the whole batch."""
    x, y = rng(4).standard_normal((7, 3)).astype(np.float32), rng(5).integers(0, 3, 7)
    engines = [Engine(model, CrossEntropyLoss(), GradientDescent(model.parameters(), 0.5))
               for model in (network(), network())]
    for _ in range(3):
        wanted = engines[0].step(x, y)[0]
        assert_close(exercises.accumulated_step(engines[1], x, y, size), np.array(wanted), what="loss")
    for p, q in zip(*(engine.model.parameters() for engine in engines)):
        assert_close(q.data, p.data, tol=1e-5, what="parameter after three steps")
