"""What a woven chunk says of itself: its name, its file and place in it, and links to the chunks around it.

    index = Chunks(book, outputs(book))
    index.pieces["chapters/27-positional-encodings.qmd"]      the chapter's chunks as Pieces, in order
"""

from __future__ import annotations

import ast
import contextlib
import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass, field

from scripts.reading.chapters import Book, Chapter, Chunk, phrase

CITATION = re.compile(r"(?<![\w@])@(eq-[A-Za-z0-9][\w-]*)")
REFERENCE = re.compile(r"^\s*<<(.+?)>>\s*$")
WEB_ONLY = re.compile(r"\.content-visible[^}]*when-format=\"?html|\.content-hidden[^}]*unless-format=\"?html")
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
SPECIAL = re.compile(r"([\\`*_\[\]$<>@^~|#])")


@dataclass
class Piece:
    """One chunk as it is woven."""
    chunk: Chunk
    chapter: Chapter
    id: str
    name: str                                           # its phrase; empty for an anonymous piece of a file
    part: int = 1                                       # 2, 3 …: an extension of the chunk of that name
    file: str = ""                                      # "level2_vectorized.py", as a reader would say it
    target: str = ""                                    # "tangled/t27_…/level2_vectorized.py"
    others: list[str] = field(default_factory=list)     # more files that include it
    inside: list[str] = field(default_factory=list)     # the functions or classes in which it stands
    used: list[Piece] = field(default_factory=list)
    parts: list[Piece] = field(default_factory=list)    # all pieces of that name
    wrong: list[Piece] = field(default_factory=list)    # pitfalls that replace it
    original: Piece | None = None                       # what a pitfall replaces
    on_paper: bool = True                               # False: the chapter shows it on the web alone
    number: int = 0                                     # of a pitfall in its chapter
    again: bool = False                                 # a second chunk of the same pitfall

    @property
    def title(self) -> str:
        """What a link to it says."""
        if self.chunk.pitfall:
            return self.chunk.pitfall.replace("-", " ")
        return self.name or self.file


def escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)


def cited(code: str, equations: dict[str, str]) -> str:
    """Code with `@eq-27-rotation` as tangle writes it, `eq. 27.12`."""
    return CITATION.sub(lambda m: f"eq. {equations[m[1]]}" if m[1] in equations else m[0], code)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "piece"


def key(chapter: Chapter) -> str:
    """`27`, `01`, `a`: what the ids of a chapter's chunks begin with."""
    if chapter.topic is not None:
        return f"{chapter.topic:02d}"
    return (chapter.letter or posixpath.basename(chapter.path).removesuffix(".qmd")).lower()


def href(here: str, there: str, id: str) -> str:
    """A link from one file of the book to a place in another."""
    page = "" if here == there else posixpath.relpath(there, posixpath.dirname(here) or ".")
    return f"{page}#{id}" if id else page


def short(target: str, package: str | None) -> str:
    """A generated file's path as the chapter speaks of it."""
    if target.startswith("build/pitfalls/"):
        return "pitfalls/" + target.rpartition("/")[2]
    return target.removeprefix(f"tangled/{package}/" if package else "tangled/").removeprefix("tangled/")


def ids(chapter: Chapter) -> list[str]:
    """What each chunk of a chapter is called in links, in order."""
    number, seen, found = key(chapter), defaultdict(int), []
    for chunk in chapter.chunks:
        base = slug((chunk.pitfall and f"pitfall {chunk.pitfall}") or chunk.name or chunk.extend or chunk.file or "")
        seen[base] += 1
        suffix = f"-{seen[base]}" if seen[base] > 1 else ""
        found.append(chunk.keys.get("data-id") or f"chunk-{number}-{base}{suffix}")
    return found


