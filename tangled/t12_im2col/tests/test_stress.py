# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:d876b6e91216a948
"""Chapter 12: growth of time and memory, as counts, exponents and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, shape, filters, **options):
    """A function that runs forward and backward in float32, 3 x 3 with padding 1."""
    x = rng(0).standard_normal(shape).astype(np.float32)
    w = rng(1).standard_normal((filters, shape[1], 3, 3)).astype(np.float32)

    def call():
        out, cache = level.conv2d(x, w, None, padding=1, **options)
        return level.conv2d_backward(out, cache)
    return call


def test_memory_is_linear_in_the_batch(level):
    """No matrix of all outputs against all inputs."""
    exponent = growth_exponent(lambda n: step(level, (n, 2, 5, 5), 2), [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_fifty_times_the_loops(level):
    """Against the seven loops of chapter 11: the course's target."""
    from tangled.t11_conv2d_naive import level1_naive as loops
    shape = (2, 8, 16, 16)
    ratio = time_ratio(step(loops, shape, 8), step(level, shape, 8), rounds=2)
    assert ratio > 50, f"only {ratio:.0f} times as fast as the loops"


@pytest.mark.levels(3)
def test_level3_never_has_the_columns(level):
    """A step at 64 channels needs at most twice input and output; level 2 more than nine times the input."""
    from tangled.t12_im2col import level2_vectorized as plain
    shape = (8, 64, 32, 32)
    size = 2 * 4 * np.prod(shape)                               # input and output, float32
    lean, other = (peak_memory(step(m, shape, 64)) for m in (level, plain))
    assert lean < 2 * size, f"{lean / size:.2f} times input and output"
    assert other > 4.5 * size, "level 2 is expected to hold nine times the input"


@pytest.mark.levels(3)
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 3), (7, 4), (18, 31)])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_level3_columns_by_shifts(level, kind, size, dtype):
    """3 x 3, stride 2, padding 1: odd and even sides, one block and several, the last one short; as level 2."""
    from tangled.t12_im2col import level2_vectorized as plain
    x, b = rng(4).standard_normal((7, 3, *size)).astype(dtype), rng(5).standard_normal(4).astype(dtype)
    w = rng(6).standard_normal((3, 4, 3, 3) if kind == "conv_transpose2d" else (4, 3, 3, 3)).astype(dtype)
    (out, cache), (expected, other) = (getattr(m, kind)(x, w, b, 2, 1) for m in (level, plain))
    tol = 1e-10 if dtype == np.float64 else 2e-2
    assert_close(out, expected, tol=tol, what="out", dtype=dtype)
    dout = rng(7).standard_normal(out.shape).astype(dtype)
    grads = [getattr(m, kind + "_backward")(dout, kept) for m, kept in ((level, cache), (plain, other))]
    for got, want, name in zip(*grads, ("dx", "dw", "db")):
        assert_close(got, want, tol=tol, what=name, dtype=dtype)


@pytest.mark.levels(3)
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("shape", [(200, 3, 1, 1), (300, 3, 2, 1), (100, 3, 1, 2), (50, 3, 3, 4), (50, 3, 13, 31),
                                   (3, 3, 4, 129), (9, 40, 9, 11), (3, 40, 33, 16)])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_level3_rows_side_by_side(level, kind, shape, dtype):
    """3 x 3, stride 1, padding 1: one block and several, the last one short; as level 2."""
    from tangled.t12_im2col import level2_vectorized as plain
    C = shape[1]
    x, b = rng(4).standard_normal(shape).astype(dtype), rng(5).standard_normal(4).astype(dtype)
    w = rng(6).standard_normal((C, 4, 3, 3) if kind == "conv_transpose2d" else (4, C, 3, 3)).astype(dtype)
    (out, cache), (expected, other) = (getattr(m, kind)(x, w, b, 1, 1) for m in (level, plain))
    tol = 1e-10 if dtype == np.float64 else 2e-2
    assert_close(out, expected, tol=tol, what="out", dtype=dtype)
    dout = rng(7).uniform(-0.1, 0.1, out.shape).astype(dtype)
    grads = [getattr(m, kind + "_backward")(dout, kept) for m, kept in ((level, cache), (plain, other))]
    for got, want, name in zip(*grads, ("dx", "dw", "db")):
        assert_close(got, want, tol=tol, what=name, dtype=dtype)


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape, F, kernel, sizes", [
    ((12, 16, 32, 32), 16, 3, [1] * 12), ((12, 8, 32, 32), 8, 3, [5, 5, 2]), ((9, 32, 16, 16), 32, 3, [1] * 9),
    ((40, 128, 4, 4), 128, 3, [16, 16, 8]), ((7, 3, 100, 100), 4, 3, [1] * 7), ((300, 1, 20, 20), 64, 1, [5] * 60),
    ((70, 64, 32, 32), 1, 1, [2] * 35)])
