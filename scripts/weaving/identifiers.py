"""The public names of the book: where each is defined and used, and which inline code names one."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass

from scripts.reading.chapters import Chapter
from scripts.reading.prose import spans
from scripts.weaving.woven_chunks import Chunks, Piece, escaped, href

NAME = re.compile(r"[A-Za-z_]\w*")
LITERAL = re.compile(r'("""|\'\'\')(?:.|\n)*?\1|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
CALL = re.compile(r"`([\w./]+?)(\([^`]*\))?`")
IMPORT = re.compile(r"from tangled[\w.]* import (\([^)]*\)|[^\n]*)")
PAGE = "identifiers.qmd"
MOST = 12                                               # uses of a name that are listed


@dataclass
class Definition:
    name: str                                           # rope, Tensor.backward
    module: str                                         # t27_positional_encodings.level2_vectorized, testing
    piece: Piece

    @property
    def label(self) -> str:
        """`level 2`, `testing`: which of several definitions this is."""
        stem = self.module.rpartition(".")[2]
        level = re.match(r"level(\d)_", stem)
        return f"level {level[1]}" if level else stem


class Identifiers:
    def __init__(self, chunks: Chunks):
        self.chunks, self.book = chunks, chunks.book
        self.definitions: dict[str, list[Definition]] = defaultdict(list)
        self.modules: dict[str, Piece] = {}             # dotted module -> the chunk that begins it
        for target, output in chunks.outputs.items():
            if output.kind == "file":
                self._module(target, output)

    def _module(self, target: str, output) -> None:
        module = target.removeprefix("tangled/").removesuffix(".py").replace("/", ".")
        first = next((r for r in output.rows if r[1]), None)
        piece = self.chunks.at(*first) if first else None
        if piece is None:
            return
        self.modules[module] = next((p for p in self.chunks.pieces[piece.chapter.path]
                                     if p.chunk.target == target), piece)
        if ".tests." in module or module.startswith("tests."):
            return
        try:
            tree = ast.parse(output.text)
        except SyntaxError:
            return
        for name, line in public(tree):
            origin = output.rows[line - 1]
            if origin[1] and (found := self.chunks.at(*origin)):
                self.definitions[name].append(Definition(name, module, found))

    # -- inline code
    def link(self, code: str, chapter: Chapter, seen: set[str]) -> str | None:
        """Inline code as a link to its definition; None if it names nothing of ours, or has been linked."""
        match = CALL.fullmatch(code)
        piece = self.resolve(match[1], chapter) if match else None
        if piece is None or match[1] in seen:
            return None
        seen.add(match[1])
        web = "" if piece.on_paper else " .web"
        return f"[{code}]({href(chapter.path, piece.chapter.path, piece.id)}){{.identifier{web}}}"

    def resolve(self, name: str, chapter: Chapter) -> Piece | None:
        """The chunk that defines a name as this chapter would mean it."""
        if name.endswith(".py"):
            return self._file(name, chapter)
        dotted = name.removeprefix("tangled.")
        if dotted in self.modules and "." in name:
            return self.modules[dotted]
        whole, _, last = dotted.rpartition(".")
        if whole and dotted not in self.definitions:
            found = [d for d in self.definitions.get(last, [])
                     if d.module in (whole, f"{chapter.package}.{whole}") or d.module.split(".")[0] == whole]
        else:
            found = self.definitions.get(dotted, [])
            own = [d for d in found if d.piece.chapter is chapter]
            found = own or (found if len({d.piece.chapter.path for d in found}) == 1 else [])
        return self._best(found)

    def _best(self, found: list[Definition]) -> Piece | None:
        """The exported level before the others."""
        for definition in found:
            if definition.module.rpartition(".")[2] in definition.piece.chapter.exports:
                return definition.piece
        return found[0].piece if found else None

    def _file(self, name: str, chapter: Chapter) -> Piece | None:
        for path in (f"tangled/{chapter.package}/{name}", f"tangled/{name}", name):
            module = path.removeprefix("tangled/").removesuffix(".py").replace("/", ".")
            if path.startswith("tangled/") and module in self.modules:
                return self.modules[module]
        return None

    # -- the index
    def uses(self) -> dict[str, list[Piece]]:
        """Name -> chunks that use it: of the chapter that defines it, and of chapters that import it."""
        known = defaultdict(set)
        for name, found in self.definitions.items():
            for definition in found:
                known[definition.piece.chapter.path].add(name)
        used: dict[str, list[Piece]] = defaultdict(list)
        for chapter in self.book.chapters:
            names = known[chapter.path] | (imported(chapter) & set(self.definitions))
            for piece in self.chunks.pieces[chapter.path]:
                for name in sorted(names & words(piece)):
                    if all(d.piece is not piece for d in self.definitions[name]):
                        used[name].append(piece)
        return used

    def page(self) -> str:
        """The woven page: every public identifier, then every chunk."""
        uses = self.uses()
        names = {}
        for name in sorted(self.definitions, key=_key):
            places = [(d.piece, d.label, True) for d in self.definitions[name]]
            names[f"`{name}`"] = places + [(p, p.title, False) for p in uses.get(name, [])[:MOST]]
        chunks: dict[str, list] = {}
        pieces = [piece for found in self.chunks.pieces.values() for piece in found]
        for piece in sorted(pieces, key=lambda p: _key(p.name)):
            if piece.name and not piece.chunk.pitfall:
                chunks.setdefault(escaped(piece.name), []).append((piece, place(piece), piece.part == 1))
        return "\n".join([
            "# Index of identifiers and chunks {#sec-identifiers .unnumbered}", "",
            "Definitions come first and stand in bold; where a name is used follows.", "",
            "## Identifiers {.unnumbered}", "", *both(names),
            "## Chunks {.unnumbered}", "", *both(chunks)])


