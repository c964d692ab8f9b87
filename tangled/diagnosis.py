# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:d3f01dd0a7e6fd37
"""What kind of mistake is it? From a wrong array and the right one to a sentence."""
from __future__ import annotations

from itertools import combinations, permutations
from math import prod

import numpy as np

CONTEXT: dict[str, np.ndarray] = {}            # other arrays of the running test, by name


def diagnose(got, expected, tol: float = 1e-5) -> str:
    """A sentence that names the mistake, or "" where no known one fits.

    Parameters
    ----------
    got, expected : ndarray of any shape
    tol : float
    """
    got, expected = np.asarray(got), np.asarray(expected)
    if not (got.size and expected.size and got.dtype.kind in "fciub" and expected.dtype.kind in "fciub"):
        return ""
    got, expected = (a.astype(np.result_type(a, 1.0)) for a in (got, expected))
    if max(got.size, expected.size) > 1_000_000:
        return ""
    with np.errstate(all="ignore"):
        return next((said for rule in RULES if (said := rule(got, expected, max(tol, 1e-9)))), "")


def moved(expected):
    """(text, array): the right numbers in the wrong places.

    Parameters
    ----------
    expected : ndarray of any shape
    """
    axes = tuple(range(expected.ndim))
    orders = list(permutations(axes))[1:] if len(axes) <= 5 else []
    for order in orders:
        said = "it is transposed" if len(axes) == 2 else f"axes permuted: got = expected.transpose{order}"
        yield said, expected.transpose(order)
    for axis, n in enumerate(expected.shape):
        if n > 1:
            yield f"reversed along axis {axis}", np.flip(expected, axis)
        if n > 2 and n % 2 == 0:
            halves = np.r_[0:n:2, 1:n:2]
            yield (f"half-split where interleaved is expected, along axis {axis} (evens, then odds)",
                   np.take(expected, halves, axis))
            yield (f"interleaved where half-split is expected, along axis {axis}",
                   np.take(expected, np.argsort(halves), axis))
            yield (f"neighbours are swapped, pair by pair, along axis {axis}",
                   np.take(expected, np.arange(n).reshape(-1, 2)[:, ::-1].ravel(), axis))
    for order in orders:
        yield (f"reshaped where a transpose is needed: the numbers stand as in expected.transpose{order}",
               expected.transpose(order).reshape(expected.shape))


def a_factor(got, expected, tol: float) -> str:
    """got = c * expected, with a name for c."""
    if got.shape != expected.shape or not got.size or not expected.any():
        return ""
    factor = float(np.real(np.vdot(expected, got) / np.vdot(expected, expected)))
    if not same(got, factor * expected, tol) or abs(factor - 1.0) < 10 * tol:
        return ""
    if abs(factor + 1.0) < 10 * tol:
        return "the sign is flipped everywhere"
    name = factor_name(abs(factor), expected.shape, 10 * tol)
    if got.size == 1 and not (name or whole(factor, tol)):
        return ""                                  # any two numbers have a ratio
    said = f"a constant factor: got = {factor:.6g} * expected"
    return said + (f"; {abs(factor):.6g} is {name}" if name else "")


def whole(factor: float, tol: float) -> bool:
    """Is a factor, or its inverse, a whole number from 2 to 1000?"""
    size = max(abs(factor), 1.0 / max(abs(factor), 1e-9))
    return 1.5 < size < 1000.5 and abs(size - round(size)) <= 10 * tol * size


def factor_name(factor: float, shape: tuple, tol: float) -> str:
    """Names for a positive factor, such as "1/sqrt(64), 64 being the size of axis 1 of inputs q"."""
    names = []
    for n, what in sizes_of(shape).items():
        for value, text in ((n**0.5, f"sqrt({n})"), (n**-0.5, f"1/sqrt({n})"), (n, f"{n}"), (1 / n, f"1/{n}"),
                            (n / (n - 1), f"{n}/{n - 1}"), ((n - 1) / n, f"{n - 1}/{n}")):
            if abs(value - factor) <= tol * factor:
                names.append((text, f"{text}, {n} being {what}" if text != str(n) else what))
    if names:
        return " or ".join(list(dict(names).values())[:2])
    plain = {np.pi / 180: "pi/180 (degrees for radians)", 180 / np.pi: "180/pi (radians for degrees)",
             np.log(2): "log 2", 1 / np.log(2): "1/log 2 (a logarithm to base 2)", np.log(10): "log 10",
             1 / np.log(10): "1/log 10 (a logarithm to base 10)", 2**0.5: "sqrt(2)", 0.5**0.5: "1/sqrt(2)",
             np.pi: "pi", 2 * np.pi: "2 pi"}
    return next((text for value, text in plain.items() if abs(value - factor) <= tol * factor), "")


