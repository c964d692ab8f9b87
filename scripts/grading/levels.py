"""Finding the module under test: a level of a topic, or the learner's file."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import sys
from pathlib import Path

from scripts.grading.guard import TimeLimit, leaving
from scripts.grading.sentry import FRAMEWORKS, Forbidden

ROOT = Path(__file__).resolve().parents[2]
STEMS = {1: "level1_naive", 2: "level2_vectorized", 3: "level3_memory_efficient",
         4: "level4_pytorch_reference"}
GIVEN = ("checks", "base")              # modules of a topic that are there for the learner
INSTALL_TORCH = "make setup"


class Unusable(Exception):
    """The module under test cannot be had. The text says why, in one line."""


def topic_number(package: str) -> int:
    """27, of "t27_positional_encodings"."""
    return int(package[1:3])


def torch_available() -> bool:
    """Can level 4 be run?"""
    return importlib.util.find_spec("torch") is not None


def load_level(package: str, number: int):
    """The module of one level. A level that is not there is a failure, never skipped."""
    name = f"{package}/{STEMS[number]}.py"
    if not (ROOT / "tangled" / name).is_file():
        raise Unusable(f"tangled/{name} is missing: no chunk of the chapter writes it")
    return importlib.import_module(f"tangled.{package}.{STEMS[number]}")


class Anew(importlib.machinery.SourceFileLoader):
    """Compiles a file as it is now: what Python keeps of one, it takes for the same by its second and its size."""

    def get_code(self, fullname):
        """The code of the file."""
        return self.source_to_code(self.get_data(self.path), self.path)


def load_file(path: Path, package: str, exercises: bool = False):
    """A Python file as a module: the learner's, or a variant of level 2.

    Whatever goes wrong with it is an `Unusable` in one line: it is missing, does not parse, imports a
    framework or the solution, or fails, leaves or hangs while it is imported.
    """
    path = Path(path).resolve()
    shown = shown_path(path)
    refuse_imports(parsed(path, shown, package, exercises), shown, package, exercises)
    name = "workspace_" + path.stem
    spec = importlib.util.spec_from_file_location(name, path, loader=Anew(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    linecache.checkcache(str(path))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise Unusable(failed_import(error, path, shown)) from error
    return module


def parsed(path: Path, shown: str, package: str, exercises: bool = False) -> ast.Module:
    """The file's syntax tree."""
    if not path.is_file():
        raise Unusable(f"{shown} is missing; run: make start TOPIC={topic_number(package)}"
                       + " EXERCISES=1" * exercises)
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise Unusable(f"{shown}:{error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unusable(f"{shown}: cannot be read as Python ({error})") from None


def failed_import(error: BaseException, path: Path, shown: str) -> str:
    """One line about an exception that importing the file raised, with the file's own line."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if os.path.realpath(trace.tb_frame.f_code.co_filename) == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, Forbidden):
        return str(error)
    if isinstance(error, TimeLimit):
        what = f"importing it takes longer than {error.args[0]:g} s: a loop without an end?"
    elif isinstance(error, SystemExit):
        what = f"importing it calls sys.exit({error.code!r})"
    elif said := leaving(error):
        what = f"importing it ends the run: {said}"
    else:
        text = str(error).split("\n")[0]
        what = f"importing it fails: {type(error).__name__}" + (f": {text}" if text else "")
    return f"{shown}:{line}: {what}"


def shown_path(path: Path) -> str:
    """A path relative to the root, with forward slashes, where it lies inside."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def refuse_imports(tree: ast.AST, shown: str, package: str, exercises: bool = False) -> None:
    """Raise Unusable for an import of a framework or of the topic's own solution, naming the line.

    What solves the exercises is `exercises.py` alone; they build on the topic's other modules.
    """
    own = f"tangled.{package}" + ".exercises" * exercises
    for node in ast.walk(tree):
        for module in imported(node):
            if module.split(".")[0] in FRAMEWORKS:
                raise Unusable(f"{shown}:{node.lineno}: imports {module}; only NumPy, the standard library "
                               "and earlier topics are allowed here")
            if module == own or (not exercises and module.startswith(own + ".") and module.split(".")[2] not in GIVEN):
                raise Unusable(f"{shown}:{node.lineno}: imports {module}, which is the solution")


def imported(node: ast.AST) -> list[str]:
    """The modules that one statement imports, `importlib.import_module("x")` and `__import__("x")` too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []
