"""The PDF: Typst source for each chapter, compiled as one book."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.errors import Problem
from scripts.tools import environment, message
from scripts.typeset.assets import FONTS, copy, images, write
from scripts.typeset.book import Book
from scripts.typeset.mathematics.tokens import quoted
from scripts.typeset.site import TEMPLATES
from scripts.typeset.tree import text_of
from scripts.typeset.typst_writer import TypstWriter

PAPERS = {"a4": "a4", "us-letter": "us-letter", "letter": "us-letter"}


def write_sources(book: Book, folder: Path, paper: str) -> Path:
    """Write the Typst sources of the book; -> the main file."""
    copy(TEMPLATES / "book.typ", folder / "book.typ")
    for file, inside in images(book):
        copy(file, folder / inside)
    main, part = f'#import "book.typ": *\n#show: book.with({settings(book, paper)})\n', None
    for chapter in book.written:
        if chapter.part and chapter.part != part and not is_single(book):
            main += f"#bookpart({quoted(chapter.part)})\n"
        part = chapter.part
        source = '#import "/book.typ": *\n' + TypstWriter(book, chapter).chapter_body()
        write(folder / f"{chapter.key}.typ", source)
        main += f'#include "{chapter.key}.typ"\n'
    write(folder / "main.typ", main)
    return folder / "main.typ"


def settings(book: Book, paper: str) -> str:
    """The arguments of the template."""
    project = book.project
    values = {"title": project.title, "subtitle": project.subtitle, "author": project.author,
              "date": project.date, "paper": PAPERS[paper], "language": project.language}
    if is_single(book):
        values["single"] = text_of(book.written[0].title).strip()
    return ", ".join(f"{name}: {quoted(value)}" for name, value in values.items())


def is_single(book: Book) -> bool:
    """One chapter alone has no title page and no contents."""
    return any(not chapter.written for chapter in book.chapters)


def compile_pdf(main: Path, pdf: Path) -> None:
    """Compile with the fonts that Typst and the book ship, and no others.

    The result is PDF/UA-1, the accessible kind, unless a chapter stands in the way (it skips a heading level,
    or a picture has no text alternative): then it is plain tagged PDF.
    """
    import typst

    pdf.parent.mkdir(parents=True, exist_ok=True)
    compiler = typst.Compiler(
        str(main), root=str(main.parent), font_paths=[str(FONTS / "print")], ignore_system_fonts=True
    )
    for standards in (["ua-1"], []):
        try:
            compiler.compile(output=str(pdf), format="pdf", timestamp=timestamp(), pdf_standards=standards)
            return
        except typst.TypstError as fault:
            if not standards or "PDF/UA" not in fault.diagnostic:
                raise Problem(str(main), 0, f"Typst stopped: {fault.diagnostic}") from None


def picture_of_cover(book: Book) -> bytes:
    """The title page as PNG, for the EPUB."""
    import typst

    project = book.project
    words = ", ".join(map(quoted, (project.title, project.subtitle, project.author, project.date)))
    template = (TEMPLATES / "book.typ").read_text(encoding="utf-8")
    source = f"{template}\n#set page(width: 12cm, height: 16cm, margin: 1.6cm)\n#cover({words})\n"
    compiler = typst.Compiler(source.encode(), font_paths=[str(FONTS / "print")], ignore_system_fonts=True)
    return compiler.compile(format="png", ppi=254)


def timestamp() -> int:
    """The date that goes into the files: SOURCE_DATE_EPOCH, else always the same."""
    return int(os.environ.get("SOURCE_DATE_EPOCH", "946684800"))


def start(book: Book, folder: Path, paper: str, pdf: Path) -> subprocess.Popen:
    """Compile in a process of its own, while this one writes the other formats."""
    if paper not in PAPERS:
        raise Problem("", 0, f"unknown paper {paper!r}; expected {' or '.join(sorted(set(PAPERS.values())))}")
    main = write_sources(book, folder, paper)
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.typeset.printed", str(main), str(pdf)],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment(PYTHONIOENCODING="utf-8"),
    )


def finish(job: subprocess.Popen) -> None:
    _, errors = job.communicate()
    if job.returncode:
        raise Problem("", 0, f"the PDF could not be made: {message(errors)[-2000:]}")


if __name__ == "__main__":
    try:
        compile_pdf(Path(sys.argv[1]), Path(sys.argv[2]))
    except Problem as fault:
        sys.exit(str(fault))
