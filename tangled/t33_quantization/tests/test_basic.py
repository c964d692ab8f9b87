# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:01d129526e571207
"""Chapter 33: grids, integers, gradients, products, packing."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_dtypes, assert_repeatable, rng

KINDS = ("tensor", "channel", "rows", "group", "tiles")
CASES = [f"{kind}-{way}-{bits}" for kind in KINDS for way in ("symmetric", "asymmetric") for bits in (8, 4, 3)]


def ends(bits, symmetric):
    """The smallest and the largest integer."""
    half = 2 ** (bits - 1)
    return (1 - half if symmetric else -half), half - 1


def exact(a, b, a_zero=0, b_zero=0):
    """The product in int64."""
    return (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - np.asarray(b_zero, np.int64))


@pytest.mark.value
@pytest.mark.parametrize("name", CASES)
def test_golden_grids(level, golden, name):
    """Scales, zero points and integers, by PyTorch."""
    case = golden(name)
    given, expected = dict(case.inputs), case.outputs
    scale, zero_point = level.calibrate(**given)
    assert_close(scale, expected["scale"], tol=1e-6, what="scale")
    assert_close(zero_point, expected["zero_point"], tol=0, what="zero_point")
    grid = {"bits": given["bits"], "symmetric": given["symmetric"]}
    q, *used = level.quantize(given["x"], expected["scale"], expected["zero_point"], **grid)
    assert_close(q, expected["q"], tol=0, what="q")
    assert_close(used[0], expected["scale"], tol=0, what="the scale that was used")
    assert_close(level.dequantize(q, *used), expected["x"], tol=1e-6, what="dequantised")


@pytest.mark.gradient
@pytest.mark.parametrize("name", CASES)
def test_golden_gradients(level, golden, name):
    """Fake quantisation and its straight-through gradient, by PyTorch."""
    case = golden(name)
    given, expected = case.inputs, case.outputs
    out, cache = level.fake_quantize(given["x"].astype(float), expected["scale"], expected["zero_point"],
                                     given["bits"], given["symmetric"])
    assert_close(out, expected["out"], tol=1e-5, what="out")
    dx = level.fake_quantize_backward(case.upstream["out"], cache)
    assert_close(dx, case.grads["x"], tol=1e-12, what="dx")


@pytest.mark.value
@pytest.mark.parametrize("name", ["plain", "zeros", "channels"])
def test_golden_products(level, golden, name):
    """Integers by PyTorch's int64."""
    case = golden(f"product-{name}")
    y = level.int8_matmul(**case.inputs)
    assert y.dtype == np.int32
    assert_close(y, case.outputs["y"], tol=0, what="y")


@pytest.mark.value
def test_worked_trace(level):
    """The chapter's numbers."""
    x = np.array([-1.25, -0.3, 0, 0.9, 2.5, 3])
    scale, zero_point = level.calibrate(x[:5], bits=4, symmetric=False)
    assert scale == 0.25 and zero_point == -3
    q, *_ = level.quantize(x, scale, zero_point, bits=4, symmetric=False)
    assert q.tolist() == [-8, -4, -3, 1, 7, 7]
    assert level.dequantize(q, scale, zero_point).tolist() == [-1.25, -0.25, 0, 1, 2.5, 2.5]
    out, cache = level.fake_quantize(x, scale, zero_point, bits=4, symmetric=False)
    assert out.tolist() == [-1.25, -0.25, 0, 1, 2.5, 2.5]
    assert level.fake_quantize_backward(np.arange(1.0, 7), cache).tolist() == [1, 2, 3, 4, 5, 0]
    a, b = np.array([[-8, 1]], np.int8), np.array([[2], [-1]], np.int8)
    assert level.int8_matmul(a, b, -3, 1).tolist() == [[-13]]


@pytest.mark.shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_types(level, dtype):
    """One scale for each block, int8 integers, floats of the scale's dtype; results are the caller's own."""
    x = rng(0).standard_normal((4, 6, 10)).astype(dtype)
    wide = np.promote_types(dtype, np.float32)
    for block, counts in ((None, ()), ((None, None, None), (1, 1, 1)), ((1, None, 5), (4, 1, 2)),
                          ([2, 3, None], (2, 2, 1)), ((None, 6, 1), (1, 1, 10)), ((4, 1, 10), (1, 6, 1))):
        for symmetric in (True, False):
            scale, zero_point = level.calibrate(x, symmetric=symmetric, block=block)
            assert (scale.shape, zero_point.shape) == (counts, counts)
            assert (scale.dtype, zero_point.dtype) == (wide, np.int32)
            q, *used = level.quantize(x, symmetric=symmetric, block=block)
            assert (q.shape, q.dtype) == (x.shape, np.int8)
            assert_close(used[0], scale, tol=0, what="scale")
            assert (used[1].shape, used[1].dtype) == (counts, np.int32)
            back = level.dequantize(q, scale, zero_point)
            assert (back.shape, back.dtype) == (x.shape, wide)
            out, cache = level.fake_quantize(x, scale, zero_point, symmetric=symmetric)
            dx = level.fake_quantize_backward(np.ones(x.shape), cache)
            assert {(a.shape, a.dtype) for a in (out, dx)} == {(x.shape, np.dtype(dtype))}
            assert_close(out.astype(float), back.astype(float), tol=1e-3, what="out")


