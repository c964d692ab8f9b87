# Tangled from chapters/33-quantization.qmd; edit the chapter, then run make tangle. sha256:a69b265b3db02bc2
"""Chapter 33: what is empty, single, laid out otherwise, or invalid."""

import numpy as np
import pytest

from tangled.testing import assert_close, assert_layouts, expect_value_error, rng

pytestmark = pytest.mark.edge

X = np.ones((4, 6))
A, B = np.ones((3, 5), np.int8), np.ones((5, 4), np.int8)


@pytest.mark.parametrize("argument, value", [
    ("x", np.ones((4, 6), int)), ("x", X * np.nan), ("x", X * np.inf), ("bits", 1), ("bits", 9), ("bits", 8.0),
    ("bits", True), ("symmetric", 1), ("symmetric", None), ("block", (2,)), ("block", (3, 1)), ("block", 2),
    ("block", (2, 0)), ("block", (2, -1)), ("block", (2.0, 1)), ("method", "max"), ("method", None),
    ("percentile", 49), ("percentile", 101), ("percentile", None), ("percentile", np.nan)])
def test_calibrate_refuses(level, argument, value):
    """No numbers, no grid, blocks that do not divide."""
    expect_value_error(argument, level.calibrate, **{"x": X, "method": "percentile", argument: value})


@pytest.mark.parametrize("argument, value", [
    ("x", np.ones(3, int)), ("x", X * np.nan), ("x", -X * np.inf), ("scale", np.zeros(())), ("scale", np.array(-1.0)),
    ("scale", np.array(np.inf)), ("scale", np.array(np.nan)), ("scale", np.array(1)), ("scale", np.ones(6)),
    ("scale", np.ones((4, 4))), ("scale", np.ones((0, 6))), ("scale", np.ones((8, 6))), ("zero_point", np.array(0.0)),
    ("zero_point", np.array(128)), ("zero_point", np.array(-129)), ("zero_point", np.zeros(6, int)),
    ("bits", 0), ("symmetric", "no")])
def test_quantize_and_fake_refuse(level, argument, value):
    """Scales that are none, that do not fit, zero points that are no integers of the grid."""
    given = {"x": X, "scale": np.array(0.1), "zero_point": np.array(3), "symmetric": False, argument: value}
    expect_value_error(argument, level.quantize, **given)
    expect_value_error(argument, level.fake_quantize, **given)
    if argument in ("scale", "zero_point"):
        given = {k: given[k] for k in ("scale", "zero_point")}
        expect_value_error(argument, level.dequantize, np.ones((4, 6), np.int8), **given)


def test_refuses_more(level):
    """A shifted symmetric grid, upstream gradients of another shape, integers of another type."""
    for f in (level.quantize, level.fake_quantize):
        expect_value_error("zero_point", f, X, np.array(0.1), np.array(3))
        expect_value_error("zero_point", f, X, np.array(0.1), np.array(9), bits=4, symmetric=False)
        for scale in (1e-50, 1e300):                            # 0 and inf as float32
            expect_value_error("scale", f, X.astype(np.float32), np.array(scale))
    _, cache = level.fake_quantize(X, np.array(0.1))
    for dout in (X[:1], X.astype(int), X[0]):
        expect_value_error("dout", level.fake_quantize_backward, dout, cache)
    expect_value_error("q", level.dequantize, X, np.array(0.1))
    for q in (A.astype(int), np.int8(3), 8 * A, -9 * A):
        expect_value_error("q", level.pack_int4, q)
    for n in (2, 5, -1, 4.0):
        expect_value_error("n", level.unpack_int4, np.ones((2, 2), np.uint8), n)
    expect_value_error("packed", level.unpack_int4, A, 9)


@pytest.mark.parametrize("argument, value", [
    ("a", A.astype(int)), ("a", np.int8(1)), ("b", B.astype(np.uint8)), ("b", B[:4]), ("b", B[0]), ("b", B[None]),
    ("a_zero", 128), ("a_zero", -129), ("a_zero", 1.0), ("a_zero", None), ("b_zero", 128),
    ("b_zero", np.ones(3, int)), ("b_zero", np.ones(4)), ("b_zero", np.array([0, 0, 0, -129]))])
