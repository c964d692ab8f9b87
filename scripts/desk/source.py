"""Functions and classes in a learner's file, by the bytes that they take in it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import Problem

LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
KINDS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef


class Source:
    """A Python file as bytes, its syntax tree and its lines; `shown` is its name in messages."""

    def __init__(self, data: bytes, shown: str):
        self.data, self.shown = data, shown
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")             # an invalid escape is the learner's business
                self.tree = ast.parse(data)
            self.encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        except SyntaxError as error:
            raise Problem(shown, error.lineno or 1, f"{error.msg}; expected Python") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise Problem(shown, 0, f"cannot be read as Python ({error})") from None
        self.lines = LINE.findall(data)

    @classmethod
    def read(cls, path: Path, shown: str, missing: str) -> Source:
        """The file at a path; `missing` says how one is made."""
        try:
            return cls(path.read_bytes(), shown)
        except FileNotFoundError:
            raise Problem(shown, 0, f"is not there; run: {missing}") from None

    def find(self, name: str) -> Span | None:
        """The definition of a name at the top of the file, the last where there are several."""
        found = [node for node in self.tree.body if isinstance(node, KINDS) and node.name == name]
        return Span(self, found[-1]) if found else None

    def spans(self) -> list[Span]:
        """The public definitions at the top, in their order."""
        return [Span(self, n) for n in self.tree.body if isinstance(n, KINDS) and not n.name.startswith("_")]

    def otherwise_bound(self, name: str) -> int:
        """The line that gives the name to anything else than a definition at the top of the file, or 0."""
        for node in ast.walk(self.tree):
            if isinstance(node, KINDS) and node.name == name and node in holders(self.tree):
                return node.lineno
            if isinstance(node, ast.alias) and (node.asname or node.name) == name:
                return getattr(node, "lineno", 1)
        targets = [n for node in self.tree.body for n in assigned(node)]
        return next((n.lineno for n in targets if n.id == name), 0)

    @property
    def newline(self) -> str:
        """The line end of the file's first line."""
        end = re.search(rb"\r\n|\r|\n", self.data)
        return end[0].decode() if end else "\n"


def holders(tree: ast.Module) -> list[ast.stmt]:
    """The statements within `if`, `try`, `with` at the top: a definition there is not at the top."""
    inner = [node for node in tree.body if isinstance(node, (ast.If, ast.Try, ast.With))]
    return [sub for node in inner for sub in ast.walk(node) if isinstance(sub, ast.stmt) and sub is not node]


def assigned(node: ast.stmt) -> list[ast.Name]:
    """The names that an assignment at the top binds."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


@dataclass
class Span:
    """One definition: `top` is the line of its first decorator, `first` that of its `def`, `last` its last."""

    source: Source
    node: ast.stmt

    @property
    def top(self) -> int:
        return min([self.node.lineno, *(d.lineno for d in self.node.decorator_list)])

    @property
    def first(self) -> int:
        return self.node.lineno

    @property
    def last(self) -> int:
        return self.node.end_lineno

    def taken(self, first: int | None = None) -> bytes:
        """Its bytes, from a line on."""
        return b"".join(self.source.lines[(first or self.top) - 1:self.last])

    @property
    def text(self) -> str:
        return self.taken().decode(self.source.encoding)

    def is_stub(self) -> bool:
        """Is every body of it still to be written?"""
        functions = [n for n in ast.walk(self.node) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return bool(functions) and all(map(is_to_be_written, functions))


def is_to_be_written(function) -> bool:
    """Is the body, apart from a docstring, a single `raise NotImplementedError`?"""
    body = [node for node in function.body
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return False
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return getattr(raised, "id", "") == "NotImplementedError"
