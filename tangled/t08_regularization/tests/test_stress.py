# Tangled from chapters/08-regularization.qmd; edit the chapter, then run make tangle. sha256:adac44ae7bc78e3e
"""Chapter 08: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory
from tangled.t06_backpropagation import Parameter
from tangled.t08_regularization import level2_vectorized as plain
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def both_ways(level, n, **into):
    x, generator = np.ones(n, np.float32), rng(1)

    def call():
        _, cache = level.dropout(x, 0.5, generator, **into)
        return level.dropout_backward(x, cache, **into)
    return call


def test_dropout_is_linear(level, level_number):
    """Time O(n): an exponent near 1."""
    start = 4000 if level_number == 1 else 500_000              # beyond the caches throughout
    exponent = growth_exponent(lambda n: both_ways(level, n), [start, 2 * start, 4 * start])
    assert exponent < 1.6, f"time grows as n^{exponent:.2f}"


def test_smoothing_holds_no_jacobian(level):
    """Memory O(K): a K x K matrix would give exponent 2."""
    def smoothing(n):
        z, y = np.ones((2, n)), np.array([0, 1])
        return lambda: level.label_smoothing_cross_entropy_backward(
            1.0, level.label_smoothing_cross_entropy(z, y, 0.1)[1])

    exponent = growth_exponent(smoothing, [1000, 2000, 4000], measure="memory")
    assert exponent < 1.4, f"memory grows as K^{exponent:.2f}"


def test_penalties_decay_and_bound_are_linear(level):
    """Memory O(n) at most, for whatever acts on weights."""
    def act(n):
        weight = Parameter(np.ones((n, 4)))
        return lambda: (level.l1_penalty(weight.data, 0.1), level.l2_penalty(weight.data, 0.1),
                        level.decay_weights([weight], 0.1, 0.1), level.max_norm([weight], 1.0))

    exponent = growth_exponent(act, [500, 1000, 2000], measure="memory")
    assert exponent < 1.4, f"memory grows as n^{exponent:.2f}"


@pytest.mark.levels(3)
def test_level3_mask_is_one_bit(level):
    """In place, the peak is the packed mask and one block: a small part of level 2's."""
    x, generator = np.ones(1 << 21, np.float32), rng(2)
    lean = peak_memory(lambda: level.dropout(x, 0.5, generator, out=x))
    full = peak_memory(lambda: plain.dropout(x, 0.5, generator))
    assert lean < 0.15 * full, f"{lean / full:.2f} of level 2's memory"
    kept = level.dropout(x, 0.5, generator)[1][0]
    assert kept.nbytes * 8 == x.size


@pytest.mark.levels(3)
def test_level3_draws_sixteen_bits(level):
    """Counted: a quarter of a 64-bit word an entry, and a whole one for the rare tie."""
    generator, counted, words = rng(1), rng(1).bit_generator, 0
    level.dropout(np.ones(4096, np.float32), 0.37, generator)
    while counted.state["state"] != generator.bit_generator.state["state"] and words < 4096:
        counted.advance(1)
        words += 1
    assert 1024 <= words < 1100, f"{words} words for 4,096 entries"


@pytest.mark.levels(3)
@pytest.mark.parametrize("p", [0.37, 2.0 ** -20, 1 - 2.0 ** -20])
def test_level3_probability_is_exact(level, p):
    """Ties of the sixteen bits are broken: a p below 2^-16 is neither 0 nor 2^-16."""
    n = 1 << 22
    dropped = int((level.dropout(np.ones(n, np.float32), p, rng(3))[0] == 0).sum())
    spread = 8 * np.sqrt(n * p * (1 - p)) + 1                   # eight standard deviations
    assert abs(dropped - n * p) < spread, f"{dropped} dropped, expected {n * p:.0f}"
    assert 0 < dropped < n


@pytest.mark.levels(3)
def test_level3_writes_where_told(level):
    """out=, add_to= and in-place forms give what plain calls give; a wrong out is refused."""
    x = rng(4).standard_normal((300, 500)).astype(np.float32)
    expected, cache = level.dropout(x, 0.5, rng(5))
    dx = level.dropout_backward(x, cache)
    for of_x in (x.copy(),):
        assert level.dropout(of_x, 0.5, rng(5), out=of_x)[0] is of_x
        assert np.array_equal(of_x, expected)
    gradient = x.copy()
    assert level.dropout_backward(gradient, cache, out=gradient) is gradient
    assert np.array_equal(gradient, dx)
    w = x.copy()
    assert level.soft_threshold(w, 0.2, out=w) is w
    assert_close(w, plain.soft_threshold(x, 0.2), what="threshold")
    for name in ("l1_penalty", "l2_penalty"):
        backward, (_, cache) = getattr(level, name + "_backward"), getattr(level, name)(x, 0.3)
        grad = np.ones_like(x)
        assert backward(2.0, cache, add_to=grad) is grad
        assert_close(grad, 1 + backward(2.0, cache), what="sum of gradients")
    locked = x.copy()
    locked.flags.writeable = False
    for out in (x[:1], x.astype(float), x.tolist(), np.asfortranarray(x), locked):
        with pytest.raises(ValueError, match=r"out .*expected"):
            level.dropout(x, 0.5, rng(5), out=out)


@pytest.mark.levels(3)
def test_level3_smoothing_in_the_logits(level):
    """Logits that turn into the gradient need no second matrix, and give the same numbers."""
    z, y = rng(6).standard_normal((200, 1000)), rng(7).integers(0, 1000, 200)
    loss, cache = plain.label_smoothing_cross_entropy(z, y, 0.1)
    expected = plain.label_smoothing_cross_entropy_backward(1.0, cache)
    buffer = z.copy()

    def lean():
        np.copyto(buffer, z)
        out, cache = level.label_smoothing_cross_entropy(buffer, y, 0.1, out=buffer)
        return out, level.label_smoothing_cross_entropy_backward(1.0, cache, out=buffer)

    peak = peak_memory(lean)
    assert peak < 0.2 * z.nbytes, f"{peak / z.nbytes:.2f} of the logits' memory"
    got, dz = lean()
    assert_close(got, loss, what="loss")
    assert_close(dz, expected, what="dlogits")
    _, cache = level.label_smoothing_cross_entropy(z, y, 0.1)
    for _ in range(2):
        assert_close(level.label_smoothing_cross_entropy_backward(1.0, cache), expected, what="dlogits")
    level.label_smoothing_cross_entropy_backward(1.0, cache, out=cache[0])
    with pytest.raises(RuntimeError, match="used up"):
        level.label_smoothing_cross_entropy_backward(1.0, cache)


@pytest.mark.levels(3)
def test_level3_keeps_one_copy(level):
    """A second best state is written over the first."""
    stopper, state = level.EarlyStopping(3), {"w": np.ones(100_000)}
    stopper.update(2.0, state)
    kept = stopper.state["w"]
    assert peak_memory(lambda: stopper.update(1.0, state)) < 0.1 * kept.nbytes
    assert stopper.state["w"] is kept and kept is not state["w"]
