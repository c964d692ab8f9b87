# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:dfb0b612f055ecb2
"""Chapter 32: the graded exercises."""

import numpy as np
import pytest

from tangled.t25_self_attention import attention, attention_backward
from tangled.testing import assert_close, rng


def parts_of(q, k, v, mask, cuts):
    """Outputs and log-sum-exps of parts of the keys, written out."""
    outs, lses = [], []
    for keys, values, m in zip(np.split(k, cuts, 1), np.split(v, cuts, 1), np.split(mask, cuts, 2)):
        s = np.where(m, q @ keys.swapaxes(1, 2), -np.inf)
        outs.append(attention(q, keys, values, m, scale=1.0)[0])
        lses.append(np.logaddexp.reduce(s, axis=-1, initial=-np.inf))
    return np.stack(outs), np.stack(lses)


@pytest.mark.value
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_combine(exercises, shift):
    """Parts of the keys, some unseen; scores far from zero; a part of nothing; queries that see nothing."""
    q, k, v = (rng(n).standard_normal((2, *s)) for n, s in enumerate([(5, 4), (9, 4), (9, 3)]))
    q[..., 0], k[..., 0] = 100, shift / 100
    mask = rng(4).random((2, 5, 9)) < 0.5
    mask[0, :, :4], mask[1, 2] = False, False
    with np.errstate(invalid="raise", divide="raise"):
        out, lse = exercises.combine(*parts_of(q, k, v, mask, [2, 4, 4]))
    expected, total = (x[0] for x in parts_of(q, k, v, mask, []))
    assert_close(out, expected, tol=1e-9, what="out")
    assert np.array_equal(np.isinf(lse), np.isinf(total))
    assert_close(np.where(np.isinf(lse), 0, lse), np.where(np.isinf(total), 0, total), tol=1e-9, what="lse")


@pytest.mark.gradient
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [(6,), (2, 3, 1), (1, 1, 4, 2)])
def test_ring_attention(exercises, causal, lengths):
    """Pieces of any lengths: outputs and gradients of the whole sequence, cut; scores that grow along it."""
    T, cuts = sum(lengths), np.cumsum(lengths)[:-1]
    q, k, v, dout = (rng(n).standard_normal((2, T, d)) for n, d in enumerate((4, 4, 3, 3)))
    k += np.arange(T)[:, None]
    out, cache = attention(q, k, v, causal=causal)
    expected = out, *attention_backward(dout, cache)
    cut = lambda x: [piece.copy() for piece in np.split(x, cuts, axis=1)]
    outs, kept = exercises.ring_attention(cut(q), cut(k), cut(v), causal)
    results = outs, *exercises.ring_attention_backward(cut(dout), kept)
    for got, want, name in zip(results, expected, ("out", "dq", "dk", "dv"), strict=True):
        assert [x.shape[1] for x in got] == list(lengths)
        assert_close(np.concatenate(got, axis=1), want, tol=1e-10, what=name)
