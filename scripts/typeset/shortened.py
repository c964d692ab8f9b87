"""Docstrings as print shows them: the first sentence, and one line of shapes in place of sections of them.

    x : ndarray of shape (N, C), floating          x (N, C), gamma and beta (C,) -> out as x
"""

from __future__ import annotations

import re
import textwrap

OPEN = re.compile(r'^(\s*)([rR]?)(""")')
SECTION = re.compile(r"^(Parameters|Attributes|Returns|Yields)\n-+\n(.*?)(?=^[A-Z][\w ]*\n-+\n|\Z)", re.M | re.S)
ENTRY = re.compile(r"^([A-Za-z_*][\w *,.\[\]]*?) ?: (.*)$")
SHAPE = re.compile(r"(?:of )?shapes? (\((?:[^()]|\([^()]*\))*\)(?:(?:,| or|, or| and)? \((?:[^()]|\([^()]*\))*\))*)")
LIKE = re.compile(r"\b(?:of the shape|of the same shape|the shape|like|as)\b(?: and dtype)?(?: of| as)? ?([a-z]\w*)?")
KINDS = {"Parameters": "", "Attributes": "", "Returns": "-> ", "Yields": "-> "}
FILLERS = (None, "for", "the", "in", "a", "an", "is", "of", "and", "to", "that", "it", "if", "one", "well", "its",
           "they", "this", "by", "from", "many", "far", "before", "uneven", "function")
WIDTH = 94


def shortened(source: str) -> str:
    """Program text with its long docstrings shortened; strings that are no docstrings stay."""
    lines, out, n = source.split("\n"), [], 0
    while n < len(lines):
        opened = OPEN.match(lines[n])
        if not opened or lines[n].count('"""') != 1 or not begins(out):
            out.append(lines[n])
            n += 1
            continue
        last = n + 1
        while last < len(lines) and '"""' not in lines[last]:
            last += 1
        if last == len(lines) or lines[last].strip() != '"""':
            closed = last < len(lines) and lines[last].rstrip().endswith('"""')
            if not closed:
                out.append(lines[n])
                n += 1
                continue
        out += docstring(lines[n:last + 1], opened[1], opened[2] + opened[3])
        n = last + 1
    return "\n".join(out)


def begins(before: list[str]) -> bool:
    """Whether a string on the next line is a docstring: first of a module, or right under def or class."""
    row = next((line for line in reversed(before) if line.strip()), "")
    return not row or row.split("#")[0].rstrip().endswith(":") or row.lstrip().startswith("<<")


def docstring(lines: list[str], indent: str, quotes: str) -> list[str]:
    text = textwrap.dedent("\n".join([" " * len(indent) + lines[0].strip()[len(quotes):], *lines[1:]]))
    text = text.replace('"""', "").strip("\n")
    summary = " ".join(text.split("\n\n")[0].split())
    shapes = "; ".join(filter(None, (compact(kind, body) for kind, body in SECTION.findall(text))))
    shapes = shapes.replace("; ->", " ->")
    if "\n\n" not in text and not shapes:
        return lines                                    # a summary alone, over two lines
    room = WIDTH - len(indent)
    rows = textwrap.wrap(f"{quotes}{summary}", room, break_long_words=False)
    rows += textwrap.wrap(shapes, room, break_long_words=False) if shapes else []
    if len(rows[-1]) + 3 > room:
        rows.append("")
    rows[-1] += '"""'
    return [indent + row for row in rows] if len(rows) < len(lines) else lines


def compact(kind: str, body: str) -> str:
    """`x (N, C), gamma, beta (C,)`: the entries of a section of which the shape is told."""
    found = []
    for line in body.split("\n"):
        entry = ENTRY.match(line)
        if entry and (shape := SHAPE.search(entry[2])):
            found.append(f"{entry[1].strip()} {shape[1]}")
        elif entry and entry[1] != "cache" and (like := LIKE.search(entry[2])) and like[1] not in FILLERS:
            found.append(f"{entry[1].strip()} as {like[1]}")
    return KINDS[kind] + "; ".join(found) if found else ""
