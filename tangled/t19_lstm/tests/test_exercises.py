# Tangled from chapters/19-lstm.qmd; edit the chapter, then run make tangle. sha256:de63296c59f5e7c6
"""Chapter 19: the graded exercises."""

import numpy as np
import pytest

from tangled.t19_lstm import lstm
from tangled.testing import assert_close, check_gradients, rng


@pytest.mark.value
@pytest.mark.parametrize("order", ["ifgo", "iofg", "gfoi", "fogi"])
def test_import_gates(exercises, order):
    """Our weights, cut up by hand in another order, come back; a forget bias at run time is taken in."""
    w_ih, w_hh, b = (rng(k).standard_normal(s) for k, s in enumerate([(3, 16), (4, 16), (16,)]))
    theirs = [np.concatenate([np.split(w, 4, axis=-1)["ifgo".index(gate)] for gate in order], axis=-1)
              for w in (w_ih, w_hh, b)]
    kept = [w.copy() for w in theirs]
    got = exercises.import_gates(*theirs, order)
    for a, want, name in zip(got, (w_ih, w_hh, b, np.zeros(16)), ("w_ih", "w_hh", "b_ih", "b_hh"), strict=True):
        assert_close(a, want, tol=0, what=name)
    got = exercises.import_gates(*theirs, order, forget_bias=2.5)
    assert_close(got[2] + got[3], b + 2.5 * (np.arange(16) // 4 == 1), tol=1e-12, what="biases")
    for a, want in zip(theirs, kept):
        assert_close(a, want, tol=0, what="what was handed in")
    x, states = rng(4).standard_normal((2, 5, 3)), rng(5).standard_normal((2, 2, 4))
    (out, _), _ = lstm(x, *states, *exercises.import_gates(*theirs, order))
    assert_close(out, lstm(x, *states, w_ih, w_hh, b)[0][0], tol=1e-12, what="outputs")


def case():
    """x, h, c, weights, bias and the six of the norms."""
    draw = rng(6)
    shapes = [(2, 3), (2, 5), (2, 5), (3, 20), (5, 20), (20,)], [(20,), (20,), (20,), (20,), (5,), (5,)]
    return [[draw.standard_normal(s) for s in part] for part in shapes]


@pytest.mark.value
def test_layer_norm_lstm_step(exercises):
    """The equations, written out with means and deviations; the cell that goes on is not normalised."""
    (x, h, c, w_ih, w_hh, b), norms = case()
    def over(v, gamma, beta):
        return (v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + 1e-5) * gamma + beta
    i, f, g, o = np.split(over(x @ w_ih, *norms[:2]) + over(h @ w_hh, *norms[2:4]) + b, 4, axis=1)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    want_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    (got_h, got_c), _ = exercises.layer_norm_lstm_step(x, h, c, w_ih, w_hh, b, norms)
    assert_close(got_c, want_c, tol=1e-10, what="c")
    assert_close(got_h, sigmoid(o) * np.tanh(over(want_c, *norms[4:])), tol=1e-10, what="h")


@pytest.mark.gradient
def test_layer_norm_lstm_gradients(exercises):
    """Central differences for all twelve inputs, through both results."""
    inputs, norms = case()

    def forward(*arrays):
        return exercises.layer_norm_lstm_step(*arrays[:6], arrays[6:])

    def backward(d, cache):
        *grads, dnorms = exercises.layer_norm_lstm_step_backward(*d, cache)
        return (*grads, *dnorms)
    check_gradients(forward, backward, [*inputs, *norms])
