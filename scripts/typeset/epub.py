"""The EPUB."""

from __future__ import annotations

from pathlib import Path

from scripts.typeset.book import Book


def write_epub(book: Book, file: Path) -> None:
    raise NotImplementedError
