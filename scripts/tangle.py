"""`make tangle`: chapters -> tangled/.

A generated file names its chapter and carries a digest of its text in its first line. So a file that is
clean, stale, edited by hand or not ours can be told from the file alone, in a fresh clone without a database.

The parts: `front.py` and `fences.py` read, `chapters.py` is the book, `expand.py` puts chunks together,
`outputs.py` makes the files' texts, `plan.py` compares them with the disk, `transaction.py` writes all or
nothing, `fresh.py` sees that there is nothing to do, `origin.py` finds a line's chapter.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.tangling import fresh


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
    if only is None and fresh.unchanged(args.root):
        if not args.check:
            print("tangled/ is up to date")
        say_unlisted(args.root)
        return 0
    import gc
    collecting = gc.isenabled()
    gc.disable()                                      # a short run that makes no cycles to speak of
    try:
        status = check(args.root, only) if args.check else tangle(args.root, only)
    finally:
        if collecting:
            gc.enable()
    if not status:
        say_unlisted(args.root)
    return status


def say_unlisted(root: Path) -> None:
    """Name the chapters that are there and that `_quarto.yml` does not list: nothing is made of them."""
    named = (root / "_quarto.yml").read_bytes()
    for path in sorted(root.glob("chapters/*.qmd")):
        if (name := path.relative_to(root).as_posix()).encode() not in named:
            print(f"{name}: is not listed in _quarto.yml, so nothing is made of it; expected it under `chapters:`",
                  file=sys.stderr)


def tangle(root: Path, only=None) -> int:
    """Write what the chapters make. 1 and nothing changed if a generated file was edited by hand."""
    import time

    from scripts.reading.chapters import read_book
    from scripts.tangling.plan import plan, report_refused
    from scripts.tangling.transaction import commit, lock
    with lock(root):
        start, before = time.time_ns(), _look(root)
        book = read_book(root, only)
        result = plan(book, only is None)
        if result.stop():
            report_refused(root, result)
            return 1
        commit(root, result.changes)
    for change in result.changes:
        what = "removed" if change.new is None else "new" if change.old is None else "changed"
        print(f"{change.path}: {what}")
    if not result.changes:
        print("tangled/ is up to date")
    if only is None:
        contents = {path: output.text.encode() for path, output in result.outputs.items()}
        contents |= {c.path: c.raw for c in book.chapters} | {"_quarto.yml": book.listing}
        fresh.remember(root, before, start, contents, ["_quarto.yml", *(c.path for c in book.chapters)])
    return 0


def _look(root: Path) -> dict | None:
    sources = [p.relative_to(root).as_posix() for p in [*root.glob("*.qmd"), *root.glob("chapters/*.qmd")]]
    return fresh.snapshot(root, ["_quarto.yml", *sources])


def check(root: Path, only=None) -> int:
    """Name the files that tangling would change; 1 if there are any."""
    from scripts.reading.chapters import read_book
    from scripts.tangling.plan import plan
    result = plan(read_book(root, only), only is None)
    result.stop()
    words = {"edited": "edited by hand", "foreign": "not made by tangle",
             "left over": "left over and edited by hand"}
    lines = {c.path: "left over" if c.new is None else "missing" if c.old is None else "stale"
             for c in result.changes}
    lines |= {path: words[kind] for path, kind in result.refused.items()}
    for path, what in sorted(lines.items()):
        print(f"{path}: {what}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
