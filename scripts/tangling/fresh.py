"""Tells in a few milliseconds that nothing has changed since the last `make tangle`.

`.cache/tangle.json` holds each file's stat, and for a file younger than the clock is fine the hash it ought
to have. It only ever saves work: without it, the result is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from scripts.reading import STAGE

CACHE = ".cache/tangle.json"
TICK = 50_000_000                                     # ns; a younger file may change and its stat not show it
TOOLS = Path(__file__).resolve().parents[1]
PARTS = (".", "reading", "tangling")               # of the tools, those that have a say in what is tangled


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
                elif entry.name.endswith(".py"):
                    files[path] = entry.stat(follow_symlinks=False)
    return files, links, folders


def _mark(stat: os.stat_result) -> list[int]:
    return [stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino]


def _sha(data: bytes) -> str:
    import hashlib
    return hashlib.sha256(data).hexdigest()


def snapshot(root: Path, sources: list[str]) -> dict | None:
    """The stat of every file that has a say: the sources, tangled/ and the tools. None if one is missing."""
    files, links, _ = walk(root)
    if links or (root / STAGE).exists():
        return None
    marks = {path: _mark(stat) for path, stat in files.items()}
    try:
        for path in sources:
            marks[path] = _mark(os.stat(root / path))
        for part in PARTS:
            with os.scandir(TOOLS / part) as entries:
                marks |= {f"tools/{part}/{e.name}": _mark(e.stat()) for e in entries if e.name.endswith(".py")}
    except OSError:
        return None
    return marks


def unchanged(root: Path) -> bool:
    """True if the last run found, or left, everything in order and nothing has moved since."""
    try:
        stored = json.loads((root / CACHE).read_bytes())
        if stored["python"] != sys.version or snapshot(root, stored["sources"]) != stored["marks"]:
            return False
        young = stored["young"]
        if any(_sha((root / path).read_bytes()) != sha for path, sha in young.items()):
            return False
        if young and min(time.time_ns() - stored["marks"][path][1] for path in young) > 2 * TICK:
            stored["young"] = {}
            _write(root, stored)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def remember(root: Path, before: dict | None, start: int, contents: dict[str, bytes], sources: list[str]):
    """Store that all is in order. `before`: the snapshot at time `start` (ns), before anything was read;
    `contents`: what each source and generated file holds, as far as this run knows.
    """
    marks = snapshot(root, sources)
    if before is None or marks is None:
        return
    young = {}
    for path, mark in marks.items():
        if mark[1] < start - TICK and mark[0] < start - TICK:
            if before.get(path) != mark:
                return
        elif path in contents:
            young[path] = _sha(contents[path])
        else:
            return
    _write(root, {"python": sys.version, "sources": sources, "marks": marks, "young": young})


def _write(root: Path, stored: dict) -> None:
    path = root / CACHE
    part = path.with_name(f"tangle.{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(stored))
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
