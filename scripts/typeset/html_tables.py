"""Tables, figures and their captions in HTML."""

from __future__ import annotations

import html
import re

from scripts.typeset.book import KINDS

ALIGN = {"AlignLeft": "left", "AlignRight": "right", "AlignCenter": "center"}


FORMULA = re.compile(r'(?:<span class="katex"><span class="katex-mathml">)?<math .*?<annotation[^>]*>'
                     r'(.*?)</annotation>.*', re.S)


def named(head: str) -> str:
    """A heading that is a formula alone, with a name: some readers take mathematics for a picture, without a word."""
    formula = FORMULA.fullmatch(head)
    if not formula:
        return head
    name = " ".join(re.sub(r"[\\{}]+", " ", formula[1]).split()).replace('"', "&quot;")
    return head.replace("<math ", f'<math aria-label="{name}" ', 1)


class Tables:
    """Mixed into the HtmlWriter."""

    def block_Grid(self, node: dict) -> str:
        columns = ""
        if node["widths"]:
            columns = "".join(f'<col style="width:{100 * width:.4g}%"/>' for width in node["widths"])
            columns = f"<colgroup>{columns}</colgroup>\n"
        head = "".join(self.table_row(row, node["aligns"], "th") for row in node["head"])
        head = f"<thead>\n{head}</thead>\n" if head else ""
        body = "".join(self.table_row(row, node["aligns"], "td") for row in node["body"])
        table = f"<table>\n{columns}{head}<tbody>\n{body}</tbody>\n</table>"
        return f'<div class="table">{table}</div>\n'

    def table_row(self, row: list, aligns: list[str], tag: str) -> str:
        cells, column = "", 0
        for cell in row:
            align = cell["align"] if cell["align"] != "AlignDefault" else aligns[min(column, len(aligns) - 1)]
            style = f' style="text-align:{ALIGN[align]}"' if align in ALIGN else ""
            span = f' colspan="{cell["columns"]}"' if cell["columns"] > 1 else ""
            span += f' rowspan="{cell["rows"]}"' if cell["rows"] > 1 else ""
            body = self.blocks(cell["body"]).strip()
            body = named(body) if tag == "th" else body
            kind, scope = ("th", ' scope="col"') if tag == "th" and body else ("td", "")  # empty: heads nothing
            cells += f"<{kind}{scope}{style}{span}>{body}</{kind}>"
            column += cell["columns"]
        return f"<tr>{cells}</tr>\n"

    def caption(self, node: dict) -> str:
        if not node["caption"] and not node["number"]:
            return ""
        label = (
            f'<span class="caption-label">{KINDS[node["kind"]]} {node["number"]}</span> '
            if node["number"]
            else ""
        )
        return f"<figcaption>{label}{self.inlines(node['caption'])}</figcaption>\n"

    def block_Float(self, node: dict) -> str:
        caption = self.caption(node)
        body = self.blocks(node["body"])
        if node["columns"]:
            body = f'<div class="panels" style="--columns:{node["columns"]}">\n{body}</div>\n'
        parts = caption + body if node["kind"] in ("tbl", "lst") else body + caption
        id = node["label"] or node["id"]
        id = f' id="{html.escape(id)}"' if id else ""
        return f'<figure class="{node["kind"]}"{id}>\n{parts}</figure>\n'

    def block_Panel(self, node: dict) -> str:
        letter = f"({node['letter']}) " if node["letter"] else ""
        text = letter + self.inlines(node["caption"])
        caption = f"<figcaption>{text}</figcaption>" if text.strip() else ""
        id = f' id="{html.escape(node["label"])}"' if node["label"] else ""
        return f'<figure class="panel"{id}>\n{self.blocks(node["body"])}{caption}</figure>\n'
