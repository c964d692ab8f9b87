"""Files that the site needs beside its pages: style, scripts, fonts and pictures."""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path

from scripts.typeset.book import Book
from scripts.typeset.check import image_file
from scripts.typeset.project import Chapter
from scripts.typeset.style import KATEX, SHEETS
from scripts.typeset.tree import find

HERE = Path(__file__).parent
FONTS = HERE / "vendor" / "fonts"
MINISEARCH = HERE / "vendor" / "minisearch"
IN_PAGE = {*SHEETS, "theme.js"}                 # stands in the pages themselves


def write(file: Path, text: str) -> None:
    """Write only what changed, so that a browser and a file watcher see only that."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8")
    if not file.is_file() or file.read_bytes() != data:
        file.write_bytes(data)


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)


def copy_assets(folder: Path) -> None:
    for file in sorted((HERE / "assets").rglob("*")):
        if file.is_file() and file.name not in IN_PAGE:
            copy(file, folder / file.relative_to(HERE / "assets"))
    for font in sorted((KATEX / "fonts").glob("*.woff2")):
        copy(font, folder / "katex" / "fonts" / font.name)
    for font in sorted((FONTS / "web").glob("*.woff2")):
        copy(font, folder / "fonts" / font.name)
    for notice in sorted(FONTS.glob("LICENSE*")):
        copy(notice, folder / "licences" / notice.name.replace("LICENSE-", ""))
    search = (MINISEARCH / "minisearch.js").read_text(encoding="utf-8")
    write(folder / "minisearch.js", re.sub(r"//# sourceMappingURL=.*", "", search))
    for name, vendor in (("katex", KATEX), ("minisearch", MINISEARCH)):
        copy(vendor / "LICENSE", folder / "licences" / f"{name}.txt")


def images(book: Book) -> list[tuple[Path, str]]:
    """(file, path in the book) of every picture in the written chapters."""
    if "images" not in book.cache:
        found = {inside_of(chapter, source): image_file(book, chapter, source) for chapter in book.written
                 for source in sources(chapter)}
        book.cache["images"] = [(file, inside) for inside, file in sorted(found.items())]
    return book.cache["images"]


def sources(chapter: Chapter) -> list[str]:
    return [image["c"][2][0] for image in find(chapter.blocks, "Image")]


def inside_of(chapter: Chapter, source: str) -> str:
    """A picture's path in the book, whether it is given from the chapter or from the root."""
    if source.startswith("/"):
        return source[1:]
    return posixpath.normpath(posixpath.join(posixpath.dirname(chapter.path), source))


def copy_images(book: Book, out: Path) -> None:
    for file, inside in images(book):
        copy(file, out / inside)
