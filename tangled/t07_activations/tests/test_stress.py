# Tangled from chapters/07-activations.qmd; edit the chapter, then run make tangle. sha256:5e6ff3b51f33dcc0
"""Chapter 07: growth of time and memory, as exponents and ratios, never seconds."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, assert_layouts, rng

pytestmark = pytest.mark.performance
NAMES = ("relu", "leaky_relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "silu", "mish")
IN_PLACE = NAMES[:7]
OPTIONS = {"gelu-tanh": {"approximate": "tanh"}, "elu-low": {"alpha": 0.4},
           "leaky_relu-flat": {"slope": 0.0}, "leaky_relu-steep": {"slope": 2.5}}


def ops(level, name):
    """An op with its options, and its backward; both take `out=`."""
    op, options = name.partition("-")[0], OPTIONS.get(name, {})
    return (lambda x, out=None: getattr(level, op)(x, out=out, **options)), getattr(level, op + "_backward")


def there_and_back(level, name, n, dtype=np.float32):
    x = rng(1).standard_normal(n).astype(dtype)

    def call():
        out, cache = getattr(level, name)(x)
        return getattr(level, name + "_backward")(out, cache)
    return call


@pytest.mark.parametrize("name", ["relu", "gelu", "mish"])
def test_linear_in_the_entries(level, level_number, name):
    """Time O(n): an exponent near 1."""
    start = 256 if level_number == 1 else 1 << 18         # out of the cache
    exponent = growth_exponent(lambda n: there_and_back(level, name, n),
                               [start, 2 * start, 4 * start])
    assert exponent < 1.8, f"time grows as n^{exponent:.2f}"


@pytest.mark.levels(2, 3)
@pytest.mark.parametrize("name", ["leaky_relu", "selu", "gelu"])
def test_float32_takes_half_the_memory(level, name):
    """No temporary of float64 for an x of float32."""
    single, double = (peak_memory(there_and_back(level, name, 200_000, dtype))
                      for dtype in (np.float32, np.float64))
    assert single < 0.75 * double, f"{single / double:.2f} of the memory for float64"


@pytest.mark.levels(2, 3)
def test_negative_cubes_cost_nothing(level):
    """The cubic of GELU's tanh form is as fast left of 0 as right of it: no `**`."""
    x = rng(2).uniform(0.5, 2, 1 << 16).astype(np.float32)
    ratio = time_ratio(lambda: level.gelu(-x, approximate="tanh"),
                       lambda: level.gelu(x, approximate="tanh"))
    assert ratio < 4, f"negative inputs take {ratio:.1f} times as long"


@pytest.mark.levels(3)
@pytest.mark.parametrize("name", [*NAMES, "gelu-tanh"])
def test_level3_memory_is_a_few_blocks(level, name):
    """With out= the peak does not grow with the input: scratch blocks and no more, but for GELU's slope."""
    op, op_backward = ops(level, name)

    def peak(n):
        x, out = np.ones((2, n), np.float32)

        def call():
            _, cache = op(x, out=out)
            op_backward(x if name in IN_PLACE else out, cache, out=x if name in IN_PLACE else out)
        return peak_memory(call) - (x.nbytes if name == "gelu" else 0)
    assert peak(1 << 20) < 1.5 * peak(1 << 17) + 4096


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape", [(1, 2, -1), (-1, 2, 4)])
def test_level3_prelu_memory(level, shape):
    """The same for PReLU, whether the samples are many or one of them is large."""
    def peak(n):
        x, out = np.ones((2, n), np.float32).reshape(2, *shape)
        slope = np.full(2, 0.25, np.float32)
        return peak_memory(lambda: level.prelu_backward(
            out, level.prelu(x, slope, out=out)[1], out=out))
    assert peak(1 << 20) < 1.5 * peak(1 << 17) + 4096