class Chunks:
    """All chunks of the book, linked with one another."""

    def __init__(self, book: Book, outputs: dict):
        self.book, self.outputs = book, outputs
        self.pieces: dict[str, list[Piece]] = {}
        self.origins: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        self._scopes: dict[str, list[tuple[int, int, str]]] = {}
        for target, output in outputs.items():
            for n, (path, line) in enumerate(output.rows, 1):
                if line:
                    self.origins[path, line].append((target, n))
        for chapter in book.chapters:
            self.pieces[chapter.path] = self._chapter(chapter)

    def at(self, path: str, line: int) -> Piece | None:
        """The chunk that holds a line of a chapter."""
        return next((p for p in self.pieces.get(path, []) if p.chunk.line <= line <= p.chunk.end), None)

    def _chapter(self, chapter: Chapter) -> list[Piece]:
        pieces = []
        named: dict[str, list[Piece]] = defaultdict(list)
        pitfalls: dict[str, int] = {}
        for chunk, id in zip(chapter.chunks, ids(chapter)):
            name = chunk.name or chunk.extend or ""
            piece = Piece(chunk, chapter, id, name)
            pieces.append(piece)
            if chunk.pitfall:
                piece.again = chunk.pitfall in pitfalls
                piece.number = pitfalls.setdefault(chunk.pitfall, len(pitfalls) + 1)
            if name:
                named[name].append(piece)
                piece.part, piece.parts = len(named[name]), named[name]
        self._link(pieces, named)
        web = web_only(chapter)
        for piece in pieces:
            piece.on_paper = piece.chunk.line not in web
            self._place(piece, pieces, named)
        return pieces

    def _link(self, pieces: list[Piece], named: dict[str, list[Piece]]) -> None:
        for piece in pieces:
            for line in piece.chunk.lines:
                match = REFERENCE.match(line)
                for used in named.get(phrase(match[1]), []) if match else []:
                    if piece not in used.used:
                        used.used.append(piece)
            if piece.chunk.replaces and piece.chunk.replaces in named:
                piece.original = named[piece.chunk.replaces][0]
                piece.original.wrong.append(piece)

    def _place(self, piece: Piece, pieces: list[Piece], named: dict[str, list[Piece]]) -> None:
        """The file in which a chunk ends up, and what function it is part of."""
        places = self._lines(piece, named, set())
        wanted = "pitfall" if piece.chunk.pitfall else "file"
        places = [p for p in places if self.outputs[p[0]].kind == wanted] or places
        if piece.chunk.pitfall:
            name = piece.chunk.pitfall.replace("-", "_")
            places = [p for p in places if p[0].endswith(f"/{name}.py")] or places
        if not places:
            piece.target = piece.chunk.target or ""
        else:
            piece.target = places[0][0]
            own = {n for line in range(piece.chunk.first, piece.chunk.end)
                   for target, n in self.origins.get((piece.chunk.path, line), []) if target == piece.target}
            for target, n in places:
                scope = self._scope(target, n, own) if target == piece.target else ""
                if scope and scope not in piece.inside:
                    piece.inside.append(scope)
        piece.file = short(piece.target, piece.chapter.package)
        piece.others = sorted({short(t, piece.chapter.package) for t, _ in places} - {piece.file})

    def _lines(self, piece: Piece, named, seen: set[str]) -> list[tuple[str, int]]:
        """Where the first line of the chunk that is code came to stand."""
        for n, line in enumerate(piece.chunk.lines, piece.chunk.first):
            if found := self.origins.get((piece.chunk.path, n)):
                if line.strip():
                    return found
            elif match := REFERENCE.match(line):
                name = phrase(match[1])
                if name in named and name not in seen:
                    return self._lines(named[name][0], named, seen | {name})
        return []

    def _scope(self, target: str, line: int, own: set[int]) -> str:
        """The innermost function or class around a generated line that does not begin in the chunk itself."""
        around = [s for s in self._spans(target) if s[0] <= line <= s[1] and s[0] not in own]
        return max(around)[2] if around else ""

    def _spans(self, target: str) -> list[tuple[int, int, str]]:
        if target not in self._scopes:
            spans: list[tuple[int, int, str]] = []
            with contextlib.suppress(SyntaxError):
                _collect(ast.parse(self.outputs[target].text), "", spans)
            self._scopes[target] = spans
        return self._scopes[target]


def web_only(chapter: Chapter) -> set[int]:
    """Lines inside a division that is shown on the web and not on paper."""
    found, open_ = set(), []
    for n, line in enumerate(chapter.lines, 1):
        if line.startswith(":::") and not chapter.hidden(n):
            if line.strip(":").strip():
                open_.append(bool(WEB_ONLY.search(line)))
            elif open_:
                open_.pop()
        if any(open_):
            found.add(n)
    return found


def _collect(node, prefix: str, spans: list) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{prefix}{child.name}"
            start = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            spans.append((start, child.end_lineno or start, name))
            _collect(child, name + ".", spans)
        else:
            _collect(child, prefix, spans)


def to(piece: Piece, text: str = "") -> str:
    """A link to a chunk; `.web` marks one that print cannot follow."""
    web = "" if piece.on_paper else " .web"
    return f"[{text or escaped(piece.title)}](#{piece.id}){{.pageref{web}}}"


def caption(piece: Piece) -> str:
    """`[Rotate each pair]{.chunk-name} [level2_vectorized.py, in rope]{.chunk-file}`."""
    name = f"[{escaped(piece.name)}]{{.chunk-name}} " if piece.name else ""
    where = f"`{piece.file}`" if piece.file else ""
    if len(piece.others) == 1:
        where += f" and `{piece.others[0]}`"
    elif piece.others:
        where += f" and {COUNTS.get(len(piece.others), len(piece.others))} others"
    if piece.inside:
        shown = [f"`{name}`" for name in piece.inside[:3]]
        where += ", in " + (" and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0])
    if piece.part > 1:
        where += ", continued"
    return name + (f"[{where}]{{.chunk-file}}" if where else "")


def links(piece: Piece, equations: list[str] = ()) -> str:
    """The sentences under a chunk that lead to equations, and to where it is used, continued or replaced.

    Each is a span of its own: print leaves out one that leads only to what it does not have.
    """
    said = [f"See {', '.join(f'@{label}' for label in equations)}."] if equations else []
    if piece.part > 1:
        said.append(f"Continues {to(piece.parts[0])}.")
    if piece.used and piece.part == 1:
        said.append(f"Used in {', '.join(map(to, piece.used))}.")
    if piece.part == 1 and len(piece.parts) > 1:
        said.append("Extended in " + ", ".join(to(p, f"part {p.part}") for p in piece.parts[1:]) + ".")
    if piece.wrong:
        numbers = {p.number: p for p in piece.wrong}
        wrong = ", ".join(to(p, f"{p.chapter.number}.{n}" if p.chapter.number else "")
                          for n, p in numbers.items())
        said.append(f"Got wrong in pitfall {wrong}.")
    return f"[{' '.join(f'[{text}]{{.said}}' for text in said)}]{{.chunk-links}}" if said else ""
