r"""The environments: \begin{aligned}, \begin{cases}, \begin{pmatrix} and their like."""

from __future__ import annotations

import re

from scripts.typeset.mathematics import symbols as S
from scripts.typeset.mathematics.tokens import joined


class Environments:
    """Mixed into the Parser."""

    def environment(self, name: str) -> str:
        columns = self.group() if name in ("array", "alignedat") else ""
        inner = self.sub(self.until_end(name))
        rows, rules = inner.table()
        base = name.rstrip("*")
        if base in S.ALIGNED:
            return " \\\n".join(_aligned(row, spread=base != "alignedat") for row in rows)
        if base in ("cases", "dcases", "rcases"):
            return _cases(base, rows)
        if base in S.MATRICES:
            return _matrix(base, rows, columns, rules)
        self.fail(rf"\begin{{{name}}} is not in the checked subset of TeX")

    def until_end(self, name: str) -> str:
        r"""The source between \begin{name}, already read, and its \end."""
        body, depth = "", 1
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            self.at += 1
            depth += (token == r"\begin") - (token == r"\end")
            if depth == 0:
                if (found := self.group()) != name:
                    self.fail(rf"\begin{{{name}}} ends with \end{{{found}}}")
                return body
            body += token
        self.fail(rf"\begin{{{name}}} has no \end")

    def cells(self, source: str) -> list[list[str]]:
        return self.sub(source).table()[0]

    def table(self) -> tuple[list[list[str]], list[int]]:
        r"""Rows of cells, and before which rows an \hline stands."""
        rows, rules, cell = [[]], [], []

        def end_cell():
            rows[-1].append(joined(cell))
            cell.clear()

        while (token := self.peek()) is not None:
            if token == r"\\":
                self.at += 1
                if self.at < len(self.tokens) and self.tokens[self.at] == "[":
                    self.option()
                end_cell()
                rows.append([])
            elif self.skip("&"):
                end_cell()
            elif self.skip(r"\hline"):
                rules.append(len(rows) - 1)
            else:
                cell.append(self.scripted())
        end_cell()
        if len(rows) > 1 and not any(rows[-1]):
            rows.pop()
        return rows, rules


def _aligned(row: list[str], spread: bool) -> str:
    """Typst aligns at every other mark by itself; TeX puts a gap between the pairs."""
    out = row[0] if row else ""
    for k, cell in enumerate(row[1:], 1):
        gap = "wide " if spread and k % 2 == 0 else ""
        out += f" & {gap}{cell}"
    return out


def _cases(name: str, rows: list[list[str]]) -> str:
    style = "display({})" if name == "dcases" else "{}"
    lines = [" & quad ".join(style.format(cell) if cell else "" for cell in row) for row in rows]
    gap = 0.9 if any("frac" in line for line in lines) else 0.5
    reverse = "reverse: #true, " if name == "rcases" else ""
    return f"cases(gap: #{gap}em, {reverse}{', '.join(lines)})"


def _matrix(name: str, rows: list[list[str]], columns: str, rules: list[int]) -> str:
    delimiter = S.MATRICES[name]
    options = f'delim: "{delimiter}"' if delimiter else "delim: #none"
    width = max(map(len, rows))
    if name == "array":
        options += _array_options(re.sub(r"[^lcr|]", "", columns), rules, width, len(rows))
    body = "; ".join(", ".join(row + [""] * (width - len(row))) for row in rows)
    matrix = f"mat({options}, column-gap: #0.8em, row-gap: #0.4em, {body})"
    return f"script({matrix})" if name == "smallmatrix" else matrix


def _array_options(columns: str, rules: list[int], width: int, height: int) -> str:
    letters = columns.replace("|", "")
    align = {"l": "left", "r": "right"}.get(letters[:1], "center")
    bars = [len(columns[:k].replace("|", "")) for k, letter in enumerate(columns) if letter == "|"]
    vertical = "".join(f"{bar}," for bar in bars if 0 < bar < width)
    horizontal = "".join(f"{rule}," for rule in rules if 0 < rule < height)
    lines = f", augment: #(vline: ({vertical}), hline: ({horizontal}))" if vertical or horizontal else ""
    return f", align: #{align}{lines}"
