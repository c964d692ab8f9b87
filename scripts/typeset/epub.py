"""The EPUB: the same pages as XHTML with MathML, packed so that the same book gives the same bytes."""

from __future__ import annotations

import hashlib
import html
import posixpath
import re
import uuid
import zipfile
from datetime import datetime, timezone
from pathlib import Path

from scripts.typeset.assets import HERE, images
from scripts.typeset.book import Book
from scripts.typeset.epub_writer import EpubWriter, page_of
from scripts.typeset.project import Chapter
from scripts.typeset.site import fill
from scripts.typeset.tree import text_of

CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
         ".gif": "image/gif"}


def write_epub(book: Book, file: Path, timestamp: int) -> None:
    """Write the whole book, or the chapters that are written, as one EPUB 3 file."""
    parts: dict[str, bytes] = {"EPUB/cover.png": cover(book), "EPUB/cover.xhtml": page(book, "Cover", COVER),
                               "EPUB/style.css": (HERE / "templates" / "epub.css").read_bytes()}
    for chapter in book.written:
        body = EpubWriter(book, chapter).chapter_body()
        parts[f"EPUB/{page_of(chapter)}"] = page(book, text_of(chapter.title).strip(), body)
    for source, inside in images(book):
        parts[f"EPUB/{inside}"] = source.read_bytes()
    parts["EPUB/nav.xhtml"] = page(book, "Contents", navigation(book))
    parts["EPUB/package.opf"] = package(book, parts, timestamp).encode()
    parts["META-INF/container.xml"] = CONTAINER.encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    pack(file, parts, timestamp)


COVER = '<section epub:type="cover" class="cover"><img src="cover.png" alt="Cover"/></section>'


def cover(book: Book) -> bytes:
    """The title page as a picture, drawn by Typst."""
    from scripts.typeset.printed import picture_of_cover

    key = book.memo.key("cover", book.project.title, book.project.subtitle, book.project.author,
                        (HERE / "templates" / "book.typ").read_text(encoding="utf-8"))
    known = book.memo.get(key)
    return bytes.fromhex(known or book.memo.put(key, picture_of_cover(book).hex()))


def page(book: Book, title: str, body: str) -> bytes:
    values = {"language": html.escape(book.project.language), "title": html.escape(title), "body": body}
    return fill("epub.xhtml", values).encode("utf-8")


def navigation(book: Book) -> str:
    """The contents: parts, chapters and their sections."""
    out, part, open_part = "", None, False
    for chapter in book.written:
        if chapter.part != part:
            out += "</ol></li>\n" if open_part else ""
            open_part = bool(chapter.part)
            out += f"<li><span>{html.escape(chapter.part)}</span>\n<ol>\n" if open_part else ""
            part = chapter.part
        out += navigation_entry(chapter)
    out += "</ol></li>\n" if open_part else ""
    return f'<nav epub:type="toc" id="toc" role="doc-toc"><h1>Contents</h1>\n<ol>\n{out}</ol></nav>'


def navigation_entry(chapter: Chapter) -> str:
    sections = ""
    for heading in chapter.headings:
        if heading["level"] == 2 and chapter.has(heading["id"], "epub"):
            name = _numbered(heading["number"], heading["title"])
            sections += f'<li><a href="{page_of(chapter)}#{html.escape(heading["id"])}">{name}</a></li>\n'
    name = _numbered(chapter.number if chapter.numbered else None, chapter.title)
    inner = f"\n<ol>\n{sections}</ol>" if sections else ""
    return f'<li><a href="{page_of(chapter)}">{name}</a>{inner}</li>\n'


def _numbered(number: str | None, title: list) -> str:
    return html.escape((f"{number} " if number else "") + text_of(title).strip(), quote=False)


def package(book: Book, parts: dict[str, bytes], timestamp: int) -> str:
    """The package document: metadata, manifest and reading order."""
    project = book.project
    whole = b"".join(name.encode() + data for name, data in sorted(parts.items()))
    digest = hashlib.sha256(whole).hexdigest()
    manifest = "".join(manifest_item(name, data) for name, data in sorted(parts.items()))
    spine = "".join(f'<itemref idref="{_id(page_of(chapter))}"/>\n' for chapter in book.written)
    values = {
        "language": html.escape(project.language), "title": html.escape(project.title),
        "identifier": str(uuid.uuid5(uuid.NAMESPACE_URL, digest)),
        "author": html.escape(project.author or "Unknown"), "description": html.escape(project.subtitle),
        "modified": datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "manifest": manifest, "spine": f'<itemref idref="cover-xhtml" linear="no"/>\n{spine}',
    }
    return fill("epub.opf", values)


def manifest_item(name: str, data: bytes) -> str:
    inside = name.removeprefix("EPUB/")
    kind = posixpath.splitext(inside)[1]
    if kind == ".xhtml":
        kinds = [("mathml", b"<math"), ("svg", b"<svg"), ("nav", b'epub:type="toc"')]
        found = " ".join(word for word, sign in kinds if sign in data)
        media = "application/xhtml+xml"
    else:
        found = "cover-image" if inside == "cover.png" else ""
        media = "text/css" if kind == ".css" else TYPES[kind.lower()]
    properties = f' properties="{found}"' if found else ""
    return f'<item id="{_id(inside)}" href="{html.escape(inside)}" media-type="{media}"{properties}/>\n'


def _id(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")
    return name if name[:1].isalpha() else f"f-{name}"


def pack(file: Path, parts: dict[str, bytes], timestamp: int) -> None:
    """A zip file whose bytes depend on the parts and the timestamp alone."""
    moment = datetime.fromtimestamp(max(timestamp, 315532800), timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, "mimetype", b"application/epub+zip", moment, zipfile.ZIP_STORED)
        for name, data in sorted(parts.items()):
            _add(archive, name, data, moment, zipfile.ZIP_DEFLATED)


def _add(archive: zipfile.ZipFile, name: str, data: bytes, moment: tuple, method: int) -> None:
    entry = zipfile.ZipInfo(name, moment)
    entry.compress_type, entry.external_attr, entry.create_system = method, 0o644 << 16, 3
    archive.writestr(entry, data, compresslevel=6 if method == zipfile.ZIP_DEFLATED else None)
