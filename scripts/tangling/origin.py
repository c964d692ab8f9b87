"""Where a generated line comes from: computed from the chapter when asked for, and stored nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import read_book
from scripts.tangling.outputs import PITFALLS, Output, chapter_outputs
from scripts.tangling.plan import state, text_of

ROOT = Path(__file__).resolve().parents[2]
KNOWN: dict[str, list] = {}          # rows of generated files where no chapters are at hand, as in a page
_TEXTS: dict[tuple, tuple[str, str]] = {}
_FILES: dict[tuple, list] = {}
_CHAPTERS: dict[tuple, dict[str, Output]] = {}


def locate(path, line: int, root: Path | str | None = None) -> tuple[str, int] | None:
    """(chapter, line) that line `line` of a generated file comes from; None if it comes from no chapter."""
    root = os.path.realpath(root or ROOT)
    try:
        target = os.path.relpath(os.path.realpath(path), root).replace(os.sep, "/")
        rows = KNOWN.get(target) or _rows(root, target) if target.startswith(("tangled/", PITFALLS + "/")) else []
    except (Problem, Problems, OSError, ValueError):
        return None
    found = rows[line - 1] if 0 < line <= len(rows) else None
    return found if found and found[1] else None


def _stamp(root: str, path: str) -> tuple:
    stat = os.stat(os.path.join(root, path))
    return root, path, stat.st_mtime_ns, stat.st_size


def _rows(root: str, target: str) -> list[tuple[str, int] | None]:
    """The origin of each line on disk."""
    stamp = _stamp(root, target)
    if stamp not in _TEXTS:
        text = text_of(Path(root, target).read_bytes())
        _TEXTS[stamp] = text, state(text)[1]
    text, source = _TEXTS[stamp]
    if not source.endswith(".qmd"):
        return []
    both = stamp, _stamp(root, source)
    if both not in _FILES:
        made = _outputs(root, source).get(target)
        _FILES[both] = _align(made, text) if made else []
    return _FILES[both]


def _outputs(root: str, source: str) -> dict[str, Output]:
    stamp = _stamp(root, source)
    if stamp not in _CHAPTERS:
        book = read_book(root, source)
        _CHAPTERS[stamp] = chapter_outputs(book.selected[0], book)
    return _CHAPTERS[stamp]


def _align(made: Output, text: str) -> list[tuple[str, int] | None]:
    """Rows for the text on disk: those of the output, or of the lines that both have."""
    if made.text == text:
        return made.rows
    import difflib
    plain = lambda s: re.sub(r"\beq\. [0-9A-Z.]+", "eq.", s).split("\n")
    want, have = plain(made.text), plain(text)
    rows: list[tuple[str, int] | None] = [None] * len(have)
    for a, b, count in difflib.SequenceMatcher(None, want, have, autojunk=False).get_matching_blocks():
        for k in range(min(count, len(made.rows) - a)):
            rows[b + k] = made.rows[a + k]
    return rows
