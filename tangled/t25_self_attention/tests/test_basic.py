# Tangled from chapters/25-self-attention.qmd; edit the chapter, then run make tangle. sha256:f92db720aa0db3fb
"""Chapter 25: shapes, values and gradients."""

import math

import numpy as np
import pytest

from tangled.t25_self_attention import level1_naive as loops
from tangled.testing import assert_close, assert_dtypes, assert_repeatable, check_gradients, rng

CASES = ("plain", "no-batch", "three-axes", "causal", "causal-short", "causal-long", "mask", "mask-of-heads", "padding",
         "window", "scale", "everything")


def problem(seed, batch=(2, 3), Tq=5, Tk=7, D=4, Dv=6, dtype=np.float64):
    """q, k, v, dout of those shapes."""
    draw = rng(seed)
    shapes = (Tq, D), (Tk, D), (Tk, Dv), (Tq, Dv)
    return [draw.standard_normal((*batch, *shape)).astype(dtype) for shape in shapes]


def run(level, q, k, v, dout, **options):
    """out, dq, dk, dv."""
    out, cache = level.attention(q, k, v, **options)
    return out, *level.attention_backward(dout, cache)


def assert_all(got, expected, tol=1e-10):
    """out, dq, dk, dv, one by one."""
    for one, other, name in zip(got, expected, ("out", "dq", "dk", "dv"), strict=True):
        assert_close(one, other, tol=tol, what=name)


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_values(level, golden, name):
    """Values by PyTorch, each option alone and all together."""
    case = golden(name)
    assert_close(level.attention(**case.inputs)[0], case.outputs["out"], what="out")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Gradients by PyTorch, random upstream weights."""
    case = golden(name)
    grads = level.attention_backward(case.upstream["out"], level.attention(**case.inputs)[1])
    for got, wrt in zip(grads, "qkv", strict=True):
        assert_close(got, case.grads[wrt], what="d" + wrt)


@pytest.mark.value
def test_golden_softmax(level, golden):
    """Weights and gradient of the scores, one row wholly masked."""
    case = golden("softmax")
    p = level.masked_softmax(**case.inputs)
    assert_close(p, case.outputs["p"], what="p")
    assert_close(level.softmax_backward(case.upstream["p"], p), case.grads["scores"], what="dscores")


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """Shapes as the table has them; every result has the dtype of q."""
    results = run(level, *problem(0, dtype=dtype), causal=True)
    assert [r.shape for r in results] == [(2, 3, 5, 6), (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]
    scores = rng(1).standard_normal((2, 5, 3)).astype(dtype)
    p = level.masked_softmax(scores, scores > -1)
    ds = level.softmax_backward(scores, p)
    assert p.shape == ds.shape == scores.shape
    assert {a.dtype for a in (*results, p, ds)} == {np.dtype(dtype)}
    masks = level.causal_mask(3, 5), level.padding_mask(np.array([2, 0, 4]), 4), level.window_mask(3, 5, 2, 1)
    assert [m.shape for m in masks] == [(3, 5), (3, 1, 1, 4), (3, 5)] and {m.dtype for m in masks} == {np.dtype(bool)}


@pytest.mark.value
def test_worked_trace(level):
    """The two tokens of the chapter's trace, forward and backward."""
    q, k, v, dout = (np.array(x, float).reshape(2, 1) for x in ([5, 1], [0, math.log(3)], [4, 8], [1, 2]))
    out, dq, dk, dv = run(level, q, k, v, dout, causal=True, scale=1.0)
    for got, expected, name in ((out, [4, 7], "out"), (dq, [0, 1.5 * math.log(3)], "dq"), (dk, [-1.5, 1.5], "dk"),
                                (dv, [1.5, 1.5], "dv")):
        assert_close(got.ravel(), np.array(expected, float), what=name)


