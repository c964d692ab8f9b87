"""No module imports, by whatever road, one that imports it: neither among the tools nor in tangled/."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph(folder: str) -> dict[str, set[str]]:
    """Module -> modules of the folder that it imports anywhere, also inside a function."""
    paths = {module_of(p): p for p in sorted((ROOT / folder).rglob("*.py")) if "tests" not in p.parts}
    return {name: imported(path, name, paths) - {name} for name, path in paths.items()}


def imported(path: Path, name: str, known) -> set[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[:len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= (inner & set(known)) or {module}
            if inner - set(known):
                found.add(module)
    return found & set(known)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for to in sorted(edges[node]):
            if to not in index:
                visit(to)
            if to in stack:
                low[node] = min(low[node], low[to])
        if low[node] == index[node]:
            part = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_imports_are_read(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import a.b\nfrom a import c, f\ndef g():\n    from .. import d\n    from .e import h\n")
    known = {"a", "a.b", "a.c", "p", "p.d", "p.q", "p.q.e"}
    assert imported(path, "p.q.x", known) == {"a.b", "a.c", "a", "p.d", "p.q.e"}


def test_the_tools_have_none():
    assert circles(graph("scripts")) == []


def test_reading_stands_below_tangling():
    wrong = {(a, b) for a, edges in graph("scripts").items() for b in edges
             if a.startswith("scripts.reading") and not b.startswith(("scripts.reading", "scripts.errors"))}
    assert not wrong


def test_the_package_has_none():
    assert circles(graph("tangled")) == []
