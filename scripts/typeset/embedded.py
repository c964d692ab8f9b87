"""From a woven project to the finished book: read, number, check, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.errors import Problem, Problems
from scripts.typeset import check, citations
from scripts.typeset.book import EPUB, PDF, Book
from scripts.typeset.memo import Memo
from scripts.typeset.normalise import normalise
from scripts.typeset.project import read_project

FORMATS = ("html", "pdf", "epub")


def typeset(
    project: Path, out: Path, formats=FORMATS, paper: str = "a4", only: str | None = None, *,
    sources: Path | None = None, work: Path | None = None, say: Callable[[str], None] = lambda text: None,
) -> None:
    """Set the Quarto book project in `project` and write the result into `out`.

    `only` is one chapter, by its topic, letter or file name; links to the others become plain text.
    `sources` holds the chapters as their authors wrote them, for the places in messages; `work` keeps
    what can be used again in the next run. Raises Problems with everything that is wrong.
    """
    project, out = Path(project).resolve(), Path(out).resolve()
    unknown = set(formats) - set(FORMATS)
    if unknown:
        raise Problem("", 0, f"unknown format {sorted(unknown)[0]!r}; expected some of {', '.join(FORMATS)}")
    work = Path(work or project.parent / f"{project.name}-typeset")
    memo = Memo(work / "memo.sqlite")
    try:
        book = load(read_project(project, sources, only), memo)
        write(book, out, work, formats, paper, only, say)
        memo.save(prune=only is None and "html" in formats)
    finally:
        memo.close()


def load(project, memo: Memo) -> Book:
    """The checked book, ready to be written. Raises Problems."""
    book = Book(project, memo)
    normalise(book)
    citations.resolve(book)
    check.check(book)
    memo.save()
    if book.problems:
        raise Problems(book.problems)
    return book


def write(book: Book, out: Path, work: Path, formats, paper: str, only: str | None, say) -> None:
    from scripts.typeset import epub, printed, site

    pdf, epub_name = names(book, only)
    if "pdf" in formats:
        say("typesetting the PDF")
        job = printed.start(book, work / "print", paper, out / pdf)
    if "html" in formats:
        say("writing the pages")
        site.write_site(book, out, pdf if "pdf" in formats else None)
    if "epub" in formats:
        say("writing the EPUB")
        epub.write_epub(book, out / epub_name, printed.timestamp())
    if "pdf" in formats:
        printed.finish(job)


def names(book: Book, only: str | None) -> tuple[str, str]:
    """A single chapter does not overwrite the book."""
    if only is None:
        return PDF, EPUB
    stem = book.written[0].stem
    return f"{stem}.pdf", f"{stem}.epub"
