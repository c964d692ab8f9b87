"""Python's syntax trees, made by one thread at a time.

CPython 3.11 counts the depth of its recursion for all threads together, and may refuse a tree that another thread
interrupted: "AST constructor recursion depth mismatch" (python/cpython, issue 106905).
"""

from __future__ import annotations

import ast
import threading

_ONE = threading.Lock()


def parse(source: str | bytes, filename: str = "<unknown>") -> ast.Module:
    """As `ast.parse`."""
    with _ONE:
        return ast.parse(source, filename=filename)
