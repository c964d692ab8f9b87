# Tangled from chapters/32-flash-attention.qmd; edit the chapter, then run make tangle. sha256:47d19530b96918a5
"""Chapter 32: shapes, values and gradients."""

import math

import numpy as np
import pytest

from tangled.t25_self_attention import attention, attention_backward
from tangled.t32_flash_attention import level1_naive as loops
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, rng

CASES = ("plain", "no-batch", "causal", "causal-short", "causal-long", "mask", "tiles-hidden", "everything")


def problem(seed, batch=(2, 3), Tq=5, Tk=7, D=4, Dv=6, dtype=np.float64):
    """q, k, v, dout of those shapes."""
    draw = rng(seed)
    shapes = (Tq, D), (Tk, D), (Tk, Dv), (Tq, Dv)
    return [draw.standard_normal((*batch, *shape)).astype(dtype) for shape in shapes]


def run(level, q, k, v, dout, **options):
    """out, dq, dk, dv."""
    out, cache = level.flash_attention(q, k, v, **options)
    return out, *level.flash_attention_backward(dout, cache)


def chapter25(q, k, v, dout, **options):
    """out, dq, dk, dv by chapter 25, in float64."""
    q, k, v, dout = (x.astype(np.float64) for x in (q, k, v, dout))
    out, cache = attention(q, k, v, **options)
    return out, *attention_backward(dout, cache)


