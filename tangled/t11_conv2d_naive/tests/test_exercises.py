# Tangled from chapters/11-conv2d-naive.qmd; edit the chapter, then run make tangle. sha256:0428aa7cfaff9e73
"""Chapter 11: the graded exercises."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import conv2d, conv2d_backward
from tangled.testing import assert_close, rng


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": (1, 3), "padding": (2, 1)},
                                     {"stride": (3, 2), "dilation": 2, "padding": 1}])
def test_weight_gradient(exercises, options):
    """Equal to conv2d_backward's, where the floor leaves entries out, too."""
    x, w = rng(0).standard_normal((2, 3, 9, 10)), rng(1).standard_normal((4, 3, 2, 3))
    out, cache = conv2d(x, w, **options)
    dout = rng(2).standard_normal(out.shape)
    got = exercises.weight_gradient(x, dout, (2, 3), **options)
    assert_close(got, conv2d_backward(dout, cache)[1], tol=1e-10, what="dw")


@pytest.mark.value
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, kernel, padding", [((2, 3, 7, 9), (3, 4), 0), ((1, 2, 5, 6), (5, 1), 2),
                                                    ((2, 1, 4, 4), (1, 1), 3)])
def test_conv2d_fft(exercises, shape, kernel, padding, dtype):
    """Equal to conv2d: no wrap-around, odd and even periods, the dtype kept."""
    x = rng(3).standard_normal(shape).astype(dtype)
    w = rng(4).standard_normal((5, shape[1], *kernel)).astype(dtype)
    got = exercises.conv2d_fft(x, w, padding)
    assert got.dtype == dtype
    assert_close(got, conv2d(x, w, padding=padding)[0], tol=1e-5, what="out")
