"""The HTML site: a page for each chapter, its navigation, the assets and the search index."""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path

from scripts.typeset.assets import copy_assets, copy_images, write
from scripts.typeset.book import Book
from scripts.typeset.html_writer import HtmlWriter, escape
from scripts.typeset.project import Chapter
from scripts.typeset.search import entries
from scripts.typeset.tree import text_of

TEMPLATES = Path(__file__).parent / "templates"


def write_site(book: Book, out: Path, pdf: str | None) -> None:
    """Write `out`/index.html, the chapters and the assets."""
    out.mkdir(parents=True, exist_ok=True)
    copy_assets(out / "assets")
    index = []
    for chapter in book.written:
        body = HtmlWriter(book, chapter).chapter_body()
        write(out / chapter.page, fill("page.html", page_values(book, chapter, body, pdf)))
        index += entries(book, chapter, len(index))
    data = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    write(out / "assets" / "search-index.js", f"window.BOOK_INDEX={data};\n")
    copy_images(book, out)
    if (
        not any(chapter.page == "index.html" for chapter in book.written)
        and not (out / "index.html").exists()
    ):
        first = book.written[0].page
        write(out / "index.html", fill("redirect.html", {"language": book.project.language, "target": first}))


def fill(template: str, values: dict[str, str]) -> str:
    """Put the values into the template's {{names}}."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)


def page_values(book: Book, chapter: Chapter, body: str, pdf: str | None) -> dict[str, str]:
    project = book.project
    root = posixpath.relpath(".", posixpath.dirname(chapter.page) or ".")
    name = text_of(chapter.title).strip()
    return {
        "language": html.escape(project.language),
        "title": escape(name if name == project.title else f"{_number(chapter)}{name} – {project.title}"),
        "description": html.escape(_description(chapter)),
        "book": escape(project.title),
        "root": root,
        "home": posixpath.relpath("index.html", posixpath.dirname(chapter.page) or "."),
        "pdf": f'<a class="pdf" href="{root}/{pdf}" title="The whole book for paper">PDF</a>' if pdf else "",
        "sidebar": sidebar(book, chapter),
        "contents": contents(book, chapter),
        "cover": cover(book, chapter),
        "body": body,
        "neighbours": neighbours(book, chapter),
    }


def _number(chapter: Chapter) -> str:
    return f"{chapter.number} " if chapter.numbered else ""


def _description(chapter: Chapter) -> str:
    """The first paragraph, for search engines and previews."""
    for block in chapter.blocks:
        if block["t"] == "Para":
            text = " ".join(text_of(block).split())
            return text if len(text) <= 200 else text[:197].rsplit(" ", 1)[0] + " …"
    return text_of(chapter.title).strip()


def name_of(book: Book, chapter: Chapter) -> str:
    number = f'<span class="no">{chapter.number}</span>' if chapter.numbered else '<span class="no"></span>'
    return f'{number}<span class="name">{HtmlWriter(book, chapter).inlines(chapter.title)}</span>'


def sidebar(book: Book, here: Chapter) -> str:
    """All chapters by part; those that are not written (yet) are names without a link."""
    out, part, open_list = "", None, False
    folder = posixpath.dirname(here.page) or "."
    for chapter in book.chapters:
        if chapter.part != part or not open_list:
            out += "</ul>\n" if open_list else ""
            title = escape(chapter.part or "")
            out += f'<p class="part">{title}</p>\n' if title else ""
            out += f"<ul{f' aria-label={chr(34)}{html.escape(title)}{chr(34)}' if title else ''}>\n"
            part, open_list = chapter.part, True
        current = ' aria-current="page"' if chapter is here else ""
        name = name_of(book, chapter)
        address = posixpath.relpath(chapter.page, folder)
        out += (
            f'<li><a href="{address}"{current}>{name}</a></li>\n'
            if chapter.written
            else f"<li><span>{name}</span></li>\n"
        )
    return out + ("</ul>\n" if open_list else "")


def contents(book: Book, chapter: Chapter) -> str:
    """On this page: sections and subsections."""
    writer = HtmlWriter(book, chapter)
    items = ""
    for heading in chapter.headings:
        if heading["level"] > 3 or not chapter.has(heading["id"], "html"):
            continue
        number = f'<span class="no">{heading["number"]}</span> ' if heading["number"] else ""
        title = writer.inlines(heading["title"])
        items += f'<li class="level{heading["level"]}"><a href="#{heading["id"]}">{number}{title}</a></li>\n'
    if not items:
        return ""
    return f'<nav class="toc" aria-label="On this page">\n<h2>On this page</h2>\n<ul>\n{items}</ul>\n</nav>'


def neighbours(book: Book, here: Chapter) -> str:
    pages = book.written
    k = pages.index(here)
    folder = posixpath.dirname(here.page) or "."
    out = ""
    for rel, word, j in (("prev", "Previous", k - 1), ("next", "Next", k + 1)):
        if 0 <= j < len(pages):
            address = posixpath.relpath(pages[j].page, folder)
            out += f'<a rel="{rel}" href="{address}"><small>{word}</small>{name_of(book, pages[j])}</a>\n'
    return f'<nav class="neighbours" aria-label="Previous and next chapter">\n{out}</nav>' if out else ""


def cover(book: Book, chapter: Chapter) -> str:
    """The first page opens with the book's title."""
    if chapter.page != "index.html":
        return ""
    project = book.project
    about = " · ".join(filter(None, [project.author, project.date]))
    return (
        f'<div class="cover"><p class="cover-title">{escape(project.title)}</p>'
        f'<p class="cover-subtitle">{escape(project.subtitle)}</p>'
        f'<p class="cover-author">{escape(about)}</p></div>'
    )
