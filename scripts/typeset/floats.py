"""Figures, tables and their panels: the part of the normalising pass that deals with captions."""

from __future__ import annotations

import ast

from scripts.typeset.tree import find, node, text_of


def caption_of(block: dict) -> list:
    """The caption of a pandoc Figure or Table as inlines."""
    out: list = []
    for part in block["c"][1][1]:
        out += ([{"t": "Space"}] if out else []) + part.get("c", [])
    return out


class Floats:
    """Mixed into the Normaliser."""

    def block_Figure(self, block: dict) -> dict:
        id, caption, body = block["c"][0][0], self.nested(caption_of(block)), block["c"][2]
        if id.startswith("fig-"):
            return self.float("fig", id, caption, self.blocks(body))
        self.register(id)
        return node(
            "Float",
            kind="fig",
            label=None,
            id=id,
            number=None,
            caption=caption,
            body=self.blocks(body),
            columns=0,
            wide=False,
        )

    def block_Table(self, block: dict) -> dict:
        attr, _, columns, *rest = block["c"]
        id, values = attr[0], dict(attr[2])
        caption = self.nested(caption_of(block))
        widths = _widths(values.get("tbl-colwidths", ""), len(columns))
        aligns = [align["t"] for align, _ in columns]
        table = node(
            "Grid",
            aligns=aligns,
            widths=widths,
            head=self.rows(rest[0][1]),
            body=self.rows([row for body in rest[1] for row in body[2] + body[3]] + rest[2][1]),
        )
        if id.startswith("tbl-"):
            return self.float("tbl", id, caption, [table])
        self.register(id)
        if caption:
            return node(
                "Float",
                kind="tbl",
                label=None,
                id=id,
                number=None,
                caption=caption,
                body=[table],
                columns=0,
                wide=False,
            )
        return table

    def rows(self, rows: list) -> list:
        """Rows as lists of cells: {align, rows, columns, body}."""
        return [
            [
                {"align": cell[1]["t"], "rows": cell[2], "columns": cell[3], "body": self.blocks(cell[4])}
                for cell in row[1]
            ]
            for row in rows
        ]

    def float(self, kind: str, id: str, caption: list, body: list, columns: int = 0) -> dict:
        return node(
            "Float",
            kind=kind,
            label=id,
            id="",
            number=self.label(id),
            caption=caption,
            body=body,
            columns=columns,
            wide=False,
        )

    def float_div(self, id: str, values: dict, body: list) -> dict | list:
        """`::: {#fig-x layout-ncol=2}` … with its caption as last paragraph."""
        kind = "tbl" if id.startswith("tbl-") else "fig"
        caption = self.titles.get(values.get(f"{kind}-cap", ""), [])
        if not caption and len(body) > 1 and body[-1]["t"] == "Para" and not any(find(body[-1], "Image")):
            caption, body = body[-1]["c"], body[:-1]
        columns = int(values.get("layout-ncol", 0) or 0)
        labelled = id.startswith(("fig-", "tbl-"))
        number = self.label(id) if labelled else None
        parts = [
            b
            for b in body
            if b["t"] == "Figure" or (b["t"] == "Div" and b["c"][0][0].startswith(("fig-", "tbl-")))
        ]
        if parts:
            body = [self.panel(part, number, k) for k, part in enumerate(parts)]
        else:
            body, inner = self.blocks(_bare(body)), []
            for block in body:
                inner += block["body"] if block["t"] == "Float" and not block["label"] else [block]
            caption, body = caption or _first_caption(body), inner
        if not labelled:
            self.register(id)
        return node(
            "Float",
            kind=kind,
            label=id if labelled else None,
            id="" if labelled else id,
            number=number,
            caption=self.nested(caption),
            body=body,
            columns=columns or (len(parts) and 1),
            wide=False,
        )

    def panel(self, part: dict, number: str | None, k: int) -> dict:
        """One of several pictures under one number: 27.3 (a)."""
        letter = chr(ord("a") + k)
        if part["t"] == "Figure":
            id, caption, body = part["c"][0][0], caption_of(part), part["c"][2]
        else:
            (id, _, _), body = part["c"]
            caption = []
            if len(body) > 1 and body[-1]["t"] == "Para" and not any(find(body[-1], "Image")):
                caption, body = body[-1]["c"], body[:-1]
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


def _bare(blocks: list) -> list:
    """A paragraph that is nothing but pictures needs no paragraph's spacing."""
    return [{**b, "t": "Plain"} if b["t"] == "Para" and not text_of(b).strip() else b for b in blocks]


def _first_caption(blocks: list) -> list:
    return next((b["caption"] for b in blocks if b["t"] == "Float" and not b["label"]), [])


def _widths(text: str, columns: int) -> list[float] | None:
    """`tbl-colwidths="[20,80]"` as fractions. Pandoc's guess, made from long source lines, is not used."""
    try:
        values = [float(value) for value in ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError):
        return None
    total = sum(values)
    return [value / total for value in values] if total and len(values) == columns else None
