# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:336f8a3ac0fa3b6a
"""Chapter 25: the graded exercises."""

import numpy as np
import pytest

from tangled.t25_self_attention import attention
from tangled.testing import assert_close, rng


@pytest.mark.value
def test_packed_mask(exercises):
    """Written out for one row; each document as if it were alone; padding sees nothing."""
    mask = exercises.packed_mask(np.array([[4, 4, 0, -1], [1, 2, 2, 2], [-1, -1, 3, 3]]))
    rows = ["".join(".x"[int(see)] for see in row) for row in mask.reshape(12, 4)]
    assert mask.shape == (3, 1, 4, 4) and mask.dtype == bool
    assert rows == ["x...", "xx..", "..x.", "....", "x...", ".x..", ".xx.", ".xxx", "....", "....", "..x.", "..xx"]
    q, k, v = (rng(n).standard_normal((3, 2, 4, 5)) for n in range(3))
    out, _ = attention(q, k, v, mask)
    alone, _ = attention(*(x[1:2, :, 1:] for x in (q, k, v)), causal=True)
    assert_close(out[1:2, :, 1:], alone, tol=1e-12, what="out of the second document")


def stream(k, v, mask, sizes):
    """Blocks of keys; each is overwritten when the next is asked for."""
    start = 0
    for n in sizes:
        keys = slice(start, start + n)
        block = k[..., keys, :].copy(), v[..., keys, :].copy(), None if mask is None else mask[..., keys].copy()
        yield block
        block[0][...], block[1][...] = np.nan, np.nan
        if mask is not None:
            block[2][...] = True
        start += n


@pytest.mark.value
@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (2, 4, 1), (0, 3, 0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_online_attention(exercises, sizes, dtype):
    """Blocks of any size, seen once: equal to attention; blocks that are masked whole; far scores."""
    q, k, v = (rng(n).standard_normal((2, 3, *s)).astype(dtype) for n, s in enumerate([(5, 4), (7, 4), (7, 6)]))
    mask = rng(4).random((2, 3, 5, 7)) < 0.5
    mask[0, :, :, :3], mask[1, 1, 2], mask[1, 0, :, 3:] = False, False, False
    for seen, options in ((None, {}), (mask, {}), (mask, {"scale": 0.7}), (None, {"scale": 300.0})):
        out = exercises.online_attention(q, stream(k, v, seen, sizes), **options)
        expected, _ = attention(q, k, v, seen, **options)
        assert_close(out, expected, tol=1e-4 if dtype == np.float32 else 1e-10, what="out", dtype=dtype)
