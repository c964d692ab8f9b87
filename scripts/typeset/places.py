"""Where in the chapter, as its author wrote it, something stands that was found in the woven book."""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path

from scripts.typeset.project import Chapter, Project


def _text(file: Path) -> str | None:
    """The file as it is now."""
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=128)
def _read(file: Path, _: int) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


def line_of(project: Project, chapter: Chapter, needle: str, nth: int = 1) -> int:
    """The line of the `nth` `needle` in the chapter's source, 0 where it cannot be told.

    The woven file is searched first, since the tree was made from it; `lines.json` beside it says which line
    of the chapter each of its lines came from. White space in the needle matches any white space, since
    formulas and links may be wrapped.
    """
    words = needle.split()
    if not words:
        return 0
    text = r"\s+".join(map(re.escape, words))
    for expression in (re.compile(text + r"(?![\w-])"), re.compile(text)):
        for folder, lines in ((project.folder, _line_map(project, chapter)), (project.sources, None)):
            line = _search(folder / chapter.path, expression, nth)
            line = lines[line - 1] if line and lines and line <= len(lines) else line
            if line and (lines or folder == project.sources):
                return line
    return 0


def _search(file: Path, expression: re.Pattern, nth: int) -> int:
    text = _text(file) or ""
    hits = list(itertools.islice(expression.finditer(text), nth))
    return text.count("\n", 0, hits[-1].start()) + 1 if hits else 0


def _line_map(project: Project, chapter: Chapter) -> list[int] | None:
    try:
        return json.loads(_text(project.folder / "lines.json") or "{}").get(chapter.path)
    except ValueError:
        return None
