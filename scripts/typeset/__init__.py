"""The embedded typesetter: a plain Quarto book project becomes a web site, a PDF and an EPUB.

It needs what PyPI has (pandoc, Typst, Pygments and a JavaScript engine, all as wheels) and no other program.
`quarto.py` runs the real Quarto instead, where it is installed.

    typeset(project, out)           the whole book;  only="27" for one chapter
    formula_problems(book)          what KaTeX or Typst refuses in the chapters
    overfull(pdf)                   what stands outside the margins
"""

from __future__ import annotations

from scripts.typeset.book import PDF
from scripts.typeset.embedded import FORMATS, typeset
from scripts.typeset.margins import overfull
from scripts.typeset.mathematics.formulas import check_formula, formula_problems

__all__ = ["FORMATS", "PDF", "check_formula", "formula_problems", "overfull", "typeset"]