def reductions(a):
    """(words, axes, array): sums and means of an array over one or more axes, which stay as 1 or go.

    Parameters
    ----------
    a : ndarray of any shape
    """
    for count in range(1, min(a.ndim, 4) + 1):
        for axes in combinations(range(a.ndim), count):
            for keep in (False, True):
                total = a.sum(axis=axes, keepdims=keep)
                name = axes[0] if count == 1 else axes
                yield "sum", name, total
                yield "mean", name, total * (total.size / a.size)


def reduced(got, expected, tol: float) -> str:
    """Another shape: not summed, summed too far, broadcast, or the same numbers to be reshaped."""
    if got.shape == expected.shape:
        return ""
    if same(got.ravel(), expected.ravel(), tol):
        dropped = [tuple(n for n in a.shape if n != 1) for a in (got, expected)]
        what = "an axis of size one was added or lost (keepdims?)" if dropped[0] == dropped[1] else \
            "a reshape is missing"
        return f"the right numbers; {what}"
    if fits(expected.shape, got.shape) and same(got, np.broadcast_to(expected, got.shape), tol):
        return f"broadcast to {got.shape}: the same numbers are repeated"
    for word, axes, array in reductions(got):
        if same(array, expected, tol):
            done = "summed" if word == "sum" else "averaged"
            return f"not {done} over axis {axes} (the batch?): got.{word}({axes}) is right"
    for word, axes, array in reductions(expected):
        if same(array, got, tol):
            return f"{'summed' if word == 'sum' else 'averaged'} over axis {axes}, which should stay"
    return ""


def partly(got, expected, tol: float) -> str:
    """Right in some region; or nearly right everywhere."""
    if got.shape != expected.shape:
        return ""
    largest = np.abs(expected).max()
    wrong = np.abs(got - expected) > tol * np.maximum(np.abs(expected), 1e-3 * largest)
    if not wrong.all() and (where := region(wrong)):
        return f"wrong{where}, right elsewhere"
    error = np.abs(got - expected).max() / largest
    if error < 0.02:
        return f"close: off by {error:.1g} of the largest entry (an epsilon, an approximation?)"
    return ""


def region(wrong: np.ndarray) -> str:
    """Where the True entries lie: " only above the diagonal", " only at index 0 of axis 1", or "".

    Parameters
    ----------
    wrong : ndarray of bool, of any shape
    """
    if wrong.ndim > 1 and wrong.shape[-1] == wrong.shape[-2] > 2:
        n = wrong.shape[-1]
        for name, part in (("above", ~np.tri(n, dtype=bool)), ("on", np.eye(n, dtype=bool)),
                           ("below", np.tri(n, k=-1, dtype=bool))):
            inside = wrong & part
            if (inside == wrong).all() and inside.sum() > 0.5 * part.sum() * wrong[..., 0, 0].size:
                return f" only {name} the diagonal of the last two axes" + " (the mask?)" * (name == "above")
    for axis, n in enumerate(wrong.shape):
        hit = np.flatnonzero(np.moveaxis(wrong, axis, 0).reshape(n, -1).any(1))
        if said := stretch(hit, n):
            return f" only at {said} of axis {axis}"
    return ""


def same(a, b, tol: float) -> bool:
    """Are two arrays equal, to `tol` of the largest entry? Never for zeros, and never for other shapes.

    Parameters
    ----------
    a, b : ndarray
    """
    if a.shape != b.shape or a.size == 0:
        return False
    scale = np.abs(b).max()
    return bool(scale > 0 and np.isfinite(scale) and np.abs(a - b).max() <= tol * scale)


