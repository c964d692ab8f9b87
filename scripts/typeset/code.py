"""Program text as lines of coloured pieces, with links where it names a chunk or an equation."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass

from scripts.typeset.book import Book
from scripts.typeset.memo import Memo
from scripts.typeset.normalise import MARK
from scripts.typeset.project import Chapter
from scripts.typeset.references import Place
from scripts.typeset.tree import find, text_of

CHUNK = re.compile(r"^([ \t]*)<<(.+?)>>", re.M)
PLACEHOLDER = re.compile(r"__chunk_(\d+)__")
DEFINITION = re.compile(r"([ \t]*)(?:(def|class) (\w+)|([A-Z][A-Z0-9_]*)(?=: | = ))")
EQUATION = re.compile(r"\beqs?\. ?((?:\d+|[A-Z])\.\d+)")
STYLES = (  # a style's letter, and Pygments' token types that have it; the first that fits counts
    ("c", ("Comment",)),
    ("s", ("Literal.String",)),
    ("n", ("Literal.Number", "Keyword.Constant")),
    ("k", ("Keyword", "Operator.Word")),
    ("f", ("Name.Function", "Name.Class", "Name.Decorator")),
    ("b", ("Name.Builtin", "Name.Exception")),
    ("p", ("Generic.Prompt",)),
    ("i", ("Generic.Inserted",)),
    ("d", ("Generic.Deleted",)),
)


@dataclass(frozen=True)
class Piece:
    """A run of characters of one style: a letter of STYLES, "", "chunk" or "mark"."""

    style: str
    text: str
    place: Place | None = None


def code_lines(book: Book, chapter: Chapter, node: dict) -> list[list[Piece]]:
    """The lines of a Program node."""
    key = ("code", id(node))                # the node lives as long as the book
    if key not in book.cache:
        book.cache[key] = _code_lines(book, chapter, node)
    return book.cache[key]


def _code_lines(book: Book, chapter: Chapter, node: dict) -> list[list[Piece]]:
    if node["role"] in ("output", "error"):
        return [[Piece("", line)] for line in node["source"].rstrip("\n").split("\n")]
    names: list[str] = []

    def hide(match: re.Match) -> str:
        names.append(match[2])
        return f"{match[1]}__chunk_{len(names) - 1}__"

    source = CHUNK.sub(hide, node["source"]) if node["role"] == "chunk" else node["source"]
    marks = {}
    if node["annotated"]:
        lines = source.split("\n")
        marks = {k: match[1] for k, line in enumerate(lines) if (match := MARK.search(line))}
        source = "\n".join(MARK.sub("", line).rstrip() for line in lines)
    out = [_linked(book, chapter, line, names) for line in coloured(source, node["language"], book.memo)]
    for k, mark in marks.items():
        out[k] += [Piece("", "  "), Piece("mark", mark)]
    return out


def defined(lines: list[str]) -> list[str]:
    """What each line of a program defines: `Tensor`, `Tensor.backward`, `MOST`, or ""."""
    names, within = [], ""
    for line in lines:
        match = DEFINITION.match(line)
        name = (match and (match[3] or match[4])) or ""
        if line[:1].strip():                            # a line that is not indented ends a class, or begins one
            within = name if match and match[2] == "class" else ""
        elif name and within:
            name = f"{within}.{name}"
        names.append(name)
    return names


def coloured(source: str, language: str, memo: Memo) -> list[list[list[str]]]:
    """[style, text] pairs, line by line; neighbours of the same style are one."""
    import pygments

    key = memo.key("pygments", pygments.__version__, STYLES, language, source)
    known = memo.get(key)
    return json.loads(known or memo.put(key, json.dumps(_colour(source, language))))


def _colour(source: str, language: str) -> list[list[list[str]]]:
    lexer = _lexer(language)
    if lexer is None:
        return [[["", line]] for line in source.split("\n")]
    lines: list[list[list[str]]] = [[]]
    for kind, text in lexer.get_tokens(source):
        style = _style(kind)
        for k, part in enumerate(text.split("\n")):
            if k:
                lines.append([])
            if part and lines[-1] and _joins(lines[-1][-1], style, part):
                lines[-1][-1][1] += part
            elif part:
                lines[-1].append([style, part])
    count = source.count("\n") + 1              # Pygments ends its output with a newline of its own
    return (lines + [[]] * count)[:count]


def _joins(before: list[str], style: str, text: str) -> bool:
    """White space takes any style; the stand-in for a chunk's name stays alone."""
    hidden = PLACEHOLDER.fullmatch(text) or PLACEHOLDER.fullmatch(before[1])
    return not hidden and (before[0] == style or (style == "" and text.isspace()))


@functools.cache
def _lexer(language: str):
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=True) if language else None
    except ClassNotFound:
        return None


@functools.cache
def _style(kind) -> str:
    name = str(kind).removeprefix("Token.")
    return next((letter for letter, kinds in STYLES if name.startswith(kinds)), "")


def _linked(book: Book, chapter: Chapter, line: list[list[str]], names: list[str]) -> list[Piece]:
    out = []
    for style, text in line:
        hidden = PLACEHOLDER.fullmatch(text)
        if hidden and int(hidden[1]) < len(names):
            name = names[int(hidden[1])]
            id = chunk_ids(book, chapter).get(_same(name))
            out.append(Piece("chunk", name, Place(chapter, id) if id else None))
        elif style == "c":
            out += _equations(book, text)
        else:
            out.append(Piece(style, text))
    return out


def _equations(book: Book, comment: str) -> list[Piece]:
    """A comment, with its `eq. 27.4` as links."""
    out, end = [], 0
    for match in EQUATION.finditer(comment):
        place = equation_places(book).get(match[1])
        if place:
            out += [Piece("c", comment[end : match.start()]), Piece("c", match[0], place)]
            end = match.end()
    return [piece for piece in [*out, Piece("c", comment[end:])] if piece.text]


def equation_places(book: Book) -> dict[str, Place]:
    """Every numbered equation of the book, by its number."""
    if "equations" not in book.cache:
        book.cache["equations"] = {
            label.number: Place(label.chapter, label.id)
            for label in book.labels.values()
            if label.kind == "eq" and label.number
        }
    return book.cache["equations"]


def chunk_ids(book: Book, chapter: Chapter) -> dict[str, str]:
    """The first chunk of each name in a chapter."""
    key = ("chunks", chapter.path)
    if key not in book.cache:
        ids: dict[str, str] = {}
        for chunk in find(chapter.blocks, "Chunk"):
            ids.setdefault(_same(text_of(chunk["name"])), chunk["id"])
        book.cache[key] = ids
    return book.cache[key]


def _same(name: str) -> str:
    return re.sub(r"\W+", " ", name.replace("’", "'")).strip().lower()
