# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:a29b33c18db79937
"""Chapter 33: the graded exercises."""

import numpy as np
import pytest

from tangled.t33_quantization import calibrate, dequantize, quantize
from tangled.testing import assert_close, rng


@pytest.mark.gradient
@pytest.mark.parametrize("bits", [8, 3])
def test_learned_scale(exercises, bits):
    """Values on the grid; the gradient of s inside and outside, term by term; that of x straight through."""
    Q, s = 2 ** (bits - 1) - 1, 0.3
    u = np.array([[-Q - 0.6, -Q - 0.4, -1.3, 0.0], [0.4, 1.25, Q + 0.45, Q + 7.0]])
    out, cache = exercises.learned_scale(s * u, s, bits)
    assert_close(out, s * np.clip(np.rint(u), -Q, Q), tol=1e-12, what="out")
    inside = np.abs(np.rint(u)) <= Q
    slope = np.where(inside, np.rint(u) - u, np.sign(u) * Q)
    for place in np.ndindex(u.shape):
        dout = np.zeros(u.shape)
        dout[place] = 1.7
        dx, dscale = exercises.learned_scale_backward(dout, cache)
        assert_close(dx, dout * inside, tol=1e-12, what="dx")
        assert abs(dscale - 1.7 * slope[place]) < 1e-9, f"dscale {dscale} of entry {place}"
    dout = rng(0).standard_normal(u.shape)
    assert abs(exercises.learned_scale_backward(dout, cache)[1] - (dout * slope).sum()) < 1e-9


@pytest.mark.value
def test_error_feedback(exercises):
    """Less error of the outputs; nothing to gain without correlation; the least squares of what is free."""
    draw = rng(1)
    x = draw.standard_normal((400, 6)) @ draw.standard_normal((6, 24)) + 0.3 * draw.standard_normal((400, 24))
    w = draw.standard_normal((24, 5)).astype(np.float32)
    kept = w.copy()
    errors = []
    for q, scale in (exercises.error_feedback(w, x), quantize(w, bits=4, block=(None, 1))[:2]):
        assert q.dtype == np.int8 and np.abs(q).max() <= 7
        assert_close(scale.astype(float), calibrate(kept, 4, block=(None, 1))[0].astype(float), tol=1e-6, what="scale")
        errors.append(np.square(x @ (dequantize(q, scale) - kept)).sum())
    assert errors[0] < 0.5 * errors[1], f"errors {errors[0]:.1f}, rounded to the nearest {errors[1]:.1f}"
    assert_close(w, kept, tol=0, what="w, afterwards")
    q, _ = exercises.error_feedback(w, np.eye(24), damping=0.0)
    assert_close(q, quantize(w.astype(float), bits=4, block=(None, 1))[0], tol=0, what="q without correlation")
    w, x = draw.standard_normal((2, 300)), draw.standard_normal((50, 2)) @ np.array([[1.0, 0.8], [0, 0.5]])
    q, scale = exercises.error_feedback(w, x, 8, damping=0.0)
    first = dequantize(q, scale)[0] - w[0]
    H = x.T @ x
    best = w[1] - H[1, 0] / H[1, 1] * first                     # the least-squares answer to the first error
    inside = np.abs(best) < 126 * scale[0]
    assert (np.abs(dequantize(q, scale)[1] - best)[inside] <= 0.5001 * scale[0][inside]).all()