def first_equal(got, candidates, tol: float) -> str:
    """The text of the first candidate that `got` equals, or "".

    Parameters
    ----------
    got : ndarray
    candidates : iterable of (str, ndarray)
    """
    return next((text for text, array in candidates if same(got, array, tol)), "")


def index_text(index) -> str:
    """(1, 0, 3) as "[1, 0, 3]", and () as ""."""
    return f"[{', '.join(str(int(i)) for i in index)}]" if len(index) else ""


def not_numbers(got, expected, tol: float) -> str:
    """NaN or inf where a number is expected."""
    bad = ~np.isfinite(got)
    if got.shape == expected.shape:
        bad &= np.isfinite(expected)
    if not bad.any():
        return ""
    kind = "NaN" if np.isnan(got[bad]).any() else "inf"
    return (f"{kind} in {bad.sum()} of {bad.size} entries, first at {index_text(np.argwhere(bad)[0])}: "
            "an overflow, a log of 0, or 0/0?")


def nothing_done(got, expected, tol: float) -> str:
    """Zeros; or one of the test's other arrays in the place of the result."""
    if not got.any() and expected.any():
        return "everything is zero: was the result never written?"
    if said := first_equal(got, ((f"it equals {name}", array) for name, array in CONTEXT.items()), tol):
        return said
    scaled = ((f"the upstream gradient is missing: got * {name} is right", got * array)
              for name, array in CONTEXT.items() if "upstream" in name and array.shape == got.shape)
    return first_equal(expected, scaled, tol)


def sizes_of(shape: tuple) -> dict[int, str]:
    """Sizes that a factor may come from: axes of the result, then of the test's other arrays, and products.

    Parameters
    ----------
    shape : tuple of int
        Of the expected array.
    """
    found: dict[int, str] = {}
    shapes = [("the result", shape)] + [(name, array.shape) for name, array in CONTEXT.items()]
    for name, own in shapes:
        for axis, n in enumerate(own):
            found.setdefault(n, f"the size of axis {axis} of {name}")
    for name, own in shapes:
        found.setdefault(prod(own), f"the number of entries of {name}")
        found.setdefault(prod(own[:-1]), f"the number of rows of {name}")
    return {n: what for n, what in found.items() if n > 1}


def misplaced(got, expected, tol: float) -> str:
    """Moved as a whole, shifted, put into another order along an axis, or scattered."""
    if said := first_equal(got, moved(expected), tol):
        return said
    if got.shape != expected.shape:
        return ""
    for axis, n in enumerate(got.shape):
        if said := shifted(np.moveaxis(got, axis, 0), np.moveaxis(expected, axis, 0), tol):
            return f"shifted by one along axis {axis}: entry i {said}"
        order = order_along(got, expected, axis, tol) if 1 < n <= 64 else None
        if order:
            return f"in another order along axis {axis}: expected[{', '.join(map(str, order[:8]))}" + \
                (", ...]" if n > 8 else "]")
    if np.unique(expected).size > 3 and same(np.sort(got, None), np.sort(expected, None), tol):
        return "the right numbers in the wrong places"
    return ""


def shifted(got, expected, tol: float) -> str:
    """Shifted along the first axis, whatever was filled in.

    Parameters
    ----------
    got, expected : ndarray of shape (n, ...)
    """
    if len(got) < 3 or not np.ptp(expected, axis=0).any():
        return ""
    return first_equal(got[1:], [("holds what belongs at i - 1", expected[:-1])], tol) or \
        first_equal(got[:-1], [("holds what belongs at i + 1", expected[1:])], tol)


def order_along(got, expected, axis: int, tol: float) -> list[int]:
    """The permutation p with got = expected[p] along an axis, or [].

    Parameters
    ----------
    got, expected : ndarray of one shape
    """
    n = got.shape[axis]
    rows, wanted = (np.moveaxis(a, axis, 0).reshape(n, -1) for a in (got, expected))
    distance = np.array([np.abs(row - wanted).max(1) for row in rows])     # (n, n)
    order = distance.argmin(1).tolist()
    far = distance.min(1).max() > tol * np.abs(expected).max()
    return [] if far or len(set(order)) < n or order == list(range(n)) else order


def fits(small: tuple, large: tuple) -> bool:
    """Does a shape broadcast to another?"""
    try:
        return np.broadcast_shapes(small, large) == large
    except ValueError:
        return False


