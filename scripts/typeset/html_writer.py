"""The normalised tree as HTML that is also well-formed XML."""

from __future__ import annotations

import html
import posixpath
import re

from scripts.typeset.book import KINDS
from scripts.typeset.check import image_file
from scripts.typeset.code import Piece, code_lines
from scripts.typeset.gate import Gates
from scripts.typeset.html_tables import Tables
from scripts.typeset.mathematics import katex
from scripts.typeset.pictures import size_of
from scripts.typeset.references import Place
from scripts.typeset.tree import attributes, find, text_of
from scripts.typeset.writer import Writer

TAGS = {
    "Emph": "em",
    "Strong": "strong",
    "Underline": "u",
    "Strikeout": "s",
    "Superscript": "sup",
    "Subscript": "sub",
}
CLOSING = ".,;:!?)]’”…"
FRONT = "front"                             # on the web it stands above the preface
MEASURING = "benchmark.py"                  # the file whose text is folded on the web
HALF = 46               # columns of code of which two fit beside one another
SHORT = 40              # characters of TeX; a longer formula may have to break


def escape(text: str) -> str:
    return html.escape(text, quote=False)


def attr(**values: str | None) -> str:
    """Attributes as text, each with a leading space; empty ones are left out. `class_` is class."""
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in values.items())
    return "".join(f' {name}="{html.escape(str(value))}"' for name, value in pairs if value)


def _angled(name: str) -> str:
    return f'<span class="angle">⟨</span>{name}<span class="angle">⟩</span>'


