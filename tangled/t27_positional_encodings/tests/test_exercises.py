# Tangled from chapters/27-positional-encodings.qmd; edit the chapter, then run make tangle. sha256:1f7cfdd79eee56e5
"""Chapter 27: the graded exercises."""

import numpy as np
import pytest

from tangled.t27_positional_encodings import rope, rope_backward, rope_tables
from tangled.testing import assert_close, assert_layouts, assert_repeatable, check_gradients, rng

PLACES = ([3, 0, 8], [[5, 0, 8], [1, 1, 2]])
FREQUENCIES = np.array([1.0, 0.3, 0.02])


@pytest.mark.value
@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("positions", [None, *PLACES])
def test_partial_rope(exercises, layout, positions):
    """The first four of ten features as rope turns them, and the last six untouched; gradients too."""
    x, tables = rng(0).standard_normal((2, 5, 3, 10)), rope_tables(9, 4)
    out, cache = exercises.partial_rope(x, *tables, positions, layout)
    turned, inner = rope(x[..., :4], *tables, positions, layout)
    assert_close(out, np.concatenate([turned, x[..., 4:]], axis=-1), tol=1e-12, what="out")
    dout = rng(1).standard_normal(x.shape)
    expected = np.concatenate([rope_backward(dout[..., :4], inner), dout[..., 4:]], axis=-1)
    assert_close(exercises.partial_rope_backward(dout, cache), expected, tol=1e-12, what="dx")


@pytest.mark.value
def test_partial_rope_of_all_features(exercises):
    """With tables as wide as the head it is rope; float32 stays float32; nothing is shared."""
    x = rng(2).standard_normal((2, 5, 3, 4)).astype(np.float32)
    out, _ = exercises.partial_rope(x, *rope_tables(9, 4))
    assert_close(out, rope(x, *rope_tables(9, 4))[0], dtype=np.float32, what="out")
    f = lambda x, cos, sin: exercises.partial_rope(x, cos, sin)
    inputs = [rng(3).standard_normal((2, 5, 3, 6)), *rope_tables(9, 4)]
    assert_layouts(f, inputs, exercises.partial_rope_backward)
    assert_repeatable(f, inputs, exercises.partial_rope_backward)


@pytest.mark.gradient
@pytest.mark.parametrize("positions", PLACES)
def test_learned_rope(exercises, positions):
    """Values at the usual frequencies are rope's; central differences of x and of the frequencies."""
    x = rng(4).standard_normal((2, 5, 3, 6))
    usual = 10000.0 ** (-np.arange(3) / 3)
    out, _ = exercises.learned_rope(x, usual, positions)
    assert_close(out, rope(x, *rope_tables(9, 6), positions)[0], tol=1e-10, what="out")
    check_gradients(lambda x, theta: exercises.learned_rope(x, theta, positions),
                    exercises.learned_rope_backward, [x, FREQUENCIES])


@pytest.mark.gradient
def test_learned_rope_again(exercises):
    """A second backward gives the same, though out and positions were overwritten; exact far out."""
    x = rng(5).standard_normal((2, 5, 3, 6))
    f = lambda x, theta: exercises.learned_rope(x, theta, np.array([3, 0, 8]))
    assert_repeatable(f, [x, FREQUENCIES], exercises.learned_rope_backward)
    assert_layouts(f, [x, FREQUENCIES], exercises.learned_rope_backward)
    places = np.array([3, 0, 8])
    out, cache = exercises.learned_rope(x, FREQUENCIES, places)
    expected = exercises.learned_rope_backward(x, f(x, FREQUENCIES)[1])
    out[...], places[...] = 0.0, 1
    for got, want, name in zip(exercises.learned_rope_backward(x, cache), expected, ("dx", "dtheta"), strict=True):
        assert_close(got, want, tol=1e-12, what=name)
    theta = FREQUENCIES.astype(np.float32)
    narrow, cache = exercises.learned_rope(x.astype(np.float32), theta, [100_001] * 3)
    wide, _ = exercises.learned_rope(x.astype(np.float32).astype(float), theta.astype(float), [100_001] * 3)
    assert_close(narrow.astype(float), wide, tol=1e-5, what="out at position 100,001")
    grads = exercises.learned_rope_backward(narrow, cache)
    assert [grad.dtype for grad in (narrow, *grads)] == [np.float32] * 3
