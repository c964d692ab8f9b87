"""The search index: one entry for each section, its words without the mathematics.

Of program text it has the names, each once in a section, and of what programs print nothing: whole programs would
treble the file. The index of identifiers is left out, for its names are in their sections.
"""

from __future__ import annotations

import re
from collections import defaultdict

from scripts.typeset.project import Chapter
from scripts.typeset.tree import find, text_of

LONGEST_FORMULA = 24
NAME = re.compile(r"[^\W\d]\w{2,}")
PRINTED = ("output", "error")
LEFT_OUT = "identifiers.qmd"


def entries(chapter: Chapter, first: int) -> list[dict]:
    """Entries {id, url, chapter, title, text}; ids count from `first`."""
    if chapter.path == LEFT_OUT:
        return []
    name = (f"{chapter.number} " if chapter.numbered else "") + text_of(chapter.title).strip()
    out: list[dict] = []
    names: defaultdict[int, dict[str, None]] = defaultdict(dict)

    def add(blocks: list) -> None:
        for block in blocks:
            if block["t"] == "Heading":
                number = f"{block['number']} " if block["number"] else ""
                out.append(
                    {
                        "id": first + len(out),
                        "url": f"{chapter.page}#{block['id']}",
                        "chapter": name,
                        "title": number + text_of(block["title"]).strip(),
                        "text": "",
                    }
                )
            elif block["t"] == "Visible":
                add(block["body"] if "html" in block["formats"] else [])
            elif out:
                out[-1]["text"] += plain(block) + " "
                names[len(out) - 1].update(dict.fromkeys(names_in(block)))

    add(chapter.blocks)
    for k, entry in enumerate(out):
        seen = set(NAME.findall(entry["text"]))
        entry["text"] += " ".join(name for name in names[k] if name not in seen)
    return out


def plain(block: dict) -> str:
    return re.sub(r"\s+", " ", text_of(block, LONGEST_FORMULA)).strip()


def names_in(block: dict) -> list[str]:
    """The names in the programs of a block, in order."""
    programs = (node for node in find(block, "Program") if node["role"] not in PRINTED)
    return [name for node in programs for name in NAME.findall(node["source"])]
