"""What both writers share: walking the normalised tree, and what references lead to."""

from __future__ import annotations

from scripts.typeset import citations
from scripts.typeset.book import Book
from scripts.typeset.project import Chapter
from scripts.typeset.references import Place, Reference, is_external, is_reference, place_of, references_in
from scripts.typeset.tree import attributes


class Writer:
    """A method `inline_X` or `block_X` for each node type X; each answers text of the output format."""

    format = ""

    def __init__(self, book: Book, chapter: Chapter):
        self.book, self.chapter = book, chapter

    def inlines(self, nodes: list) -> str:
        return "".join(getattr(self, f"inline_{node['t']}")(node) for node in nodes)

    def blocks(self, nodes: list) -> str:
        return "".join(getattr(self, f"block_{node['t']}")(node) for node in nodes)

    # -- to be filled in
    def escape(self, text: str) -> str:
        raise NotImplementedError

    def to_place(self, place: Place, text: str, classes: list[str]) -> str:
        raise NotImplementedError

    def to_url(self, url: str, text: str) -> str:
        raise NotImplementedError

    # -- shared
    def reaches(self, place: Place) -> bool:
        """Whether this output has the place at all."""
        chapter = place.chapter
        there = chapter.written or (chapter.on_site and self.format == "html")
        return there and chapter.has(place.id, self.format)

    def inline_Cite(self, node: dict) -> str:
        if is_reference(node):
            return ", ".join(self.reference(reference) for reference in references_in(self.book, node))
        return self.inlines(self.book.citations.get(citations.key_of(node), []))

    def reference(self, reference: Reference) -> str:
        label = reference.label
        text = self.to_place(Place(label.chapter, label.id), self.escape(reference.text), ["xref"])
        return text + self.inlines(reference.after)

    def inline_Link(self, node: dict) -> str:
        (_, classes, _), content, (url, _) = node["c"]
        text = self.inlines(content)
        if is_external(url):
            return self.to_url(url, text)
        place = place_of(self.book, self.chapter, url)
        return text if place is None else self.to_place(place, text, classes)

    def is_uncited(self, node: dict) -> bool:
        """An entry of the bibliography that only chapters cite which are not in this output."""
        id, classes, _ = attributes(node["c"][0])
        return "csl-entry" in classes and self.format != "html" and id[len("ref-"):] not in self.book.cited

    def block_Visible(self, node: dict) -> str:
        return self.blocks(node["body"]) if self.format in node["formats"] else ""

    def inline_VisibleSpan(self, node: dict) -> str:
        return self.inlines(node["c"]) if self.format in node["formats"] else ""
