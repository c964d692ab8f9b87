"""What passed before and has not changed since is not run again (`.cache/gates.json`); with CI=true everything is.

A gate that runs programs asks `before(gate, name, key)` and says `remember(gate, name, key)` where it found nothing
to complain of. The key is a hash of the *contents* of all that has a say, so it does not matter who changed a file,
or when, or whether the clock was right. What failed is never remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
from contextlib import suppress
from pathlib import Path

from scripts import keeping
from scripts.tangling.pitfalls import build
from scripts.weaving.execution_key import closure, versions

MEMORY = Path(".cache/gates.json")
TOOLS = ("scripts/gates", "scripts/grading", "scripts/tangling", "scripts/reading")
BOOK = ("chapters", "tangled", "golden", "data", "scripts")
FILES = ("pyproject.toml", "_quarto.yml", "index.qmd", "references.bib", "scripts/learn.py", "scripts/test.py")
LOCK = threading.Lock()


def everything() -> bool:
    """Is this a run that takes nobody's word for it?"""
    return os.environ.get("CI", "").lower() not in ("", "0", "no", "false")


def before(gate: str, name: str, key: str) -> bool:
    """Did this pass, just as it is?"""
    return not everything() and keeping.recall(MEMORY).get(f"{gate} {name}") == key


def remember(gate: str, name: str, key: str) -> None:
    """It passed."""
    with LOCK, suppress(OSError):
        keeping.save(MEMORY, keeping.recall(MEMORY) | {f"{gate} {name}": key})


def digest(parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def contents(paths) -> dict[str, str]:
    """{path: hash of its content} of files, and of all files in folders."""
    found = {}
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if "__pycache__" not in file.parts and file.is_file():
                found[file.as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def machine() -> dict:
    """What else may change a test's outcome: versions, and the processor."""
    return {**versions(), "machine": platform.machine(), "system": platform.system()}


def tools() -> str:
    """The harness and the tools that grade, the small data sets: each topic's tests depend on them."""
    shared = sorted(Path("tangled").glob("*.py"))
    return digest(contents([*TOOLS, *FILES, "data", *shared]))


def topic_key(chapter, tools: str) -> str:
    """All that the tests of a topic can see: its package, pitfalls and stub, what it imports, golden outputs, tools.

    The chapter's prose has no say.
    """
    own = sorted(p for p in Path("tangled", chapter.package).rglob("*.py"))
    modules, files, _ = closure([p.read_text(encoding="utf-8") for p in own], Path("."))
    named = f"t{chapter.topic:02d}"
    golden = [Path("golden", f"{named}.npz"), *Path("golden").glob(f"*/{named}*")]
    wrong = [(p.stem, p.caught, p.path.read_text(encoding="utf-8")) for p in build(".", chapter.package).values()]
    files = contents([*own, *modules, *files, *golden])
    return digest([files, wrong, chapter.exports, chapter.title, tools, machine()])


def book_key(*more) -> str:
    """All that the finished book is made of, and the book as it lies there."""
    site = [(p.as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(Path("_book").rglob("*"))
            if p.is_file()]
    return digest([contents([*BOOK, *FILES]), site, machine(), *more])
