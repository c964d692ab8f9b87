"""One pass over a chapter's tree: Quarto's conventions become our own nodes, and each gets its number.

Heading     level, id, title, number
Equation    tex, label, number                    (a block: paragraphs are split around it)
Program     source, language, role, id, annotated, marked     (role: code, chunk, output, error)
Annotations items                                 (the list that explains a block's numbered marks)
Callout     kind, title, body, collapse, id, classes
Float       kind, label, number, caption, body, columns
Panel       label, letter, caption, body          (a part of a Float)
Statement   kind, label, number, name, body       (theorems and their like)
Proof       name, body
Chunk       id, name, file, body, links
Pitfall     id, name, links, right, wrong         (right, wrong: label and body; right may be None)
Visible     formats, body                         (body only in some of the formats)
VisibleSpan formats, c                            (the same within a paragraph)
"""

from __future__ import annotations

import re
from collections import Counter

from scripts.typeset import pandoc
from scripts.typeset.book import LABEL, STATEMENTS, Book, Label
from scripts.typeset.floats import Floats, float_node
from scripts.typeset.project import Chapter
from scripts.typeset.tree import attributes, find, node, string, text_of

EQUATION_LABEL = re.compile(r"\{#(eq-[\w.:-]+)\}(.*)", re.S)
MARK = re.compile(r"(?:#|//|--|%)[ \t]*<(\d+)>[ \t]*$", re.M)
ROLES = {"chunk-code": "chunk", "error": "error", "output": "output"}
CALLOUTS = {
    "note": "Note",
    "tip": "Tip",
    "warning": "Warning",
    "important": "Important",
    "caution": "Caution",
}
FORMATS = {
    "html": {"html"},
    "html:js": {"html"},
    "epub": {"epub"},
    "pdf": {"pdf"},
    "typst": {"pdf"},
    "latex": set(),
    "docx": set(),
}
ALL = {"html", "pdf", "epub"}