@pytest.mark.value
def test_masks_by_hand(level):
    """Each mask written out, more keys than queries and fewer."""
    def rows(mask):
        return ["".join(".x"[int(see)] for see in row) for row in mask]
    assert rows(level.causal_mask(3, 5)) == ["xxx..", "xxxx.", "xxxxx"]
    assert rows(level.causal_mask(5, 3)) == ["...", "...", "x..", "xx.", "xxx"]
    assert rows(level.causal_mask(1, 4)) == ["xxxx"]
    assert rows(level.window_mask(5, 5, 2)) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]
    assert rows(level.window_mask(5, 5, 2, sinks=1)) == ["x....", "xx...", "xxx..", "x.xx.", "x..xx"]
    assert rows(level.window_mask(2, 6, 3, sinks=2)) == ["xxxxx.", "xx.xxx"]
    assert rows(level.window_mask(4, 2, 1, sinks=1)) == ["..", "..", "x.", "xx"]
    assert rows(level.window_mask(3, 3, 9, sinks=9)) == rows(level.causal_mask(3, 3))
    assert rows(level.padding_mask(np.array([2, 0, 4]), 4)[:, 0, 0]) == ["xx..", "....", "xxxx"]


@pytest.mark.value
@pytest.mark.parametrize("seed", range(16))
def test_random_problems(level, seed):
    """Sizes, batch axes, masks and scales drawn at random: all results equal level 1's."""
    draw = rng(100 + seed)
    batch = tuple(draw.integers(1, 4, draw.integers(0, 4)).tolist())
    Tq, Tk, D, Dv = draw.integers(1, 8, 4).tolist()
    options = {"causal": bool(seed % 2), "scale": None if seed % 3 else float(draw.normal())}
    if seed % 4 > 1:
        shape = [1 if draw.random() < 0.4 else n for n in (*batch, Tq, Tk)]
        options["mask"] = draw.random(shape[draw.integers(0, len(batch) + 1):]) < 0.6
    arrays = problem(200 + seed, batch, Tq, Tk, D, Dv)
    assert_all(run(level, *arrays, **options), run(loops, *arrays, **options))


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"scale": -0.7, "mask": np.eye(3, 4, dtype=bool)},
                                     {"causal": True, "mask": np.array([[True, False, True, True]])}])
def test_central_differences(level, options):
    """Every entry of dq, dk and dv."""
    q, k, v, _ = problem(2, (2,), 3, 4, 5, 2)
    check_gradients(lambda q, k, v: level.attention(q, k, v, **options), level.attention_backward, [q, k, v])


@pytest.mark.gradient
def test_softmax_differences(level):
    """Every entry of the gradient of the scores, by central differences."""
    mask = np.array([True, False, True, True])

    def forward(scores):
        p = level.masked_softmax(scores, mask)
        return p, p
    check_gradients(forward, level.softmax_backward, [rng(3).standard_normal((2, 3, 4))])


@pytest.mark.value
@pytest.mark.parametrize("options", [{"mask": np.array([True, False, True, True, False])[:, None]},
                                     {"mask": np.zeros((3, 1, 1), bool)}, {"mask": np.zeros((5, 7), bool)}])
def test_row_that_sees_nothing(level, options):
    """Zeros, zero gradients for the query, and none of its gradient in keys and values."""
    q, k, v, dout = problem(4)
    out, dq, dk, dv = run(level, q, k, v, dout, **options)
    seen = np.broadcast_to(options["mask"], (2, 3, 5, 7)).any(-1)
    for got, name in ((out, "out"), (dq, "dq")):
        assert_close(got[~seen], np.zeros(got[~seen].shape), tol=0, what=name)
    without = run(level, q, k, v, np.where(seen[..., None], dout, 0), **options)
    assert_all((out, dq, dk, dv), without)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_junk_behind_the_mask(level, junk):
    """In keys and values that nobody sees, in a query that sees nothing and its upstream gradient."""
    q, k, v, dout = problem(5)
    mask = np.ones((2, 3, 5, 7), bool)
    mask[0, :, :, 4:] = mask[1, :, :, 2] = mask[1, 1, 3] = False
    expected = run(level, q, k, v, dout, mask=mask)
    k[0, :, 4:], v[0, :, 4:], k[1, :, 2, 0], v[1, :, 2, 1] = junk, junk, junk, junk
    q[1, 1, 3], dout[1, 1, 3, 2] = junk, junk
    assert_all(run(level, q, k, v, dout, mask=mask), expected, tol=1e-12)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_junk_that_some_see(level, junk):
    """Causal, a value and a key at place 4: earlier queries have what they had, the others do not."""
    q, k, v, dout = problem(6, Tq=7)
    before = run(level, q, k, v, dout, causal=True)
    for spoilt in (k, v):
        kept = spoilt.copy()
        spoilt[:, :, 4, 1] = junk
        out, dq, _, _ = run(level, q, k, v, dout, causal=True)
        assert_close(out[:, :, :4], before[0][:, :, :4], tol=1e-12, what="out, before")
        assert_close(dq[:, :, :4], before[1][:, :, :4], tol=1e-12, what="dq, before")
        for got, name in ((out, "out"), (dq, "dq"))[spoilt is k:]:
            finite = np.isfinite(got[:, :, 4:, 1]).astype(float)
            assert_close(finite, np.zeros(finite.shape), what=f"finite, from there on: {name}")
        if spoilt is v:                                         # the other features of the value are as they were
            assert_close(np.delete(out, 1, -1), np.delete(before[0], 1, -1), tol=1e-12, what="out, other features")
        spoilt[...] = kept


