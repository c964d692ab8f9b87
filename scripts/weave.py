"""Weave: the chapters and what their cells gave become a plain Quarto project in `build/book/`.

    weave(book, outputs, execute(book))         -> Woven book: files written, unchanged, removed

Nothing is left in it to be run. Chunks have names and links, cells are replaced by their outputs, figures lie
in `figures/` beside the chapter, an index of identifiers stands at the end. `lines.json` says for every line
of a woven file which line of the chapter it came from.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

from scripts.execute import inline, units
from scripts.reading.chapters import Book, Chapter
from scripts.reading.prose import classify, replace_inline_cells, spans
from scripts.weaving.identifiers import PAGE, Identifiers, link_paragraph
from scripts.weaving.subjects import PAGE as SUBJECTS
from scripts.weaving.subjects import Subjects, unmarked
from scripts.weaving.woven_apart import (
    ANSWER,
    HINT,
    LABEL,
    PRINT,
    TITLE,
    WEB,
    Apart,
    closing,
    pointed,
    question,
    run_in,
    web_notes,
)
from scripts.weaving.woven_cells import Woven, fence, quoted, weave_cell
from scripts.weaving.woven_chunks import CITATION, Chunks, Piece, caption, cited, key, links
from scripts.weaving.woven_drawn import MAP, bars, map_of_topics
from scripts.weaving.woven_front import (
    contents,
    facts,
    front_matter,
    invitation,
    is_unnumbered,
    link_to,
    marks,
    project,
)
from scripts.weaving.woven_pitfalls import weave_pitfall

UNNUMBERED = re.compile(r"(?<![\w@\[])@(sec-[\w-]*\w)")
CONTENTS = re.compile(r"^:{3,}\s*\{\.chapters-there\}\s*$")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")

Row = tuple[str, int]


@dataclass
class Result:
    """What weaving did to the folder: paths below it."""
    written: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)


class ChapterWeaver:
    """Turns one chapter into rows of Markdown, each with the chapter's line it came from."""

    def __init__(self, chapter: Chapter, book: Book, chunks: Chunks, identifiers: Identifiers, outputs,
                 subjects: Subjects):
        self.subjects = subjects
        self.chapter, self.book, self.identifiers, self.chunks = chapter, book, identifiers, chunks
        self.unnumbered = {c.anchor: c for c in book.chapters if is_unnumbered(c)}
        self.pieces = {p.chunk.line: p for p in chunks.pieces[chapter.path]}
        self.cells = {c.line: (n, c) for n, c in enumerate(chapter.cells, 1)}
        self.kinds = classify(chapter)
        self.hints = Apart("Hints", f"hints-{key(chapter)}")
        self.answers = Apart("Answers", f"answers-{key(chapter)}")
        self.notes = web_notes(chapter, self.kinds, chunks.pieces[chapter.path])
        self.pictures: dict[str, bytes] = {}
        self.seen: set[str] = set()
        self.results, self.values = self._results(outputs)

    def _results(self, outputs) -> tuple[dict, dict]:
        """Outputs of the cells by line, values of the inline expressions by line."""
        cells: dict[int, list] = {}
        values: dict[int, list[str]] = {}
        if outputs is not None:
            for unit, output in zip(units(self.chapter), outputs):
                if unit.inline:
                    values.setdefault(unit.line, []).append(value_of(output))
                else:
                    cells[unit.line] = output
        else:
            for unit in inline(self.chapter):
                values.setdefault(unit.line, []).append("…")
        return cells, values

    def weave(self) -> list[Row]:
        rows = [(row, 1) for row in front_matter(self.chapter)]
        rows += self.lines(self.chapter.front_lines + 1, len(self.chapter.lines))
        return [*rows, *self.hints.section(), *self.answers.section()]

    def lines(self, n: int, end: int) -> list[Row]:
        """Lines n to end, woven."""
        rows: list[Row] = []
        while n <= end:
            if n in self.pieces:
                new, n = self.chunk(self.pieces[n]), self.pieces[n].chunk.end + 1
            elif n in self.cells:
                new, n = self.cell(*self.cells[n]), self.cells[n][1].end + 1
            elif HINT.match(self.chapter.lines[n - 1]) and self.kinds[n - 1] == "div":
                new, n = self.hint(n)
            elif ANSWER.match(self.chapter.lines[n - 1]) and self.kinds[n - 1] == "div":
                new, n = self.answer(n, rows)
            elif self.kinds[n - 1] == "prose":
                new, n = self.paragraph(n, end)
            else:
                new, n = self.single(n), n + 1
            rows += new
        return rows

    def single(self, n: int) -> list[Row]:
        """A line that is no running text."""
        text = self.chapter.lines[n - 1]
        if self.kinds[n - 1] == "heading":
            self.seen = set()
        if self.kinds[n - 1] not in ("hidden", "math"):
            text = self.evaluated(text, n)
        rows: list[Row] = [(text, n)]
        if n == self.chapter._title[2]:
            rows += [(row, 1) for row in facts(self.chapter, self.book)]
        if self.kinds[n - 1] == "heading":
            rows += [(row, n) for row in [*invitation(self.chapter, text), *marks(self.chapter, text)]]
            rows += self.drawn(*bars(self.chapter, text, self.book.root), n)
        if MAP.match(text) and self.kinds[n - 1] == "div":
            rows += self.drawn(*map_of_topics(self.book, self.chapter), n)
        if CONTENTS.match(text) and self.kinds[n - 1] == "div":
            rows += [(row, n) for row in contents(self.book, self.chapter)]
        return rows + [(row, n) for row in self.notes.get(n, [])]

    def drawn(self, rows: list[str], pictures: dict[str, bytes], n: int) -> list[Row]:
        """Rows that show a drawing of ours, which is kept with the chapter's pictures."""
        self.pictures |= pictures
        return [(row, n) for row in rows]

    def paragraph(self, n: int, end: int) -> tuple[list[Row], int]:
        """Lines of running text up to the next line that is something else."""
        last = n
        while last < end and self.kinds[last] == "prose" and last + 1 not in self.pieces:
            last += 1
        text = "\n".join(self.chapter.lines[n - 1:last])
        linked = link_paragraph(unmarked(text), self.chapter, self.identifiers, self.seen).split("\n")
        rows = [(self.evaluated(row, line), line) for line, row in enumerate(linked, n)]
        if id := self.subjects.anchors.get((self.chapter.path, n)):
            rows = [(row, n) for row in ("", f"::: {{#{id}}}", ":::", "")] + rows
        return rows, last + 1

    def evaluated(self, text: str, n: int) -> str:
        values = iter(self.values.get(n, []))
        return self.linked(replace_inline_cells(text, lambda expression: next(values, "…")))

    def linked(self, text: str) -> str:
        """References to chapters without a number, of which Quarto knows none, as links."""
        if "@sec-" not in text or not self.unnumbered:
            return text
        return "".join(UNNUMBERED.sub(self.to_unnumbered, part) if kind == "text" else part
                       for kind, part in spans(text))

    def to_unnumbered(self, found: re.Match) -> str:
        chapter = self.unnumbered.get(found[1])
        return link_to(chapter, self.chapter) if chapter else found[0]

    def cite(self, text: str) -> str:
        """`@eq-27-rotation` in code, as tangle writes it."""
        return cited(text, self.book.equations)

    def chunk(self, piece: Piece) -> list[Row]:
        chunk = piece.chunk
        indent = re.match(r"[ \t>]*", self.chapter.lines[chunk.line - 1])[0]
        if chunk.pitfall:
            return [((indent + text).rstrip(), line)
                    for text, line in weave_pitfall(piece, self.chunks, self.cite, fence)]
        run = fence("\n".join(chunk.lines))
        label = f"#{chunk.id} " if chunk.id else ""
        more = "".join(f" {key}={quoted(chunk.keys[key])}" for key in ("lst-cap",) if key in chunk.keys)
        head = ["", f"::: {{#{piece.id} .chunk}}", caption(piece), "",
                f"{run} {{{label}.python .chunk-code{more}}}"]
        rows = [(row, chunk.line) for row in head]
        rows += [(self.cite(row), line) for line, row in enumerate(chunk.lines, chunk.first)]
        said = links(piece, self.equations(chunk.lines))
        rows += [(row, chunk.end) for row in [run, "", *([said, ""] if said else []), ":::", ""]]
        return [((indent + text).rstrip(), line) for text, line in rows]

    def equations(self, lines: list[str]) -> list[str]:
        """The equations that a chunk cites."""
        return list(dict.fromkeys(m for line in lines for m in CITATION.findall(line)
                                  if m in self.book.equations))

    def cell(self, number: int, cell) -> list[Row]:
        stem = posixpath.basename(self.chapter.path).removesuffix(".qmd")
        woven: Woven = weave_cell(cell, self.results.get(cell.line), stem, number, {}, self.cite)
        self.pictures |= woven.pictures
        indent = re.match(r"[ \t>]*", self.chapter.lines[cell.line - 1])[0]
        rows = [(indent + text if text else text, line) for text, line in woven.rows]
        return [("", cell.line), *rows, ("", cell.end)]

    def hint(self, n: int) -> tuple[list[Row], int]:
        """A hint is folded in its place on the web, and stands at the chapter's end in print."""
        last = closing(self.chapter, self.kinds, n)
        title = TITLE.search(self.chapter.lines[n - 1])
        body = self.lines(n + 1, last - 1)
        self.hints.rows += [*run_in(f"**{title[1] if title else 'Hint'}.**", unlabelled(body), n), ("", last)]
        rows = self.folded(n, last, body)
        if self.last_hint(last):
            link = f"[end of the chapter](#{self.hints.id}){{.pageref}}"
            rows += [(row, last) for row in ("", PRINT, "", f"The hints stand at the {link}.", "", ":::")]
        return [*rows, ("", last)], last + 1

    def folded(self, n: int, last: int, body: list[Row]) -> list[Row]:
        """A callout as it stands on the web."""
        return [("", n), (WEB, n), ("", n), (self.chapter.lines[n - 1], n), *body,
                (self.chapter.lines[last - 1], last), ("", last), (":::", last)]

    def answer(self, n: int, before: list[Row]) -> tuple[list[Row], int]:
        """An answer is folded on the web; in print it stands at the chapter's end, with links there and back."""
        last = closing(self.chapter, self.kinds, n)
        body = self.lines(n + 1, last - 1)
        self.answers.count += 1
        asked, here = (f"{word}-{key(self.chapter)}-{self.answers.count}" for word in ("question", "answer"))
        begins, name = question(before)
        if begins is None:
            asked, name = "", f"Answer {self.answers.count}"
        else:
            before[begins:begins] = [(row, before[begins][1]) for row in (f"::: {{#{asked}}}", ":::", "")]
        link = f'[[answer](#{here}){{.pageref}}]{{.content-hidden when-format="html"}}'
        rows = pointed(before, link, n)
        back = f"[**{name}**](#{asked}){{.pageref}}" if asked else f"**{name}**"
        self.answers.rows += [(f"::: {{#{here}}}", n), *run_in(back, body, n), ("", last), (":::", last), ("", last)]
        return [*rows, *self.folded(n, last, body), ("", last)], last + 1

    def last_hint(self, line: int) -> bool:
        return not any(HINT.match(text) for text in self.chapter.lines[line:])


