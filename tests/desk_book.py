"""A repository with one topic for the tests of the learner's desk: `make_desk(folder)`; needs no PyTorch.

Its functions call each other, two are decorated, and its classes are made in the ways that there are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness_book import settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "t91_desk"
FRONT = '''---
topic: 91
package: t91_desk
module: 4
needs: []
---

# The desk {#sec-desk}
'''
LEVEL2 = '''"""Level 2: for the desk."""

import functools
from dataclasses import dataclass

import numpy as np


def _checked(f):
    @functools.wraps(f)
    def wrapper(x):
        return f(np.asarray(x))
    return wrapper


def double(x):
    """Twice x, of any shape."""
    return _twice(checked(x))


def checked(x):
    """x itself; no test calls this one."""
    return x


def _twice(x):
    return x + x


@_checked
def quadruple(x):
    """Four times x, of any shape."""
    return double(double(x))


@_checked
def negate(x):
    """Minus x, of any shape."""
    return -x


def apply(f, x):
    """f(x), whatever f is."""
    return f(x)


@dataclass
class Pair:
    """Two numbers."""

    a: float
    b: float


class Layer:
    """Something with a forward."""

    def forward(self, x):
        """x, doubled."""
        return double(x)


class Scaled(Layer):
    """A layer with a factor."""

    def __init__(self, factor):
        self.factor = factor
'''
TESTS = '''import threading

import numpy as np
import pytest

TABLE = {"double": 2.0, "quadruple": 4.0}


@pytest.mark.value
@pytest.mark.parametrize("name", TABLE)
def test_table(level, name):
    """By name."""
    functions = {"double": level.double, "quadruple": level.quadruple}
    assert functions[name](np.ones(3))[0] == TABLE[name]


@pytest.mark.value
@pytest.mark.parametrize("name", ["double", "negate"])
def test_by_getattr(level, name):
    """By getattr, in a helper."""
    assert helped(getattr(level, name)) in (2.0, -1.0)


def helped(f):
    return f(np.float64(1.0))


@pytest.mark.value
def test_double_in_its_name_alone(level):
    """Called double, and about something else."""
    assert level.negate(2.0) == -2.0


@pytest.mark.value
def test_callback(level):
    """A function of the test's calls one of the topic's."""
    assert level.apply(lambda x: level.negate(x), 3.0) == -3.0


@pytest.mark.edge
def test_dataclass(level):
    """A class whose making is generated."""
    assert level.Pair(1.0, 2.0).b == 2.0


@pytest.mark.edge
def test_class(level):
    """A class with no __init__, and one that inherits forward."""
    assert level.Layer().forward(2.0) == 4.0
    assert level.Scaled(3.0).factor == 3.0


@pytest.mark.edge
def test_in_a_thread(level):
    """A thread that calls the function itself."""
    thread = threading.Thread(target=level.negate, args=(1.0,))
    thread.start()
    thread.join()


@pytest.mark.edge
@pytest.mark.levels(1, 3)
def test_not_on_level_two(level):
    """For other levels."""
    assert level.double
'''


BENCHMARK = '''"""Ladders of the desk."""
import numpy as np

from tangled.measuring import Ladder, torch_available
from tangled.t91_desk import level1_naive, level2_vectorized, level3_memory_efficient

LEVELS = {"level 1": level1_naive, "level 2": level2_vectorized, "level 3": level3_memory_efficient}


def slow(level, x):
    return lambda: [level.double(v) for v in x] if level is level1_naive else level.double(x)


def ladders():
    """One a function, one whose set-up needs another, one that uses no level."""
    x = np.ones(200)
    yield Ladder("double", {name: slow(level, x) for name, level in LEVELS.items()}, operations="n")
    made = {name: level.negate(x) for name, level in LEVELS.items()}
    yield Ladder("negate, prepared", {name: lambda y=y, m=LEVELS[name]: m.double(y) for name, y in made.items()})
    yield Ladder("quadruple", {name: lambda m=level: m.quadruple(x) for name, level in LEVELS.items()})
    yield Ladder("nothing of it", {"level 2": lambda: x + x, "level 3": lambda: x + x})
    yield Ladder("no levels", {"one way": lambda: x + x, "another": lambda: 2 * x})
'''


def make_desk(folder: Path) -> Path:
    """A repository in `folder`: our scripts, the shared modules, one topic of three equal levels."""
    repo = folder / "repo"
    package = repo / "tangled" / PACKAGE
    (package / "tests").mkdir(parents=True)
    (repo / "chapters").mkdir()
    (repo / "workspace").mkdir()
    shutil.copytree(ROOT / "scripts", repo / "scripts", ignore=shutil.ignore_patterns("__pycache__", "templates"))
    (repo / "pyproject.toml").write_text(settings())
    for path in (ROOT / "tangled").glob("*.py"):
        shutil.copy(path, repo / "tangled")
    (repo / "_quarto.yml").write_text("book:\n  chapters: [chapters/91-desk.qmd]\n")
    (repo / "chapters" / "91-desk.qmd").write_text(FRONT)
    for stem in ("level1_naive", "level2_vectorized", "level3_memory_efficient"):
        (package / f"{stem}.py").write_text(LEVEL2)
    (package / "benchmark.py").write_text(BENCHMARK)
    (package / "__init__.py").write_text(f"from tangled.{PACKAGE}.level2_vectorized import *\n")
    (package / "tests" / "__init__.py").touch()
    (package / "tests" / "test_basic.py").write_text(TESTS)
    return repo
