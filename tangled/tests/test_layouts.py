# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:f1ca2250e7f96d12
"""Layouts, dtypes and second calls: faults planted, each of which must be named."""
import numpy as np
import pytest

from tangled.testing import LAYOUTS, assert_dtypes, assert_layouts, assert_repeatable, rng

X, W = rng(1).standard_normal((4, 3)), rng(2).standard_normal((3, 5))


def linear(x, w, out=None):
    if out is not None and any(s == 0 for s in out.strides):
        raise ValueError("out has entries that lie on one another; expected an array of its own")
    return np.matmul(x, w, out=out), (x, w)


def linear_backward(dout, cache, out=None):
    x, w = cache
    return np.matmul(dout, w.T, out=out), x.T @ dout


def halves(x, out=None):
    """Refuses room that overlaps itself or an input, as an op may."""
    if out is not None and (np.may_share_memory(x, out) or lies_on_itself(out)):
        raise ValueError("out overlaps; expected an array of its own")
    return np.multiply(x, 0.5, out=out)


def lies_on_itself(x):
    """Do some entries share their place? By increasing stride, each axis must step over those before it."""
    reach = 0
    for stride, n in sorted((abs(s), n) for s, n in zip(x.strides, x.shape) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


def test_right_ops_pass():
    assert_layouts(linear, [X, W], linear_backward, names=["x", "w"])
    assert_layouts(halves, [X], out=True)
    assert_layouts(lambda parts, k: [k * p for p in parts], [[X, W], 3])
    assert_dtypes(lambda x: np.maximum(x, 0), [X])
    assert_repeatable(linear, [X, W], linear_backward)
    assert_layouts(np.transpose, [X], views=True)
    assert {"Fortran order", "negative strides", "read-only", "overlapping"} <= set(LAYOUTS)


def through_reshape(x):
    """Writes into a copy unless x is in C order."""
    out = np.empty_like(x)
    out[...] = 0
    out.reshape(-1)[...] = x.ravel()
    return out


def sees_gaps(x):
    """Reads the memory of x as if it were in C order."""
    return np.lib.stride_tricks.as_strided(x, x.shape, (x.shape[1] * 8, 8)).copy()


def in_place(x):
    x -= x.max()
    return np.exp(x)


def fills_around(x, out=None):
    out = np.empty_like(x) if out is None else out
    owner = out if out.base is None else out.base
    owner[...] = 0 if owner.dtype == out.dtype else owner
    return np.add(x, 1, out=out)


@pytest.mark.parametrize("f, more, words", [
    (through_reshape, {}, "layout 'Fortran order'"), (lambda x: x, {}, "that of an input"),
    (sees_gaps, {"leave_out": ["Fortran order", "transposed"]}, "layout 'negative strides'"),
    (in_place, {}, "changed in place"), (lambda x: x.astype(np.float32) if x.strides[0] < 0 else 1 * x, {}, "float32"),
    (lambda x: (b := x * 2, b.T), {}, "two of the result share memory"),
    (lambda x, out=None: x * 2, {"out": True}, "not in the array that was given"),
    (lambda x, out=None: np.add(x, 1, out=out), {"out": True}, "zero stride"),
    (fills_around, {"out": True}, "beside the array"),
    (lambda x, out=None: np.cumsum(x, axis=0, out=None if out is None else out.copy()), {"out": True}, "not in"),
])
def test_layout_faults(f, more, words):
    with pytest.raises(AssertionError, match=words):
        assert_layouts(f, [X], **more)


def test_out_faults():
    """`out=` of a backward, a read-only room that is accepted, an input as room"""
    def stale(x, out=None):
        if out is not None and (lies_on_itself(out) or not out.flags.writeable):
            raise ValueError("out")
        out = np.empty_like(x) if out is None else out
        out[...] = 0
        out += x
        return out
    with pytest.raises(AssertionError, match="of its own inputs"):
        assert_layouts(stale, [X], out=True)
    assert_layouts(stale, [X], out=True, leave_out=["out=an input", "out=an input, shifted"])
    with pytest.raises(AssertionError, match="backward with out= in layout 'zero stride'"):
        assert_layouts(linear, [X, W], linear_backward, backward_out=True)
    with pytest.raises(AssertionError, match="read-only"):
        assert_layouts(lambda x, out=None: halves(x, out if out is None or out.flags.writeable else None), [X],
                       out=True)


def test_upstream_faults():
    """The upstream gradient returned, changed, or read in the wrong order"""
    forward = lambda x: (x + 1, None)
    for backward, words in ((lambda d, _: d, "that of the upstream gradient"),
                            (lambda d, _: np.multiply(d, 2, out=d), "changed in place"),
                            (lambda d, _: sees_gaps(d), "upstream gradient in layout")):
        with pytest.raises(AssertionError, match=words):
            assert_layouts(forward, [X], backward)


@pytest.mark.parametrize("f, words", [
    (lambda x: x.astype(np.float64), "of type float64, expected float16"),
    (lambda x: np.exp(x) / (1 + np.exp(x)), "float16, scale 1: "),
    (lambda x: np.sqrt(x * x), "float16, scale 1000"),
    (lambda x: x.astype(np.float32) * 1.001, "expected float16")])
def test_dtype_faults(f, words):
    x = 20 + np.arange(48.0).reshape(6, 8)
    with pytest.raises(AssertionError, match=words):
        assert_dtypes(f, [x])


def test_dtypes_against_a_reference():
    wrong = lambda x: (x * x.dtype.type(1.01), None)
    back = lambda d, c: d * d.dtype.type(1.01)
    assert_dtypes(wrong, [X], f_backward=back)                      # consistently wrong
    with pytest.raises(AssertionError, match="out: 12 of 12"):
        assert_dtypes(wrong, [X], f_backward=back, reference=lambda x: (x * 1.0, None))
    with pytest.raises(AssertionError, match="the gradients"):
        assert_dtypes(lambda x: (1 * x, None), [X], f_backward=back,
                      reference=(lambda x: (1 * x, None), lambda d, c: d))
    big = [np.array([60000.0, -60000.0])]
    assert_dtypes(lambda x: x * 2, [X], extremes=[big])             # too large for float16: infinite
    with pytest.raises(AssertionError, match="extreme inputs 0"):
        assert_dtypes(lambda x: np.sqrt(x * x), [np.abs(X) + 1], scales=[1], extremes=[big])
    with pytest.raises(AssertionError, match="accepts float32"):
        assert_dtypes(lambda x: x * 2, [X], dtypes=[np.float64], refuses=[np.float32])


BUFFER = np.empty((4, 3))


def test_second_call_faults():
    def overwrites(d, cache):
        cache *= d
        return cache.copy()

    def once(d, cache):
        if not cache:
            raise RuntimeError("the cache is used up; expected one backward a forward")
        return d * cache.pop()
    own = lambda x: (x + 1, x.copy())
    for f, b, words in (
            (lambda x: np.add(x, 1, out=BUFFER), None, "two calls share memory"),
            (own, overwrites, "backward called twice"),
            (lambda x: (x + 1, np.copyto(BUFFER, x)), lambda d, c: d * BUFFER, "forward pass on other numbers"),
            (own, lambda d, c: np.clip(d, -1, 1) * c, "twice the upstream"),
            (own, lambda d, c: np.multiply(d, c, out=BUFFER), "called twice"),
            (own, lambda d, c: np.multiply(d, c, out=d), "changed in place|backward called twice")):
        with pytest.raises(AssertionError, match=words):
            assert_repeatable(f, [X], b)
    assert_repeatable(lambda x: (x + 1, [x.copy()]), [X], once)     # refused, and said


def test_a_module_has_one_cache():
    class Doubled:
        def forward(self, x):
            self.x = x.copy()
            return x * x, None

        def backward(self, d, cache=None):
            return 2 * d * self.x
    m = Doubled()
    assert_repeatable(m.forward, [X], m.backward, interleave=False)
    with pytest.raises(AssertionError, match="other numbers"):
        assert_repeatable(m.forward, [X], m.backward)