def assert_all(got, expected, tol=1e-10):
    """out, dq, dk, dv, one by one."""
    for one, other, name in zip(got, expected, ("out", "dq", "dk", "dv"), strict=True):
        assert_close(np.asarray(one, np.float64), other, tol=tol, what=name)


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Values by PyTorch, each option alone and all together."""
    case = golden(name)
    assert_close(level.flash_attention(**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights."""
    case = golden(name)
    grads = level.flash_attention_backward(case.upstream["out"], level.flash_attention(**case.inputs)[1])
    for got, wrt in zip(grads, "qkv", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes as the table has them; every result has the dtype of q, whatever dout has."""
    q, k, v, dout = problem(0, dtype=dtype)
    results = run(level, q, k, v, dout.astype(float), causal=True, block_q=2, block_k=3)
    assert [r.shape for r in results] == [(2, 3, 5, 6), (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]
    assert {a.dtype for a in results} == {np.dtype(dtype)}
    assert all(type(n) is int for n in level.traffic(5, 7, 4, 6, 2, 3))


@pytest.mark.value
def test_worked_trace(level):
    """The four keys of the chapter's trace, in tiles of two, forward and backward."""
    k = np.log(np.array([1.0, 2, 8, 1]))[:, None]
    v, one = np.array([8.0, 4, 2, 6])[:, None], np.ones((1, 1))
    out, dq, dk, dv = run(level, one, k, v, 6 * one, scale=1.0, block_q=1, block_k=2)
    ds = np.array([29.0, 10, -56, 17])[:, None] / 12
    assert_all((out, dq, dk, dv), (19 / 6 * one, (ds * k).sum().reshape(1, 1), ds, np.array([[0.5], [1], [4], [0.5]])))


@pytest.mark.value
@pytest.mark.parametrize("seed", range(16))
def test_random_problems(level, seed):
    """Sizes, tiles, batch axes, masks and scales drawn at random: all results equal chapter 25's."""
    draw = rng(100 + seed)
    batch = tuple(draw.integers(1, 4, draw.integers(0, 4)).tolist())
    Tq, Tk, D, Dv = draw.integers(1, 9, 4).tolist()
    options = {"causal": bool(seed % 2), "scale": None if seed % 3 else float(draw.normal())}
    if seed % 4 > 1:
        shape = [1 if draw.random() < 0.4 else n for n in (*batch, Tq, Tk)]
        options["mask"] = draw.random(shape[draw.integers(0, len(batch) + 1):]) < 0.6
    arrays, blocks = problem(200 + seed, batch, Tq, Tk, D, Dv), draw.integers(1, 5, 2).tolist()
    got = run(level, *arrays, block_q=blocks[0], block_k=blocks[1], **options)
    assert_all(got, chapter25(*arrays, **options))


@pytest.mark.value
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("Tq, Tk", [(21, 21), (13, 30), (30, 13)])
def test_float32_equals_chapter_25(level, Tq, Tk, causal):
    """To 1e-5, lengths that the tiles do not divide, more keys than queries and fewer."""
    arrays = problem(1, (2,), Tq, Tk, dtype=np.float32)
    got = run(level, *arrays, causal=causal, block_q=4, block_k=9)
    assert_all(got, chapter25(*arrays, causal=causal), tol=1e-5)


@pytest.mark.value
@pytest.mark.parametrize("blocks", [(1, 1), (2, 3), (3, 2), (5, 1), (1, 7), (4, 4), (99, 99)])
def test_tiles_do_not_matter(level, blocks):
    """Single pairs, tiles that divide and that do not, one tile for all."""
    arrays, mask = problem(2), rng(3).random((2, 1, 5, 7)) < 0.7
    for options in ({}, {"causal": True}, {"causal": True, "mask": mask}):
        got = run(level, *arrays, block_q=blocks[0], block_k=blocks[1], **options)
        assert_all(got, chapter25(*arrays, **options))


@pytest.mark.value
def test_order_of_the_keys(level):
    """Growing scores, where each tile raises the maximum, and falling ones, where none does: the same."""
    q, k, v, dout = problem(4, (2,), Tq=3, Tk=9, D=2)
    q, k = np.abs(q), np.sort(np.abs(k), axis=1) * 8
    up = run(level, q, k, v, dout, block_q=2, block_k=2)
    down = run(level, q, k[:, ::-1], v[:, ::-1], dout, block_q=2, block_k=2)
    assert_all(up, (down[0], down[1], down[2][:, ::-1], down[3][:, ::-1]))
    assert_all(up, chapter25(q, k, v, dout))


@pytest.mark.value
def test_tile_masked_whole(level):
    """The first tile, a middle one, and all tiles of some rows: no NaN is made, not even for a moment."""
    arrays = problem(5, (2,), Tq=6, Tk=8)
    for hide in ((slice(0, 6), slice(0, 3)), (slice(0, 6), slice(3, 6)), (slice(2, 4), slice(0, 8)),
                 (slice(0, 6), slice(0, 8)), (slice(0, 2), slice(0, 6))):
        mask = np.ones((6, 8), bool)
        mask[hide] = False
        with np.errstate(invalid="raise", divide="raise"):
            got = run(level, *arrays, mask=mask, block_q=2, block_k=3)
        assert_all(got, chapter25(*arrays, mask=mask))
        assert_close(got[0][:, ~mask.any(1)], 0 * got[0][:, ~mask.any(1)], tol=0, what="rows that see nothing")


@pytest.mark.value
@pytest.mark.parametrize("causal", [False, True])
def test_scores_of_ten_thousand(level, causal):
    """Scores of +-1e4 with small differences, exact in float32: equal to chapter 25 to 1e-5."""
    _, _, v, dout = problem(6, (3,), Tq=6, Tk=11, dtype=np.float32)
    draw = rng(7)
    q, k = (draw.integers(-2, 3, (3, n, 4)).astype(np.float32) for n in (6, 11))
    q[..., 0], k[..., 0] = 100, 100 * draw.choice([-1, 1], (3, 11))
    options = {"causal": causal, "scale": 1.0}
    out, dq, dk, dv = run(level, q, k, v, dout, block_q=4, block_k=3, **options)
    expected = chapter25(q, k, v, dout, **options)
    assert np.abs(q @ k.swapaxes(1, 2)).min() > 9900
    sizes = 1, 100, 100, 1                                      # gradients of q are sums of keys, of 100 each
    assert_all([x / n for x, n in zip((out, dq, dk, dv), sizes)], [x / n for x, n in zip(expected, sizes)], tol=1e-5)


@pytest.mark.value
def test_far_below_zero(level):
    """All scores of a row at -1e6 are scores like others; a finite stand-in for -inf gives zeros."""
    _, k, v, _ = problem(8)
    q = np.full((2, 3, 5, 4), -1e6 / 4)
    k = np.ones_like(k)
    out, _ = level.flash_attention(q, k, v, scale=1.0, block_q=2, block_k=3)
    assert_close(out, np.broadcast_to(v.mean(axis=2, keepdims=True), out.shape), tol=1e-10, what="out of equal keys")
    mask = np.ones((5, 7), bool)
    mask[::2, :4] = False                                       # the first tile, from one row of two
    late, cache = level.flash_attention(q, k, v, scale=1.0, block_q=2, block_k=3, mask=mask)
    weights = mask / mask.sum(1, keepdims=True)
    assert_close(late, weights @ v, tol=1e-10, what="out where the first tile is hidden")
    dv = level.flash_attention_backward(np.ones_like(late), cache)[2]
    assert_close(dv, np.broadcast_to(weights.sum(0)[:, None], dv.shape), tol=1e-10, what="dv of the same")
    q[:, :, 1::2] = 1e6 / 4                                     # beside rows at 1e6, in the same tile
    again, _ = level.flash_attention(q, k, v, scale=1.0, block_q=2, block_k=3)
    assert_close(again, out, tol=1e-10, what="out of equal keys, rows far apart")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"scale": -0.7, "mask": np.eye(3, 4, dtype=bool)},
                                     {"causal": True, "mask": np.array([[True, False, True, True]])}])