def unlabelled(rows: list[Row]) -> list[Row]:
    """A label stands once, in the web's copy."""
    return [(text if text.lstrip().startswith(":::") else LABEL.sub("", text), line) for text, line in rows]


def value_of(outputs) -> str:
    """What an inline expression showed."""
    for output in outputs:
        data = output.get("data", {})
        if "text/plain" in data:
            return "".join(data["text/plain"]).strip()
    return ""


def weave(book: Book, outputs: dict, executed: dict, folder: Path) -> Result:
    """Write the woven book into `folder`, touching only the files that change."""
    chunks = Chunks(book, outputs)
    identifiers = Identifiers(chunks)
    subjects = Subjects(book)
    files: dict[str, bytes] = {}
    lines: dict[str, list[int]] = {}
    for chapter in book.chapters:
        weaver = ChapterWeaver(chapter, book, chunks, identifiers, executed.get(chapter.path), subjects)
        rows = squeeze(weaver.weave())
        files[chapter.path] = ("\n".join(text for text, _ in rows).rstrip("\n") + "\n").encode()
        lines[chapter.path] = [line for _, line in rows]
        home = posixpath.dirname(chapter.path)
        files |= {posixpath.join(home, "figures", name): data for name, data in weaver.pictures.items()}
        files |= pictures(chapter, book.root)
    files[PAGE] = identifiers.page().encode()
    files[SUBJECTS] = subjects.page().encode()
    files |= project(book, [SUBJECTS, PAGE])
    files["lines.json"] = (json.dumps(lines, separators=(",", ":")) + "\n").encode()
    return write(Path(folder), files)


