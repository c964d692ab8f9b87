# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:69d8c71ac34b8e87
"""Comparing what came out with what should have: `assert_close`, `expect_value_error`, `Mismatch`."""
from __future__ import annotations

import numpy as np

from tangled.diagnosis import diagnose, index_text


def allowed_error(expected: np.ndarray, tol: float) -> np.ndarray:
    """How far each entry may be off.

    Relative to the entry, but never finer than `tol` times the largest entry (or `tol`, where the
    largest is above one): an all-zero result never passes for a small one.

    Parameters
    ----------
    expected : ndarray of any shape
    tol : float

    Returns
    -------
    ndarray of the same shape
    """
    size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
    largest = size.max() if size.size else 0.0
    return tol * np.maximum(size, min(1.0, largest) if largest > 0.0 else 1.0)


def wrong_entries(got: np.ndarray, expected: np.ndarray, tol: float) -> np.ndarray:
    """Where two arrays of one shape differ by more than is allowed; NaN equals NaN, inf equals inf.

    Parameters
    ----------
    got, expected : ndarray of one shape

    Returns
    -------
    ndarray of bool, of the same shape
    """
    if expected.dtype.kind not in "fciub" or got.dtype.kind not in "fciub":
        return got != expected
    with np.errstate(invalid="ignore", over="ignore"):
        far = ~(np.abs(got - expected.astype(np.result_type(expected, 1.0))) <= allowed_error(expected, tol))
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return far & ~same


class Mismatch(AssertionError):
    """A wrong result. It keeps both arrays, so that others can ask what kind of mistake it is.

    Attributes
    ----------
    what : str
        Name of the quantity, e.g. "dx".
    got, expected : ndarray or None
        None where the result was no array at all.
    """

    def __init__(self, what: str, text: str, got=None, expected=None):
        self.what, self.text, self.got, self.expected = what, text, got, expected
        super().__init__(text)

    @classmethod
    def of(cls, what: str, text: str, got, expected, tol: float = 1e-5):
        """A Mismatch with the diagnosis on a line of its own."""
        hint = diagnose(got, expected, tol)
        return cls(what, text + (f"\n{hint}" if hint else ""), got, expected)


def assert_close(got, expected, tol: float = 1e-5, what: str = "result", dtype=None) -> None:
    """Shape, kind of number, NaN and value: all must agree, or a Mismatch says how they do not.

    Parameters
    ----------
    got : ndarray of shape S, or a tuple or dict of such
    expected : ndarray of shape S, or a tuple or dict of such
    tol : float
        Relative error allowed in every entry (see `allowed_error`).
    what : str
        The name that the message uses, such as "dx".
    dtype : dtype, optional
        Demand exactly this type, e.g. float32 in and float32 out.
    """
    if isinstance(expected, (tuple, list, dict)):
        return assert_all_close(got, expected, tol, what, dtype)
    expected = np.asarray(expected)
    got = as_result(got, what, expected)
    if got.shape != expected.shape:
        text = f"{what} has shape {got.shape}, expected {expected.shape}"
        raise Mismatch.of(what, text, got, expected, tol)
    kinds = KINDS.get(got.dtype.kind), KINDS.get(expected.dtype.kind)
    if kinds[0] != kinds[1]:
        raise Mismatch(what, f"{what} is of type {got.dtype}, "
                       f"expected {kinds[1] or expected.dtype} numbers", got, expected)
    if dtype is not None and got.dtype != np.dtype(dtype):
        raise Mismatch(what, f"{what} is of type {got.dtype}, expected {np.dtype(dtype)}", got, expected)
    wrong = wrong_entries(got, expected, tol)
    if wrong.any():
        raise value_mismatch(got, expected, wrong, tol, what)


KINDS = {"f": "floating", "c": "complex", "i": "integer", "u": "integer", "b": "boolean"}


def rng(seed: int = 0) -> np.random.Generator:
    """A seeded generator: the only source of random numbers in the book's tests."""
    return np.random.default_rng(seed)


def number_text(value) -> str:
    """A number in six digits, whatever its type."""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)


