# Tangled from chapters/12-im2col.qmd; edit the chapter, then run make tangle. sha256:fa703282bddcf215
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
@pytest.mark.parametrize("shape, F, kernel, groups, two, sizes", [
    ((3, 16, 32, 32), 16, 3, 1, False, [1, 1, 1]), ((10, 8, 32, 32), 8, 3, 1, False, [4, 4, 2]),
    ((9, 32, 16, 16), 32, 3, 1, False, [4, 4, 1]), ((5, 16, 32, 32), 16, 3, 2, False, [2, 2, 1]),
    ((50, 128, 4, 4), 128, 3, 1, False, [21, 21, 8]), ((3, 3, 100, 100), 4, 3, 1, False, [1, 1, 1]),
    ((12, 1, 20, 20), 64, 1, 1, False, [5, 5, 2]), ((5, 64, 32, 32), 1, 1, 1, False, [2, 2, 1]),
    ((40, 64, 8, 8), 32, 3, 1, True, [16, 16, 8]), ((20, 64, 8, 8), 256, 3, 1, True, [8, 8, 4]),
    ((20, 256, 8, 8), 64, 3, 1, True, [8, 8, 4]),
    ((40, 8, 16, 16), 16, 3, 1, True, [16, 16, 8])])
def test_level3_how_many_pictures(level, monkeypatch, shape, F, kernel, groups, two, sizes):
    """1,024 columns, or those of a small product if these are more; and what a buffer and its outputs may take."""
    monkeypatch.setattr("tangled.t12_im2col.columns.PRODUCT", 10 ** 6)
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", 1 if two else 10 ** 9)
    from tangled.t12_im2col import level3_memory_efficient as lean
    seen = []

    def watched(self, x, fill=lean.RowBuffer.fill):
        seen.append(len(x))
        return fill(self, x)
    monkeypatch.setattr(lean.RowBuffer, "fill", watched)
    weights = np.ones((F, shape[1] // groups, kernel, kernel), np.float32)
    out, cache = level.conv2d(np.zeros(shape, np.float32), weights, padding=kernel // 2, groups=groups)
    assert seen == sizes
    if two:
        level.conv2d_backward(out, cache)
        assert seen == 2 * sizes


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape, columns, parts", [
    ((64, 192), 200, [(3, 64), (8,)]), ((2, 64, 192), 128, [(2, 64)]), ((96, 288), 64, [(2, 32)]),
    ((128, 384), 64, [(64,)]), ((5, 1), 300, [(300,)]), ((128, 576), 64, [(64,)]), ((2, 3, 0), 4, [(4,)]),
    ((64, 192), 64, [(64,)]), ((64, 192), 0, [])])
def test_level3_small_products(level, monkeypatch, shape, columns, parts):
    """At most a million multiplications each, if that is 32 columns or more; the last one has what is left."""
    from tangled.t12_im2col import columns as parted
    monkeypatch.setattr(parted, "PRODUCT", 10 ** 6)
    a, b = rng(1).standard_normal(shape), rng(2).standard_normal((*shape[:-2], shape[-1], columns))
    expected, out, seen = a @ b, np.full((*shape[:-1], columns), np.nan), []

    def watched(a, b, out, matmul=np.matmul):
        seen.append(b.shape[len(shape) - 2:-2] + b.shape[-1:])
        return matmul(a, b, out=out)
    with monkeypatch.context() as patch:
        patch.setattr(np, "matmul", watched)
        assert parted.multiply(a, b, out) is out
    assert seen == parts
    assert_close(out, expected, tol=1e-12, what="the product")


@pytest.mark.levels(3)
def test_level3_makes_small_products(level, monkeypatch):
    """Where BLAS has a program for them no large one is left but in the gradient of the weights."""
    from tangled.t12_im2col import columns as parted
    monkeypatch.setattr(parted, "PRODUCT", 5000)
    monkeypatch.setattr(parted, "FEWEST", 16)
    sizes = []

    def watched(a, b, out=None, matmul=np.matmul):
        sizes.append((a.shape[-2] * a.shape[-1] * b.shape[-1], a.shape[-2] * b.size))     # of one, of all
        return matmul(a, b, out=out)
    x, w = rng(3).standard_normal((4, 6, 9, 7)), rng(4).standard_normal((5, 6, 3, 3))
    for stride in (1, 2):
        out, cache = level.conv2d(x, w, None, stride, 1)
        with monkeypatch.context() as patch:
            patch.setattr(np, "matmul", watched)
            level.conv2d(x, w, None, stride, 1)
            level.conv2d_backward(out, cache)
        largest, total = max(size for size, _ in sizes), sum(size for _, size in sizes)
        assert largest <= 5000 and total == 2 * 5 * 6 * 9 * out[:, 0].size
        sizes.clear()


def in_pairs(level, kind, arrays, options, dout=None):
    """(out, dx, dw, db) of conv2d or conv_transpose2d, and how many blocks were made two rows at a time."""
    from tangled.t12_im2col import pairs
    seen = []

    def watched(*given, products=pairs.products):
        seen.append(given)
        return products(*given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "products", watched)
        out, cache = getattr(level, kind)(*arrays, **options)
        grads = getattr(level, kind + "_backward")(np.cos(7 * out) if dout is None else dout, cache)
    return (out, *grads), len(seen)


@pytest.mark.levels(3)
@pytest.mark.parametrize("kind", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("shape, f, KW, options", [
    ((5, 4, 7, 6), 5, 3, {"padding": 1}), ((3, 6, 8, 5), 2, 3, {"padding": (1, 0, 1, 1), "groups": 2}),
    ((4, 3, 5, 7), 4, 2, {"padding": (2, 1, 0, 1)}), ((3, 2, 6, 4), 3, 1, {"padding": (1, 0, 0, 0)}),
    ((2, 2, 4, 5), 3, 3, {"padding": (1, 2, 4, 0), "dilation": (1, 2)}),
    ((2, 3, 3, 2), 2, 3, {"padding": (1, 1, 0, 2)}), ((2, 3, 4, 1), 2, 3, {"padding": 1}),
    ((1, 1, 3, 1), 2, 3, {"padding": (1, 3), "dilation": (1, 3)}), ((0, 3, 4, 5), 2, 3, {"padding": 1})])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_level3_two_rows_at_once(level, monkeypatch, kind, shape, f, KW, options, dtype):
    """As level 2: pictures with an odd side, several at a time and a rest; groups, any padding, dilated in width."""
    from tangled.t12_im2col import level2_vectorized as plain
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", 1)
    monkeypatch.setattr(level, "COLUMNS", 120)
    c = shape[1] // options.get("groups", 1)
    w = (shape[1], f, 3, KW) if kind == "conv_transpose2d" else (f * options.get("groups", 1), c, 3, KW)
    b = f * options.get("groups", 1)
    arrays = [rng(k).standard_normal(s).astype(dtype) for k, s in enumerate([shape, w, b])]
    got, blocks = in_pairs(level, kind, arrays, options)
    assert (blocks > 1) == (len(arrays[0]) > 0)
    dout = np.cos(7 * got[0])
    want = getattr(plain, kind)(*arrays, **options)
    tol = {np.float16: 5e-3, np.float32: 1e-5, np.float64: 1e-12}[dtype]
    for name, a, e in zip(("out", "dx", "dw", "db"), got,
                          (want[0], *getattr(plain, kind + "_backward")(dout, want[1]))):
        assert_close(a, e, tol=tol, what=name, dtype=dtype)


@pytest.mark.levels(3)
@pytest.mark.parametrize("channels, size, options, blocks", [
    ((64, 64), (6, 5), {"padding": 1}, 2), ((48, 86), (6, 5), {"padding": 1}, 2), ((64, 63), (6, 5), {"padding": 1}, 0),
    ((128, 64), (6, 5), {"padding": 1, "groups": 2}, 0), ((64, 64), (6, 5), {"padding": 1, "stride": 2}, 0),
    ((64, 64), (6, 5), {"padding": (2, 1), "dilation": (2, 1)}, 0), ((64, 64), (6, 5), {"padding": (1, 0)}, 0),
    ((64, 64), (6, 5), {"padding": 1, "stride": (1, 2)}, 0), ((64, 64), (3, 5), {"padding": (0, 1)}, 1),
    ((64, 64), (2, 5), {"padding": 1}, 0), ((64, 64), (3, 5), {"padding": 1}, 2),
    ((64, 64), (6, 5), {"padding": (1, 3), "stride": (1, 2)}, 0),
    ((64, 96), (6, 5), {"kernel": (2, 3), "padding": (1, 0, 1, 1)}, 0)])
def test_level3_where_two_rows_pay(level, channels, size, options, blocks):
    """Kernels of three rows, at stride 1, not dilated in height, as wide out as in, and many weights a group."""
    (F, C), options = channels, dict(options)
    w = rng(1).standard_normal((F, C // options.get("groups", 1), *options.pop("kernel", (3, 3))), dtype=np.float32)
    x = rng(2).standard_normal((2, C, *size), dtype=np.float32)
    assert in_pairs(level, "conv2d", [x, w], options)[1] == blocks


@pytest.mark.levels(3)
def test_level3_four_products_for_six(level, monkeypatch):
    """Multiplications of 64 channels and 8 rows: two thirds of the definition's, forward and backward."""
    count = []

    def watched(a, b, out=None, matmul=np.matmul):
        count.append(matmul(a, b).size * a.shape[-1])
        return matmul(a, b, out=out)
    x, w = (rng(k).standard_normal(s, dtype=np.float32) for k, s in enumerate([(2, 64, 8, 6), (64, 64, 3, 3)]))
    by_definition = 2 * 64 * 64 * 9 * 8 * 6
    with monkeypatch.context() as patch:
        patch.setattr(np, "matmul", watched)
        out, cache = level.conv2d(x, w, padding=1)
        assert 3 * sum(count) == 2 * by_definition
        count.clear()
        level.conv2d_backward(out, cache)
    assert 3 * sum(count) == 2 * by_definition                  # dx; the products for dw are made by @


@pytest.mark.levels(3)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("where", ["x", "w", "dout", "b"])
def test_level3_two_rows_not_finite(level, monkeypatch, where, value):
    """An infinity, NaN or an overflow in a sum reaches what the definition lets it reach."""
    shapes = {"x": (2, 3, 5, 4), "w": (3, 3, 3, 3), "b": (3,), "dout": (2, 3, 5, 4)}
    arrays = {name: rng(k).standard_normal(s, dtype=np.float32) for k, (name, s) in enumerate(shapes.items())}
    arrays[where][(0,) * arrays[where].ndim] = value
    monkeypatch.setattr(level, "COLUMNS", 1)                    # picture 0 is a block, and 1 another
    monkeypatch.setattr("tangled.t12_im2col.columns.PRODUCT", 0)
    if value == 3e38:
        arrays[where][..., -1] = value / 2                      # the sum of two overflows
    *inputs, dout = (arrays[name] for name in ("x", "w", "b", "dout"))
    results = []
    for enough in (10 ** 9, 1):
        monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", enough)
        with np.errstate(all="ignore"):
            results.append(in_pairs(level, "conv2d", inputs, {"padding": 1}, dout)[0])
    for name, want, got in zip(("out", "dx", "dw", "db"), *results):
        finite = np.isfinite(want)
        assert np.array_equal(got[~finite], want[~finite], equal_nan=True), name
        assert_close(got[finite] / 1e4, want[finite] / 1e4, tol=1e-5, what=name)


@pytest.mark.levels(3)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("where", [0, 1])
def test_level3_two_rows_overflow_unseen(level, monkeypatch, where):
    """Sums that overflow where no result does: no warning, and the definition's numbers."""
    arrays = [rng(k).standard_normal(s, dtype=np.float32) * 1e-4 for k, s in enumerate([(2, 3, 5, 4), (3, 3, 3, 3)])]
    arrays[where][...] = np.where(arrays[where] > 0, 3e38, -3e38)
    results = []
    for enough in (10 ** 9, 1):
        monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", enough)
        results.append(in_pairs(level, "conv2d", arrays, {"padding": 1}, np.full((2, 3, 5, 4), 1e-6, np.float32))[0])
    for want, got in zip(*results):
        assert np.isfinite(want).all()
        assert_close(got / abs(want).max(), want / abs(want).max(), tol=1e-6, what="result")


@pytest.mark.levels(3)
def test_level3_two_rows_round_by_the_window(level, monkeypatch):
    """A large number is felt beside it where its weight is 0, but not farther than the window."""
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", 1)
    x, w = rng(3).standard_normal((1, 2, 12, 6), dtype=np.float32), np.zeros((2, 2, 3, 3), np.float32)
    w[:, :, 1] = rng(4).standard_normal((2, 2, 3), dtype=np.float32)
    x[:, :, 6] *= 1e5
    error = abs(level.conv2d(x, w, padding=1)[0] - level.conv2d(*(a.astype(np.float64) for a in (x, w)), padding=1)[0])
    beside = np.isin(np.arange(12), (5, 6, 7))
    assert 1e-4 < error[:, :, [5, 7]].max() < 1 and error[:, :, ~beside].max() < 1e-5


@pytest.mark.levels(3)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_level3_two_rows_in_float32(level, monkeypatch, dtype):
    """All that is added and multiplied is float32, of pictures in float16 too, and is rounded once."""
    from tangled.t12_im2col import pairs
    monkeypatch.setattr(pairs, "ENOUGH", 1)
    seen = []

    def watched(name, function):
        def call(*given):
            made = function(*given)
            seen.extend(made if name == "spread" else [made, *given[:1]] if name == "products" else [])
            return ((seen.append(each), each)[1] for each in made) if name == "sums" else made
        return call
    for name in ("sums", "products", "spread"):
        monkeypatch.setattr(pairs, name, watched(name, getattr(pairs, name)))
    x, w = (rng(k).standard_normal((8, 8, side, side)).astype(dtype) for k, side in ((1, 8), (2, 3)))
    out, cache = level.conv2d(x, w, padding=1)
    results = out, *level.conv2d_backward(x, cache)
    assert len(seen) > 12 and {array.dtype for array in seen} == {np.dtype(np.float32)}
    out, cache = level.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    for got, want in zip(results, (out, *level.conv2d_backward(x.astype(np.float64), cache))):
        assert abs(got - want).max() <= 0.51 * np.spacing(dtype(abs(want).max())) * (1 if dtype == np.float16 else 16)


@pytest.mark.levels(3)
@pytest.mark.parametrize("rows", [(0, 1, 0, -1), (1, 0, -1, 0)])
def test_level3_two_rows_overflow_in_one(level, monkeypatch, rows):
    """An overflow in the even rows alone, or in the odd ones, is seen."""
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", 1)
    x = np.float32(3e38) * np.array(rows, np.float32)[None, None, :, None] * np.ones((1, 1, 4, 4), np.float32)
    w = np.full((1, 1, 3, 1), 1e-3, np.float32)
    assert np.isfinite(level.conv2d(x, w, padding=(1, 0))[0]).all()
    _, cache = level.conv2d(np.ones_like(x), w, padding=(1, 0))
    with np.errstate(over="ignore"):                            # of dw, which overflows
        assert np.isfinite(level.conv2d_backward(x, cache)[0]).all()


@pytest.mark.levels(3)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("enough", [1, 10 ** 9])
def test_level3_no_warning_at_the_border(level, monkeypatch, enough):
    """An infinite x on the border: the form that has a zero for it there does not speak."""
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", enough)
    x = np.ones((1, 2, 5, 6), np.float32)
    x[0, 0, 0, 0] = np.inf
    _, cache = level.conv2d(x, np.ones((3, 2, 3, 3), np.float32), padding=1)
    dw = level.conv2d_backward(np.ones((1, 3, 5, 6), np.float32), cache)[1]
    assert np.isinf(dw[:, 0, :2, :2]).all() and np.isfinite(dw[:, 0, 2]).all() and np.isfinite(dw[:, 1]).all()


@pytest.mark.levels(3)
@pytest.mark.parametrize("enough", [1, 10 ** 9])
def test_level3_overflow_of_the_bias_is_said(level, monkeypatch, enough):
    """NumPy's warning, however the products are made."""
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", enough)
    x, b = np.full((1, 1, 4, 4), 1e38, np.float32), np.full(1, 3e38, np.float32)
    w = np.zeros((1, 1, 3, 3), np.float32)
    w[..., 1, 1] = 1
    with pytest.warns(RuntimeWarning, match="overflow"):
        level.conv2d(x, w, b, padding=1)


@pytest.mark.levels(3)
def test_level3_two_rows_one_sum_at_a_time(level, monkeypatch):
    """Of the four sums, with their shifts, one is in memory: about 6 times x in all, with all four 10."""
    monkeypatch.setattr("tangled.t12_im2col.pairs.ENOUGH", 1)
    x, w = np.ones((1, 32, 48, 48), np.float32), np.ones((32, 32, 3, 3), np.float32)
    assert peak_memory(lambda: level.conv2d(x, w, padding=1)) < 7.5 * x.nbytes


@pytest.mark.levels(3)
def test_level3_two_rows_without_dx(level, monkeypatch):
    """The gradients of the parameters are the same to the last digit, where dx overflows too."""
    from tangled.t12_im2col import pairs
    monkeypatch.setattr(pairs, "ENOUGH", 1)
    x, dout = rng(5).standard_normal((3, 4, 7, 5)), rng(6).standard_normal((3, 6, 7, 5))
    layer = level.Conv2d(4, 6, 3, padding=1, rng=rng(7)).astype(np.float64)
    for size in (1, 1e308):
        layer.weight.data *= size
        grads = []
        for layer.input_grad in (True, False):
            layer.zero_grad()
            with np.errstate(all="ignore"), monkeypatch.context() as patch:
                layer(x)
                if not layer.input_grad:
                    patch.setattr(pairs, "products", None)      # not called
                dx = layer.backward(dout)
            assert (dx is None) != layer.input_grad and (dx is None or np.isfinite(dx).all() == (size == 1))
            grads.append([parameter.grad.copy() for parameter in layer.parameters()])
        assert all(np.array_equal(a, b) and a.any() for a, b in zip(*grads))


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
