"""The pytest plugin of the chapters' tests: the fixtures `level` and `golden`, the options, the markers."""
# ruff: noqa: E402
from __future__ import annotations

import gc
import importlib
import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")           # before NumPy is imported, or it is too late

from pathlib import Path

import numpy as np
import pytest

from scripts.grading import chosen, patience, sentry, shield
from scripts.grading.golden_file import PARTS, arrays_in, load_case
from scripts.grading.levels import INSTALL_TORCH, ROOT, Unusable, load_file, load_level, topic_number, torch_available
from tangled.diagnosis import CONTEXT

CATEGORIES = ("shape", "value", "gradient", "edge", "performance")
MEANS = {"shape": "shapes and types", "value": "values", "gradient": "gradients", "edge": "edge cases",
         "performance": "growth and ratios of time and memory"}
HANDED_OUT = pytest.StashKey[list]()
SETTLED = pytest.StashKey[Path]()
CHOSEN = pytest.StashKey[chosen.Chosen | None]()


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--impl", default="levels", help="what is tested: levels, workspace (the learner's "
                    "file), or the path of a Python file that stands for level 2")
    group.addoption("--exercises", action="store_true", help="the graded exercises alone, in the learner's file or "
                    "the file that --impl names")
    group.addoption("--alone", metavar="FILE", help="of a learner's file the tests that FILE names: see chosen.py")
    group.addoption("--level", type=int, choices=(1, 2, 3, 4), help="test this level alone")


def pytest_configure(config) -> None:
    config.stash[CHOSEN] = chosen.read(config.getoption("alone"))
    for name in CATEGORIES:
        config.addinivalue_line("markers", f"{name}: checks {MEANS[name]}")
    config.addinivalue_line("markers", "levels(n, ...): run on these levels only (the workspace counts as 2)")
    config.addinivalue_line("markers", "limit(seconds): time limit of this test")
    config.addinivalue_line("markers", "processes(n): the code under test may start so many processes")


def package_of(path: Path) -> str | None:
    """The topic's package that a test file belongs to: of tangled/t27_x/tests/test_y.py, "t27_x"."""
    return next((p.name for p in path.parents if p.parent.name == "tangled" and p.name[1:3].isdigit()), None)


def pytest_generate_tests(metafunc) -> None:
    """Run a test that asks for `level` once for each level, or once on the learner's file."""
    if "exercises" in metafunc.fixturenames:
        chosen = whose_exercises(metafunc.config)
        metafunc.parametrize("exercises", chosen, indirect=True, scope="function")
    if "level" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("levels")
    numbers = marker.args if marker else (1, 2, 3, 4)
    if metafunc.config.getoption("impl") != "levels":
        chosen = ["workspace"] if 2 in numbers else []
    else:
        only = metafunc.config.getoption("level")
        chosen = [f"level{n}" for n in numbers if only in (None, n)]
    metafunc.parametrize("level", chosen, indirect=True, scope="function")


def whose_exercises(config) -> list[str]:
    """["solution"], ["workspace"], or [] where exercises are not asked for."""
    if config.getoption("exercises"):
        return ["workspace"]
    return ["solution"] if config.getoption("impl") == "levels" and config.getoption("level") is None else []


def pytest_collection_modifyitems(config, items) -> None:
    """Leave out what `--impl`, `--level` and `--alone` do not ask for."""
    only = config.stash[CHOSEN]
    drop = [item for item in items if unwanted(item, config) or (only and item.nodeid not in only.tests)]
    if drop:
        config.hook.pytest_deselected(items=drop)
        items[:] = [item for item in items if item not in drop]


def unwanted(item, config) -> bool:
    """Is it a test with no level to run on, or without `level` where only the learner's file counts?"""
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "exercises" in getattr(item, "fixturenames", ()) or config.getoption("exercises"):
        return not isinstance(params.get("exercises"), str)
    if "level" in getattr(item, "fixturenames", ()):
        return not isinstance(params.get("level"), str)          # pytest marks an empty set as skipped
    graded = config.getoption("impl") != "levels" or config.getoption("level") is not None
    return graded and package_of(item.path) is not None