@pytest.mark.levels(1, 2, 3)
@pytest.mark.gradient
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_two_documents(level, causal, junk):
    """Packed into one sequence; all of the first is junk, and the second gives what it gives alone."""
    q, k, v, dout = problem(7, Tq=7)
    alone = run(level, *(x[:, :, 4:] for x in (q, k, v, dout)), causal=causal, scale=0.8)
    for x in (q, k, v, dout):
        x[:, :, :4] = junk
    document = np.arange(7) >= 4
    packed = run(level, q, k, v, dout, causal=causal, mask=document[:, None] == document, scale=0.8)
    assert_all([x[:, :, 4:] for x in packed], alone)


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_junk_in_scores(level, junk):
    """A masked score may be anything; so may dp where p is 0, also in a row that is NaN."""
    scores, mask = rng(8).standard_normal((2, 3, 5)), rng(9).random((2, 3, 5)) < 0.5
    mask[0, 1], mask[1, 2] = False, [True, False, True, True, False]
    p = level.masked_softmax(scores, mask)
    assert_close(level.masked_softmax(np.where(mask, scores, junk), mask), p, tol=0, what="p")
    dp = rng(10).standard_normal(p.shape)
    ds = level.softmax_backward(np.where(mask, dp, 0), p)
    assert_close(level.softmax_backward(np.where(mask, dp, junk), p), ds, tol=0, what="dscores")
    spoilt = level.softmax_backward(np.where([True, False, False, False, False], np.nan, dp)[1, 2], p[1, 2])
    assert_close(spoilt[~mask[1, 2]], np.zeros(2), tol=0, what="dscores where masked")
    row = level.masked_softmax(np.array([np.nan, 1.0, 2.0]), np.array([True, True, False]))
    assert_close(row, np.array([np.nan, np.nan, 0.0]), what="p of a row with NaN")


@pytest.mark.value
def test_prefixes(level):
    """Causal: row i is attention over the prefix up to i; nothing after it gets a gradient."""
    q, k, v, dout = problem(11, Tq=7)
    out, cache = level.attention(q, k, v, causal=True)
    for i in range(7):
        prefix, of_prefix = level.attention(q[:, :, i:i + 1], k[:, :, :i + 1], v[:, :, :i + 1])
        assert_close(out[:, :, i:i + 1], prefix, tol=1e-10, what=f"out[{i}]")
        only = np.where(np.arange(7)[:, None] == i, dout, 0)
        dq, dk, dv = level.attention_backward(only, cache)
        parts = [x if i else 0 * x for x in level.attention_backward(dout[:, :, i:i + 1], of_prefix)[:2]]
        parts.append(level.attention_backward(dout[:, :, i:i + 1], of_prefix)[2])           # one key: dv alone
        assert_close(dq[:, :, i:i + 1], parts[0], tol=1e-10, what="dq")
        for got, part, name in ((dk, parts[1], "dk"), (dv, parts[2], "dv")):
            assert_close(got, np.pad(part, ((0, 0), (0, 0), (0, 6 - i), (0, 0))), tol=1e-10, what=name)


@pytest.mark.value
@pytest.mark.parametrize("Tq", [1, 3, 6])
def test_last_queries(level, Tq):
    """Causal with fewer queries than keys: the last rows of the square."""
    q, k, v, _ = problem(12, Tq=7)
    out, _ = level.attention(q, k, v, causal=True)
    assert_close(level.attention(q[:, :, -Tq:], k, v, causal=True)[0], out[:, :, -Tq:], tol=1e-10, what="out")


