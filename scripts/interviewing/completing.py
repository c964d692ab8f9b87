"""A file with some functions of a topic alone, made whole: what it lacks comes from level 2, loaded for the purpose."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

from scripts.grading.levels import GIVEN, ROOT


def complete(module: types.ModuleType, package: str, exports: list[str], names: list[str]) -> None:
    """Give the reader's functions the topic's others, and the topic's others the reader's.

    Parameters
    ----------
    module : the reader's file
    exports : the topic's modules, as its front matter names them
    names : the functions and classes that were asked for; the rest of the reader's file stays its own
    """
    for part in rest(package, exports):
        for name, value in vars(part).items():
            if not name.startswith("_"):
                vars(module).setdefault(name, value)
        for name in names:
            if name in vars(part) and hasattr(module, name):
                setattr(part, name, getattr(module, name))


def rest(package: str, exports: list[str]) -> list[types.ModuleType]:
    """The topic's modules, last first; a copy of those that hold the solution."""
    return [importlib.import_module(f"tangled.{package}.{stem}") if stem in GIVEN else copy(package, stem)
            for stem in reversed(exports)]


def copy(package: str, stem: str) -> types.ModuleType:
    """A module of a topic loaded once more, under a name of its own: what is changed in it changes nothing else."""
    name = f"completed_{package}_{stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "tangled" / package / f"{stem}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