@pytest.mark.value
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_error_is_half_a_step(level, bits, symmetric):
    """Min-max: within half a step, at the ends of an asymmetric range too."""
    x = rng(bits).standard_normal((9, 7)) + (not symmetric)
    for block in (None, (None, 1), (3, 1), (1, 7)):
        q, scale, zero_point = level.quantize(x, bits=bits, symmetric=symmetric, block=block)
        low, high = ends(bits, symmetric)
        assert low <= q.min() <= q.max() <= high, f"integers from {q.min()} to {q.max()}"
        error = np.abs(level.dequantize(q, scale, zero_point) - x)
        step = level.dequantize(np.ones_like(q), scale)
        assert (error <= 0.5 * step * (1 + 1e-5)).all()


@pytest.mark.value
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_symmetric_range(level, bits):
    """Mirrored numbers have mirrored integers; -128 never occurs, whatever the scale."""
    x = np.array([-9.0, -1.0, -0.3, 0.0, 0.3, 1.0, 9.0])
    for scale in (None, np.array(1 / 127), np.array(0.01)):
        q, *_ = level.quantize(x, scale, bits=bits)
        assert q.tolist() == (-q[::-1]).tolist(), f"q = {q}"
        assert q.min() == 1 - 2 ** (bits - 1)
    q, *_ = level.quantize(x, np.array(0.01), np.array(0), bits=bits, symmetric=False)
    assert q.min() == -2 ** (bits - 1)


@pytest.mark.value
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_zero_is_exact(level, method, symmetric):
    """A 0 is stored as the zero point and comes back as 0, also where the range is lopsided."""
    for seed in range(12):
        x = rng(seed).normal(rng(100 + seed).normal(), 1, 50)
        x[7] = 0
        for bits in (8, 3):
            scale, zero_point = level.calibrate(x, bits, symmetric, None, method, 98.0)
            q, *_ = level.quantize(x, scale, zero_point, bits, symmetric)
            assert q[7] == zero_point, f"0 is {q[7]}, the zero point {zero_point}"
            assert level.dequantize(q, scale, zero_point)[7] == 0
            assert level.fake_quantize(x, scale, zero_point, bits, symmetric)[0][7] == 0


@pytest.mark.value
@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_that_do_not_straddle_zero(level, symmetric):
    """All positive, all negative, far from zero: the zero point is a valid integer, the error half a step."""
    for lo, hi in ((2, 3), (-3, -2), (100, 101), (0, 5), (-5, 0), (0.001, 7)):
        x = np.linspace(lo, hi, 23)
        q, scale, zero_point = level.quantize(x, symmetric=symmetric)
        assert -128 <= zero_point <= 127 and scale > 0
        error = np.abs(level.dequantize(q, scale, zero_point) - x).max()
        assert error <= 0.5 * scale * (1 + 1e-6) and scale <= max(abs(lo), abs(hi)) / 127 * (1 + 1e-6)


@pytest.mark.value
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_constant_arrays(level, symmetric, method):
    """Equal numbers, zeros, and numbers too small for a scale: no NaN, nothing lost but what is below a step."""
    for value in (0.0, 5.0, -5.0, 1e-30, 3e38, -1e-44):
        x = np.full((4, 6), value, np.float32)
        with np.errstate(all="raise", under="ignore", over="ignore"):
            scale, zero_point = level.calibrate(x, 8, symmetric, (2, 3), method)
            q, *_ = level.quantize(x, scale, zero_point, symmetric=symmetric)
        assert np.isfinite(scale).all() and (scale > 0).all()
        back = level.dequantize(q, scale, zero_point)
        small = abs(value) < 1e-36
        assert_close(back.astype(float), np.zeros(x.shape) if small else x.astype(float),
                     tol=1e-6 * (1 if small else abs(value)) , what="back")
    x = np.array([[0.0, 0, 0, 0], [1, -1, 1, -1]])              # one block of zeros beside another
    q, scale, zero_point = level.quantize(x, block=(1, None))
    assert_close(level.dequantize(q, scale, zero_point), x, tol=1e-12, what="back")


