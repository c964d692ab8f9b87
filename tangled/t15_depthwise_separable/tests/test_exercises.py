# Tangled from chapters/15-depthwise-separable.qmd; edit the chapter, then run make tangle. sha256:07879f77ad8e2584
"""Chapter 15: the graded exercises."""

import numpy as np
import pytest

from tangled.t11_conv2d_naive import conv2d
from tangled.t15_depthwise_separable import CausalCharModel, depthwise_conv2d, pointwise_conv2d
from tangled.testing import assert_close, rng


@pytest.mark.value
@pytest.mark.parametrize("multiplier", [1, 2, 4, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factorise(exercises, multiplier, dtype):
    """As close as the cut singular values allow; exact at full rank; the two layers compose."""
    w = rng(0).standard_normal((7, 5, 2, 3)).astype(dtype)
    depthwise, pointwise = exercises.factorise(w, multiplier)
    assert depthwise.shape == (5 * multiplier, 1, 2, 3) and pointwise.shape == (7, 5 * multiplier)
    assert depthwise.dtype == pointwise.dtype == dtype
    parts = pointwise.reshape(7, 5, multiplier), depthwise.reshape(5, multiplier, 2, 3)
    error = np.sum((np.einsum("fcm,cmij->fcij", *parts) - w) ** 2)
    scales = np.linalg.svd(w.transpose(1, 0, 2, 3).reshape(5, 7, 6), compute_uv=False)
    assert_close(error, np.sum(scales[:, multiplier:] ** 2), tol=1e-4, what="the sum of squares")
    if multiplier == 6:
        x = rng(1).standard_normal((2, 5, 4, 6)).astype(dtype)
        h, _ = depthwise_conv2d(x, depthwise)
        assert_close(pointwise_conv2d(h, pointwise)[0], conv2d(x, w)[0], tol=1e-4, what="out")


@pytest.mark.value
@pytest.mark.parametrize("depth, kernel_size", [(1, 2), (3, 2), (2, 3), (2, 1)])
def test_stream(exercises, depth, kernel_size):
    """At every position the model's own logits; two streams do not share their past."""
    model = CausalCharModel(6, 5, depth, kernel_size, rng(2)).astype(np.float64)
    ids = rng(3).integers(0, 6, (4, 13))
    expected, kept = model(ids), model.state_dict()
    stream, other = exercises.Stream(model, 4), exercises.Stream(model, 2)
    for t in range(13):
        other.push(ids[:2, 12 - t])
        assert_close(stream.push(ids[:, t]), expected[:, t], tol=1e-8, what=f"logits at {t}")
    for key, array in model.state_dict().items():
        assert_close(array, kept[key], tol=0, what=key)
