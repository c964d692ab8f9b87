# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:2063207dfbade0fc
"""Chapter 12: the graded exercises."""

import numpy as np
import pytest

from tangled.t12_im2col import conv2d
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.gradient
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample2d(exercises, factor):
    """Repeated pixels; gradients by central differences."""
    x = rng(0).standard_normal((2, 3, 4, 5))
    out, _ = exercises.upsample2d(x, factor)
    assert_close(out, x.repeat(factor, axis=2).repeat(factor, axis=3), what="out")
    check_gradients(lambda x: exercises.upsample2d(x, factor), exercises.upsample2d_backward, [x])
    assert exercises.upsample2d(x.astype(np.float32), factor)[0].dtype == np.float32


@pytest.mark.value
@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (1, 2, 5, 7), (2, 1, 1, 2), (0, 2, 4, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_winograd_conv2d(exercises, shape, dtype):
    """Equal to conv2d with padding 1, for even and odd sizes."""
    x, w = rng(1).standard_normal(shape).astype(dtype), rng(2).standard_normal((4, shape[1], 3, 3)).astype(dtype)
    out = exercises.winograd_conv2d(x, w)
    assert out.dtype == dtype
    assert_close(out, conv2d(x, w, padding=1)[0], tol=1e-5, what="out")
