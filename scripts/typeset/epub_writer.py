"""The normalised tree as XHTML for readers of EPUB: MathML instead of KaTeX's boxes, nothing folded."""

from __future__ import annotations

import posixpath

from scripts.typeset.html_writer import HtmlWriter
from scripts.typeset.mathematics import katex
from scripts.typeset.project import Chapter
from scripts.typeset.references import Place


def page_of(chapter: Chapter) -> str:
    return f"{chapter.key}.xhtml"


class EpubWriter(HtmlWriter):
    format = "epub"
    folding = False
    image_hint = ""

    def address(self, place: Place) -> str | None:
        if not self.reaches(place):
            return None
        if place.chapter is self.chapter:
            return f"#{place.id or place.chapter.id}"
        return page_of(place.chapter) + (f"#{place.id}" if place.id else "")

    def image(self, source: str) -> str:
        if source.startswith("/"):
            return source[1:]
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.chapter.path), source))

    def size(self, source: str) -> dict[str, int]:
        return {}

    def math(self, tex: str, display: bool) -> str:
        return katex.mathml(super().math(tex, display))

    def heading_link(self, node: dict) -> str:
        return ""
