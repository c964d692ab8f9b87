"""Where links and `@label` references lead, and what a reference reads like."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from scripts.typeset.book import LABEL, Book, Label
from scripts.typeset.project import Chapter
from scripts.typeset.tree import text_of

NBSP = "\u00a0"


@dataclass(frozen=True)
class Place:
    """A chapter of the book, and an id in it ("" for its beginning)."""

    chapter: Chapter
    id: str

    def __hash__(self) -> int:
        return hash((self.chapter.path, self.id))


def is_external(url: str) -> bool:
    return url.startswith(("http://", "https://", "mailto:"))


def place_of(book: Book, chapter: Chapter, url: str) -> Place | None:
    """The place an internal link leads to; None if there is no such chapter or id."""
    path, _, id = url.partition("#")
    if id.startswith("ref-") and not path and book.references_chapter:
        return Place(book.references_chapter, id)
    target = chapter
    if path:
        target = book.by_path(posixpath.normpath(posixpath.join(posixpath.dirname(chapter.path), path)))
    if target is None:
        return None
    if id and id != target.id and id not in target.ids and target.written:
        return None
    return Place(target, id)


def label_id(id: str) -> str:
    """`@Eq-27-rotation`, at the beginning of a sentence, is `@eq-27-rotation`."""
    small = id[:1].lower() + id[1:]
    return small if LABEL.fullmatch(small) else id


def is_reference(cite: dict) -> bool:
    """Whether a pandoc Cite is `@fig-…` rather than a citation."""
    return any(LABEL.fullmatch(label_id(item["citationId"])) for item in cite["c"][0])


@dataclass
class Reference:
    label: Label
    text: str
    after: list


def references_in(book: Book, cite: dict) -> list[Reference]:
    """The references of one Cite, each with its text ("Equation 27.4") and what the author put around it."""
    out = []
    for item in cite["c"][0]:
        label = book.labels.get(label_id(item["citationId"]))
        if label is None:
            continue
        bare = item["citationMode"]["t"] == "SuppressAuthor"
        out.append(Reference(label, _text(label, bare, item["citationPrefix"]), item["citationSuffix"]))
    return out


def _text(label: Label, bare: bool, prefix: list) -> str:
    if not label.number:
        return text_of(label.title).strip()
    if bare:
        return label.number
    word = text_of(prefix).strip() if prefix else label.word
    return f"{word}{NBSP}{label.number}"
