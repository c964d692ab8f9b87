"""Which lines of a chapter are prose, and what inside a paragraph may be touched."""

from __future__ import annotations

import re

HEADING = re.compile(r"^#{1,6}\s")
EQUATION = re.compile(r"^\s*\$\$")
INLINE_CELL = re.compile(r"`\{python\}\s+([^`]+?)\s*`")


def classify(chapter) -> list[str]:
    """The kind of every line.

    hidden (front matter, code, comments), math, div, heading, caption, table, blank or prose.
    """
    lines, kinds, n = chapter.lines, [], 0
    while n < len(lines):
        end = n + 1
        if chapter.hidden(n + 1):
            kind = "hidden"
        elif EQUATION.match(lines[n]):
            kind, end = "math", _closing(lines, n) + 1
        else:
            kind = _one_line(lines[n])
        kinds += [kind] * (end - n)
        n = end
    return kinds


def _closing(lines: list[str], n: int) -> int:
    """The line where the display equation that opens on line n closes."""
    if lines[n].count("$$") > 1:
        return n
    return next((k for k in range(n + 1, len(lines)) if "$$" in lines[k]), len(lines) - 1)


def _one_line(line: str) -> str:
    if not line.strip():
        return "blank"
    if HEADING.match(line):
        return "heading"
    if re.match(r"^\s*:{3,}", line):
        return "div"
    if re.match(r"^\s*(: |Table: |!\[)", line):
        return "caption"
    return "table" if line.lstrip().startswith("|") else "prose"


def replace_inline_cells(line: str, replacement) -> str:
    """The line with every inline `{python}` expression replaced by `replacement(expression)`."""
    if "{python}" not in line:
        return line
    pieces = []
    for kind, text in spans(line):
        match = INLINE_CELL.fullmatch(text) if kind == "code" else None
        pieces.append(replacement(match[1]) if match else text)
    return "".join(pieces)


def inline_cells(line: str) -> list[str]:
    """The inline `{python}` expressions of a line."""
    found: list[str] = []
    replace_inline_cells(line, lambda expression: found.append(expression) or "")
    return found


def spans(paragraph: str):
    """Cut a paragraph into ("code", "`x`"), ("link", …), ("math", …) and ("text", …): together, it."""
    start = at = 0
    while at < len(paragraph):
        found = _span(paragraph, at)
        if found is None:
            at += 2 if paragraph[at] == "\\" else 1
            continue
        if start < at:
            yield "text", paragraph[start:at]
        kind, end = found
        yield kind, paragraph[at:end]
        start = at = end
    if start < len(paragraph):
        yield "text", paragraph[start:]


def _span(text: str, at: int) -> tuple[str, int] | None:
    c = text[at]
    if c == "`":
        run = re.match(r"`+", text[at:])[0]
        close = re.search(rf"(?<!`){run}(?!`)", text[at + len(run):])
        end = at + len(run) + (close.end() if close else 0)
        attributes = re.match(r"\{[^}]*\}", text[end:]) if close else None
        return ("link", end + attributes.end()) if attributes else ("code" if close else "text", end)
    if c == "$":
        close = re.match(r"\$(?! )(?:\\.|[^$\\])+?(?<! )\$(?!\d)", text[at:], re.S)
        return ("math", at + close.end()) if close else None
    if c == "[":
        end = _bracket(text, at)
        if end and text[end:end + 1] in ("(", "{", "["):
            tail = re.match(r"\([^)]*\)(?:\{[^}]*\})?|\{[^}]*\}|\[[^\]]*\]", text[end:])
            return ("link", end + tail.end()) if tail else None
    return None


def _bracket(text: str, at: int) -> int | None:
    """Where the bracket that opens at `at` has closed; None if it does not."""
    depth = 0
    for k in range(at, len(text)):
        if text[k] == "\\":
            continue
        depth += {"[": 1, "]": -1}.get(text[k], 0) if text[k - 1:k] != "\\" else 0
        if depth == 0:
            return k + 1
    return None
