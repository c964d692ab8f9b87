"""The page that the candidate is given: one paragraph, two examples, the signatures with their docstrings."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from scripts.grading import stub
from scripts.grading.touching import definitions
from scripts.interviewing.tasks import Task
from scripts.reading import plaintext
from scripts.reading.syntax import parse

WIDTH = 100


def page(root: Path, task: Task, title: str, minutes: int, expected: list[dict]) -> str:
    """The text of the file that is written in."""
    return stub.stub_of([asked(root, task)], header(root, task, title, minutes, expected), task.package)


def asked(root: Path, task: Task) -> tuple[str, str]:
    """(stem, text) of the module that holds the functions, without its other functions and constants."""
    stem = next(s for s in reversed(task.exports) if task.name in definitions(root, task.package, s))
    text = (root / "tangled" / task.package / f"{stem}.py").read_text(encoding="utf-8")
    tree = parse(text)
    kept = [node for node in tree.body if getattr(node, "name", "") in task.functions]
    wanted = {name for node in kept for name in stub.evaluated_names(node)} - set(task.functions)
    for node in tree.body:                       # decorators and constants, and what those need in their turn
        if wanted & stub.names_bound(node) and node not in kept:
            kept.append(node)
    wanted |= {name for node in kept if getattr(node, "name", "") not in task.functions for name in stub.names_in(node)}
    kept += [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)) and is_given(node, wanted)]
    lines = text.splitlines()
    kept.sort(key=lambda node: node.lineno)
    pieces = ["\n".join(lines[first(node) - 1:node.end_lineno]) for node in kept]
    return stem, "\n\n\n".join(pieces) + "\n"


def is_given(node, wanted: set[str]) -> bool:
    """Is an import one of NumPy, of the book, or needed while the page is imported? What else helps is to be found."""
    modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    bound = {(a.asname or a.name).partition(".")[0] for a in node.names}
    return modules[0].split(".")[0] in ("numpy", "tangled") or bool(bound & wanted)


def first(node) -> int:
    """The first line of a statement, its decorators included."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def header(root: Path, task: Task, title: str, minutes: int, expected: list[dict]) -> str:
    """The comment above: the task, the examples with what they give, what else may be called."""
    lines = [f"Interview, topic {task.topic}, {plaintext.plain_line(title)}: {minutes} minutes.", ""]
    lines += textwrap.wrap(plaintext.plain_line(" ".join(task.says.split())), WIDTH)
    lines += ["", "Two examples, run whenever you save:"]
    for example, result in zip(task.examples, expected):
        head, *more = result["text"].split("\n")
        lines += [f"    {example}", f"    -> {head}", *(f"       {line}" for line in more)]
    if there := others(root, task):
        said = f"What else the topic has may be called as it is: {', '.join(there)}."
        lines += ["", *textwrap.wrap(said, WIDTH, break_long_words=False)]
    lines.append("The refusals of bad arguments are ready in the topic's checks, where they are imported below.")
    return "\n".join(f"# {line}".rstrip() for line in lines)


def others(root: Path, task: Task) -> list[str]:
    """The topic's public functions that are not asked for."""
    return [name for stem in task.exports for name in definitions(root, task.package, stem)
            if name not in task.functions]