def test_level3_how_many_pictures(level, monkeypatch, shape, F, kernel, sizes):
    """A million multiply-adds, or 256 columns if these are more; and what a buffer and its outputs may take."""
    from tangled.t12_im2col import level3_memory_efficient as lean
    seen = []

    def watched(self, x, fill=lean.RowBuffer.fill):
        seen.append(len(x))
        return fill(self, x)
    monkeypatch.setattr(lean.RowBuffer, "fill", watched)
    level.conv2d(np.zeros(shape, np.float32), np.ones((F, shape[1], kernel, kernel), np.float32), padding=kernel // 2)
    assert seen == sizes


@pytest.mark.levels(3)
@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": (0, 2), "dilation": (2, 1)}, {"groups": 2}])
def test_level3_one_buffer_for_both_gradients(level, monkeypatch, options):
    """At stride 1 backward copies dout, never x, and so it is without dx; of a transposed convolution, dout twice."""
    from tangled.t12_im2col import level3_memory_efficient as lean
    seen = []

    def watched(self, x, fill=lean.RowBuffer.fill):
        seen.append(x.shape)
        return fill(self, x)
    monkeypatch.setattr(lean.RowBuffer, "fill", watched)
    x, w = rng(8).standard_normal((4, 6, 7, 8)), rng(9).standard_normal((4, 6 // options.get("groups", 1), 3, 3))
    out, cache = level.conv2d(x, w, **options)
    level.conv2d_backward(out, cache)
    assert seen == [x.shape, out.shape]
    up, cache = level.conv_transpose2d(out, w, **options)
    level.conv_transpose2d_backward(up, cache)
    assert seen[2:] == [out.shape, x.shape, x.shape]
    layer = level.Conv2d(6, 4, 3, bias=False, **options).astype(np.float64)
    layer.input_grad = False
    layer.backward(layer(x))
    assert seen[5:] == [x.shape, out.shape]


@pytest.mark.levels(3)
@pytest.mark.parametrize("order", ["F", "transposed", "reversed", "offset"])
def test_level3_rows_of_any_layout(level, order):
    """The rows are copied from x and dout as they lie in memory; nothing of theirs is written."""
    make = {"F": np.asfortranarray, "transposed": lambda a: a.swapaxes(2, 3).copy().swapaxes(2, 3),
            "reversed": lambda a: a[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
            "offset": lambda a: np.pad(a, ((0, 1), (1, 0), (2, 1), (1, 2)))[:-1, 1:, 2:-1, 1:-2]}[order]
    x, w, dout = (rng(k).standard_normal(s) for k, s in enumerate([(50, 3, 3, 4), (5, 3, 3, 3), (50, 5, 3, 4)]))
    results = []
    for arrays in ((x, w, dout), [make(a) for a in (x, w, dout)]):
        arrays[0].flags.writeable = arrays[2].flags.writeable = False
        out, cache = level.conv2d(*arrays[:2], padding=1)
        results.append((out, *level.conv2d_backward(arrays[2], cache)))
    for got, want, name in zip(*results, ("out", "dx", "dw")):
        assert_close(got, want, tol=1e-12, what=name)


@pytest.mark.levels(3)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (4, 5), (2, 3), (3, 0)])
@pytest.mark.parametrize("N", [34, 3])
def test_level3_keeps_infinities_at_home(level, value, place, N):
    """At a corner it reaches four offsets of the kernel, at an edge six; the shifts of dout would spread it."""
    x, dout = rng(2).uniform(0.5, 1, (N, 2, 5, 6)), rng(3).uniform(0.5, 1, (N, 3, 5, 6))
    x[1, 1][place] = value
    out, cache = level.conv2d(x, rng(4).uniform(0.5, 1, (3, 2, 3, 3)), padding=1)
    reached = [[0 <= a - i + 1 < size for i in range(3)] for a, size in zip(place, (5, 6))]
    expected = np.zeros((3, 2, 3, 3))
    expected[:, 1] = np.outer(*reached)
    dw = level.conv2d_backward(dout, cache)[1]
    assert_close((~np.isfinite(dw)).astype(float), expected, what="where dw is not finite")
    a, e = np.indices((5, 6))
    near = (abs(a - place[0]) < 2) & (abs(e - place[1]) < 2)
    assert_close((~np.isfinite(out)).astype(float), (near & (np.arange(N) == 1)[:, None, None, None])
                 * np.ones((N, 3, 1, 1)), what="where out is not finite")


@pytest.mark.levels(3)
@pytest.mark.parametrize("size", [8, 9, 64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("near", [
    {"padding": 0}, {"padding": 2}, {"padding": (1, 0)}, {"padding": (1, 1, 1, 0)}, {"padding": (0, 1, 1, 1)},
    {"padding": (0, 2, 1, 1)}, {"padding": (1, 1, 2, 0)},
    {"dilation": 2}, {"dilation": (1, 2)}, {"groups": 2}, {"stride": (2, 1)}, {"stride": (1, 2)}, {"stride": 3}])
def test_level3_next_to_common(level, size, stride, near):
    """One step away from 3 x 3, stride 1 or 2, padding 1, one group: values and gradients as level 2."""
    from tangled.t12_im2col import level2_vectorized as plain
    x, w = rng(8).standard_normal((3, 4, 7, size)), rng(9).standard_normal((6, 4 // near.get("groups", 1), 3, 3))
    options = {"stride": stride, "padding": 1} | near
    (out, cache), (expected, other) = (m.conv2d(x, w, **options) for m in (level, plain))
    assert_close(out, expected, tol=1e-10, what="out")
    dout = rng(10).standard_normal(out.shape)
    grads = [m.conv2d_backward(dout, kept) for m, kept in ((level, cache), (plain, other))]
    for got, want, name in zip(*grads, ("dx", "dw")):
        assert_close(got, want, tol=1e-10, what=name)


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
def test_float32_takes_half_of_the_memory(level, kind):
    """Nothing is computed in a wider type behind the caller's back."""
    def step_in(dtype):
        x, w = np.ones((1, 6, 20, 20), dtype), np.ones((6, 6, 3, 3), dtype)
        return lambda: getattr(level, kind + "_backward")(x, getattr(level, kind)(x, w, padding=1)[1])
    ratio = peak_memory(step_in(np.float32)) / peak_memory(step_in(np.float64))
    assert ratio < 0.65, f"{ratio:.2f} of the memory that float64 takes"


@pytest.mark.levels(2, 3)
def test_large_in_float32(level):
    """1,152 products a sum, against float64."""
    x = rng(2).standard_normal((2, 128, 9, 8)).astype(np.float32)
    w = rng(3).standard_normal((5, 128, 3, 3)).astype(np.float32)
    out, _ = level.conv2d(x, w, padding=1)
    exact, _ = level.conv2d(x.astype(float), w.astype(float), padding=1)
    assert_close(out.astype(float), exact, tol=1e-4, what="out")
