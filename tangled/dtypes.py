# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:51cce12f2e9a9997
"""The same op in each type of number that it takes, also at the extremes: `assert_dtypes`."""
from __future__ import annotations

import numpy as np

from tangled.comparing import Mismatch, assert_close
from tangled.layouts import adding, mapped, pair, upstream_of


def assert_dtypes(f, inputs, dtypes=(np.float16, np.float32, np.float64), f_backward=None, reference=None,
                  scales=(1.0, 1e-3, 1e3), extremes=(), refuses=(), tol=None) -> None:
    """An op's results have the dtype of its inputs, and are right for it also at the extremes.

    The reference is computed in float64 from the numbers that the dtype can hold. A result may be infinite
    only where the reference is, or is too large for the dtype. Allowed is an error of `tol` in each entry,
    and 0.03 `tol` of the largest entry.

    Parameters
    ----------
    f : callable
        `f(*inputs) -> (out, cache)` with `f_backward`; without it, an array or a tuple of them.
    inputs : sequence
        Arrays of floats are converted to each dtype; anything else is passed on.
    dtypes : sequence of dtype
        Those the op takes.
    f_backward : callable, optional
        Its gradients are held to the same.
    reference : callable, or (callable, callable), optional
        An independent op (and its backward) for float64. Default: f (and f_backward) in float64, which
        shows what a narrower type loses, but not what is wrong in all of them.
    scales : sequence of float
        The first array of floats is multiplied by each.
    extremes : sequence of inputs
        More inputs, such as logits of +-65504.
    refuses : sequence of dtype
        Dtypes that must be a ValueError, such as `np.int64` for softmax.
    tol : dict or float, optional
        By the bytes of a float; default {2: 2e-3, 4: 2e-5, 8: 1e-10}.

    Raises
    ------
    Mismatch, AssertionError
        naming the dtype and the scale
    """
    given = tol if isinstance(tol, dict) else {} if tol is None else dict.fromkeys((2, 4, 8), tol)
    tol = {2: 2e-3, 4: 2e-5, 8: 1e-10} | given
    g = reference if isinstance(reference, tuple) else (reference or f, None if reference else f_backward)
    cases = [(f"scale {s:g}", scaled_first(inputs, s)) for s in scales]
    cases += [(f"extreme inputs {i}", case) for i, case in enumerate(extremes)]
    for dtype in map(np.dtype, dtypes):
        for said, case in cases:
            with adding(f"in {dtype}, {said}"), np.errstate(all="ignore"):
                one_dtype(f, f_backward, g, cast(case, dtype), dtype, tol[dtype.itemsize])
    for dtype in map(np.dtype, refuses):
        refuse_dtype(f, cast(inputs, dtype), dtype)


def one_dtype(f, f_backward, reference, inputs, dtype, tol: float) -> None:
    """Results in one dtype against those of the reference in float64."""
    wide = cast(inputs, np.float64)
    result, expected = f(*inputs), reference[0](*wide)
    if f_backward is None:
        return compare_typed(result, expected, dtype, tol, "the result")
    (out, cache), (wide_out, wide_cache) = pair(result), pair(expected)
    compare_typed(out, wide_out, dtype, tol, "out")
    if reference[1] is not None:
        dout = cast(upstream_of(wide_out), dtype)
        grads = reference[1](cast(dout, np.float64), wide_cache)
        compare_typed(f_backward(dout, cache), grads, dtype, tol, "the gradients")


def compare_typed(got, expected, dtype, tol: float, what: str) -> None:
    """dtype, and value to the accuracy of it; an integer or boolean result must be exactly the same."""
    if isinstance(expected, (tuple, list, dict)):
        expected, got = (list(v.values()) if isinstance(v, dict) else v for v in (expected, got))
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            raise Mismatch(what, f"{what}: expected a tuple of {len(expected)}, got a {type(got).__name__}")
        for i, (one, other) in enumerate(zip(got, expected)):
            compare_typed(one, other, dtype, tol, f"{what}[{i}]")
        return
    if expected is None and got is None:
        return
    expected = np.asarray(expected)
    if expected.dtype.kind != "f":
        return assert_close(np.asarray(got), expected, 0.0, what)
    if type(got) is not float and getattr(got, "dtype", None) != dtype:
        raise Mismatch(what, f"{what} is of type {getattr(got, 'dtype', type(got).__name__)}, expected {dtype}",
                       None, expected)
    got = np.asarray(got, np.float64)
    if got.shape != expected.shape:
        raise Mismatch.of(what, f"{what} has shape {got.shape}, expected {expected.shape}", got, expected)
    wrong = far_off(got, expected, dtype, tol)
    if wrong.any():
        worst = tuple(np.argwhere(wrong)[0])
        raise Mismatch.of(what, f"{what}: {wrong.sum()} of {wrong.size} entries are wrong for {dtype} (tolerance "
                          f"{tol:g}), first {what}{[int(i) for i in worst]}: got {got[worst]:.6g}, "
                          f"expected {expected[worst]:.6g}", got, expected, tol)


def far_off(got, expected, dtype, tol: float) -> np.ndarray:
    """Where a result in `dtype`, shown as float64, is further from the float64 reference than it may be."""
    limits, size = np.finfo(dtype), np.abs(expected)
    fits = np.isfinite(expected) & (size <= float(limits.max))
    largest = size[fits].max(initial=0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(got - expected) <= tol * (size + 0.03 * largest) + 4 * float(limits.smallest_subnormal)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    over = (size >= (1 - tol) * float(limits.max)) & (got == np.copysign(np.inf, expected))
    return ~(near | same | over)


def refuse_dtype(f, inputs, dtype) -> None:
    """A dtype that an op does not take is a ValueError."""
    try:
        f(*inputs)
    except ValueError:
        return
    raise AssertionError(f"{getattr(f, '__name__', 'f')} accepts {dtype}, expected a ValueError")


def cast(value, dtype):
    """A nested value with its arrays of floats in another dtype."""
    return mapped(value, lambda x: x.astype(dtype) if x.dtype.kind == "f" else x)


def scaled_first(inputs, scale: float):
    """The inputs, the first array of floats in them times `scale`."""
    done = []

    def change(x):
        if done or x.dtype.kind != "f":
            return x
        done.append(True)
        return x * x.dtype.type(scale)
    return mapped(inputs, change)
