"""The HTML site: a page for each chapter, its navigation, the assets and the search index."""

from __future__ import annotations

import html
import itertools
import json
import posixpath
import re
from pathlib import Path

from scripts.typeset import exercising
from scripts.typeset.assets import copy_assets, copy_images, write
from scripts.typeset.book import PDF, Book
from scripts.typeset.html_writer import FRONT, HtmlWriter, escape
from scripts.typeset.project import Chapter
from scripts.typeset.search import entries
from scripts.typeset.style import style_of, theme
from scripts.typeset.tree import attributes, find, text_of

TEMPLATES = Path(__file__).parent / "templates"


def write_site(book: Book, out: Path, pdf: str | None) -> None:
    """Write `out`/index.html, the chapters and the assets. Pages of an earlier run stay, and are linked."""
    out.mkdir(parents=True, exist_ok=True)
    copy_assets(out / "assets")
    for chapter in book.chapters:
        chapter.on_site = not chapter.written and (out / chapter.page).is_file()
    pdf = PDF if (out / PDF).is_file() else pdf
    for chapter in book.written:
        body = HtmlWriter(book, chapter).chapter_body()
        write(out / chapter.page, fill("page.html", page_values(book, chapter, body, pdf)))
    write_search_index(pages_of(book), out)
    copy_images(book, out)
    exercising.write(book, out)
    if not (out / "index.html").is_file():
        values = {"language": book.project.language, "target": book.written[0].page}
        write(out / "index.html", fill("redirect.html", values))


def pages_of(book: Book) -> list[Chapter]:
    """The chapters that the site has, in order."""
    return [chapter for chapter in book.chapters if chapter.written or chapter.on_site]


def write_search_index(chapters: list[Chapter], out: Path) -> None:
    index: list[dict] = []
    for chapter in chapters:
        index += entries(chapter, len(index))
    data = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    write(out / "assets" / "search-index.js", f"window.BOOK_INDEX={data};\n")


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
        "style": style_of(root),
        "theme": theme(),
        "home": posixpath.relpath("index.html", posixpath.dirname(chapter.page) or "."),
        "pdf": f'<a class="pdf" href="{root}/{pdf}" title="The whole book for paper">PDF</a>' if pdf else "",
        "sidebar": sidebar(book, chapter),
        "cover": cover(book, chapter),
        "body": body,
        "neighbours": neighbours(book, chapter),
        "movable": f'<script src="{root}/assets/movable.js" defer></script>\n' if 'class="movable"' in body else "",
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
    """Number and title, for navigation."""
    key = ("name", chapter.path)
    if key not in book.cache:
        number = chapter.number if chapter.numbered else ""
        title = HtmlWriter(book, chapter).inlines(chapter.title)
        book.cache[key] = f'<span class="no">{number}</span><span class="name">{title}</span>'
    return book.cache[key]


def sidebar(book: Book, here: Chapter) -> str:
    """All chapters by part; those that the site does not have are names without a link."""
    out = ""
    for part, chapters in itertools.groupby(book.chapters, lambda chapter: chapter.part):
        title = html.escape(part or "")
        items = "".join(sidebar_item(book, chapter, here) for chapter in chapters)
        out += f'<p class="part">{title}</p>\n<ul aria-label="{title}">\n' if title else "<ul>\n"
        out += f"{items}</ul>\n"
    return out


def sidebar_item(book: Book, chapter: Chapter, here: Chapter) -> str:
    name = name_of(book, chapter)
    if not (chapter.written or chapter.on_site):
        return f"<li><span>{name}</span></li>\n"
    if chapter is here:
        return f'<li><a href="#content" aria-current="page">{name}</a>{sections(book, chapter)}</li>\n'
    address = posixpath.relpath(chapter.page, posixpath.dirname(here.page) or ".")
    return f'<li><a href="{address}">{name}</a></li>\n'


def sections(book: Book, chapter: Chapter) -> str:
    """The sections of the current chapter, each with its subsections."""
    writer, out = HtmlWriter(book, chapter), ""
    groups: list[tuple[dict, list[dict]]] = []
    for heading in chapter.headings:
        if not chapter.has(heading["id"], "html"):
            continue
        if heading["level"] == 2:
            groups.append((heading, []))
        elif heading["level"] == 3 and groups:
            groups[-1][1].append(heading)
    for heading, below in groups:
        items = "".join(f"<li>{contents_link(writer, each)}</li>\n" for each in below)
        out += f"<li>{contents_link(writer, heading)}" + (f"<ul>\n{items}</ul>" if items else "") + "</li>\n"
    return f'<ul class="sections" aria-label="On this page">\n{out}</ul>' if out else ""


def contents_link(writer: HtmlWriter, heading: dict) -> str:
    number = f'<span class="no">{heading["number"]}</span> ' if heading["number"] else ""
    return f'<a href="#{heading["id"]}">{number}<span>{writer.inlines(heading["title"])}</span></a>'


def neighbours(book: Book, here: Chapter) -> str:
    pages = pages_of(book)
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
        f'<p class="cover-author">{escape(about)}</p></div>\n{front(book, chapter)}'
    )


def front(book: Book, chapter: Chapter) -> str:
    """What stands between the title and the preface."""
    writer = HtmlWriter(book, chapter)
    return "".join(f'<div class="front">\n{writer.blocks(div["c"][1])}</div>\n' for div in find(chapter.blocks, "Div")
                   if FRONT in attributes(div["c"][0])[1])