@pytest.mark.value
def test_halves_go_to_the_even(level):
    """rint, not the floor of x + 1/2; and not a cast, which cuts off."""
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 1.75, -1.75])
    for dtype in (np.float32, np.float64):
        q, *_ = level.quantize(x.astype(dtype), np.array(1, dtype))
        assert q.tolist() == [-2, -2, 0, 0, 2, 2, 4, 2, -2]
        q, *_ = level.quantize(x.astype(dtype), np.array(1, dtype), np.array(5), symmetric=False)
        assert q.tolist() == [3, 3, 5, 5, 7, 7, 9, 7, 3], "rounded, and then shifted"
        out, _ = level.fake_quantize(x.astype(dtype), np.array(1, dtype), np.array(5), symmetric=False)
        assert out.tolist() == [-2, -2, 0, 0, 2, 2, 4, 2, -2]


@pytest.mark.value
def test_saturates(level):
    """300 is 127 and not 44; nor does an overflow of the quotient come back on the other side."""
    x = np.array([126.4, 127.6, 129, 255, 256, 300, 1e4, 3e38, -129, -300, -3e38], np.float32)
    q, *_ = level.quantize(x, np.array(1, np.float32), np.array(0), symmetric=False)
    assert q.tolist() == [126] + [127] * 7 + [-128] * 3
    q, *_ = level.quantize(x, np.array(1e-3, np.float32), np.array(-100), symmetric=False)
    assert q.tolist() == [127] * 8 + [-128] * 3
    out, _ = level.fake_quantize(np.clip(x, -1e9, 1e9), np.array(1, np.float32), np.array(5), symmetric=False)
    assert out.tolist() == [122] * 8 + [-129, -133, -133]


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_saturates_at_any_quotient(level):
    """3e38 is at the upper end; PyTorch 2.13's per-channel fake_quantize has it at the lower."""
    x = np.array([3e38, -3e38, 1e30], np.float32)
    for scale in (1.0, 1e-3):
        out, cache = level.fake_quantize(x, np.array(scale, np.float32), np.array(5), symmetric=False)
        assert_close(out, np.array([122, -133, 122], np.float32) * np.float32(scale), tol=1e-6, what="out")
        for dout in (x, np.full(3, np.inf, np.float32)):
            assert not level.fake_quantize_backward(dout, cache).any(), "0 where x was cut off"


@pytest.mark.levels(1, 2, 3)
@pytest.mark.value
def test_float64_keeps_its_digits(level):
    """A scale that float32 does not hold, quotients a millionth of a millionth beside a half."""
    k, scale = np.arange(-9.0, 9.0), np.array(0.1)
    for beside, expected in ((1e-12, k + 1), (-1e-12, k)):
        x = scale * (k + 0.5 + beside)
        q, *_ = level.quantize(x, scale)
        assert q.tolist() == expected.tolist()
        for moved in (level.dequantize(q, scale), level.fake_quantize(x, scale)[0]):
            assert_close(moved, 0.1 * expected, tol=1e-15, what="numbers on the grid")


@pytest.mark.value
def test_percentile(level):
    """Of |x| if symmetric; both ends otherwise, straight between neighbours."""
    x = np.array([[5.0, -1, 2, 3, -4, 100], [1, 1, 1, 1, 1, 1]]).T
    scale, _ = level.calibrate(x, block=(None, 1), method="percentile", percentile=90.0)
    assert_close(scale * 127, np.array([[52.5, 1.0]]), tol=1e-9, what="range")
    scale, zero_point = level.calibrate(x, symmetric=False, block=(None, 1), method="percentile", percentile=80.0)
    assert_close(scale * 255, np.array([[6.0, 1.0]]), tol=1e-9, what="range")
    assert zero_point.tolist() == [[-128 + round(1 / 6 * 255), -128]]
    scale, _ = level.calibrate(x[:, 0], method="percentile", percentile=100)
    assert_close(scale, np.array(100 / 127), tol=1e-9, what="scale")