_loaded: dict = {}


def under_test(package: str, which: str, impl: str):
    """The module of "level2" or "workspace". It is loaded once; so is the reason why it cannot be."""
    key = package, which, impl
    if key not in _loaded:
        try:
            _loaded[key] = load(package, which, impl)
        except BaseException as error:
            _loaded[key] = error
    if isinstance(_loaded[key], BaseException):
        raise _loaded[key].with_traceback(None)      # or each test adds to it, and showing them takes minutes
    return _loaded[key]


def load(package: str, which: str, impl: str):
    """The module of "level2", or of the learner's file, or of the file that `impl` names."""
    if which == "solution":
        return importlib.import_module(f"tangled.{package}.exercises")
    if which == "exercises":
        path = ROOT / "workspace" / f"{package}_exercises.py" if impl in ("levels", "workspace") else Path(impl)
        return load_graded(path, package, exercises=True)
    if which != "workspace":
        return load_level(package, int(which[-1]))
    return load_graded(ROOT / "workspace" / f"{package}.py" if impl == "workspace" else Path(impl), package)


def load_graded(path: Path, package: str, exercises: bool = False):
    """A learner's file, watched and kept from the solution while it runs."""
    shield.protect()
    sentry.watch(path, package, ("exercises",) if exercises else None)
    shield.hide()
    return load_file(path, package, exercises)


@pytest.fixture
def level(request):
    """The module under test."""
    package = package_of(request.path)
    if package is None:
        raise Unusable(f"{request.path}: the fixture `level` is for tests in tangled/tNN_name/tests/")
    if request.param == "level4" and not torch_available():
        pytest.skip(f"PyTorch not installed ({INSTALL_TORCH})")
    return under_test(package, request.param, request.config.getoption("impl"))


@pytest.fixture
def exercises(request):
    """The module with the graded exercises: the chapter's, or the learner's."""
    package = package_of(request.path)
    which = {"workspace": "exercises"}.get(request.param, request.param)
    return under_test(package, which, request.config.getoption("impl"))


@pytest.fixture
def level_number(request) -> int:
    """1 to 4; the workspace counts as 2."""
    which = request.node.callspec.params["level"]
    return 2 if which == "workspace" else int(which[-1])


@pytest.fixture
def golden(request):
    """`golden("case")`: a fresh copy of a case; `may_change=("x",)` for functions that write into x."""
    topic = topic_number(package_of(request.path))
    handed = request.node.stash.setdefault(HANDED_OUT, [])

    def get(name: str, may_change=()):
        case = load_case(topic, name)
        for part in PARTS:
            for key, value in getattr(case, part).items():
                for text, array in arrays_in(value, f"{WORDS[part]} {key}"):
                    CONTEXT[text] = array.copy()
                    if key not in may_change:
                        handed.append((text, array, CONTEXT[text]))
        return case
    return get


WORDS = {"inputs": "input", "outputs": "the expected output", "upstream": "the upstream gradient of",
         "grads": "the expected gradient of"}


def changed_inputs(item) -> str:
    """A sentence about golden arrays that are no longer what they were, or ""."""
    for name, now, before in item.stash.get(HANDED_OUT, []):
        if not np.array_equal(now, before, equal_nan=now.dtype.kind in "fc"):
            return f"{name} was changed in place"
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Measure again where a measurement failed: another process can slow a run, not speed it."""
    if pyfuncitem.get_closest_marker("performance") is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    patience.patiently(lambda: pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item) -> None:
    """Each test begins without the arrays of the last, and each file with few objects for the collector.

    `peak_memory` calls it, and what pytest has gathered by then (items, reports) is a hundred times what a test makes.
    """
    CONTEXT.clear()
    if item.config.stash.get(SETTLED, None) != item.path:
        item.config.stash[SETTLED] = item.path
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """After a test that passed: did the code under test write into the golden arrays?"""
    result = yield
    if said := changed_inputs(item):
        raise AssertionError(said)
    return result
