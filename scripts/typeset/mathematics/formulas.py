"""Every formula of the chapters, checked in both engines: KaTeX for the screen, Typst for paper."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.errors import Problem
from scripts.typeset.mathematics import katex
from scripts.typeset.mathematics.tokens import TexError
from scripts.typeset.mathematics.typst_math import convert
from scripts.typeset.memo import Memo

FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})[^\n]*\n.*?^[ \t>]*\2[`~]*[ \t]*$", re.S | re.M)
FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
COMMENT = re.compile(r"<!--.*?-->", re.S)
DISPLAY = re.compile(r"(?<!\\)\$\$(.+?)(?<!\\)\$\$", re.S)
INLINE = re.compile(r"(?<![\\$])\$(?=[^\s$])((?:[^$\\\n]|\\.|\n(?!\s*\n))+?)(?<=\S)\$(?![\d$])")
CELL = "\x1a"           # stands for inline code that is run
INSIDE = "`{python} …` between dollar signs is printed as it stands; expected the number beside the formula"

PREAMBLE = """#set page(width: 60cm, height: auto)
#show math.equation: set text(font: "New Computer Modern Math")"""


@dataclass(frozen=True)
class Formula:
    path: str
    line: int
    tex: str
    display: bool

    @property
    def shown(self) -> str:
        text = " ".join(self.tex.split())
        return text if len(text) <= 70 else f"{text[:67]}..."


def formulas(book) -> list[Formula]:
    """The formulas of all chapters, in order. `book.chapters` have a `path` and a `text`."""
    return [formula for chapter in book.chapters for formula in formulas_in(chapter.path, chapter.text)]


def formulas_in(path: str, text: str) -> list[Formula]:
    """The formulas of one chapter's source, with their lines; code and comments are not looked at."""
    for hidden in (FRONT, FENCE, COMMENT, CODE):
        text = hidden.sub(lambda match: re.sub(r"[^\n]", CELL if _computed(match[0]) else " ", match[0]), text)
    found = []

    def keep(match: re.Match, display: bool) -> str:
        line = text.count("\n", 0, match.start(1)) + 1
        lead = len(match[1]) - len(match[1].lstrip())
        line += match[1][:lead].count("\n")
        found.append((match.start(), Formula(path, line, match[1].strip(), display)))
        return re.sub(r"[^\n]", " ", match[0])

    rest = DISPLAY.sub(lambda match: keep(match, True), text)
    INLINE.sub(lambda match: keep(match, False), rest)
    return [formula for _, formula in sorted(found, key=lambda item: item[0])]


def _computed(code: str) -> bool:
    """A piece of inline code that is run, and so replaced by what it gives: but not within a formula."""
    return code.startswith("`{python}")


def formula_problems(book, memo: Memo | None = None) -> list[Problem]:
    """What either engine refuses, as Problems with the line of the formula."""
    found = formulas(book)
    faults = check_formulas([(formula.tex.replace(CELL, ""), formula.display) for formula in found], memo)
    faults = [INSIDE if CELL in formula.tex else fault for formula, fault in zip(found, faults)]
    return [Problem(formula.path, formula.line, f"{fault} (in {formula.shown})")
            for formula, fault in zip(found, faults) if fault]


def check_formula(tex: str, display: bool) -> str | None:
    """What is wrong with one formula, in whichever engine; None if both set it."""
    return check_formulas([(tex, display)])[0]


def check_formulas(pairs: list[tuple[str, bool]], memo: Memo | None = None) -> list[str | None]:
    """The same for many at once: each is set once by KaTeX and by Typst, however often it occurs."""
    memo = memo or Memo()
    faults = {pair: _katex_fault(*pair, memo) for pair in dict.fromkeys(pairs)}
    waiting: dict[tuple[str, bool], str] = {}
    for pair in faults:
        try:
            waiting[pair] = convert(pair[0].strip())
        except TexError as fault:
            faults[pair] = faults[pair] or str(fault)
    for pair, fault in zip(waiting, typst_faults([(text, pair[1]) for pair, text in waiting.items()])):
        if fault:
            faults[pair] = faults[pair] or f"Typst: {fault}"
    return [faults[pair] for pair in pairs]


def _katex_fault(tex: str, display: bool, memo: Memo) -> str | None:
    try:
        katex.render(tex.strip(), display, memo)
    except TexError as fault:
        return f"KaTeX: {fault}"
    return None


def typst_faults(formulas: list[tuple[str, bool]]) -> list[str | None]:
    """Compile all in one document; only if that fails, look for the ones at fault, half by half."""
    fault = _compile(formulas)
    if fault is None:
        return [None] * len(formulas)
    if len(formulas) == 1:
        return [fault]
    middle = len(formulas) // 2
    return typst_faults(formulas[:middle]) + typst_faults(formulas[middle:])


def _compile(formulas: list[tuple[str, bool]]) -> str | None:
    import typst

    lines = [f"$ {text} $" if display else f"${text.strip()}$" for text, display in formulas]
    source = f"{PREAMBLE}\n"
    try:
        typst.Compiler((source + "\n\n".join(lines)).encode(), ignore_system_fonts=True).compile(format="pdf")
    except typst.TypstError as fault:
        return fault.message
    return None