def place(piece: Piece) -> str:
    """Which piece of a chunk this is, in a word."""
    return piece.file if piece.part == 1 and piece.file else f"part {piece.part}"


def both(entries: dict[str, list]) -> list[str]:
    """An index for the web, where a link says what it leads to, and one for paper, with pages alone."""
    web = [f"- {name}: {by_chapter(places)}" for name, places in entries.items()]
    paper = [f"- {name} [{by_page(places)}]{{.pages{of(name)}}}" for name, places in entries.items() if by_page(places)]
    index = lambda rows: ["", "::: {.index}", "", *rows, "", ":::", "", ":::", ""]
    return ['::: {.content-visible when-format="html"}', *index(web),
            '::: {.content-visible unless-format="html"}', *index(paper)]


def of(name: str) -> str:
    """The attribute by which print finds the line that defines `name`; "" for the name of a chunk."""
    return f' of="{name[1:-1]}"' if name.startswith("`") else ""


def by_chapter(places: list) -> str:
    """`27: **level 1**, **level 2**, Golden cases; 30: …`."""
    chapters: dict[str, list[str]] = {}
    for piece, text, defined in places:
        link = f"[{escaped(text)}]({href(PAGE, piece.chapter.path, piece.id)})"
        links = chapters.setdefault(piece.chapter.number, [])
        if not any(f"[{escaped(text)}](" in known for known in links):
            links.append(f"**{link}**" if defined else link)
    return "; ".join(f"{number}: {', '.join(links)}" for number, links in chapters.items())


def by_page(places: list) -> str:
    links = [(f"[{piece.chapter.number}]({href(PAGE, piece.chapter.path, piece.id)}){{.pageref}}", defined)
             for piece, _, defined in places if piece.on_paper]
    return ", ".join(f"**{link}**" if defined else link for link, defined in links)


def _key(name: str) -> tuple[str, str]:
    return name.lower().lstrip("_"), name


def public(tree: ast.Module):
    """(name, line) of the public definitions of a module: functions, classes, their methods, constants."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node.lineno
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner.lineno
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z0-9_]*", target.id):
                    yield target.id, node.lineno


def imported(chapter: Chapter) -> set[str]:
    """Names that a chapter's chunks take from the book's packages."""
    code = "\n".join("\n".join(chunk.lines) for chunk in chapter.chunks)
    return {name for taken in IMPORT.findall(code) for name in NAME.findall(taken)}


def words(piece: Piece) -> set[str]:
    """The names in a chunk's code, strings and comments left out."""
    return set(NAME.findall(LITERAL.sub(" ", "\n".join(piece.chunk.lines))))


def link_paragraph(text: str, chapter: Chapter, identifiers: Identifiers, seen: set[str]) -> str:
    """A paragraph with the inline code that names something of the book made into links."""
    if "`" not in text:
        return text
    return "".join((identifiers.link(part, chapter, seen) or part) if kind == "code" else part
                   for kind, part in spans(text))
