"""What print tells elsewhere than the web: notes on web-only listings, hints and answers at the chapter's end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scripts.reading.chapters import Chapter
from scripts.weaving.woven_chunks import WEB_ONLY, Piece, escaped

WEB = '::: {.content-visible when-format="html"}'
PRINT = '::: {.content-hidden when-format="html"}'
HINT = re.compile(r"^:{3,}\s*\{[^}]*\.hint\b[^}]*\}\s*$")
ANSWER = re.compile(r"^:{3,}\s*\{[^}]*\bcollapse=\"?true\b[^}]*\btitle=\"(?:Answer|Solution)|"
                    r"^:{3,}\s*\{[^}]*\btitle=\"(?:Answer|Solution)[^}]*\bcollapse=\"?true\b")
TITLE = re.compile(r'title="((?:\\.|[^"\\])*)"')
LABEL = re.compile(r"[ \t]*\{#(?:eq|fig|tbl|lst)-[\w-]+\}")
EXERCISE = re.compile(r"\*\*(\d+)[ .(]")
BOLD = re.compile(r"\*\*(.+?)\*\*")
TEXT = re.compile(r"(?![-*+] |\d+[.)] |[|>#:]|`{3}|\$\$|[ \t])")     # a row that begins a plain paragraph
DULL = re.compile(r"Imports?\b|What \S+ imports\b")      # names of pieces that nobody misses
NAMES, LONG = 3, 70

Row = tuple[str, int]


@dataclass
class Apart:
    """Hints or answers of a chapter, as they stand at its end in print."""
    title: str
    id: str
    rows: list[Row] = field(default_factory=list)
    count: int = 0

    def section(self) -> list[Row]:
        if not self.rows:
            return []
        head = ["", PRINT, "", f"## {self.title} {{#{self.id} .unnumbered}}", "", "::: {.apart}", ""]
        return [*((row, 0) for row in head), *self.rows,
                *((row, 0) for row in ("", ":::", "", ":::", ""))]


def closing(chapter: Chapter, kinds: list[str], n: int) -> int:
    """The line that closes the division that begins on line n."""
    depth, last = 1, n
    while depth and last < len(chapter.lines):
        last += 1
        line = chapter.lines[last - 1].strip()
        if kinds[last - 1] == "div":
            depth += -1 if re.fullmatch(r":{3,}", line) else 1
    return last


# -- listings that only the web shows
def web_notes(chapter: Chapter, kinds: list[str], pieces: list[Piece]) -> dict[int, list[str]]:
    """For the last line of each run of web-only blocks the rows that say, in print, what stands there."""
    blocks, n = [], 1
    while n <= len(chapter.lines):
        if kinds[n - 1] == "div" and WEB_ONLY.search(chapter.lines[n - 1]):
            last = closing(chapter, kinds, n)
            between = chapter.lines[blocks[-1][1]:n - 1] if blocks else ["no"]
            if any(line.strip() for line in between):
                blocks.append((n, last))
            else:
                blocks[-1] = (blocks[-1][0], last)
            n = last
        n += 1
    notes = {}
    for first, last in blocks:
        inside = [p for p in pieces if first < p.chunk.line < last and not p.chunk.pitfall
                  and not DULL.match(p.name)]
        if inside:
            notes[last] = ["", PRINT, "", "::: {.web-note}", web_note(inside, pieces), ":::", "", ":::", ""]
    return notes


def web_note(inside: list[Piece], pieces: list[Piece]) -> str:
    """`In the web edition: checks.py; Fold, entry by entry, of level1_naive.py.`"""
    files: dict[str, list[Piece]] = {}
    for piece in inside:
        files.setdefault(piece.file, []).append(piece)
    said = []
    for file, found in files.items():
        every = all(p in inside for p in pieces if p.file == file and not p.chunk.pitfall and not DULL.match(p.name))
        names = list(dict.fromkeys(p.name for p in found if p.name))
        said.append(f"`{file}`" if every else parts(names, found) + f" of `{file}`")
    return f"In the web edition: {'; '.join(said)}."


def parts(names: list[str], found: list[Piece]) -> str:
    if not names:
        defined = [m[1] for p in found for line in p.chunk.lines
                   if (m := re.match(r"(?:def|class) (\w+)", line))]
        names = [f"`{name}`" for name in defined]
    else:
        names = [f"*{escaped(name)}*" for name in names]
    if not names:
        return "a part" if len(found) == 1 else f"{len(found)} parts"
    more = len(names) - NAMES
    shown = names if more <= 1 else [*names[:NAMES], f"{more} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


# -- hints and answers
def run_in(head: str, body: list[Row], line: int) -> list[Row]:
    """The body with its head in front of its first words, or above what is no plain paragraph."""
    first = next((k for k, (row, _) in enumerate(body) if row.strip()), 0)
    if first < len(body) and TEXT.match(body[first][0]):
        row, number = body[first]
        return [(f"{head} {row}", number), *body[first + 1:]]
    return [(head, line), ("", line), *body]


def question(rows: list[Row]) -> tuple[int | None, str]:
    """(index of the row at which the question begins, what a link to it says) of an answer that follows."""
    begins = None
    for k in range(len(rows) - 1, -1, -1):
        row, before = rows[k][0], rows[k - 1][0] if k else ""
        if row.startswith(("#", ":::")):
            break
        if row.startswith("**") and not before.strip():
            begins = k
            break
        if row.strip() and not before.strip() and TEXT.match(row) and begins is None:
            begins = k
    if begins is None:
        return None, ""
    return begins, named(rows[begins][0])


def named(row: str) -> str:
    """`Exercise 3`, or the question in short."""
    if found := EXERCISE.match(row):
        return f"Exercise {found[1]}"
    found = BOLD.match(row)
    text = found[1] if found else re.split(r"(?<=[.?!]) ", row)[0]
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", r"\1", text)
    if len(text) > LONG:
        cut = re.sub(r"\s+\S*$", "", text[:LONG])
        while any(cut.count(sign) % 2 for sign in "$`*"):
            cut = re.sub(r"\s*[$`*][^$`*]*$", "", cut)
        text = cut.rstrip(",;:") + " …"
    return text


def pointed(rows: list[Row], link: str, line: int) -> list[Row]:
    """The link to the answer, at the end of the question's last paragraph if that is plain text."""
    last = next((k for k in range(len(rows) - 1, -1, -1) if rows[k][0].strip()), None)
    first = last
    while first and rows[first - 1][0].strip():
        first -= 1
    if last is not None and TEXT.match(rows[first][0]) and rows[last][0][-1] not in "}|:`":
        rows[last] = (f"{rows[last][0]} {link}", rows[last][1])
        return []
    return [("", line), (link, line), ("", line)]
