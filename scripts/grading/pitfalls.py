"""Does a failure equal one of the chapter's pitfalls? The same test is run again on each of them."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import time
import types
from functools import cache
from pathlib import Path

import numpy as np

from scripts.errors import Problem, Problems
from scripts.grading.accidents import innermost
from scripts.grading.guard import TimeLimit, guarded
from scripts.tangling.pitfalls import KNOWN, Pitfall, build
from tangled.comparing import Mismatch

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0                                   # for all pitfalls of one test
OWN = re.compile(r"<module [^>]*>|\b0x[0-9a-f]+|\b(workspace_|tangled\.t\d\d_)[\w.]*")


def pitfalls_of(package: str) -> list[Pitfall]:
    """The wrong versions of a topic, built once a run; none where its chapter cannot be read."""
    try:
        KNOWN[package] = build(ROOT, package)
    except (Problem, Problems, OSError):
        return []
    return list(KNOWN[package].values())


def matching(error: BaseException, item, package: str) -> tuple[list[Pitfall], list[Pitfall]]:
    """The pitfalls on which the test fails with the same arrays, and those on which it says the same."""
    error, equal, alike = innermost(error), [], []
    known = sorted(pitfalls_of(package), key=lambda pitfall: item.originalname not in pitfall.caught)
    start = time.monotonic()                    # to build them takes no time of the first failure's
    if item.callspec.params["level"] != "level2":
        right = failure_on(f"tangled.{package}.level2_vectorized", item, SECONDS)
        if right is not None and (same_failure(error, right) or type(right) is type(error) is AssertionError):
            return [], []                       # the test fails on the solution as well: no mistake of this code
    for pitfall in known:
        left = SECONDS - (time.monotonic() - start)
        if left <= 0:
            break
        theirs = failure_on(pitfall.module, item, left)
        if theirs is not None and same_failure(error, theirs):
            equal.append(pitfall)
        elif theirs is not None and same_words(error, theirs):
            alike.append(pitfall)
    return equal, alike


@cache
def module_of(name: str) -> types.ModuleType:
    """A module to try a test on. It is imported once a run, although `shield.hide` forgets it before each test."""
    return importlib.import_module(name)


def failure_on(module: str, item, seconds: float) -> BaseException | None:
    """The exception that the test raises on another module, None where it passes."""
    from scripts.grading.fixtures import HANDED_OUT, changed_inputs
    handed = item.stash.get(HANDED_OUT, None)
    if handed is not None:
        handed.clear()
    try:
        arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
        arguments["level"] = module_of(module)
        emptied(arguments.get("tmp_path"))
        with contextlib.redirect_stdout(io.StringIO()), guarded(seconds, learner=False):
            item.obj(**arguments)
        said = changed_inputs(item)
        return AssertionError(said) if said else None
    except KeyboardInterrupt:
        raise
    except TimeLimit:
        return None
    except BaseException as error:
        return innermost(error)


def emptied(folder: Path | None) -> None:
    """Remove what the first run left in the test's folder: the next one must find it as that did."""
    for entry in folder.iterdir() if folder else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            while os.path.lexists(entry):                   # in a page what a rename replaced is found once more
                entry.unlink()


def same_failure(mine: BaseException, theirs: BaseException) -> bool:
    """Do two failures of one test come from the same mistake? Only arrays that agree show it."""
    if not (isinstance(mine, Mismatch) and isinstance(theirs, Mismatch)) or mine.what != theirs.what:
        return False
    if mine.got is None or theirs.got is None or not is_evidence(np.asarray(mine.got)):
        return False
    return same_values(mine.got, theirs.got, mine.expected)


def same_words(mine: BaseException, theirs: BaseException) -> bool:
    """Do two failures say the same, from one test? No evidence alone: `report_table.alike` asks it of all."""
    if type(mine) is not type(theirs) or OWN.sub("", str(mine)) != OWN.sub("", str(theirs)):
        return False
    if not isinstance(mine, Mismatch) or mine.got is None or theirs.got is None:
        return True
    return same_values(mine.got, theirs.got, mine.expected)


def is_evidence(got: np.ndarray) -> bool:
    """Could hardly be the same by chance: numbers; not a truth value, nor a few whole numbers."""
    return got.size > 0 and (got.dtype.kind in "fc" or (got.dtype.kind in "iu" and got.size > 3))


def same_values(a, b, expected) -> bool:
    """Are two wrong results the same, and closer to each other than to the right one?

    Parameters
    ----------
    a, b : ndarray
        Equal shapes are asked for here.
    expected : ndarray or None
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind not in "fciub" or b.dtype.kind not in "fciub":
        return a.shape == b.shape and bool(np.array_equal(a, b))
    finite = np.abs(b[np.isfinite(b)]) if b.dtype.kind in "fc" else np.abs(b)
    scale = float(finite.max()) if finite.size else 0.0
    close = np.isclose(a, b, rtol=1e-6, atol=1e-6 * scale, equal_nan=True)
    if not close.all() or expected is None or np.shape(expected) != a.shape:
        return bool(close.all())
    with np.errstate(invalid="ignore"):
        apart, off = (np.nan_to_num(np.abs(a - other), posinf=0.0) for other in (b, expected))
    return bool(apart.max(initial=0.0) <= 0.01 * off.max(initial=0.0))
