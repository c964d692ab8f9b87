# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:467d7f0c3adf4c8f
"""Chapter 33: bytes that are held, large arrays, and how the error falls with the bits."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tangled.measuring import peak_memory
from tangled.t33_quantization import level2_vectorized as plain
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("symmetric", [True, False])
def test_six_decibels_a_bit(level, symmetric):
    """A bit less is four times the noise, and the noise is s^2 / 12."""
    x, noise = rng(0).uniform(-1, 1, 60_000), []
    for bits in (8, 7, 6, 5, 4):
        q, scale, zero_point = level.quantize(x, bits=bits, symmetric=symmetric)
        noise.append(np.mean((level.dequantize(q, scale, zero_point) - x) ** 2))
        assert abs(noise[-1] / (scale ** 2 / 12) - 1) < 0.1
    decibels = 10 * np.log10(np.array(noise[1:]) / noise[:-1])
    assert (np.abs(decibels - 6.02) < (0.7 if symmetric else 0.3)).all(), f"{decibels}"


@pytest.mark.levels(2, 3)
def test_best_clip_of_laplace(level):
    """The clip of the derivation, to a tenth."""
    x = rng(1).laplace(size=200_000).astype(np.float32)
    for bits, clip in ((4, 4.83), (8, 9.9)):
        Q = 2 ** (bits - 1) - 1
        assert abs(clip * np.exp(clip) / (12 * Q * Q) - 1) < 0.05
        scale, _ = level.calibrate(x, bits, method="mse")
        assert abs(Q * scale / clip - 1) < 0.1, f"clip {Q * scale:.2f}"


@pytest.mark.levels(3)
@pytest.mark.parametrize("block", [None, (None, 1), (64, 1), (1, None), (32, 16)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_strips_change_nothing(level, block, symmetric):
    """Arrays of several strips, the last of them short: as level 2."""
    x = rng(2).standard_normal((1216, 144)).astype(np.float32)
    given = level.quantize(x, bits=6, symmetric=symmetric, block=block)
    expected = plain.quantize(x, bits=6, symmetric=symmetric, block=block)
    for got, want, name in zip(given, expected, ("q", "scale", "zero_point"), strict=True):
        assert_close(got, want, tol=0, what=name)
    assert_close(level.dequantize(*given), plain.dequantize(*given), tol=0, what="back")
    dout = rng(3).standard_normal(x.shape).astype(np.float32)
    scale = given[1] / 2                                        # cuts off a part
    out, cache = level.fake_quantize(x, scale, given[2], 6, symmetric)
    want, kept = plain.fake_quantize(x, scale, given[2], 6, symmetric)
    assert_close(out, want, tol=0, what="out")
    assert_close(level.fake_quantize_backward(dout, cache), plain.fake_quantize_backward(dout, kept), tol=0, what="dx")


@pytest.mark.levels(3)
def test_rows_longer_than_a_strip(level):
    """70,000 numbers in a row: as level 2."""
    x = rng(7).standard_normal((3, 70_000)).astype(np.float32)
    for block in ((1, None), (None, 7)):
        given, expected = (each.quantize(x, symmetric=False, block=block) for each in (level, plain))
        for got, want, name in zip(given, expected, ("q", "scale", "zero_point"), strict=True):
            assert_close(got, want, tol=0, what=name)
        assert_close(level.dequantize(*given), plain.dequantize(*given), tol=0, what="back")
        got, want = (each.fake_quantize(x, given[1] / 2, given[2], symmetric=False) for each in (level, plain))
        assert_close(got[0], want[0], tol=0, what="out")
        dx = [each.fake_quantize_backward(x, cache) for each, (_, cache) in zip((level, plain), (got, want))]
        assert_close(*dx, tol=0, what="dx")


@pytest.mark.levels(3)
def test_sorted_calibration(level):
    """Large blocks are sorted: the same scales as by passes."""
    x = rng(4).laplace(size=(9000, 4)).astype(np.float32) * np.array([1, 3, 9, 27], np.float32)
    x[4500:, :2] = rng(8).uniform(-1, 1, (4500, 2))             # nothing is to be cut off here
    kept = x.copy()
    for block in (None, (None, 2), (None, 4), (4500, 2)):
        for symmetric in (True, False):
            for bits in (8, 3):
                got = level.calibrate(x, bits, symmetric, block, "mse")
                for one, other in zip(got, plain.calibrate(x, bits, symmetric, block, "mse"), strict=True):
                    assert_close(one, other, tol=1e-7, what="scale or zero point")
    assert_close(x, kept, tol=0, what="x, afterwards")
    far = rng(9).uniform(1000, 1001, 30_000).astype(np.float32)
    for one, other in zip(level.calibrate(far, 8, False, method="mse"), plain.calibrate(far, 8, False, method="mse")):
        assert_close(one, other, tol=1e-6, what="far from zero")
    x = x.astype(np.float64)
    for y in (x, np.minimum(x, 0)):
        for k in (664, -664):                                   # squares that are no floats
            scale, _ = level.calibrate(np.ldexp(y, k), 3, method="mse")
            assert_close(np.ldexp(scale, -k), level.calibrate(y, 3, method="mse")[0], tol=1e-7, what="scale")


@pytest.mark.levels(3)
def test_bytes_held(level):
    """Beyond the result: a strip to quantise, nothing to dequantise, a bit a number to train; 1,024 terms."""
    x = rng(5).standard_normal((2048, 512)).astype(np.float32)
    n, strip = x.size, 4 * 65_536
    scale, zero_point = level.calibrate(x, block=(None, 1))
    q, *_ = level.quantize(x, scale, zero_point)
    assert peak_memory(lambda: level.quantize(x, scale, zero_point)) < n + n + 2 * strip    # isfinite: a byte a number
    assert peak_memory(lambda: level.dequantize(q, scale, zero_point)) < 4 * n + strip
    held = level.fake_quantize(x, scale, zero_point)[1]
    assert sum(mask.nbytes for mask in held[0]) == n // 8
    a, b = rng(6).integers(-128, 128, (2, 600, 1100), np.int8)
    level.int8_matmul(a[:2], b.T[:, :2])                        # the buffers are there
    assert peak_memory(lambda: level.int8_matmul(a, b.T)) < 4 * 600 * 600 + 150_000


@pytest.mark.levels(3)
def test_pieces_and_threads(level):
    """More rows, columns and terms than a piece has; several threads at once, each with buffers of its own."""
    draw = rng(8)
    pairs = [(draw.integers(-128, 128, (530, 1100), np.int8), draw.integers(-128, 128, (1100, 520), np.int8))
             for _ in range(3)]
    expected = [a.astype(float) @ b.astype(float) for a, b in pairs]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda pair: level.int8_matmul(*pair), pairs * 2))
    for got, want in zip(found, expected * 2):
        assert_close(got.astype(float), want, tol=0, what="y")


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("K", [1041, 2049, 65_536])
def test_random_long_rows(level, K):
    """Exact for random integers too, with zero points, in blocks of any remainder."""
    draw = rng(K)
    a, b = draw.integers(-128, 128, (5, K), np.int8), draw.integers(-128, 128, (K, 6), np.int8)
    zeros = draw.integers(-128, 128, 6)
    expected = (a.astype(np.int64) - 99) @ (b.astype(np.int64) - zeros)
    assert_close(level.int8_matmul(a, b, 99, zeros), expected, tol=0, what="y")
