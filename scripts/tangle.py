"""`make tangle`: chapters -> tangled/. See `scripts/chapters.py`, `expand.py`, `outputs.py`, `transaction.py`.

A generated file names its chapter and carries a digest of its text in its first line. So a file that is clean,
stale, edited by hand or not ours can be told from the file alone, in a fresh clone and without a database.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.chapters import Book, read_book
from scripts.errors import Problem, Problems
from scripts.outputs import HEADING, Output, digest, outputs, syntax
from scripts.transaction import STAGE, Change, commit, lock

__all__ = ["Output", "Plan", "locate", "main", "outputs", "plan"]


@dataclass
class Plan:
    """What tangling would do: `changes` to make, `refused` files with the reason, and all the `outputs`."""

    outputs: dict[str, Output]
    changes: list[Change] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)     # path -> "edited" or "foreign"
    problems: list[Problem] = field(default_factory=list)


def text_of(data: bytes) -> str:
    """A file's text with plain newlines; what is not UTF-8 survives a comparison, no more."""
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def state(text: str) -> tuple[str, str]:
    """(clean, edited or foreign; the source its first line names)."""
    head, _, body = text.partition("\n")
    match = HEADING.match(head)
    if match:
        return ("clean" if digest(body) == match[2] else "edited"), match[1]
    for line in text.split("\n")[1:40]:
        if found := HEADING.match(line):
            return "edited", found[1]
    return "foreign", ""


def walk(root: Path) -> tuple[dict[str, os.stat_result], set[str], set[str]]:
    """Files below tangled/ (path -> stat), symbolic links, folders; caches and the stage left out."""
    files, links, folders = {}, set(), set()
    todo = ["tangled"] if (root / "tangled").is_dir() else []
    if (root / "tangled").is_symlink():
        links.add("tangled")
    while todo:
        folder = todo.pop()
        folders.add(folder)
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_symlink():
                    links.add(path)
                elif entry.is_dir():
                    if entry.name != "__pycache__" and path != STAGE:
                        todo.append(path)
                elif not entry.name.endswith(".pyc"):
                    files[path] = entry.stat(follow_symlinks=False)
    return files, links, folders


def plan(book: Book, whole: bool = True) -> Plan:
    """Compare what the chapters make with what is on disk. `whole`: left-overs of any chapter go, not only
    those of the selected ones."""
    made = outputs(book)
    result = Plan(made)
    files, links, folders = walk(book.root)
    for target, output in made.items():
        if bad := _unsafe(target, links, folders, files):
            result.problems.append(Problem(output.chapter, _first(output), bad))
        else:
            _compare(book.root, target, output, files, result)
    ours = {c.path for c in book.selected}
    for path in sorted(set(files) - set(made)):
        if path.endswith(".py"):
            _left_over(book.root, path, None if whole else ours, result)
    return result


def _first(output: Output) -> int:
    return next((line for _, line in output.rows if line), 0)


def _unsafe(target: str, links: set[str], folders: set[str], files) -> str:
    parts = target.split("/")
    for i in range(1, len(parts) + 1):
        path = "/".join(parts[:i])
        if path in links:
            return f"target {target!r} leads through the symbolic link {path}; expected a plain file"
        if i < len(parts) and path in files:
            return f"target {target!r}: {path} is a file; expected a folder"
    return f"target {target!r} is a folder; expected a file" if target in folders else ""


def _compare(root: Path, target: str, output: Output, files, result: Plan) -> None:
    old = (root / target).read_bytes() if target in files else None
    if old == output.text.encode():
        return
    if problem := syntax(target, output):
        result.problems.append(problem)
        return
    if old:
        text = text_of(old)
        if text == output.text:
            return
        kind = state(text)[0]
        if kind != "clean" and text.partition("\n")[2] != output.body:
            result.refused[target] = kind
            return
    result.changes.append(Change(target, old, output.text.encode()))


def _left_over(root: Path, path: str, sources: set[str] | None, result: Plan) -> None:
    """A file that tangle once made and no chapter makes any more."""
    old = (root / path).read_bytes()
    kind, source = state(text_of(old))
    if kind == "foreign" or (sources is not None and source not in sources):
        return
    if kind == "clean":
        result.changes.append(Change(path, old, None))
    else:
        result.refused[path] = "left over"


def difference(root: Path, target: str, output: Output | None) -> str:
    """The hand edit as a unified diff."""
    import difflib
    have = text_of((root / target).read_bytes()).split("\n")
    want = output.text.split("\n") if output else [""]
    have, want = have[1:] if HEADING.match(have[0]) else have, want[1:]
    return "\n".join(difflib.unified_diff(want, have, f"{target} (from the chapter)", f"{target} (on disk)",
                                          lineterm="", n=3))


