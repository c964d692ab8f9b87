"""Where the tools' own drawings stand: the map of the topics on the front page, the bars under "Measured"."""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

from scripts.reading.chapters import Book, Chapter
from scripts.weaving.drawings import Topic, bars_in_words, ladder_bars, topic_map, words_of
from scripts.weaving.woven_cells import quoted
from scripts.weaving.woven_front import parts

MAP = re.compile(r"^:{3,}\s*\{\.topic-map\}\s*$")
MEASURED = re.compile(r"\{[^}]*#sec-\w{1,2}-measured\b")
LONGEST = 30                                            # characters of a title on the map
LEAST = 3                                               # levels, of which bars are drawn


def map_of_topics(book: Book, here: Chapter) -> tuple[list[str], dict[str, bytes]]:
    """Rows for the division and the picture they show."""
    part_of = {path: part for part, paths in parts(book) for path in paths}
    home = posixpath.dirname(here.path) or "."
    topics = [Topic(c.topic, short(c.title), part_of.get(c.path, "").rpartition("· ")[2],
                    list(c.meta.get("needs") or []), posixpath.relpath(c.path, home).removesuffix(".qmd") + ".html")
              for c in book.chapters if c.topic is not None]
    if not topics:
        return [], {}
    rows = ["", f"![](figures/topic-map.svg){{.drawn fig-alt={quoted(words_of(topics))} width=50%}}", ""]
    return rows, {"topic-map.svg": topic_map(topics).encode()}


def short(title: str) -> str:
    """What of a title has room in a line of the map on a narrow screen."""
    words = re.split(r"[:,]", title)[0]
    return words if len(words) <= LONGEST else words.partition(" and ")[0]


def bars(chapter: Chapter, heading: str, root: Path) -> tuple[list[str], dict[str, bytes]]:
    """Under the heading "Measured", on the web: the levels of the record's first ladder as bars."""
    ladder = first_ladder(chapter, root) if MEASURED.search(heading) and chapter.topic is not None else None
    if ladder is None:
        return [], {}
    name, entry, by = ladder
    file = f"{chapter.topic:02d}-measured.svg"
    note = f" ({entry['note']})" if entry.get("note") else ""
    caption = plain(f"{name}{note}: time of a call at each level, on a logarithmic scale; {by['machine']}, "
                    f"{by['threads']}.")
    image = f"![{caption}](figures/{file}){{.drawn fig-alt={quoted(bars_in_words(name, entry['rows']))}}}"
    rows = ["", '::: {.content-visible when-format="html"}', "", image, "", ":::", ""]
    return rows, {file: ladder_bars(entry["rows"]).encode()}


def first_ladder(chapter: Chapter, root: Path) -> tuple[str, dict, dict] | None:
    """Name, entry and circumstances of the first ladder with enough levels."""
    file = Path(root) / "golden" / "records" / f"t{chapter.topic:02d}.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"ladders": {}}
    for name, entry in record["ladders"].items():
        if sum(level.startswith("level ") for level in entry["rows"]) >= LEAST:
            return name, entry, record["by"][entry["by"]]
    return None


def plain(words: str) -> str:
    """Words as Markdown that means nothing else."""
    return re.sub(r"([\\`*_\[\]<>^~$@#|])", r"\\\1", words)
