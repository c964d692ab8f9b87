"""JSON files that survive the end of the process at any moment: written beside, then put in place in one step."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path


def save(path: Path, data: dict) -> None:
    """Replace the file by `data`, all of it or nothing."""
    write(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    for left in path.parent.glob(f".{path.name.lstrip('.')}.*.tmp"):     # of a process that was killed
        if left != temporary and time.time() - left.stat().st_mtime > 60:
            left.unlink(missing_ok=True)


def recall(path: Path) -> dict:
    """What was saved only to save work; {} where nothing was, and where it is damaged."""
    with suppress(OSError, ValueError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            return data
    return {}


def load(path: Path, good=lambda data: True) -> dict:
    """What was saved; {} where nothing was. A damaged file is put aside, with a word."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and good(data):
            return data
    except FileNotFoundError:
        return {}
    except (ValueError, OSError, TypeError, KeyError, AttributeError):
        pass
    aside, n = path.with_name(f"{path.stem}.damaged.json"), 1
    while aside.exists():
        aside, n = path.with_name(f"{path.stem}.damaged.{n}.json"), n + 1
    os.replace(path, aside)
    print(f"{path.name} could not be read; it is now {aside.name}, and the record starts afresh.")
    return {}
