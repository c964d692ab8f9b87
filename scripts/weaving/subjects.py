"""The subject index: where the chapters explain or mention the terms of `chapters/subjects.txt`.

A line of that file is an entry, and after a colon the words under which it occurs, if they are others. The
first mention in each chapter counts, or the one that is emphasised, as a term is where it is defined; a
chapter that names a term only once, in passing, does not, unless no chapter does more. `[term]{.index}` in a
chapter's text counts always, and `[words]{.index entry="term"}` under another name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from scripts.reading.chapters import Book, Chapter
from scripts.reading.prose import classify, spans
from scripts.weaving.woven_chunks import escaped, href, key, web_only

PAGE = "subjects.qmd"
LIST = Path("chapters/subjects.txt")
MARK = re.compile(r"\[([^\[\]]+)\]\{\.index(?: entry=\"([^\"]+)\")?\}")
ALWAYS = 3                                              # mentions that count as often as a definition
MOST = 9                                                # places of an entry


@dataclass
class Place:
    chapter: Chapter
    id: str
    defined: bool
    on_paper: bool


@dataclass
class Found:
    """A term in one chapter: the paragraph that counts."""
    line: int = 0
    rank: int = 0                                       # 2 marked, 1 emphasised or in the heading, 0 mentioned
    times: int = 0


@dataclass
class Terms:
    """The words to look for, each with its entry."""
    entries: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        words = sorted(self.entries, key=len, reverse=True)
        self.expression = re.compile(
            r"(?<![\w\-])(" + "|".join(map(re.escape, words)) + r")(?:e?s)?(?![\w\-])", re.I) if words else None

    def within(self, text: str):
        """(entry, whether it is emphasised) of every term in a text."""
        for match in self.expression.finditer(text) if self.expression else ():
            word = match[1]
            entry = self.entries.get(word) or self.entries.get(word.lower())
            if entry is None and word[:1].isupper():    # at the beginning of a sentence
                entry = self.entries.get(word[:1].lower() + word[1:])
            if entry:
                before, after = text[:match.start()].rstrip("“"), text[match.end():]
                yield entry, before.endswith("*") and bool(re.match(r"[^*]{0,12}\*", after))


def unmarked(text: str) -> str:
    """The text without the marks of the index."""
    if ".index" not in text:
        return text
    return "".join(part if kind == "code" else MARK.sub(r"\1", part) for kind, part in spans(text))


def read_terms(path: Path) -> Terms:
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        entry, _, words = line.partition(":")
        if entry.strip() and not entry.startswith("#"):
            for word in filter(None, map(str.strip, words.split(","))) if words.strip() else [entry.strip()]:
                entries[word] = entry.strip()
    return Terms(entries)


class Subjects:
    """`anchors[path, line]` is the id that the paragraph on that line is given; `page()` the woven index."""

    def __init__(self, book: Book):
        self.terms = read_terms(Path(book.root) / LIST)
        self.anchors: dict[tuple[str, int], str] = {}
        self.places: dict[str, list[Place]] = defaultdict(list)
        found = [(chapter, self._found(chapter)) for chapter in book.chapters]
        for chapter, terms in found:
            web = web_only(chapter)
            for entry, seen in terms.items():
                if seen.rank or seen.times >= ALWAYS:
                    self._place(entry, chapter, seen, web)
        for entry in self.terms.entries.values():
            named = [(chapter, terms[entry]) for chapter, terms in found if entry in terms]
            if named and entry not in self.places:
                chapter, seen = max(named, key=lambda pair: pair[1].times)
                self._place(entry, chapter, seen, web_only(chapter))
        for chapter in book.chapters:
            self._rename(chapter)

    def without_place(self) -> list[str]:
        """The entries of which no chapter speaks."""
        return [entry for entry in dict.fromkeys(self.terms.entries.values()) if entry not in self.places]

    def _found(self, chapter: Chapter) -> dict[str, Found]:
        found: dict[str, Found] = {}
        heading = ""
        for line, kind, text in paragraphs(chapter):
            if kind == "heading":
                heading = text
                continue
            for entry, rank in self._ranked(text, heading):
                seen = found.setdefault(entry, Found())
                seen.times += 1
                if not seen.line or rank > seen.rank:
                    seen.line, seen.rank = line, rank
        return found

    def _place(self, entry: str, chapter: Chapter, seen: Found, web: set[int]) -> None:
        id = self.anchors.setdefault((chapter.path, seen.line), f"about-{key(chapter)}-{seen.line}")
        self.places[entry].append(Place(chapter, id, seen.rank > 0, seen.line not in web))

    def _rename(self, chapter: Chapter) -> None:
        """Ids that count paragraphs and not lines, so that they stay when a line is added."""
        mine = sorted((line, id) for (path, line), id in self.anchors.items() if path == chapter.path)
        names = {id: f"about-{key(chapter)}-{n}" for n, (_, id) in enumerate(mine, 1)}
        for line, id in mine:
            self.anchors[chapter.path, line] = names[id]
        for places in self.places.values():
            for place in places:
                if place.chapter is chapter:
                    place.id = names.get(place.id, place.id)

    def _ranked(self, text: str, heading: str):
        for words, entry in MARK.findall("".join(part for kind, part in spans(text) if kind != "code")):
            yield entry or words, 2
        plain = "".join(part if kind == "text" else " " for kind, part in spans(unmarked(text)))
        above = {entry for entry, _ in self.terms.within(heading)}
        for entry, emphasised in self.terms.within(plain):
            yield entry, 1 if emphasised or entry in above else 0

    def page(self) -> str:
        web, paper = [], []
        for entry in sorted(self.places, key=lambda name: (name.lower(), name)):
            places = sorted(self.places[entry], key=lambda p: not p.defined)[:MOST]
            places = [p for p in self.places[entry] if p in places]
            web.append(f"- {escaped(entry)}: " + ", ".join(link(p, "") for p in places))
            paper += [f"- {escaped(entry)} [" + ", ".join(link(p, "{.pageref}") for p in places if p.on_paper)
                      + "]{.pages}"] if any(p.on_paper for p in places) else []
        index = lambda rows: ["", "::: {.index}", "", *rows, "", ":::", "", ":::", ""]
        return "\n".join([
            "# Subject index {#sec-subjects .unnumbered}", "",
            "Where a term is explained stands in bold; the number is the chapter's on the web, the page's in print.",
            "", '::: {.content-visible when-format="html"}', *index(web),
            '::: {.content-visible unless-format="html"}', *index(paper)])


def link(place: Place, classes: str) -> str:
    name = place.chapter.number or place.chapter.title
    text = f"[{name}]({href(PAGE, place.chapter.path, place.id)}){classes}"
    return f"**{text}**" if place.defined else text


def paragraphs(chapter: Chapter):
    """(line, kind, text) of headings and of the plain paragraphs outside all divisions, their equations left out."""
    kinds, depth, n = classify(chapter), 0, chapter.front_lines
    while n < len(chapter.lines):
        line, kind = chapter.lines[n], kinds[n]
        if kind == "div":
            depth += -1 if re.fullmatch(r"\s*:{3,}\s*", line) else 1
        elif kind == "heading":
            yield n + 1, kind, line
        elif kind == "prose" and (n == 0 or kinds[n - 1] in ("blank", "heading")):
            last = n
            while last + 1 < len(kinds) and kinds[last + 1] in ("prose", "math"):
                last += 1
            if not depth and re.match(r"(?![-+>|#:]|\* |\d+[.)] |[ \t]|`{3})", line):
                yield n + 1, kind, "\n".join(chapter.lines[k] for k in range(n, last + 1) if kinds[k] == "prose")
            n = last
        n += 1
