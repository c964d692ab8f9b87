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
        put(part, {name: getattr(module, name) for name in names if name in vars(part) and hasattr(module, name)})


def put(part: types.ModuleType, new: dict) -> None:
    """Put functions in the place of those of their names: in a module, its tables and the attributes of its classes."""
    other = {id(vars(part)[name]): value for name, value in new.items()}
    for kind in [value for value in vars(part).values() if getattr(value, "__module__", "") == part.__name__
                 and isinstance(value, type)]:
        for key, value in list(vars(kind).items()):
            if isinstance(value, staticmethod) and id(value.__func__) in other:
                setattr(kind, key, staticmethod(other[id(value.__func__)]))
            elif not key.startswith("__") and (now := exchanged(value, other)) is not value:
                setattr(kind, key, now)
    for name, value in list(vars(part).items()):
        if not name.startswith("__"):
            vars(part)[name] = exchanged(value, other)


def exchanged(value, other: dict):
    """A function exchanged, or those in a table; a table without one is left as it is."""
    if type(value) not in (dict, list, tuple):
        return other.get(id(value), value)
    items = value.items() if type(value) is dict else enumerate(value)
    now = {key: exchanged(item, other) for key, item in items}
    if all(new is old for new, old in zip(now.values(), value.values() if type(value) is dict else value)):
        return value
    return now if type(value) is dict else type(value)(now.values())


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