@pytest.mark.value
@pytest.mark.parametrize("symmetric", [True, False])
def test_least_squared_error(level, symmetric):
    """Of 57 shares of the range none is better, block by block; wider wins where equal."""
    x = rng(3).laplace(size=(40, 3)) * np.array([1, 10, 0.1]) + (not symmetric) * np.array([0, 5, 0.2])
    for bits in (3, 8):
        lo, hi = np.minimum(x.min(0), 0), np.maximum(x.max(0), 0)
        low, high = ends(bits, symmetric)
        scale, zero_point = level.calibrate(x, bits, symmetric, (None, 1), "mse")

        def error(scale, zero_point, bits=bits):
            q, *_ = level.quantize(x, scale, zero_point, bits, symmetric)
            return ((level.dequantize(q, scale, zero_point) - x) ** 2).sum(axis=0)
        found = error(scale, zero_point)
        for share in np.arange(8, 65) / 64:
            s = share * (np.maximum(hi, -lo) / high if symmetric else (hi - lo) / (high - low))[None]
            z = np.zeros(s.shape, int) if symmetric else np.rint(low - share * lo / s).astype(int)
            assert (found <= error(s, z) * (1 + 1e-9)).all(), f"share {share} is better"
    x = np.array([-127.0, 3, 64, 127])
    assert level.calibrate(x, method="mse")[0] == 1


@pytest.mark.value
@pytest.mark.parametrize("symmetric", [True, False])
def test_least_squared_error_of_any_size(level, symmetric):
    """Squares that are no numbers: near 1e200 and 1e-200, in float32 near 1e30 and 1e-30, the share is the same."""
    x = rng(6).laplace(size=(50, 3)) + (not symmetric) * np.array([0.5, -1, 0])
    x[:, 2] = -np.abs(x[:, 2])
    for dtype, power in ((np.float32, 100), (np.float64, 664)):
        plain, zeros = level.calibrate(x.astype(dtype), 3, symmetric, (None, 1), "mse")
        assert (plain < 0.95 * level.calibrate(x.astype(dtype), 3, symmetric, (None, 1))[0]).all(), "nothing was cut"
        for k in (power, -power):
            with np.errstate(over="raise", invalid="raise"):
                got, zero_point = level.calibrate(np.ldexp(x.astype(dtype), k), 3, symmetric, (None, 1), "mse")
            assert_close(np.ldexp(got.astype(float), -k), plain.astype(float), tol=1e-6, what="scale")
            assert_close(zero_point, zeros, tol=0, what="zero_point")


@pytest.mark.gradient
@pytest.mark.parametrize("symmetric", [True, False])
def test_straight_through(level, symmetric):
    """The gradient of out inside, 0 outside, up to the last half step; not that of the staircase."""
    low, high = ends(4, symmetric)
    zero_point = 0 if symmetric else 3
    q = np.array([low - 5, low - 0.51, low - 0.49, low, 0, 0.4, high, high + 0.49, high + 0.51, high + 99])
    x = 0.25 * (q - zero_point)
    out, cache = level.fake_quantize(x, np.array(0.25), zero_point, 4, symmetric)
    dout = rng(1).standard_normal(10)
    inside = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    for _ in range(2):
        assert_close(level.fake_quantize_backward(dout, cache), dout * inside, tol=0, what="dx")
    assert_close(out, 0.25 * (np.clip(np.rint(q), low, high) - zero_point), tol=1e-12, what="out")


