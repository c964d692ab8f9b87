# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:6d42b4e336aec300
"""What kind of mistake is it? From a wrong array and the right one to a sentence."""
from __future__ import annotations

from itertools import combinations, permutations
from math import prod

import numpy as np


def same(a, b, tol: float) -> bool:
    """Are two arrays equal, to `tol` of the largest entry? Never for arrays of zeros.

    Parameters
    ----------
    a, b : ndarray
    """
    if a.shape != b.shape or a.size == 0:
        return False
    scale = np.abs(b).max()
    return bool(scale > 0 and np.isfinite(scale) and np.abs(a - b).max() <= tol * scale)


def diagnose(got: np.ndarray, expected: np.ndarray, tol: float = 1e-5, context=None) -> str:
    """A sentence that names the mistake, or "" where none of the known ones fits.

    Parameters
    ----------
    got, expected : ndarray of any shape
    tol : float
    context : dict of ndarray, optional
        Other arrays of the test (its inputs, its upstream gradients), to compare with.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    numbers = got.dtype.kind in "fciub" and expected.dtype.kind in "fciub"
    if not (numbers and got.size and expected.size):
        return ""
    got, expected = (a.astype(np.result_type(a, 1.0)) for a in (got, expected))
    tol = max(tol, 1e-9)
    for look in KNOWN:
        with np.errstate(all="ignore"):
            said = look(got, expected, tol)
        if said:
            return said
    return ""


def not_numbers(got, expected, tol: float) -> str:
    bad = ~np.isfinite(got) & np.isfinite(np.broadcast_to(expected, got.shape)
                                          if got.shape == expected.shape else 0.0)
    if not bad.any():
        return ""
    kind = "NaN" if np.isnan(got[bad]).any() else "infinite"
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"{kind} in {bad.sum()} of {bad.size} entries, the first at {where}: an overflow, a log or a 0/0?"


def all_zeros(got, expected, tol: float) -> str:
    if not got.any() and expected.any():
        return "everything is zero: was the result never written?"
    return ""


def constant_factor(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    factor = float(np.real((got * expected).sum() / (expected * expected).sum()))
    if factor == 0.0 or not np.isfinite(factor) or not same(got, factor * expected, tol * abs(factor) + tol):
        return ""
    if abs(factor - 1.0) < 10 * tol:
        return ""
    if abs(factor + 1.0) < 10 * tol:
        return "the sign is flipped everywhere"
    name = factor_name(abs(factor), expected.shape, tol)
    sign = "-" if factor < 0 else ""
    return (f"a constant factor: got = {factor:.6g} x expected"
            + (f", which is {sign}{name}" if name else ""))


def factor_name(factor: float, shape: tuple, tol: float) -> str:
    """A name for a positive factor, built from the axes' sizes, e.g. "1/sqrt(64), the size of axis 1"."""
    named = {2.0: "2", 0.5: "1/2", 4.0: "4", 0.25: "1/4", 3.0: "3",
             np.pi: "pi", 2 * np.pi: "2 pi", np.pi / 180: "pi/180 (degrees for radians)",
             180 / np.pi: "180/pi (radians for degrees)", np.log(2): "log 2", 1 / np.log(2): "1/log 2 "
             "(log to base 2)", np.sqrt(2): "sqrt(2)", np.sqrt(0.5): "1/sqrt(2)"}
    sizes = {}
    for count in range(1, len(shape) + 1):
        for axes in combinations(range(len(shape)), count):
            n = prod(shape[a] for a in axes)
            axis = f"axis {axes[0]}" if count == 1 else f"axes {', '.join(map(str, axes))}"
            what = "all entries" if count == len(shape) and count > 1 else f"the size of {axis}"
            sizes.setdefault(n, f"{n}, {what}")
    for n, what in sizes.items():
        if n > 1:
            number, rest = what.split(", ", 1)
            for value, text in ((n, number), (1 / n, f"1/{number}"), (n**0.5, f"sqrt({number})"),
                                (n**-0.5, f"1/sqrt({number})"), (n / (n - 1), f"{n}/({n} - 1)"),
                                ((n - 1) / n, f"({n} - 1)/{n}")):
                named.setdefault(value, f"{text}: {number} is {rest}")
                if abs(value - factor) <= 10 * tol * factor and n > 4:
                    return f"{text} ({number} is {rest})"
    for value, text in named.items():
        if abs(value - factor) <= 10 * tol * factor:
            return text
    square = factor**2 if factor > 1 else factor**-2
    if abs(square - round(square)) < 1e-3 * tol * square + 1e-6 and 1 < round(square) < 1e5:
        n = round(square)
        root = round(n**0.5)
        text = str(root) if root * root == n else f"sqrt({n})"
        return text if factor > 1 else f"1/{text}"
    return ""


