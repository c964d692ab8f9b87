"""Who sets the woven book: the embedded typesetter, which is always there, or Quarto where it is installed.

`auto`: Quarto (1.9 or newer) makes the site where it is installed, the embedded typesetter all else, since
Quarto's PDF goes through a writer that gets some formulas wrong.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.reading.chapters import Book
from scripts.tools import environment

LEAST = (1, 9)


def quarto() -> tuple[str, tuple[int, int]] | None:
    """Quarto's program and version, if there is one."""
    program = shutil.which("quarto")
    if program is None:
        return None
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60,
                              env=environment()).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"\s*(\d+)\.(\d+)", text)
    return (program, (int(match[1]), int(match[2]))) if match else None


def choose(engine: str, formats: tuple[str, ...]) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """(Quarto's program, formats that it makes, formats that the embedded typesetter makes)."""
    if engine == "embedded":
        return None, (), formats
    found = quarto()
    if engine == "quarto":
        if found is None:
            raise Problem("", 0, "ENGINE=quarto, but there is no `quarto` to be run; install Quarto 1.9 or "
                                 "newer (pip install quarto-cli, or quarto.org), or use ENGINE=embedded")
        if found[1] < LEAST:
            raise Problem("", 0, f"ENGINE=quarto, but {found[0]} is version {found[1][0]}.{found[1][1]}; "
                                 "expected 1.9 or newer, or ENGINE=embedded")
        return found[0], formats, ()
    if found is None or found[1] < LEAST:
        return None, (), formats
    return found[0], tuple(f for f in formats if f == "html"), tuple(f for f in formats if f != "html")


def typeset_book(wanted, book: Book, said: list[str]) -> list[str]:
    """Set the woven book in `build/book/`; the files that a reader opens, below the root."""
    project, out = wanted.root / "build" / "book", wanted.root / "_book"
    program, by_quarto, embedded = choose(wanted.engine, wanted.formats)
    only = None if len(book.selected) == len(book.chapters) else [c.path for c in book.selected]
    problems: list[str] = []
    if by_quarto:
        said.append(f"{', '.join(by_quarto)} by Quarto")
        from scripts.typeset.quarto import render
        for chapter in only or [None]:
            try:
                render(program, project, out, by_quarto, wanted.paper, chapter, said=said)
            except Problems as failed:                  # the other formats are made all the same
                problems += failed.problems
    if embedded:
        from scripts.typeset import typeset
        said.append(f"{', '.join(embedded)} by the embedded typesetter")
        for chapter in only or [None]:
            typeset(project, out, embedded, wanted.paper, chapter)
    if problems:
        raise Problems(problems)
    return results(out, wanted, only)


def results(out: Path, wanted, only) -> list[str]:
    """What there is to open."""
    from scripts.typeset.book import EPUB, PDF
    found = [out / page.replace(".qmd", ".html") for page in only or ["index.qmd"]]
    books = [Path(path).stem for path in only] if only else [Path(PDF).stem, Path(EPUB).stem]
    found += [out / f"{stem}.{kind}" for stem in dict.fromkeys(books) for kind in ("pdf", "epub")]
    kinds = {f".{format}" for format in wanted.formats}
    return [p.relative_to(wanted.root).as_posix() for p in found if p.is_file() and p.suffix in kinds]