def as_result(got, what: str, expected: np.ndarray) -> np.ndarray:
    """The result as an array, or a Mismatch that says what it is instead."""
    if isinstance(got, np.ndarray):
        return got
    if isinstance(got, (np.generic, float, int, complex)) and expected.ndim == 0:
        return np.asarray(got)
    if got is None:
        said = "is None: is a return missing?"
    else:
        said = f"is a {type(got).__name__}, not an array"
    raise Mismatch(what, f"{what} {said} (expected an array of shape {expected.shape})", None, expected)


def worst_entry(got: np.ndarray, expected: np.ndarray, wrong: np.ndarray) -> tuple:
    """The index of the largest error; an entry that is not a number counts as the largest.

    Parameters
    ----------
    got, expected : ndarray of one shape
    wrong : ndarray of bool, of the same shape
    """
    if expected.dtype.kind not in "fciub":
        return tuple(np.argwhere(wrong)[0])
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.result_type(got, 1.0)) - expected)
    error = np.where(wrong, np.nan_to_num(error, nan=np.inf, posinf=np.inf), -1.0)
    return tuple(np.unravel_index(np.argmax(error), error.shape))


def value_mismatch(got, expected, wrong, tol: float, what: str) -> Mismatch:
    """The message for arrays of one shape whose values differ: how many, the worst, and the diagnosis.

    Parameters
    ----------
    got, expected : ndarray of one shape
    wrong : ndarray of bool, of the same shape
    """
    worst = worst_entry(got, expected, wrong)
    text = (f"{what}: {wrong.sum()} of {wrong.size} entries are wrong (tolerance {tol:g}); worst "
            f"{what}{index_text(worst)}: got {number_text(got[worst])}, "
            f"expected {number_text(expected[worst])}")
    return Mismatch.of(what, text, got, expected, tol)


def assert_all_close(got, expected, tol: float, what: str, dtype) -> None:
    """`assert_close` for a tuple (by place) or a dict (by name) of arrays."""
    if isinstance(expected, dict):
        if not isinstance(got, dict) or set(got) != set(expected):
            names = sorted(got) if isinstance(got, dict) else type(got).__name__
            raise Mismatch(what, f"{what} is {names}, expected a dict with {sorted(expected)}")
        parts = [(f"{what}[{name!r}]", got[name], value) for name, value in expected.items()]
    else:
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            number = f"{len(got)} values" if isinstance(got, (tuple, list)) else f"a {type(got).__name__}"
            raise Mismatch(what, f"{what} is {number}, expected a tuple of {len(expected)}")
        parts = [(f"{what}[{i}]", *pair) for i, pair in enumerate(zip(got, expected))]
    for name, one, other in parts:
        assert_close(one, other, tol, name, dtype)


def name_of(f) -> str:
    """The name of a function, for messages."""
    return getattr(f, "__name__", type(f).__name__)


def expect_value_error(argument: str, f, *args, **kwargs) -> None:
    """`f(*args, **kwargs)` must refuse: a ValueError that names the argument and says what it expects.

    A message such as "x has 3 features, expected an even number" names the argument (`x`), shows the
    value (a digit or a quotation) and says what was expected.
    """
    try:
        f(*args, **kwargs)
    except ValueError as error:
        text = str(error)
    except NotImplementedError:
        raise
    except Exception as error:
        raise AssertionError(f"{name_of(f)} raised {type(error).__name__} ({error}), expected a ValueError "
                             f"about {argument!r}") from error
    else:
        raise AssertionError(f"{name_of(f)} accepted a bad {argument!r}, expected a ValueError")
    words = text.replace("`", " ").replace("'", " ").replace(",", " ").replace(":", " ").replace("(", " ")
    if not any(word == argument or word.split(".")[0] == argument for word in words.split()):
        raise AssertionError(f"the ValueError does not name the argument {argument!r}: {text!r}")
    if not any(hint in text for hint in ("expected", "must", "should", "need")):
        raise AssertionError(f"the ValueError does not say what was expected of {argument!r}: {text!r}")
