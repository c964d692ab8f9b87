"""The normalised tree as Typst source; `templates/book.typ` decides what it looks like."""

from __future__ import annotations

import posixpath

from scripts.typeset.book import KINDS
from scripts.typeset.code import Piece, code_lines, defined
from scripts.typeset.mathematics.tokens import quoted
from scripts.typeset.mathematics.typst_math import convert
from scripts.typeset.references import Place, place_of
from scripts.typeset.shortened import shortened
from scripts.typeset.topics import topics
from scripts.typeset.tree import attributes, find, string, text_of
from scripts.typeset.typst_tables import Tables
from scripts.typeset.writer import Writer

WRAPPERS = {
    "Emph": "emph",
    "Strong": "strong",
    "Underline": "underline",
    "Strikeout": "strike",
    "Superscript": "super",
    "Subscript": "sub",
    "SmallCaps": "smallcaps",
}
BOXES = {"index": "index", "csl-entry": "csl-entry", "topic-facts": "facts", "web-note": "web-note",
         "apart": "apart"}    # divisions with a look
TEXT = {"Str", "Space", "SoftBreak"}
BINDING = {"Equation", "Callout"}               # what the last lines of a paragraph stay with
MOVES = 400                                     # letters of a paragraph that may go to the next page for that
LONG = 12                                       # lines of a listing that may break over two pages
NUMBERINGS = {"LowerAlpha": "a", "UpperAlpha": "A", "LowerRoman": "i", "UpperRoman": "I"}


class Near:
    """Which of some blocks have a long listing close by: two blocks ahead, or less than two paragraphs behind."""

    def __init__(self, nodes: list):
        self.long = [any(p["source"].count("\n") >= LONG for p in find(node, "Program"))
                     if node["t"] in ("Chunk", "Program", "Float") else False for node in nodes]
        self.paragraph = [node["t"] == "Para" and len(text_of(node)) > MOVES / 2 for node in nodes]

    def listing(self, k: int) -> bool:
        back, passed = k - 1, 0
        while back >= max(k - 6, 0) and passed < 2 and not self.long[back]:
            passed += self.paragraph[back]
            back -= 1
        behind = back >= max(k - 6, 0) and passed < 2
        return behind or any(self.long[k:k + 3])


