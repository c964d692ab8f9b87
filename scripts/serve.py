"""`make serve TOPIC=31`: a chapter's server, in the foreground, until Ctrl-C or SIGTERM.

The front matter names it: `serve: serve`, a module of the package with a `main(argv)`, which is also a command of its
own: `python -m tangled.t31_kv_cache.serve --port 8031`. It runs in this process, so that a signal reaches it itself
and it can finish what it has begun.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from scripts.errors import Problem
from scripts.reading.chapters import Book, find_topic, read_book


def offered(book: Book) -> str:
    """The topics that have a server, in a line."""
    having = [f"TOPIC={c.topic}" for c in book.chapters if c.topic is not None and c.meta.get("serve")]
    return ", ".join(having) or "none so far"


def main(argv: list[str], root: Path = Path(".")) -> int:
    """`--topic 31 [--] ARGS`."""
    topic, rest = (argv[1], argv[2:]) if argv[:1] == ["--topic"] and len(argv) > 1 else ("", list(argv))
    book = read_book(root, only=[])
    if not topic.strip().isdigit():
        what = f"TOPIC={topic!r} is no number" if topic else "TOPIC= is missing"
        raise Problem("", 0, f"{what}; topics with a server: {offered(book)}")
    chapter = find_topic(book, int(topic))
    if not chapter.meta.get("serve"):
        raise Problem("", 0, f"topic {chapter.topic} has no server; topics that do: {offered(book)}")
    file = f"tangled/{chapter.package}/{chapter.meta['serve']}.py"
    if not (root / file).is_file():
        raise Problem(file, 0, "is not there; expected it to be tangled: run make tangle")
    for library in ("OPENBLAS", "OMP", "MKL"):          # small products: one thread is the fastest
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    sys.path.insert(0, str(root.resolve()))
    module = importlib.import_module(f"tangled.{chapter.package}.{chapter.meta['serve']}")
    return module.main(rest[1:] if rest[:1] == ["--"] else rest)