def squeeze(rows: list[Row]) -> list[Row]:
    """Rows with runs of blank ones made single, code left alone."""
    done: list[Row] = []
    run = ""
    for text, line in rows:
        found = re.match(r"[ \t>]*(`{3,}|~{3,})(.*)$", text)
        if run:
            run = "" if found and found[1].startswith(run) and not found[2].strip() else run
        elif found and "`" not in found[2]:
            run = found[1]
        elif not text.strip() and done and not done[-1][0].strip():
            continue
        done.append((text, line))
    return done


def pictures(chapter: Chapter, root: Path) -> dict[str, bytes]:
    """Pictures of the repository that the chapter's own text shows."""
    home, found = posixpath.dirname(chapter.path), {}
    for source in PICTURE.findall(chapter.text):
        path = posixpath.normpath(posixpath.join(home, source))
        if not path.startswith("..") and (Path(root) / path).is_file():
            found[path] = (Path(root) / path).read_bytes()
    return found


def write(folder: Path, files: dict[str, bytes]) -> Result:
    """Make the folder hold these files and, of what weaving makes, no others."""
    result = Result()
    for name, data in sorted(files.items()):
        path = folder / name
        if path.is_file() and path.read_bytes() == data:
            result.unchanged += 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        result.written.append(name)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        ours = path.suffix in (".qmd", ".svg", ".png") and not name.startswith((".", "_"))
        if ours and path.is_file() and name not in files:
            path.unlink()
            result.removed.append(name)
    return result