def spread(got, expected, tol: float) -> str:
    """The sum or mean over an axis in every place along it."""
    if got.shape != expected.shape:
        return ""
    return first_equal(got, ((f"the {word} over axis {axes} stands in every place along it",
                              np.broadcast_to(array, got.shape))
                             for word, axes, array in reductions(expected)
                             if array.ndim == expected.ndim), tol)


def signs(got, expected, tol: float) -> str:
    """Right but for the sign of some entries."""
    if got.shape != expected.shape or not same(np.abs(got), np.abs(expected), tol):
        return ""
    flipped = np.abs(got - expected) > tol * np.abs(expected).max()
    return f"the sign is flipped in {flipped.sum()} of {flipped.size} entries{region(flipped)}"


def rounded(got, expected, tol: float) -> str:
    """Every value a float32 or float16 number, and close. Round numbers, such as powers of two, show nothing."""
    if got.shape != expected.shape or got.size < 4:
        return ""
    error = np.abs(got - expected).max() / np.abs(expected).max()
    for kind, eps in (("float32", 1.2e-7), ("float16", 9.8e-4)):
        narrow = got.astype(kind)
        round_ones = np.mean(narrow.view(f"u{narrow.itemsize}") & 3 == 0) if narrow.dtype.kind == "f" else 1.0
        coarse = (got == narrow).all() and not (expected == expected.astype(kind)).all()
        if coarse and round_ones < 0.7 and error < 300 * eps:
            return f"computed in {kind}: each value is a {kind} number, the error {error:.1g}"
    return ""


def an_offset(got, expected, tol: float) -> str:
    """got = expected + c, with one c or one for each slice."""
    if got.shape != expected.shape or got.size < 2:
        return ""
    offset = got - expected
    small = tol * max(np.abs(expected).max(), np.abs(offset).max())
    if np.ptp(offset) <= small:
        return f"off by a constant: got = expected {offset.mean():+.6g}"
    for axis in range(got.ndim):
        if got.shape[axis] > 2 and np.ptp(offset, axis=axis).max() <= small:
            return f"off by a constant along axis {axis}, one for each slice: something not subtracted?"
    return ""


def a_factor_along(got, expected, tol: float) -> str:
    """got = c * expected, with another c for each slice: not normalised, or along the wrong axis."""
    if got.shape != expected.shape:
        return ""
    for axis, n in enumerate(got.shape):
        norm = (expected * expected).sum(axis, keepdims=True)
        factor = (got * expected).sum(axis, keepdims=True) / np.where(norm > 0, norm, 1.0)
        if n > 2 and np.abs(factor).min() > 0 and same(got, factor * expected, tol):
            return (f"off by a factor for each slice along axis {axis}, from {factor.min():.4g} to "
                    f"{factor.max():.4g}: not normalised along it, or along another?")
    return ""


def mapped(got, expected, tol: float) -> str:
    """A well-known function of the right result."""
    known = {"the square of": np.square, "the square root of": np.sqrt, "the logarithm of": np.log,
             "the exponential of": np.exp, "the reciprocal of": np.reciprocal, "one minus": lambda e: 1.0 - e,
             "the absolute value of": np.abs}
    return first_equal(got, ((f"it is {name} what is expected", f(expected)) for name, f in known.items()),
                       tol) if got.size > 1 else ""


def stretch(hit: np.ndarray, n: int) -> str:
    """Words for some of the indices 0 to n - 1, or "" where they are too many or have no pattern.

    Parameters
    ----------
    hit : ndarray of int, increasing
    """
    if n < 2 or not 0 < hit.size < n:
        return ""
    if hit.size == 1:
        return f"index {hit[0]}" + (", the last," if hit[0] == n - 1 else "")
    if n > 3 and hit.size == n // 2 and (np.diff(hit) == 2).all():
        return f"the {'odd' if hit[0] else 'even'} indices"
    return f"indices {hit[0]} to {hit[-1]}" if np.ptp(hit) == hit.size - 1 else ""


RULES = (not_numbers, nothing_done, a_factor, reduced, misplaced, spread, signs, rounded, an_offset,
         a_factor_along, mapped, partly)
