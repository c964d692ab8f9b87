# Tangled from chapters/14-resnet.qmd; edit the chapter, then run make tangle. sha256:686b5fa6a155e3e5
"""Chapter 14: depth, memory and time, as counts and ratios."""

import numpy as np
import pytest

from tangled.measuring import growth_exponent, peak_memory, time_ratio
from tangled.testing import assert_close, rng

pytestmark = pytest.mark.performance


def step(level, shape, filters, dtype=np.float32):
    """A function that runs a block with a projection, forward and backward."""
    C = shape[1]
    shapes = (filters, C, 3, 3), (filters,), (filters,), (filters, filters, 3, 3), (filters,), (filters,), \
        (filters, C, 1, 1), (filters,), (filters,)
    x, *given = (rng(k).standard_normal(s).astype(dtype) for k, s in enumerate((shape, *shapes)))

    def call():
        out, cache = level.basic_block(x, *given)
        return level.basic_block_backward(out, cache)
    return call


def through(level, blocks, zero, preactivation=True, shape=(2, 6, 5, 4)):
    """Norm of the gradient in front of a stack of blocks with He's weights, relative to that behind it."""
    (draw, steps), channels = (rng(1), []), shape[1]
    x = np.abs(draw.standard_normal(shape))
    one, shift = np.ones(channels), np.zeros(channels)
    for _ in range(blocks):
        w1, w2 = draw.normal(0, (2 / (9 * channels)) ** 0.5, (2, channels, channels, 3, 3))
        last, scale = (w2 * (not zero), one) if preactivation else (w2, one * (not zero))
        x, cache = level.basic_block(x, w1, one, shift, last, scale, shift, preactivation=preactivation)
        steps.append(cache)
    d = upstream = draw.standard_normal(x.shape)
    for cache in reversed(steps):
        d = level.basic_block_backward(d, cache)[0]
    return np.linalg.norm(d) / np.linalg.norm(upstream)


@pytest.mark.parametrize("preactivation", [False, True])
def test_gradients_pass_zero_blocks_unchanged(level, preactivation):
    """Twelve blocks at the start: each is the identity for all but the zeros of a ReLU."""
    assert_close(through(level, 12, True, preactivation), 1.0, tol=1e-12, what="ratio of norms")


@pytest.mark.levels(2, 3, 4)
def test_gradients_grow_as_a_power_of_the_depth(level):
    """He's weights, against the product of eq. 14.9; half and twice are allowed."""
    c, v = np.pi / (np.pi - 1), 1 - 2 / np.pi                   # v_0 of the absolute values that go in
    for blocks in (3, 12):
        ratio = through(level, blocks, False, shape=(4, 12, 10, 11))
        wanted = np.prod(1 + c / (v + np.arange(blocks) / c)) ** 0.5
        assert wanted / 2 < ratio < 2 * wanted, f"{ratio:.1f} after {blocks} blocks"


def test_memory_is_linear_in_the_batch(level):
    """No matrix of all outputs against all inputs."""
    exponent = growth_exponent(lambda n: step(level, (n, 2, 4, 4), 2), [8, 16, 32], measure="memory")
    assert exponent < 1.3, f"memory grows as N^{exponent:.2f}"


@pytest.mark.levels(2, 3)
def test_vectorised_beats_loops(level):
    """Levels 2 and 3 are many times as fast as the loops."""
    from tangled.t14_resnet import level1_naive as loops
    shape = (2, 4, 6, 6)
    ratio = time_ratio(step(loops, shape, 4), step(level, shape, 4), rounds=2)
    assert ratio > 8, f"only {ratio:.1f} times as fast as the loops"


@pytest.mark.levels(3)
def test_level3_needs_a_third_of_the_memory(level):
    """Level 2 keeps the columns of three convolutions; level 3 keeps what went through them."""
    from tangled.t14_resnet import level2_vectorized as plain
    lean, other = (peak_memory(step(m, (8, 16, 16, 16), 16)) for m in (level, plain))
    assert lean < other / 3, f"{lean / other:.2f} of level 2's peak"


@pytest.mark.levels(3)
@pytest.mark.parametrize("side", [3, 15, 16])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_level3_convolutions(level, side, stride, kernel):
    """Projections, and what is left to chapter 12, for odd and even sides: against chapter 12."""
    from tangled.t12_im2col import conv2d, conv2d_backward
    module = level.Conv2d(3, 5, kernel, stride, kernel // 2, bias=False, rng=rng(2)).astype(np.float64)
    x = rng(3).standard_normal((2, 3, side, side + 2))
    out, cache = conv2d(x, module.weight.data, None, stride, kernel // 2)
    assert_close(module(x), out, tol=1e-10, what="out")
    dout = rng(4).standard_normal(out.shape)
    dx, dw = conv2d_backward(dout, cache)
    assert_close(module.backward(dout), dx, tol=1e-10, what="dx")
    assert_close(module.weight.grad, dw, tol=1e-10, what="dw")


@pytest.mark.levels(3)
@pytest.mark.parametrize("options", [{"bias": True}, {"dilation": 2}, {"groups": 2}, {"padding": (0, 2)},
                                     {"padding": 0}, {"kernel_size": 1}, {"kernel_size": 1, "padding": 0},
                                     {"kernel_size": (3, 1), "padding": (1, 0)}, {"stride": (1, 2)}])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_level3_convolutions_with_other_knobs(level, options, dtype):
    """What projections do not know goes to chapter 12's; all give what its level 2 gives."""
    from tangled.t12_im2col import Conv2d
    given = {"kernel_size": 3, "padding": 1, "bias": False, **options}
    pair = [kind(4, 6, rng=rng(5), **given).astype(dtype) for kind in (level.Conv2d, Conv2d)]
    x = rng(6).standard_normal((2, 4, 5, 7)).astype(dtype)
    out, expected = (module(x) for module in pair)
    tol = 1e-10 if dtype == np.float64 else 1e-2
    assert_close(out, expected, tol=tol, what="out", dtype=dtype)
    dout = rng(7).standard_normal(out.shape).astype(dtype)
    for got, want, name in zip(*[(m.backward(dout), m.weight.grad) for m in pair], ("dx", "dw")):
        assert_close(got, want, tol=tol, what=name, dtype=dtype)