class Normaliser(Floats):
    """Works through one chapter in document order."""

    def __init__(self, book: Book, chapter: Chapter, titles: dict[str, list]):
        self.book, self.chapter, self.titles = book, chapter, titles
        self.counts: Counter[str] = Counter()
        self.sections = [0] * 8
        self.formats = ALL  # in which what is being read will be seen

    @property
    def conditional(self) -> bool:
        return self.formats != ALL

    # -- labels and numbers
    def register(self, id: str) -> None:
        if not id:
            return
        if id in self.chapter.ids and not self.conditional:
            message = f"the id {id!r} is used twice in this chapter"
            self.book.problem(self.chapter, f"#{id}", message, nth=2)
        self.chapter.ids.add(id)
        if self.conditional:
            self.chapter.formats[id] = self.chapter.formats.get(id, set()) | self.formats

    def label(
        self, id: str, title: list | None = None, number: str | None = None, kind: str = ""
    ) -> str | None:
        """Give the next number of its kind to a label; -> the number."""
        kind = kind or id.split("-")[0]
        known = self.book.labels.get(id)
        if known and self.conditional and known.chapter is self.chapter:
            return known.number
        if known and known.chapter is not self.chapter:
            self.book.problem(self.chapter, f"#{id}", f"the label {id!r} is also in {known.chapter.path}")
        self.register(id)
        if kind not in ("sec", "chapter"):
            self.counts[kind] += 1
            prefix = f"{self.chapter.number}." if self.chapter.number else ""
            number = f"{prefix}{self.counts[kind]}"
        self.book.labels[id] = Label(id, kind, number, self.chapter, title or [])
        return number

    # -- blocks
    def blocks(self, blocks: list) -> list:
        out: list = []
        for block in blocks:
            new = getattr(self, f"block_{block['t']}", self.other)(block)
            out += new if isinstance(new, list) else [new]
        return _join_annotations(out)

    def other(self, block: dict) -> dict:
        """A block of pandoc's that stays; what is nested in it is looked at all the same."""
        return {**block, "c": self.nested(block["c"])} if "c" in block else block

    def nested(self, tree):
        if isinstance(tree, list):
            if tree and isinstance(tree[0], dict) and tree[0].get("t") in BLOCKS:
                return self.blocks(tree)
            return [self.nested(item) for item in tree]
        if isinstance(tree, dict):
            if tree.get("t") == "Span":
                id, classes, values = attributes(tree["c"][0])
                if "content-visible" in classes or "content-hidden" in classes:
                    return self.visible_span(classes, values, tree["c"][1])
                self.register(id)
            return {key: self.nested(value) for key, value in tree.items()}
        return tree

    def block_Header(self, block: dict) -> dict:
        level, (id, classes, _), title = block["c"]
        if level == 1 and not self.chapter.id:
            self.chapter.id, self.chapter.title = id, title
            self.label(id, title, self.chapter.number if self.chapter.numbered else None, "chapter")
            return node(
                "Heading",
                level=1,
                id=id,
                title=title,
                classes=classes,
                number=self.chapter.number if self.chapter.numbered else None,
            )
        number = self.section(level) if self.chapter.numbered and "unnumbered" not in classes else None
        if id.startswith("sec-"):
            self.label(id, title, number)
        else:
            self.register(id)
        heading = node(
            "Heading", level=level, id=id, title=self.nested(title), classes=classes, number=number
        )
        self.chapter.headings.append(heading)
        return heading

    def section(self, level: int) -> str:
        self.sections[level] += 1
        self.sections[level + 1 :] = [0] * len(self.sections[level + 1 :])
        return ".".join([self.chapter.number, *map(str, self.sections[2 : level + 1])])

    def block_Para(self, block: dict) -> list:
        """Display equations become blocks of their own, between the parts of their paragraph."""
        out, rest, run = [], list(block["c"]), []

        def flush():
            text = run[1:] if out and run and run[0]["t"] in ("Space", "SoftBreak") else run[:]
            if text_of(text).strip() or any(item["t"] in ("Image", "Note", "RawInline") for item in text):
                out.append({"t": block["t"], "c": self.nested(text), **({"continued": True} if out else {})})
            run.clear()

        while rest:
            item = rest.pop(0)
            if item["t"] == "Math" and item["c"][0]["t"] == "DisplayMath":
                flush()
                out.append(self.equation(item["c"][1], rest))
            else:
                run.append(item)
        flush()
        return out

    block_Plain = block_Para

    def equation(self, tex: str, rest: list) -> dict:
        label = number = None
        match = EQUATION_LABEL.fullmatch(text_of(rest[:2]).strip()) if rest else None
        if match:
            label, number = match[1], self.label(match[1])
            rest[:2] = [string(match[2])] if match[2] else []
        return node("Equation", tex=tex.strip(), label=label, number=number)

    def block_CodeBlock(self, block: dict) -> dict:
        (id, classes, pairs), source = block["c"]
        role = next((role for name, role in ROLES.items() if name in classes), "code")
        language = next((name for name in classes if name not in (*ROLES, "cell-code", "annotate")), "")
        annotated = role != "output" and bool(MARK.search(source))
        marked = [int(n) - 1 for n in dict(pairs).get("marked", "").split()]
        code = node("Program", source=source, language=language, role=role, id=id, annotated=annotated,
                    marked=marked)
        if id.startswith("lst-"):
            code["id"] = ""
            caption = self.titles.get(dict(pairs).get("lst-cap", ""), [])
            return float_node("lst", caption, [code], label=id, number=self.label(id))
        self.register(id)
        return code

    # -- divisions
    def block_Div(self, block: dict) -> list | dict:
        attr, body = block["c"]
        id, classes, values = attributes(attr)
        kind = next((c[8:] for c in classes if c.startswith("callout-")), None)
        if "content-visible" in classes or "content-hidden" in classes:
            return self.visible(classes, values, body)
        if kind in CALLOUTS:
            return self.callout(kind, id, classes, values, body)
        if "chunk" in classes:
            return self.chunk(id, body)
        if "pitfall" in classes:
            return self.pitfall(id, body)
        if id.split("-")[0] in STATEMENTS and LABEL.fullmatch(id):
            return self.statement(id, values, body)
        if "proof" in classes:
            self.register(id)
            return node("Proof", name=self.titles.get(values.get("name", ""), []), body=self.blocks(body))
        if id.startswith(("fig-", "tbl-")) or "layout-ncol" in values:
            return self.float_div(id, values, body)
        if any(c == "cell" or c.startswith("cell-output") for c in classes):
            return self.cell(id, classes, body)
        self.register(id)
        return {"t": "Div", "c": [attr, self.blocks(body)]}

    def cell(self, id: str, classes: list[str], body: list) -> list:
        """The wrapper of a cell or of its output falls away; what is printed becomes `output`."""
        role = "error" if {"cell-output-error", "cell-output-stderr"} & set(classes) else "output"
        if any(c.startswith("cell-output") for c in classes):
            body = [
                {"t": "CodeBlock", "c": [[b["c"][0][0], [role], []], b["c"][1]]}
                if b["t"] == "CodeBlock"
                else b
                for b in body
            ]
        if id:
            self.register(id)
            return [{"t": "Div", "c": [[id, [], []], self.blocks(body)]}]
        return self.blocks(body)

    def chosen(self, classes: list[str], values: dict) -> set[str]:
        """The formats in which conditional content is seen."""
        chosen = FORMATS.get(values.get("when-format", values.get("unless-format", "")), set())
        formats = chosen if "when-format" in values else ALL - chosen
        return ALL - formats if "content-hidden" in classes else formats

    def visible(self, classes: list[str], values: dict, body: list) -> dict:
        formats = self.chosen(classes, values)
        before, self.formats = self.formats, self.formats & formats
        new = node("Visible", formats=sorted(formats), body=self.blocks(body))
        self.formats = before
        return new

    def visible_span(self, classes: list[str], values: dict, inlines: list) -> dict:
        formats = self.chosen(classes, values)
        before, self.formats = self.formats, self.formats & formats
        new = node("VisibleSpan", formats=sorted(formats), c=self.nested(inlines))
        self.formats = before
        return new

    def callout(self, kind: str, id: str, classes: list[str], values: dict, body: list) -> dict:
        self.register(id)
        title = self.titles.get(values.get("title", ""))
        if title is None and body and body[0]["t"] == "Header":
            title, body = body[0]["c"][2], body[1:]
        collapse = {"true": True, "false": False}.get(values.get("collapse", ""))
        return node(
            "Callout",
            kind=kind,
            title=title or [string(CALLOUTS[kind])],
            collapse=collapse,
            id=id,
            classes=[c for c in classes if not c.startswith("callout-")],
            body=self.blocks(body),
        )

    def statement(self, id: str, values: dict, body: list) -> dict:
        name = self.titles.get(values.get("name", ""), [])
        if body and body[0]["t"] == "Header":
            name, body = body[0]["c"][2], body[1:]
        return node(
            "Statement",
            kind=id.split("-")[0],
            label=id,
            number=self.label(id, name),
            name=name,
            body=self.blocks(body),
        )

    def chunk(self, id: str, body: list) -> dict:
        self.register(id)
        parts, code = _parts(body, "chunk-name", "chunk-file", "chunk-links")
        name, file, links = parts.values()
        return node("Chunk", id=id, name=name, file=file, links=links, body=self.blocks(code))

    def pitfall(self, id: str, body: list) -> dict:
        """The right and the wrong chunk, side by side where both are narrow."""
        self.register(id)
        parts, rest = _parts(body, "chunk-name", "chunk-links")
        sides: dict[str, dict | None] = {"right": None, "wrong": None}
        for div in find(rest, "Div"):
            _, classes, _ = attributes(div["c"][0])
            for kind in sides:
                if f"pitfall-{kind}" in classes:
                    label, code = _parts(div["c"][1], "pitfall-label")
                    sides[kind] = {"label": label["pitfall-label"], "body": self.blocks(code)}
        name, links = parts.values()
        return node("Pitfall", id=id, name=name, links=links, **sides)


