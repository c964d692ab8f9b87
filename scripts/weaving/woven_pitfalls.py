"""A pitfall as it is woven: the chunk that it replaces and the wrong one, side by side, and what catches it."""

from __future__ import annotations

import difflib
import re

from scripts.weaving.woven_chunks import Chunks, Piece, escaped, to

NARROW = 50                                             # columns of code of which two fit beside one another
COMMENT = re.compile(r"(?<=\S)\s{2,}(# [^\"']*)$")
Row = tuple[str, int]


def weave_pitfall(piece: Piece, chunks: Chunks, cite, fence) -> list[Row]:
    """The rows of one pitfall; `cite` numbers the equations of a line, `fence` is long enough for a text."""
    right = [(cite(row), line) for part in original(piece) for line, row in
             enumerate(trimmed(part.chunk.lines), part.chunk.first)]
    wrong = [(cite(row), line) for line, row in enumerate(piece.chunk.lines, piece.chunk.first)]
    marks = differing([row for row, _ in right], [row for row, _ in wrong])
    right, wrong = (commented(side, r"  \1") for side in (right, wrong))
    if longest(right) > NARROW:                         # its comments stand at the chunk itself too
        right = commented(right, "") if longest(commented(right, "")) <= NARROW else right
    narrow = max(longest(right), longest(wrong)) <= NARROW
    line = piece.chunk.line
    head = [f"::: {{#{piece.id} .pitfall}}", f"[{title(piece)}]{{.chunk-name}}", "",
            "::: {.pitfall-pair layout-ncol=2}" if narrow else "::: {.pitfall-pair}", ""]
    rows = [(row, line) for row in head]
    if right:
        name = to(piece.original, escaped(piece.original.name))
        rows += side("right", f": {name}", right, marks[0], fence, line)
    rows += side("wrong", "", wrong, marks[1], fence, line)
    rows += [(row, piece.chunk.end) for row in (":::", "", *caught(piece, chunks), ":::", "")]
    return rows


def commented(rows: list[Row], form: str) -> list[Row]:
    """The rows with their trailing comments close by, or without them."""
    return [(COMMENT.sub(form, row), line) for row, line in rows]


def longest(rows: list[Row]) -> int:
    return max((len(row) for row, _ in rows), default=0)


def title(piece: Piece) -> str:
    """`Pitfall 9.3: reshaped, not transposed`, the name that failures of the tests are given."""
    number = f" {piece.chapter.number}.{piece.number}" if piece.chapter.number else ""
    more = ", continued" if piece.again else ""
    return f"Pitfall{number}: {escaped(piece.title)}{more}"


def original(piece: Piece) -> list[Piece]:
    return piece.original.parts if piece.original else []


def trimmed(lines: list[str]) -> list[str]:
    """Without the blank lines at the end."""
    return lines[:max((n for n, line in enumerate(lines, 1) if line.strip()), default=0)]


def differing(right: list[str], wrong: list[str]) -> tuple[list[int], list[int]]:
    """Numbers (from 1) of the lines that only one of the two has."""
    marks: tuple[list[int], list[int]] = ([], [])
    plain = [[" ".join(line.partition("  #")[0].split()) for line in lines] for lines in (right, wrong)]
    for kind, a, b, c, d in difflib.SequenceMatcher(None, *plain, autojunk=False).get_opcodes():
        if kind != "equal":
            marks[0].extend(range(a + 1, b + 1))
            marks[1].extend(range(c + 1, d + 1))
    return marks


def side(kind: str, more: str, rows: list[Row], marks: list[int], fence, line: int) -> list[Row]:
    run = fence("\n".join(row for row, _ in rows))
    marked = f' marked="{" ".join(map(str, marks))}"' if marks else ""
    head = [f"::: {{.pitfall-{kind}}}", f"[**{kind}**{more}]{{.pitfall-label}}", "",
            f"{run} {{.python .chunk-code{marked}}}"]
    return [*((row, line) for row in head), *rows, *((row, rows[-1][1]) for row in (run, "", ":::", ""))]


def caught(piece: Piece, chunks: Chunks) -> list[str]:
    """`Caught by test_a and test_b.`, with links to the tests."""
    names = str(piece.chunk.keys.get("caught", "")).split()
    if not names:
        return []
    shown = [place(name, piece, chunks) for name in names]
    text = " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
    return [f"[Caught by {text}.]{{.chunk-links}}", ""]


def place(name: str, piece: Piece, chunks: Chunks) -> str:
    """A test's name, with a link to the chunk that defines it."""
    defines = re.compile(rf"^\s*def {re.escape(name.rpartition('.')[2])}\b")
    for other in chunks.pieces[piece.chapter.path]:
        if any(defines.match(line) for line in other.chunk.lines):
            return to(other, f"`{name}`")
    return f"`{name}`"
