"""A pytest plugin that measures the calls of some functions while tests run: peak memory, arrays made, passes.

Of each function, and each method of a class, the largest call is kept; calls from within another are part of that.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import inspect
import json
import re
import tracemalloc
import types
from pathlib import Path

import pytest

from scripts.desk.counting import arrays, counted
from scripts.grading import patience


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--costs-to", metavar="FILE", help="write what calls cost to FILE, as JSON")
    group.addoption("--costs-of", metavar="FILE", help='{"names": functions to measure, "tests": ids of a learner\'s}')


def pytest_configure(config) -> None:
    patience.TRIES = 1
    given = json.loads(Path(config.getoption("costs_of")).read_text(encoding="utf-8"))
    config.pluginmanager.register(Costs(given["names"], set(given["tests"]), config.getoption("costs_to")))


class Costs:
    """Wraps the functions of the module under test, and keeps what their largest calls cost."""

    def __init__(self, names: list[str], tests: set[str], out: str):
        self.names, self.tests, self.out = names, tests, out
        self.found: dict[str, dict] = {}
        self.busy, self.test, self.wrapped = False, "", set()

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = [item for item in items if re.sub(r"\blevel[1-4]\b", "workspace", item.nodeid) in self.tests]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        module = yield
        if fixturedef.argname == "level" and module.__name__ not in self.wrapped:
            self.wrapped.add(module.__name__)
            for name in self.names:
                self.wrap(module, name)
        return module

    def pytest_runtest_setup(self, item) -> None:
        self.test = item.originalname or item.name

    def wrap(self, module: types.ModuleType, name: str) -> None:
        """Measure a function, or each method of a class."""
        value = getattr(module, name, None)
        if isinstance(value, type):
            own = [kind for kind in reversed(value.__mro__) if kind.__module__ == value.__module__]
            for key, member in {key: member for kind in own for key, member in vars(kind).items()}.items():
                if isinstance(member, types.FunctionType) and (key == "__init__" or not key.startswith("_")):
                    setattr(value, key, self.measured(inspect.unwrap(member), f"{name}.{key}", module))
        elif callable(value):
            setattr(module, name, self.measured(value, name, module))

    def measured(self, f, name: str, module: types.ModuleType):
        """The function, with its larger calls measured."""
        @functools.wraps(f)
        def call(*arguments, **options):
            size = sum(a.nbytes for a in arrays([list(arguments), options]))
            if self.busy or tracemalloc.is_tracing() or size <= self.found.get(name, {"size": -1})["size"]:
                return f(*arguments, **options)
            self.busy = True
            try:
                return self.measure(f, name, module, size, arguments, options)
            finally:
                self.busy = False
        return call

    def measure(self, f, name, module, size, arguments, options):
        """Call it, and count on copies of what it is given."""
        try:
            twin = copy.deepcopy((arguments, options))
        except Exception:
            twin = None
        entry = {"size": size, "test": self.test, "on": told(arguments, options)}
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            result = f(*arguments, **options)
            entry["peak"] = max(tracemalloc.get_traced_memory()[1] - before, 0)
        finally:
            tracemalloc.stop()
        if twin:
            with contextlib.suppress(Exception):
                entry |= vars(counted(f, *twin, module))
        self.found[name] = entry
        return result

    def pytest_sessionfinish(self) -> None:
        Path(self.out).write_text(json.dumps(self.found), encoding="utf-8")


def told(arguments: tuple, options: dict) -> str:
    """`(2, 3, 5, 8) float32, (9, 4) float64`: the shapes of the largest arrays."""
    found = sorted(arrays([list(arguments), options]), key=lambda a: -a.nbytes)
    return ", ".join(f"{a.shape} {a.dtype}" for a in found[:2]) or "no array"