@pytest.mark.value
def test_permutations(level):
    """Keys and values in another order change nothing; queries in another order, only the order."""
    arrays = problem(13)
    out, dq, dk, dv = run(level, *arrays)
    keys, queries = rng(14).permutation(7), rng(15).permutation(5)
    q, k, v, dout = arrays
    shuffled = run(level, q[:, :, queries], k[:, :, keys], v[:, :, keys], dout[:, :, queries])
    assert_all(shuffled, (out[:, :, queries], dq[:, :, queries], dk[:, :, keys], dv[:, :, keys]))


@pytest.mark.value
def test_kernel_regression(level):
    """Keys of one length, scale 1: the average with Gaussian weights."""
    q, k, v, _ = problem(16)
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    weights = np.exp(-((q[..., :, None, :] - k[..., None, :, :]) ** 2).sum(-1) / 2)         # (2, 3, 5, 7)
    expected = (weights[..., None] * v[..., None, :, :]).sum(-2) / weights.sum(-1, keepdims=True)
    assert_close(level.attention(q, k, v, scale=1)[0], expected, tol=1e-10, what="out")


@pytest.mark.value
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0, 2, -0.5, np.float64(0.3), np.float32(0.25)])
def test_scale(level, scale, dtype):
    """Any number, of any type: it multiplies q, and its gradient; the dtype stays."""
    q, k, v, dout = problem(17, D=9, dtype=dtype)
    out, dq, dk, dv = run(level, q, k, v, dout, scale=scale)
    factor = dtype(3 * scale)                                   # the default for nine features is 1/3
    expected = run(level, factor * q, k, v, dout)
    for got, want, name in ((out, expected[0], "out"), (dq, factor * expected[1], "dq"), (dk, expected[2], "dk"),
                            (dv, expected[3], "dv")):
        assert_close(got, want, tol=3e-5 if dtype == np.float32 else 1e-10, what=name, dtype=dtype)


@pytest.mark.value
def test_equal_keys(level):
    """Equal keys have equal weights: the mean of the visible values."""
    q, k, v, _ = problem(18)
    k[...] = k[:, :, :1]
    visible = level.causal_mask(5, 7)
    expected = np.stack([v[:, :, row].mean(axis=2) for row in visible], axis=2)
    assert_close(level.attention(q, k, v, causal=True)[0], expected, tol=1e-10, what="out")


