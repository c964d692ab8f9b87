"""What tangling would do: compares what the chapters make with what is on disk, and changes nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book
from scripts.tangling import pitfalls
from scripts.tangling.fresh import walk
from scripts.tangling.outputs import HEADING, Output, digest, outputs, syntax
from scripts.tangling.transaction import Change


@dataclass
class Plan:
    """What tangling would do: `changes` to make, `refused` files with the reason, and all the `outputs`."""

    outputs: dict[str, Output]
    changes: list[Change] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)     # path -> "edited" or "foreign"
    problems: list[Problem] = field(default_factory=list)

    def stop(self) -> bool:
        """Raise the mistakes; True if a file on disk is in the way."""
        if self.problems:
            raise Problems(self.problems)
        return bool(self.refused)


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


def plan(book: Book, whole: bool = True) -> Plan:
    """Compare what the chapters make with what is on disk. `whole`: left-overs of any chapter go, not only
    those of the selected ones."""
    everything = outputs(book)
    made = {target: output for target, output in everything.items() if output.kind != "pitfall"}
    result = Plan(made)
    result.problems += _pitfalls(book, everything)
    files, links, folders = walk(book.root)
    for target, output in made.items():
        if bad := _unsafe(target, links, folders, files):
            result.problems.append(Problem(output.chapter, _first(output), bad))
        else:
            _compare(book.root, target, output, files, result)
    ours = {c.path for c in book.selected}
    for path in sorted(set(files) - set(made)):
        _left_over(book.root, path, None if whole else ours, result)
    return result


def _pitfalls(book: Book, everything: dict[str, Output]) -> list[Problem]:
    """Wrong versions are built elsewhere and later; that they compile is seen here."""
    wrong = {t: o for t, o in everything.items() if o.kind == "pitfall"}
    problems = []
    for path in dict.fromkeys(o.chapter for o in wrong.values()):
        texts = {t: o.text for t, o in wrong.items() if o.chapter == path}
        problems += pitfalls.unseen(book.root, path, texts, lambda t: syntax(t, wrong[t]))
    return problems


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
