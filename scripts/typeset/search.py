"""The search index: one entry for each section, its words without the mathematics."""

from __future__ import annotations

import re

from scripts.typeset.project import Chapter
from scripts.typeset.tree import text_of

LONGEST_FORMULA = 24


def entries(chapter: Chapter, first: int) -> list[dict]:
    """Entries {id, url, chapter, title, text}; ids count from `first`."""
    name = (f"{chapter.number} " if chapter.numbered else "") + text_of(chapter.title).strip()
    out: list[dict] = []

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

    add(chapter.blocks)
    return out


def plain(block: dict) -> str:
    return re.sub(r"\s+", " ", text_of(block, LONGEST_FORMULA)).strip()
