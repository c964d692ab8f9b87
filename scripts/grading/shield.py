"""Out of a learner's reach: the solution's modules, and the functions that judge what it computes."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import math
import sys
import types

import numpy as np
import pytest

from scripts.grading import sentry

JUDGES = ("comparing", "diagnosis", "gradients", "layouts", "dtypes", "repeating", "measuring", "testing")
WATCHED = (np, np.linalg, np.random, np.fft, builtins, math, pytest)
ABSENT = object()
_kept: dict[str, dict] = {}                       # module name -> its names before any learner's code
_hidden: dict[str, types.ModuleType] = {}         # the modules of solutions, out of sys.modules


def protect() -> None:
    """Before the first import of a learner's file: remember NumPy's functions, take the judges away.

    The judges (tangled/comparing.py and its like) get a NumPy namespace of their own and leave sys.modules:
    who imports them from now on gets another copy of them.
    """
    if _kept:
        return
    for module in WATCHED:
        _kept[module.__name__] = dict(vars(module))
    own = types.ModuleType("numpy")
    vars(own).update(vars(np))
    package = sys.modules.get("tangled")
    for name in JUDGES:
        module = sys.modules.pop(f"tangled.{name}", None)
        if module is not None:
            _hidden[f"tangled.{name}"] = module
            if getattr(module, "np", None) is np:
                module.np = own
            vars(package).pop(name, None)


def replaced() -> list[str]:
    """The watched functions that are no longer what they were, such as "numpy.all"; they are put back."""
    found = []
    for module in WATCHED:
        now = vars(module)
        for name, value in _kept.get(module.__name__, {}).items():
            if now.get(name, ABSENT) is not value:
                found.append(f"{module.__name__}.{name}")
                now[name] = value
    return found


def hide() -> None:
    """Take the solutions out of sys.modules; in a package's place stands one that is empty."""
    for package, hidden in sentry.WATCH.packages.items():
        own = f"tangled.{package}"
        names = [n for n in list(sys.modules) if n.startswith(own + ".") and sentry.is_hidden(n)]
        for name in names:
            _hidden[name] = sys.modules.pop(name)
            parent, _, stem = name.rpartition(".")
            if isinstance(sys.modules.get(parent), Empty):
                vars(sys.modules[parent]).pop(stem, None)
        if hidden is None and not isinstance(sys.modules.get(own), Empty):
            put_empty(package)


class Empty(types.ModuleType):
    """A topic's package without the solution: what the learner is given, and the tests."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        frame = sentry.culprit(sys._getframe(1))
        if frame is not None:
            said = f"{sentry.shown_place(frame)}: uses {self.__name__}.{name}, which is the solution"
            sentry.WATCH.seen.append(said)
            raise sentry.Forbidden(said)
        try:
            return getattr(_hidden[self.__name__], name)
        except (KeyError, AttributeError):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def put_empty(package: str) -> None:
    """Put the empty package into sys.modules; checks and tests stay where they are."""
    own = f"tangled.{package}"
    for stem in sentry.GIVEN:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"{own}.{stem}")
    real = importlib.import_module(own)
    empty = Empty(own, real.__doc__)
    for name in ("__path__", "__file__", "__spec__", "__loader__", "__package__"):
        vars(empty)[name] = vars(real).get(name)
    for stem in sentry.GIVEN:
        if f"{own}.{stem}" in sys.modules:
            vars(empty)[stem] = sys.modules[f"{own}.{stem}"]
    _hidden[own], sys.modules[own] = real, empty
    vars(sys.modules["tangled"])[package] = empty
    for name in [n for n in list(sys.modules) if n.startswith(own + ".") and sentry.is_hidden(n)]:
        _hidden[name] = sys.modules.pop(name)
