"""What the page shows as chunks is what was extracted: our reading of a chapter against pandoc's."""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from scripts.errors import Problem
from scripts.reading.fences import TANGLING
from scripts.typeset.pandoc import READER, run

OPENING = re.compile(r"(`{3,}|~{3,}).*$")


def shown(book) -> list[str]:
    """Chunks that pandoc sees and tangle does not, or the other way round."""
    with ThreadPoolExecutor(2) as pool:
        return [line for lines in pool.map(differences, book.selected) for line in lines]


def differences(chapter) -> list[str]:
    """The offenders of one chapter."""
    ours = Counter(key(chunk.keys, chunk.lines) for chunk in chapter.chunks)
    try:
        theirs = Counter(key(keys, code) for keys, code in in_pandoc(chapter))
    except Problem as error:
        said = str(error).split("\n")[0]
        line = re.search(r"line (\d+)", said)
        return [f"{chapter.path}:{line[1] if line else 1}: {said}"]
    lines = {key(chunk.keys, chunk.lines): chunk.line for chunk in chapter.chunks}
    bad = [f"{chapter.path}:{lines[each]}: tangled, but the page does not show it as a chunk; expected it at the "
           "margin, in no formula or HTML" for each in ours - theirs]
    return bad + [f"{chapter.path}:{where(chapter, each)}: the page shows this chunk, but it is not tangled; expected "
                  "it at the margin, or in a plain list" for each in theirs - ours]


def key(keys: dict[str, str], code: list[str]) -> tuple:
    """A chunk, comparable: what it says of itself, and its program without the indentation of lines."""
    said = tuple(sorted((name, " ".join(value.split())) for name, value in keys.items() if name in TANGLING))
    return said, "\n".join(code).rstrip()


def prepared(chapter) -> str:
    """The chapter as pandoc should see it: no front matter, and cells as code blocks with attributes."""
    lines = list(chapter.lines)
    lines[:chapter.front_lines] = [""] * chapter.front_lines
    for fence in chapter.fences:
        if fence.classes and not fence.classes[0].startswith(".") and fence.info.startswith("{"):
            lines[fence.line - 1] = OPENING.sub(r"\1 {.cell}", lines[fence.line - 1])
    return "\n".join(lines) + "\n"


def in_pandoc(chapter):
    """(attributes, lines of code) of each chunk in pandoc's tree."""
    tree = json.loads(run(["-f", READER, "-t", "json"], prepared(chapter))[0])
    todo = [tree["blocks"]]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            if node.get("t") == "CodeBlock":
                keys = dict(node["c"][0][2])
                if any(name in keys for name in TANGLING):
                    yield keys, node["c"][1].split("\n")
            todo += node.values()


def where(chapter, each: tuple) -> int:
    """The line of a chunk that is in the chapter's text and not among its chunks."""
    taken = {chunk.line for chunk in chapter.chunks}
    wanted = [re.compile(rf"{name}\s*=\s*[\"']?\s*" + r"\s+".join(map(re.escape, value.split())))
              for name, value in each[0]]
    for number, line in enumerate(chapter.lines, 1):
        if number not in taken and OPENING.search(line) and all(pattern.search(line) for pattern in wanted):
            return number
    return 1