class HtmlWriter(Tables, Gates, Writer):
    format = "html"
    folding = True                          # whether anything is folded, and notes stand in the margin
    image_hint = ' loading="lazy"'

    def __init__(self, book, chapter):
        super().__init__(book, chapter)
        self.notes: list[str] = []

    def chapter_body(self) -> str:
        return self.gated(self.chapter) + self.footnotes()

    def escape(self, text: str) -> str:
        return escape(text)

    # -- links
    def address(self, place: Place) -> str | None:
        """None: the place is not among what is written."""
        if not self.reaches(place):
            return None
        if place.chapter is self.chapter:
            return f"#{place.id or place.chapter.id}"
        page = posixpath.relpath(place.chapter.page, posixpath.dirname(self.chapter.page) or ".")
        return page if place.id in ("", place.chapter.id) else f"{page}#{place.id}"

    def to_place(self, place: Place, text: str, classes: list[str]) -> str:
        address = self.address(place)
        shown = " ".join(name for name in classes if name != "pageref") or None
        return text if address is None else f"<a{attr(class_=shown, href=address)}>{text}</a>"

    def to_url(self, url: str, text: str) -> str:
        return f'<a class="external" href="{html.escape(url)}">{text}</a>'

    # -- inlines
    def inlines(self, nodes: list) -> str:
        """A short formula and the mark behind it stay together: browsers would break the line between them."""
        parts, bound = [], False
        for node, after in zip(nodes, [*nodes[1:], None]):
            text = super().inlines([node])
            parts.append(f"{text}</span>" if bound else text)
            bound = after is not None and node["t"] == "Math" and after["t"] == "Str" and (
                len(node["c"][1]) <= SHORT and len(after["c"]) <= 3 and after["c"][0] in CLOSING)
            if bound:
                parts[-1] = f'<span class="bound">{text}'
        return "".join(parts)

    def inline_Str(self, node: dict) -> str:
        return escape(node["c"])

    def inline_Space(self, node: dict) -> str:
        return " "

    def inline_SoftBreak(self, node: dict) -> str:
        return "\n"

    def inline_LineBreak(self, node: dict) -> str:
        return "<br/>\n"

    def styled(self, node: dict) -> str:
        tag = TAGS[node["t"]]
        return f"<{tag}>{self.inlines(node['c'])}</{tag}>"

    inline_Emph = inline_Strong = inline_Underline = inline_Strikeout = inline_Superscript = styled
    inline_Subscript = styled

    def inline_SmallCaps(self, node: dict) -> str:
        return f'<span class="smallcaps">{self.inlines(node["c"])}</span>'

    def inline_Quoted(self, node: dict) -> str:
        left, right = "“”" if node["c"][0]["t"] == "DoubleQuote" else "‘’"
        return left + self.inlines(node["c"][1]) + right

    def inline_Code(self, node: dict) -> str:
        return f"<code>{escape(node['c'][1])}</code>"

    def inline_Math(self, node: dict) -> str:
        return self.math(node["c"][1], False)

    def math(self, tex: str, display: bool) -> str:
        return katex.render(tex.strip(), display, self.book.memo)

    def inline_RawInline(self, node: dict) -> str:
        return ""

    def inline_Span(self, node: dict) -> str:
        id, classes, _ = attributes(node["c"][0])
        inside = self.inlines(node["c"][1])
        return f"<span{attr(id=id, class_=' '.join(classes))}>{inside}</span>" if id or classes else inside

    def inline_Image(self, node: dict) -> str:
        (_, classes, pairs), caption, (source, _) = node["c"]
        values = dict(pairs)
        alt = values.get("fig-alt") or values.get("alt") or text_of(caption).strip()
        if "drawn" in classes and self.folding:
            return self.drawing(source, alt)
        width = values.get("width", "")
        style = f"width:{width}" if width.endswith("%") else f"width:{width}px" if width.isdigit() else None
        size = attr(**self.size(source)) + self.image_hint
        return f'<img{attr(src=self.image(source), style=style)} alt="{html.escape(alt)}"{size}/>'

    def drawing(self, source: str, alt: str) -> str:
        """A picture that the tools drew, in the page itself: it takes the theme's colours, and its links lead on."""
        text = image_file(self.book, self.chapter, source).read_text(encoding="utf-8")
        there = {chapter.page for chapter in self.book.chapters if chapter.written or chapter.on_site}
        folder = posixpath.dirname(self.chapter.page)

        def link(match: re.Match) -> str:
            return match[0] if posixpath.normpath(posixpath.join(folder, match[1])) in there else match[2]
        text = re.sub(r'<a href="([^"]*)">(.*?)</a>', link, text, flags=re.S)
        role, name = ("group", alt.partition(". ")[0]) if "<a " in text else ("img", alt)
        return text.replace("<svg ", f'<svg class="drawn" role="{role}" aria-label="{html.escape(name)}" ', 1).strip()

    def size(self, source: str) -> dict[str, int]:
        """A picture's own width and height, so that nothing moves when it comes."""
        file = image_file(self.book, self.chapter, source)
        key = ("size", file)
        if key not in self.book.cache:
            self.book.cache[key] = size_of(file)
        return dict(zip(("width", "height"), self.book.cache[key] or ()))

    def image(self, source: str) -> str:
        if source.startswith("/"):
            return posixpath.relpath(source[1:], posixpath.dirname(self.chapter.page) or ".")
        return source

    def inline_Note(self, node: dict) -> str:
        self.notes.append(self.blocks(node["c"]))
        k = len(self.notes)
        return (
            f'<a class="noteref" role="doc-noteref" id="fnref{k}" href="#fn{k}" '
            f'aria-label="Footnote {k}"><sup>{k}</sup></a>'
        )

    def footnotes(self) -> str:
        if not self.notes:
            return ""
        items = "".join(
            f'<li id="fn{k}">{note}<a class="noteback" role="doc-backlink" href="#fnref{k}" '
            f'aria-label="Back to the text">↩</a></li>\n'
            for k, note in enumerate(self.notes, 1)
        )
        return (
            '<section class="footnotes" role="doc-endnotes" aria-label="Footnotes">\n'
            f"<ol>\n{items}</ol>\n</section>\n"
        )

    # -- plain blocks
    def block_Para(self, node: dict) -> str:
        kind = ' class="continued"' if node.get("continued") else ""
        return f"<p{kind}>{self.inlines(node['c'])}</p>\n"

    def block_Plain(self, node: dict) -> str:
        return self.inlines(node["c"]) + "\n"

    def block_LineBlock(self, node: dict) -> str:
        return f"<p>{'<br/>'.join(map(self.inlines, node['c']))}</p>\n"

    def block_RawBlock(self, node: dict) -> str:
        return ""

    def block_BlockQuote(self, node: dict) -> str:
        return f"<blockquote>\n{self.blocks(node['c'])}</blockquote>\n"

    def block_HorizontalRule(self, node: dict) -> str:
        return "<hr/>\n"

    def items(self, items: list) -> str:
        return "".join(f"<li>{self.blocks(item).strip()}</li>\n" for item in items)

    def block_BulletList(self, node: dict) -> str:
        return f"<ul>\n{self.items(node['c'])}</ul>\n"

    def block_OrderedList(self, node: dict) -> str:
        (start, style, _), items = node["c"]
        kind = {"LowerAlpha": "a", "UpperAlpha": "A", "LowerRoman": "i", "UpperRoman": "I"}.get(style["t"])
        first = str(start) if start != 1 else None
        return f"<ol{attr(start=first, type=kind)}>\n{self.items(items)}</ol>\n"

    def block_DefinitionList(self, node: dict) -> str:
        out = ""
        for term, definitions in node["c"]:
            out += f"<dt>{self.inlines(term)}</dt>\n"
            out += "".join(f"<dd>{self.blocks(definition).strip()}</dd>\n" for definition in definitions)
        return f"<dl>\n{out}</dl>\n"

    def block_Div(self, node: dict) -> str:
        id, classes, values = attributes(node["c"][0])
        if self.is_uncited(node) or (FRONT in classes and self.folding):
            return ""
        if figure := values.get("figure") if "movable" in classes and self.folding else None:
            inside = self.blocks(node["c"][1])
            return f'<div class="movable" data-figure="{html.escape(figure)}"{attr(id=id)}>\n{inside}</div>\n'
        role = "list" if id == "refs" else "listitem" if "csl-entry" in classes else None
        return f"<div{attr(id=id, class_=' '.join(classes), role=role)}>\n{self.blocks(node['c'][1])}</div>\n"

    # -- nodes of our own
    def block_Heading(self, node: dict) -> str:
        level, id = min(node["level"], 6), node["id"]
        kind = "secno appendix" if level == 1 and self.chapter.appendix else "secno"
        number = f'<span class="{kind}">{node["number"]}</span> ' if node["number"] else ""
        title = self.inlines(node["title"])
        return f"<h{level}{attr(id=id)}>{number}{title}{self.heading_link(node)}</h{level}>\n"

    def heading_link(self, node: dict) -> str:
        if node["level"] == 1:
            return ""
        name = html.escape(text_of(node["title"]).strip())
        return f'<a class="anchor" href="#{node["id"]}" aria-label="Link to {name}">#</a>'

    def block_Equation(self, node: dict) -> str:
        number = f'<span class="eqno">({node["number"]})</span>' if node["number"] else ""
        return (
            f'<div class="eq"{attr(id=node["label"])}><div class="eqbody">'
            f"{self.math(node['tex'], True)}</div>{number}</div>\n"
        )

    def block_Program(self, node: dict) -> str:
        rows = ["".join(map(self.piece, line)) for line in code_lines(self.book, self.chapter, node)]
        for k in node["marked"]:
            rows[k] = f'<span class="marked">{rows[k]}</span>'
        lines = "\n".join(rows)
        role = node["role"]
        kind = f"code {role}" if role in ("output", "error", "chunk") else "code"
        return (
            f'<div class="{kind}"{attr(id=node["id"])}><pre>'
            f"<code>{lines}</code></pre></div>\n"
        )

    def piece(self, piece: Piece) -> str:
        text = escape(piece.text)
        if piece.style == "mark":
            return f'<span class="mark" role="img" aria-label="note {text}">{text}</span>'
        if piece.style == "chunk":
            plain = f'<span class="chunkref">{_angled(text)}</span>'
            return self.to_place(piece.place, _angled(text), ["chunkref"]) if piece.place else plain
        if piece.place:
            return f'<span class="c">{self.to_place(piece.place, text, [])}</span>'
        return f'<span class="{piece.style}">{text}</span>' if piece.style else text

    def block_Annotations(self, node: dict) -> str:
        return f'<ol class="annotations">\n{self.items(node["items"])}</ol>\n'

    def block_Chunk(self, node: dict) -> str:
        name, file, links = (self.inlines(node[part]) for part in ("name", "file", "links"))
        head = f'<span class="chunk-name">{_angled(name)} ≡</span>' if name else ""
        head += f'<span class="chunk-file">{file}</span>' if file else ""
        links = f'<div class="chunk-links">{links}</div>\n' if links else ""
        label = text_of(node["name"] or node["file"])
        if self.folding and text_of(node["file"]).startswith(MEASURING):
            return (
                f'<details class="chunkbox"{attr(id=node["id"])}>\n<summary class="chunk-head">{head}</summary>\n'
                f'{self.beside(links, self.blocks(node["body"]))}</details>\n'
            )
        return (
            f'<div class="chunkbox" role="group"{attr(id=node["id"], aria_label=f"Program text: {label}")}>\n'
            f'<div class="chunk-head">{head}</div>\n{self.beside(links, self.blocks(node["body"]))}</div>\n'
        )

    def beside(self, links: str, body: str) -> str:
        """Links come first on the web, where the margin may take them, and last in a reader of EPUB."""
        return links + body if self.folding else body + links

    def block_Pitfall(self, node: dict) -> str:
        sides = "".join(
            f'<div class="pitfall-{kind}">\n<div class="pitfall-label">{self.inlines(node[kind]["label"])}</div>\n'
            f'{self.blocks(node[kind]["body"])}</div>\n' for kind in ("right", "wrong") if node[kind])
        links = f'<div class="chunk-links">{self.inlines(node["links"])}</div>\n' if node["links"] else ""
        longest = max(len(line) for program in find(node, "Program") for line in program["source"].split("\n"))
        pair = "pitfall-pair narrow" if node["right"] and longest <= HALF else "pitfall-pair"
        pairs = f'<div class="{pair}">\n{sides}</div>\n'
        return (
            f'<div class="chunkbox pitfall" role="group"{attr(id=node["id"], aria_label=text_of(node["name"]))}>\n'
            f'<div class="chunk-head"><span class="pitfall-name">{self.inlines(node["name"])}</span></div>\n'
            f'{self.beside(links, pairs)}</div>\n'
        )

    def block_Callout(self, node: dict) -> str:
        fold = self.folding and node["collapse"] is not None
        classes = " ".join(["callout", node["kind"], *node["classes"]])
        title = self.inlines(node["title"])
        body = f'<div class="callout-body">\n{self.blocks(node["body"])}</div>\n'
        if fold:
            state = "" if node["collapse"] else ' open="open"'
            return (
                f"<details{attr(class_=classes, id=node['id'])}{state}>"
                f'<summary class="callout-title">{title}</summary>{body}</details>\n'
            )
        return (
            f'<div role="note"{attr(class_=classes, id=node["id"])}>'
            f'<div class="callout-title">{title}</div>{body}</div>\n'
        )

    def block_Statement(self, node: dict) -> str:
        name = f' <span class="statement-name">({self.inlines(node["name"])})</span>' if node["name"] else ""
        head = f'<span class="statement-label">{KINDS[node["kind"]]} {node["number"]}{name}.</span> '
        body = self.run_in(head, node["body"])
        return f'<div class="statement {node["kind"]}" id="{node["label"]}">\n{body}</div>\n'

    def block_Proof(self, node: dict) -> str:
        name = f" ({self.inlines(node['name'])})" if node["name"] else ""
        body = self.run_in(f'<span class="proof-label">Proof{name}.</span> ', node["body"])
        return f'<div class="proof">\n{body}<span class="qed" role="img" aria-label="end of proof">□</span></div>\n'

    def run_in(self, head: str, blocks: list) -> str:
        """The first paragraph begins with the head."""
        if blocks and blocks[0]["t"] == "Para":
            return f"<p>{head}{self.inlines(blocks[0]['c'])}</p>\n{self.blocks(blocks[1:])}"
        return f"<p>{head}</p>\n{self.blocks(blocks)}"
