"""Where in the chapter, as its author wrote it, something stands that was found in the woven book."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from scripts.typeset.project import Chapter, Project


@functools.lru_cache(maxsize=128)
def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


def line_of(project: Project, chapter: Chapter, needle: str) -> int:
    """The line of `needle` in the chapter's source, else in the woven file, else 0.

    White space in the needle matches any white space, since formulas and links may be wrapped.
    """
    words = needle.split()
    if not words:
        return 0
    pattern = re.compile(r"\s+".join(map(re.escape, words)) + r"(?![\w-])")
    loose = re.compile(r"\s+".join(map(re.escape, words)))
    for expression in (pattern, loose):
        for folder in (project.sources, project.folder):
            text = _text(folder / chapter.path)
            hit = expression.search(text) if text else None
            if hit:
                return text.count("\n", 0, hit.start()) + 1
    return 0
