"""A pytest plugin that writes down which public functions and classes of a topic each test calls: see `touching.py`.

It looks at every call by `sys.setprofile`. One into the topic's modules is of the test, rather than of the solution,
if going outwards from it the test's file comes before any other public function of these modules. What leaves no
call behind is taken from what the test looks up in its module: a class without `__init__`, calls in other processes,
and calls in threads that someone else has started.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import types
from pathlib import Path

import pytest

from scripts.grading import patience
from scripts.grading.fixtures import package_of
from scripts.grading.touching import public_definitions

ROOT = Path(__file__).resolve().parents[2]
TANGLED = str(ROOT / "tangled") + os.sep
GENERATED = "<string>"                              # the __init__ of a dataclass, the __new__ of a named tuple


def pytest_addoption(parser) -> None:
    group = parser.getgroup("the book")
    group.addoption("--trace-to", metavar="FILE", help="write which test calls what to FILE, as JSON")
    group.addoption("--traced", default="level2_vectorized", help="the topic's modules to look at, joined by commas")


def pytest_configure(config) -> None:
    patience.TRIES = 1                              # what a measurement says does not matter here
    config.pluginmanager.register(Tracer(config.getoption("traced").split(","), config.getoption("trace_to")))


class Public:
    """The public functions and classes of some modules: by file and line, and by type."""

    def __init__(self, modules: list[types.ModuleType]):
        self.known: dict[tuple[str, int], str] = {}     # file and first line of code -> public name, or ""
        self.spans: dict[str, list[tuple[int, int, str]]] = {}
        self.types: dict[type, str] = {}
        self.names: set[str] = set()
        self.silent: set[str] = set()                   # classes that are made without a call
        for module in modules:
            self.spans[module.__file__] = spans_of(Path(module.__file__))
            for _, _, name in self.spans[module.__file__]:
                self.names.add(name)
                if isinstance(value := vars(module)[name], type):
                    self.types[value] = name
                    if not made_by_python(value):
                        self.silent.add(name)

    def at(self, code: types.CodeType) -> str | None:
        """The public name whose text holds a code object; "" in other text of the modules, None elsewhere."""
        if code.co_filename not in self.spans:
            return None
        key = code.co_filename, code.co_firstlineno
        if key not in self.known:
            spans = self.spans[code.co_filename]
            self.known[key] = next((name for first, last, name in spans if first <= key[1] <= last), "")
        return self.known[key]

    def of(self, frame) -> set[str]:
        """The public names that a frame belongs to: of its text, and of the class of its `self`."""
        code = frame.f_code
        name = self.at(code)
        found = {name} if name else set()
        if name is not None or code.co_filename.startswith(TANGLED) or code.co_filename == GENERATED:
            kind = self.kind(frame)
            if kind is not None:
                found.add(kind)
        return found

    def kind(self, frame) -> str | None:
        """The public class of a frame's first argument, where that is `self`, `cls` or the like."""
        code = frame.f_code
        if not code.co_argcount or code.co_varnames[0] not in ("self", "cls", "_cls"):
            return None
        try:
            first = frame.f_locals[code.co_varnames[0]]
        except KeyError:                                # a cell, or deleted
            return None
        return self.types.get(first if isinstance(first, type) else type(first))


def spans_of(path: Path) -> list[tuple[int, int, str]]:
    """First line, last line and name of each public function and class of a module."""
    return [(min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno, node.name)
            for node in public_definitions(path.read_text(encoding="utf-8"))]


def made_by_python(kind: type) -> bool:
    """Does making an object of this class call a function of Python's?"""
    return any(isinstance(getattr(kind, name), types.FunctionType) for name in ("__init__", "__new__"))


class Tracer:
    """Looks on while tests run, and keeps the names that each touches."""

    def __init__(self, stems: list[str], out: str | None):
        self.stems, self.out = stems, out
        self.public: Public | None = None
        self.tests: dict[str, list[list[str]]] = {}     # test -> what it calls, what is called through that
        self.called: set[str] = set()                   # by the running test
        self.through: set[str] = set()                  # by what the running test calls
        self.unclear: set[str] = set()                  # called in a thread that began elsewhere
        self.looked_up: set[str] = set()
        self.test_file = ""

    def prepare(self, package: str) -> None:
        """Import the modules, before the first test, and watch what is looked up in them."""
        modules = [importlib.import_module(f"tangled.{package}.{stem}") for stem in self.stems]
        self.public = Public(modules)
        for module in modules:
            module.__class__ = watched(self.public.names, self.looked_up)
        threading.setprofile(self.look)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        package = package_of(item.path)
        if self.public is None and package:
            self.prepare(package)
        for kept in (self.called, self.through, self.unclear, self.looked_up):
            kept.clear()
        self.test_file = str(item.path)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            told = self.looked_up if item.get_closest_marker("processes") else self.unclear | self.public.silent
            called = self.called | (self.looked_up & told)
            self.tests[learners(item.nodeid)] = [sorted(called), sorted(self.through - called)]

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_setup(self, item):
        return (yield from self.looking())

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item):
        return (yield from self.looking())

    def looking(self):
        """Around one phase of a test."""
        sys.setprofile(self.look)
        try:
            return (yield)
        finally:
            sys.setprofile(None)

    def look(self, frame, event, argument) -> None:
        """The profiler: called at each call."""
        if event != "call":
            return
        names = self.public.of(frame) - self.called
        if names:
            whose = self.caller(frame, names)
            if whose == "test":
                self.called |= names
            else:
                self.through |= names
                if whose == "nobody":
                    self.unclear |= names

    def caller(self, frame, names: set[str]) -> str:
        """Who called: "test", "solution", or "nobody" in a thread whose beginning is not the test's."""
        frame = frame.f_back
        while frame is not None:
            if frame.f_code.co_filename == self.test_file:
                return "test"
            if self.public.of(frame) - names:
                return "solution"
            frame = frame.f_back
        return "nobody" if threading.current_thread() is not threading.main_thread() else "test"

    def pytest_sessionfinish(self) -> None:
        if self.out:
            Path(self.out).write_text(json.dumps(self.tests), encoding="utf-8")


def watched(names: set[str], looked_up: set[str]) -> type:
    """A kind of module that writes down which of these names are looked up in it."""
    class Watched(types.ModuleType):
        def __getattribute__(self, name):
            if name in names:
                looked_up.add(name)
            return super().__getattribute__(name)
    return Watched


def learners(nodeid: str) -> str:
    """`…::test_x[workspace-half]`, of `…::test_x[level2-half]`."""
    test, bracket, rest = nodeid.partition("[")
    parts = rest[:-1].split("-")
    if "level2" in parts:
        parts[parts.index("level2")] = "workspace"
    return test + (f"[{'-'.join(parts)}]" if bracket else "")
