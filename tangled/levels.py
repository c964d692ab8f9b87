# Tangled from chapters/a-testing.qmd; edit the chapter, then run make tangle. sha256:0888105699baa6c1
"""Finding the module under test: a level of a topic, or the learner's file."""
from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEMS = {1: "level1_naive", 2: "level2_vectorized", 3: "level3_memory_efficient",
         4: "level4_pytorch_reference"}
FRAMEWORKS = ("torch", "jax", "flax", "tensorflow", "keras", "sklearn", "autograd", "cupy", "mxnet", "paddle",
              "tinygrad")
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
    """The module of one level of a topic.

    Raises Unusable where the file is missing: a level that is not there is a failure.
    """
    name = f"tangled.{package}.{STEMS[number]}"
    path = ROOT / "tangled" / package / f"{STEMS[number]}.py"
    if not path.is_file():
        raise Unusable(f"tangled/{package}/{STEMS[number]}.py is missing: no chunk of the chapter writes it")
    return importlib.import_module(name)


def load_file(path: Path, package: str):
    """A Python file as a module: the learner's, or a variant of level 2.

    Raises Unusable, with one line, for a file that is missing, does not parse, or imports a framework
    or the solution.
    """
    shown = shown_path(path)
    if not path.is_file():
        raise Unusable(f"{shown} is missing; run: make start TOPIC={topic_number(package)}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise Unusable(f"{shown}:{error.lineno or 0}: {error.msg}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise Unusable(f"{shown}: not a Python file in UTF-8 ({error})") from None
    refuse_imports(tree, shown, package)
    name = "workspace_" + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def shown_path(path: Path) -> str:
    """A path relative to the root, with forward slashes, where it lies inside."""
    path = Path(path).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def refuse_imports(tree: ast.AST, shown: str, package: str) -> None:
    """Raise Unusable for an import of a framework or of the topic's own solution, naming the line."""
    for node in ast.walk(tree):
        for module in imported(node):
            if module.split(".")[0] in FRAMEWORKS:
                raise Unusable(f"{shown}:{node.lineno}: imports {module}; only NumPy, the standard library "
                               "and earlier topics are allowed here")
            if module == f"tangled.{package}" or module.startswith(f"tangled.{package}."):
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