def transposed(got, expected, tol: float) -> str:
    if expected.ndim < 2 or expected.ndim > 5:
        return ""
    identity = tuple(range(expected.ndim))
    for order in permutations(identity):
        if order == identity:
            continue
        turned = expected.transpose(order)
        if same(got, turned, tol):
            if expected.ndim == 2:
                return "the result is transposed"
            return f"the axes are permuted: got = expected.transpose{order}"
    for order in permutations(identity):
        flat = expected.transpose(order)
        if same(got.ravel(), flat.ravel(), tol):
            if order == identity:
                return "the right numbers in the wrong shape: a reshape is missing"
            if got.shape == expected.shape:
                return (f"reshaped where a transpose is needed: the numbers stand in the order of "
                        f"expected.transpose{order}")
    return ""


def squeezed(got, expected, tol: float) -> str:
    if got.shape == expected.shape or not same(got.ravel(), expected.ravel(), tol):
        return ""
    if tuple(n for n in got.shape if n != 1) == tuple(n for n in expected.shape if n != 1):
        return "the right numbers, but axes of size one were added or lost (keepdims?)"
    return "the right numbers in the wrong shape: a reshape is missing"


def not_reduced(got, expected, tol: float) -> str:
    if got.ndim == 0 or got.size <= expected.size:
        return ""
    for count in range(1, got.ndim + 1):
        for axes in combinations(range(got.ndim), count):
            for keep in (False, True):
                total = got.sum(axis=axes, keepdims=keep)
                if total.shape != expected.shape:
                    continue
                says = axes[0] if count == 1 else axes
                where = f"axis {axes[0]}" if count == 1 else f"axes {axes}"
                first = np.take(got, 0, axis=axes[0])
                if count == 1 and same(np.broadcast_to(np.expand_dims(first, axes[0]), got.shape), got, tol) \
                        and same(first.reshape(expected.shape), expected, tol):
                    return f"broadcast along {where}: the same values are repeated"
                if same(total, expected, tol):
                    return f"not summed over {where} (the batch?): got.sum({says}) is right"
                number = got.size // expected.size
                if same(total / number, expected, tol):
                    return f"not averaged over {where}: got.mean({says}) is right"
    return ""


def summed_too_far(got, expected, tol: float) -> str:
    if got.size >= expected.size or expected.ndim == 0:
        return ""
    for count in range(1, expected.ndim + 1):
        for axes in combinations(range(expected.ndim), count):
            for keep in (False, True):
                total = expected.sum(axis=axes, keepdims=keep)
                if total.shape == got.shape:
                    where = f"axis {axes[0]}" if count == 1 else f"axes {axes}"
                    if same(got, total, tol):
                        return f"summed over {where}, which should stay"
                    if same(got, total * got.size / expected.size, tol):
                        return f"averaged over {where}, which should stay"
    return ""


