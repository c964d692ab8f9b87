"""A chapter's Markdown for what doesn't know Quarto (a notebook): divisions, labels and references softened.

Callouts become block quotes (folded ones a `<details>`), `@eq-27-rotation` becomes "Equation (27.12)", a
citation its authors and year.
"""

from __future__ import annotations

import re
from pathlib import Path

from scripts.reading.chapters import Book, Chapter
from scripts.reading.prose import classify, spans

NOUNS = {"fig": "Figure", "tbl": "Table", "lst": "Listing", "thm": "Theorem"}
LABELLED = re.compile(r"\{[^}]*#((?:fig|tbl|lst|thm)-[\w-]+)[^}]*\}")
REFERENCE = re.compile(r"(?<![\w`])@([A-Za-z][\w:-]*\w)")
CITATION = re.compile(r"\[([^\[\]]*@[A-Za-z][^\[\]]*)\]")
CALLOUT = re.compile(r"^:{3,}\s*\{[^}]*\.callout-(\w+)[^}]*\}")
TITLE = re.compile(r'title="((?:\\.|[^"\\])*)"')
ATTRIBUTES = re.compile(r"[ \t]*\{[#.][^{}]*\}[ \t]*$")
ENTRY = re.compile(r"^@\w+\{([^,\s]+),(.*?)^\}", re.M | re.S)


class Names:
    """What labels and citation keys are called in running text."""

    def __init__(self, book: Book):
        self.labels = {label: f"Equation ({number})" for label, number in book.equations.items()}
        for chapter in book.chapters:
            self._sections(chapter)
            self._numbered(chapter)
        self.works = works(Path(book.root) / "references.bib")

    def _sections(self, chapter: Chapter) -> None:
        for n, line in enumerate(chapter.lines, 1):
            match = re.match(r"#{1,6} +(.*?) *\{[^}]*#(sec-[\w-]+)[^}]*\}", line)
            if match and not chapter.hidden(n):
                self.labels[match[2]] = f'"{match[1]}"'

    def _numbered(self, chapter: Chapter) -> None:
        """Figures, tables and listings in the order of the page."""
        found = [(c.line, str(c.options.get("label", ""))) for c in chapter.cells]
        found += [(n, m[1]) for n, line in enumerate(chapter.lines, 1)
                  if not chapter.hidden(n) for m in LABELLED.finditer(line)]
        found += [(f.line, f.id) for f in chapter.fences if f.id]
        counts: dict[str, int] = {}
        for _, label in sorted(found):
            kind = label.partition("-")[0]
            if kind in NOUNS and label not in self.labels:
                counts[kind] = counts.get(kind, 0) + 1
                number = f"{chapter.number}.{counts[kind]}" if chapter.number else str(counts[kind])
                self.labels[label] = f"{NOUNS[kind]} {number}"

    def name(self, key: str) -> str:
        known = self.labels.get(key) or self.labels.get(key[:1].lower() + key[1:])
        if known or key not in self.works:
            return known or f"@{key}"
        people, year = self.works[key]
        return f"{people} ({year})"

    def citation(self, inside: str) -> str:
        """`@knuth1984literate, p. 3; @x` -> `(Knuth 1984, p. 3; …)`."""
        short = lambda match: " ".join(filter(None, self.works.get(match[1], (match[1], ""))))
        return "(" + re.sub(r"-?@([\w:-]*\w)", short, inside) + ")"


def works(path: Path) -> dict[str, tuple[str, str]]:
    """Citation key -> (authors in short, year)."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {}
    for match in ENTRY.finditer(text):
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*[{\"](.*?)[}\"],?\s*$", match[2], re.M))
        people = re.split(r"\s+and\s+", re.sub(r"[{}\\'\"^~`]", "", fields.get("author", match[1])))
        last = [p.split(",")[0].strip() if "," in p else p.split()[-1] if p.split() else "" for p in people]
        few = len(last) < 3 and "others" not in last
        short = " and ".join(last) if few else f"{last[0]} et al."
        found[match[1]] = (short, fields.get("year", ""))
    return found


class Softener:
    """Works through the lines of one chapter that are no code."""

    def __init__(self, chapter: Chapter, names: Names):
        self.chapter, self.names = chapter, names
        self.kinds = classify(chapter)
        self.open: list[str] = []                       # what is to be said where each division closes

    def soften(self, first: int, last: int, values=lambda n, line: line) -> str:
        """Lines first to last as Markdown for a notebook."""
        rows = []
        for n in range(first, last + 1):
            kind, line = self.kinds[n - 1], self.chapter.lines[n - 1]
            if kind == "div":
                rows += self.division(line)
            elif kind == "hidden":
                rows.append(self.quoted(line))
            else:
                rows.append(self.quoted(self.line(values(n, line), kind)))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(rows)).strip("\n")

    def quoted(self, line: str) -> str:
        return f"{'> ' * self.open.count('quote')}{line}".rstrip() if "quote" in self.open else line

    def division(self, line: str) -> list[str]:
        if re.fullmatch(r"\s*:{3,}\s*", line):
            closed = self.open.pop() if self.open else ""
            return ["", "</details>", ""] if closed == "details" else [""]
        callout, title = CALLOUT.match(line), TITLE.search(line)
        heading = title[1] if title else callout[1].capitalize() if callout else ""
        if callout and 'collapse="true"' in line:
            self.open.append("details")
            return ["", f"<details><summary>{heading}</summary>", ""]
        if callout:
            self.open.append("quote")
            return ["", self.quoted(f"**{heading}.**"), self.quoted("")]
        self.open.append("plain")
        return [""]

    def line(self, text: str, kind: str) -> str:
        if kind == "heading":
            return ATTRIBUTES.sub("", text)
        if kind == "math":
            return self.equation(text)
        if kind == "caption":
            text = self.caption(text)
        return "".join(part if which in ("code", "math") else self.references(part)
                       for which, part in spans(text))

    def equation(self, text: str) -> str:
        label = re.search(r"[ \t]*\{[^}]*#(eq-[\w-]+)[^}]*\}", text)
        if not label:
            return text
        number = self.names.labels.get(label[1], "").removeprefix("Equation (").removesuffix(")")
        text = text.replace(label[0], "")
        return text[:text.rindex("$$")] + rf" \tag{{{number}}}" + text[text.rindex("$$"):]

    def caption(self, text: str) -> str:
        label = LABELLED.search(text)
        said = re.sub(r"^\s*(?:Table)?: ", "", ATTRIBUTES.sub("", text))
        if text.lstrip().startswith("!["):
            return re.sub(r"\]\((?!\w+:|/)([^)]+)\)(\{[^}]*\})?", r"](../../chapters/\1)", text)
        name = self.names.labels.get(label[1], "") if label else ""
        return f"*{name}.* {said}" if name else said

    def references(self, text: str) -> str:
        text = re.sub(r"\[([^\]]+)\]\((?!\w+://)[^)]*\.qmd[^)]*\)(\{[^}]*\})?", r"\1", text)
        internal = re.compile(r"@(eq|fig|tbl|sec|lst)-", re.I)
        text = CITATION.sub(lambda m: m[1] if internal.search(m[1]) else self.names.citation(m[1]), text)
        return REFERENCE.sub(lambda m: self.names.name(m[1]), text)