@pytest.mark.levels(3)
@pytest.mark.parametrize("name", NAMES)
def test_level3_writes_where_told(level, name):
    """In place where the output suffices for the gradient; refused where it does not."""
    x, dout = rng(3).standard_normal((2, 5, 7)).astype(np.float32)
    op, op_backward = getattr(level, name), getattr(level, name + "_backward")
    expected, cache = op(x.copy())
    expected_dx = op_backward(dout.copy(), cache)
    if name in IN_PLACE:
        out, cache = op(x, out=x)
        assert out is x, "another array than the one asked for"
    else:
        with pytest.raises(ValueError, match="out shares memory"):
            op(x, out=x)
        out, cache = op(x, out=np.empty_like(x))
    assert_close(out, expected, tol=0, what="out")
    if name != "gelu":                                          # which keeps its slope, not x
        with pytest.raises(ValueError, match="out shares memory"):
            op_backward(dout, cache, out=out if name in IN_PLACE else x)
    assert op_backward(dout, cache, out=dout) is dout, "another array than the one asked for"
    assert_close(dout, expected_dx, tol=1e-7, what="dx")
    transposed = np.empty((7, 5), np.float32).T
    for wrong in (np.empty((5, 6), np.float32), np.empty((5, 7)), transposed, 3):
        with pytest.raises(ValueError, match="out is"):
            op(x, out=wrong)


