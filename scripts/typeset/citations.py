"""Citations and the bibliography: one call of citeproc for the whole book."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches

from scripts.typeset import pandoc
from scripts.typeset.book import Book
from scripts.typeset.project import Chapter
from scripts.typeset.references import is_reference
from scripts.typeset.tree import find, node, string


def key_of(cite: dict) -> str:
    """Equal for citations that read the same wherever they stand."""
    return json.dumps(
        [
            {k: v for k, v in item.items() if k not in ("citationNoteNum", "citationHash")}
            for item in cite["c"][0]
        ],
        sort_keys=True,
    )


def resolve(book: Book) -> None:
    """Fill `book.citations` and `book.references`; add the chapter References where there is none."""
    files = [file for file in book.project.bibliography if file.is_file()]
    known = _known_keys(files)
    good: dict[str, dict] = {}
    for chapter in book.chapters:
        for cite in find(chapter.blocks, "Cite"):
            if not is_reference(cite) and _is_known(book, chapter, cite, known):
                good.setdefault(key_of(cite), cite)
    if good:
        _cite(book, good, files)
    _references_chapter(book)


def _is_known(book: Book, chapter: Chapter, cite: dict, known: set[str]) -> bool:
    """Whether all of a citation's keys are in the bibliography; those that are not become problems."""
    ids = {item["citationId"] for item in cite["c"][0]}
    book.cited |= ids if chapter.written else set()
    for id in ids - known:
        near = get_close_matches(id, known, 1)
        hint = f"did you mean @{near[0]}?" if near else "expected an entry of references.bib or a label"
        book.problem(chapter, f"@{id}", f"@{id} is not known; {hint}")
    return ids <= known


def _known_keys(files: list) -> set[str]:
    return {
        key
        for file in files
        for key in re.findall(r"^\s*@\w+\s*\{\s*([^,\s]+)\s*,", file.read_text(encoding="utf-8"), re.M)
    }


def _cite(book: Book, cites: dict[str, dict], files: list) -> None:
    api = pandoc.api_version(book.memo)
    meta = {"link-citations": {"t": "MetaBool", "c": True}}
    blocks = [{"t": "Div", "c": [["", [], []], [{"t": "Para", "c": [cite]}]]} for cite in cites.values()]
    document = json.dumps({"pandoc-api-version": api, "meta": meta, "blocks": blocks})
    arguments = ["-f", "json", "-t", "json", "--citeproc"]
    for file in files:
        arguments += ["--bibliography", str(file)]
    key = book.memo.key(
        "citeproc", pandoc.version(), document, [file.read_text(encoding="utf-8") for file in files]
    )
    text = book.memo.get(key) or book.memo.put(key, pandoc.run(arguments, document)[0])
    *cited, references = json.loads(text)["blocks"]
    book.citations = {key: block["c"][1][0]["c"][0]["c"][1] for key, block in zip(cites, cited)}
    book.references = references["c"][1]


def _references_chapter(book: Book) -> None:
    """The chapter with `::: {#refs}`, else one of our own at the end, if anything was cited."""
    for chapter in book.chapters:
        for div in find(chapter.blocks, "Div"):
            if div["c"][0][0] == "refs":
                div["c"][1] = book.references
                _register(book, chapter)
                return
    if not book.references or sum(chapter.written for chapter in book.chapters) == 0:
        return
    chapter = Chapter("references.qmd", "", {}, id="references", title=[string("References")])
    heading = node("Heading", level=1, id="references", title=chapter.title, classes=[], number=None)
    refs = {"t": "Div", "c": [["refs", ["references"], []], book.references]}
    chapter.blocks, chapter.ids = [heading, refs], {"references", "refs"}
    book.chapters.append(chapter)
    _register(book, chapter)


def _register(book: Book, chapter: Chapter) -> None:
    book.references_chapter = chapter
    chapter.ids |= {entry["c"][0][0] for entry in book.references}