@pytest.mark.value
@pytest.mark.parametrize("K", [1023, 1024, 1025, 1039, 1040, 1041, 2049, 65_536])
def test_extreme_values_and_long_rows(level, K):
    """Sums of terms of the largest size, with a single small one: not a unit is lost."""
    a = np.full((3, K), 127, np.int8)
    a[1], a[2, :: 2] = -128, -127
    b = np.full((K, 2), 127, np.int8)
    b[:, 1] = -128
    a[0, K // 3], b[-1, 1] = 1, 3
    y = level.int8_matmul(a, b)
    assert y.dtype == np.int32
    assert_close(y, exact(a, b), tol=0, what="y")
    for zeros in ((-128, 127), (5, -7)) if K < 2100 else ():
        assert_close(level.int8_matmul(a, b, *zeros), exact(a, b, *zeros), tol=0, what=f"y with zero points {zeros}")


@pytest.mark.value
def test_where_int32_ends(level):
    """131,071 terms of (-128)^2 fit, one more does not: int64. With zero points it is earlier."""
    for K, dtype in ((131_071, np.int32), (131_072, np.int64)):
        a = np.full((1, K), -128, np.int8)
        y = level.int8_matmul(a, a.T)
        assert y.dtype == dtype and y[0, 0] == K * 128 ** 2, f"{y.dtype} {y[0, 0]} for {K} terms"
    for K, dtype in ((33_025, np.int32), (33_026, np.int64)):
        a = np.full((1, K), -128, np.int8)
        y = level.int8_matmul(a, a.T, 127, np.array([127]))
        assert y.dtype == dtype and y[0, 0] == K * 255 ** 2, f"{y.dtype} {y[0, 0]} for {K} terms"
    for K, dtype in ((32_896, np.int32), (32_897, np.int64)):   # zero points of one sign
        a, b = np.full((1, K), -128, np.int8), np.full((K, 1), 127, np.int8)
        for zero in (-128, np.array([-128])):
            y = level.int8_matmul(a, b, 127, zero)
            assert y.dtype == dtype and y[0, 0] == -K * 255 ** 2, f"{y.dtype} {y[0, 0]} for {K} terms"
    a, b = np.full((1, 140_000), 3, np.int8), np.full((140_000, 2), -5, np.int8)        # K z_a z_b alone is too large
    zeros = np.array([127, -128])
    assert level.int8_matmul(a, b, -128, zeros).tolist() == [[140_000 * 131 * (-5 - z) for z in zeros.tolist()]]


@pytest.mark.value
@pytest.mark.parametrize("seed", range(8))
def test_products_at_random(level, seed):
    """Any sizes, batch axes and zero points."""
    draw = rng(seed)
    batch, (K, N) = draw.integers(1, 5, draw.integers(0, 3)), draw.integers(1, 40, 2)
    a, b = draw.integers(-128, 128, (*batch, K), np.int8), draw.integers(-128, 128, (K, N), np.int8)
    zeros = int(draw.integers(-128, 128)), draw.integers(-128, 128, N) if seed % 2 else int(draw.integers(-128, 128))
    for given in (zeros, (0, zeros[1]), (zeros[0], 0)):
        y = level.int8_matmul(a, b, *given)
        assert y.shape == (*batch, N)
        assert_close(y, exact(a, b, *given), tol=0, what="y")


@pytest.mark.value
def test_packing(level, golden):
    """By PyTorch; every pair of integers there and back; odd lengths; the order inside a byte."""
    case = golden("packed")
    assert_close(level.pack_int4(case.inputs["q"]), case.outputs["packed"], tol=0, what="packed")
    pairs = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), axis=-1).astype(np.int8)
    packed = level.pack_int4(pairs)
    assert (packed.shape, packed.dtype) == ((16, 16, 1), np.uint8) and len(np.unique(packed)) == 256
    assert_close(level.unpack_int4(packed, 2), pairs, tol=0, what="unpacked")
    assert level.pack_int4(np.array([1, -1, 7], np.int8)).tolist() == [0xF1, 0x07]
    for n in (1, 2, 5, 8, 33):
        q = rng(n).integers(-8, 8, (2, 3, n), np.int8)
        packed = level.pack_int4(q)
        assert packed.nbytes == 6 * ((n + 1) // 2)
        back = level.unpack_int4(packed, n)
        assert back.dtype == np.int8
        assert_close(back, q, tol=0, what="unpacked")


@pytest.mark.value
def test_called_twice(level):
    """Nothing is shared, nothing that was handed in changes."""
    x, scale = rng(1).standard_normal((6, 4)), np.full((3, 2), 0.02)
    zero_point = np.arange(6).reshape(3, 2)
    q = rng(2).integers(-8, 8, (6, 5), np.int8)
    for f, inputs in ((level.calibrate, (x, 5, False, (2, 2), "mse")),
                      (level.quantize, (x, None, None, 4, False, (3, 1))),
                      (level.dequantize, (q, np.full((3, 5), 0.5), np.full((3, 5), 2))),
                      (level.int8_matmul, (q, q.T.copy(), 3, np.arange(6))),
                      (level.pack_int4, (q,)), (level.unpack_int4, (q.astype(np.uint8), 9))):
        assert_repeatable(f, inputs)
    assert_repeatable(lambda x: level.fake_quantize(x, scale, zero_point, 8, False), [x],
                      f_backward=level.fake_quantize_backward)


@pytest.mark.value
def test_dtypes(level):
    """float16 is computed in float32, large and small numbers keep their places on the grid."""
    x = (rng(4).integers(-300, 300, (5, 7)) / 256).astype(np.float64)
    for symmetric, zero_point in ((True, 0), (False, 30)):
        assert_dtypes(lambda x, z=zero_point, s=symmetric: level.fake_quantize(x, np.array(2.0 ** -8), z, 8, s), [x],
                      f_backward=level.fake_quantize_backward, scales=(1.0, 0.5, 64.0), extremes=[(64 * x,)])