def test_central_differences(level, options):
    """Every entry of dq, dk and dv."""
    q, k, v, _ = problem(9, (2,), 3, 4, 5, 2)
    check_gradients(lambda q, k, v: level.flash_attention(q, k, v, block_q=2, block_k=3, **options),
                    level.flash_attention_backward, [q, k, v])


@pytest.mark.value
def test_prefixes(level):
    """Causal: row i is attention over the prefix up to i, in tiles that the diagonal cuts anywhere."""
    q, k, v, _ = problem(10, Tq=7)
    out, _ = level.flash_attention(q, k, v, causal=True, block_q=3, block_k=2)
    for i in range(7):
        prefix, _ = level.flash_attention(q[:, :, i:i + 1], k[:, :, :i + 1], v[:, :, :i + 1])
        assert_close(out[:, :, i:i + 1], prefix, tol=1e-10, what=f"out[{i}]")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": np.eye(5, 7, dtype=bool), "scale": 0.3}])
def test_called_twice(level, options):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    assert_repeatable(lambda q, k, v: level.flash_attention(q, k, v, block_q=2, block_k=3, **options),
                      problem(11)[:3], f_backward=level.flash_attention_backward)


@pytest.mark.value
def test_out_may_be_changed(level):
    """What the caller does with out does not reach the backward pass."""
    q, k, v, dout = problem(12)
    out, cache = level.flash_attention(q, k, v)
    expected = level.flash_attention_backward(dout, cache)
    if out.flags.writeable:
        out[...] = 0
    for got, want, name in zip(level.flash_attention_backward(dout, cache), expected, "qkv"):
        assert_close(got, want, tol=1e-12, what="d" + name)


@pytest.mark.value
def test_dtypes(level):
    """Sums of float16 are formed in float32: scores beyond its range, weights below it."""
    q, k, v, _ = problem(13, (2,))
    extremes = [(6e4 * np.sign(q), 300 * np.sign(k) + np.arange(7.0)[:, None], v), (q, k, 6e4 * np.tanh(v))]
    assert_dtypes(lambda q, k, v: level.flash_attention(q, k, v, causal=True, block_q=2, block_k=3), [q, k, v],
                  f_backward=level.flash_attention_backward, scales=(1.0, 1e-3), extremes=extremes)