def test_product_refuses(level, argument, value):
    """Other dtypes, shapes that do not fit, zero points outside of int8."""
    expect_value_error(argument, level.int8_matmul, **{"a": A, "b": B, argument: value})


def test_messages(level):
    """A message names the argument, what was found and what was expected."""
    with pytest.raises(ValueError) as caught:
        level.calibrate(X, block=(3, 1))
    assert str(caught.value) == "block = (3, 1); expected sizes that divide (4, 6)"


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
@pytest.mark.parametrize("shape, block", [((), None), ((1,), None), ((0,), None), ((0,), (None,)), ((3, 0), (1, None)),
                                          ((0, 4), (None, 1)), ((0, 4), (1, 1)), ((1, 1), (1, 1)), ((1, 5), (1, 5))])
def test_small(level, method, shape, block):
    """Nothing, one number, a number without axes."""
    x = rng(5).standard_normal(shape)
    for symmetric in (True, False):
        scale, zero_point = level.calibrate(x, 8, symmetric, block, method)
        q, *_ = level.quantize(x, scale, zero_point, 8, symmetric)
        out, cache = level.fake_quantize(x, scale, zero_point, 8, symmetric)
        dx = level.fake_quantize_backward(np.ones(shape), cache)
        back = level.dequantize(q, scale, zero_point)
        assert [np.shape(a) for a in (q, out, dx, back)] == [shape] * 4
        assert (scale > 0).all()
        if method == "minmax" and x.size == 1:
            assert_close(back, x, tol=1e-6, what="one number")


def test_small_products(level):
    """No rows, no columns, no terms; a vector; one of each."""
    for shape, (K, N) in (((0,), (3, 2)), ((2,), (3, 0)), ((2,), (0, 3)), ((), (4, 3)), ((1,), (1, 1)),
                          ((2, 0), (3, 2))):
        a, b = np.full((*shape, K), -3, np.int8), np.full((K, N), 5, np.int8)
        for zeros in ((0, 0), (2, 1), (2, np.full(N, 1))):
            y = level.int8_matmul(a, b, *zeros)
            assert y.dtype == np.int32
            expected = K * (-3 - zeros[0]) * (5 - np.max(zeros[1], initial=0))
            assert_close(y, np.full((*shape, N), expected if N else 0), tol=0, what="y")
    for shape in ((0,), (3, 0), (0, 4), (1,), (2, 1)):
        q = np.full(shape, -8, np.int8)
        assert_close(level.unpack_int4(level.pack_int4(q), shape[-1]), q, tol=0, what="unpacked")


def test_memory_layouts(level):
    """What counts is the array, not how it lies in memory."""
    x, scale = rng(0).standard_normal((6, 4)), np.array([[0.1, 0.2], [0.3, 0.01], [0.5, 1.0]])
    zero_point = np.array([[1, 2], [3, 4], [-5, 0]])
    for block in (None, (None, 1), (2, 2)):
        for method in ("minmax", "percentile", "mse"):
            assert_layouts(lambda x, b=block, m=method: level.calibrate(x, 5, False, b, m), [x])
    assert_layouts(lambda x, s, z: level.quantize(x, s, z, 8, False), [x, scale, zero_point])
    assert_layouts(lambda x, s, z: level.fake_quantize(x, s, z, 8, False), [x, scale, zero_point],
                   level.fake_quantize_backward)
    q, b = rng(1).integers(-8, 8, (2, 6, 4), np.int8), rng(2).integers(-128, 128, (4, 5), np.int8)
    assert_layouts(level.dequantize, [q[0], scale, zero_point])
    assert_layouts(lambda a, b, z: level.int8_matmul(a, b, 7, z), [q, b, np.arange(5)])
    assert_layouts(level.pack_int4, [q])
    assert_layouts(lambda p: level.unpack_int4(p, 7), [q.astype(np.uint8)])
