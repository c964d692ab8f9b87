"""Everything that can be wrong with a normalised book, found before a thing is written, and all at once."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from difflib import get_close_matches

from scripts.typeset.book import LABEL, Book
from scripts.typeset.mathematics import katex
from scripts.typeset.mathematics.tokens import TexError
from scripts.typeset.mathematics.typst_math import convert
from scripts.typeset.project import Chapter
from scripts.typeset.references import is_external, is_reference, label_id, place_of
from scripts.typeset.tree import each


def check(book: Book, progress: Callable[[str], None] = lambda text: None) -> None:
    """Note every broken reference, link, image and formula in `book.problems`."""
    for chapter in book.written:
        progress(chapter.path)
        each(chapter.blocks, Checker(book, chapter).visit)


class Checker:
    def __init__(self, book: Book, chapter: Chapter):
        self.book, self.chapter = book, chapter

    def visit(self, node: dict) -> None:
        method = getattr(self, f"check_{node['t']}", None)
        if method:
            method(node)

    def problem(self, needle: str, message: str) -> None:
        self.book.problem(self.chapter, needle, message)

    def check_Cite(self, node: dict) -> None:
        if not is_reference(node):
            return
        for item in node["c"][0]:
            id = label_id(item["citationId"])
            if id in self.book.labels:
                continue
            near = get_close_matches(id, [known for known in self.book.labels if known[:3] == id[:3]], 1)
            hint = f"; did you mean @{near[0]}?" if near else ""
            self.problem(f"@{id}", f"@{id} refers to nothing; expected a label of the book{hint}")

    def check_Link(self, node: dict) -> None:
        url = node["c"][2][0]
        if is_external(url) or url.startswith("#fn"):
            return
        if place_of(self.book, self.chapter, url) is None:
            ids = [f"#{id}" for id in self.chapter.ids] if url.startswith("#") else []
            near = get_close_matches(url, ids, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.problem(
                url, f"the link {url!r} leads nowhere; expected a chapter or an id of the book{hint}"
            )

    def check_Image(self, node: dict) -> None:
        source = node["c"][2][0]
        if is_external(source):
            self.problem(source, f"the image {source!r} would be loaded from the network; expected a file")
        elif not image_file(self.book, self.chapter, source).is_file():
            self.problem(source, f"the image {source!r} is not there")

    def check_Math(self, node: dict) -> None:
        self.formula(node["c"][1], False)

    def check_Equation(self, node: dict) -> None:
        self.formula(node["tex"], True)

    def formula(self, tex: str, display: bool) -> None:
        for engine in (
            lambda: katex.render(tex.strip(), display, self.book.memo),
            lambda: convert(tex.strip()),
        ):
            try:
                engine()
            except TexError as fault:
                shown = " ".join(tex.split())
                shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
                self.problem(tex.strip(), f"formula: {fault} (in {shown})")
                return

    def check_RawInline(self, node: dict) -> None:
        kind, text = node["c"]
        if not text.lstrip().startswith("<!--"):
            self.problem(text.strip(), f"raw {kind} is not set in every format: {text.strip()[:60]!r}")

    check_RawBlock = check_RawInline

    def check_Statement(self, node: dict) -> None:
        if not LABEL.fullmatch(node["label"]):
            self.problem(node["label"], f"not a label: {node['label']!r}")


def image_file(book: Book, chapter: Chapter, source: str):
    """Where an image lies: relative to its chapter, or from the project's root with a leading slash."""
    base = "" if source.startswith("/") else posixpath.dirname(chapter.path)
    return book.project.folder / posixpath.normpath(posixpath.join(base, source.lstrip("/")))