@pytest.mark.value
def test_traffic_by_hand(level):
    """Five queries and seven keys in tiles of 2 x 3: added up on paper."""
    assert level.traffic(5, 7, 4, 6, 2, 3) == (5 * 12 + 3 * 7 * 10, 5 * 13 + 140 + 21 * 15)
    assert level.traffic(5, 7, 4, 6, 2, 3, causal=True) == (60 + 10 * (6 + 6 + 7), 205 + 21 * (5 + 5 + 1))
    assert level.traffic(4, 4, 1, 1, 4, 4) == (4 * 4 + 2 * 4, 4 * 3 + 16 + 7 * 4)
    assert level.traffic(0, 3, 2, 2, 2, 2) == (0, 24)
    assert level.traffic(3, 0, 2, 5, 2, 2, causal=True) == (27, 33)


@pytest.mark.value
def test_traffic_at_random(level):
    """Any sizes and tiles: level 1 adds up visit by visit."""
    draw = rng(14)
    for _ in range(60):
        sizes = *draw.integers(0, 40, 2).tolist(), *draw.integers(1, 9, 2).tolist(), *draw.integers(1, 17, 2).tolist()
        causal = bool(draw.integers(2))
        assert level.traffic(*sizes, causal) == loops.traffic(*sizes, causal), f"sizes {sizes}, causal {causal}"


@pytest.mark.levels(2)
@pytest.mark.value
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_moved(level, causal, dtype):
    """What passed through `Memory` is what the formula says, to the byte."""
    draw = rng(15)
    for _ in range(20):
        Tq, Tk, D, Dv, bq, bk = (draw.integers(1, n) for n in (40, 40, 6, 6, 12, 12))
        q, k, v, dout = problem(16, (2, 3), Tq, Tk, D, Dv, dtype)
        _, cache = level.flash_attention(q, k, v, causal, block_q=bq, block_k=bk)
        for _ in range(2):
            level.flash_attention_backward(dout, cache)
        expected = [6 * np.dtype(dtype).itemsize * n for n in loops.traffic(Tq, Tk, D, Dv, bq, bk, causal)]
        assert [cache.moved["forward"], cache.moved["backward"]] == expected


@pytest.mark.levels(3)
@pytest.mark.value
def test_level3_spares_what_a_mask_hides(level, monkeypatch):
    """A document mask of two halves: half of the tiles are never computed, forward nor backward."""
    products, product = [], np.matmul

    def counting(a, b, out=None):
        products.append(out.size)
        return product(a, b, out=out)
    monkeypatch.setattr(np, "matmul", counting)
    arrays, half = problem(17, (), 24, 24), np.arange(24) < 12
    run(level, *arrays, mask=half[:, None] == half, block_q=6, block_k=4)
    assert sum(products) == 3 * 2 * 12 * 12, f"{sum(products)} entries of scores and their gradients"


@pytest.mark.levels(3)
@pytest.mark.value
@pytest.mark.parametrize("room", [1, 70, 140, 1000])
def test_level3_heads_at_once(level, monkeypatch, room):
    """Of six heads one, two, four or all go together; each has a mask of its own, and one sees nothing."""
    monkeypatch.setattr(level, "ROOM", room)                    # a head has 5 * 7 scores
    arrays, mask = problem(19), rng(20).random((2, 3, 5, 7)) < 0.5
    arrays[0][0, 1] *= 1e4                                      # scores far above those of the other heads
    mask[1, 0] = False
    for options in ({"causal": True}, {"mask": mask}, {"mask": mask[:, :1]}, {"mask": mask[0, 0], "causal": True}):
        expected = chapter25(*arrays, **options)
        for blocks in ((128, 512), (5, 7), (5, 3), (2, 40)):
            assert_all(run(level, *arrays, **options, block_q=blocks[0], block_k=blocks[1]), expected)


@pytest.mark.value
def test_scale(level):
    """It multiplies q, and its gradient."""
    q, k, v, dout = problem(18, D=9)
    for scale in (0, 2, -0.5, np.float32(0.25)):
        out, dq, dk, dv = run(level, q, k, v, dout, scale=scale, block_q=3, block_k=3)
        expected = run(level, 3 * float(scale) * q, k, v, dout)
        assert_all((out, dq, dk, dv), (expected[0], 3 * float(scale) * expected[1], *expected[2:]))
    assert math.isclose(level.flash_attention(q, k, v)[0].sum(), level.flash_attention(q, k, v, scale=1 / 3)[0].sum())
