# Tangled from chapters/18-rnn.qmd; edit the chapter, then run make tangle. sha256:f62cdcfb51810d62
"""Chapter 18: the graded exercises."""

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t18_rnn import rnn, rnn_backward
from tangled.testing import assert_close, rng


@pytest.mark.value
def test_perplexities(exercises):
    """Masked positions do not count; uniform logits over V have the perplexity V; large logits."""
    logits, targets = rng(0).standard_normal((2, 3, 5)), rng(1).integers(0, 5, (2, 3))
    mask = np.array([[True, True, False], [True, False, False]])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    want = -np.mean([log_p[n, t, targets[n, t]] for n, t in ((0, 0), (0, 1), (1, 0))])
    got = exercises.perplexities(logits, targets, mask)
    expected = np.array([want, want / np.log(2), np.exp(want)])
    assert_close(np.array(got), expected, tol=1e-10, what="nats, bits, perplexity")
    assert_close(np.asarray(exercises.perplexities(np.zeros((4, 7)), np.zeros(4, int), np.ones(4, bool))[2]),
                 np.asarray(7.0), tol=1e-10, what="uniform")
    assert np.isfinite(exercises.perplexities(1e2 * logits, targets, mask)[0])


def arrays(T):
    """dout, x, h0 and weights for T steps."""
    draw = rng(2)
    return [draw.standard_normal(s) for s in ((2, T, 4), (2, T, 3), (2, 4), (3, 4), (4, 4), (4,), (4,))]


@pytest.mark.gradient
@pytest.mark.parametrize("T, every", [(7, 3), (6, 3), (5, 1), (5, 9), (1, 2)])
def test_rnn_backward_checkpointed(exercises, T, every):
    """Equal to rnn_backward, for segments that divide T and that do not."""
    dout, *inputs = arrays(T)
    _, cache = rnn(*inputs)
    got = exercises.rnn_backward_checkpointed(dout, *inputs, every)
    for a, b in zip(got, rnn_backward(dout, None, cache), strict=True):
        assert_close(a, b, tol=1e-10, what="gradient")


@pytest.mark.performance
def test_checkpoints_save_memory(exercises):
    """Far below one state and cache a step."""
    dout, *inputs = arrays(900)

    def whole():
        _, cache = rnn(*inputs)
        return rnn_backward(dout, None, cache)
    ratio = peak_memory(lambda: exercises.rnn_backward_checkpointed(dout, *inputs, 30)) / peak_memory(whole)
    assert ratio < 0.6, f"{ratio:.2f} of the memory of rnn_backward"
