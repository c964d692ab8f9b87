"""`make train TOPIC=2`: a chapter's end-to-end programs, one after the other.

The front matter names them: `train: [train_line, train_table]`, modules of the package with a `main(argv)`.
Each is a command of its own as well: `python -m tangled.t02_autograd.train_line --epochs 5`. With
`ARGS=--record` it stores its outcome in golden/records/, from which the chapter quotes it. With `IMPL=workspace` it
runs on the reader's own chapters where they pass all their tests, and on level 2 elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.errors import Problem
from scripts.reading.chapters import Book, Chapter, find_topic, read_book


def programs(chapter: Chapter) -> list[str]:
    return [str(stem) for stem in chapter.meta.get("train") or []]


def offered(book: Book) -> str:
    """The topics that have programs, with their names, in a line."""
    having = [f"TOPIC={c.topic} ({', '.join(programs(c))})" for c in book.chapters
              if c.topic is not None and programs(c)]
    return ", ".join(having) or "none so far"


@dataclass
class Given:
    """What the command asks for: a topic's number as text, a program or None, whose code, and the program's options."""

    topic: str = ""
    only: str | None = None
    impl: str = "levels"
    rest: list[str] = field(default_factory=list)


def split(argv: list[str]) -> Given:
    """`--topic 2 [--only NAME] [--impl workspace] [--] ARGS`, taken apart."""
    argv, given = list(argv), Given()
    while argv and argv[0] in ("--topic", "--only", "--impl"):
        flag, value, *argv = [*argv, None] if len(argv) == 1 else argv
        setattr(given, flag[2:], value)
    given.rest = argv[1:] if argv[:1] == ["--"] else argv
    return given


def wanted(given: Given, book: Book) -> tuple[Chapter, list[str]]:
    """The chapter and those of its programs that the command asks for, or a Problem in one line."""
    if not (given.topic or "").strip().isdigit():
        what = f"TOPIC={given.topic!r} is no number" if given.topic else "TOPIC= is missing"
        raise Problem("", 0, f"{what}; topics with a program: {offered(book)}")
    if given.impl not in ("levels", "workspace"):
        raise Problem("", 0, f"IMPL={given.impl!r}; expected workspace, or it left out")
    if given.impl == "workspace" and "--record" in given.rest:
        raise Problem("", 0, "a record is of the book's own code; expected IMPL=workspace without --record")
    chapter = find_topic(book, int(given.topic))
    names = programs(chapter)
    if not names:
        raise Problem("", 0, f"topic {chapter.topic} has no end-to-end program; topics that do: {offered(book)}")
    if given.only is not None and given.only not in names:
        raise Problem("", 0, f"topic {chapter.topic} has no program {given.only!r}; expected one of {', '.join(names)}")
    return chapter, [given.only] if given.only else names


def main(argv: list[str], root: Path = Path(".")) -> int:
    book = read_book(root, only=[])
    given = split(argv)
    chapter, names = wanted(given, book)
    for stem in names:
        if not (root / "tangled" / chapter.package / f"{stem}.py").is_file():
            raise Problem(f"tangled/{chapter.package}/{stem}.py", 0,
                          "is not there; expected it to be tangled: run make tangle")
    files = assembled(book, chapter, names, root) if given.impl == "workspace" else None
    for stem in names:
        before = stamp(root, chapter.topic)
        status = run(root, f"tangled.{chapter.package}.{stem}", given.rest, files)
        if status:
            return status
        if "--record" in given.rest and stamp(root, chapter.topic) == before:
            raise Problem(f"tangled/{chapter.package}/{stem}.py", 0,
                          "has stored nothing; expected it to call tangled.records.store_run for --record")
    return 0


def assembled(book: Book, chapter: Chapter, names: list[str], root: Path) -> dict[str, str]:
    """Package -> the reader's file, or "" for level 2; what each topic is trained with is printed."""
    from scripts.assembling.accepted import choose
    choices = choose(book, chapter.package, names, root)
    print("topics below, and whose code they run on:")
    for choice in choices:
        print(choice.line(), flush=True)
    return {choice.chapter.package: str(choice.file.resolve()) if choice.file else "" for choice in choices}


def stamp(root: Path, topic: int) -> int:
    """When the topic's record was written; 0 if there is none."""
    path = root / "golden" / "records" / f"t{topic:02d}.json"
    return path.stat().st_mtime_ns if path.is_file() else 0


def run(root: Path, module: str, rest: list[str], files: dict[str, str] | None = None) -> int:
    """Run one program in the foreground, with one line that says which; `files` puts it together anew."""
    environment = dict(os.environ)
    environment.setdefault("MPLBACKEND", "Agg")         # programs save their figures, they open no window
    for library in ("OPENBLAS", "OMP", "MKL"):          # as in the records; threads that wait for a busy core waste it
        environment.setdefault(f"{library}_NUM_THREADS", "1")
    if files is not None and "--folder" not in rest and keeps_checkpoints(root, module):
        rest = [*rest, "--folder", folder_of(files)]
    command = ["-m", "scripts.assembling.run", module, json.dumps(files or {}), *rest]
    print(f"python -m {module}" + "".join(f" {word}" for word in rest), flush=True)
    child = subprocess.Popen([sys.executable, *command], cwd=root, env=environment)
    try:
        return child.wait()
    except KeyboardInterrupt:                           # it got the signal too, and may be saving its state
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
        if "--fresh" in rest:
            print("to go on, leave out --fresh, which begins anew", flush=True)
        raise
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def keeps_checkpoints(root: Path, module: str) -> bool:
    """Does a program take the folder of its checkpoints as an option?"""
    return '"--folder"' in (root / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def folder_of(files: dict[str, str]) -> str:
    """Where the checkpoints of a run on these files live: one that another version began is not gone on with."""
    texts = "".join(package + (Path(file).read_text(encoding="utf-8") if file else "")
                    for package, file in sorted(files.items()))
    return f"checkpoints/workspace-{hashlib.sha256(texts.encode()).hexdigest()[:8]}"
