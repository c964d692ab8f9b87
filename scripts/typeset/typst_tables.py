"""Tables, figures and their captions in Typst."""

from __future__ import annotations

from scripts.typeset.book import KINDS
from scripts.typeset.mathematics.tokens import quoted

ALIGN = {"AlignLeft": "left", "AlignRight": "right", "AlignCenter": "center", "AlignDefault": "left"}

LONG = 20                                               # rows of a table that may go on over the page


def longest(blocks: list[dict]) -> int:
    """The rows of the longest table among blocks."""
    return max((len(block["body"]) for block in blocks if block["t"] == "Grid"), default=0)


class Tables:
    """Mixed into the TypstWriter."""

    def block_Grid(self, node: dict) -> str:
        aligns = "".join(f"{ALIGN[align]}," for align in node["aligns"])
        widths = "".join(f"{100 * width:.4g}%," for width in node["widths"] or [])
        columns = f"({widths})" if widths else str(len(node["aligns"]))
        head = "".join(self.table_row(row) for row in node["head"])
        body = "".join(self.table_row(row) for row in node["body"])
        return f"#booktable({columns}, ({aligns}), (\n{head}), (\n{body}))\n\n"

    def table_row(self, row: list) -> str:
        return "".join(self.table_cell(cell) + "," for cell in row) + "\n"

    def table_cell(self, cell: dict) -> str:
        body = self.blocks(cell["body"]).strip()
        spans = f"colspan: {cell['columns']}, " if cell["columns"] > 1 else ""
        spans += f"rowspan: {cell['rows']}, " if cell["rows"] > 1 else ""
        align = f"align: {ALIGN[cell['align']]}, " if cell["align"] != "AlignDefault" else ""
        return f"table.cell({spans}{align}[{body}])" if spans or align else f"[{body}]"

    def block_Float(self, node: dict) -> str:
        word = quoted(f"{KINDS[node['kind']]} {node['number']}") if node["number"] else "none"
        id = node["label"] or node["id"]
        label = self.label(id) if id else "none"
        body = self.panels(node) if node["columns"] else self.blocks(node["body"])
        may = node["kind"] == "fig" and node["label"] and not self.depth and not self.listing_near
        floats = ", place-it: true" if may else ""
        floats += ", breaks: true" if longest(node["body"]) > LONG else ""
        caption = self.inlines(node["caption"])
        return f'#float("{node["kind"]}", {word}, {label}, [{caption}]{floats})[\n{body}]\n\n'

    def panels(self, node: dict) -> str:
        cells = "".join(f"[{self.blocks([panel])}],\n" for panel in node["body"])
        return f"#panels({node['columns']}, {cells})\n"

    def block_Panel(self, node: dict) -> str:
        label = self.label(node["label"]) if node["label"] else "none"
        letter = quoted(node["letter"]) if node["letter"] else "none"
        body = self.blocks(node["body"]).strip()
        return f"#panel({label}, {letter}, [{self.inlines(node['caption'])}])[{body}]"