class TypstWriter(Tables, Writer):
    format = "pdf"

    def __init__(self, book, chapter):
        super().__init__(book, chapter)
        self.mentioned: set[Place] = set()  # places in other chapters whose page was given already
        self.in_index = False
        self.depth = 0  # of lists and boxes, in which pictures stay where they are
        self.listing_near = False  # whether a picture that floats could come to stand in a listing
        self.topics = {id(heading) for heading in topics(chapter.headings)}

    def chapter_body(self) -> str:
        return self.blocks(self.chapter.blocks)

    def blocks(self, nodes: list) -> str:
        """A short paragraph stays with the equation or the callout that follows it."""
        out = ""
        near, outside = Near(nodes), self.listing_near          # of the blocks that these stand in
        for k, (node, after) in enumerate(zip(nodes, [*nodes[1:], None])):
            self.listing_near = outside or near.listing(k)
            text = getattr(self, f"block_{node['t']}")(node)
            bound = node["t"] == "Para" and after and after["t"] in BINDING and len(text_of(node)) < MOVES
            out += f"#block(sticky: true)[{text.strip()}]\n\n" if bound and text.strip() else text
        self.listing_near = outside
        return out

    @property
    def level(self) -> int:
        """The heading level of the chapter: below its part, if the book has parts."""
        return 2 if self.chapter.part and all(chapter.written for chapter in self.book.chapters) else 1

    # -- places
    def label(self, id: str, chapter=None) -> str:
        return quoted(f"{(chapter or self.chapter).key}:{id}")

    def target(self, place: Place) -> str:
        return self.label(place.id or place.chapter.id, place.chapter)

    def to_place(self, place: Place, text: str, classes: list[str]) -> str:
        if not self.reaches(place):
            return text
        if self.in_index and "pageref" in classes:
            return f"#indexref({self.target(place)})[{text}]"
        elsewhere = (
            place.chapter is not self.chapter
            and place not in self.mentioned
            and place.chapter is not self.book.references_chapter
        )
        self.mentioned.add(place)
        function = "pageref" if "pageref" in classes or elsewhere else "xref"
        return f"#{function}({self.target(place)})[{text}]"

    def to_url(self, url: str, text: str) -> str:
        return f"#weblink({quoted(url)})[{text}]"

    def escape(self, text: str) -> str:
        return f"#{quoted(text)}" if text else ""

    # -- inlines
    def inlines(self, nodes: list) -> str:
        """Runs of text become one string literal, in which nothing has a meaning of its own."""
        out, run = [], ""
        for item in nodes:
            if item["t"] in TEXT:
                run += item["c"] if item["t"] == "Str" else " "
                continue
            out += [self.escape(run), getattr(self, f"inline_{item['t']}")(item)]
            run = ""
        return "".join([*out, self.escape(run)])

    def wrapped(self, node: dict) -> str:
        return f"#{WRAPPERS[node['t']]}[{self.inlines(node['c'])}]"

    inline_Emph = inline_Strong = inline_Underline = inline_Strikeout = inline_Superscript = wrapped
    inline_Subscript = inline_SmallCaps = wrapped

    def inline_LineBreak(self, node: dict) -> str:
        return "#linebreak()"

    def inline_Quoted(self, node: dict) -> str:
        left, right = "“”" if node["c"][0]["t"] == "DoubleQuote" else "‘’"
        return self.inlines([string(left), *node["c"][1], string(right)])

    def inline_Code(self, node: dict) -> str:
        return f"#raw({quoted(node['c'][1])})"

    def inline_Math(self, node: dict) -> str:
        tex = node["c"][1].strip()
        return f"#im({quoted(tex)}, ${convert(tex).strip()}$)" if tex else ""

    def inline_RawInline(self, node: dict) -> str:
        return ""

    def pages(self, nodes: list, name: str) -> str:
        """The places of an entry of the index as page numbers, each once; definitions of the name in bold."""
        entries = []
        for node in nodes:
            bold = node["t"] == "Strong"
            for link in node["c"] if bold else [node]:
                place = place_of(self.book, self.chapter, link["c"][2][0]) if link["t"] == "Link" else None
                if place is not None and self.reaches(place):
                    entries.append(f"({self.target(place)}, {str(bold).lower()}), ")
        name = f", of: {quoted(name)}" if name else ""
        return f"#indexpages(({''.join(entries)}){name})" if entries else ""

    def inline_Span(self, node: dict) -> str:
        if "pages" in node["c"][0][1]:
            return self.pages(node["c"][1], dict(node["c"][0][2]).get("of", ""))
        anchor = f"#anchor({self.label(node['c'][0][0])})" if node["c"][0][0] else ""
        return anchor + self.inlines(node["c"][1])

    def inline_Image(self, node: dict) -> str:
        (_, _, pairs), caption, (source, _) = node["c"]
        values = dict(pairs)
        alt = values.get("fig-alt") or values.get("alt") or text_of(caption).strip()
        path = (
            source
            if source.startswith("/")
            else posixpath.normpath(posixpath.join("/", posixpath.dirname(self.chapter.path), source))
        )
        width = values.get("width", "")
        width = (
            f", width: {width}"
            if width.endswith("%")
            else f", width: {width}pt * 0.75"
            if width.isdigit()
            else ""
        )
        return f"#picture({quoted(path)}, alt: {quoted(alt)}{width})"

    def inline_Note(self, node: dict) -> str:
        return f"#footnote[{self.blocks(node['c']).strip()}]"

    # -- plain blocks
    def block_Para(self, node: dict) -> str:
        return self.inlines(node["c"]).rstrip() + "\n\n"

    def block_Plain(self, node: dict) -> str:
        return self.inlines(node["c"]).rstrip() + "\n"

    def block_LineBlock(self, node: dict) -> str:
        return "#linebreak()".join(map(self.inlines, node["c"])) + "\n\n"

    def block_RawBlock(self, node: dict) -> str:
        return ""

    def block_BlockQuote(self, node: dict) -> str:
        return f"#quote(block: true)[\n{self.nested(node['c'])}]\n\n"

    def block_HorizontalRule(self, node: dict) -> str:
        return "#ornament\n\n"

    def nested(self, blocks: list) -> str:
        self.depth += 1
        text = self.blocks(blocks)
        self.depth -= 1
        return text

    def items(self, items: list) -> str:
        tight = all(block["t"] == "Plain" for item in items for block in item[:1])
        body = ",\n".join(f"[{self.nested(item).strip()}]" for item in items)
        return f"tight: {str(tight).lower()},\n{body}"

    def block_BulletList(self, node: dict) -> str:
        return f"#list({self.items(node['c'])})\n\n"

    def block_OrderedList(self, node: dict) -> str:
        (start, style, end), items = node["c"]
        numbering = NUMBERINGS.get(style["t"], "1")
        numbering = {"OneParen": f"{numbering})", "TwoParens": f"({numbering})"}.get(
            end["t"], f"{numbering}."
        )
        return f'#enum(start: {start}, numbering: "{numbering}", {self.items(items)})\n\n'

    def block_DefinitionList(self, node: dict) -> str:
        items = ",\n".join(
            f"terms.item([{self.inlines(term)}], [{''.join(map(self.nested, bodies)).strip()}])"
            for term, bodies in node["c"]
        )
        return f"#terms({items})\n\n"

    def block_Div(self, node: dict) -> str:
        if self.is_uncited(node):
            return ""
        id, classes, _ = attributes(node["c"][0])
        before, self.in_index = self.in_index, self.in_index or "index" in classes
        body = self.blocks(node["c"][1])
        self.in_index = before
        anchor = f"#anchor({self.label(id)})" if id else ""
        for name, function in BOXES.items():
            if name in classes:
                return f"#{function}[{anchor}{body}]\n\n"
        return f"{anchor}{body}" if not id or not body.startswith("#") else f"#block[{anchor}{body}]\n\n"

    # -- nodes of our own
    def block_Heading(self, node: dict) -> str:
        number = quoted(node["number"]) if node["number"] else "none"
        title = self.inlines(node["title"])
        label = self.label(node["id"])
        if node["level"] == 1:
            word = quoted(self.chapter.word)
            return f"#bookchapter({word}, {number}, {label}, {self.level})[{title}]\n\n"
        level = self.level + node["level"] - 1
        listed = str(id(node) in self.topics).lower()
        return f"#booksection({node['level']}, {level}, {number}, {label}, {listed})[{title}]\n\n"

    def block_Equation(self, node: dict) -> str:
        number = quoted(node["number"]) if node["number"] else "none"
        label = self.label(node["label"]) if node["label"] else "none"
        return f"#bookeq({number}, {label}, {quoted(node['tex'])}, $ {convert(node['tex'])} $)\n\n"

    def block_Program(self, node: dict) -> str:
        node = self.brief(node)
        rows, longest = self.rows(node)
        label = self.label(node["id"]) if node["id"] else "none"
        return f"#program({quoted(node['role'])}, {longest}, {label}, (\n{rows}))\n\n"

    def brief(self, node: dict) -> dict:
        """The program with its docstrings shortened, as print shows it."""
        if node["role"] != "chunk" or node["annotated"]:
            return node
        key = ("brief", id(node))
        if key not in self.book.cache:
            self.book.cache[key] = {**node, "source": shortened(node["source"])}
        return self.book.cache[key]

    def rows(self, node: dict, id: str = "") -> tuple[str, int]:
        """The lines of a program for the template, and the length of the longest; `id`: of a listing with anchors."""
        lines = code_lines(self.book, self.chapter, node)
        names = defined(["".join(piece.text for piece in line) for line in lines]) if id else [""] * len(lines)
        anchors = [f'("anchor", "", {self.label(f"{id}:{name}")}),' if name else "" for name in names]
        rows = "".join(f"({before}{''.join(self.piece(piece) + ',' for piece in line)}),\n"
                       for before, line in zip(anchors, lines, strict=True))
        return rows, max(sum(len(piece.text) for piece in line) for line in lines)

    def piece(self, piece: Piece) -> str:
        if not piece.style and not piece.place:
            return quoted(piece.text)
        place = piece.place if piece.place and self.reaches(piece.place) else None
        target = f", {self.target(place)}" if place else ""
        return f"({quoted(piece.style)}, {quoted(piece.text)}{target})"

    def block_Annotations(self, node: dict) -> str:
        items = ", ".join(f"[{self.blocks(item).strip()}]" for item in node["items"])
        return f"#annotations({items})\n\n"

    def block_Chunk(self, node: dict) -> str:
        name, file = (self.inlines(node[part]) for part in ("name", "file"))
        links = self.said(node["links"])
        if [block["t"] for block in node["body"]] == ["Program"] and not node["body"][0]["id"]:
            rows, longest = self.rows(self.brief(node["body"][0]), node["id"])
            return (f"#listing({self.label(node['id'])}, [{name}], [{file}], [{links}], {longest}, "
                    f"(\n{rows}))\n\n")
        body = self.blocks(node["body"])
        return f"#chunk({self.label(node['id'])}, [{name}], [{file}], [{links}])[\n{body}]\n\n"

    def said(self, links: list) -> str:
        """The sentences under a chunk, without those that lead only to what is not in print."""
        sentences = [item for item in links if item["t"] == "Span" and "said" in item["c"][0][1]]
        if not sentences:
            return self.inlines(links)
        return " ".join(self.inlines(item["c"][1]) for item in sentences if self.leads(item))

    def leads(self, sentence: dict) -> bool:
        places = [place_of(self.book, self.chapter, link["c"][2][0]) for link in find(sentence, "Link")]
        return not places or any(place is not None and self.reaches(place) for place in places)

    def block_Pitfall(self, node: dict) -> str:
        sides, longest = [], 0
        for kind in ("right", "wrong"):
            if node[kind]:
                program = next(find(node[kind]["body"], "Program"))
                rows, length = self.rows(program)
                longest = max(longest, length)
                marked = "".join(f"{k}, " for k in program["marked"])
                sides.append(f"([{self.inlines(node[kind]['label'])}], ({marked}), (\n{rows})),\n")
        name, links = self.inlines(node["name"]), self.said(node["links"])
        return f"#pitfall({self.label(node['id'])}, [{name}], [{links}], {longest}, (\n{''.join(sides)}))\n\n"

    def block_Callout(self, node: dict) -> str:
        title = self.inlines(node["title"])
        label = self.label(node["id"]) if node["id"] else "none"
        quiet = "true" if node["collapse"] and node["kind"] == "note" else "false"
        return f'#callout("{node["kind"]}", {quiet}, {label}, [{title}])[\n{self.nested(node["body"])}]\n\n'

    def block_Statement(self, node: dict) -> str:
        head = quoted(f"{KINDS[node['kind']]} {node['number']}")
        return (
            f"#statement({self.label(node['label'])}, {head}, [{self.inlines(node['name'])}])"
            f"[{self.nested(node['body']).strip()}]\n\n"
        )

    def block_Proof(self, node: dict) -> str:
        return f"#proof([{self.inlines(node['name'])}])[{self.nested(node['body']).strip()}]\n\n"