def report_refused(root: Path, result: Plan) -> None:
    """Say which files were not touched, and why; show the hand edits."""
    for target, kind in result.refused.items():
        output = result.outputs.get(target)
        if kind == "foreign":
            print(f"{target}: not made by tangle, and {output.chapter}:{_first(output)} wants that name; "
                  "expected no such file: move it away", file=sys.stderr)
        elif kind == "left over":
            print(f"{target}: no chapter makes it any more, but it was edited by hand; kept. "
                  "Move it away or delete it", file=sys.stderr)
        else:
            print(difference(root, target, output), file=sys.stderr)
            print(f"{target}: edited by hand; nothing was changed. `make stitch` takes the edit into "
                  f"{output.chapter}; deleting the file and `make tangle` drops it", file=sys.stderr)


def options(argv: list[str], verb: str):
    import argparse
    parser = argparse.ArgumentParser(prog=f"python -m scripts {verb}")
    parser.add_argument("--root", type=Path, default=Path("."), help="the repository")
    parser.add_argument("--topic", type=int, help="one topic's chapter alone")
    parser.add_argument("--only", metavar="CHAPTER", help="one chapter alone, by its path")
    if verb == "tangle":
        parser.add_argument("--check", action="store_true", help="say what would change; change nothing")
    return parser.parse_args(argv)


def selection(args) -> list | None:
    return [x for x in (args.topic, args.only) if x is not None] or None


def main(argv: list[str]) -> int:
    args = options(argv, "tangle")
    only = selection(args)
    if args.check:
        return _check(plan(read_book(args.root, only), only is None))
    with lock(args.root):
        result = plan(read_book(args.root, only), only is None)
        if result.problems:
            raise Problems(result.problems)
        if result.refused:
            report_refused(args.root, result)
            return 1
        commit(args.root, result.changes)
    for change in result.changes:
        print(f"{change.path}: " + ("removed" if change.new is None else "new" if change.old is None else "changed"))
    if not result.changes:
        print("tangled/ is up to date")
    return 0


def _check(result: Plan) -> int:
    if result.problems:
        raise Problems(result.problems)
    words = {"edited": "edited by hand", "foreign": "not made by tangle", "left over": "left over and edited by hand"}
    lines = {c.path: "left over" if c.new is None else "missing" if c.old is None else "stale" for c in result.changes}
    lines |= {path: words[kind] for path, kind in result.refused.items()}
    for path, what in sorted(lines.items()):
        print(f"{path}: {what}")
    return 1 if lines else 0


# -- where a generated line comes from -----------------------------------------------------------------------------

_LOCATED: dict[tuple, list[tuple[str, int]]] = {}


def locate(path, line: int, root: Path | str | None = None) -> tuple[str, int] | None:
    """(chapter, line) of a line of a generated file, or None. Reads that file and its chapter alone, once."""
    root = Path(root) if root else Path(__file__).resolve().parent.parent
    try:
        target = os.path.relpath(os.path.realpath(path), os.path.realpath(root)).replace(os.sep, "/")
        if not target.startswith("tangled/"):
            return None
        rows = _rows(root, target)
    except (Problem, Problems, OSError, ValueError):
        return None
    found = rows[line - 1] if 0 < line <= len(rows) else None
    return found if found and found[1] else None


def _rows(root: Path, target: str) -> list[tuple[str, int] | None]:
    """The origin of each line on disk; lines that a hand edit changed have none."""
    text = text_of((root / target).read_bytes())
    source = state(text)[1]
    chapter = root / source
    key = (str(root), target, digest(text), chapter.stat().st_mtime_ns, chapter.stat().st_size)
    if key not in _LOCATED:
        _LOCATED[key] = _trace(root, target, text, source) if source.endswith(".qmd") else []
    return _LOCATED[key]


def _trace(root: Path, target: str, text: str, source: str) -> list[tuple[str, int] | None]:
    import re

    from scripts.outputs import chapter_outputs
    book = read_book(root, source)
    output = chapter_outputs(book.selected[0], book).get(target)
    if output is None:
        return []
    if output.text == text:
        return output.rows
    import difflib
    plain = lambda s: re.sub(r"eq\. [0-9A-Z.]+", "eq.", s)
    want, have = [plain(s) for s in output.text.split("\n")], [plain(s) for s in text.split("\n")]
    rows: list[tuple[str, int] | None] = [None] * len(have)
    for a, b, n in difflib.SequenceMatcher(None, want, have, autojunk=False).get_matching_blocks():
        for k in range(n):
            if a + k < len(output.rows):
                rows[b + k] = output.rows[a + k]
    return rows