def broadcast_for_sum(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    for axis in range(got.ndim):
        n = got.shape[axis]
        if n < 2:
            continue
        total = np.broadcast_to(expected.sum(axis, keepdims=True), got.shape)
        if same(got, total, tol):
            return f"summed over axis {axis} and broadcast back: every entry along it is the sum"
        if same(got, total / n, tol):
            return f"averaged over axis {axis} and broadcast back: every entry along it is the mean"
        flat = np.ptp(got, axis=axis).max() <= tol * np.abs(got).max()
        if flat and same(got.sum(axis), expected.sum(axis), tol):
            return f"constant along axis {axis}, where the values should differ"
    return ""


def shifted(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    for axis in range(got.ndim):
        n = got.shape[axis]
        for by in (1, -1):
            if n < 3:
                continue
            cut = slice(1, None) if by == 1 else slice(None, -1)
            g = got[(slice(None),) * axis + (cut,)]
            e = np.roll(expected, by, axis)[(slice(None),) * axis + (cut,)]
            if same(g, e, tol) and np.ptp(e, axis=axis).any():
                word = "later" if by == 1 else "earlier"
                return f"shifted by one along axis {axis}: entry i stands one place {word}"
    return ""


def reordered(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    for axis in range(got.ndim):
        n = got.shape[axis]
        if n < 2:
            continue
        if same(got, np.flip(expected, axis), tol):
            return f"reversed along axis {axis}"
        if n % 2 == 0 and n > 2:
            halves = np.r_[0:n:2, 1:n:2]
            if same(got, np.take(expected, halves, axis), tol):
                return f"half-split where interleaved is expected, along axis {axis} (evens, then odds)"
            if same(got, np.take(expected, np.argsort(halves), axis), tol):
                return f"interleaved where half-split is expected, along axis {axis}"
            swap = np.arange(n).reshape(-1, 2)[:, ::-1].ravel()
            if same(got, np.take(expected, swap, axis), tol):
                return f"neighbours are swapped in pairs along axis {axis}"
        order = order_along(got, expected, axis, tol)
        if order is not None:
            return f"in another order along axis {axis}: entries {order}"
    sorted_same = same(np.sort(got, None), np.sort(expected, None), tol)
    if np.unique(expected).size > 3 and sorted_same:
        return "the right numbers in other places"
    return ""


def order_along(got, expected, axis: int, tol: float):
    """The permutation p with got = expected[p] along an axis, or None."""
    n = got.shape[axis]
    if n > 64:
        return None
    rows_g, rows_e = (np.moveaxis(a, axis, 0).reshape(n, -1) for a in (got, expected))
    distance = np.abs(rows_g[:, None] - rows_e[None]).max(-1)              # (n, n)
    order = distance.argmin(1)
    if len(set(order.tolist())) < n or (order == np.arange(n)).all():
        return None
    if distance[np.arange(n), order].max() > tol * np.abs(expected).max():
        return None
    return order.tolist() if n <= 12 else f"{order[:8].tolist()} ..."


def signs(got, expected, tol: float) -> str:
    if got.shape != expected.shape or not same(np.abs(got), np.abs(expected), tol):
        return ""
    flipped = (np.sign(got) != np.sign(expected)) & (np.abs(expected) > tol * np.abs(expected).max())
    return f"the sign is flipped in {flipped.sum()} of {flipped.size} entries{region(flipped)}"


def precision(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    error = np.abs(got - expected).max() / np.abs(expected).max()
    for kind, eps in (("float32", 1.2e-7), ("float16", 9.8e-4)):
        if error < 300 * eps and np.array_equal(got, got.astype(kind)) and not np.array_equal(
                expected, expected.astype(kind)):
            return f"computed in {kind}: every value is a {kind} number, and the error is {error:.1g}"
    return ""


def constant_offset(got, expected, tol: float) -> str:
    if got.shape != expected.shape or got.size < 2:
        return ""
    difference = got - expected
    scale = max(np.abs(expected).max(), np.abs(difference).max())
    if np.ptp(difference) <= tol * scale:
        return f"off by a constant: got = expected {difference.mean():+.6g}"
    for axis in range(got.ndim):
        if got.shape[axis] > 2 and np.ptp(difference, axis=axis).max() <= tol * scale:
            return f"off by a constant along axis {axis}, one for each slice: something not subtracted?"
    return ""


def factor_along(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    for axis in range(got.ndim):
        if got.shape[axis] < 3:
            continue
        norm = (expected * expected).sum(axis, keepdims=True)
        dot = (got * expected).sum(axis, keepdims=True)
        factor = np.where(norm > 0, dot / np.where(norm > 0, norm, 1.0), 1.0)
        if same(got, factor * expected, tol) and np.abs(factor).min() > 0:
            return (f"off by a factor that is constant along axis {axis} (from {factor.min():.4g} to "
                    f"{factor.max():.4g}): not normalised along axis {axis}, or along another?")
    return ""


RELATIONS = (("the square of what is expected", np.square), ("the square root of what is expected", np.sqrt),
             ("the logarithm of what is expected", np.log), ("the exponential of what is expected", np.exp),
             ("one over what is expected", np.reciprocal), ("one minus what is expected", lambda e: 1.0 - e),
             ("the absolute value of what is expected", np.abs))


def related(got, expected, tol: float) -> str:
    for text, relation in RELATIONS:
        if got.size > 1 and same(got, relation(expected), tol):
            return f"got is {text}"
    return ""


def partly_right(got, expected, tol: float) -> str:
    if got.shape != expected.shape:
        return ""
    wrong = np.abs(got - expected) > tol * np.maximum(np.abs(expected), np.abs(expected).max() * 1e-3)
    where = region(wrong)
    if where and not wrong.all():
        return f"wrong{where}; right elsewhere"
    error = np.abs(got - expected).max() / np.abs(expected).max()
    if error < 0.02:
        return (f"close, but not equal: off by {error:.1g} of the largest entry "
                "(an epsilon, or an approximation?)")
    return ""


def region(wrong: np.ndarray) -> str:
    """Where the True entries lie, as " only at index 0 of axis 1" or " above the diagonal …", or ""."""
    shape = wrong.shape
    if wrong.ndim >= 2 and shape[-1] == shape[-2] > 2:
        upper = np.broadcast_to(np.triu(np.ones(shape[-2:], bool), 1), shape)
        if not wrong[~upper].any() and wrong[upper].mean() > 0.5:
            return " only above the diagonal of the last two axes (the mask?)"
        lower = np.broadcast_to(np.tril(np.ones(shape[-2:], bool), -1), shape)
        if not wrong[~lower].any() and wrong[lower].mean() > 0.5:
            return " only below the diagonal of the last two axes"
        diagonal = np.broadcast_to(np.eye(shape[-1], dtype=bool), shape)
        if not wrong[~diagonal].any():
            return " only on the diagonal of the last two axes"
    for axis in range(wrong.ndim):
        n = shape[axis]
        hit = np.flatnonzero(np.moveaxis(wrong, axis, 0).reshape(n, -1).any(1))
        if n < 2 or hit.size == 0 or hit.size == n:
            continue
        if hit.size == 1:
            last = ", the last" if hit[0] == n - 1 else ""
            return f" only at index {hit[0]}{last} of axis {axis}"
        if hit.size == n - 1 and n > 2:
            spared = (set(range(n)) - set(hit.tolist())).pop()
            return f" at every index of axis {axis} but {spared}"
        if n > 3 and hit.size == n // 2 and (np.diff(hit) == 2).all():
            return f" only at the {'odd' if hit[0] else 'even'} indices of axis {axis}"
        if hit.size <= n // 2 and (np.diff(hit) == 1).all():
            return f" only at indices {hit[0]} to {hit[-1]} of axis {axis} (size {n})"
    return ""


KNOWN = (not_numbers, all_zeros, constant_factor, transposed, squeezed, not_reduced, summed_too_far, shifted,
         reordered, broadcast_for_sum, signs, precision, constant_offset, factor_along, related, partly_right)
