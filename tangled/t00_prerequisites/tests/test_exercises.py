# Tangled from chapters/00-prerequisites.qmd; edit the chapter, then run make tangle. sha256:83271299fbacf631
"""Chapter 00: the graded exercises."""

import itertools

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_layouts, expect_value_error, rng


@pytest.mark.value
def test_log_softmax(exercises):
    """The logarithm of the plain quotient where that can be formed; rows sum to 1."""
    x = rng(0).standard_normal((4, 4, 4)) * 5
    e = np.exp(x)
    expected = np.log(e / e.sum(-1, keepdims=True))
    assert_close(exercises.log_softmax(x), expected, tol=1e-12, what="log_softmax")
    assert_close(exercises.log_softmax(x[1, 2]), expected[1, 2], tol=1e-12, what="log_softmax")


@pytest.mark.edge
def test_log_softmax_far_out(exercises):
    """-1000 stays -1000; float16 sums in float32; every layout; integers are refused."""
    x = np.array([[0.0, -1000.0], [1e4, 1e4]])
    expected = np.array([[0.0, -1000.0], [-np.log(2.0)] * 2])
    assert_close(exercises.log_softmax(x), expected, tol=1e-12, what="log_softmax")
    assert_dtypes(exercises.log_softmax, (rng(1).standard_normal((3, 5)),), scales=(1.0, 10.0),
                  extremes=[(np.zeros((1, 70_000)),)], refuses=(np.int64,))
    assert_layouts(exercises.log_softmax, (rng(2).standard_normal((3, 4, 5)),))
    expect_value_error("x", exercises.log_softmax, 1.0)


def views():
    """Arrays of 24 entries and fewer: sliced, transposed, reversed, stretched."""
    x = np.arange(48.0).reshape(4, 2, 6)
    yield from (x[:, 1], x[:, 1].T, x[:, ::2, ::1], x[::-1, 0], x[:2, :, ::-1], x[:, :1, :3], x[::2],
                x[::2].transpose(2, 0, 1), np.broadcast_to(x[0, 0], (4, 6)), np.zeros((2, 3)).T,
                np.broadcast_to(x[:, :1, 0], (4, 6)), x[:0], np.array(1.0), x[:, :1].T, x[1:2, :, 3:4])


@pytest.mark.value
def test_reshape_copies(exercises):
    """NumPy's own answer, for each view and every new shape of up to four axes."""
    copies = 0
    for x in views():
        sizes = [n for n in range(1, max(x.size, 1) + 1) if x.size % n == 0]
        shapes = [s for d in range(4) for s in itertools.product(sizes, repeat=d)
                  if np.prod(s) == x.size] + [x.shape, (*x.shape, 1)]
        for shape in shapes:
            copied = bool(x.size) and not np.may_share_memory(x, x.reshape(shape))
            got = exercises.reshape_copies(x.shape, x.strides, shape)
            assert_close(np.array(got), np.array(copied), what=f"{x.shape} {x.strides} to {shape}")
            copies += copied
    assert copies > 50


@pytest.mark.edge
def test_reshape_refuses(exercises):
    """Another number of entries, and lengths that are none."""
    expect_value_error("new_shape", exercises.reshape_copies, (2, 3), (24, 8), (4, 2))
    expect_value_error("new_shape", exercises.reshape_copies, (2, 3), (24, 8), (-2, -3))