def _parts(body: list, *names: str) -> tuple[dict[str, list], list]:
    """What the spans of these classes hold, and the blocks that hold none of them."""
    parts: dict[str, list] = {name: [] for name in names}
    rest = []
    for block in body:
        spans = [span for span in find(block, "Span") if set(span["c"][0][1]) & set(names)]
        nested = block["t"] == "Div"
        for span in [] if nested else spans:
            for name in set(span["c"][0][1]) & set(names):
                parts[name] = span["c"][1]
        if nested or not spans:
            rest.append(block)
    return parts, rest


BLOCKS = {
    "Para",
    "Plain",
    "Header",
    "CodeBlock",
    "Div",
    "Figure",
    "Table",
    "BulletList",
    "OrderedList",
    "DefinitionList",
    "BlockQuote",
    "LineBlock",
    "RawBlock",
    "HorizontalRule",
}


def _join_annotations(blocks: list) -> list:
    """An ordered list right after code with numbered marks explains these marks."""
    out: list = []
    for block in blocks:
        before = out[-1] if out else None
        if block["t"] == "OrderedList" and before and before["t"] == "Program" and before["annotated"]:
            block = node("Annotations", items=block["c"][1])
        out.append(block)
    return out


def normalise(book: Book) -> None:
    """Number all chapters and put the normalised trees into `chapter.blocks`."""
    trees = pandoc.read_all([chapter.text for chapter in book.chapters], book.memo)
    titles = _titles(trees, book)
    for chapter, tree in zip(book.chapters, trees):
        chapter.blocks = Normaliser(book, chapter, titles).blocks(tree)
        if not chapter.id:
            book.problem(chapter, "", "no level-1 heading; expected `# Title {#sec-…}`")


def _titles(trees: list, book: Book) -> dict[str, list]:
    """Titles and captions that stand in attributes, as inlines."""
    names = {"title", "lst-cap", "name", "fig-cap", "tbl-cap"}
    texts = {
        value
        for tree in trees
        for block in find(tree, "Div", "CodeBlock", "Figure", "Table")
        for key, value in block["c"][0][2]
        if key in names and value
    }
    ordered = sorted(texts)
    return dict(zip(ordered, pandoc.read_inlines(ordered, book.memo))) if ordered else {}