@pytest.mark.value
def test_large_scores(level):
    """Thousands apart, and all shifted: weights as after subtracting the maximum."""
    scores = np.array([[1e4, 1e4 - 1, -1e4], [-1e300, 0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    e = math.exp(-1)
    expected = np.array([[1 / (1 + e), e / (1 + e), 0], [0, 1, 0], [0, 0, 0]])
    assert_close(level.masked_softmax(scores), expected, what="p")
    lowest = np.array([[-np.finfo(float).max, 0.0], [-1e12, -3.0]])
    assert_close(level.masked_softmax(lowest, np.array([True, False])), np.array([[1.0, 0], [1, 0]]), tol=0, what="p")
    q, k, v, _ = problem(19)
    far = level.attention(1e4 * q, k, v)[0]
    best = (q @ k.swapaxes(-1, -2)).argmax(-1)
    assert_close(far, np.take_along_axis(v, best[..., None], axis=2), what="out of scores far apart")


@pytest.mark.gradient
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": np.eye(5, 7, dtype=bool), "scale": 0.3}])
def test_called_twice(level, options):
    """The cache survives, nothing is shared, nothing that was handed in changes."""
    assert_repeatable(lambda q, k, v: level.attention(q, k, v, **options), problem(20)[:3],
                      f_backward=level.attention_backward)
    scores, mask = rng(21).standard_normal((2, 3, 5)), rng(22).random((2, 3, 5)) < 0.6
    assert_repeatable(level.masked_softmax, [scores, mask])
    assert_repeatable(level.softmax_backward, [scores, np.where(mask, 0.2, 0)])


@pytest.mark.value
def test_out_may_be_changed(level):
    """What the caller does with out does not reach the backward pass."""
    q, k, v, dout = problem(23)
    out, cache = level.attention(q, k, v)
    expected = level.attention_backward(dout, cache)
    if isinstance(out, np.ndarray) and out.flags.writeable:
        out[...] = 0
    for got, want, name in zip(level.attention_backward(dout, cache), expected, "qkv"):
        assert_close(got, want, tol=1e-12, what="d" + name)


@pytest.mark.value
def test_dtypes(level):
    """Sums of float16 are formed in float32: scores beyond its range, weights below it."""
    q, k, v, _ = problem(24, (2,))
    extremes = [(6e4 * np.sign(q), 300 * np.sign(k) + np.arange(7.0)[:, None], v), (q, k, 6e4 * np.tanh(v))]
    assert_dtypes(lambda q, k, v: level.attention(q, k, v, causal=True), [q, k, v],
                  f_backward=level.attention_backward, scales=(1.0, 1e-3, 10.0), extremes=extremes)
    scores = rng(25).standard_normal((3, 5))
    assert_dtypes(lambda s: level.masked_softmax(s, s > -0.5), [scores], extremes=[[60000 * np.sign(scores)]])
    assert_dtypes(level.softmax_backward, [scores, np.abs(scores) / 5], scales=(1.0, 1e-3, 100.0))


@pytest.mark.levels(3)
@pytest.mark.gradient
@pytest.mark.parametrize("rows, entries", [(1, 1), (2, 40), (2, 60), (3, 1), (4, 1000), (64, 1 << 17)])
def test_level3_in_other_blocks(level, monkeypatch, rows, entries):
    """Rows that do not divide the queries, heads that do not divide the batch: the same numbers."""
    monkeypatch.setattr(level, "ROWS", rows)
    monkeypatch.setattr(level, "ENTRIES", entries)
    mask = rng(26).random((2, 1, 5, 7)) < 0.7
    for Tq, Tk, options in ((5, 7, {}), (7, 7, {"causal": True}), (5, 7, {"causal": True, "mask": mask}),
                            (9, 4, {"causal": True}), (5, 7, {"mask": mask[:1, 0]})):
        arrays = problem(27, Tq=Tq, Tk=Tk)
        assert_all(run(level, *arrays, **options), run(loops, *arrays, **options))


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
@pytest.mark.parametrize("spoilt", ["qkv", "kv", "v"])
def test_overflow_behind_the_mask(level, spoilt):
    """Finite numbers whose masked scores and gradients are not, in float32."""
    arrays = problem(28, Tq=7, dtype=np.float32)
    q, k, v, dout = arrays
    dout *= 100
    expected = run(level, *(x[:, :, :5] for x in arrays), causal=True)
    for x, name in zip((q, k, v), "qkv"):
        if name in spoilt:
            x[:, :, 5, 1] = 3e38
    out, dq, _, _ = run(level, *arrays, causal=True)
    assert_close(out[:, :, :5], expected[0], tol=1e-4, what="out")
    assert_close(dq[:, :, :5], expected[1], tol=1e-4, what="dq")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_values_near_the_largest(level):
    """An average of numbers near the largest of float32 is one, though their sum is not."""
    q, k, v = np.zeros((2, 5, 4), np.float32), np.zeros((2, 7, 4), np.float32), np.full((2, 7, 6), 3e38, np.float32)
    out, _ = level.attention(q, k, v, causal=True)
    assert_close(out / np.float32(3e38), np.ones(out.shape, np.float32), tol=1e-5, what="out over 3e38")


@pytest.mark.levels(1, 2, 3)
@pytest.mark.gradient
def test_infinite_query_that_sees_nothing(level):
    """Its scores are all -inf, with or without the mask; keys get nothing from it."""
    q, k, v, dout = problem(29)
    k[..., 1] = np.abs(k[..., 1])
    mask = np.arange(5)[:, None] != 2
    expected = run(level, q, k, v, dout, mask=mask)
    q[:, :, 2, 1] = -np.inf
    assert_all(run(level, q, k, v, dout, mask=mask), expected)


@pytest.mark.levels(3)
@pytest.mark.value
def test_level3_goes_the_fast_way(level, monkeypatch):
    """Rows that see nothing are no reason to do a block again."""
    calls = []
    monkeypatch.setattr(level.plain, "attention", lambda *args, **options: calls.append(args))
    run(level, *problem(30, Tq=9, Tk=4), causal=True)
    run(level, *problem(31), mask=np.arange(5)[:, None] != 2)
    assert not calls, f"level 2 was called {len(calls)} times"
