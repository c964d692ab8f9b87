"""`make solution TOPIC=27 ONLY=rope`: a function of the solution with its chapter line; `make progress` counts it."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

from scripts import learn
from scripts.desk.source import KINDS, Source, Span
from scripts.errors import Problem
from scripts.grading.touching import known_name
from scripts.reading.chapters import Chapter
from scripts.tangling.origin import locate


def main(argv: list[str], root: Path = Path(".")) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts solution", description=__doc__.split("\n")[0])
    parser.add_argument("--topic")
    parser.add_argument("--only", help="a public function or class of the topic")
    given = parser.parse_args(argv)
    _, chapter = learn.topic_of(given.topic, "solution", root)
    if not given.only:
        raise Problem("", 0, f"ONLY= is missing; expected such as: make solution TOPIC={chapter.topic} ONLY=name "
                      f"(all of it is in {learn.solution(chapter)})")
    known_name(root, chapter.package, given.only)
    stem, span = defined(chapter, given.only, root)
    path = f"tangled/{chapter.package}/{stem}.py"
    print(f"{given.only}, {place(root, path, span.top)}\n\n{span.text.rstrip()}")
    if used := helpers(span):
        print("\nIt uses " + ", ".join(f"{each.node.name} ({place(root, path, each.top)})" for each in used) + ".")
    number = seen(root, chapter, given.only)
    print(f"\n({number} solution{'s' * (number != 1)} of topic {chapter.topic} seen; {path}:{span.top})")
    return 0


def defined(chapter: Chapter, name: str, root: Path) -> tuple[str, Span]:
    """The module that the learner's file would replace, and the definition in it: the last, as in the stub."""
    for stem in reversed(chapter.exports):
        path = f"tangled/{chapter.package}/{stem}.py"
        if span := Source.read(root / path, path, "make tangle").find(name):
            return stem, span
    raise Problem("", 0, f"{name} is in none of {', '.join(chapter.exports)}; run make tangle")


def helpers(span: Span) -> list[Span]:
    """The private functions and classes of its module that a definition refers to."""
    used = {n.id for n in ast.walk(span.node) if isinstance(n, ast.Name)}
    return [Span(span.source, node) for node in span.source.tree.body
            if isinstance(node, KINDS) and node.name.startswith("_") and node.name in used]


def place(root: Path, path: str, line: int) -> str:
    """`chapters/27-x.qmd:402`, or the tangled line where the chapter cannot be read."""
    found = locate(root / path, line, root)
    return f"{found[0]}:{found[1]}" if found else f"{path}:{line}"


def seen(root: Path, chapter: Chapter, name: str) -> int:
    """Remember that a solution was looked at; how many of this topic were, each counted once."""
    names = learn.remembered(root).get(str(chapter.topic), {}).get("solutions", [])
    if name not in names:
        learn.remember(root, chapter.topic, solutions=[*names, name])
        names = [*names, name]
    return len(names)
