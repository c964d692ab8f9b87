"""`make train TOPIC=2`: a chapter's end-to-end programs, one after the other.

The front matter names them: `train: [train_line, train_table]`, modules of the package with a `main(argv)`.
Each is a command of its own as well: `python -m tangled.t02_autograd.train_line --epochs 5`. With
`ARGS=--record` it stores its outcome in golden/records/, from which the chapter quotes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
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


def split(argv: list[str], book: Book) -> tuple[int, str | None, list[str]]:
    """`--topic 2 [--only NAME] [--] ARGS` -> (topic, name, ARGS)."""
    argv, name, topic = list(argv), None, None
    while argv and argv[0] in ("--topic", "--only"):
        flag, value, *argv = [*argv, None] if len(argv) == 1 else argv
        topic, name = (value, name) if flag == "--topic" else (topic, value)
    if not (topic or "").strip().isdigit():
        what = f"TOPIC={topic!r} is no number" if topic else "TOPIC= is missing"
        raise Problem("", 0, f"{what}; topics with a program: {offered(book)}")
    return int(topic), name, argv[1:] if argv[:1] == ["--"] else argv


def main(argv: list[str], root: Path = Path(".")) -> int:
    book = read_book(root, only=[])
    topic, name, rest = split(argv, book)
    chapter = find_topic(book, topic)
    names = programs(chapter)
    if not names:
        raise Problem("", 0, f"topic {topic} has no end-to-end program; topics that do: {offered(book)}")
    if name is not None and name not in names:
        raise Problem("", 0, f"topic {topic} has no program {name!r}; expected one of {', '.join(names)}")
    for stem in [name] if name else names:
        path = root / "tangled" / chapter.package / f"{stem}.py"
        if not path.is_file():
            raise Problem(f"tangled/{chapter.package}/{stem}.py", 0,
                          "is not there; expected it to be tangled: run make tangle")
        before = stamp(root, topic)
        status = run(root, f"tangled.{chapter.package}.{stem}", rest)
        if status:
            return status
        if "--record" in rest and stamp(root, topic) == before:
            raise Problem(f"tangled/{chapter.package}/{stem}.py", 0,
                          "has stored nothing; expected it to call tangled.records.store_run for --record")
    return 0


def stamp(root: Path, topic: int) -> int:
    """When the topic's record was written; 0 if there is none."""
    path = root / "golden" / "records" / f"t{topic:02d}.json"
    return path.stat().st_mtime_ns if path.is_file() else 0


def run(root: Path, module: str, rest: list[str]) -> int:
    """Run one program in the foreground, with one line that says which."""
    print(f"python -m {module}" + "".join(f" {word}" for word in rest), flush=True)
    environment = dict(os.environ)
    environment.setdefault("MPLBACKEND", "Agg")         # programs save their figures, they open no window
    child = subprocess.Popen([sys.executable, "-m", module, *rest], cwd=root, env=environment)
    try:
        return child.wait()
    except KeyboardInterrupt:                           # it got the signal too, and may be saving its state
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
        raise
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
