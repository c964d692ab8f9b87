"""Figures, tables and their panels: the part of the normalising pass that deals with captions."""

from __future__ import annotations

import ast
from collections.abc import Callable

from scripts.typeset.tree import find, node, text_of


def caption_of(block: dict) -> list:
    """The caption of a pandoc Figure or Table as inlines."""
    out: list = []
    for part in block["c"][1][1]:
        out += ([{"t": "Space"}] if out else []) + part.get("c", [])
    return out


def float_node(kind: str, caption: list, body: list, label: str | None = None, number: str | None = None,
               id: str = "", columns: int = 0) -> dict:
    """A figure, table or listing; `id` is for one without a label and so without a number."""
    return node("Float", kind=kind, label=label, id=id, number=number, caption=caption, body=body, columns=columns)


class Floats:
    """Mixed into the Normaliser."""

    def block_Figure(self, block: dict) -> dict:
        id, caption, body = block["c"][0][0], self.nested(caption_of(block)), block["c"][2]
        return self.float("fig", id, caption, lambda: self.blocks(body))

    def float(self, kind: str, id: str, caption: list, body: Callable[[], list]) -> dict:
        """A float takes its number before what is inside it."""
        if id.startswith(f"{kind}-"):
            return float_node(kind, caption, label=id, number=self.label(id), body=body())
        self.register(id)
        return float_node(kind, caption, body(), id=id)

    def block_Table(self, block: dict) -> dict:
        (id, _, pairs), _, columns, head, bodies, foot = block["c"]
        caption = self.nested(caption_of(block))
        rows = [row for body in bodies for row in body[2] + body[3]] + foot[1]

        def grid() -> list:
            return [node("Grid", aligns=[align["t"] for align, _ in columns], head=self.rows(head[1]),
                         body=self.rows(rows), widths=_widths(dict(pairs).get("tbl-colwidths", ""), len(columns)))]

        return self.float("tbl", id, caption, grid) if id or caption else grid()[0]

    def rows(self, rows: list) -> list:
        """Rows as lists of cells: {align, rows, columns, body}."""
        names = ("align", "rows", "columns", "body")
        return [[dict(zip(names, (cell[1]["t"], cell[2], cell[3], self.blocks(cell[4])))) for cell in row[1]]
                for row in rows]

    def float_div(self, id: str, values: dict, body: list) -> dict:
        """`::: {#fig-x layout-ncol=2}` … with its caption as last paragraph."""
        kind = "tbl" if id.startswith("tbl-") else "fig"
        caption, body = _split_caption(body)
        caption = caption or self.titles.get(values.get(f"{kind}-cap", ""), [])
        labelled = id.startswith(("fig-", "tbl-"))
        number = self.label(id) if labelled else self.register(id)
        columns = int(values.get("layout-ncol", 0) or 0)
        if any(map(_is_panel, body)):
            panels = iter(range(len(body)))
            body = [new for b in body for new in
                    ([self.panel(b, number, next(panels))] if _is_panel(b) else self.blocks([b]))]
            columns = columns or 1
        else:
            found = self.blocks(_bare(body))
            caption = caption or _first_caption(found)
            body = [inner for b in found for inner in (b["body"] if _is_bare_float(b) else [b])]
        names = {"label": id} if labelled else {"id": id}
        return float_node(kind, self.nested(caption), body, number=number, columns=columns, **names)

    def panel(self, part: dict, number: str | None, k: int) -> dict:
        """One of several pictures under one number: 27.3 (a)."""
        letter = chr(ord("a") + k)
        id, caption, body = part["c"][0][0], [], part["c"][-1]
        if part["t"] == "Figure":
            caption = caption_of(part)
        else:
            caption, body = _split_caption(body)
        if id and number:
            self.label_part(id, number, letter)
        elif id:
            number = self.label(id)
            letter = ""
        return node(
            "Panel",
            label=id,
            letter=letter if number else "",
            caption=self.nested(caption),
            body=self.blocks(_bare(body)),
        )

    def label_part(self, id: str, number: str, letter: str) -> None:
        from scripts.typeset.book import Label

        self.register(id)
        self.book.labels[id] = Label(id, id.split("-")[0], f"{number} ({letter})", self.chapter)


def _split_caption(body: list) -> tuple[list, list]:
    """The last paragraph is the caption, if it is text and something stands before it."""
    if len(body) > 1 and body[-1]["t"] == "Para" and not any(find(body[-1], "Image")):
        return body[-1]["c"], body[:-1]
    return [], body


def _is_panel(block: dict) -> bool:
    return block["t"] == "Figure" or (block["t"] == "Div" and block["c"][0][0].startswith(("fig-", "tbl-")))


def _is_bare_float(block: dict) -> bool:
    return block["t"] == "Float" and not block["label"]


def _bare(blocks: list) -> list:
    """A paragraph that is nothing but pictures needs no paragraph's spacing."""
    return [{**b, "t": "Plain"} if b["t"] == "Para" and not text_of(b).strip() else b for b in blocks]


def _first_caption(blocks: list) -> list:
    return next((block["caption"] for block in blocks if _is_bare_float(block)), [])


def _widths(text: str, columns: int) -> list[float] | None:
    """`tbl-colwidths="[20,80]"` as fractions. Pandoc's guess, made from long source lines, is not used."""
    try:
        values = [float(value) for value in ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError):
        return None
    total = sum(values)
    return [value / total for value in values] if total and len(values) == columns else None
