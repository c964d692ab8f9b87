"""The reader's public names in the place of level 2's, and level 2 in the place of level 3, while modules load."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

LEVEL2, LEVEL3 = "level2_vectorized", "level3_memory_efficient"


class Finder:
    """Finds level 2 and level 3 of the topics below; `files`: package -> the reader's file."""

    def __init__(self, files: dict[str, Path], packages: set[str]):
        self.files, self.packages = files, packages

    def find_spec(self, name, path=None, target=None):
        """A spec for the levels that are exchanged, None for all other modules."""
        parts = name.split(".")
        if len(parts) != 3 or parts[0] != "tangled" or parts[1] not in self.packages:
            return None
        if parts[2] == LEVEL3:
            return ModuleSpec(name, AsLevel2(f"tangled.{parts[1]}.{LEVEL2}"))
        if parts[2] != LEVEL2 or parts[1] not in self.files:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = Overlaid(spec.loader, self.files[parts[1]])
        return spec


class AsLevel2:
    """A loader whose module is level 2."""

    def __init__(self, name: str):
        self.name = name

    def create_module(self, spec):
        """The module of level 2 itself."""
        return importlib.import_module(self.name)

    def exec_module(self, module):
        """It has been executed."""


class Overlaid:
    """A loader of level 2 that then takes public names from a file."""

    def __init__(self, loader, file: Path):
        self.loader, self.file = loader, file

    def create_module(self, spec):
        """As the loader of level 2 does."""
        return self.loader.create_module(spec)

    def exec_module(self, module):
        """Execute level 2, then put the reader's functions and classes in the places of its own."""
        self.loader.exec_module(module)
        name = f"workspace_{self.file.stem}"
        spec = importlib.util.spec_from_file_location(name, self.file)
        sys.modules[name] = theirs = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(theirs)
        for public in public_names(self.file):
            if hasattr(module, public):
                setattr(module, public, getattr(theirs, public))


def public_names(file: Path) -> list[str]:
    """Functions and classes that a file defines at its top, without those that begin with an underscore."""
    tree = ast.parse(file.read_bytes(), filename=str(file))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
