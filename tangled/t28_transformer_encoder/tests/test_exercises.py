# Tangled from chapters/28-transformer-encoder.qmd; edit the chapter, then run make tangle. sha256:e7f1e29f382c68e7
"""Chapter 28: the graded exercises."""

import numpy as np
import pytest

from tangled.t28_transformer_encoder import feed_forward, mixture_of_experts
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.value
def test_drop_path(exercises):
    """Whole samples, in the right share, with the right scale; nothing in evaluation; the gradient alike."""
    change, dout = rng(0).standard_normal((2, 4000, 3, 2)).astype(np.float32)
    kept = change.copy()
    out, cache = exercises.drop_path(change, 0.25, rng(1))
    assert out.dtype == np.float32
    zero = (out == 0).all(axis=(1, 2))
    assert_close(out[~zero], change[~zero] / np.float32(0.75), tol=1e-6, what="samples that are kept")
    assert 0.22 < zero.mean() < 0.28, f"{zero.mean():.3f} of the samples are dropped at p = 0.25"
    dchange = exercises.drop_path_backward(dout, cache)
    assert_close(dchange, np.where(zero[:, None, None], 0, dout / np.float32(0.75)), tol=1e-6, what="dchange")
    for p, training in ((0.0, True), (0.25, False)):
        out, cache = exercises.drop_path(change, p, rng(1), training)
        assert_close(out, change, tol=0, what="out without noise")
        assert_close(exercises.drop_path_backward(dout, cache), dout, tol=0, what="dchange without noise")
    assert_close(change, kept, tol=0, what="change")


def experts(seed, N=5, D=4, E=3, F=2):
    """x and the weights, float64."""
    draw = rng(seed).standard_normal
    return [draw(s) for s in ((N, D), (D, E), (E, D, F), (E, F), (E, F, D), (E, D))]


@pytest.mark.value
def test_expert_choice(exercises):
    """Every expert takes its best; with all tokens it is the dense mixture; one token may go without."""
    given = experts(2)
    out, _ = exercises.expert_choice(*given, 5)
    assert_close(out, mixture_of_experts(*given, top_k=3)[0][0], tol=1e-10, what="out, all tokens taken")
    x, w_router, *networks = given
    p = np.exp(x @ w_router) / np.exp(x @ w_router).sum(1, keepdims=True)
    want = np.zeros_like(x)
    for e in range(3):
        for n in np.argsort(-p[:, e])[:2]:
            want[n] += p[n, e] * feed_forward(x[n:n + 1], *(w[e] for w in networks))[0][0]
    assert_close(exercises.expert_choice(*given, 2)[0], want, tol=1e-10, what="out, two tokens each")
    first, _ = exercises.expert_choice(x, 0 * w_router, *networks, 2)
    assert not first[2:].any() and first[:2].all(), "of equal scores the first tokens are taken"


@pytest.mark.gradient
@pytest.mark.parametrize("count", [1, 3, 5])
def test_expert_choice_backward(exercises, count):
    """Central differences for x, router and networks."""
    check_gradients(lambda *a: exercises.expert_choice(*a, count), exercises.expert_choice_backward, experts(3))