@pytest.mark.levels(3)
@pytest.mark.parametrize("name", [*NAMES, "prelu"])
def test_level3_joins_its_blocks(level, name):
    """More entries than a block holds, and no multiple: what level 2 gives."""
    from tangled.t07_activations import level2_vectorized as plain
    x = rng(5).standard_normal((3, 2, level.BLOCK // 3 + 5))
    dout, arguments = rng(6).standard_normal(x.shape), ()
    if name == "prelu":
        arguments = (np.array([0.2, 0.7]),)
    results = []
    for module in (level, plain):
        out, cache = getattr(module, name)(x, *arguments)
        results.append((out, getattr(module, name + "_backward")(dout, cache)))
    assert_close(*results, tol=1e-10, what="(out, grads)")


@pytest.mark.levels(3)
@pytest.mark.parametrize("name", [*NAMES, *OPTIONS])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_level3_blocks_of_any_size(level, name, dtype, monkeypatch):
    """In blocks of six, one entry less, as many, one more, two blocks and more: what one block gives."""
    op, op_backward = ops(level, name)
    for n in (5, 6, 7, 12, 13, 23):
        x, dout = (4 * rng(n).standard_normal((2, n))).astype(dtype)
        x[n // 2:] *= 5                                         # the later blocks are far out
        results = []
        for block in (level.BLOCK, 6):
            with monkeypatch.context() as patched:
                patched.setattr(level, "BLOCK", block)
                out, cache = op(x)
                dx = op_backward(dout, cache)
                room = dout.copy()
                results.append((out, dx, op(x, out=np.empty_like(x))[0], op_backward(room, cache, out=room)))
        for got, expected, what in zip(results[1], results[0][:2] * 2, ("out", "dx", "out in out=", "dx in dout")):
            assert_close(got, expected, tol=2e-3 if dtype == np.float16 else 1e-6, what=f"{what}, {n} entries")


@pytest.mark.levels(3)
@pytest.mark.parametrize("shape, slopes", [((4, 3, 7), 3), ((13, 3, 1), 3), ((3, 8, 2), 8), ((5, 4), 1),
                                           ((2, 3, 2), 3)])
def test_level3_prelu_blocks_of_any_size(level, shape, slopes, monkeypatch):
    """PReLU in blocks of six: samples cut among their pixels, many in a block, more channels than it holds."""
    x, dout, slope = *rng(11).standard_normal((2, *shape)), rng(12).uniform(0.1, 0.9, slopes)
    results = []
    for block in (level.BLOCK, 6):
        monkeypatch.setattr(level, "BLOCK", block)
        out, cache = level.prelu(x, slope)
        results.append((out, *level.prelu_backward(dout, cache)))
    for got, expected, what in zip(results[1], results[0], ("out", "dx", "dslope")):
        assert_close(got, expected, tol=1e-12, what=what)


@pytest.mark.levels(3)
def test_level3_prelu_adds_its_blocks_in_float64(level, monkeypatch):
    """2048 and 59 ones, one to a block: float16, adding one by one, would lose the ones."""
    monkeypatch.setattr(level, "BLOCK", 1)
    x, dout = np.ones((2, 60, 2), np.float16)
    dout[0] = 2048
    _, dslope = level.prelu_backward(dout, level.prelu(-x, np.full(2, 0.25, np.float16))[1])
    assert_close(dslope, np.full(2, -2107, np.float16), tol=2e-3, what="dslope")


@pytest.mark.levels(3)
@pytest.mark.parametrize("name", [*NAMES, *OPTIONS])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_level3_out_of_any_layout(level, name, dtype):
    """out= shifted, unaligned, read-only, over the input, over a part of it: right, or refused."""
    f, back = ops(level, name)
    refused = [f"out={way}" for way in ("Fortran order", "transposed", "negative strides",
                                        "every second entry", "offset")]
    x = rng(8).standard_normal((3, 5)).astype(dtype)
    assert_layouts(f, (x,), back, out=True, backward_out=True, leave_out=refused)


@pytest.mark.levels(3)
def test_level3_prelu_out_of_any_layout(level):
    """The same for PReLU."""
    refused = [f"out={way}" for way in ("Fortran order", "transposed", "negative strides",
                                        "every second entry", "offset")]
    x, slope = rng(8).standard_normal((4, 3, 2)), rng(9).uniform(0.1, 0.9, 3)
    assert_layouts(level.prelu, (x, slope), level.prelu_backward, out=True, backward_out=True,
                   leave_out=refused)
    _, cache = level.prelu(x, slope)
    for call in (lambda: level.prelu(x, slope, out=x), lambda: level.prelu_backward(np.ones_like(x), cache, out=x)):
        with pytest.raises(ValueError, match="out shares memory"):
            call()


@pytest.mark.levels(3)
def test_level3_gelu_in_float32(level):
    """Value and slope within 7e-7 and 5e-7 of the exact ones from -30 to 30, by either power."""
    x = np.linspace(-30, 30, 60_001).astype(np.float32)
    wide = x.astype(np.float64)
    gate = level.erfc(-wide / np.sqrt(2)) / 2
    slope = gate + wide * np.exp(-wide ** 2 / 2) / np.sqrt(2 * np.pi)
    chosen = level._power
    try:
        for power in ((np.exp2, 1.0), (np.exp, np.log(2))):
            level._power = lambda power=power: power
            out, cache = level.gelu(x)
            dx = level.gelu_backward(np.ones_like(x), cache)
            off = np.abs(out - wide * gate) - 1.2e-7 * np.abs(wide)
            assert off.max() < 7e-7, f"the value is off by {off.max():.1e}"
            assert np.abs(dx - slope).max() < 5e-7, f"the slope is off by {np.abs(dx - slope).max():.1e}"
            quick, cache = level.gelu(x, approximate="tanh")
            exact, wide_cache = level.gelu(wide, approximate="tanh")
            assert_close(quick, exact.astype(np.float32), tol=1e-5, what="tanh form")
            assert_close(level.gelu_backward(np.ones_like(x), cache),
                         level.gelu_backward(np.ones_like(wide), wide_cache).astype(np.float32),
                         tol=1e-5, what="tanh form, slope")
    finally:
        level._power = chosen


@pytest.mark.levels(3)
def test_level3_selects_nothing(level):
    """A slope as a factor takes well under the time of np.where on random signs."""
    from tangled.t07_activations import level2_vectorized as plain
    x, dout = rng(4).standard_normal((2, 1 << 17)).astype(np.float32)
    _, cache = level.leaky_relu(x)
    _, plain_cache = plain.leaky_relu(x)
    ratio = time_ratio(lambda: plain.leaky_relu_backward(dout, plain_cache),
                       lambda: level.leaky_relu_backward(dout, cache))
    assert ratio > 1.5, f"level 2 takes {ratio:.1f} times as long as level 3"
